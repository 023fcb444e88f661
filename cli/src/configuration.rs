//! Where the settings come from: options, then variables, then a profile of the configuration file.
//!
//! The file has no key: a variable or a secret store is for that. A field of another name is refused, `key` too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::failure::Failure;

/// The profile that is read when none is named.
const DEFAULT_PROFILE: &str = "default";

/// The settings of one environment of Keygate.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The address of the management API.
    pub(crate) url: Option<String>,
    /// The name of the stack.
    pub(crate) stack: Option<String>,
    /// The AWS Region of the stack.
    pub(crate) region: Option<String>,
    /// The profile of the AWS configuration.
    pub(crate) aws_profile: Option<String>,
}

impl Settings {
    /// Reads the named profile, or `default`, of the file in the folder of the user's configuration.
    ///
    /// # Errors
    ///
    /// The file cannot be read or has another form, or has no profile of the name.
    pub(crate) fn read(name: Option<&str>) -> Result<Self, Failure> {
        let Some(path) = path(|name| std::env::var_os(name).map(PathBuf::from)) else {
            return match name {
                None => Ok(Self::default()),
                Some(_) => Err(Failure::usage("there is no folder for profiles: HOME is not set")),
            };
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, name, &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && name.is_none() => {
                Ok(Self::default())
            }
            Err(error) => Err(Failure::usage(format!("{} cannot be read: {error}", path.display()))),
        }
    }

    fn parse(text: &str, name: Option<&str>, path: &Path) -> Result<Self, Failure> {
        let path = path.display();
        // The error's own text shows the line, which may have a credential.
        let mut profiles: BTreeMap<String, Self> = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            Failure::usage(format!("{path}, line {line}: {}", error.message())).advise(
                "a profile has url, stack, region and aws_profile, and never a key: set KEYGATE_KEY instead",
            )
        })?;
        let wanted = name.unwrap_or(DEFAULT_PROFILE);
        match (profiles.remove(wanted), name) {
            (Some(profile), _) => Ok(profile),
            (None, None) => Ok(Self::default()),
            (None, Some(name)) => {
                let names: Vec<_> = profiles.into_keys().collect();
                Err(Failure::usage(format!("{path} has no profile `{name}`"))
                    .advise(format!("it has: {}", names.join(", "))))
            }
        }
    }
}

/// `keygate/config.toml` below `XDG_CONFIG_HOME`, or below `.config` of the home folder (XDG Base Directory Specification:
/// a relative path is ignored).
fn path(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let folder = variable("XDG_CONFIG_HOME")
        .filter(|folder| folder.is_absolute())
        .or_else(|| variable("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("keygate/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[default]\nurl = \"https://a.example\"\n\n[prod]\nstack = \"keygate\"\nregion = \"eu-west-1\"\n\
        aws_profile = \"admin\"\n";

    fn parse(text: &str, name: Option<&str>) -> Result<Settings, Failure> {
        Settings::parse(text, name, Path::new("/config.toml"))
    }

    #[test]
    fn a_profile_is_chosen_by_its_name() {
        assert_eq!(parse(FILE, None).unwrap().url.as_deref(), Some("https://a.example"));
        let prod = parse(FILE, Some("prod")).unwrap();
        assert_eq!((prod.url, prod.region.as_deref()), (None, Some("eu-west-1")));
        assert_eq!(parse("", None).unwrap(), Settings::default());
    }

    #[test]
    fn a_name_without_a_profile_is_an_error_that_has_the_names() {
        let failure = parse(FILE, Some("production")).unwrap_err();
        assert!(failure.to_string().contains("default, prod"), "{failure}");
    }

    #[test]
    fn a_key_in_the_file_is_refused_and_not_repeated() {
        let failure = parse("[default]\nkey = \"kg_key_secret\"\n", None).unwrap_err().to_string();
        assert!(failure.contains("line 2") && failure.contains("KEYGATE_KEY"), "{failure}");
        assert!(!failure.contains("secret"), "{failure}");
        let broken = parse("[default]\nurl = kg_key_secret\n", None).unwrap_err().to_string();
        assert!(!broken.contains("secret"), "{broken}");
    }

    #[test]
    fn the_file_is_where_the_xdg_specification_says() {
        let of = |xdg: Option<&str>| {
            path(|name| if name == "HOME" { Some("/home/a".into()) } else { xdg.map(PathBuf::from) })
        };
        assert_eq!(of(Some("/xdg")).unwrap(), Path::new("/xdg/keygate/config.toml"));
        for ignored in [None, Some("relative"), Some("")] {
            assert_eq!(of(ignored).unwrap(), Path::new("/home/a/.config/keygate/config.toml"));
        }
        assert_eq!(path(|_| None), None);
    }
}

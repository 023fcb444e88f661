//! How credentials come in and go out: never as an argument, which other users of the machine can read.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::failure::{Failure, Status};

/// The caller's key: of standard input if `from_stdin`, else of `KEYGATE_KEY`, else typed at the terminal.
///
/// # Errors
///
/// There is none.
pub(crate) fn key(from_stdin: bool) -> Result<SecretString, Failure> {
    if from_stdin {
        return checked(&read_stdin()?, "standard input has no key");
    }
    if let Ok(key) = std::env::var("KEYGATE_KEY").map(SecretString::from)
        && !key.expose_secret().is_empty()
    {
        return checked(&key, "KEYGATE_KEY is no key");
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Status::Refused, "there is no key").advise(
            "set KEYGATE_KEY, or give the key on standard input with --key-stdin; `keygate bootstrap` creates the \
             first key of a workspace",
        ));
    }
    let typed = rpassword::prompt_password("API key (not shown): ")
        .map_err(|error| Failure::new(Status::Refused, format!("the key cannot be read: {error}")))?;
    checked(&SecretString::from(typed), "no key was typed")
}

/// Standard input as a text.
///
/// # Errors
///
/// It cannot be read, or is not UTF-8.
pub(crate) fn read_stdin() -> Result<SecretString, Failure> {
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("standard input cannot be read: {error}")))?;
    Ok(text.into())
}

/// The text as the value of a header, without the line end after it.
fn checked(key: &SecretString, otherwise: &str) -> Result<SecretString, Failure> {
    let key = key.expose_secret().trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(Status::Refused, otherwise)
            .advise("a key is one word of letters, digits and underscores"));
    }
    Ok(key.to_owned().into())
}

/// Where a new credential goes. A file is created before the credential is, so that one that cannot be written costs no
/// credential; without a credential it is removed again.
#[derive(Debug)]
pub(crate) enum Destination {
    /// Standard output.
    Output,
    /// A new file that its owner alone can read.
    File(NewFile),
}

/// A file that did not exist before.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    file: File,
    is_written: bool,
}

impl Destination {
    /// Creates the file, if one is named.
    ///
    /// # Errors
    ///
    /// It exists already, or cannot be created.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Output) };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::usage(format!(
                "{} exists already, and no file is overwritten by a credential",
                path.display()
            )),
            _ => Failure::usage(format!("{} cannot be created: {error}", path.display())),
        })?;
        Ok(Self::File(NewFile { path: path.to_owned(), file, is_written: false }))
    }

    /// Writes the credential to the file, and returns the file's path. Standard output is for the caller.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn write(self, credential: &str) -> Result<Option<PathBuf>, Failure> {
        let Self::File(mut new) = self else { return Ok(None) };
        writeln!(new.file, "{credential}").and_then(|()| new.file.sync_all()).map_err(|error| {
            Failure::new(Status::Failed, format!("{} cannot be written: {error}", new.path.display()))
        })?;
        new.is_written = true;
        Ok(Some(new.path.clone()))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_written {
            // It is empty, and nothing depends on its removal.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("keygate-cli-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_credential_is_written_to_a_new_file_of_its_owner() {
        let path = path("new");
        assert_eq!(Destination::open(Some(&path)).unwrap().write("secret").unwrap(), Some(path.clone()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let failure = Destination::open(Some(&path)).unwrap_err();
        assert_eq!(failure.status, Status::Usage);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret\n", "it is as it was");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_without_a_credential_is_removed() {
        let path = path("unused");
        drop(Destination::open(Some(&path)).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_key_is_one_word() {
        assert_eq!(checked(&"kg_key_1\n".to_owned().into(), "").unwrap().expose_secret(), "kg_key_1");
        for wrong in ["", "\n", "two words", "kg\nkey", "k\u{fc}y"] {
            assert_eq!(
                checked(&wrong.to_owned().into(), "no key").unwrap_err().status,
                Status::Refused,
                "{wrong:?}"
            );
        }
    }
}

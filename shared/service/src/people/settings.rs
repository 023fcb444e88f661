//! Which tokens of people are accepted, and what their holders may do.

use std::collections::{BTreeMap, BTreeSet};

use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::identity::WorkspaceId;
use keygate_core::scope::{MAX_SCOPES, Scope};
use serde_json::{Map, Value};

use crate::people::signing_keys::SigningKeys;

const MUST_BE_SET: &str = "must be set if OIDC_ISSUER is";

/// The settings of people. A deployment without `OIDC_ISSUER` has none, and accepts no tokens of an identity provider.
#[derive(Debug)]
pub struct PeopleSettings {
    /// `OIDC_ISSUER`: the issuer, word for word as its tokens have it.
    pub issuer: String,
    /// `OIDC_AUDIENCE`: the audience, or the id of the client.
    pub audience: String,
    /// `OIDC_TOKEN_USE`: `access` (the default) or `id`.
    pub token_use: TokenUse,
    /// `OIDC_USER_CLAIM`: the claim with the user's id; `sub` by default.
    pub user_claim: ClaimName,
    /// `OIDC_WORKSPACE` or `OIDC_WORKSPACE_CLAIM`.
    pub workspace: WorkspaceSource,
    /// `OIDC_GROUPS_CLAIM`: the claim with the groups; `groups` by default.
    pub groups_claim: ClaimName,
    /// `OIDC_GROUP_SCOPES`: the scopes of each group that has any.
    pub group_scopes: BTreeMap<String, Vec<Scope>>,
    /// `OIDC_SCOPES`: the scopes of every person.
    pub scopes: Vec<Scope>,
    /// `OIDC_JWKS`: the signing keys, if they are not fetched.
    pub signing_keys: Option<SigningKeys>,
}

/// The kind of token that people present. One deployment accepts one kind (RFC 8725, section 3.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// Access tokens (RFC 9068, and those of providers that came before it).
    Access,
    /// ID tokens (`OpenID` Connect Core, section 2).
    Id,
}

impl TokenUse {
    /// `OIDC_TOKEN_USE`: `access` (the default) or `id`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is another text.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        match environment.text("OIDC_TOKEN_USE") {
            None | Some("access") => Ok(Self::Access),
            Some("id") => Ok(Self::Id),
            Some(_) => Err(InvalidVariable::new("OIDC_TOKEN_USE", "must be access or id")),
        }
    }
}

/// The workspace of a person.
#[derive(Debug, PartialEq, Eq)]
pub enum WorkspaceSource {
    /// The same for everyone.
    Fixed(WorkspaceId),
    /// The value of a claim.
    Claim(ClaimName),
}

/// Where a claim is: its name, or a JSON pointer (RFC 6901) if it begins with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName(String);

impl ClaimName {
    fn from_environment(environment: &Environment, name: &str, default: &str) -> Self {
        Self(environment.text(name).unwrap_or(default).to_owned())
    }

    /// The value of the claim.
    pub(super) fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let Some(pointer) = self.0.strip_prefix('/') else { return claims.get(&self.0) };
        let (first, rest) = pointer.split_at(pointer.find('/').unwrap_or(pointer.len()));
        claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
    }

    /// Whether this is the claim of the top level with the name `name`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.0.strip_prefix('/').unwrap_or(&self.0) == name
    }
}

impl PeopleSettings {
    /// Reads the settings from the environment; `None` without `OIDC_ISSUER`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is missing or invalid.
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, InvalidVariable> {
        let Some(issuer) = environment.text("OIDC_ISSUER") else { return Ok(None) };
        if !issuer.starts_with("https://") {
            return Err(InvalidVariable::new("OIDC_ISSUER", "must be an https address"));
        }
        let audience = environment.required("OIDC_AUDIENCE", MUST_BE_SET)?;
        let token_use = TokenUse::from_environment(environment)?;
        let workspace = match (environment.text("OIDC_WORKSPACE"), environment.text("OIDC_WORKSPACE_CLAIM")) {
            (Some(fixed), None) => {
                let invalid = |_| InvalidVariable::new("OIDC_WORKSPACE", "must be the id of a workspace");
                WorkspaceSource::Fixed(fixed.parse().map_err(invalid)?)
            }
            (None, Some(claim)) => WorkspaceSource::Claim(ClaimName(claim.to_owned())),
            _ => {
                let must_be = "must be set if OIDC_ISSUER is, unless OIDC_WORKSPACE_CLAIM is set instead";
                return Err(InvalidVariable::new("OIDC_WORKSPACE", must_be));
            }
        };
        let settings = Self {
            issuer: issuer.to_owned(),
            audience,
            token_use,
            user_claim: ClaimName::from_environment(environment, "OIDC_USER_CLAIM", "sub"),
            workspace,
            groups_claim: ClaimName::from_environment(environment, "OIDC_GROUPS_CLAIM", "groups"),
            group_scopes: group_scopes(environment)?,
            scopes: scopes_of_everyone(environment)?,
            signing_keys: signing_keys(environment)?,
        };
        let scopes: BTreeSet<&str> = settings
            .scopes
            .iter()
            .chain(settings.group_scopes.values().flatten())
            .map(Scope::as_str)
            .collect();
        if scopes.len() > MAX_SCOPES {
            let must_be = format!("must have, with OIDC_SCOPES, at most {MAX_SCOPES} different scopes");
            return Err(InvalidVariable { name: "OIDC_GROUP_SCOPES", must_be });
        }
        Ok(Some(settings))
    }
}

fn group_scopes(environment: &Environment) -> Result<BTreeMap<String, Vec<Scope>>, InvalidVariable> {
    let invalid = || {
        let must_be = "must be a JSON object with the scopes of each group, separated by spaces";
        InvalidVariable::new("OIDC_GROUP_SCOPES", must_be)
    };
    let text = environment.text("OIDC_GROUP_SCOPES").unwrap_or("{}");
    let groups: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| invalid())?;
    let groups = groups.into_iter().map(|(group, words)| Some((group, scopes(&words)?)));
    groups.collect::<Option<_>>().ok_or_else(invalid)
}

/// The scopes that everyone has, who can sign in. An administrator is named by a group.
fn scopes_of_everyone(environment: &Environment) -> Result<Vec<Scope>, InvalidVariable> {
    scopes(environment.text("OIDC_SCOPES").unwrap_or_default())
        .filter(|scopes| !scopes.contains(&Scope::workspace_admin()))
        .ok_or_else(|| {
            let must_be =
                "must be scopes separated by spaces, and not workspace:admin, which only a group can have";
            InvalidVariable::new("OIDC_SCOPES", must_be)
        })
}

fn signing_keys(environment: &Environment) -> Result<Option<SigningKeys>, InvalidVariable> {
    let parse = |text: &str| {
        SigningKeys::parse(text.as_bytes()).map_err(|_| {
            let must_be = "must be a JSON Web Key Set with a key for RS256 or ES256";
            InvalidVariable::new("OIDC_JWKS", must_be)
        })
    };
    environment.text("OIDC_JWKS").map(parse).transpose()
}

fn scopes(words: &str) -> Option<Vec<Scope>> {
    words.split_whitespace().map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &[(&'static str, &'static str)]) -> Result<Option<PeopleSettings>, InvalidVariable> {
        let variables = [
            ("OIDC_ISSUER", "https://login.example.com"),
            ("OIDC_AUDIENCE", "keys"),
            ("OIDC_WORKSPACE", "acme"),
        ];
        PeopleSettings::from_environment(&variables.into_iter().chain(more.iter().copied()).collect())
    }

    #[test]
    fn without_an_issuer_there_are_no_people() {
        assert!(read(&[("OIDC_ISSUER", "")]).unwrap().is_none());
        let settings = read(&[]).unwrap().unwrap();
        assert_eq!((settings.token_use, settings.scopes.len()), (TokenUse::Access, 0));
    }

    #[test]
    fn a_setting_that_is_missing_or_wrong_is_an_error_that_names_the_variable() {
        for (name, value) in [
            ("OIDC_ISSUER", "http://login.example.com"),
            ("OIDC_AUDIENCE", ""),
            ("OIDC_TOKEN_USE", "refresh"),
            ("OIDC_WORKSPACE", ""),
            ("OIDC_WORKSPACE", "Acme"),
            ("OIDC_SCOPES", "workspace:admin"),
            ("OIDC_SCOPES", "keys:read, keys:write"),
            ("OIDC_GROUP_SCOPES", "admins"),
            ("OIDC_GROUP_SCOPES", r#"{"admins": ["workspace:admin"]}"#),
            ("OIDC_GROUP_SCOPES", r#"{"admins": "keys:*"}"#),
            ("OIDC_JWKS", r#"{"keys": []}"#),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert_eq!(error.name, name, "{value}");
        }
        let both = read(&[("OIDC_WORKSPACE_CLAIM", "workspace")]).unwrap_err();
        assert_eq!(both.name, "OIDC_WORKSPACE");
    }

    #[test]
    fn people_have_no_more_scopes_than_a_key_may_have() {
        let scopes = |count: usize| -> &'static str {
            let scopes: Vec<_> = (0..count).map(|number| format!("s{number}")).collect();
            Box::leak(format!(r#"{{"g": "{}"}}"#, scopes.join(" ")).into_boxed_str())
        };
        assert!(read(&[("OIDC_SCOPES", "s0"), ("OIDC_GROUP_SCOPES", scopes(MAX_SCOPES))]).is_ok());
        assert!(read(&[("OIDC_SCOPES", "more"), ("OIDC_GROUP_SCOPES", scopes(MAX_SCOPES))]).is_err());
    }
}

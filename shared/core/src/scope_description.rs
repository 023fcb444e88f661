//! Descriptions of scopes, for a page on which people choose the scopes of a key.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::caller::Caller;
use crate::credential;
use crate::environment::{Environment, InvalidVariable};
use crate::scope::{
    ACTIVITY_READ, KEYS_READ, KEYS_WRITE, SESSIONS_WRITE, Scope, TOKENS_INTROSPECT, USERS_WRITE,
    WORKSPACE_ADMIN,
};
use crate::unicode;

/// The variable with the descriptions.
const VARIABLE: &str = "SCOPE_DESCRIPTIONS";
/// The maximum length of the text of all descriptions, in bytes. All variables of a function have at most 4 KB together.
const MAX_TEXT_LEN: usize = 2_048;
/// The maximum length of a description, in characters.
const MAX_DESCRIPTION_LEN: usize = 200;

/// The descriptions of Keygate's own scopes.
const BUILT_IN: [(&str, &str); 7] = [
    (ACTIVITY_READ, "Read the audit trail"),
    (KEYS_READ, "See all keys of the workspace"),
    (KEYS_WRITE, "See and change your own keys"),
    (SESSIONS_WRITE, "Open sessions for the users of the workspace"),
    (TOKENS_INTROSPECT, "Learn whether credentials of the workspace work, and what they may do"),
    (USERS_WRITE, "Remove and reinstate users"),
    (WORKSPACE_ADMIN, "Everything, with the keys of all users of the workspace"),
];

/// The descriptions that a deployment has configured, in their order, and Keygate's own.
#[derive(Clone, Debug)]
pub struct ScopeDescriptions {
    configured: Vec<(Scope, String)>,
    /// Those of Keygate's scopes that are not configured.
    built_in: Vec<(Scope, &'static str)>,
}

/// A scope that a caller may grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantableScope {
    /// The scope.
    pub name: Scope,
    /// Its description, if it has one.
    pub description: Option<String>,
}

impl ScopeDescriptions {
    /// `SCOPE_DESCRIPTIONS`: a JSON object of at most 2,048 bytes with descriptions of scopes; `{}` by default. It may replace
    /// descriptions of Keygate's own scopes.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not such an object, names a scope twice or a text that is no scope, or when a description is
    /// empty, has more than 200 characters, is not one line of plain text, or contains a credential.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        let invalid = |reason: &str| {
            InvalidVariable::new(VARIABLE, &format!("must have descriptions of scopes: {reason}"))
        };
        let text = environment.text(VARIABLE).unwrap_or("{}");
        if text.len() > MAX_TEXT_LEN {
            return Err(invalid(&format!("it has more than {MAX_TEXT_LEN} bytes")));
        }
        let Members(members) = serde_json::from_str(text)
            .map_err(|_| invalid("it is not a JSON object whose values are all strings"))?;
        let mut configured: Vec<(Scope, String)> = Vec::new();
        for (index, (name, description)) in members.into_iter().enumerate() {
            // A text that is no scope is not repeated, because it may be anything.
            let scope: Scope =
                name.parse().map_err(|reason| invalid(&format!("name {} {reason}", index + 1)))?;
            if configured.iter().any(|(earlier, _)| *earlier == scope) {
                return Err(invalid(&format!("{scope} is repeated")));
            }
            check(&description).map_err(|reason| invalid(&format!("the description of {scope} {reason}")))?;
            configured.push((scope, description));
        }
        let built_in = BUILT_IN.iter().filter_map(|(name, description)| {
            let is_configured = configured.iter().any(|(scope, _)| scope.as_str() == *name);
            Some((name.parse().ok().filter(|_| !is_configured)?, *description))
        });
        Ok(Self { built_in: built_in.collect(), configured })
    }

    /// The scopes that a caller may grant to a new key: the configured ones in their order, and the others by name.
    ///
    /// A caller who [may not create keys](Caller::require_to_create_keys) grants none. An administrator may grant every scope; these are
    /// the scopes that have a description, and those of the credential.
    #[must_use]
    pub fn grantable_by(&self, caller: &Caller) -> Vec<GrantableScope> {
        if caller.require_to_create_keys().is_err() {
            return Vec::new();
        }
        let mut others: BTreeMap<&str, (&Scope, Option<&str>)> =
            caller.scopes.iter().map(|scope| (scope.as_str(), (scope, None))).collect();
        for (scope, description) in &self.built_in {
            others.insert(scope.as_str(), (scope, Some(*description)));
        }
        for (scope, _) in &self.configured {
            others.remove(scope.as_str());
        }
        let configured =
            self.configured.iter().map(|(scope, description)| (scope, Some(description.as_str())));
        let all = configured.chain(others.into_values());
        let grantable = all.filter(|(scope, _)| caller.require_to_grant(scope).is_ok());
        grantable
            .map(|(scope, description)| GrantableScope {
                name: scope.clone(),
                description: description.map(str::to_owned),
            })
            .collect()
    }
}

/// What is wrong with a description, if anything.
fn check(description: &str) -> Result<(), String> {
    if description.trim().is_empty() {
        Err("is empty".to_owned())
    } else if description.chars().count() > MAX_DESCRIPTION_LEN {
        Err(format!("has more than {MAX_DESCRIPTION_LEN} characters"))
    } else if description.chars().any(|char| char.is_control() || unicode::is_layout_control(char)) {
        Err("has control characters".to_owned())
    } else if credential::contains_credential(description) {
        Err("contains a credential".to_owned())
    } else {
        Ok(())
    }
}

/// The members of a JSON object of strings, in their order and with those that are repeated.
struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential_class::{CredentialKind, OldSecret};
    use crate::fixtures;

    fn descriptions(text: &str) -> Result<ScopeDescriptions, InvalidVariable> {
        ScopeDescriptions::from_environment(&Environment::from_iter([(VARIABLE, text)]))
    }

    fn caller(scopes: &[&str]) -> Caller {
        Caller { scopes: fixtures::scopes(scopes), ..fixtures::caller() }
    }

    /// The names and descriptions of the scopes that a caller with these scopes may grant.
    fn granted(text: &str, caller: &Caller) -> Vec<(String, Option<String>)> {
        let granted = descriptions(text).unwrap().grantable_by(caller).into_iter();
        granted.map(|scope| (scope.name.to_string(), scope.description)).collect()
    }

    fn names(text: &str, caller: &Caller) -> Vec<String> {
        granted(text, caller).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn every_built_in_description_is_of_a_scope_and_would_be_accepted() {
        assert_eq!(descriptions("").unwrap().built_in.len(), BUILT_IN.len());
        assert!(BUILT_IN.iter().all(|(_, description)| check(description).is_ok()));
    }

    #[test]
    fn an_error_says_which_description_is_wrong() {
        for (text, reason) in [
            ("[]", "it is not a JSON object whose values are all strings"),
            ("{", "it is not a JSON object whose values are all strings"),
            (r#"{"a": 1}"#, "it is not a JSON object whose values are all strings"),
            (r#"{"a": "A"} x"#, "it is not a JSON object whose values are all strings"),
            (r#"{"a": "A", "B": "B"}"#, "name 2 must be 1 to 64 characters"),
            (r#"{"a:*": "A"}"#, "name 1 must not have a *"),
            (r#"{"a": "A", "a": "B"}"#, "a is repeated"),
            (r#"{"a": " "}"#, "the description of a is empty"),
            (r#"{"a": "x\ny"}"#, "the description of a has control characters"),
            (r#"{"a": "x\u202ey"}"#, "the description of a has control characters"),
            (&format!(r#"{{"a": "{}"}}"#, "x".repeat(201)), "the description of a has more than 200"),
            (&format!(r#"{{"a": "A"{}}}"#, " ".repeat(2_039)), "it has more than 2048 bytes"),
        ] {
            let error = descriptions(text).unwrap_err();
            assert!(error.must_be.contains(reason), "{text}: {error}");
        }
        assert!(descriptions(&format!(r#"{{"a": "{}"}}"#, "é".repeat(200))).is_ok());
        assert!(descriptions(&format!(r#"{{"a": "A"{}}}"#, " ".repeat(2_037))).is_ok());
    }

    #[test]
    fn a_caller_grants_its_own_scopes_in_the_order_of_the_deployment_and_then_by_name() {
        let text = r#"{"orders:write": "Change orders", "orders:read": "See orders", "other": "Not held"}"#;
        let caller = caller(&["z:z", KEYS_WRITE, "orders:read", "a:a", "orders:write"]);
        let text_of = |text: &str| Some(text.to_owned());
        assert_eq!(
            granted(text, &caller),
            [
                ("orders:write".to_owned(), text_of("Change orders")),
                ("orders:read".to_owned(), text_of("See orders")),
                ("a:a".to_owned(), None),
                (KEYS_WRITE.to_owned(), text_of("See and change your own keys")),
                ("z:z".to_owned(), None),
            ]
        );
    }

    #[test]
    fn the_deployment_replaces_a_description_of_keygate() {
        let text = format!(r#"{{"{KEYS_WRITE}": "Manage keys"}}"#);
        let expected = (KEYS_WRITE.to_owned(), Some("Manage keys".to_owned()));
        assert_eq!(granted(&text, &caller(&[KEYS_WRITE])), [expected]);
    }

    #[test]
    fn an_administrator_is_shown_every_described_scope() {
        let own = BUILT_IN.map(|(name, _)| name.to_owned());
        assert_eq!(names("", &caller(&[WORKSPACE_ADMIN])), own);
        let listed = names(r#"{"orders:read": "See orders"}"#, &caller(&[WORKSPACE_ADMIN]));
        assert_eq!(listed[0], "orders:read");
        assert_eq!(listed[1..], own);
    }

    #[test]
    fn only_an_administrator_grants_the_scope_that_opens_sessions() {
        assert_eq!(names("", &caller(&[KEYS_WRITE, SESSIONS_WRITE])), [KEYS_WRITE]);
        let text = format!(r#"{{"{SESSIONS_WRITE}": "Sign users in"}}"#);
        assert_eq!(names(&text, &caller(&[KEYS_WRITE, SESSIONS_WRITE])), [KEYS_WRITE]);
    }

    #[test]
    fn a_caller_who_may_not_create_keys_grants_no_scope() {
        let writer = caller(&[KEYS_WRITE, "orders:read"]);
        assert_eq!(names("", &writer).len(), 2);
        for refused in [
            caller(&[KEYS_READ, "orders:read"]),
            Caller { credential: CredentialKind::AccessToken, ..writer.clone() },
            Caller { credential: CredentialKind::LegacyKey, ..writer.clone() },
            Caller { old_secret: Some(OldSecret::Transferred), ..writer.clone() },
            Caller { limits: fixtures::limits(&["10/second"]), ..writer },
        ] {
            assert_eq!(names("", &refused), [""; 0], "{refused:?}");
        }
    }
}

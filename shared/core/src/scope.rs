//! Scopes: words that a key carries to the backend. Seven of them have a meaning in Keygate itself.

use thiserror::Error as ThisError;

use crate::newtype::consists_of;

/// Sees the workspace's keys.
pub const KEYS_READ: &str = "keys:read";
/// Acts on the caller's own keys.
pub const KEYS_WRITE: &str = "keys:write";
/// Sees the workspace's audit trail.
pub const ACTIVITY_READ: &str = "activity:read";
/// Removes users of the workspace, with their keys, and reinstates them.
pub const USERS_WRITE: &str = "users:write";
/// Opens sessions for the users of the workspace. Only administrators grant it.
pub const SESSIONS_WRITE: &str = "sessions:write";
/// Introspects the credentials of the workspace.
pub const TOKENS_INTROSPECT: &str = "tokens:introspect";
/// Holds every scope and acts on everyone's keys.
pub const WORKSPACE_ADMIN: &str = "workspace:admin";

/// The scopes that have a meaning in Keygate itself. No other API acts on them.
const OWN: [&str; 7] =
    [KEYS_READ, KEYS_WRITE, ACTIVITY_READ, USERS_WRITE, SESSIONS_WRITE, TOKENS_INTROSPECT, WORKSPACE_ADMIN];

/// Whether a credential with these scopes holds one. An administrator holds every scope.
#[must_use]
pub fn hold(scopes: &[Scope], wanted: &str) -> bool {
    scopes.iter().any(|held| [wanted, WORKSPACE_ADMIN].contains(&held.as_str()))
}

/// The maximum number of scopes of a key.
pub const MAX_SCOPES: usize = 50;

string_newtype! {
    /// One scope: `[a-z0-9:._-]{1,64}`.
    ///
    /// Keygate compares scopes word for word. A `*` is refused: it would look like a wildcard and grant nothing but itself.
    Scope or InvalidScope, by |text| {
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b':' | b'.' | b'_' | b'-');
        if text.contains('*') {
            Err(InvalidScope::Wildcard)
        } else if consists_of(text, 1..=64, allowed) {
            Ok(())
        } else {
            Err(InvalidScope::Characters)
        }
    }
}

/// The error of a text that is not a [`Scope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum InvalidScope {
    /// It is empty, too long, or has other characters.
    #[error("must be 1 to 64 characters of a-z, 0-9, ':', '.', '_' and '-'")]
    Characters,
    /// It has a `*`.
    #[error("must not have a *: scopes have no wildcards, so name each scope")]
    Wildcard,
}

impl Scope {
    /// The scope of an administrator.
    #[must_use]
    pub fn workspace_admin() -> Self {
        Self(WORKSPACE_ADMIN.to_owned())
    }

    /// Whether the scope has a meaning in Keygate itself.
    #[must_use]
    pub fn is_own(&self) -> bool {
        OWN.contains(&self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_of_an_adopter_is_not_one_of_keygates_own() {
        for (scope, is_own) in [
            ("keys:read", true),
            ("keys:write", true),
            ("activity:read", true),
            ("users:write", true),
            ("sessions:write", true),
            ("tokens:introspect", true),
            ("workspace:admin", true),
            ("orders:read", false),
            ("keys:reader", false),
            ("workspace", false),
        ] {
            assert_eq!(scope.parse::<Scope>().unwrap().is_own(), is_own, "{scope}");
        }
    }

    #[test]
    fn a_scope_is_a_word_and_has_no_wildcard() {
        for valid in ["orders:read", "a", "urn:x.y_z-1", &"s".repeat(64)] {
            assert!(valid.parse::<Scope>().is_ok(), "{valid}");
        }
        for invalid in ["", "Orders:read", "a b", "a/b", "é", &"s".repeat(65)] {
            assert_eq!(invalid.parse::<Scope>(), Err(InvalidScope::Characters), "{invalid}");
        }
        for wildcard in ["*", "orders:*", "orders:re*d"] {
            assert_eq!(wildcard.parse::<Scope>(), Err(InvalidScope::Wildcard), "{wildcard}");
        }
    }
}

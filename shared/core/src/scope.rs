//! Scopes: words that a key carries to the backend. Six of them have a meaning in Keygate itself.

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
/// Reserved for the introspection of other users' credentials.
pub const TOKENS_INTROSPECT: &str = "tokens:introspect";
/// Holds every scope and acts on everyone's keys.
pub const WORKSPACE_ADMIN: &str = "workspace:admin";

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
}

#[cfg(test)]
mod tests {
    use super::*;

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

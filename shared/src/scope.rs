//! Scopes: the words that a key carries to the backend, and the few that Keygate itself gives a meaning.

use crate::word::{consists_of, word};

/// Sees the workspace's keys.
pub const KEYS_READ: &str = "keys:read";
/// Acts on the caller's own keys.
pub const KEYS_WRITE: &str = "keys:write";
/// Sees the workspace's audit trail.
pub const ACTIVITY_READ: &str = "activity:read";
/// Removes users of the workspace, with their keys, and reinstates them.
pub const USERS_WRITE: &str = "users:write";
/// Holds every scope and acts on everyone's keys.
pub const WORKSPACE_ADMIN: &str = "workspace:admin";

/// The most scopes a key may have.
pub const MOST_SCOPES: usize = 50;

word! {
    /// One scope: `[a-z0-9:._*-]{1,64}`.
    ///
    /// Keygate compares scopes as they stand; a `*` means what the backend makes of it.
    Scope is |text| {
        consists_of(text, 1..=64, |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b':' | b'.' | b'_' | b'*' | b'-'))
    },
    or else
    /// A text that is no [`Scope`].
    InvalidScope: "must be 1 to 64 characters of a-z, 0-9, ':', '.', '_', '*' and '-'"
}

impl Scope {
    /// The scope of an administrator.
    #[must_use]
    pub fn workspace_admin() -> Self {
        Self(WORKSPACE_ADMIN.to_owned())
    }
}

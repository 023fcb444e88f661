//! A key as it is stored, and its status at an instant.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::credential::KeyId;
use crate::endpoint_rule::EndpointRule;
use crate::identity::{UserId, WorkspaceId};
use crate::name::Name;
use crate::pepper::{PreviousHash, SecretHash};
use crate::scope::Scope;

/// A key, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOwner {
    /// The tenant.
    pub workspace_id: WorkspaceId,
    /// Whose key it is.
    pub user_id: UserId,
    /// The key.
    pub key_id: KeyId,
}

/// The longest description, in characters.
pub const MAX_DESCRIPTION_LEN: usize = 500;

/// How long after its expiry a key still holds its name and its place in its user's quota: the clocks of two functions may differ by
/// that much, and a key that one of them lets in must not have lost either to the other.
pub const CLOCK_SKEW: TimeDelta = TimeDelta::seconds(2);

/// What is known of a key, without anything that could be checked against its secret.
///
/// Times are whole seconds, in the table as numbers since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its public id.
    pub key_id: KeyId,
    /// Its tenant.
    pub workspace_id: WorkspaceId,
    /// Whom it acts as.
    pub user_id: UserId,
    /// Unique in the workspace, compared by [`Name::folded`].
    pub name: Name,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it carries to the backend.
    pub scopes: Vec<Scope>,
    /// Where it may be used; everywhere, if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointRule>,
    /// When it was made.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub created_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: UserId,
    /// Grows with every change but use.
    pub revision: u64,
    /// When it stops working.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// When it is gone: an expired key is kept for a while, to be seen as expired. `DynamoDB` deletes it some time
    /// later.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<DateTime<Utc>>,
    /// Since when it is switched off.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<DateTime<Utc>>,
    /// Until when the secret before the last rotation works. It is in the past, or missing, when there is none.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub previous_expires_at: Option<DateTime<Utc>>,
    /// Whether that secret is the one of the user from whom the key was taken over.
    #[serde(default, skip_serializing_if = "is_false")]
    pub previous_transferred: bool,
    /// Whether the key was handed over and not rotated since: its hash is of no secret, and only the previous one is in use.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unclaimed: bool,
    /// How often it got another hash. What was made with a previous secret ends with the rotation that ends that secret.
    #[serde(default)]
    pub rotation: u64,
    /// When the passing of time does something to it next; see [`crate::lifecycle`].
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// When it was last used. Stored as 0 until then, because an index holds only items that have its attribute.
    #[serde(with = "crate::time::zero_until_used")]
    pub last_used_at: Option<DateTime<Utc>>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde's `skip_serializing_if` calls"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Whether a key works, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works.
    Active,
    /// Its time is over, which nothing but a new expiry changes.
    Expired,
    /// Somebody switched it off.
    Disabled,
}

impl Key {
    /// The status at an instant. The second of the expiry itself is already after it.
    #[must_use]
    pub fn status(&self, now: DateTime<Utc>) -> Status {
        if self.expires_at.is_some_and(|expires_at| expires_at <= now) {
            Status::Expired
        } else if self.disabled_at.is_some() {
            Status::Disabled
        } else {
            Status::Active
        }
    }

    /// Since when nobody has used it: since its last use, or its creation if there was none.
    #[must_use]
    pub fn unused_since(&self) -> DateTime<Utc> {
        self.last_used_at.unwrap_or(self.created_at)
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> KeyOwner {
        let Self { workspace_id, user_id, key_id, .. } = self;
        KeyOwner { workspace_id: workspace_id.clone(), user_id: user_id.clone(), key_id: *key_id }
    }

    /// Whether a secret is in use that is not the current one.
    #[must_use]
    pub fn in_overlap(&self, now: DateTime<Utc>) -> bool {
        self.previous_expires_at.is_some_and(|end| now < end)
    }

    /// Whether the key expired long enough ago to hold neither its name nor a place in its user's quota.
    #[must_use]
    pub fn has_lapsed(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at + CLOCK_SKEW <= now)
    }

    /// Whether the key is past its `ttl`, and so to be treated as deleted although `DynamoDB` may not have got to it.
    #[must_use]
    pub fn is_gone(&self, now: DateTime<Utc>) -> bool {
        self.ttl.is_some_and(|ttl| ttl <= now)
    }
}

/// When a key that expires is gone: `retention` later, and never for one that does not expire.
#[must_use]
pub fn ttl(expires_at: Option<DateTime<Utc>>, retention: TimeDelta) -> Option<DateTime<Utc>> {
    expires_at.map(|expires_at| expires_at + retention)
}

/// A key with the hash of its secret, as only the authorizer and an idempotent create read it.
#[derive(Debug, Serialize, Deserialize)]
pub struct HashedKey {
    /// The key.
    #[serde(flatten)]
    pub key: Key,
    /// What a presented secret is checked against.
    #[serde(flatten)]
    pub hash: SecretHash,
    /// The same for the secret before the last rotation.
    #[serde(flatten)]
    pub previous: Option<PreviousHash>,
    /// Which of its tokens work.
    #[serde(flatten)]
    pub generation: Generation,
}

impl HashedKey {
    /// The hashes of the secrets that work at an instant, the current one first.
    pub fn hashes(&self, now: DateTime<Utc>) -> impl Iterator<Item = SecretHash> {
        let previous = self.previous.as_ref().filter(|_| self.key.in_overlap(now)).map(SecretHash::from);
        std::iter::once(self.hash.clone()).chain(previous)
    }
}

/// The tokens of a key that work are those that were made under its present generation. Revoking all of them, however many
/// there are, is counting it up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Generation {
    #[serde(default, rename = "token_generation")]
    number: u64,
}

impl Generation {
    /// Its number: a later one is greater.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number
    }

    #[cfg(test)]
    pub(crate) fn from_number(number: u64) -> Self {
        Self { number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, at};

    fn key(expires_at: Option<i64>, disabled: bool) -> Key {
        let expires_at = expires_at.map(at);
        Key {
            expires_at,
            ttl: ttl(expires_at, TimeDelta::seconds(100)),
            disabled_at: disabled.then(|| at(2)),
            ..fixtures::key()
        }
    }

    #[test]
    fn a_key_expires_to_the_second() {
        assert_eq!(key(Some(1000), false).status(at(999)), Status::Active);
        assert_eq!(key(Some(1000), false).status(at(1000)), Status::Expired);
        assert_eq!(key(None, false).status(at(1_000_000)), Status::Active);
    }

    #[test]
    fn a_disabled_key_is_disabled_until_it_is_expired() {
        assert_eq!(key(Some(1000), true).status(at(999)), Status::Disabled);
        assert_eq!(key(Some(1000), true).status(at(1000)), Status::Expired);
        assert_eq!(key(None, true).status(at(1000)), Status::Disabled);
    }

    #[test]
    fn a_key_lets_go_when_it_has_expired_on_every_clock() {
        assert!(!key(Some(1000), false).has_lapsed(at(1001)));
        assert!(key(Some(1000), true).has_lapsed(at(1002)));
        assert!(!key(None, true).has_lapsed(at(i64::from(u32::MAX))));
    }

    #[test]
    fn an_expired_key_is_gone_after_its_retention() {
        assert!(!key(Some(1000), false).is_gone(at(1099)));
        assert!(key(Some(1000), false).is_gone(at(1100)));
        assert!(!key(None, false).is_gone(at(i64::from(u32::MAX))));
    }
    #[test]
    fn an_old_secret_works_to_the_second_before_its_overlap_ends() {
        let key = Key { previous_expires_at: Some(at(60)), ..fixtures::key() };
        assert!(key.in_overlap(at(59)) && !key.in_overlap(at(60)));
        assert!(!fixtures::key().in_overlap(at(0)), "a key that was never rotated has no old secret");
    }

    #[test]
    fn a_key_that_was_never_used_is_unused_since_its_creation() {
        assert_eq!(fixtures::key().unused_since(), at(0));
        let used = Key { last_used_at: Some(at(7)), ..fixtures::key() };
        assert_eq!(used.unused_since(), at(7));
    }

    #[test]
    fn a_stored_key_says_only_what_it_has_and_is_read_as_it_was_written() {
        let stored = serde_json::to_value(fixtures::key()).unwrap();
        for absent in ["description", "endpoints", "expires_at", "ttl", "due_at", "unclaimed"] {
            assert!(stored.get(absent).is_none(), "{absent}");
        }
        assert_eq!(stored["last_used_at"], 0, "an index holds only items that have its attribute");
        let overlap = Key { unclaimed: true, previous_transferred: true, ..key(Some(1000), true) };
        for key in [fixtures::key(), overlap] {
            let stored = serde_json::to_value(&key).unwrap();
            assert_eq!(serde_json::from_value::<Key>(stored).unwrap(), key);
        }
    }
}

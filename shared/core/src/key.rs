//! A key as it is stored, and its status at an instant.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::credential::KeyId;
use crate::endpoint_rule::EndpointRule;
use crate::identity::{UserId, WorkspaceId};
use crate::limit::Limits;
use crate::metadata::Metadata;
use crate::name::Name;
use crate::network::Network;
use crate::pepper::{PreviousHash, SecretHash};
use crate::permissions::Permissions;
use crate::response_size::ResponseParts;
use crate::scope::Scope;

/// The id of a key, with its workspace and user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOwner {
    /// The tenant.
    pub workspace_id: WorkspaceId,
    /// The user that the key belongs to.
    pub user_id: UserId,
    /// The key.
    pub key_id: KeyId,
}

/// The maximum length of a description, in characters.
pub const MAX_DESCRIPTION_LEN: usize = 500;

/// How long after its expiry a key still holds its name and its place in the quota. The clocks of two functions may differ by
/// this much; a key that one of them still accepts must not have lost its name by the clock of the other.
pub const CLOCK_SKEW: TimeDelta = TimeDelta::seconds(2);

/// A key without the hash of its secret.
///
/// Times are whole seconds, stored as seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its public id.
    pub key_id: KeyId,
    /// Its tenant.
    pub workspace_id: WorkspaceId,
    /// The user that it belongs to and acts as.
    pub user_id: UserId,
    /// Its name, unique in the workspace by [`Name::folded`].
    pub name: Name,
    /// Its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its scopes.
    pub scopes: Vec<Scope>,
    /// Its endpoint rules. Without any it may be used everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointRule>,
    /// Its networks. Without any it may be used from every address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// Its metadata.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// How many calls it may make. Without any limit it makes any number.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// When it was created.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub created_at: DateTime<Utc>,
    /// The user who created it.
    pub created_by: UserId,
    /// Counts the changes of the key. Use is not a change.
    pub revision: u64,
    /// When it expires.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// The end of its retention after it expired. Reads ignore it from then on; `DynamoDB` deletes it some time later.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<DateTime<Utc>>,
    /// When it was disabled, if it is.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<DateTime<Utc>>,
    /// When its secret was reported as leaked, if it was. The key stays disabled until a rotation without an overlap.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub leaked_at: Option<DateTime<Utc>>,
    /// The end of the overlap, in which the secret before the last rotation works.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub previous_expires_at: Option<DateTime<Utc>>,
    /// Whether that secret is the one of a former user, from whom the key was handed over.
    #[serde(default, skip_serializing_if = "is_false")]
    pub previous_transferred: bool,
    /// Whether the key was handed over and not rotated since. No secret matches its hash, so only the previous secret is in use.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unclaimed: bool,
    /// The number of rotations and handovers. The next one ends the tokens that were issued to an old secret.
    #[serde(default)]
    pub rotation: u64,
    /// When its next [lifecycle event](crate::lifecycle) is due.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde's `skip_serializing_if` calls"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// The status of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works.
    Active,
    /// Its expiry has passed, whether or not it is disabled too.
    Expired,
    /// It is disabled.
    Disabled,
}

impl Key {
    /// The status at an instant. A key is expired from the second of its expiry.
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

    /// Its id with its workspace and user.
    #[must_use]
    pub fn owner(&self) -> KeyOwner {
        let Self { workspace_id, user_id, key_id, .. } = self;
        KeyOwner { workspace_id: workspace_id.clone(), user_id: user_id.clone(), key_id: *key_id }
    }

    /// What it may do, where, and from which addresses.
    #[must_use]
    pub fn permissions(&self) -> Permissions<'_> {
        Permissions { scopes: &self.scopes, endpoints: &self.endpoints, networks: &self.networks }
    }

    /// Its attributes that an authorizer's response contains.
    #[must_use]
    pub fn response_parts(&self) -> ResponseParts<'_> {
        let Self { scopes, endpoints, networks, metadata, .. } = self;
        ResponseParts { scopes, endpoints, networks, metadata }
    }

    /// Whether the previous secret works at an instant.
    #[must_use]
    pub(crate) fn in_overlap(&self, now: DateTime<Utc>) -> bool {
        self.previous_expires_at.is_some_and(|end| now < end)
    }

    /// Whether the key has expired by more than [`CLOCK_SKEW`], so that it holds neither its name nor a place in the quota.
    #[must_use]
    pub fn has_lapsed(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at + CLOCK_SKEW <= now)
    }

    /// Whether the key is past its `ttl`. Reads treat it as deleted, because `DynamoDB` may delete it late.
    #[must_use]
    pub fn is_gone(&self, now: DateTime<Utc>) -> bool {
        self.ttl.is_some_and(|ttl| ttl <= now)
    }
}

/// The last use of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// When it was used.
    pub at: DateTime<Utc>,
    /// The address of the sender; `None` if the event of the call did not have it.
    pub from: Option<String>,
}

/// A key with its last use, which is stored apart from the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedKey {
    /// The key.
    pub record: Key,
    /// Its last use; `None` if it was never used.
    pub last_use: Option<LastUse>,
}

impl UsedKey {
    /// When the key was last used, or created if it was never used.
    #[must_use]
    pub fn unused_since(&self) -> DateTime<Utc> {
        self.last_use.as_ref().map_or(self.record.created_at, |last| last.at)
    }
}

/// The `ttl` of a key: its expiry and `retention`. A key that does not expire has none.
#[must_use]
pub fn ttl(expires_at: Option<DateTime<Utc>>, retention: TimeDelta) -> Option<DateTime<Utc>> {
    expires_at.map(|expires_at| expires_at + retention)
}

/// A key with its hashes. Only the authorizers and an idempotent create read it.
#[derive(Debug, Serialize, Deserialize)]
pub struct HashedKey {
    /// The key.
    #[serde(flatten)]
    pub record: Key,
    /// The hash of the current secret.
    #[serde(flatten)]
    pub hash: SecretHash,
    /// The hash of the secret before the last rotation.
    #[serde(flatten)]
    pub previous: Option<PreviousHash>,
    /// The present generation of its tokens.
    #[serde(flatten)]
    pub generation: Generation,
}

impl HashedKey {
    /// The hashes of the secrets that work at an instant, the current one first.
    pub fn hashes(&self, now: DateTime<Utc>) -> impl Iterator<Item = SecretHash> {
        let previous = self.previous.as_ref().filter(|_| self.record.in_overlap(now)).map(SecretHash::from);
        std::iter::once(self.hash.clone()).chain(previous)
    }
}

/// A generation of the tokens of a key. Tokens of an earlier generation are revoked, so one increment revokes all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Generation {
    #[serde(default, rename = "token_generation")]
    number: u64,
}

impl Generation {
    /// The number of the generation. A later one is greater.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number
    }

    /// The generation with a number.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self { number }
    }
}

/// The state of the secrets of a key. It changes with each rotation, handover and revocation of all tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    /// The number of rotations and handovers of the key.
    pub rotation: u64,
    /// The generation of the tokens of the key.
    #[serde(flatten)]
    pub generation: Generation,
}

impl KeyState {
    /// The state of a key as it was read.
    #[must_use]
    pub fn of(key: &Key, generation: Generation) -> Self {
        Self { rotation: key.rotation, generation }
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
        let used = |last_use| UsedKey { record: fixtures::key(), last_use };
        assert_eq!(used(None).unused_since(), at(0));
        assert_eq!(used(Some(LastUse { at: at(7), from: None })).unused_since(), at(7));
    }

    #[test]
    fn a_stored_key_has_no_empty_attributes_and_is_read_as_written() {
        let stored = serde_json::to_value(fixtures::key()).unwrap();
        for absent in [
            "description",
            "endpoints",
            "networks",
            "metadata",
            "limits",
            "expires_at",
            "ttl",
            "due_at",
            "leaked_at",
            "unclaimed",
        ] {
            assert!(stored.get(absent).is_none(), "{absent}");
        }
        let overlap = Key { unclaimed: true, previous_transferred: true, ..key(Some(1000), true) };
        let leaked = Key { leaked_at: Some(at(3)), ..key(None, true) };
        for key in [fixtures::key(), overlap, leaked] {
            let stored = serde_json::to_value(&key).unwrap();
            assert_eq!(serde_json::from_value::<Key>(stored).unwrap(), key);
        }
    }
}

//! What is stored of a key and of a token, and their status at an instant.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::activity::Holder;
use crate::caller::{UserId, WorkspaceId};
use crate::credential::{self, FamilyId, KeyId, TokenId};
use crate::endpoint::EndpointRule;
use crate::pepper::{PreviousHash, SecretHash};
use crate::scope::Scope;
use crate::text;

/// The longest name, in characters.
pub const LONGEST_NAME: usize = 100;
/// The longest folded name, in bytes: it is part of a key of the `workspaces` table, which `DynamoDB` bounds.
const LONGEST_FOLDED_NAME: usize = 512;
/// The longest description, in characters.
pub const LONGEST_DESCRIPTION: usize = 500;
/// How long after its expiry a key still holds its name and its place in its user's quota: the clocks of two functions may differ by
/// that much, and a key that one of them lets in must not have lost either to the other.
pub const CLOCK_SKEW: TimeDelta = TimeDelta::seconds(2);

/// The name of a key: 1 to 100 characters without control characters, one of them visible, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(String);

/// A text that is no [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// Nothing of it is seen.
    #[error("must have at least one visible character")]
    Invisible,
    /// It has more than [`LONGEST_NAME`] characters, or its folded form would be too long to store.
    #[error("must have at most 100 characters")]
    TooLong,
    /// It has a control character.
    #[error("must have no control characters")]
    ControlCharacter,
    /// It has a character that makes it look like another name.
    #[error("{}", text::NO_LAYOUT_CONTROLS)]
    LayoutControl,
    /// It is a credential, or contains one.
    #[error("{}", credential::MUST_NOT_BE)]
    Credential,
}

impl Name {
    /// Trims and checks a name as it was sent.
    ///
    /// # Errors
    ///
    /// One variant of [`InvalidName`] for each way not to be a name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        // The bound in bytes comes first, so that nothing long is ever folded.
        if text.len() > 4 * LONGEST_NAME || text.chars().count() > LONGEST_NAME {
            return Err(InvalidName::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidName::ControlCharacter);
        }
        if text.chars().any(text::is_layout_control) {
            return Err(InvalidName::LayoutControl);
        }
        if !text::is_visible(text) {
            return Err(InvalidName::Invisible);
        }
        if credential::is_within(text) {
            return Err(InvalidName::Credential);
        }
        let name = Self(text.to_owned());
        if name.folded().len() > LONGEST_FOLDED_NAME {
            return Err(InvalidName::TooLong);
        }
        Ok(name)
    }

    /// The form in which names are compared: [`text::fold`]ed, and without white space around it.
    #[must_use]
    pub fn folded(&self) -> String {
        text::fold(&self.0).trim().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

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
    /// When the passing of time does something to it next; see [`crate::clock`].
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// When it was last used. Stored as 0 until then, because an index holds only items that have its attribute.
    #[serde(with = "zero_until_used")]
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
    pub fn holder(&self) -> Holder {
        let Self { workspace_id, user_id, key_id, .. } = self;
        Holder { workspace_id: workspace_id.clone(), user_id: user_id.clone(), key_id: *key_id }
    }

    /// Whether a secret is in use that is not the current one.
    #[must_use]
    pub fn in_overlap(&self, now: DateTime<Utc>) -> bool {
        self.previous_expires_at.is_some_and(|end| now < end)
    }

    /// Whether the key expired long enough ago to hold neither its name nor a place in its user's quota.
    #[must_use]
    pub fn has_let_go(&self, now: DateTime<Utc>) -> bool {
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
}

/// A key as what is asked of its tokens needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenKey {
    /// The key.
    #[serde(flatten)]
    pub key: Key,
    /// Which of its tokens work.
    #[serde(flatten)]
    pub generation: Generation,
}

/// What is known of a token, without anything that could be checked against its secret.
///
/// Times are whole seconds, in the table as numbers since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The key that it was made with.
    pub key_id: KeyId,
    /// Its public id.
    #[serde(rename = "entry", with = "token_entry")]
    pub token_id: TokenId,
    /// What it is for.
    pub kind: TokenKind,
    /// What it carries to the backend, as far as its key still does.
    pub scopes: Vec<Scope>,
    /// Where its key could be used when it was made; everywhere, if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointRule>,
    /// That of its key when it was made.
    #[serde(flatten)]
    pub generation: Generation,
    /// Of a token that was made with a previous secret: how often its key had got another hash by then. It ends with the next
    /// time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_in_overlap: Option<u64>,
    /// When it was made.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub created_at: DateTime<Utc>,
    /// When it stops working, and when `DynamoDB` may delete it.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub expires_at: DateTime<Utc>,
    /// When it was last used.
    #[serde(with = "zero_until_used")]
    pub last_used_at: Option<DateTime<Utc>>,
}

impl Token {
    /// Whether the secret or the generation that it was made under has ended since.
    #[must_use]
    pub fn has_ended_with(&self, key: &TokenKey) -> bool {
        self.generation != key.generation
            || self.made_in_overlap.is_some_and(|rotation| rotation != key.key.rotation)
    }
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// It opens APIs.
    AccessToken,
    /// It gets another access token and another refresh token, once.
    RefreshToken,
}

/// A token with the hash of its secret, as only those read it who compare secrets.
#[derive(Debug, Serialize, Deserialize)]
pub struct HashedToken {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// What a presented secret is checked against.
    #[serde(flatten)]
    pub hash: SecretHash,
}

/// A refresh token, those that come after it, and their access tokens: what is revoked together.
///
/// Its refresh tokens come in *steps*. Using one of the present step gets the first token of the next. Using one of the step before
/// again, within the time that the deployment allows for that, gets a sibling of that first token. The numbers of a step's tokens
/// follow each other and are greater than those of the step before, so the number of a token says of which step it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// The key of all of them.
    pub key_id: KeyId,
    /// Its id, which those of its tokens begin with.
    #[serde(rename = "entry", with = "family_entry")]
    pub family_id: FamilyId,
    /// The first refresh token of the present step.
    pub current: TokenId,
    /// The first refresh token of the step before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<TokenId>,
    /// When a token of the step before was used first, in milliseconds: since then the present step is the present one.
    #[serde(
        default,
        with = "chrono::serde::ts_milliseconds_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub used_at: Option<DateTime<Utc>>,
    /// How many siblings the first refresh token of the present step has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub siblings: u8,
    /// Since when none of them works.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<DateTime<Utc>>,
    /// When the last of its refresh tokens stops working, however often it is renewed.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub expires_at: DateTime<Utc>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde's `skip_serializing_if` calls"
)]
fn is_zero(value: &u8) -> bool {
    *value == 0
}

/// How many siblings the first refresh token of a step may have.
pub const MAX_SIBLINGS: u8 = 5;

/// What the use of a refresh token is, by what its family says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshUse {
    /// It is of the present step, and gets the next one.
    Next,
    /// It is of the step before, soon enough after that was left, and gets a sibling.
    Again,
    /// It was used before, or another one in its place: it was copied.
    Copied,
}

impl Family {
    /// A family that begins with a refresh token.
    #[must_use]
    pub fn new(key_id: KeyId, family_id: FamilyId, current: TokenId, expires_at: DateTime<Utc>) -> Self {
        Self {
            key_id,
            family_id,
            current,
            previous: None,
            used_at: None,
            siblings: 0,
            revoked_at: None,
            expires_at,
        }
    }

    /// Whether a refresh token of the family is of the present step: if nothing is revoked, it works.
    #[must_use]
    pub fn is_present(&self, refresh_token: TokenId) -> bool {
        refresh_token.number() >= self.current.number()
    }

    /// How many refresh tokens the present step has.
    #[must_use]
    pub fn present(&self) -> u32 {
        1 + u32::from(self.siblings)
    }

    /// The greatest number that a token of the family has: each refresh token comes with an access token.
    #[must_use]
    pub fn last_number(&self) -> u16 {
        self.current.number().saturating_add(2 * u16::from(self.siblings))
    }

    /// What using a refresh token of the family `now` is, where one may be used again for `reuse` after it was used first.
    #[must_use]
    pub fn judge(&self, refresh_token: TokenId, reuse: TimeDelta, now: DateTime<Utc>) -> RefreshUse {
        if self.is_present(refresh_token) {
            return RefreshUse::Next;
        }
        let is_of_step_before =
            self.previous.is_some_and(|previous| refresh_token.number() >= previous.number());
        let is_soon_enough = !reuse.is_zero() && self.used_at.is_some_and(|used_at| now - used_at <= reuse);
        if is_of_step_before && is_soon_enough && self.siblings < MAX_SIBLINGS {
            RefreshUse::Again
        } else {
            RefreshUse::Copied
        }
    }
}

/// What is known of a legacy key, without the hash that it is found by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyKey {
    /// The id that it got when it was imported.
    pub key_id: KeyId,
    /// Its tenant.
    pub workspace_id: WorkspaceId,
    /// Whom it acts as.
    pub user_id: UserId,
    /// What its user calls it. It need not be unique.
    pub name: Name,
    /// What it carries to the backend.
    pub scopes: Vec<Scope>,
    /// When it was imported.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub imported_at: DateTime<Utc>,
    /// When it was last used.
    #[serde(with = "zero_until_used")]
    pub last_used_at: Option<DateTime<Utc>>,
    /// When `DynamoDB` may delete it: the sunset as it was when the key was imported, and some time.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub ttl: DateTime<Utc>,
}

/// A legacy key with the hash that it is found by, as the authorizer reads it and an import writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HashedLegacyKey {
    /// The key.
    #[serde(flatten)]
    pub key: LegacyKey,
    /// The hash of its digest. It is the table's key.
    #[serde(flatten)]
    pub hash: SecretHash,
}

impl LegacyKey {
    /// Whether the key is past its `ttl`, and so to be treated as deleted although `DynamoDB` may not have deleted it yet.
    #[must_use]
    pub fn is_gone(&self, now: DateTime<Utc>) -> bool {
        self.ttl <= now
    }

    /// The key that it is until the sunset.
    #[must_use]
    pub fn until(self, sunset: DateTime<Utc>) -> Key {
        Key {
            key_id: self.key_id,
            workspace_id: self.workspace_id,
            created_by: self.user_id.clone(),
            user_id: self.user_id,
            name: self.name,
            description: None,
            scopes: self.scopes,
            endpoints: Vec::new(),
            created_at: self.imported_at,
            revision: 0,
            expires_at: Some(sunset),
            ttl: None,
            due_at: None,
            disabled_at: None,
            previous_expires_at: None,
            previous_transferred: false,
            unclaimed: false,
            rotation: 0,
            last_used_at: self.last_used_at,
        }
    }
}

/// Declares how an id stands in the attribute `entry`: behind a word that says what the item is.
macro_rules! entry {
    ($module:ident, $id:ident, $prefix:literal) => {
        pub(crate) mod $module {
            use serde::de::Error;
            use serde::{Deserialize, Deserializer, Serializer};

            use crate::credential::$id;

            pub(crate) const PREFIX: &str = $prefix;

            pub(crate) fn text(id: $id) -> String {
                format!("{PREFIX}{id}")
            }

            pub(crate) fn serialize<S: Serializer>(id: &$id, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&text(*id))
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$id, D::Error> {
                let entry = String::deserialize(deserializer)?;
                let id = entry.strip_prefix(PREFIX).and_then(|id| id.parse().ok());
                id.ok_or_else(|| D::Error::custom("another kind of entry"))
            }
        }
    };
}

entry! { token_entry, TokenId, "TOKEN#" }
entry! { family_entry, FamilyId, "FAMILY#" }

mod zero_until_used {
    use chrono::{DateTime, Utc};
    use serde::{Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the signature that serde's `with` calls")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<DateTime<Utc>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.map_or(0, |time| time.timestamp()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        let time = chrono::serde::ts_seconds::deserialize(deserializer)?;
        Ok((time.timestamp() != 0).then_some(time))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn key(expires_at: Option<i64>, disabled: bool) -> Key {
        let time = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let expires_at = expires_at.map(time);
        Key {
            key_id: "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap(),
            workspace_id: "acme".parse().unwrap(),
            user_id: "alice".parse().unwrap(),
            name: Name::parse("ci").unwrap(),
            description: None,
            scopes: Vec::new(),
            endpoints: Vec::new(),
            created_at: time(1),
            created_by: "alice".parse().unwrap(),
            revision: 1,
            expires_at,
            ttl: ttl(expires_at, TimeDelta::seconds(100)),
            disabled_at: disabled.then(|| time(2)),
            previous_expires_at: None,
            previous_transferred: false,
            unclaimed: false,
            rotation: 0,
            due_at: None,
            last_used_at: None,
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
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
        assert!(!key(Some(1000), false).has_let_go(at(1001)));
        assert!(key(Some(1000), true).has_let_go(at(1002)));
        assert!(!key(None, true).has_let_go(at(i64::from(u32::MAX))));
    }

    #[test]
    fn an_expired_key_is_gone_after_its_retention() {
        assert!(!key(Some(1000), false).is_gone(at(1099)));
        assert!(key(Some(1000), false).is_gone(at(1100)));
        assert!(!key(None, false).is_gone(at(i64::from(u32::MAX))));
    }

    #[test]
    fn a_refresh_token_that_is_used_again_soon_gets_a_sibling_and_later_was_copied() {
        let family_id = FamilyId::generate(at(0));
        let token = |number| family_id.token(std::num::NonZeroU16::new(number).unwrap());
        let key_id = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        let of_step = |previous, current, siblings| Family {
            previous: Some(token(previous)),
            used_at: Some(at(1000)),
            siblings,
            ..Family::new(key_id, family_id, token(current), at(9000))
        };
        let reuse = TimeDelta::seconds(10);
        // The step before has the tokens 8 and 10, the present one 12 and 14.
        let family = of_step(8, 12, 1);
        assert_eq!((family.present(), family.last_number()), (2, 14));
        for (number, seconds, expected) in [
            (12, 1000, RefreshUse::Next),
            (14, 9000, RefreshUse::Next),
            (8, 1010, RefreshUse::Again),
            (10, 1010, RefreshUse::Again),
            (8, 1011, RefreshUse::Copied),
            (6, 1000, RefreshUse::Copied),
        ] {
            assert_eq!(family.judge(token(number), reuse, at(seconds)), expected, "{number} {seconds}");
        }
        assert_eq!(of_step(8, 12, 4).judge(token(8), reuse, at(1000)), RefreshUse::Again);
        assert_eq!(of_step(8, 12, 5).judge(token(8), reuse, at(1000)), RefreshUse::Copied, "five at most");
        let at_once = family.judge(token(8), TimeDelta::zero(), at(1000));
        assert_eq!(at_once, RefreshUse::Copied, "unless the deployment allows it");
        let first = Family::new(key_id, family_id, token(2), at(9000));
        assert_eq!(first.judge(token(2), TimeDelta::zero(), at(0)), RefreshUse::Next);
    }

    proptest! {
        /// The numbers of tokens say of which step they are, as a model that remembers the step of each.
        #[test]
        fn the_number_of_a_refresh_token_says_of_which_step_it_is(
            uses in vec((any::<Index>(), 0_i64..8), 0..60),
        ) {
            let family_id = FamilyId::generate(at(0));
            let token = |number| family_id.token(std::num::NonZeroU16::new(number).unwrap());
            let key_id = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
            let mut family = Family::new(key_id, family_id, token(2), at(9000));
            // Tokens with their steps; the present step, when it began, and its tokens.
            let (mut tokens, mut present, mut now) = (vec![(token(2), 0)], (0, 0, 1), 0);
            let reuse = TimeDelta::seconds(10);
            for (index, seconds) in uses {
                now += seconds;
                let (used, step) = *index.get(&tokens);
                let is_of_step_before = step + 1 == present.0;
                let expected = if step == present.0 {
                    RefreshUse::Next
                } else if is_of_step_before && now - present.1 <= 10 && present.2 <= i64::from(MAX_SIBLINGS) {
                    RefreshUse::Again
                } else {
                    RefreshUse::Copied
                };
                prop_assert_eq!(family.judge(used, reuse, at(now)), expected);
                prop_assert_eq!(family.is_present(used), step == present.0);
                let next = token(family.last_number() + 2);
                prop_assert!(tokens.iter().all(|(token, _)| token.number() < next.number()));
                match expected {
                    RefreshUse::Next => {
                        family.previous = Some(std::mem::replace(&mut family.current, next));
                        (family.used_at, family.siblings) = (Some(at(now)), 0);
                        present = (present.0 + 1, now, 1);
                    }
                    RefreshUse::Again => {
                        family.siblings += 1;
                        present.2 += 1;
                    }
                    RefreshUse::Copied => continue,
                }
                tokens.push((next, present.0));
                prop_assert_eq!(i64::from(family.present()), present.2);
            }
        }
    }

    #[test]
    fn names_are_trimmed_and_bounded_and_have_no_control_characters() {
        assert_eq!(Name::parse("  build server\t").unwrap().to_string(), "build server");
        assert_eq!(Name::parse(&"é".repeat(100)).unwrap().to_string().chars().count(), 100);
        for invisible in ["", " \n ", "\u{200B}", "\u{3164}", "\u{2800} \u{FEFF}"] {
            assert_eq!(Name::parse(invisible), Err(InvalidName::Invisible), "{invisible:?}");
        }
        assert_eq!(Name::parse(&"n".repeat(101)), Err(InvalidName::TooLong));
        assert_eq!(Name::parse(&"n".repeat(10_000)), Err(InvalidName::TooLong));
        assert_eq!(Name::parse("a\u{0}b"), Err(InvalidName::ControlCharacter));
        assert_eq!(Name::parse("a\nb"), Err(InvalidName::ControlCharacter));
    }

    #[test]
    fn a_name_cannot_be_made_to_look_like_another_one_by_its_layout() {
        for control in
            ['\u{202A}', '\u{202E}', '\u{2066}', '\u{2069}', '\u{200E}', '\u{61C}', '\u{2028}', '\u{2029}']
        {
            assert_eq!(Name::parse(&format!("a{control}b")), Err(InvalidName::LayoutControl), "{control:?}");
        }
        for emoji in ["👩‍💻", "🏳️‍🌈", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"] {
            assert_eq!(Name::parse(emoji).unwrap().to_string(), emoji);
        }
    }

    #[test]
    fn a_credential_is_no_name() {
        let key = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi";
        for text in [key.to_owned(), format!("my {key}")] {
            assert_eq!(Name::parse(&text), Err(InvalidName::Credential));
        }
        assert!(Name::parse(&key[..33]).is_ok(), "the beginning of a key, up to its id, is public");
    }

    #[test]
    fn a_name_whose_folded_form_cannot_be_stored_is_too_long() {
        // Eighteen characters each in compatibility form (U+FDFA).
        assert_eq!(Name::parse(&"\u{FDFA}".repeat(100)), Err(InvalidName::TooLong));
    }

    #[test]
    fn names_that_look_the_same_fold_to_the_same() {
        let folded = |name| Name::parse(name).unwrap().folded();
        for (one, other) in [
            ("CI", "ci"),
            ("ＣＩ", "ci"),
            ("Straße", "STRASSE"),
            ("e\u{301}", "É"),
            ("ﬁx", "FIX"),
            ("Nightly  export", "nightly\u{A0}EXPORT"),
            ("\u{FEFF}ci", "c\u{200B}i"),
            ("\u{200B} ci", "ci \u{2060}"),
            ("❤\u{FE0F}", "❤"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} and {other}");
        }
        assert_ne!(folded("ci-1"), folded("ci-2"));
    }
}

//! Tokens as they are stored: what is known of one, and the family that refresh tokens form.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::credential::{FamilyId, KeyId, TokenId};
use crate::endpoint_rule::EndpointRule;
use crate::key::{Generation, Key};
use crate::pepper::SecretHash;
use crate::scope::Scope;

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
    #[serde(with = "crate::time::zero_until_used")]
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

/// A token, and what decides about it.
#[derive(Debug)]
pub struct StoredToken {
    /// The token.
    pub hashed: HashedToken,
    /// Its family, if it is in one.
    pub family: Option<Family>,
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

/// Declares how an id stands in the attribute `entry`: behind a word that says what the item is.
macro_rules! entry {
    ($module:ident, $id:ident, $prefix:literal) => {
        #[doc = concat!("How the id stands in the attribute `entry`: behind `", $prefix, "`.")]
        pub mod $module {
            use serde::de::Error;
            use serde::{Deserialize, Deserializer, Serializer};

            use crate::credential::$id;

            /// What such an entry begins with.
            pub const PREFIX: &str = $prefix;

            /// The entry of an id.
            #[must_use]
            pub fn text(id: $id) -> String {
                format!("{PREFIX}{id}")
            }

            /// Writes the entry of an id.
            ///
            /// # Errors
            ///
            /// Those of the serializer.
            pub fn serialize<S: Serializer>(id: &$id, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&text(*id))
            }

            /// Reads the id of an entry.
            ///
            /// # Errors
            ///
            /// It is another kind of entry.
            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$id, D::Error> {
                let entry = String::deserialize(deserializer)?;
                let id = entry.strip_prefix(PREFIX).and_then(|id| id.parse().ok());
                id.ok_or_else(|| D::Error::custom("another kind of entry"))
            }
        }
    };
}

entry! { token_entry, TokenId, "TOKEN#" }

entry! { family_entry, FamilyId, "FAMILY#" }

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::fixtures::{self, at, key_id};

    #[test]
    fn a_refresh_token_that_is_used_again_soon_gets_a_sibling_and_later_was_copied() {
        let family_id = FamilyId::generate(at(0));
        let token = |number| family_id.token(std::num::NonZeroU16::new(number).unwrap());
        let of_step = |previous, current, siblings| Family {
            previous: Some(token(previous)),
            used_at: Some(at(1000)),
            siblings,
            ..Family::new(key_id(), family_id, token(current), at(9000))
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
        let first = Family::new(key_id(), family_id, token(2), at(9000));
        assert_eq!(first.judge(token(2), TimeDelta::zero(), at(0)), RefreshUse::Next);
    }

    #[test]
    fn a_token_ends_with_its_generation_and_with_the_old_secret_that_made_it() {
        let of_key = |generation, rotation| TokenKey {
            key: Key { rotation, ..fixtures::key() },
            generation: Generation::from_number(generation),
        };
        let token = fixtures::token();
        assert!(!token.has_ended_with(&of_key(0, 0)));
        assert!(!token.has_ended_with(&of_key(0, 5)), "rotations alone end no token of a current secret");
        assert!(token.has_ended_with(&of_key(1, 0)));
        let of_old_secret = Token { made_in_overlap: Some(1), ..token };
        assert!(!of_old_secret.has_ended_with(&of_key(0, 1)));
        assert!(of_old_secret.has_ended_with(&of_key(0, 2)));
    }

    #[test]
    fn an_entry_says_what_it_is_of() {
        let stored = serde_json::to_value(fixtures::token()).unwrap();
        assert_eq!(stored["entry"], "TOKEN#01JD4A0000F9K3W7RT2M8Q0000");
        assert_eq!(serde_json::from_value::<Token>(stored.clone()).unwrap(), fixtures::token());
        let family = serde_json::json!({
            "key_id": key_id(),
            "entry": stored["entry"],
            "current": fixtures::token().token_id,
            "expires_at": 9000,
        });
        assert!(serde_json::from_value::<Family>(family).is_err(), "a token is no family");
    }

    proptest! {
        /// The numbers of tokens say of which step they are, as a model that remembers the step of each.
        #[test]
        fn the_number_of_a_refresh_token_says_of_which_step_it_is(
            uses in vec((any::<Index>(), 0_i64..8), 0..60),
        ) {
            let family_id = FamilyId::generate(at(0));
            let token = |number| family_id.token(std::num::NonZeroU16::new(number).unwrap());
                let mut family = Family::new(key_id(), family_id, token(2), at(9000));
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
}

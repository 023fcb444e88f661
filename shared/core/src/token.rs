//! Tokens as they are stored, and the families of refresh tokens.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::audience::Audience;
use crate::credential::{FamilyId, KeyId, TokenId};
use crate::endpoint_rule::EndpointRule;
use crate::key::{Generation, Key};
use crate::pepper::SecretHash;
use crate::scope::Scope;

/// A key without its hash, as the verification of its tokens reads it.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenKey {
    /// The key.
    #[serde(flatten)]
    pub record: Key,
    /// The present generation of its tokens.
    #[serde(flatten)]
    pub generation: Generation,
}

/// A token without the hash of its secret.
///
/// Times are whole seconds, stored as seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The key that it was issued for.
    pub key_id: KeyId,
    /// Its public id.
    #[serde(rename = "entry", with = "token_entry")]
    pub token_id: TokenId,
    /// Its kind.
    pub kind: TokenKind,
    /// The scopes that were granted. It carries those that its key still has.
    pub scopes: Vec<Scope>,
    /// The endpoint rules of its key when it was issued. Without any it may be used everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointRule>,
    /// The generation of its key when it was issued.
    #[serde(flatten)]
    pub generation: Generation,
    /// [`Key::rotation`] when it was issued, if it was issued to an old secret. It ends with that overlap, and with the next
    /// rotation or handover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_in_overlap: Option<u64>,
    /// When it was issued.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub created_at: DateTime<Utc>,
    /// When it expires, and when `DynamoDB` may delete it.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub expires_at: DateTime<Utc>,
    /// When it was last used.
    #[serde(with = "crate::time::zero_until_used")]
    pub last_used_at: Option<DateTime<Utc>>,
}

impl Token {
    /// Whether it ended with its generation, or with the old secret that it was issued to.
    #[must_use]
    pub fn has_ended_with(&self, key: &TokenKey) -> bool {
        let Key { rotation, previous_expires_at, .. } = &key.record;
        self.generation != key.generation
            || self
                .made_in_overlap
                .is_some_and(|made_in| made_in != *rotation || previous_expires_at.is_none())
    }
}

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// It calls APIs.
    AccessToken,
    /// It is exchanged once for a new access token and a new refresh token.
    RefreshToken,
}

/// A token with the hash of its secret.
#[derive(Debug, Serialize, Deserialize)]
pub struct HashedToken {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// The hash of its secret.
    #[serde(flatten)]
    pub hash: SecretHash,
}

/// A token with its family.
#[derive(Debug)]
pub struct StoredToken {
    /// The token.
    pub hashed: HashedToken,
    /// Its family, if it belongs to one.
    pub family: Option<Family>,
}

/// A family of tokens: a refresh token, its successors, and their access tokens. They are revoked together (RFC 9700, section
/// 4.14).
///
/// Its refresh tokens form *steps*. A token of the present step is exchanged for the first token of the next step. If a token of
/// the previous step is used again, within the time that the deployment allows, it is exchanged for a sibling of the first token
/// of the present step. Numbers grow from step to step, so the number of a token tells its step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// The key that its tokens were issued for.
    pub key_id: KeyId,
    /// Its id, which the ids of its tokens contain.
    #[serde(rename = "entry", with = "family_entry")]
    pub family_id: FamilyId,
    /// The first refresh token of the present step.
    pub current: TokenId,
    /// The first refresh token of the previous step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<TokenId>,
    /// When the present step began: the first use of a token of the previous step, in milliseconds.
    #[serde(
        default,
        with = "chrono::serde::ts_milliseconds_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub used_at: Option<DateTime<Utc>>,
    /// The number of siblings of the first refresh token of the present step.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub siblings: u8,
    /// When the family was revoked, if it was.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<DateTime<Utc>>,
    /// The API that its grant named. Its access tokens are JWTs for this API, and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Audience>,
    /// When the last of its refresh tokens expires.
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

/// The maximum number of siblings of the first refresh token of a step.
const MAX_SIBLINGS: u8 = 5;

/// The judgement on the use of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshUse {
    /// The token belongs to the present step. It is exchanged for the next step.
    Next,
    /// The token belongs to the previous step and is used again in time. It is exchanged for a sibling.
    Again,
    /// The token was used before, so it was copied. Its family is revoked.
    Copied,
}

impl Family {
    /// A family that begins with the refresh token `current`.
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
            resource: None,
            expires_at,
        }
    }

    /// Whether a refresh token of the family belongs to the present step. It then works unless the family is revoked.
    #[must_use]
    pub fn is_present(&self, refresh_token: TokenId) -> bool {
        refresh_token.number() >= self.current.number()
    }

    /// The number of refresh tokens in the present step.
    #[must_use]
    pub fn present(&self) -> u32 {
        1 + u32::from(self.siblings)
    }

    /// The number of the last refresh token. Numbers grow by 2, because each refresh token comes with an access token.
    #[must_use]
    pub fn last_number(&self) -> u16 {
        self.current.number().saturating_add(2 * u16::from(self.siblings))
    }

    /// Judges the use of a refresh token of the family `now`. A token may be used again for `reuse` after its first use.
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
            record: Key { rotation, previous_expires_at: Some(at(9000)), ..fixtures::key() },
            generation: Generation::from_number(generation),
        };
        let token = fixtures::token();
        assert!(!token.has_ended_with(&of_key(0, 0)));
        assert!(!token.has_ended_with(&of_key(0, 5)), "rotations alone end no token of a current secret");
        assert!(token.has_ended_with(&of_key(1, 0)));
        let of_old_secret = Token { made_in_overlap: Some(1), ..token };
        assert!(!of_old_secret.has_ended_with(&of_key(0, 1)));
        assert!(of_old_secret.has_ended_with(&of_key(0, 2)));
        let mut after_overlap = of_key(0, 1);
        after_overlap.record.previous_expires_at = None;
        assert!(of_old_secret.has_ended_with(&after_overlap), "the overlap was ended before its time");
    }

    #[test]
    fn an_entry_shows_its_kind() {
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

//! Rotating a key: another secret for the same id, with a time in which both work.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::activity::{Action, Event, Origin};
use crate::caller::Caller;
use crate::credential::{Brand, Credential, KeyId, Kind};
use crate::error::Error;
use crate::fields::{self, Fields, Wrong};
use crate::keys::precondition::IfMatch;
use crate::keys::succession::rotated;
use crate::keys::{RevealedKey, find};
use crate::pepper::Peppers;
use crate::rights::Operation;
use crate::scope::KEYS_WRITE;
use crate::store::Store;

/// The longest overlap, in seconds: thirty days.
pub const LONGEST_OVERLAP: i64 = 30 * 24 * 60 * 60;

/// What a caller asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct RotateKey {
    overlap: TimeDelta,
    revoke_tokens: bool,
}

impl RotateKey {
    /// Reads a request's body; an empty one asks for no overlap. The key's tokens are revoked with a secret that ends at once, and
    /// go on where there is an overlap, unless the body says otherwise.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every field that is wrong, and what it must be.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let body = if body.is_empty() { b"{}" } else { body };
        let mut fields = Fields::parse(body)?;
        let overlap = fields.optional("overlap_seconds", overlap);
        let revoke_tokens = fields.optional("revoke_tokens", |value| {
            value.as_bool().ok_or_else(|| Wrong::new(&"must be true or false"))
        });
        let overlap = TimeDelta::seconds(overlap.unwrap_or(0));
        // A secret that ends at once may be in the wrong hands, and so may be what was made with it.
        let revoke_tokens = revoke_tokens.unwrap_or(overlap.is_zero());
        fields.finish(Some(Self { overlap, revoke_tokens }))
    }
}

/// Checks how long a secret goes on after another one has taken its place, in seconds.
///
/// # Errors
///
/// That it must be a number, and how large at most.
pub(crate) fn overlap(value: &Value) -> Result<i64, Wrong> {
    let seconds = value.as_i64().filter(|seconds| (0..=LONGEST_OVERLAP).contains(seconds));
    seconds.ok_or_else(|| Wrong::new(&fields::in_digits(value, must_be_an_overlap())))
}

/// What is said of a text that is no overlap.
pub(crate) fn must_be_an_overlap() -> String {
    format!("must be a whole number from 0 to {LONGEST_OVERLAP}")
}

/// What rotating keys takes.
#[derive(Debug)]
pub struct KeyRotator {
    /// The word credentials begin with.
    pub brand: Brand,
    /// What the new secret is hashed under.
    pub peppers: Peppers,
    /// Where keys are.
    pub store: Store,
}

impl KeyRotator {
    /// Gives a key of the caller, or as an administrator anyone's of the workspace, another secret. The one that it
    /// has works until the overlap ends; one from a rotation before does not work any more.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientCredential`]: the caller came with something else than an API key, or with the old secret of this one.
    /// - [`Error::InsufficientScope`], [`Error::InsufficientEndpoints`]: the caller may not write keys, or does not hold every
    ///   scope and endpoint rule of the key.
    /// - [`Error::CallerRemoved`]: the caller's user was removed.
    /// - [`Error::NotFound`]: the workspace has no such key.
    /// - [`Error::NotYourKey`]: the key is another user's, and the caller is no administrator.
    /// - [`Error::PreconditionFailed`], [`Error::Conflict`]: the key has another revision, or got one meanwhile.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn rotate(
        &self,
        caller: &Caller,
        id: KeyId,
        request: &RotateKey,
        if_match: &IfMatch,
        origin: Origin,
        now: DateTime<Utc>,
    ) -> Result<RevealedKey, Error> {
        caller.require(KEYS_WRITE)?;
        caller.may_to(Operation::RotateKey, id)?;
        let key = find(&self.store.keys, caller, id, now).await?.key;
        caller.require_to_act_for(&key.user_id)?;
        caller.require_all(&key.scopes, &key.endpoints)?;
        if_match.check(key.revision)?;
        let after = rotated(&key, request.overlap, now);
        let credential = Credential::draw(id, Kind::ApiKey);
        let author = (&caller.workspace_id, &caller.user_id);
        let event = Event::new(Action::KeyRotated, author, (id, &key.user_id), origin, now);
        let hash = self.peppers.hash(&credential);
        let written =
            self.store.rotate_key(caller.actor(), &key, &after, &hash, request.revoke_tokens, &event).await;
        written.map_err(|error| if_match.lost(error))?;
        Ok(RevealedKey::new(&after, &credential, &self.brand, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_with_a_secret_that_ends_at_once_unless_said_otherwise() {
        for (body, revokes) in [
            ("", true),
            (r#"{"overlap_seconds":0}"#, true),
            (r#"{"overlap_seconds":0,"revoke_tokens":false}"#, false),
            (r#"{"overlap_seconds":60}"#, false),
            (r#"{"overlap_seconds":60,"revoke_tokens":null}"#, false),
            (r#"{"overlap_seconds":60,"revoke_tokens":true}"#, true),
        ] {
            assert_eq!(RotateKey::parse(body.as_bytes()).unwrap().revoke_tokens, revokes, "{body}");
        }
    }

    #[test]
    fn an_overlap_is_0_to_30_days_and_0_unless_said() {
        let seconds =
            |body: &str| RotateKey::parse(body.as_bytes()).map(|request| request.overlap.num_seconds());
        for (body, expected) in [
            ("", 0),
            ("{}", 0),
            (r#"{"overlap_seconds":null}"#, 0),
            (r#"{"overlap_seconds":60}"#, 60),
            (r#"{"overlap_seconds":2592000}"#, 2_592_000),
        ] {
            assert_eq!(seconds(body).unwrap(), expected, "{body}");
        }
        for body in [
            r#"{"overlap_seconds":-1}"#,
            r#"{"overlap_seconds":2592001}"#,
            r#"{"overlap":1}"#,
            r#"{"revoke_tokens":1}"#,
            "[]",
            " ",
        ] {
            assert!(seconds(body).is_err(), "{body}");
        }
    }
}

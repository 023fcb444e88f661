//! Rotating a key: a new secret for the same id, with an optional overlap in which both secrets work.
//!
//! With an `Idempotency-Key`, a client that lost the response to a rotation can repeat the request
//! ([`keygate_core::idempotency`]). This function reads no hash: a condition of a transaction checks that the key still has
//! the secret.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::context::RequestContext;
use keygate_core::credential::{Brand, Credential, CredentialForm, KeyId};
use keygate_core::error::{Error, InvalidField, Place};
use keygate_core::fields::{self, FieldError, Fields};
use keygate_core::idempotency::{
    self, IdempotencyKey, IdempotencyRecord, IdempotentRequest, RECORD_LIFETIME,
};
use keygate_core::key::{Key, LastUse, Status, UsedKey};
use keygate_core::key_action::KeyAction;
use keygate_core::pepper::{MacKey, Peppers};
use keygate_core::rights::Operation;
use keygate_core::rotation::rotated;
use keygate_core::scope::KEYS_WRITE;
use serde_json::{Value, json};

use crate::keys::precondition::IfMatch;
use crate::keys::{RevealedKey, find_used};
use crate::store::Store;
use crate::store::key_transactions::RotationOutcome;

/// The maximum overlap in seconds: thirty days.
pub const MAX_OVERLAP: i64 = 30 * 24 * 60 * 60;

/// The maximum number of attempts of a repeated request when the key changes concurrently.
const ATTEMPTS: u32 = 4;

/// A rotation request.
#[derive(Debug, PartialEq, Eq)]
pub struct RotateKey {
    overlap: TimeDelta,
    revoke_tokens: bool,
}

impl RotateKey {
    /// Parses a request body; an empty one requests no overlap. Unless the body says otherwise, the key's tokens are revoked
    /// without an overlap, and keep working with one.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid field with its requirement.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let body = if body.is_empty() { b"{}" } else { body };
        let mut fields = Fields::parse(body)?;
        let overlap = fields.optional("overlap_seconds", overlap);
        let revoke_tokens = fields.optional("revoke_tokens", |value| {
            value.as_bool().ok_or_else(|| FieldError::new(&"must be true or false"))
        });
        let overlap = TimeDelta::seconds(overlap.unwrap_or(0));
        // A rotation without an overlap may replace a leaked secret, and tokens that were issued for it may be leaked too.
        let revoke_tokens = revoke_tokens.unwrap_or(overlap.is_zero());
        fields.finish(Some(Self { overlap, revoke_tokens }))
    }

    /// A canonical form of the request, including the key, which does not depend on its spelling.
    fn canonical(&self, id: KeyId) -> Vec<u8> {
        let overlap = self.overlap.num_seconds();
        json!({"id": id, "overlap_seconds": overlap, "revoke_tokens": self.revoke_tokens})
            .to_string()
            .into_bytes()
    }

    /// Requires that the overlap is at least as long as the request is recorded, for an idempotent request with which a key
    /// rotates itself. A client that lost the response has only the old secret to repeat the request with.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the overlap is too short.
    fn must_outlive_memory(&self) -> Result<(), Error> {
        if self.overlap >= RECORD_LIFETIME {
            return Ok(());
        }
        let least = RECORD_LIFETIME.num_seconds();
        let detail = format!(
            "must be at least {least} when a key rotates itself with an Idempotency-Key, so that its old secret can repeat the request"
        );
        Err(Error::invalid(InvalidField { place: Place::Pointer("/overlap_seconds".to_owned()), detail }))
    }
}

/// Parses an overlap in seconds.
///
/// # Errors
///
/// A message with the allowed range.
pub(crate) fn overlap(value: &Value) -> Result<i64, FieldError> {
    let seconds = value.as_i64().filter(|seconds| (0..=MAX_OVERLAP).contains(seconds));
    seconds.ok_or_else(|| FieldError::new(&fields::in_digits(value, must_be_an_overlap())))
}

/// The message for an invalid overlap.
pub(crate) fn must_be_an_overlap() -> String {
    format!("must be a whole number from 0 to {MAX_OVERLAP}")
}

/// Rotates keys.
#[derive(Debug)]
pub struct KeyRotator {
    /// The brand, the first part of every credential.
    pub brand: Brand,
    /// The peppers for the hash of the new secret.
    pub peppers: Peppers,
    /// The source of the secret of an idempotent rotation.
    pub rotation_key: MacKey,
    /// The store.
    pub store: Store,
}

impl KeyRotator {
    /// Gives a key of the caller, or as an administrator of any user of the workspace, a new secret. The current secret
    /// works until the overlap ends. The secret of a previous overlap stops working immediately. A key that is disabled for a leak
    /// is enabled.
    ///
    /// With an `Idempotency-Key`, a repeated request gets the same response, regardless of its `If-Match`. It may present
    /// the old secret of the key.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientCredential`]: the caller did not present an API key, or presented the old secret of this one.
    /// - [`Error::InsufficientScope`], [`Error::InsufficientEndpoints`], [`Error::InsufficientNetworks`]: the caller may not
    ///   write keys, or lacks a permission of the key.
    /// - [`Error::LimitedCaller`]: the caller's key has limits and is not this one.
    /// - [`Error::CallerRemoved`]: the caller's user was removed, even if the request is a repeated one.
    /// - [`Error::NotFound`]: the workspace has no such key.
    /// - [`Error::NotYourKey`]: the key is another user's, and the caller is not an administrator.
    /// - [`Error::Invalid`]: the key rotates itself with an `Idempotency-Key`, and the overlap is shorter than the request
    ///   is recorded.
    /// - [`Error::KeyLeaked`]: the key is disabled for a leak, and its leaked secret would work until the overlap ends.
    /// - [`Error::IdempotencyMismatch`]: the `Idempotency-Key` was used with another request.
    /// - [`Error::IdempotencyConflict`]: the key no longer has the secret of the first request, or no longer works.
    /// - [`Error::PreconditionFailed`], [`Error::Conflict`]: the key has another revision, or changed concurrently.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn rotate(
        &self,
        context: &RequestContext,
        id: KeyId,
        request: &RotateKey,
        if_match: &IfMatch,
        idempotency_key: Option<&IdempotencyKey>,
    ) -> Result<RevealedKey, Error> {
        let (caller, now) = (&context.caller, context.now);
        if idempotency_key.is_some() {
            caller.require(KEYS_WRITE)?;
            caller.may_to(Operation::RepeatRotation, id)?;
        } else {
            KeyAction::Rotate.require_right(caller, id)?;
        }
        let (key, last_use) = self.find(context, id).await?;
        let canonical = request.canonical(id);
        let idempotent = idempotency_key.map(|idempotency_key| IdempotentRequest {
            key: &self.rotation_key,
            labels: &idempotency::ROTATE,
            caller,
            idempotency_key,
            request: &canonical,
        });
        if let Some(idempotent) = &idempotent {
            let (workspace, digest) = (&caller.workspace_id, idempotent.digest());
            if let Some(record) = self.store.workspaces.idempotency_record(workspace, &digest, now).await? {
                return self.repeat_response(context, idempotent, &record).await;
            }
            // Only a repeated request may present the old secret; any other needs the rights of a rotation.
            KeyAction::Rotate.require_right(caller, id)?;
            if caller.is_of_key(id) {
                request.must_outlive_memory()?;
            }
        }
        if_match.check(key.revision)?;
        if key.leaked_at.is_some() {
            // The rotation enables the key.
            KeyAction::Enable.require_right(caller, id)?;
            KeyAction::Enable.require_permissions(caller, &key)?;
            if !request.overlap.is_zero() {
                return Err(Error::KeyLeaked);
            }
        }
        let after = rotated(&key, request.overlap, now);
        let begun = idempotent.as_ref().map(|idempotent| idempotent.first(id, after.revision, now));
        let (credential, entry) =
            begun.map_or_else(|| (Credential::draw(id, CredentialForm::ApiKey), None), |(c, r)| (c, Some(r)));
        let event = AuditEvent::for_key(Action::KeyRotated, context.event(), id, &key.user_id)
            .with_metadata(&key.metadata);
        let hash = self.peppers.hash(&credential);
        let written = self
            .store
            .rotate_key(
                context.actor(),
                (&key, &after, &hash),
                request.revoke_tokens,
                entry.as_ref(),
                &event,
                now,
            )
            .await;
        match (written.map_err(|error| if_match.lost(error))?, idempotent) {
            (RotationOutcome::Repeated(record), Some(idempotent)) => {
                self.repeat_response(context, &idempotent, &record).await
            }
            _ => Ok(self.reveal(after, last_use, &credential, now)),
        }
    }

    fn reveal(
        &self,
        record: Key,
        last_use: Option<LastUse>,
        credential: &Credential,
        now: DateTime<Utc>,
    ) -> RevealedKey {
        RevealedKey::new(&UsedKey { record, last_use }, credential, &self.brand, now)
    }

    /// Finds the key with its last use, and checks that the caller has all the rights that its new secret gives.
    async fn find(&self, context: &RequestContext, id: KeyId) -> Result<(Key, Option<LastUse>), Error> {
        let (stored, last_use) = find_used(&self.store.keys, &self.store.usage, context, id).await?;
        KeyAction::Rotate.require_permissions(&context.caller, &stored.record)?;
        Ok((stored.record, last_use))
    }

    /// The response to a repeated request: the first response, if the key still has that secret and still works as it did
    /// then.
    async fn repeat_response(
        &self,
        context: &RequestContext,
        idempotent: &IdempotentRequest<'_>,
        record: &IdempotencyRecord,
    ) -> Result<RevealedKey, Error> {
        let now = context.now;
        let credential = idempotent.repeat(record)?;
        let hashes = self.peppers.hashes(&credential);
        let changed = || Error::IdempotencyConflict(record.key_id);
        let mut seen = None;
        for _ in 0..ATTEMPTS {
            let (key, last_use) = self.find(context, record.key_id).await?;
            // The key was not changed meanwhile, so its hash must differ.
            if seen == Some(key.revision) {
                return Err(changed());
            }
            // The condition includes the revision, so that the rights of the caller were checked against the current key.
            if self.store.has_hash(context.actor(), &key, &hashes).await? {
                let is_as_then =
                    key.revision == record.revision && key.status(now) == key.status(record.began_at());
                return if is_as_then || key.status(now) == Status::Active {
                    Ok(self.reveal(key, last_use, &credential, now))
                } else {
                    Err(changed())
                };
            }
            seen = Some(key.revision);
        }
        Err(Error::Conflict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_revoked_without_an_overlap_by_default() {
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
    fn the_canonical_form_depends_on_the_key_and_not_on_the_spelling() {
        let id: KeyId = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        let canonical = |body: &str| RotateKey::parse(body.as_bytes()).expect(body).canonical(id);
        for (one, other) in [
            ("", "{}"),
            (
                r#"{"overlap_seconds":60,"revoke_tokens":true}"#,
                r#"{ "revoke_tokens": true, "overlap_seconds": 60 }"#,
            ),
            (r#"{"overlap_seconds":60}"#, r#"{"overlap_seconds":60,"revoke_tokens":null}"#),
            (r#"{"overlap_seconds":60}"#, r#"{"overlap_seconds":60,"revoke_tokens":false}"#),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one} {other}");
        }
        for other in [r#"{"overlap_seconds":61}"#, r#"{"overlap_seconds":60,"revoke_tokens":true}"#, ""] {
            assert_ne!(canonical(r#"{"overlap_seconds":60}"#), canonical(other), "{other}");
        }
        let another = "01JD3V6Y4N8Q2Z5X7W9B0C1D2F".parse().unwrap();
        assert_ne!(RotateKey::parse(b"").unwrap().canonical(another), canonical(""));
    }

    #[test]
    fn the_overlap_of_a_repeatable_rotation_lasts_as_long_as_its_record() {
        for (seconds, enough) in [(0, false), (599, false), (600, true), (2_592_000, true)] {
            let request = RotateKey { overlap: TimeDelta::seconds(seconds), revoke_tokens: false };
            let demanded = request.must_outlive_memory();
            assert_eq!(demanded.is_ok(), enough, "{seconds}");
            if let Err(error) = demanded {
                let Error::Invalid { fields } = error else { panic!("{error}") };
                assert_eq!(fields[0].place, Place::Pointer("/overlap_seconds".to_owned()));
            }
        }
    }

    #[test]
    fn an_overlap_is_0_to_30_days_and_0_by_default() {
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

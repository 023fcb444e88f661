//! Idempotent creates and rotations: a repeated request gets the same response, although the secret is not stored.
//!
//! The secret of a request with an `Idempotency-Key` is derived, not drawn:
//!
//! ```text
//! secret = HMAC-SHA-256(K, label ‖ workspace ‖ user ‖ kind and key id of the caller's credential ‖
//!                          key id ‖ revision ‖ nonce ‖ Idempotency-Key)
//! ```
//!
//! Every field is preceded by its length. KMS derives K for create-key alone, and another K for rotate-key alone. A record is
//! stored for ten minutes: the nonce, the key and its revision, the version of K, and digests under K of the header and of the
//! request. The header itself is not stored: without it, the table and K are not enough to recover the secret.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::credential::{Credential, CredentialForm, KeyId, Secret};
use crate::error::{Error, InvalidField, Place};
use crate::pepper::MacKey;
use crate::random::fill_with_random_bytes;

/// The labels that separate the three MACs of a request from each other and from those of the other operation.
#[derive(Debug)]
pub struct Labels {
    secret: &'static [u8],
    header: &'static [u8],
    request: &'static [u8],
}

// NEVER change these values: records that were stored under others would not be recognised.

/// The labels of creates.
pub const CREATE: Labels = Labels {
    secret: b"keygate/creation/secret/v1",
    header: b"keygate/creation/header/v1",
    request: b"keygate/creation/request/v1",
};

/// The labels of rotations.
pub const ROTATE: Labels = Labels {
    secret: b"keygate/rotation/secret/v1",
    header: b"keygate/rotation/header/v1",
    request: b"keygate/rotation/request/v1",
};

/// How long a repeated request gets the same response.
pub const RECORD_LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// The value of the header `Idempotency-Key`: 16 to 255 visible ASCII characters.
#[derive(Debug)]
pub struct IdempotencyKey(SecretString);

impl IdempotencyKey {
    /// Parses the value of the header.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the value has another length or other characters. It names the header.
    pub fn parse(header: &str) -> Result<Self, Error> {
        if (16..=255).contains(&header.len()) && header.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(header.into()));
        }
        let detail = "must be 16 to 255 visible ASCII characters".to_owned();
        Err(Error::invalid(InvalidField { place: Place::Header("Idempotency-Key".to_owned()), detail }))
    }
}

/// The record of a create or a rotation, with the digest that it is stored under.
#[derive(Debug)]
pub struct IdempotencyEntry {
    /// The digest of the header and its sender.
    pub digest: String,
    /// The record.
    pub record: IdempotencyRecord,
}

/// The idempotency record of a create or a rotation. `Debug` shows neither the nonce nor the digest of the request.
#[derive(Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// The key that was created or rotated.
    pub key_id: KeyId,
    /// The revision of the key that first had the secret.
    pub revision: u64,
    #[serde(with = "serde_bytes")]
    nonce: [u8; 32],
    #[serde(with = "serde_bytes")]
    request: [u8; 32],
    /// The version of K, for operators who inspect the table.
    version: u32,
    #[serde(with = "chrono::serde::ts_seconds")]
    ttl: DateTime<Utc>,
}

impl IdempotencyRecord {
    /// Whether the record has expired, so that the request is a new one. `DynamoDB` may delete it late.
    #[must_use]
    pub fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.ttl.timestamp() <= now.timestamp()
    }

    /// The second of the first request.
    #[must_use]
    pub fn began_at(&self) -> DateTime<Utc> {
        self.ttl - RECORD_LIFETIME
    }
}

impl fmt::Debug for IdempotencyRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("IdempotencyRecord").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// A request with an `Idempotency-Key`: the inputs that its secret is derived from.
#[derive(Debug)]
pub struct IdempotentRequest<'a> {
    /// K. Under another K the record is not found, and the request is a new one.
    pub key: &'a MacKey,
    /// The labels of the operation: [`CREATE`] or [`ROTATE`].
    pub labels: &'static Labels,
    /// The sender.
    pub caller: &'a Caller,
    /// The header.
    pub idempotency_key: &'a IdempotencyKey,
    /// The parsed fields of the request and the key it is about, in a canonical form.
    pub request: &'a [u8],
}

impl IdempotentRequest<'_> {
    /// Derives a new secret for `revision` of a key, and makes the record to store.
    #[must_use]
    pub fn first(&self, key_id: KeyId, revision: u64, now: DateTime<Utc>) -> (Credential, IdempotencyEntry) {
        let mut nonce = [0; 32];
        fill_with_random_bytes(&mut nonce);
        let record = IdempotencyRecord {
            key_id,
            revision,
            nonce,
            request: self.request_mac().finalize().into_bytes().into(),
            version: self.key.version(),
            ttl: now + RECORD_LIFETIME,
        };
        (self.credential(&record), IdempotencyEntry { digest: self.digest(), record })
    }

    /// Derives the credential of the first response again.
    ///
    /// # Errors
    ///
    /// - [`Error::IdempotencyMismatch`]: the first request was another one.
    pub fn repeat(&self, record: &IdempotencyRecord) -> Result<Credential, Error> {
        if self.request_mac().verify_slice(&record.request).is_err() {
            return Err(Error::IdempotencyMismatch);
        }
        Ok(self.credential(record))
    }

    /// The digest of the header and its sender, which the record is stored under.
    #[must_use]
    pub fn digest(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(self.labels.header, &[]).finalize().into_bytes())
    }

    fn credential(&self, record: &IdempotencyRecord) -> Credential {
        let (key_id, revision) = (record.key_id.to_bytes(), record.revision.to_be_bytes());
        let secret = self.mac(self.labels.secret, &[&key_id, &revision, &record.nonce]);
        let secret = Zeroizing::new(secret.finalize().into_bytes().into());
        Credential {
            key_id: record.key_id,
            form: CredentialForm::ApiKey,
            secret: Secret::from_bytes(&secret),
        }
    }

    fn request_mac(&self) -> Hmac<Sha256> {
        self.mac(self.labels.request, &[self.request])
    }

    /// A MAC over the sender, `fields`, and the `Idempotency-Key`. The old secret of a key is the same sender as its current one.
    fn mac(&self, label: &[u8], fields: &[&[u8]]) -> Hmac<Sha256> {
        let Caller { workspace_id, user_id, credential, key, session, .. } = self.caller;
        // A person has no credential of their own here: the user is the sender.
        let sender = match (session, key) {
            (Some(session), _) => session.id.to_bytes(),
            (None, Some(key)) => key.id.to_bytes(),
            (None, None) => [0; 16],
        };
        let mut all = vec![
            label,
            workspace_id.as_str().as_bytes(),
            user_id.as_str().as_bytes(),
            credential.word().as_bytes(),
            &sender,
        ];
        all.extend(fields);
        all.push(self.idempotency_key.0.expose_secret().as_bytes());
        self.key.mac(&all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{CallerKey, CallerSession};
    use crate::credential_class::{CredentialKind, OldSecret};
    use crate::fixtures::caller as alice;
    use crate::pepper::Peppers;

    const HEADER_VALUE: &str = "4f1c2a9e-create-ci";

    fn key() -> MacKey {
        MacKey::new(1, &Zeroizing::new([1; 32]))
    }

    fn made() -> KeyId {
        "01JD4A0000F9K3W7RT2M8Q0001".parse().unwrap()
    }

    fn request<'a>(
        key: &'a MacKey,
        labels: &'static Labels,
        caller: &'a Caller,
        idempotency_key: &'a IdempotencyKey,
    ) -> IdempotentRequest<'a> {
        IdempotentRequest { key, labels, caller, idempotency_key, request: b"{}" }
    }

    #[test]
    fn the_same_request_again_gets_the_same_secret() {
        let (key, caller, header) = (key(), alice(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        for labels in [&CREATE, &ROTATE] {
            let request = request(&key, labels, &caller, &header);
            let (first, entry) = request.first(made(), 1, Utc::now());
            let again = request.repeat(&entry.record).unwrap();
            assert_eq!((first.key_id, first.secret.expose()), (again.key_id, again.secret.expose()));
            assert_eq!(request.digest(), entry.digest);

            let (other, _) = request.first(made(), 1, Utc::now());
            let nonce_is_new = "a nonce makes every first secret another one";
            assert_ne!(first.secret.expose(), other.secret.expose(), "{nonce_is_new}");
            let of_next = IdempotencyRecord { revision: 2, ..entry.record };
            let other = request.repeat(&of_next).unwrap();
            assert_ne!(
                first.secret.expose(),
                other.secret.expose(),
                "every revision has a secret of its own"
            );
        }
    }

    #[test]
    fn another_request_is_a_mismatch_and_another_sender_another_request() {
        let (key, header) = (key(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let alice = alice();
        let request = request(&key, &ROTATE, &alice, &header);
        let (_, entry) = request.first(made(), 2, Utc::now());
        let other_request = IdempotentRequest { request: b"{ }", ..request };
        assert!(matches!(other_request.repeat(&entry.record), Err(Error::IdempotencyMismatch)));

        let of_session = |id: &str| Caller {
            credential: CredentialKind::Session,
            session: Some(CallerSession { id: id.parse().unwrap(), opened_by: "backend".parse().unwrap() }),
            ..alice.clone()
        };
        let by_token = Caller { credential: CredentialKind::AccessToken, ..alice.clone() };
        for sender in [
            Caller { user_id: "bob".parse().unwrap(), ..alice.clone() },
            Caller {
                key: Some(CallerKey {
                    id: "01JD3V6Y4N8Q2Z5X7W9B0C1D2F".parse().unwrap(),
                    name: "ci".to_owned(),
                    state: None,
                }),
                ..alice.clone()
            },
            Caller { workspace_id: "other".parse().unwrap(), ..alice.clone() },
            by_token,
            of_session("01JD4A0000F9K3W7RT2M8Q0001"),
            Caller { credential: CredentialKind::Person, key: None, ..alice.clone() },
        ] {
            let other = IdempotentRequest { caller: &sender, ..request };
            assert_ne!(other.digest(), entry.digest, "{sender:?}");
            assert!(other.repeat(&entry.record).is_err());
        }
        let of_session = |id| IdempotentRequest { caller: &of_session(id), ..request }.digest();
        assert_ne!(of_session("01JD4A0000F9K3W7RT2M8Q0001"), of_session("01JD4A0000F9K3W7RT2M8Q0002"));
        let created = IdempotentRequest { labels: &CREATE, ..request };
        assert_ne!(created.digest(), entry.digest, "a create is no rotation");
    }

    #[test]
    fn the_old_secret_of_a_key_is_the_same_sender_as_the_current_one() {
        let (key, header) = (key(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let current = alice();
        let old = Caller { old_secret: Some(OldSecret::Previous), ..alice() };
        let [current, old] = [&current, &old].map(|caller| request(&key, &ROTATE, caller, &header));
        let (first, entry) = current.first(made(), 2, Utc::now());
        assert_eq!(old.digest(), entry.digest);
        assert_eq!(old.repeat(&entry.record).unwrap().secret.expose(), first.secret.expose());
    }

    #[test]
    fn a_request_is_remembered_for_ten_minutes() {
        let (key, caller, header) = (key(), alice(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let request = request(&key, &CREATE, &caller, &header);
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let (_, IdempotencyEntry { record, .. }) = request.first(made(), 1, now);
        assert_eq!(record.began_at(), now);
        assert!(
            !record.has_expired(now + TimeDelta::seconds(599))
                && record.has_expired(now + TimeDelta::seconds(600))
        );
    }

    #[test]
    fn a_mac_key_of_creates_and_a_pepper_of_the_same_bytes_make_different_macs() {
        let (caller, header) = (alice(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let key = key();
        let request = request(&key, &CREATE, &caller, &header);
        let (credential, entry) = request.first(made(), 1, Utc::now());
        let hash = Peppers::new(vec![self::key()], 1).hash(&credential);
        assert_ne!(hash.as_bytes(), &entry.record.request);
        assert_ne!(hash.as_bytes(), credential.secret.expose());
    }

    #[test]
    fn an_idempotency_key_is_16_to_255_visible_characters() {
        for (header, valid) in [
            ("a".repeat(16), true),
            ("a".repeat(255), true),
            ("a".repeat(15), false),
            ("a".repeat(256), false),
            ("a ".repeat(10), false),
            ("é".repeat(10), false),
        ] {
            assert_eq!(IdempotencyKey::parse(&header).is_ok(), valid, "{header}");
        }
    }
}

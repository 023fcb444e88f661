//! Idempotent creates and rotations: the same request again gets the same answer, although the secret is stored nowhere.
//!
//! Only where a request has an `Idempotency-Key`, the secret is derived instead of drawn:
//!
//! ```text
//! secret = HMAC-SHA-256(K, label ‖ workspace ‖ user ‖ kind and key id of the caller's credential ‖
//!                          key id ‖ revision ‖ nonce ‖ Idempotency-Key)
//! ```
//!
//! every field preceded by its length, with a K that only create-key, or another one that only rotate-key, can derive from
//! KMS. What is remembered for ten minutes is the nonce, the key with the revision that has the secret, the version of K, and
//! digests under K of the header and of the request. The header itself is stored nowhere: without it, the table and K are not
//! enough to recover the secret.

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

/// What the three MACs of a request are kept apart by, from each other and from those of the other operation.
#[derive(Debug)]
pub struct Labels {
    secret: &'static [u8],
    header: &'static [u8],
    request: &'static [u8],
}

// NEVER change these values: what was remembered under others would not be recognised.

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

/// For how long the same request gets the same answer.
pub const RECORD_LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// A request that can be repeated: 16 to 255 visible characters of ASCII that its sender chose for it.
#[derive(Debug)]
pub struct IdempotencyKey(SecretString);

impl IdempotencyKey {
    /// Reads the value of the header.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names the header.
    pub fn parse(header: &str) -> Result<Self, Error> {
        if (16..=255).contains(&header.len()) && header.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(header.into()));
        }
        let detail = "must be 16 to 255 visible ASCII characters".to_owned();
        Err(Error::invalid(InvalidField { place: Place::Header("Idempotency-Key".to_owned()), detail }))
    }
}

/// A create or a rotation that is to be remembered.
#[derive(Debug)]
pub struct IdempotencyEntry {
    /// What the request is found by.
    pub digest: String,
    /// What is remembered of it.
    pub record: IdempotencyRecord,
}

/// What is remembered of a create or a rotation. `Debug` shows neither the nonce nor the digest.
#[derive(Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// The key that it made or rotated.
    pub key_id: KeyId,
    /// The revision of the key that first had the secret.
    pub revision: u64,
    #[serde(with = "serde_bytes")]
    nonce: [u8; 32],
    #[serde(with = "serde_bytes")]
    request: [u8; 32],
    /// The version of K, for whoever looks at the table.
    version: u32,
    #[serde(with = "chrono::serde::ts_seconds")]
    ttl: DateTime<Utc>,
}

impl IdempotencyRecord {
    /// Whether the request is a new one by now. `DynamoDB` may not have got to removing what is past its ttl.
    #[must_use]
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.ttl.timestamp() <= now.timestamp()
    }

    /// When the request came first, to the second.
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

/// A request with an `Idempotency-Key`, and what its secrets are derived from.
#[derive(Debug)]
pub struct IdempotentRequest<'a> {
    /// K. Under another one a request is not found again, and is a new one.
    pub key: &'a MacKey,
    /// What is requested: a create or a rotation.
    pub labels: &'static Labels,
    /// Who asks.
    pub caller: &'a Caller,
    /// The header.
    pub idempotency_key: &'a IdempotencyKey,
    /// The request in a form that is the same however it was written: its parsed fields, and the key that it is about.
    pub request: &'a [u8],
}

impl IdempotentRequest<'_> {
    /// A new secret for `revision` of a key, and what is to be remembered.
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

    /// The credential that the request was answered with when it came first.
    ///
    /// # Errors
    ///
    /// - [`Error::IdempotencyMismatch`]: it was another request.
    pub fn repeat(&self, record: &IdempotencyRecord) -> Result<Credential, Error> {
        if self.request_mac().verify_slice(&record.request).is_err() {
            return Err(Error::IdempotencyMismatch);
        }
        Ok(self.credential(record))
    }

    /// What the request is found by.
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
            kind: CredentialForm::ApiKey,
            secret: Secret::from_bytes(&secret),
        }
    }

    fn request_mac(&self) -> Hmac<Sha256> {
        self.mac(self.labels.request, &[self.request])
    }

    /// A MAC over who sends the request, `fields`, and the `Idempotency-Key`. The old secret of a key is the same sender as its
    /// current one.
    fn mac(&self, label: &[u8], fields: &[&[u8]]) -> Hmac<Sha256> {
        let Caller { workspace_id, user_id, credential, key_id, .. } = self.caller;
        let caller_key = key_id.to_bytes();
        let mut all = vec![
            label,
            workspace_id.as_str().as_bytes(),
            user_id.as_str().as_bytes(),
            credential.word().as_bytes(),
            &caller_key,
        ];
        all.extend(fields);
        all.push(self.idempotency_key.0.expose_secret().as_bytes());
        self.key.mac(&all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential_class::CredentialKind;
    use crate::credential_class::OldSecret;
    use crate::pepper::Peppers;

    const HEADER_VALUE: &str = "4f1c2a9e-create-ci";

    fn key() -> MacKey {
        MacKey::new(1, &Zeroizing::new([1; 32]))
    }

    fn caller(user: &str, key_id: &str) -> Caller {
        Caller {
            workspace_id: "acme".parse().unwrap(),
            user_id: user.parse().unwrap(),
            key_id: key_id.parse().unwrap(),
            key_name: "ci".to_owned(),
            scopes: Vec::new(),
            endpoints: Vec::new(),
            credential: CredentialKind::ApiKey,
            old_secret: None,
            expires_at: None,
        }
    }

    fn alice() -> Caller {
        caller("alice", "01JD3V6Y4N8Q2Z5X7W9B0C1D2E")
    }

    fn made() -> KeyId {
        "01JD4A0000F9K3W7RT2M8Q0001".parse().unwrap()
    }

    #[test]
    fn the_same_request_again_gets_the_same_secret() {
        let (key, caller, header) = (key(), alice(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        for labels in [&CREATE, &ROTATE] {
            let request = IdempotentRequest {
                key: &key,
                labels,
                caller: &caller,
                idempotency_key: &header,
                request: b"{}",
            };
            let (first, entry) = request.first(made(), 1, Utc::now());
            let again = request.repeat(&entry.record).unwrap();
            assert_eq!((first.key_id, first.secret.expose()), (again.key_id, again.secret.expose()));
            assert_eq!(request.digest(), entry.digest);

            let (other, _) = request.first(made(), 1, Utc::now());
            let nonce_is_new = "a nonce makes every first answer another one";
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
        let request = IdempotentRequest {
            key: &key,
            labels: &ROTATE,
            caller: &alice,
            idempotency_key: &header,
            request: b"{}",
        };
        let (_, entry) = request.first(made(), 2, Utc::now());
        let other_request = IdempotentRequest { request: b"{ }", ..request };
        assert!(matches!(other_request.repeat(&entry.record), Err(Error::IdempotencyMismatch)));

        let by_token = Caller { credential: CredentialKind::AccessToken, ..alice.clone() };
        for sender in [
            caller("bob", "01JD3V6Y4N8Q2Z5X7W9B0C1D2E"),
            caller("alice", "01JD3V6Y4N8Q2Z5X7W9B0C1D2F"),
            by_token,
        ] {
            let other = IdempotentRequest { caller: &sender, ..request };
            assert_ne!(other.digest(), entry.digest, "{sender:?}");
            assert!(other.repeat(&entry.record).is_err());
        }
        let created = IdempotentRequest { labels: &CREATE, ..request };
        assert_ne!(created.digest(), entry.digest, "a create is no rotation");
    }

    #[test]
    fn the_old_secret_of_a_key_is_the_same_sender_as_the_current_one() {
        let (key, header) = (key(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let current = alice();
        let old = Caller { old_secret: Some(OldSecret::Previous), ..alice() };
        let [current, old] = [&current, &old].map(|caller| IdempotentRequest {
            key: &key,
            labels: &ROTATE,
            caller,
            idempotency_key: &header,
            request: b"{}",
        });
        let (first, entry) = current.first(made(), 2, Utc::now());
        assert_eq!(old.digest(), entry.digest);
        assert_eq!(old.repeat(&entry.record).unwrap().secret.expose(), first.secret.expose());
    }

    #[test]
    fn a_request_is_remembered_for_ten_minutes() {
        let (key, caller, header) = (key(), alice(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let request = IdempotentRequest {
            key: &key,
            labels: &CREATE,
            caller: &caller,
            idempotency_key: &header,
            request: b"{}",
        };
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let (_, IdempotencyEntry { record, .. }) = request.first(made(), 1, now);
        assert_eq!(record.began_at(), now);
        assert!(
            !record.is_over(now + TimeDelta::seconds(599)) && record.is_over(now + TimeDelta::seconds(600))
        );
    }

    #[test]
    fn a_mac_key_of_creates_and_a_pepper_of_the_same_bytes_make_different_macs() {
        let (caller, header) = (alice(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let key = key();
        let request = IdempotentRequest {
            key: &key,
            labels: &CREATE,
            caller: &caller,
            idempotency_key: &header,
            request: b"{}",
        };
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

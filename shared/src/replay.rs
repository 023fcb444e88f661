//! Idempotent creates: the same request again gets the same answer, although the secret is stored nowhere.
//!
//! Only where a request has an `Idempotency-Key`, the secret is derived instead of drawn:
//!
//! ```text
//! secret = HMAC-SHA-256(K, label ‖ workspace ‖ user ‖ caller's key id ‖ key id ‖ nonce ‖ Idempotency-Key)
//! ```
//!
//! every field preceded by its length, with a K that only create-key can derive from KMS. What is remembered for ten
//! minutes is the nonce, the version of K, and digests under K of the header and of the body. The header itself is
//! stored nowhere: without it, whoever has the table and K cannot recover the secret.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::Mac;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::credential::{Credential, KeyId, Kind, Secret, fill_with_random_bytes};
use crate::error::{Error, InvalidField, Place};
use crate::pepper::MacKey;

// NEVER change these values: what was remembered under others would not be recognised.
const SECRET: &[u8] = b"keygate/replay/secret/v1";
const HEADER: &[u8] = b"keygate/replay/header/v1";
const BODY: &[u8] = b"keygate/replay/body/v1";

/// For how long the same request gets the same answer.
const MEMORY: TimeDelta = TimeDelta::minutes(10);

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

/// A create that is to be remembered.
#[derive(Debug)]
pub struct Replay {
    /// What the request is found by.
    pub digest: String,
    /// What is remembered of it.
    pub memory: Memory,
}

/// What is remembered of a create. `Debug` shows neither the nonce nor the digest.
#[derive(Serialize, Deserialize)]
pub struct Memory {
    /// The key that it made.
    pub key_id: KeyId,
    #[serde(with = "serde_bytes")]
    nonce: [u8; 32],
    #[serde(with = "serde_bytes")]
    request: [u8; 32],
    /// The version of K, for whoever looks at the table.
    version: u32,
    #[serde(with = "chrono::serde::ts_seconds")]
    ttl: DateTime<Utc>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Memory").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// A request with an `Idempotency-Key`, and what its secrets are derived from.
#[derive(Debug)]
pub struct Repeatable<'a> {
    /// K. Under another one a request is not found again, and is a new one.
    pub key: &'a MacKey,
    /// Who asks.
    pub caller: &'a Caller,
    /// The header.
    pub idempotency_key: &'a IdempotencyKey,
    /// The body as it was sent.
    pub body: &'a [u8],
}

impl Repeatable<'_> {
    /// A new key for the request, and what is to be remembered.
    #[must_use]
    pub fn begin(&self, now: DateTime<Utc>) -> (Credential, Replay) {
        let mut nonce = [0; 32];
        fill_with_random_bytes(&mut nonce);
        let credential = self.credential(KeyId::generate(now), &nonce);
        let memory = Memory {
            key_id: credential.key_id,
            nonce,
            request: self.request_digest(),
            version: self.key.version(),
            ttl: now + MEMORY,
        };
        let digest = self.mac(HEADER, &[]);
        (credential, Replay { digest: URL_SAFE_NO_PAD.encode(digest), memory })
    }

    /// The credential that the request was answered with when it came first.
    ///
    /// # Errors
    ///
    /// - [`Error::IdempotencyMismatch`]: it came with another body.
    pub fn again(&self, memory: &Memory) -> Result<Credential, Error> {
        if !bool::from(self.request_digest().ct_eq(&memory.request)) {
            return Err(Error::IdempotencyMismatch);
        }
        Ok(self.credential(memory.key_id, &memory.nonce))
    }

    fn credential(&self, key_id: KeyId, nonce: &[u8; 32]) -> Credential {
        let secret = Zeroizing::new(self.mac(SECRET, &[&key_id.to_bytes(), nonce]));
        Credential { key_id, kind: Kind::ApiKey, secret: Secret::from_bytes(&secret) }
    }

    fn request_digest(&self) -> [u8; 32] {
        self.mac(BODY, &[self.body])
    }

    /// A MAC over who sends the request, `fields`, and the `Idempotency-Key`.
    fn mac(&self, label: &[u8], fields: &[&[u8]]) -> [u8; 32] {
        let Caller { workspace_id, user_id, key_id, .. } = self.caller;
        let caller_key = key_id.to_bytes();
        let mut all = vec![label, workspace_id.as_str().as_bytes(), user_id.as_str().as_bytes(), &caller_key];
        all.extend(fields);
        all.push(self.idempotency_key.0.expose_secret().as_bytes());
        self.key.mac(&all).finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::CredentialKind;
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
            expires_at: None,
        }
    }

    fn alice() -> Caller {
        caller("alice", "01JD3V6Y4N8Q2Z5X7W9B0C1D2E")
    }

    #[test]
    fn the_same_request_again_gets_the_same_secret() {
        let (key, caller, header) = (key(), alice(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let request = Repeatable { key: &key, caller: &caller, idempotency_key: &header, body: b"{}" };
        let (first, replay) = request.begin(Utc::now());
        let again = request.again(&replay.memory).unwrap();
        assert_eq!((first.key_id, first.secret.expose()), (again.key_id, again.secret.expose()));

        let (other, _) = request.begin(Utc::now());
        assert_ne!(
            first.secret.expose(),
            other.secret.expose(),
            "a nonce makes every first answer another one"
        );
    }

    #[test]
    fn another_body_is_a_mismatch_and_another_sender_another_request() {
        let (key, header) = (key(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let alice = alice();
        let request = Repeatable { key: &key, caller: &alice, idempotency_key: &header, body: b"{}" };
        let (_, replay) = request.begin(Utc::now());
        let other_body = Repeatable { body: b"{ }", ..request };
        assert!(matches!(other_body.again(&replay.memory), Err(Error::IdempotencyMismatch)));

        for sender in
            [caller("bob", "01JD3V6Y4N8Q2Z5X7W9B0C1D2E"), caller("alice", "01JD3V6Y4N8Q2Z5X7W9B0C1D2F")]
        {
            let other = Repeatable { key: &key, caller: &sender, idempotency_key: &header, body: b"{}" };
            assert_ne!(other.begin(Utc::now()).1.digest, replay.digest);
            assert!(other.again(&replay.memory).is_err());
        }
    }

    #[test]
    fn a_replay_key_and_a_pepper_of_the_same_bytes_make_different_macs() {
        let (caller, header) = (alice(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let key = key();
        let request = Repeatable { key: &key, caller: &caller, idempotency_key: &header, body: b"{}" };
        let (credential, replay) = request.begin(Utc::now());
        let hash = Peppers::new(vec![self::key()], 1).hash(&credential);
        assert_ne!(hash.as_bytes(), &replay.memory.request);
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

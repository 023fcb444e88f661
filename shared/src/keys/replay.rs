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

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::Mac;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::credential::{Credential, KeyId, Secret, fill_with_random_bytes};
use crate::error::{Error, InvalidField, Place};
use crate::pepper::{MacKey, MacKeys};

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

/// What is remembered of a create.
#[derive(Debug, Serialize, Deserialize)]
pub struct Memory {
    /// The key that it made.
    pub key_id: KeyId,
    #[serde(with = "serde_bytes")]
    nonce: [u8; 32],
    #[serde(with = "serde_bytes")]
    request: [u8; 32],
    version: u32,
    #[serde(with = "chrono::serde::ts_seconds")]
    ttl: DateTime<Utc>,
}

/// A request with an `Idempotency-Key`, and what its secrets are derived from.
#[derive(Debug)]
pub struct Repeatable<'a> {
    /// The versions of K.
    pub keys: &'a MacKeys,
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
        let key = self.keys.newest();
        let credential = self.credential(key, KeyId::generate(now), &nonce);
        let memory = Memory {
            key_id: credential.key_id,
            nonce,
            request: self.request_digest(key),
            version: key.version(),
            ttl: now + MEMORY,
        };
        let digest = self.mac(key, HEADER, &[]);
        (credential, Replay { digest: URL_SAFE_NO_PAD.encode(digest), memory })
    }

    /// The credential that the request was answered with when it came first.
    ///
    /// # Errors
    ///
    /// - [`Error::IdempotencyMismatch`]: it came with another body.
    /// - [`Error::IdempotencyConflict`]: it was remembered under a version of K that is not listed any more.
    pub fn again(&self, memory: &Memory) -> Result<Credential, Error> {
        let key = self.keys.version(memory.version).ok_or(Error::IdempotencyConflict(memory.key_id))?;
        if !bool::from(self.request_digest(key).ct_eq(&memory.request)) {
            return Err(Error::IdempotencyMismatch);
        }
        Ok(self.credential(key, memory.key_id, &memory.nonce))
    }

    fn credential(&self, key: &MacKey, key_id: KeyId, nonce: &[u8; 32]) -> Credential {
        let secret = Zeroizing::new(self.mac(key, SECRET, &[&key_id.to_bytes(), nonce]));
        Credential { key_id, secret: Secret::from_bytes(&secret) }
    }

    fn request_digest(&self, key: &MacKey) -> [u8; 32] {
        self.mac(key, BODY, &[self.body])
    }

    /// A MAC over who sends the request, `fields`, and the `Idempotency-Key`.
    fn mac(&self, key: &MacKey, label: &[u8], fields: &[&[u8]]) -> [u8; 32] {
        let Caller { workspace_id, user_id, key_id, .. } = self.caller;
        let caller_key = key_id.to_bytes();
        let mut all = vec![label, workspace_id.as_str().as_bytes(), user_id.as_str().as_bytes(), &caller_key];
        all.extend(fields);
        all.push(self.idempotency_key.0.expose_secret().as_bytes());
        key.mac(&all).finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::CredentialKind;
    use crate::pepper::Peppers;

    const HEADER_VALUE: &str = "4f1c2a9e-create-ci";

    fn keys(versions: &[u32]) -> MacKeys {
        let key =
            |version: &u32| MacKey::new(*version, &Zeroizing::new([u8::try_from(*version).unwrap(); 32]));
        MacKeys::new(versions.iter().map(key).collect())
    }

    fn caller(user: &str, key_id: &str) -> Caller {
        Caller {
            workspace_id: "acme".parse().unwrap(),
            user_id: user.parse().unwrap(),
            key_id: key_id.parse().unwrap(),
            key_name: "ci".to_owned(),
            scopes: Vec::new(),
            credential: CredentialKind::ApiKey,
            expires_at: None,
        }
    }

    fn alice() -> Caller {
        caller("alice", "01JD3V6Y4N8Q2Z5X7W9B0C1D2E")
    }

    #[test]
    fn the_same_request_again_gets_the_same_secret() {
        let (keys, caller, header) = (keys(&[1]), alice(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let request = Repeatable { keys: &keys, caller: &caller, idempotency_key: &header, body: b"{}" };
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
        let (keys, header) = (keys(&[1]), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let alice = alice();
        let request = Repeatable { keys: &keys, caller: &alice, idempotency_key: &header, body: b"{}" };
        let (_, replay) = request.begin(Utc::now());
        let other_body = Repeatable { body: b"{ }", ..request };
        assert!(matches!(other_body.again(&replay.memory), Err(Error::IdempotencyMismatch)));

        for sender in
            [caller("bob", "01JD3V6Y4N8Q2Z5X7W9B0C1D2E"), caller("alice", "01JD3V6Y4N8Q2Z5X7W9B0C1D2F")]
        {
            let other = Repeatable { keys: &keys, caller: &sender, idempotency_key: &header, body: b"{}" };
            assert_ne!(other.begin(Utc::now()).1.digest, replay.digest);
            assert!(other.again(&replay.memory).is_err());
        }
    }

    #[test]
    fn a_newer_key_still_answers_what_an_older_one_remembers() {
        let (caller, header) = (alice(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let (old, both, new) = (keys(&[1]), keys(&[1, 2]), keys(&[2]));
        let request = |keys| Repeatable { keys, caller: &caller, idempotency_key: &header, body: b"{}" };
        let (first, replay) = request(&old).begin(Utc::now());
        assert_eq!(request(&both).again(&replay.memory).unwrap().secret.expose(), first.secret.expose());
        assert!(matches!(request(&new).again(&replay.memory), Err(Error::IdempotencyConflict(_))));
    }

    #[test]
    fn a_replay_key_and_a_pepper_of_the_same_bytes_make_different_macs() {
        let (caller, header) = (alice(), IdempotencyKey::parse(HEADER_VALUE).unwrap());
        let keys = keys(&[1]);
        let request = Repeatable { keys: &keys, caller: &caller, idempotency_key: &header, body: b"{}" };
        let (credential, replay) = request.begin(Utc::now());
        let hash = Peppers(self::keys(&[1])).hash(&credential);
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

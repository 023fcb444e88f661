//! Peppers: the HMAC keys under which secrets are hashed.
//!
//! ```text
//! hash of an API key  = HMAC-SHA-256(pepper, label ‖ form ‖ key id ‖ secret)
//! hash of a token     = HMAC-SHA-256(pepper, label ‖ form ‖ key id ‖ token id ‖ secret)
//! hash of a session   = HMAC-SHA-256(pepper, label ‖ form ‖ key id ‖ session id ‖ secret), also of its page code
//! hash of a legacy key = HMAC-SHA-256(pepper, label ‖ "legacy" ‖ SHA-256 of the key)
//! ```
//!
//! Every field is preceded by its length. A secret has 256 bits of entropy, so a fast MAC is right and a password hash is not.
//! The tables alone do not allow anyone to test a guess: that takes the pepper, which exists only in the memory of running
//! functions. Every stored hash has the version of its pepper beside it, so that peppers can be replaced while keys live on.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::credential::Credential;
use crate::legacy_credential::LegacyCredential;

/// Separates these hashes from any other use of the same pepper.
///
/// NEVER change this value: no key issued before would be recognised.
const LABEL: &[u8] = b"keygate/credential/v1";

/// Takes the place of the form in the hash of a legacy key.
///
/// NEVER change this value, for the same reason.
const LEGACY_KEY: &[u8] = b"legacy";

/// The stored hash of a secret, with the version of its pepper.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHash {
    #[serde(with = "serde_bytes")]
    hash: [u8; 32],
    pepper_version: u32,
}

impl SecretHash {
    /// The version of the pepper.
    #[must_use]
    pub fn pepper_version(&self) -> u32 {
        self.pepper_version
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.hash
    }
}

/// The hash of the secret before the last rotation, in attributes of its own.
#[derive(Clone, Serialize, Deserialize)]
pub struct PreviousHash {
    #[serde(with = "serde_bytes")]
    previous_hash: [u8; 32],
    previous_pepper_version: u32,
}

impl From<&PreviousHash> for SecretHash {
    fn from(previous: &PreviousHash) -> Self {
        Self { hash: previous.previous_hash, pepper_version: previous.previous_pepper_version }
    }
}

#[cfg(test)]
impl From<SecretHash> for PreviousHash {
    fn from(hash: SecretHash) -> Self {
        Self { previous_hash: hash.hash, previous_pepper_version: hash.pepper_version }
    }
}

/// The hash of the secret of a session that its page got, in attributes of its own.
#[derive(Clone, Serialize, Deserialize)]
pub struct PageHash {
    #[serde(with = "serde_bytes")]
    page_hash: [u8; 32],
    page_pepper_version: u32,
}

impl From<&PageHash> for SecretHash {
    fn from(page: &PageHash) -> Self {
        Self { hash: page.page_hash, pepper_version: page.page_pepper_version }
    }
}

#[cfg(test)]
impl From<SecretHash> for PageHash {
    fn from(hash: SecretHash) -> Self {
        Self { page_hash: hash.hash, page_pepper_version: hash.pepper_version }
    }
}

impl fmt::Debug for PageHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        SecretHash::from(self).fmt(formatter)
    }
}

impl fmt::Debug for PreviousHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        SecretHash::from(self).fmt(formatter)
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SecretHash")
            .field("pepper_version", &self.pepper_version)
            .finish_non_exhaustive()
    }
}

/// An HMAC key that KMS derived: 32 bytes, zeroed on drop, never shown by `Debug`.
#[derive(Debug)]
pub struct MacKey {
    version: u32,
    key: SecretBox<[u8; 32]>,
}

impl MacKey {
    /// Takes the derived key of a version.
    #[must_use]
    pub fn new(version: u32, key: &Zeroizing<[u8; 32]>) -> Self {
        Self { version, key: SecretBox::init_with_mut(|bytes: &mut [u8; 32]| bytes.copy_from_slice(&**key)) }
    }

    /// The version, which is stored beside everything that was computed under the key.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// HMAC-SHA-256 over the fields, each preceded by its length, so that two lists of fields never give the same bytes.
    pub(crate) fn mac(&self, fields: &[&[u8]]) -> Hmac<Sha256> {
        #[cfg(test)]
        MACS_BEGUN.set(MACS_BEGUN.get() + 1);
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.key.expose_secret()).expect("HMAC takes keys of any length");
        for field in fields {
            let length = u32::try_from(field.len()).expect("every field is short");
            mac.update(&length.to_be_bytes());
            mac.update(field);
        }
        mac
    }
}

#[cfg(test)]
thread_local! {
    /// The number of MACs that this thread has begun, which is the work for a presented credential.
    pub(crate) static MACS_BEGUN: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// The peppers of a deployment. New hashes use the current one; stored hashes may use any.
#[derive(Debug)]
pub struct Peppers {
    current: MacKey,
    others: Vec<MacKey>,
}

impl Peppers {
    /// Takes the derived key of every listed version, in any order.
    ///
    /// # Panics
    ///
    /// When no key has the version `current`. The settings refuse such a list.
    #[must_use]
    pub fn new(mut keys: Vec<MacKey>, current: u32) -> Self {
        let index =
            keys.iter().position(|key| key.version == current).expect("the current version is listed");
        Self { current: keys.swap_remove(index), others: keys }
    }

    /// Every version, the current one first.
    fn all(&self) -> impl Iterator<Item = &MacKey> {
        std::iter::once(&self.current).chain(&self.others)
    }

    /// The hash to store for a new credential, under the current pepper.
    #[must_use]
    pub fn hash(&self, credential: &Credential) -> SecretHash {
        hash(&self.current, credential)
    }

    /// The hashes that a credential may be stored under, one for each pepper.
    #[must_use]
    pub fn hashes(&self, credential: &Credential) -> Vec<SecretHash> {
        self.all().map(|pepper| hash(pepper, credential)).collect()
    }

    /// Compares a credential with a stored hash, in constant time.
    ///
    /// # Errors
    ///
    /// - [`UnknownPepper`]: the pepper of the hash is not listed. That is a mistake of the deployment; the credential may be
    ///   right.
    pub fn verify(&self, credential: &Credential, stored: &SecretHash) -> Result<bool, UnknownPepper> {
        let version = stored.pepper_version;
        let pepper = self.all().find(|pepper| pepper.version == version);
        let pepper = pepper.ok_or(UnknownPepper { version })?;
        Ok(mac(pepper, credential).verify_slice(&stored.hash).is_ok())
    }

    /// The new hash of a verified credential, if `stored` is not under the current pepper.
    #[must_use]
    pub fn renew(&self, credential: &Credential, stored: &SecretHash) -> Option<SecretHash> {
        (stored.pepper_version != self.current.version).then(|| self.hash(credential))
    }

    /// The hash to store for a legacy key, under the current pepper.
    #[must_use]
    pub fn hash_legacy(&self, key: &LegacyCredential) -> SecretHash {
        legacy_hash(&self.current, key)
    }

    /// The hashes that a legacy key may be stored under, one for each pepper.
    #[must_use]
    pub fn hashes_of_legacy(&self, key: &LegacyCredential) -> Vec<SecretHash> {
        self.all().map(|pepper| legacy_hash(pepper, key)).collect()
    }

    /// Does the work of [`Self::verify`] without a stored hash, so that an unknown id takes as long as a wrong secret.
    pub(crate) fn verify_nothing(&self, credential: &Credential) {
        let matched = mac(&self.current, credential).verify_slice(&[0; 32]).is_ok();
        std::hint::black_box(matched);
    }
}

fn hash(pepper: &MacKey, credential: &Credential) -> SecretHash {
    SecretHash {
        hash: mac(pepper, credential).finalize().into_bytes().into(),
        pepper_version: pepper.version,
    }
}

fn mac(pepper: &MacKey, credential: &Credential) -> Hmac<Sha256> {
    let Credential { key_id, form, secret } = credential;
    let (label, form_word, key_id) = (LABEL, form.word().as_bytes(), key_id.to_bytes());
    match form.second_id() {
        None => pepper.mac(&[label, form_word, &key_id, secret.expose()]),
        Some(second_id) => pepper.mac(&[label, form_word, &key_id, &second_id, secret.expose()]),
    }
}

fn legacy_hash(pepper: &MacKey, key: &LegacyCredential) -> SecretHash {
    let mac = pepper.mac(&[LABEL, LEGACY_KEY, key.expose()]);
    SecretHash { hash: mac.finalize().into_bytes().into(), pepper_version: pepper.version }
}

/// The error of a hash whose pepper the deployment does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("PEPPER_VERSIONS does not list version {version}, which a stored hash uses")]
pub struct UnknownPepper {
    /// The version beside the stored hash.
    pub version: u32,
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::credential::{CredentialForm, KeyId, Secret};
    use crate::fixtures::mac_key as pepper;

    /// The last one is the current one.
    fn peppers(keys: Vec<MacKey>) -> Peppers {
        let current = keys.last().unwrap().version;
        Peppers::new(keys, current)
    }

    fn credential() -> Credential {
        let mut secret = Zeroizing::new([0; 32]);
        secret.iter_mut().zip(0..).for_each(|(byte, value)| *byte = value);
        let key_id = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        Credential { key_id, form: CredentialForm::ApiKey, secret: Secret::from_bytes(&secret) }
    }

    /// HMAC-SHA-256 (RFC 2104) over the length-prefixed fields, from an independent implementation.
    #[test]
    fn a_known_credential_has_its_known_hash() {
        let hash = peppers(vec![pepper(7, 100)]).hash(&credential());
        assert_eq!(STANDARD.encode(hash.hash), "/clY8BeZAj0AVcCxScpRwEgu6majkD9OUD0EhopiOSk=");
        assert_eq!(hash.pepper_version(), 7);
        let token_id = "01JD4A0000F9K3W7RT2M8Q0001".parse().unwrap();
        for (form, expected) in [
            (CredentialForm::AccessToken(token_id), "BzUdxBT2ZtoxJs4OCkhwV4rQPWTuc7sr3M6/QqTi7jA="),
            (CredentialForm::RefreshToken(token_id), "XfRzQ0GC/raVv2gqb9ieR2FmRbZrP2f3jeYIGiuPB50="),
        ] {
            let hash = peppers(vec![pepper(7, 100)]).hash(&Credential { form, ..credential() });
            assert_eq!(STANDARD.encode(hash.hash), expected, "{form:?}");
        }
    }

    /// From the same independent implementation, for the SHA-256 of `abc`.
    #[test]
    fn a_known_legacy_key_has_its_known_hash_under_every_pepper() {
        let peppers = peppers(vec![pepper(6, 0), pepper(7, 100)]);
        let key = LegacyCredential::of("abc");
        let hash = peppers.hash_legacy(&key);
        assert_eq!(STANDARD.encode(hash.hash), "DFuw9V2dSK0U1qRwFuPeurMljFSMb51mi81ZWGxuN/s=");
        let versions: Vec<_> =
            peppers.hashes_of_legacy(&key).iter().map(SecretHash::pepper_version).collect();
        assert_eq!((hash.pepper_version(), versions), (7, vec![7, 6]));
    }

    #[test]
    fn only_the_credential_that_was_hashed_verifies() {
        let peppers = peppers(vec![pepper(1, 0)]);
        let hash = peppers.hash(&credential());
        assert_eq!(peppers.verify(&credential(), &hash), Ok(true));

        let another_id: KeyId = "01JD3V6Y4N8Q2Z5X7W9B0C1D2F".parse().unwrap();
        assert_eq!(peppers.verify(&Credential { key_id: another_id, ..credential() }, &hash), Ok(false));

        let another_secret = Secret::from_bytes(&Zeroizing::new([9; 32]));
        assert_eq!(peppers.verify(&Credential { secret: another_secret, ..credential() }, &hash), Ok(false));
    }

    #[test]
    fn the_current_pepper_hashes_and_others_still_verify() {
        let old_hash = peppers(vec![pepper(1, 0)]).hash(&credential());
        let both = peppers(vec![pepper(1, 0), pepper(2, 50)]);
        assert_eq!(both.verify(&credential(), &old_hash), Ok(true));
        assert!(both.hashes(&credential()).contains(&old_hash));
        let renewed = both.renew(&credential(), &old_hash).unwrap();
        assert_eq!((renewed.pepper_version(), both.verify(&credential(), &renewed)), (2, Ok(true)));
        assert!(both.renew(&credential(), &renewed).is_none());
    }

    #[test]
    fn a_hash_under_an_unlisted_pepper_is_an_error_and_never_a_match() {
        let hash = peppers(vec![pepper(1, 0)]).hash(&credential());
        let without = peppers(vec![pepper(2, 0)]);
        assert_eq!(without.verify(&credential(), &hash), Err(UnknownPepper { version: 1 }));
    }

    #[test]
    fn nothing_shows_a_hash_or_a_pepper() {
        let peppers = peppers(vec![pepper(1, 100)]);
        let shown = format!("{:?} {peppers:?}", peppers.hash(&credential()));
        assert!(shown.contains("REDACTED") && !shown.contains("101"), "{shown}");
    }
}

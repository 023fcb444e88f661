//! The published keys of an identity provider: a JSON Web Key Set (RFC 7517).

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error as ThisError;

/// The maximum number of keys of a set.
const MAX_KEYS: usize = 100;

/// The keys of a set that verify signatures with RS256 or ES256. Keys of other kinds are left out (RFC 7517, section 5).
#[derive(Clone, Debug, Default)]
pub struct SigningKeys(Vec<SigningKey>);

/// One key, which verifies signatures with one algorithm (RFC 8725, section 3.1).
#[derive(Clone, Debug)]
pub(super) struct SigningKey {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// The error of a text that is not a set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum InvalidKeySet {
    /// It is not a JSON object with an array `keys`.
    #[error("not a JSON Web Key Set")]
    Form,
    /// It has too many keys.
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
    /// It has no key for RS256 or ES256.
    #[error("no key for RS256 or ES256")]
    NoKey,
}

#[derive(Deserialize)]
struct RawKeySet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl SigningKeys {
    /// Reads a set of keys.
    ///
    /// # Errors
    ///
    /// - [`InvalidKeySet::Form`]: the text is not a set of keys.
    /// - [`InvalidKeySet::TooMany`]: it has more than 100 keys.
    /// - [`InvalidKeySet::NoKey`]: it has none that can be used.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidKeySet> {
        let RawKeySet { keys } = serde_json::from_slice(text).map_err(|_| InvalidKeySet::Form)?;
        if keys.len() > MAX_KEYS {
            return Err(InvalidKeySet::TooMany);
        }
        let keys = keys.into_iter().filter_map(|key| serde_json::from_value::<RawKey>(key).ok()?.read());
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() { Err(InvalidKeySet::NoKey) } else { Ok(Self(keys)) }
    }

    /// The keys that may have signed a token with this `kid` and algorithm. A token without `kid` is one of the only key for its
    /// algorithm.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Self {
        let mut found = self.0.iter().filter(|key| key.algorithm == algorithm);
        match id {
            Some(id) => Self(found.filter(|key| key.id.as_deref() == Some(id)).cloned().collect()),
            None => match (found.next(), found.next()) {
                (Some(only), None) => Self(vec![only.clone()]),
                _ => Self::default(),
            },
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        self.0.iter()
    }
}

impl RawKey {
    /// The key, if it is one for signatures with RS256 or ES256. Its size and curve are checked when it verifies a signature.
    fn read(self) -> Option<SigningKey> {
        let is_for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|each| each == "verify"));
        let (algorithm, name, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let key = DecodingKey::from_rsa_components(&self.n?, &self.e?).ok()?;
                (Algorithm::RS256, "RS256", key)
            }
            ("EC", Some("P-256")) => {
                (Algorithm::ES256, "ES256", DecodingKey::from_ec_components(&self.x?, &self.y?).ok()?)
            }
            _ => return None,
        };
        let is_fitting = self.alg.as_deref().is_none_or(|alg| alg == name);
        (is_for_signatures && is_fitting).then_some(SigningKey { id: self.kid, algorithm, key })
    }
}

//! Public keys that verify the signatures of JWTs, as JSON Web Keys (RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error as ThisError;

/// The signature algorithm of every JWT: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, section 3.3).
pub const ALGORITHM: &str = "RS256";

/// What precedes the modulus in a `SubjectPublicKeyInfo` (RFC 5280, section 4.1) with an RSA key of 2048 bits (RFC 8017,
/// appendix A.1.1).
const BEFORE_MODULUS: [u8; 33] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
];

/// What follows it: the public exponent 65537, which every RSA key of KMS has.
const AFTER_MODULUS: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// The length of the modulus in bytes.
const MODULUS_LEN: usize = 256;

/// A public RSA key for signatures (RFC 7518, section 6.3.1). Its id is its thumbprint, so that two keys never have one id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    kty: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    kid: String,
    n: String,
    e: &'static str,
}

/// The error of bytes that are not an RSA key of 2048 bits with the exponent 65537, as KMS writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("not an RSA key of 2048 bits with the exponent 65537")]
pub struct InvalidPublicKey;

impl Jwk {
    /// Reads a key from its `SubjectPublicKeyInfo` in DER, which has only one form for keys of this size.
    ///
    /// # Errors
    ///
    /// - [`InvalidPublicKey`]: the bytes have another form.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidPublicKey> {
        let modulus = der.strip_prefix(&BEFORE_MODULUS).and_then(|rest| rest.strip_suffix(&AFTER_MODULUS));
        // The first bit is set, or the number would be shorter.
        let is_whole = |modulus: &&[u8]| modulus.len() == MODULUS_LEN && modulus[0] & 0x80 != 0;
        let modulus = modulus.filter(is_whole).ok_or(InvalidPublicKey)?;
        Ok(Self::of_modulus(URL_SAFE_NO_PAD.encode(modulus)))
    }

    /// The id, which the JWTs that the key verifies have in their header.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    fn of_modulus(n: String) -> Self {
        let e = "AQAB";
        // RFC 7638, section 3: the required members in lexicographic order, without whitespace.
        let thumbprint = Sha256::digest(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#));
        Self { kty: "RSA", usage: "sig", alg: ALGORITHM, kid: URL_SAFE_NO_PAD.encode(thumbprint), n, e }
    }
}

/// A set of keys (RFC 7517, section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<Jwk>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The modulus of the example of RFC 7638, section 3.1.
    const EXAMPLE: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebW\
                           KRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQ\
                           MicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2N\
                           cRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    fn der(modulus: &[u8]) -> Vec<u8> {
        [&BEFORE_MODULUS, modulus, &AFTER_MODULUS].concat()
    }

    /// RFC 7638, section 3.1, with the members of RFC 7517, section 4, and RFC 7518, section 6.3.1.
    #[test]
    fn a_key_has_the_thumbprint_of_the_rfc_as_its_id() {
        let modulus = URL_SAFE_NO_PAD.decode(EXAMPLE).unwrap();
        let key = Jwk::from_der(&der(&modulus)).unwrap();
        assert_eq!(key.kid(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let set = JwkSet { keys: vec![key.clone()] };
        let expected = json!({"keys": [
            {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key.kid(), "n": EXAMPLE, "e": "AQAB"},
        ]});
        assert_eq!(serde_json::to_value(set).unwrap(), expected);
    }

    #[test]
    fn a_key_of_another_kind_size_or_exponent_is_refused() {
        let modulus = [0x80; MODULUS_LEN];
        assert!(Jwk::from_der(&der(&modulus)).is_ok());
        let with = |change: fn(&mut Vec<u8>)| {
            let mut der = der(&modulus);
            change(&mut der);
            Jwk::from_der(&der)
        };
        for (about, read) in [
            ("nothing", Jwk::from_der(&[])),
            ("a short modulus", Jwk::from_der(&der(&modulus[1..]))),
            ("a long modulus", Jwk::from_der(&der(&[0x80; MODULUS_LEN + 1]))),
            ("a leading zero", Jwk::from_der(&der(&[0x7f; MODULUS_LEN]))),
            ("another algorithm", with(|der| der[14] ^= 1)),
            ("another exponent", with(|der| *der.last_mut().unwrap() = 3)),
            ("more bytes", with(|der| der.push(0))),
        ] {
            assert_eq!(read, Err(InvalidPublicKey), "{about}");
        }
    }
}

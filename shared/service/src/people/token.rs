//! A presented token: its header, and its signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Validation, decode};
use keygate_core::decision::PersonRefusal;
use serde_json::{Map, Value};

use crate::people::signing_keys::SigningKeys;

/// The maximum length of a token, in bytes. API Gateway takes 10,240 bytes of headers in total.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>
const MAX_TOKEN_BYTES: usize = 8_192;

/// Whether a bearer token has the form of a JWT: three parts of base64url, separated by dots. The signature may be missing, so that
/// a token with the algorithm `none` is refused as one.
#[must_use]
pub fn has_form_of_token(text: &str) -> bool {
    let is_base64url =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let parts: Vec<_> = text.split('.').collect();
    matches!(parts.as_slice(), [header, claims, _] if !header.is_empty() && !claims.is_empty())
        && parts.into_iter().all(is_base64url)
}

/// A token whose header was read, and whose signature was not verified yet.
pub(super) struct PresentedToken<'a> {
    text: &'a str,
    algorithm: Algorithm,
    key_id: Option<String>,
    kind: Option<String>,
}

/// The claims of a token whose signature was verified.
pub(super) struct VerifiedToken {
    /// `typ` of the header.
    pub(super) kind: Option<String>,
    pub(super) claims: Map<String, Value>,
}

impl<'a> PresentedToken<'a> {
    /// Reads the header of a token. Of the parameters that name or contain a key, only `kid` is read (RFC 8725, section 3.10).
    pub(super) fn parse(text: &'a str) -> Result<Self, PersonRefusal> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(PersonRefusal::TooLong);
        }
        let header = text.split('.').next().unwrap_or_default();
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| PersonRefusal::BadHeader)?;
        let header: Map<String, Value> =
            serde_json::from_slice(&header).map_err(|_| PersonRefusal::BadHeader)?;
        let text_of = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(PersonRefusal::BadHeader),
        };
        let algorithm = match text_of("alg")?.ok_or(PersonRefusal::BadHeader)?.as_str() {
            "RS256" => Algorithm::RS256,
            "ES256" => Algorithm::ES256,
            _ => return Err(PersonRefusal::WrongAlgorithm),
        };
        // No extension is understood, so a critical one is a reason to refuse (RFC 7515, section 4.1.11).
        if header.contains_key("crit") {
            return Err(PersonRefusal::BadHeader);
        }
        Ok(Self { text, algorithm, key_id: text_of("kid")?, kind: text_of("typ")? })
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Verifies the signature with the keys that may have made it.
    pub(super) fn verify(self, keys: &SigningKeys) -> Result<VerifiedToken, PersonRefusal> {
        if keys.is_empty() {
            return Err(PersonRefusal::UnknownKey);
        }
        let fitting = keys.iter().filter(|key| key.algorithm == self.algorithm);
        let validation = signature_alone(self.algorithm);
        let mut verified = fitting.filter_map(|key| decode(self.text, &key.key, &validation).ok());
        let claims = verified.next().ok_or(PersonRefusal::BadSignature)?.claims;
        Ok(VerifiedToken { kind: self.kind, claims })
    }
}

/// The crate reads the clock itself, and accepts an array of issuers. So it verifies the signature alone, and
/// [`claims`](super::claims) decides on what was signed.
fn signature_alone(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use hmac::{Hmac, KeyInit, Mac};
    use serde_json::json;
    use sha2::Sha256;

    use super::*;
    use crate::people::fixtures::{TestKey, unsigned};
    use crate::people::signatures;

    /// Verifies a token with the keys that its header names among these.
    fn verify(token: &str, published: &[Value]) -> Result<Map<String, Value>, PersonRefusal> {
        signatures::install();
        let keys = SigningKeys::parse(json!({"keys": published}).to_string().as_bytes()).unwrap();
        let presented = PresentedToken::parse(token)?;
        let keys = keys.find(presented.key_id(), presented.algorithm());
        presented.verify(&keys).map(|verified| verified.claims)
    }

    #[test]
    fn the_form_of_a_token_is_three_parts_of_base64url() {
        for token in ["a.b.c", "a.b.", "eyJh-_.eyJp.c2ln"] {
            assert!(has_form_of_token(token), "{token}");
        }
        for other in ["", "a.b", "a.b.c.d", ".b.c", "a..c", "a.b.c=", "a b.c.d", "kg_key_x", "a.b.c.d.e"] {
            assert!(!has_form_of_token(other), "{other}");
        }
    }

    #[test]
    fn both_algorithms_are_verified_with_the_published_key() {
        let (rsa, ec) = (TestKey::rsa(), TestKey::ec());
        let published = [ec.jwk("e"), rsa.jwk("r"), json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"})];
        let claims = json!({"sub": "alice"});
        for (key, algorithm, kid) in [(&rsa, "RS256", "r"), (&ec, "ES256", "e")] {
            let token = key.sign(&json!({"alg": algorithm, "kid": kid}), &claims);
            assert_eq!(verify(&token, &published).unwrap()["sub"], "alice");
            // RFC 7515, 4.1.4: `kid` is optional.
            assert!(verify(&key.sign(&json!({"alg": algorithm}), &claims), &published).is_ok());
            let parts: Vec<_> = token.split('.').collect();
            let other_claims = unsigned(&json!({"alg": algorithm, "kid": kid}), &json!({"sub": "bob"}));
            for forged in [
                format!("{other_claims}.{}", parts[2]),
                format!("{}.{}.", parts[0], parts[1]),
                format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64])),
            ] {
                assert_eq!(verify(&forged, &published), Err(PersonRefusal::BadSignature), "{forged}");
            }
        }
    }

    #[test]
    fn the_algorithm_is_one_of_two_and_fits_the_key() {
        let (rsa, ec) = (TestKey::rsa(), TestKey::ec());
        let published = [rsa.jwk("r"), ec.jwk("e")];
        let claims = json!({"sub": "alice"});
        // RFC 8725, 3.1 and 2.1: `none`, and HS256 with the published key as the secret.
        for algorithm in ["none", "None", "HS256", "PS256", "RS512", "ES384", "EdDSA", "rs256"] {
            let token = rsa.sign(&json!({"alg": algorithm, "kid": "r"}), &claims);
            assert_eq!(verify(&token, &published), Err(PersonRefusal::WrongAlgorithm), "{algorithm}");
        }
        let message = unsigned(&json!({"alg": "HS256", "kid": "r"}), &claims);
        let mut mac = Hmac::<Sha256>::new_from_slice(published[0].to_string().as_bytes()).unwrap();
        mac.update(message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        assert_eq!(verify(&token, &published), Err(PersonRefusal::WrongAlgorithm));
        let token = format!("{}.", unsigned(&json!({"alg": "none"}), &claims));
        assert_eq!(verify(&token, &published), Err(PersonRefusal::WrongAlgorithm));
        // The key with this `kid` is for the other algorithm.
        let token = ec.sign(&json!({"alg": "ES256", "kid": "r"}), &claims);
        assert_eq!(verify(&token, &published), Err(PersonRefusal::UnknownKey));
        let token = rsa.sign(&json!({"alg": "RS256", "kid": "e"}), &claims);
        assert_eq!(verify(&token, &published), Err(PersonRefusal::UnknownKey));
    }

    #[test]
    fn a_key_in_the_header_or_behind_an_address_of_the_header_verifies_nothing() {
        // RFC 8725, 3.10; RFC 7515, 4.1.2 to 4.1.6.
        let (own, published) = (TestKey::ec(), TestKey::ec());
        let claims = json!({"sub": "alice"});
        let own_key = own.jwk("k");
        for header in [
            json!({"alg": "ES256", "kid": "k", "jwk": own_key}),
            json!({"alg": "ES256", "kid": "k", "jku": "https://evil.example.com/keys"}),
            json!({"alg": "ES256", "kid": "k", "x5u": "https://evil.example.com/chain"}),
            json!({"alg": "ES256", "kid": "k", "x5c": ["AAAA"]}),
        ] {
            let token = own.sign(&header, &claims);
            assert_eq!(verify(&token, &[published.jwk("k")]), Err(PersonRefusal::BadSignature), "{header}");
            assert!(verify(&published.sign(&header, &claims), &[published.jwk("k")]).is_ok(), "{header}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_understood_is_refused() {
        let key = TestKey::ec();
        for header in [
            // RFC 7515, 4.1.11.
            json!({"alg": "ES256", "kid": "k", "crit": ["exp"]}),
            json!({"alg": "ES256", "kid": "k", "crit": []}),
            json!({"kid": "k"}),
            json!({"alg": ["ES256"], "kid": "k"}),
            json!({"alg": "ES256", "kid": 7}),
            json!({"alg": "ES256", "kid": "k", "typ": 7}),
            json!(["ES256"]),
        ] {
            let token = key.sign(&header, &json!({}));
            assert_eq!(verify(&token, &[key.jwk("k")]), Err(PersonRefusal::BadHeader), "{header}");
        }
        assert_eq!(verify("!.a.b", &[key.jwk("k")]), Err(PersonRefusal::BadHeader));
        let long = key.sign(&json!({"alg": "ES256", "kid": "k"}), &json!({"a": "a".repeat(8_000)}));
        assert_eq!(verify(&long, &[key.jwk("k")]), Err(PersonRefusal::TooLong));
    }

    #[test]
    fn a_published_key_is_only_used_as_its_publisher_says() {
        let key = TestKey::ec();
        let token = key.sign(&json!({"alg": "ES256", "kid": "k"}), &json!({}));
        let other = TestKey::rsa();
        // RFC 7517, 4.2 to 4.4.
        for (name, value, is_used) in [
            ("use", json!("enc"), false),
            ("key_ops", json!(["encrypt"]), false),
            ("key_ops", json!(["verify"]), true),
            ("alg", json!("ECDH-ES"), false),
            ("crv", json!("P-384"), false),
            ("kid", json!("other"), false),
            ("x5c", json!(["AAAA"]), true),
        ] {
            let mut published = key.jwk("k");
            published[name] = value;
            let verified = verify(&token, &[published.clone(), other.jwk("r")]);
            let expected = if is_used { None } else { Some(PersonRefusal::UnknownKey) };
            assert_eq!(verified.err(), expected, "{published}");
        }
        // Two keys for the algorithm, and no name of one.
        let nameless = key.sign(&json!({"alg": "ES256"}), &json!({}));
        let published = [key.jwk("k"), TestKey::ec().jwk("l")];
        assert_eq!(verify(&nameless, &published), Err(PersonRefusal::UnknownKey));
    }
}

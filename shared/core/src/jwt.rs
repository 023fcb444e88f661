//! JWT access tokens (RFC 9068): what they say, and the text that is signed.
//!
//! An API verifies them by itself, with the published keys. So nothing of Keygate takes part in their use: they end by their
//! expiry alone, and carry nothing that only Keygate could enforce.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::audience::Audience;
use crate::credential::{KeyId, TokenId};
use crate::identity::{UserId, WorkspaceId};
use crate::jwk::ALGORITHM;
use crate::key::Key;
use crate::scope::Scope;
use crate::token::Token;

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    /// RFC 9068, section 2.1: no other JWT of the issuer can be taken for an access token.
    typ: &'static str,
    kid: &'a str,
}

/// The claims of a JWT access token (RFC 9068, section 2.2).
#[derive(Debug, Serialize)]
pub struct Claims<'a> {
    iss: &'a str,
    /// The client: no resource owner takes part in its grants (section 2.2).
    sub: KeyId,
    /// One audience, as a string, so that no library takes the first of several.
    aud: &'a Audience,
    #[serde(with = "chrono::serde::ts_seconds")]
    exp: DateTime<Utc>,
    #[serde(with = "chrono::serde::ts_seconds")]
    iat: DateTime<Utc>,
    jti: TokenId,
    client_id: KeyId,
    /// The scopes separated by spaces; absent without scopes, because an empty list has no form (RFC 6749, section 3.3).
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    user_id: &'a UserId,
    workspace_id: &'a WorkspaceId,
}

impl<'a> Claims<'a> {
    /// The claims of a token of `key`.
    #[must_use]
    pub fn new(issuer: &'a str, audience: &'a Audience, key: &'a Key, token: &Token) -> Self {
        let scopes: Vec<_> = token.scopes.iter().map(Scope::as_str).collect();
        Self {
            iss: issuer,
            sub: key.key_id,
            aud: audience,
            exp: token.expires_at,
            iat: token.created_at,
            jti: token.token_id,
            client_id: key.key_id,
            scope: scopes.join(" "),
            user_id: &key.user_id,
            workspace_id: &key.workspace_id,
        }
    }

    /// The text that the key with this id signs: the header and the claims (RFC 7515, section 5.1).
    ///
    /// # Panics
    ///
    /// Never: the header and the claims can be written as JSON.
    #[must_use]
    pub fn signing_input(&self, kid: &str) -> String {
        let header = Header { alg: ALGORITHM, typ: "at+jwt", kid };
        format!("{}.{}", encoded(&header), encoded(self))
    }
}

/// The text of a token: what was signed, and the signature (RFC 7515, section 7.1).
#[must_use]
pub fn compact(signing_input: &str, signature: &[u8]) -> String {
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Whether a text has the form of a signed JWT: three parts in base64url, the first of which is a JSON object (RFC 7515, section
/// 7.1).
#[must_use]
pub fn has_form_of_jwt(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').map(|part| URL_SAFE_NO_PAD.decode(part)).collect();
    let [Ok(header), Ok(_), Ok(_)] = parts.as_slice() else { return false };
    serde_json::from_slice::<serde_json::Map<_, _>>(header).is_ok()
}

fn encoded(part: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).expect("a part of a token can be written as JSON"))
}

/// Whether an API can enforce by itself what the key may do: a JWT has neither endpoint rules nor networks, and nothing counts its
/// calls.
#[must_use]
pub fn can_represent(key: &Key) -> bool {
    key.endpoints.is_empty() && key.networks.is_empty() && key.limits.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures;
    use crate::limit::Limits;

    /// RFC 9068, sections 2.1 and 2.2.
    #[test]
    fn a_token_says_who_calls_which_api_until_when_and_nothing_else() {
        let (key, token) = (fixtures::key(), fixtures::token());
        let audience = "https://api.example.com".parse().unwrap();
        let of = |scopes: &[&str]| {
            let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
            let token = Token { scopes, ..token.clone() };
            let input =
                Claims::new("https://auth.example.com", &audience, &key, &token).signing_input("key-1");
            let text = compact(&input, &[1, 2, 3]);
            assert!(has_form_of_jwt(&text));
            let parts: Vec<_> = text.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
            assert_eq!(parts[2], [1, 2, 3]);
            let json = |part: &[u8]| serde_json::from_slice::<Value>(part).unwrap();
            (json(&parts[0]), json(&parts[1]))
        };
        let (header, claims) = of(&["orders:read", "orders:write"]);
        assert_eq!(header, json!({"alg": "RS256", "typ": "at+jwt", "kid": "key-1"}));
        let mut expected = json!({
            "iss": "https://auth.example.com",
            "sub": key.key_id,
            "aud": "https://api.example.com",
            "exp": token.expires_at.timestamp(),
            "iat": token.created_at.timestamp(),
            "jti": token.token_id,
            "client_id": key.key_id,
            "scope": "orders:read orders:write",
            "user_id": key.user_id,
            "workspace_id": key.workspace_id,
        });
        assert_eq!(claims, expected);
        expected.as_object_mut().unwrap().remove("scope");
        assert_eq!(of(&[]).1, expected);
    }

    #[test]
    fn a_text_of_another_form_is_no_jwt() {
        for text in [
            "",
            "e30.e30",
            "e30.e30.e30.e30",
            "e30..é",
            "bnVsbA.e30.e30",
            "kg_tok_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_01JD4A0000F9K3W7RT2M8Q0001_000",
        ] {
            assert!(!has_form_of_jwt(text), "{text}");
        }
        assert!(has_form_of_jwt("e30.e30."), "an unsigned one has the form too");
    }

    #[test]
    fn a_key_that_only_keygate_can_enforce_has_no_jwt() {
        let key = fixtures::key();
        assert!(can_represent(&key));
        let limits: Limits = serde_json::from_value(json!([{"calls": 10, "per": "minute"}])).unwrap();
        for restricted in [
            Key { endpoints: vec!["GET /orders".parse().unwrap()], ..key.clone() },
            Key { networks: vec!["203.0.113.0/24".parse().unwrap()], ..key.clone() },
            Key { limits, ..key.clone() },
        ] {
            assert!(!can_represent(&restricted), "{restricted:?}");
        }
    }
}

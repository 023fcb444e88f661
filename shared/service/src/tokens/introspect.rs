//! Token introspection (RFC 7662): tells a resource server whether a credential works, for APIs that are not behind API
//! Gateway.

use chrono::{DateTime, Utc};
use keygate_core::credential::{Brand, Credential};
use keygate_core::endpoint_rule::EndpointRule;
use keygate_core::identity::WorkspaceId;
use keygate_core::network::Network;
use keygate_core::rights::Operation;
use keygate_core::scope::Scope;
use keygate_core::token::TokenKind;
use keygate_core::verification::{PresentedSecret, Verification, VerifiedCredential};
use serde::Serialize;

use crate::authorizer::verifier::Verifier;
use crate::tokens::OAuthError;
use crate::tokens::client::ClientRequest;

/// Introspects credentials.
#[derive(Debug)]
pub struct Introspector {
    /// The brand, the first part of every credential.
    pub brand: Brand,
    /// The verifier of credentials.
    pub verifier: Verifier,
}

/// An introspection response (RFC 7662, section 2.2).
#[derive(Debug, Serialize)]
pub struct Introspection {
    /// Whether the credential works.
    active: bool,
    #[serde(flatten)]
    of_active: Option<Box<Active>>,
}

/// The attributes of a working credential.
#[derive(Debug, Serialize)]
struct Active {
    scope: String,
    /// The id of the key.
    client_id: String,
    token_type: &'static str,
    /// The expiry and the issue time of a token, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    iat: i64,
    /// The user.
    sub: String,
    /// The id of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    workspace_id: WorkspaceId,
    credential: &'static str,
    /// The endpoint rules, if any. The resource server must enforce them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<EndpointRule>,
    /// The networks, if any. The resource server must enforce them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    networks: Vec<Network>,
}

impl Introspector {
    /// Introspects the credential in `token` for the client, which must authenticate with a key. A credential of another
    /// workspace is inactive.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidRequest`]: `token` is missing, or the client is presented in more than one way.
    /// - [`OAuthError::InvalidClient`], [`OAuthError::RefusedClient`]: the client does not authenticate with a working key.
    /// - [`OAuthError::Failed`]: try again later.
    pub async fn introspect(&self, request: &ClientRequest<'_>) -> Result<Introspection, OAuthError> {
        let now = request.now;
        let token = request.parameters.required("token")?;
        let client = request.client(&self.brand)?;
        let client = client.authenticate(Operation::Introspect, &self.verifier, request).await?.key;
        let Ok(presented) = Credential::parse(token, &self.brand) else {
            return Ok(Introspection::inactive());
        };
        match self.verifier.verify(&presented, now).await?.verification {
            Verification::Verified(known) => Ok(Introspection::new(&known, &client.workspace_id, now)),
            Verification::WrongSecret(_) | Verification::Unknown(_) => Ok(Introspection::inactive()),
        }
    }
}

impl Introspection {
    /// The response for a credential that does not work, or that the client may not introspect.
    fn inactive() -> Self {
        Self { active: false, of_active: None }
    }

    /// The response for a credential with a correct secret, for a client of the workspace `asking`.
    fn new(known: &VerifiedCredential, asking: &WorkspaceId, now: DateTime<Utc>) -> Self {
        let of_active = Some(known).filter(|known| known.key.workspace_id == *asking);
        let of_active = of_active.and_then(|known| Active::new(known, now)).map(Box::new);
        Self { active: of_active.is_some(), of_active }
    }
}

impl Active {
    /// The attributes of a credential; `None` if it does not work.
    fn new(known: &VerifiedCredential, now: DateTime<Utc>) -> Option<Self> {
        known.works(now).ok()?;
        let key = &known.key;
        let mut active = Self {
            scope: String::new(),
            client_id: key.key_id.to_string(),
            token_type: "Bearer",
            exp: known.ends_at().map(|end| end.timestamp()),
            iat: key.created_at.timestamp(),
            sub: key.user_id.to_string(),
            jti: None,
            workspace_id: key.workspace_id.clone(),
            credential: "refresh_token",
            endpoints: Vec::new(),
            networks: Vec::new(),
        };
        if let PresentedSecret::Token(known) = &known.presented {
            active.iat = known.token.created_at.timestamp();
            active.jti = Some(known.token.token_id.to_string());
        }
        match &known.presented {
            PresentedSecret::Token(known) if known.token.kind == TokenKind::RefreshToken => {
                // A used refresh token is inactive, although presenting it at the token endpoint revokes its family.
                known.family.as_ref().filter(|family| family.is_present(known.token.token_id))?;
                active.scope = words(&known.token.scopes);
            }
            _ => {
                let caller = known.caller(now).ok()?;
                active.scope = words(&caller.scopes);
                active.endpoints = caller.endpoints;
                active.networks = caller.networks;
                active.credential = caller.credential.word();
            }
        }
        Some(active)
    }
}

fn words(scopes: &[Scope]) -> String {
    scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use keygate_core::credential_class::OldSecret;
    use keygate_core::key::{Generation, Key};
    use keygate_core::token::{Family, Token};
    use keygate_core::verification::VerifiedToken;
    use serde_json::{Value, json};

    use super::*;

    const KEY_ID: &str = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E";
    const TOKEN_ID: &str = "01JD4A0000F9K3W7RT2M8Q0002";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn key() -> Key {
        serde_json::from_value(json!({
            "key_id": KEY_ID, "workspace_id": "acme", "user_id": "alice", "created_by": "alice", "name": "ci",
            "scopes": ["orders:read", "orders:write"], "endpoints": ["GET /orders/*"],
            "created_at": 10, "revision": 1, "expires_at": 1000, "last_used_at": 0,
        }))
        .unwrap()
    }

    fn token(kind: &str) -> Token {
        serde_json::from_value(json!({
            "key_id": KEY_ID, "entry": format!("TOKEN#{TOKEN_ID}"), "kind": kind, "token_generation": 0,
            "scopes": ["orders:read", "orders:delete"], "created_at": 20, "expires_at": 500, "last_used_at": 0,
        }))
        .unwrap()
    }

    fn family(current: &str) -> Family {
        let (token_id, current) = (token("access_token").token_id, current.parse().unwrap());
        Family::new(KEY_ID.parse().unwrap(), token_id.family().unwrap(), current, at(900))
    }

    fn of_token(kind: &str, current: &str) -> PresentedSecret {
        let family = Some(family(current));
        PresentedSecret::Token(Box::new(VerifiedToken { token: token(kind), family, is_revoked: false }))
    }

    fn introspect(key: Key, presented: PresentedSecret, asking: &str, now: i64) -> Value {
        let known = VerifiedCredential { key, generation: Generation::default(), presented };
        serde_json::to_value(Introspection::new(&known, &asking.parse().unwrap(), at(now))).unwrap()
    }

    #[test]
    fn the_response_for_a_key_has_its_scopes_rules_and_expiry() {
        let told = introspect(key(), PresentedSecret::Current, "acme", 999);
        let expected = json!({
            "active": true, "scope": "orders:read orders:write", "client_id": KEY_ID, "token_type": "Bearer",
            "exp": 1000, "iat": 10, "sub": "alice", "workspace_id": "acme", "credential": "api_key",
            "endpoints": ["GET /orders/*"],
        });
        assert_eq!(told, expected);
        let lasting = Key { expires_at: None, endpoints: Vec::new(), ..key() };
        let told = introspect(lasting, PresentedSecret::Current, "acme", 999);
        assert_eq!((told.get("exp"), told.get("endpoints")), (None, None));
    }

    #[test]
    fn the_response_for_an_old_secret_has_the_end_of_its_overlap() {
        let old = || PresentedSecret::Previous(OldSecret::Previous, at(60));
        assert_eq!(introspect(key(), old(), "acme", 59)["exp"], 60);
        assert_eq!(introspect(key(), old(), "acme", 60), json!({"active": false}));
    }

    #[test]
    fn the_response_for_an_access_token_has_the_scopes_that_its_key_still_has() {
        let told = introspect(key(), of_token("access_token", TOKEN_ID), "acme", 499);
        let expected = json!({
            "active": true, "scope": "orders:read", "client_id": KEY_ID, "token_type": "Bearer", "exp": 500,
            "iat": 20, "sub": "alice", "jti": TOKEN_ID, "workspace_id": "acme", "credential": "access_token",
            "endpoints": ["GET /orders/*"],
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn a_refresh_token_is_active_until_it_is_used() {
        let told = introspect(key(), of_token("refresh_token", TOKEN_ID), "acme", 499);
        assert_eq!((&told["active"], &told["credential"]), (&json!(true), &json!("refresh_token")));
        assert_eq!((&told["exp"], &told["jti"]), (&json!(500), &json!(TOKEN_ID)));
        let used = of_token("refresh_token", "01JD4A0000F9K3W7RT2M8Q0004");
        assert_eq!(introspect(key(), used, "acme", 499), json!({"active": false}));
    }

    #[test]
    fn a_credential_that_does_not_work_or_of_another_workspace_is_inactive() {
        let disabled = Key { disabled_at: Some(at(1)), ..key() };
        let revoked = VerifiedToken { token: token("access_token"), family: None, is_revoked: true };
        for (key, presented, asking, now) in [
            (key(), PresentedSecret::Current, "other", 0),
            (key(), of_token("access_token", TOKEN_ID), "other", 0),
            (key(), PresentedSecret::Current, "acme", 1000),
            (disabled, PresentedSecret::Current, "acme", 2),
            (key(), of_token("access_token", TOKEN_ID), "acme", 500),
            (key(), PresentedSecret::Token(Box::new(revoked)), "acme", 30),
        ] {
            assert_eq!(introspect(key, presented, asking, now), json!({"active": false}));
        }
    }
}

//! Introspection responses (RFC 7662, section 2.2).

use keygate_core::audit_event::CallOutcome;
use keygate_core::caller::Caller;
use keygate_core::credential::KeyId;
use keygate_core::credential_class::OldSecret;
use keygate_core::decision::{Decision, Refusal};
use keygate_core::endpoint_rule::EndpointRule;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::limit::{Limit, LimitRefusal};
use keygate_core::metadata::Metadata;
use keygate_core::network::Network;
use keygate_core::scope::Scope;
use keygate_core::verification::{InactiveReason, PresentedSecret, VerifiedCredential};
use serde::{Serialize, Serializer};

/// An introspection response. Every credential that does not work, and every one of another workspace, has the same.
#[derive(Debug, Serialize)]
pub struct Introspection {
    /// Whether the credential works.
    active: bool,
    #[serde(flatten)]
    of_active: Option<Box<Active>>,
}

/// The attributes of a working credential: those of RFC 7662, and those of the authorizer's context under the names of the
/// management API.
#[derive(Debug, Serialize)]
struct Active {
    scope: String,
    /// The id of the key.
    client_id: KeyId,
    token_type: &'static str,
    /// The end of the credential, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    /// The issue time of the token, or the creation time of the key, in seconds since 1970.
    iat: i64,
    /// The user.
    sub: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    /// The id of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    user_id: UserId,
    workspace_id: WorkspaceId,
    key_id: KeyId,
    key_name: String,
    credential: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret: Option<OldSecret>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<EndpointRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    networks: Vec<Network>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
    /// The limits, such as `10/second`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<String>,
    #[serde(flatten)]
    verdict: Option<Verdict>,
}

/// The decision on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The call is allowed, and has taken its permits.
    Allowed,
    /// The credential, its endpoint rules or its networks do not allow the call, for this one-word reason.
    Refused(&'static str),
    /// The limits of the key refuse the call.
    Limited(LimitRefusal),
}

impl Verdict {
    /// The outcome of the call, in the authorizer's terms.
    #[must_use]
    pub fn outcome(self) -> CallOutcome {
        match self {
            Self::Allowed => CallOutcome::Allowed,
            Self::Refused(reason) => CallOutcome::Refused(reason),
            Self::Limited(refusal) => CallOutcome::Refused(refusal.word()),
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields {
            allowed: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after: Option<u32>,
        }
        let (allowed, reason) = match self.outcome() {
            CallOutcome::Allowed => (true, None),
            CallOutcome::Refused(reason) => (false, Some(reason)),
        };
        let retry_after = match self {
            Self::Limited(LimitRefusal::Exceeded { retry_after }) => Some(*retry_after),
            Self::Limited(LimitRefusal::NotEnforced) | Self::Allowed | Self::Refused(_) => None,
        };
        Fields { allowed, reason, retry_after }.serialize(serializer)
    }
}

impl Introspection {
    /// The response for a credential that does not work, or that the backend may not introspect.
    #[must_use]
    pub fn inactive() -> Self {
        Self { active: false, of_active: None }
    }

    /// The response for a credential with a correct secret, by the authorizer's decision on it.
    #[must_use]
    pub fn new(known: &VerifiedCredential, decision: &Decision, issuer: Option<&str>) -> Self {
        let of_active = match decision {
            Decision::Accepted(caller) => Some(Active::of_caller(known, caller, issuer)),
            Decision::Refused(Refusal::Inactive(_, InactiveReason::RefreshToken)) => {
                Active::of_refresh_token(known, issuer)
            }
            Decision::Refused(_) => None,
        };
        Self { active: of_active.is_some(), of_active: of_active.map(Box::new) }
    }

    /// The same response with the decision on a call. An inactive credential has none to show.
    #[must_use]
    pub fn with(mut self, verdict: Verdict) -> Self {
        if let Some(active) = &mut self.of_active {
            active.verdict = Some(verdict);
        }
        self
    }
}

impl Active {
    fn of_caller(known: &VerifiedCredential, caller: &Caller, issuer: Option<&str>) -> Self {
        Self {
            scope: words(&caller.scopes),
            credential: caller.credential.word(),
            old_secret: caller.old_secret,
            endpoints: caller.endpoints.clone(),
            networks: caller.networks.clone(),
            metadata: caller.metadata.clone(),
            limits: caller.limits.as_slice().iter().map(Limit::to_string).collect(),
            ..Self::new(known, issuer)
        }
    }

    /// The attributes of a refresh token; `None` if it was used. Then it is inactive, although presenting it at the token endpoint
    /// revokes its family.
    fn of_refresh_token(known: &VerifiedCredential, issuer: Option<&str>) -> Option<Self> {
        let PresentedSecret::Token(token) = &known.presented else { return None };
        token.family.as_ref().filter(|family| family.is_present(token.token.token_id))?;
        Some(Self { scope: words(&token.token.scopes), ..Self::new(known, issuer) })
    }

    /// What all working credentials have.
    fn new(known: &VerifiedCredential, issuer: Option<&str>) -> Self {
        let key = &known.key;
        let token = match &known.presented {
            PresentedSecret::Token(known) => Some(&known.token),
            PresentedSecret::Current | PresentedSecret::Previous(..) | PresentedSecret::LegacyKey { .. } => {
                None
            }
        };
        Self {
            scope: String::new(),
            client_id: key.key_id,
            token_type: "Bearer",
            exp: known.ends_at().map(|end| end.timestamp()),
            iat: token.map_or(key.created_at, |token| token.created_at).timestamp(),
            sub: key.user_id.clone(),
            iss: issuer.map(str::to_owned),
            jti: token.map(|token| token.token_id.to_string()),
            user_id: key.user_id.clone(),
            workspace_id: key.workspace_id.clone(),
            key_id: key.key_id,
            key_name: key.name.to_string(),
            credential: "refresh_token",
            old_secret: None,
            endpoints: Vec::new(),
            networks: Vec::new(),
            metadata: Metadata::default(),
            limits: Vec::new(),
            verdict: None,
        }
    }
}

fn words(scopes: &[Scope]) -> String {
    scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use keygate_core::key::{Generation, Key};
    use keygate_core::token::{Family, Token};
    use keygate_core::verification::{Verification, VerifiedToken};
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
            "networks": ["203.0.113.0/24"], "metadata": {"env": "live"}, "limits": [{"calls": 10, "per": "second"}, {"calls": 100, "per": "day"}],
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

    fn introspection(key: Key, presented: PresentedSecret, now: i64) -> Introspection {
        let known = VerifiedCredential { key, generation: Generation::default(), presented };
        let decision = Decision::new(&Verification::Verified(Box::new(known.clone())), at(now));
        Introspection::new(&known, &decision, None)
    }

    fn introspect(key: Key, presented: PresentedSecret, now: i64) -> Value {
        serde_json::to_value(introspection(key, presented, now)).unwrap()
    }

    /// The attributes of the key that all its credentials have.
    fn attributes(of_credential: &Value) -> Value {
        let mut expected = json!({
            "active": true, "client_id": KEY_ID, "token_type": "Bearer", "sub": "alice", "user_id": "alice",
            "workspace_id": "acme", "key_id": KEY_ID, "key_name": "ci",
        });
        expected.as_object_mut().unwrap().extend(of_credential.as_object().unwrap().clone());
        expected
    }

    /// RFC 7662, section 2.2, and the attributes of `docs/authorizer.md`.
    #[test]
    fn the_response_for_a_key_has_what_the_authorizer_tells_a_backend() {
        let told = introspect(key(), PresentedSecret::Current, 999);
        let expected = attributes(&json!({
            "scope": "orders:read orders:write", "exp": 1000, "iat": 10, "credential": "api_key",
            "endpoints": ["GET /orders/*"], "networks": ["203.0.113.0/24"], "metadata": {"env": "live"},
            "limits": ["10/second", "100/day"],
        }));
        assert_eq!(told, expected);
        let plain: Key = serde_json::from_value(json!({
            "key_id": KEY_ID, "workspace_id": "acme", "user_id": "alice", "created_by": "alice", "name": "ci",
            "scopes": [], "created_at": 10, "revision": 1, "last_used_at": 0,
        }))
        .unwrap();
        let told = introspect(plain, PresentedSecret::Current, 999);
        assert_eq!(told, attributes(&json!({"scope": "", "iat": 10, "credential": "api_key"})));
    }

    #[test]
    fn the_issuer_is_told_if_it_is_configured() {
        let known = VerifiedCredential {
            key: key(),
            generation: Generation::default(),
            presented: PresentedSecret::Current,
        };
        let decision = Decision::new(&Verification::Verified(Box::new(known.clone())), at(0));
        let told = Introspection::new(&known, &decision, Some("https://auth.example.com"));
        assert_eq!(serde_json::to_value(told).unwrap()["iss"], "https://auth.example.com");
    }

    #[test]
    fn the_response_for_an_old_secret_has_the_end_of_its_overlap() {
        for (secret, word) in [(OldSecret::Previous, "previous"), (OldSecret::Transferred, "transferred")] {
            let told = introspect(key(), PresentedSecret::Previous(secret, at(60)), 59);
            assert_eq!((&told["exp"], &told["old_secret"]), (&json!(60), &json!(word)));
            let ended = introspect(key(), PresentedSecret::Previous(secret, at(60)), 60);
            assert_eq!(ended, json!({"active": false}));
        }
    }

    #[test]
    fn the_response_for_an_access_token_has_the_scopes_that_its_key_still_has() {
        let told = introspect(key(), of_token("access_token", TOKEN_ID), 499);
        let expected = attributes(&json!({
            "scope": "orders:read", "exp": 500, "iat": 20, "jti": TOKEN_ID, "credential": "access_token",
            "endpoints": ["GET /orders/*"], "networks": ["203.0.113.0/24"], "metadata": {"env": "live"},
            "limits": ["10/second", "100/day"],
        }));
        assert_eq!(told, expected);
    }

    #[test]
    fn a_refresh_token_is_active_until_it_is_used() {
        let told = introspect(key(), of_token("refresh_token", TOKEN_ID), 499);
        let expected = attributes(&json!({
            "scope": "orders:read orders:delete", "exp": 500, "iat": 20, "jti": TOKEN_ID, "credential": "refresh_token",
        }));
        assert_eq!(told, expected);
        let used = of_token("refresh_token", "01JD4A0000F9K3W7RT2M8Q0004");
        assert_eq!(introspect(key(), used, 499), json!({"active": false}));
    }

    /// RFC 7662, section 2.2: no additional information about an inactive token.
    #[test]
    fn a_credential_that_does_not_work_is_inactive_and_nothing_else() {
        let disabled = Key { disabled_at: Some(at(1)), ..key() };
        let revoked = || VerifiedToken { token: token("access_token"), family: None, is_revoked: true };
        let revoked_refresh = VerifiedToken { token: token("refresh_token"), ..revoked() };
        let elsewhere = Key { endpoints: vec!["GET /users".parse().unwrap()], ..key() };
        let restricted = Token { endpoints: vec!["GET /orders/7".parse().unwrap()], ..token("access_token") };
        let nowhere = VerifiedToken { token: restricted, family: Some(family(TOKEN_ID)), is_revoked: false };
        for (key, presented, now) in [
            (key(), PresentedSecret::Current, 1000),
            (disabled, PresentedSecret::Current, 2),
            (key(), of_token("access_token", TOKEN_ID), 500),
            (key(), of_token("refresh_token", TOKEN_ID), 500),
            (key(), PresentedSecret::Token(Box::new(revoked())), 30),
            (key(), PresentedSecret::Token(Box::new(revoked_refresh)), 30),
            (elsewhere, PresentedSecret::Token(Box::new(nowhere)), 30),
        ] {
            let told = introspection(key, presented, now).with(Verdict::Refused("expired"));
            assert_eq!(serde_json::to_value(told).unwrap(), json!({"active": false}));
        }
    }

    #[test]
    fn the_decision_on_a_call_stands_beside_the_attributes_of_the_credential() {
        for (verdict, expected) in [
            (Verdict::Allowed, json!({"allowed": true})),
            (Verdict::Refused("outside_endpoints"), json!({"allowed": false, "reason": "outside_endpoints"})),
            (
                Verdict::Limited(LimitRefusal::Exceeded { retry_after: 37 }),
                json!({"allowed": false, "reason": "limit_exceeded", "retry_after": 37}),
            ),
            (
                Verdict::Limited(LimitRefusal::NotEnforced),
                json!({"allowed": false, "reason": "limits_not_enforced"}),
            ),
        ] {
            let told = introspection(key(), PresentedSecret::Current, 0).with(verdict);
            let mut told = serde_json::to_value(told).unwrap();
            let told = told.as_object_mut().unwrap();
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(told.remove(name).as_ref(), Some(value), "{verdict:?}");
            }
            let of_credential = introspect(key(), PresentedSecret::Current, 0);
            assert_eq!(json!(told), of_credential, "{verdict:?}");
        }
    }
}

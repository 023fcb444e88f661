//! The context that the authorizer passes to the backend and that the management API reads.

use chrono::DateTime;
use keygate_core::caller::{Caller, CallerKey, CallerSession};
use keygate_core::credential_class::CredentialKind;
use keygate_core::credential_class::OldSecret;
use keygate_core::endpoint_rule::EndpointRule;
use keygate_core::error::Error;
use keygate_core::key::{Generation, KeyState};
use keygate_core::limit::{Limit, LimitRefusal, Limits};
use keygate_core::network::Network;
use keygate_core::scope::Scope;
use keygate_core::time::rfc3339;
use serde::{Deserialize, Serialize};

/// The authorizer's context about the caller: strings only, the same for every kind of API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerContext {
    user_id: String,
    workspace_id: String,
    /// The key behind the credential. Absent for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_name: Option<String>,
    /// The state of the secrets of the key: the rotation and the generation, separated by a dot. Only the authorizer of the
    /// management API tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_state: Option<String>,
    /// For sessions only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// For sessions only: the user whose key opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened_by: Option<String>,
    /// The scopes, separated by spaces.
    scopes: String,
    /// The endpoint rules, separated by commas, because a rule contains a space. Absent for a key that may be used
    /// everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoints: Option<String>,
    /// The networks, separated by commas. Absent for a key that may be used from every address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    networks: Option<String>,
    /// The metadata as the text of a JSON object. Absent for a key without metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<String>,
    /// The limits of the key, such as `10/second`, separated by commas. Absent for a key without limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limits: Option<String>,
    credential: CredentialKind,
    /// For API keys only; absent for the current secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old_secret: Option<OldSecret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// For legacy keys only: the sunset, after which none works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    legacy_sunset: Option<String>,
    /// For refusals by limits only: the reason in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// For full windows only: the seconds until a call may be allowed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<String>,
}

impl AuthorizerContext {
    pub(super) fn of(caller: &Caller) -> Self {
        let scopes: Vec<&str> = caller.scopes.iter().map(Scope::as_str).collect();
        let endpoints: Vec<&str> = caller.endpoints.iter().map(EndpointRule::as_str).collect();
        let networks: Vec<String> = caller.networks.iter().map(Network::to_string).collect();
        let limits: Vec<_> = caller.limits.as_slice().iter().map(Limit::to_string).collect();
        Self {
            user_id: caller.user_id.to_string(),
            workspace_id: caller.workspace_id.to_string(),
            key_id: caller.key.as_ref().map(|key| key.id.to_string()),
            key_name: caller.key.as_ref().map(|key| key.name.clone()),
            key_state: caller.key.as_ref().and_then(|key| key.state).map(state_text),
            session_id: caller.session.as_ref().map(|session| session.id.to_string()),
            opened_by: caller.session.as_ref().map(|session| session.opened_by.to_string()),
            scopes: scopes.join(" "),
            endpoints: (!endpoints.is_empty()).then(|| endpoints.join(",")),
            networks: (!networks.is_empty()).then(|| networks.join(",")),
            metadata: (!caller.metadata.is_empty()).then(|| caller.metadata.to_json()),
            limits: (!limits.is_empty()).then(|| limits.join(",")),
            credential: caller.credential,
            old_secret: caller.old_secret,
            expires_at: caller.expires_at.map(rfc3339),
            legacy_sunset: caller.sunset().map(rfc3339),
            error: None,
            retry_after: None,
        }
    }

    /// The context of a call that the limits of its key refuse.
    pub(super) fn refused(caller: &Caller, refusal: LimitRefusal) -> Self {
        let retry_after = match refusal {
            LimitRefusal::Exceeded { retry_after } => Some(retry_after.to_string()),
            LimitRefusal::NotEnforced => None,
        };
        Self { error: Some(refusal.word().to_owned()), retry_after, ..Self::of(caller) }
    }
}

fn state_text(state: KeyState) -> String {
    format!("{}.{}", state.rotation, state.generation.number())
}

fn parse_state(text: &str) -> Result<KeyState, ()> {
    let (rotation, generation) = text.split_once('.').ok_or(())?;
    let number = |text: &str| text.parse().map_err(|_| ());
    Ok(KeyState { rotation: number(rotation)?, generation: Generation::from_number(number(generation)?) })
}

impl TryFrom<AuthorizerContext> for Caller {
    type Error = Error;

    /// # Errors
    ///
    /// - [`Error::Broken`]: a value is not one that the authorizer writes.
    fn try_from(context: AuthorizerContext) -> Result<Self, Error> {
        let broken = |what: &str| Error::Broken(format!("the authorizer's context has no valid {what}"));
        let scopes = context.scopes.split_whitespace().map(str::parse).collect::<Result<_, _>>();
        let endpoints = context.endpoints.iter().flat_map(|rules| rules.split(','));
        let endpoints = endpoints.map(str::parse).collect::<Result<_, _>>();
        let networks = context.networks.iter().flat_map(|networks| networks.split(','));
        let networks = networks.map(str::parse).collect::<Result<_, _>>();
        let metadata = context.metadata.as_deref().map(serde_json::from_str).transpose();
        let limits = context.limits.iter().flat_map(|limits| limits.split(',')).map(str::parse::<Limit>);
        let limits =
            limits.collect::<Result<Vec<_>, _>>().ok().and_then(|limits| Limits::try_from(limits).ok());
        let key = match (context.key_id, context.key_name, context.credential) {
            (Some(id), Some(name), _) => {
                let state = context.key_state.as_deref().map(parse_state).transpose();
                let id = id.parse().map_err(|_| broken("keyId"))?;
                Some(CallerKey { id, name, state: state.map_err(|()| broken("keyState"))? })
            }
            (None, None, CredentialKind::Person) => None,
            _ => return Err(broken("keyId")),
        };
        let session = match (context.session_id, context.opened_by, context.credential) {
            (Some(id), Some(opened_by), CredentialKind::Session) => Some(CallerSession {
                id: id.parse().map_err(|_| broken("sessionId"))?,
                opened_by: opened_by.parse().map_err(|_| broken("openedBy"))?,
            }),
            (None, None, credential) if credential != CredentialKind::Session => None,
            _ => return Err(broken("sessionId")),
        };
        let expires_at = context.expires_at.as_deref().map(DateTime::parse_from_rfc3339).transpose();
        Ok(Self {
            workspace_id: context.workspace_id.parse().map_err(|_| broken("workspaceId"))?,
            user_id: context.user_id.parse().map_err(|_| broken("userId"))?,
            key,
            session,
            scopes: scopes.map_err(|_| broken("scopes"))?,
            endpoints: endpoints.map_err(|_| broken("endpoints"))?,
            networks: networks.map_err(|_| broken("networks"))?,
            metadata: metadata.map_err(|_| broken("metadata"))?.unwrap_or_default(),
            limits: limits.ok_or_else(|| broken("limits"))?,
            credential: context.credential,
            old_secret: context.old_secret,
            expires_at: expires_at.map_err(|_| broken("expiresAt"))?.map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use keygate_core::metadata::Metadata;
    use serde_json::json;

    use super::*;
    use crate::api::sample_events::*;

    #[test]
    fn the_management_api_reads_the_context_that_the_authorizer_wrote() {
        let mut key = caller(None);
        let caller = Caller::try_from(AuthorizerContext::of(&key)).unwrap();
        assert_eq!((caller.user_id.as_str(), caller.workspace_id.as_str()), ("alice", "acme"));
        assert_eq!((caller.scopes, caller.endpoints), (key.scopes.clone(), Vec::new()));

        key.endpoints = ["GET /orders/*", "$connect"].map(|rule| rule.parse().unwrap()).into();
        let context = AuthorizerContext::of(&key);
        assert_eq!(Caller::try_from(context.clone()).unwrap().endpoints, key.endpoints);
        for broken in ["", "GET /orders/*,", "GET orders"] {
            let context = AuthorizerContext { endpoints: Some(broken.to_owned()), ..context.clone() };
            assert!(Caller::try_from(context).is_err(), "{broken:?} is not taken for no rules");
        }

        key.networks = ["203.0.113.0/24", "2001:db8::/32"].map(|network| network.parse().unwrap()).into();
        key.metadata = Metadata::parse(&json!({"env": "live", "team": "a \"b\""})).unwrap();
        let context = AuthorizerContext::of(&key);
        let caller = Caller::try_from(context.clone()).unwrap();
        assert_eq!((&caller.networks, &caller.metadata), (&key.networks, &key.metadata));
        for broken in ["", "203.0.113.0/24,", "203.0.113.1/24"] {
            let context = AuthorizerContext { networks: Some(broken.to_owned()), ..context.clone() };
            assert!(Caller::try_from(context).is_err(), "{broken:?} is not taken for no networks");
        }

        let limits = ["10/second", "1000/minute"].map(|limit| limit.parse::<Limit>().unwrap());
        key.limits = Limits::try_from(Vec::from(limits)).unwrap();
        let context = AuthorizerContext::of(&key);
        assert_eq!(context.limits.as_deref(), Some("10/second,1000/minute"));
        assert_eq!(Caller::try_from(context.clone()).unwrap().limits, key.limits);
        for broken in ["", "10/second,", "0/second", "1/day,2/day"] {
            let context = AuthorizerContext { limits: Some(broken.to_owned()), ..context.clone() };
            assert!(Caller::try_from(context).is_err(), "{broken:?} is not taken for no limits");
        }
    }

    #[test]
    fn the_context_has_the_state_of_a_key_the_opener_of_a_session_and_no_key_of_a_person() {
        let key = caller(None);
        let state = KeyState { rotation: 3, generation: Generation::from_number(5) };
        let stated = Caller {
            key: key.key.clone().map(|key| CallerKey { state: Some(state), ..key }),
            ..(*key).clone()
        };
        let context = AuthorizerContext::of(&stated);
        assert_eq!(context.key_state.as_deref(), Some("3.5"));
        assert_eq!(Caller::try_from(context).unwrap(), stated);

        let session = CallerSession {
            id: "01JD4A0000F9K3W7RT2M8Q0001".parse().unwrap(),
            opened_by: "backend".parse().unwrap(),
        };
        let session =
            Caller { credential: CredentialKind::Session, session: Some(session), ..(*key).clone() };
        let context = AuthorizerContext::of(&session);
        assert_eq!(Caller::try_from(context.clone()).unwrap(), session);
        for broken in [
            AuthorizerContext { session_id: None, ..context.clone() },
            AuthorizerContext { opened_by: None, ..context.clone() },
            AuthorizerContext { session_id: None, opened_by: None, ..context.clone() },
            AuthorizerContext { credential: CredentialKind::ApiKey, ..context },
        ] {
            assert!(Caller::try_from(broken.clone()).is_err(), "{broken:?}");
        }

        let person = Caller { credential: CredentialKind::Person, key: None, ..(*key).clone() };
        let context = AuthorizerContext::of(&person);
        assert_eq!(Caller::try_from(context.clone()).unwrap(), person);
        let without_key = AuthorizerContext { credential: CredentialKind::ApiKey, ..context };
        assert!(Caller::try_from(without_key).is_err(), "only a person has no key");
    }
}

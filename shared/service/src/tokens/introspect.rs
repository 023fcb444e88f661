//! Introspection (RFC 7662): tells a backend whether a credential works and what it may do, and decides on a call, for APIs that are
//! not behind API Gateway.
//!
//! The decision is the authorizer's, without a cache. Of another workspace's credential a backend learns nothing: the response is that
//! for an unknown one, and takes the same calls. Only the use of the workspace's own keys is recorded.

use chrono::{DateTime, Utc};
use keygate_core::call::{Call, InvalidCall};
use keygate_core::context::RequestOrigin;
use keygate_core::credential::Brand;
use keygate_core::decision::Decision;
use keygate_core::error::Error;
use keygate_core::fields::{self, Fields};
use keygate_core::identity::WorkspaceId;
use keygate_core::legacy_credential::LegacyRules;
use keygate_core::rights::Operation;
use keygate_core::scope::{self, TOKENS_INTROSPECT};
use keygate_core::verification::Verification;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::authorizer::AuthorizationResult;
use crate::authorizer::decision_log::DecisionLog;
use crate::authorizer::deferred::DeferredWork;
use crate::authorizer::limits::LimitEnforcer;
use crate::authorizer::presented::PresentedCredential;
use crate::authorizer::verifier::Verifier;
use crate::tokens::OAuthError;
use crate::tokens::client::ClientRequest;
use crate::tokens::introspection::{Introspection, Verdict};
use crate::tokens::parameters::FormParameters;

/// Introspects credentials.
#[derive(Debug)]
pub struct Introspector {
    /// The brand, the first part of every credential.
    pub brand: Brand,
    /// How legacy keys are recognised, if the deployment accepts any.
    pub legacy: Option<LegacyRules>,
    /// The verifier of credentials.
    pub verifier: Verifier,
    /// The limits of keys, which are checked last.
    pub limits: LimitEnforcer,
    /// The log of decisions on calls.
    pub log: DecisionLog,
    /// The configured issuer, if there is one.
    pub issuer: Option<String>,
}

/// What a backend asks: about a credential, and perhaps about a call with it. `Debug` does not show the credential.
#[derive(Debug)]
pub struct Query {
    token: SecretString,
    call: Option<Call>,
}

/// Who asks, and when.
#[derive(Debug)]
pub struct Inquiry<'a> {
    /// The workspace of the backend. Credentials of every other workspace are inactive.
    pub workspace_id: &'a WorkspaceId,
    /// The id of the request, for the log.
    pub request_id: &'a str,
    /// The time of the request.
    pub now: DateTime<Utc>,
    /// When the request began, for the budget of the limits.
    pub started: Instant,
}

/// A direct invocation: `{"introspect": {"workspace_id", "token", "method"?, "path"?, "address"?}}`.
#[derive(Debug)]
pub struct DirectIntrospection {
    /// The workspace whose credentials are introspected.
    pub workspace_id: WorkspaceId,
    /// The credential, and the call.
    pub query: Query,
}

impl Introspector {
    /// Introspects for a client, which must authenticate with a key that has the scope `tokens:introspect`.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidRequest`]: `token` is missing, a parameter of the call is wrong, or the client is presented in more
    ///   than one way.
    /// - [`OAuthError::InvalidClient`], [`OAuthError::RefusedClient`]: the client does not authenticate with a working key.
    /// - [`OAuthError::UnauthorizedClient`]: the presented secret does not allow it.
    /// - [`OAuthError::InsufficientScope`]: the key does not have the scope.
    /// - [`OAuthError::Failed`]: try again later.
    pub async fn introspect_for(
        &self,
        request: &ClientRequest<'_>,
        request_id: &str,
        started: Instant,
    ) -> Result<(Introspection, DeferredWork), OAuthError> {
        let query = Query::of_form(&request.parameters)?;
        let client = request.client(&self.brand)?;
        let client = client.authenticate(Operation::Introspect, &self.verifier, request).await?.key;
        if !scope::hold(&client.scopes, TOKENS_INTROSPECT) {
            return Err(OAuthError::InsufficientScope(TOKENS_INTROSPECT));
        }
        let workspace_id = &client.workspace_id;
        let inquiry = Inquiry { workspace_id, request_id, now: request.now, started };
        Ok(self.introspect(&query, &inquiry).await?)
    }

    /// Introspects a credential, and decides on the call, if the query has one. Returns the response, and the deferred work, which
    /// records the call.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the store did not respond in time.
    /// - [`Error::Busy`]: other environments changed the counts of the key's limits before every reservation.
    /// - [`Error::UnknownPepper`]: the stored hash is under a pepper version that is not listed.
    /// - [`Error::Broken`]: a stored item cannot be read.
    ///
    /// An error says nothing about the credential, and never accepts it.
    pub async fn introspect(
        &self,
        query: &Query,
        inquiry: &Inquiry<'_>,
    ) -> Result<(Introspection, DeferredWork), Error> {
        let &Inquiry { workspace_id, request_id, now, started } = inquiry;
        let nothing = |introspection| (introspection, DeferredWork::of_call(None, now));
        let text = query.token.expose_secret();
        let Ok(presented) = PresentedCredential::parse(text, &self.brand, self.legacy.as_ref(), now) else {
            return Ok(nothing(Introspection::inactive()));
        };
        let verified = self.verifier.verify_presented(&presented, now).await?;
        let result = AuthorizationResult::of_stored(&presented, &verified, &self.verifier.peppers, now);
        if result.owner.as_ref().is_none_or(|owner| owner.workspace_id != *workspace_id) {
            return Ok(nothing(Introspection::inactive()));
        }
        let introspection = match &verified.verification {
            Verification::Verified(known) => {
                Introspection::new(known, &result.decision, self.issuer.as_deref())
            }
            Verification::WrongSecret(_) | Verification::Unknown(_) => Introspection::inactive(),
        };
        let Some(call) = &query.call else { return Ok(nothing(introspection)) };
        let verdict = self.decide(&result.decision, call, now, started).await?;
        let outcome = verdict.outcome();
        self.log.write(request_id, &result, outcome);
        let is_limited = matches!(verdict, Verdict::Limited(_));
        let origin = origin(call, &result.decision);
        let work = result.deferred_work(origin, outcome, is_limited, now);
        Ok((introspection.with(verdict), work))
    }

    /// Decides on a call, by what the authorizer decides by: the credential, endpoint rules, networks and, last, limits.
    async fn decide(
        &self,
        decision: &Decision,
        call: &Call,
        now: DateTime<Utc>,
        started: Instant,
    ) -> Result<Verdict, Error> {
        let caller = match decision {
            Decision::Accepted(caller) => caller,
            Decision::Refused(refusal) => return Ok(Verdict::Refused(refusal.word())),
        };
        if let Some(reason) = call.refusal(caller) {
            return Ok(Verdict::Refused(reason));
        }
        let Some(key) = &caller.key else { return Ok(Verdict::Allowed) };
        let taken = self.limits.take(key.id, &caller.limits, now, started).await?;
        Ok(taken.map_or_else(Verdict::Limited, |()| Verdict::Allowed))
    }
}

/// The call, as the audit trail records it. If the credential does not work, this is only the source, as for a call that the
/// authorizer refuses.
fn origin(call: &Call, decision: &Decision) -> RequestOrigin {
    let origin = call.origin();
    match decision {
        Decision::Accepted(_) => origin,
        Decision::Refused(_) => RequestOrigin { method: None, path: None, ..origin },
    }
}

impl Query {
    fn of_form(parameters: &FormParameters) -> Result<Self, OAuthError> {
        let token = SecretString::from(parameters.required("token")?);
        let [method, path, address] =
            ["method", "path", "address"].map(|parameter| parameters.optional(parameter));
        let invalid =
            |invalid: InvalidCall| OAuthError::InvalidRequest(format!("{} {invalid}.", invalid.parameter()));
        Ok(Self { token, call: Call::parse(method, path, address).map_err(invalid)? })
    }

    fn of_fields(fields: &mut Fields) -> Option<Self> {
        let token: Option<SecretString> =
            fields.required("token", |value| fields::string(value).map(SecretString::from));
        let [method, path, address] = ["method", "path", "address"]
            .map(|field| fields.optional(field, |value| fields::string(value).map(str::to_owned)));
        match Call::parse(method.as_deref(), path.as_deref(), address.as_deref()) {
            Ok(call) => token.map(|token| Self { token, call }),
            Err(invalid) => {
                fields.refuse(invalid.parameter(), &invalid.to_string());
                None
            }
        }
    }
}

impl DirectIntrospection {
    /// Parses an event.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the event is not an introspection, or names its invalid fields. No value is repeated.
    pub fn parse(event: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::parse(event)?.inner("introspect")?;
        let workspace_id = fields.required("workspace_id", fields::parsed);
        let query = Query::of_fields(&mut fields);
        fields.finish(workspace_id.zip(query).map(|(workspace_id, query)| Self { workspace_id, query }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of_form(form: &str) -> Result<Query, String> {
        Query::of_form(&FormParameters::parse(form.as_bytes()).unwrap()).map_err(|error| match error {
            OAuthError::InvalidRequest(detail) => detail,
            other => panic!("{other}"),
        })
    }

    fn parse(event: &Value) -> Result<DirectIntrospection, Vec<String>> {
        DirectIntrospection::parse(event.to_string().as_bytes()).map_err(|error| match error {
            Error::Invalid { fields } => {
                let pointers =
                    fields.iter().map(|field| serde_json::to_value(field).unwrap()["pointer"].clone());
                pointers.map(|pointer| pointer.as_str().unwrap().to_owned()).collect()
            }
            other => panic!("{other}"),
        })
    }

    /// RFC 7662, section 2.1: `token` is required, and the server defines further parameters.
    #[test]
    fn a_form_has_a_credential_and_perhaps_a_call() {
        assert!(of_form("token=x&token_type_hint=y").unwrap().call.is_none());
        assert!(
            of_form("token=x&method=&path=&address=").unwrap().call.is_none(),
            "an empty one is not sent"
        );
        assert!(of_form("token=x&method=GET&path=%2Forders%2F7").unwrap().call.is_some());
        assert!(of_form("token=x&method=GET&path=/&address=2001:db8::7").unwrap().call.is_some());
        for (form, detail) in [
            ("method=GET&path=/", "token is required."),
            ("token=x&path=/", "method is required with path or address."),
            ("token=x&address=::1", "method is required with path or address."),
            ("token=x&method=GET", "path is required with method or address."),
            ("token=x&method=get&path=/", "method must be an HTTP method in capitals, such as GET."),
            ("token=x&method=GET&path=orders", "path must begin with / and have at most 2048 bytes."),
            ("token=x&method=GET&path=/&address=here", "address must be an IPv4 or IPv6 address."),
        ] {
            assert_eq!(of_form(form).unwrap_err(), detail, "{form}");
        }
    }

    #[test]
    fn a_direct_invocation_names_its_workspace() {
        let call =
            json!({"workspace_id": "acme", "token": "x", "method": "GET", "path": "/", "address": "::1"});
        let parsed = parse(&json!({"introspect": call})).unwrap();
        assert_eq!(parsed.workspace_id.as_str(), "acme");
        assert!(parsed.query.call.is_some() && !format!("{parsed:?}").contains("\"x\""), "{parsed:?}");
        let without_call =
            parse(&json!({"introspect": {"workspace_id": "acme", "token": "x", "method": null}}));
        assert!(without_call.unwrap().query.call.is_none());
        for (event, pointers) in [
            (json!({}), vec!["/introspect"]),
            (json!({"introspect": "x"}), vec!["/introspect"]),
            (json!({"introspect": {}, "import": {}}), vec!["/import"]),
            (json!({"introspect": {}}), vec!["/workspace_id", "/token"]),
            (json!({"introspect": {"workspace_id": "Acme", "token": 7}}), vec!["/workspace_id", "/token"]),
            (json!({"introspect": {"workspace_id": "acme", "token": "x", "path": "/"}}), vec!["/method"]),
            (
                json!({"introspect": {"workspace_id": "acme", "token": "x", "method": "get", "path": "/"}}),
                vec!["/method"],
            ),
            (json!({"introspect": {"workspace_id": "acme", "token": "x", "scope": "a"}}), vec!["/scope"]),
        ] {
            assert_eq!(parse(&event).unwrap_err(), pointers, "{event}");
        }
    }
}

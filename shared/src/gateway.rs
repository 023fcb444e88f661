//! API Gateway's custom authorizers: their events in, their answers out.
//!
//! | event | told by | answer | refusal |
//! | --- | --- | --- | --- |
//! | REST API, `TOKEN` | `type` | policy | error |
//! | REST API, `REQUEST` | `type`, no `version` | policy | error |
//! | WebSocket API, `$connect` | `type`, `requestContext.eventType` | policy | error |
//! | HTTP API, payload 1.0 | `type`, `version` | policy | denial |
//! | HTTP API, payload 2.0 | `type`, `version` | policy, or a simple response where so configured | denial |
//!
//! The error is `Unauthorized`, of which REST and WebSocket APIs make a 401. An HTTP API makes a 401 of a missing header
//! alone and a 500 of every error, so there a refusal is a denial and becomes a 403. See
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-use-lambda-authorizer.html>,
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html> and
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>.

use std::collections::HashMap;
use std::fmt;

use aws_lambda_events::apigw::{
    ApiGatewayCustomAuthorizerPolicy, ApiGatewayV2CustomAuthorizerIamPolicyResponse,
    ApiGatewayV2CustomAuthorizerSimpleResponse,
};
use aws_lambda_events::iam::{IamPolicyEffect, IamPolicyStatement};
use chrono::DateTime;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use thiserror::Error as ThisError;

use crate::activity::{Origin, Outcome};
use crate::authorize::{Decision, Header, Refusal};
use crate::caller::{Caller, CredentialKind};
use crate::config::AuthorizerAnswer;
use crate::credential;
use crate::endpoint::{self, EndpointRule};
use crate::error::Error;
use crate::legacy::LegacyRules;
use crate::rights::OldSecret;
use crate::scope::Scope;
use crate::time::rfc3339;

/// What REST and WebSocket APIs take as a 401.
pub const UNAUTHORIZED: &str = "Unauthorized";

/// Whom the backend is told a refused call came from.
const NOBODY: &str = "nobody";

/// An event as Lambda hands it over. It holds a credential, so its text is zeroed on drop and never shown by `Debug`.
pub struct Payload(SecretString);

impl Payload {
    /// The one way to read the text: to parse it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Box<str> = Box::<RawValue>::deserialize(deserializer)?.into();
        Ok(Self(SecretBox::new(text)))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Payload([REDACTED])")
    }
}

/// A request to authorize, whatever kind of API it came to.
pub struct Event {
    api: Api,
    /// ARN of the method or route that is called.
    arn: String,
    /// What is called, as the audit trail has it.
    origin: Origin,
    /// The values of every `Authorization` header that has one.
    authorization: Vec<SecretString>,
    /// The values of the header that is for legacy keys, if there is such a one.
    legacy: Vec<SecretString>,
    has_credential_in_query: bool,
}

impl fmt::Debug for Event {
    /// Nothing of it: there may be a credential in the path, too.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Event").finish_non_exhaustive()
    }
}

enum Api {
    Rest,
    WebSocket,
    /// An HTTP API with payload 1.0, whose authorizers know no simple responses.
    Http1,
    /// An HTTP API with payload 2.0, and what is called there.
    Http2 {
        method: String,
        path: String,
    },
}

/// The reason, in one word, why a call that its key's endpoint rules do not allow is refused.
const OUTSIDE_ENDPOINTS: &str = "outside_endpoints";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEvent {
    #[serde(rename = "type")]
    kind: Option<String>,
    version: Option<String>,
    authorization_token: Option<SecretString>,
    method_arn: Option<String>,
    route_arn: Option<String>,
    headers: Option<HashMap<String, SecretString>>,
    multi_value_headers: Option<HashMap<String, Vec<SecretString>>>,
    query_string_parameters: Option<HashMap<String, SecretString>>,
    multi_value_query_string_parameters: Option<HashMap<String, Vec<SecretString>>>,
    request_context: Option<RawRequestContext>,
    raw_path: Option<String>,
    http_method: Option<String>,
    resource: Option<String>,
    route_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequestContext {
    event_type: Option<String>,
    stage: Option<String>,
    http: Option<RawHttp>,
    identity: Option<RawIdentity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHttp {
    method: String,
    source_ip: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawIdentity {
    source_ip: Option<String>,
}

impl RawEvent {
    fn api(&self) -> Result<Api, UnknownEvent> {
        let is_connect = || {
            self.request_context
                .as_ref()
                .is_some_and(|context| context.event_type.as_deref() == Some("CONNECT"))
        };
        match (self.kind.as_deref(), self.version.as_deref()) {
            // Whatever the version: AWS's published sample has one, events as they arrive have none.
            (Some("REQUEST"), _) if is_connect() => Ok(Api::WebSocket),
            (Some("TOKEN" | "REQUEST"), None) => Ok(Api::Rest),
            (Some("REQUEST"), Some("1.0")) => Ok(Api::Http1),
            (Some("REQUEST"), Some("2.0")) => self.http2().ok_or(UnknownEvent),
            _ => Err(UnknownEvent),
        }
    }

    /// A `rawPath` begins with the name of its stage unless that is `$default`; where a custom domain is mapped to the
    /// stage, it does not.
    fn http2(&self) -> Option<Api> {
        let context = self.request_context.as_ref()?;
        let (stage, path) = (context.stage.as_deref()?, self.raw_path.as_deref()?);
        let below = path.strip_prefix('/').and_then(|path| path.strip_prefix(stage));
        let path = match below.filter(|_| stage != "$default") {
            Some("") => "/",
            Some(below) if below.starts_with('/') => below,
            _ => path,
        };
        Some(Api::Http2 { method: context.http.as_ref()?.method.clone(), path: path.to_owned() })
    }

    /// What is called: the route, of which there are few, rather than the path; but an event of the kind `TOKEN` knows no
    /// route. A path that holds a credential is nothing to keep.
    fn origin(&mut self, arn: &str) -> Origin {
        let (method_of_arn, path_of_arn) = match method_and_path(arn) {
            // A WebSocket API has routes and no methods.
            (Some(route), None) => (None, Some(route.to_owned())),
            (method, path) => (method, path.map(|path| format!("/{path}"))),
        };
        let context = self.request_context.take();
        let (http, identity) = context.map_or((None, None), |context| (context.http, context.identity));
        let route = self.route_key.take().map(|key| match key.split_once(' ') {
            Some((_, path)) => path.to_owned(),
            None => key,
        });
        let (method_of_http, source_of_http) =
            http.map_or((None, None), |http| (Some(http.method), http.source_ip));
        let path = self.resource.take().or(route).or(path_of_arn);
        let method = self.http_method.take().or(method_of_http).or(method_of_arn.map(str::to_owned));
        Origin {
            method: method.filter(|method| Origin::may_keep(method)),
            path: path.filter(|path| Origin::may_keep(path)),
            source: source_of_http.or(identity.and_then(|identity| identity.source_ip)),
        }
    }

    /// The values of every `Authorization` header and of every one for legacy keys, whatever their spelling. Where there are
    /// `multiValueHeaders`, `headers` has only the last value of each. A header without a value counts as not sent: some
    /// clients and proxies send every header that they know, and one without a value presents nothing.
    ///
    /// An event of the kind `TOKEN` does not say which header its authorizer has for an identity source. Where legacy keys
    /// have one, what has a scheme is of `Authorization`, and what is one word is a legacy key.
    fn credentials(&mut self, legacy_header: Option<&str>) -> (Vec<SecretString>, Vec<SecretString>) {
        let has_value = |value: &SecretString| !value.expose_secret().trim().is_empty();
        if self.kind.as_deref() == Some("TOKEN") {
            let token = self.authorization_token.take().filter(has_value).into_iter();
            let has_scheme = |token: &SecretString| token.expose_secret().trim().contains(' ');
            return token.partition(|token| legacy_header.is_none() || has_scheme(token));
        }
        let mut headers = self.multi_value_headers.take().unwrap_or_else(|| {
            let single = self.headers.take().into_iter().flatten();
            single.map(|(name, value)| (name, vec![value])).collect()
        });
        let mut values_of = |wanted: &str| -> Vec<SecretString> {
            headers
                .iter_mut()
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .flat_map(|(_, values)| std::mem::take(values))
                .filter(has_value)
                .collect()
        };
        (values_of("authorization"), legacy_header.map(values_of).unwrap_or_default())
    }

    /// Whether the query string has an `access_token`, or anywhere in a name or a value something of a credential's shape, or
    /// as one of them a text that legacy keys are recognised by. Names and values are decoded, and for payload 2.0 the values
    /// of one name are joined with commas. An event of the kind `TOKEN` does not show the query string.
    fn has_credential_in_query(&self, legacy: Option<&LegacyRules>) -> bool {
        let is_credential = |text: &str| {
            credential::is_within(text)
                || legacy.is_some_and(|legacy| {
                    legacy.pattern.is_match(text) || text.split(',').any(|part| legacy.pattern.is_match(part))
                })
        };
        let single = self.query_string_parameters.iter().flatten();
        let multiple = self.multi_value_query_string_parameters.iter().flatten();
        let single = single.map(|(name, value)| (name, std::slice::from_ref(value)));
        single.chain(multiple.map(|(name, values)| (name, values.as_slice()))).any(|(name, values)| {
            name == "access_token"
                || is_credential(name)
                || values.iter().any(|value| is_credential(value.expose_secret()))
        })
    }
}

/// An event of none of the kinds above. It does not say what was found: an event holds a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("not an event of an authorizer of a REST, an HTTP or a WebSocket API")]
pub struct UnknownEvent;

impl Event {
    /// Reads an event as Lambda hands it over. `legacy` says what legacy keys look like and which header is for them, where any
    /// are honoured.
    ///
    /// # Errors
    ///
    /// [`UnknownEvent`]: nothing can be decided about it.
    pub fn parse(json: &str, legacy: Option<&LegacyRules>) -> Result<Self, UnknownEvent> {
        let mut raw: RawEvent = serde_json::from_str(json).map_err(|_| UnknownEvent)?;
        let api = raw.api()?;
        let arn = if matches!(api, Api::Http2 { .. }) { raw.route_arn.take() } else { raw.method_arn.take() };
        let arn = arn.ok_or(UnknownEvent)?;
        let has_credential_in_query = raw.has_credential_in_query(legacy);
        let (authorization, legacy) = raw.credentials(legacy.and_then(|legacy| legacy.header.as_deref()));
        Ok(Self { authorization, legacy, has_credential_in_query, origin: raw.origin(&arn), api, arn })
    }

    /// What is called, as the audit trail has it. With a credential that does not work it has no more than the source: the
    /// id of a key is public, a key that is switched off may be in wrong hands, and neither may fill a trail with paths that
    /// somebody made up.
    #[must_use]
    pub fn origin(&self, decision: &Decision) -> Origin {
        match decision {
            Decision::Accepted(_) => self.origin.clone(),
            Decision::Refused(_) => Origin { method: None, path: None, source: self.origin.source.clone() },
        }
    }

    /// What comes of the call at hand. Of a policy API Gateway makes the same, because rules and policy mean the same.
    #[must_use]
    pub fn outcome(&self, decision: &Decision, form: AuthorizerAnswer) -> Outcome {
        match decision {
            Decision::Accepted(caller) if self.is_allowed(caller, form) => Outcome::Allowed,
            Decision::Accepted(_) => Outcome::Refused(OUTSIDE_ENDPOINTS),
            Decision::Refused(refusal) => Outcome::Refused(refusal.word()),
        }
    }

    /// Whether the caller's endpoint rules allow the call at hand.
    fn is_allowed(&self, caller: &Caller, form: AuthorizerAnswer) -> bool {
        let rules = &caller.endpoints;
        if rules.is_empty() {
            return true;
        }
        match (&self.api, form) {
            (Api::Http2 { .. }, AuthorizerAnswer::Simple) => false,
            (Api::Http2 { method, path }, _) => endpoint::allow(rules, method, path),
            (Api::WebSocket, _) => endpoint::allow_connect(rules),
            (Api::Rest | Api::Http1, _) => match method_and_path(&self.arn) {
                (Some(method), path) => {
                    endpoint::allow(rules, method, &format!("/{}", path.unwrap_or_default()))
                }
                (None, _) => false,
            },
        }
    }

    /// The one header that has a credential.
    ///
    /// # Errors
    ///
    /// - [`Refusal::InQuery`]: there is a credential in the query string (RFC 6750, section 2.3, advises against that),
    ///   where it was written to logs and histories, whatever else the request has.
    /// - [`Refusal::Ambiguous`]: there is more than one header, and so more than one who could be meant.
    pub fn header(&self) -> Result<Option<Header<'_>>, Refusal> {
        if self.has_credential_in_query {
            return Err(Refusal::InQuery);
        }
        match (self.authorization.as_slice(), self.legacy.as_slice()) {
            ([], []) => Ok(None),
            ([one], []) => Ok(Some(Header::Authorization(one.expose_secret()))),
            ([], [one]) => Ok(Some(Header::Legacy(one.expose_secret()))),
            _ => Err(Refusal::Ambiguous),
        }
    }

    /// Puts a decision into the form that this kind of API takes.
    ///
    /// # Errors
    ///
    /// [`Unauthorized`]: the refusal of a REST or WebSocket API.
    ///
    /// # Panics
    ///
    /// Never: a context of strings can always be written as JSON.
    pub fn answer(&self, decision: &Decision, form: AuthorizerAnswer) -> Result<Answer, Unauthorized> {
        match (decision, &self.api, form) {
            (Decision::Refused(_), Api::Rest | Api::WebSocket, _) => Err(Unauthorized),
            (Decision::Refused(_), Api::Http1, _)
            | (Decision::Refused(_), Api::Http2 { .. }, AuthorizerAnswer::Policy) => {
                let nothing = statement(IamPolicyEffect::Deny, vec![format!("{}/*", self.stage())]);
                Ok(policy(NOBODY, vec![nothing], None))
            }
            (Decision::Refused(_), Api::Http2 { .. }, _) => Ok(simple(false, None)),
            (
                Decision::Accepted(caller),
                Api::Http2 { .. },
                AuthorizerAnswer::Simple | AuthorizerAnswer::SimpleUncached,
            ) => {
                let is_allowed = self.is_allowed(caller, form);
                Ok(simple(is_allowed, is_allowed.then(|| Context::of(caller)).as_ref()))
            }
            (Decision::Accepted(caller), ..) => {
                Ok(policy(caller.user_id.as_str(), self.statements(caller), Some(&Context::of(caller))))
            }
        }
    }

    /// What a caller may call: the whole stage, or what its endpoint rules allow.
    ///
    /// API Gateway may keep an answer for the credential and use it for the next call, which need not be to the same
    /// method; so the answer must never be made of the one that is called.
    fn statements(&self, caller: &Caller) -> Vec<IamPolicyStatement> {
        let stage = self.stage();
        if caller.endpoints.is_empty() {
            return vec![allow(vec![format!("{stage}/*")], caller)];
        }
        let allowed = endpoint::allowed_resources(&caller.endpoints);
        let allowed = allowed.iter().map(|end| format!("{stage}/{end}")).collect();
        let partition = self.arn.split(':').nth(1).unwrap_or("*");
        let ambiguous =
            endpoint::AMBIGUOUS_RESOURCES.map(|end| format!("arn:{partition}:execute-api:*:*:{end}"));
        vec![allow(allowed, caller), statement(IamPolicyEffect::Deny, ambiguous.into())]
    }

    /// The ARN of the stage that is called, whose partition, region and account are those of the API.
    fn stage(&self) -> &str {
        let end = self.arn.match_indices('/').nth(1).map_or(self.arn.len(), |(index, _)| index);
        &self.arn[..end]
    }
}

/// The method and the path, without its first `/`, at the end of an ARN: `…:<api>/<stage>/<method>/<path>`.
fn method_and_path(arn: &str) -> (Option<&str>, Option<&str>) {
    let mut parts = arn.splitn(4, '/').skip(2);
    (parts.next(), parts.next())
}

/// An answer as API Gateway takes it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// An IAM policy with the caller's context.
    Policy(ApiGatewayV2CustomAuthorizerIamPolicyResponse),
    /// Yes or no, with the caller's context.
    Simple(ApiGatewayV2CustomAuthorizerSimpleResponse),
}

/// The refusal of a REST or WebSocket API: an error whose message is exactly `Unauthorized`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("{UNAUTHORIZED}")]
pub struct Unauthorized;

fn policy(principal: &str, statements: Vec<IamPolicyStatement>, context: Option<&Context>) -> Answer {
    let mut document = ApiGatewayCustomAuthorizerPolicy::default();
    document.version = Some("2012-10-17".to_owned());
    document.statement = statements;
    let mut answer = ApiGatewayV2CustomAuthorizerIamPolicyResponse::default();
    answer.principal_id = Some(principal.to_owned());
    answer.policy_document = document;
    answer.context = context_value(context);
    Answer::Policy(answer)
}

fn simple(is_authorized: bool, context: Option<&Context>) -> Answer {
    let mut answer = ApiGatewayV2CustomAuthorizerSimpleResponse::default();
    answer.is_authorized = is_authorized;
    answer.context = context_value(context);
    Answer::Simple(answer)
}

fn context_value(context: Option<&Context>) -> serde_json::Value {
    match context {
        Some(context) => serde_json::to_value(context).expect("strings can be written as JSON"),
        None => serde_json::json!({}),
    }
}

/// Lets a caller through, and says in the policy itself until when: API Gateway may use it again after the credential
/// expired.
fn allow(resources: Vec<String>, caller: &Caller) -> IamPolicyStatement {
    let mut allow = statement(IamPolicyEffect::Allow, resources);
    allow.condition = caller.expires_at.map(|expires_at| {
        let before = HashMap::from([("aws:CurrentTime".to_owned(), vec![rfc3339(expires_at)])]);
        HashMap::from([("DateLessThan".to_owned(), before)])
    });
    allow
}

fn statement(effect: IamPolicyEffect, resources: Vec<String>) -> IamPolicyStatement {
    let mut statement = IamPolicyStatement::default();
    statement.action = vec!["execute-api:Invoke".to_owned()];
    statement.effect = effect;
    statement.resource = resources;
    statement
}

/// What the backend, and the management API, is told of the caller: strings only, the same for every kind of API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    user_id: String,
    workspace_id: String,
    key_id: String,
    key_name: String,
    /// Separated by spaces.
    scopes: String,
    /// Separated by commas, because a rule has a space. Absent for a key that may be used everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoints: Option<String>,
    credential: CredentialKind,
    /// Of an API key alone, and absent for its current secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old_secret: Option<OldSecret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Of a legacy key alone: from when on none works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    legacy_sunset: Option<String>,
}

impl Context {
    fn of(caller: &Caller) -> Self {
        let scopes: Vec<&str> = caller.scopes.iter().map(Scope::as_str).collect();
        let endpoints: Vec<&str> = caller.endpoints.iter().map(EndpointRule::as_str).collect();
        Self {
            user_id: caller.user_id.to_string(),
            workspace_id: caller.workspace_id.to_string(),
            key_id: caller.key_id.to_string(),
            key_name: caller.key_name.clone(),
            scopes: scopes.join(" "),
            endpoints: (!endpoints.is_empty()).then(|| endpoints.join(",")),
            credential: caller.credential,
            old_secret: caller.old_secret,
            expires_at: caller.expires_at.map(rfc3339),
            legacy_sunset: caller.sunset().map(rfc3339),
        }
    }
}

impl TryFrom<Context> for Caller {
    type Error = Error;

    /// # Errors
    ///
    /// - [`Error::Broken`]: something in the context is not what the authorizer writes.
    fn try_from(context: Context) -> Result<Self, Error> {
        let broken = |what: &str| Error::Broken(format!("the authorizer's context has no valid {what}"));
        let scopes = context.scopes.split_whitespace().map(str::parse).collect::<Result<_, _>>();
        let endpoints = context.endpoints.iter().flat_map(|rules| rules.split(','));
        let endpoints = endpoints.map(str::parse).collect::<Result<_, _>>();
        let expires_at = context.expires_at.as_deref().map(DateTime::parse_from_rfc3339).transpose();
        Ok(Self {
            workspace_id: context.workspace_id.parse().map_err(|_| broken("workspaceId"))?,
            user_id: context.user_id.parse().map_err(|_| broken("userId"))?,
            key_id: context.key_id.parse().map_err(|_| broken("keyId"))?,
            key_name: context.key_name,
            scopes: scopes.map_err(|_| broken("scopes"))?,
            endpoints: endpoints.map_err(|_| broken("endpoints"))?,
            credential: context.credential,
            old_secret: context.old_secret,
            expires_at: expires_at.map_err(|_| broken("expiresAt"))?.map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::scope::MOST_SCOPES;
    use crate::verify::Unfit;

    const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/GET/orders/7";
    const CONNECT_ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/$connect";

    fn caller(expires_at: Option<&str>) -> Box<Caller> {
        Box::new(Caller {
            key_id: "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap(),
            workspace_id: "acme".parse().unwrap(),
            user_id: "alice".parse().unwrap(),
            key_name: "build server".to_owned(),
            scopes: vec!["orders:read".parse().unwrap(), "orders:write".parse().unwrap()],
            endpoints: Vec::new(),
            credential: CredentialKind::ApiKey,
            old_secret: None,
            expires_at: expires_at.map(|text| DateTime::parse_from_rfc3339(text).unwrap().into()),
        })
    }

    fn token() -> String {
        json!({"type": "TOKEN", "authorizationToken": "Bearer x", "methodArn": ARN}).to_string()
    }

    fn request(headers: &Value) -> String {
        json!({"type": "REQUEST", "methodArn": ARN, "headers": {"authorization": "last"}, "multiValueHeaders": headers})
            .to_string()
    }

    fn http1(headers: &Value) -> String {
        json!({"version": "1.0", "type": "REQUEST", "methodArn": ARN, "httpMethod": "GET", "headers": headers})
            .to_string()
    }

    fn websocket() -> String {
        json!({"type": "REQUEST", "methodArn": CONNECT_ARN, "headers": {"Authorization": "Bearer x"},
            "multiValueHeaders": {"Authorization": ["Bearer x"]},
            "requestContext": {"routeKey": "$connect", "eventType": "CONNECT", "connectionId": "c", "stage": "test"}})
        .to_string()
    }

    fn http2() -> String {
        json!({"version": "2.0", "type": "REQUEST", "routeArn": ARN, "identitySource": ["Bearer x"], "rawPath": "/test/",
            "headers": {"authorization": "Bearer x", "host": "h"},
            "requestContext": {"stage": "test", "http": {"method": "GET"}}})
        .to_string()
    }

    fn answer(event: &str, decision: &Decision, form: AuthorizerAnswer) -> Result<Value, Unauthorized> {
        Event::parse(event, None)
            .unwrap()
            .answer(decision, form)
            .map(|answer| serde_json::to_value(answer).unwrap())
    }

    #[test]
    fn the_credential_is_found_in_every_kind_of_event() {
        let events = [
            token(),
            websocket(),
            http1(&json!({"AuThorization": "Bearer x"})),
            http2(),
            request(&json!({"Authorization": ["Bearer x"]})),
            request(&json!({"AUTHORIZATION": ["Bearer x"], "X": ["y", "z"]})),
        ];
        for event in events {
            assert_eq!(
                Event::parse(&event, None).unwrap().header(),
                Ok(Some(Header::Authorization("Bearer x"))),
                "{event}"
            );
        }
        assert_eq!(Event::parse(&request(&json!({})), None).unwrap().header(), Ok(None));
        assert_eq!(
            Event::parse(&request(&Value::Null), None).unwrap().header(),
            Ok(Some(Header::Authorization("last")))
        );
    }

    #[test]
    fn nothing_shows_what_an_event_holds() {
        let secret = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi";
        let request = json!({"version": "2.0", "type": "REQUEST", "routeArn": ARN.replace("orders", secret),
            "headers": {"authorization": secret, "x-legacy-key": secret}, "rawPath": format!("/test/{secret}"),
            "queryStringParameters": {"key": secret},
            "requestContext": {"stage": "test", "http": {"method": "GET"}}});
        let token =
            json!({"type": "TOKEN", "authorizationToken": format!("Bearer {secret}"), "methodArn": ARN});
        for event in [request, token] {
            let payload: Payload = serde_json::from_str(&event.to_string()).unwrap();
            assert_eq!(payload.expose(), event.to_string());
            let event = Event::parse(payload.expose(), Some(&legacy())).unwrap();
            let header = Header::Authorization(secret);
            let shown = format!("{payload:?} {event:?} {header:?} {:?}", Header::Legacy(secret));
            assert!(!shown.contains("kg_") && shown.contains("REDACTED"), "{shown}");
        }
    }

    #[test]
    fn a_call_with_a_credential_that_does_not_work_leaves_nothing_of_its_senders_choice() {
        let event = json!({"version": "2.0", "type": "REQUEST", "routeArn": ARN, "rawPath": "/test/made-up",
            "routeKey": "GET /made-up", "headers": {},
            "requestContext": {"stage": "test", "http": {"method": "GET", "sourceIp": "203.0.113.7"}}});
        let event = Event::parse(&event.to_string(), None).unwrap();
        let id = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        let nothing = Origin { method: None, path: None, source: Some("203.0.113.7".to_owned()) };
        let unfit = [
            Unfit::Expired,
            Unfit::Disabled,
            Unfit::Sunset,
            Unfit::Revoked,
            Unfit::RefreshToken,
            Unfit::NowhereToUse,
        ];
        let refusals = unfit.map(|unfit| Refusal::Unfit(id, unfit));
        for refusal in refusals.into_iter().chain([Refusal::WrongSecret(id), Refusal::Unknown(Some(id))]) {
            assert_eq!(event.origin(&Decision::Refused(refusal)), nothing, "{refusal}");
        }
        let accepted = event.origin(&Decision::Accepted(caller(None)));
        assert_eq!((accepted.method.as_deref(), accepted.path.as_deref()), (Some("GET"), Some("/made-up")));
    }

    #[test]
    fn two_credentials_in_one_request_are_none() {
        for headers in [
            json!({"Authorization": ["Bearer x", "Bearer y"]}),
            json!({"Authorization": ["Bearer x"],
            "authorization": ["Bearer x"]}),
        ] {
            assert_eq!(Event::parse(&request(&headers), None).unwrap().header(), Err(Refusal::Ambiguous));
        }
        let two_spellings = http1(&json!({"Authorization": "Bearer x", "authorization": "Bearer x"}));
        assert_eq!(Event::parse(&two_spellings, None).unwrap().header(), Err(Refusal::Ambiguous));
    }

    fn legacy() -> LegacyRules {
        LegacyRules {
            sunset: DateTime::UNIX_EPOCH,
            pattern: LegacyRules::pattern("old-[0-9a-f]{8}").unwrap(),
            header: Some("x-legacy-key".to_owned()),
        }
    }

    #[test]
    fn a_header_without_a_value_is_no_header() {
        let legacy = legacy();
        let header = |event: &str| {
            let event = Event::parse(event, Some(&legacy)).unwrap();
            event.header().map(|header| match header {
                None => "none".to_owned(),
                Some(Header::Authorization(value)) => format!("authorization {value}"),
                Some(Header::Legacy(value)) => format!("legacy {value}"),
            })
        };
        for empty in ["", " ", "\t "] {
            let single = |authorization: &str, legacy: &str| {
                let headers = json!({"authorization": authorization, "X-Legacy-Key": legacy});
                let mut http2: Value = serde_json::from_str(&http2()).unwrap();
                http2["headers"] = headers.clone();
                let mut websocket: Value = serde_json::from_str(&websocket()).unwrap();
                websocket["multiValueHeaders"] =
                    json!({"Authorization": [authorization], "x-legacy-key": [legacy]});
                let rest = request(
                    &json!({"Authorization": [authorization, empty], "x-legacy-key": [empty, legacy]}),
                );
                [http1(&headers), http2.to_string(), websocket.to_string(), rest]
            };
            for event in single("Bearer x", empty) {
                assert_eq!(header(&event), Ok("authorization Bearer x".to_owned()), "{event}");
            }
            for event in single(empty, "old-00000000") {
                assert_eq!(header(&event), Ok("legacy old-00000000".to_owned()), "{event}");
            }
            let token = token().replace("Bearer x", &empty.replace('\t', "\\t"));
            for event in single(empty, empty).into_iter().chain([token]) {
                assert_eq!(header(&event), Ok("none".to_owned()), "{event}");
            }
            for event in single("Bearer x", "old-00000000") {
                assert_eq!(header(&event), Err(Refusal::Ambiguous), "{event}");
            }
        }
    }

    #[test]
    fn a_legacy_key_in_the_query_string_is_refused_where_legacy_keys_are_known() {
        let (legacy, key) = (legacy(), "old-0123abcd");
        for (query, is_refused) in [
            (json!({"key": key}), true),
            (json!({key: ""}), true),
            (json!({"key": format!("a,{key}")}), true),
            (json!({"key": format!("{key}0"), "token": "old-"}), false),
        ] {
            let event = json!({"version": "1.0", "type": "REQUEST", "methodArn": ARN, "headers": {"authorization": "Bearer x"},
                "queryStringParameters": query});
            let refused =
                |legacy| Event::parse(&event.to_string(), legacy).unwrap().header() == Err(Refusal::InQuery);
            assert_eq!((refused(Some(&legacy)), refused(None)), (is_refused, false), "{query}");
        }
    }

    #[test]
    fn a_credential_in_the_query_string_is_refused_whatever_the_header_has() {
        let credential =
            "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi";
        let authorization = |single: Value, multiple: Value| {
            let headers = json!({"authorization": "Bearer x"});
            let event = json!({"version": "1.0", "type": "REQUEST", "methodArn": ARN, "headers": headers,
                "queryStringParameters": single, "multiValueQueryStringParameters": multiple});
            Event::parse(&event.to_string(), None).unwrap().header().map(|header| header.is_some())
        };
        for (single, multiple) in [
            (json!({"access_token": "x"}), Value::Null),
            (json!({"key": credential}), Value::Null),
            (json!({"callback": format!("https://a.example/?k={credential}")}), json!({})),
            (json!({"key": format!("a,{credential}")}), Value::Null),
            (json!({"key": "last"}), json!({"key": [credential, "last"]})),
            (json!({credential: ""}), Value::Null),
            (json!({credential: "1"}), json!({credential: ["1"]})),
            (Value::Null, json!({format!("a[{credential}]"): ["1"]})),
        ] {
            assert_eq!(authorization(single.clone(), multiple), Err(Refusal::InQuery), "{single}");
        }
        for harmless in
            [Value::Null, json!({}), json!({"key": "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E", "token": "x"})]
        {
            assert_eq!(authorization(harmless, Value::Null), Ok(true));
        }
    }

    #[test]
    fn nothing_is_decided_about_an_unknown_event() {
        for event in [
            json!({}),
            json!([]),
            json!({"type": "TOKEN", "authorizationToken": "Bearer x"}),
            json!({"type": "TOKEN", "authorizationToken": 7, "methodArn": ARN}),
            json!({"version": "3.0", "type": "REQUEST", "routeArn": ARN}),
            json!({"version": "2.0", "type": "REQUEST", "methodArn": ARN}),
            json!({"version": "1.0", "type": "REQUEST", "routeArn": ARN}),
            json!({"version": "1.0", "type": "TOKEN", "methodArn": ARN}),
            json!({"httpMethod": "GET", "methodArn": ARN}),
        ] {
            assert_eq!(Event::parse(&event.to_string(), None).unwrap_err(), UnknownEvent, "{event}");
        }
    }

    #[test]
    fn an_accepted_key_may_call_the_whole_stage_whatever_was_called() {
        for event in [token(), websocket(), http1(&json!({})), http2()] {
            let answer = answer(&event, &Decision::Accepted(caller(None)), AuthorizerAnswer::Policy).unwrap();
            assert_eq!(answer["principalId"], "alice");
            assert_eq!(
                answer["policyDocument"],
                json!({"Version": "2012-10-17", "Statement": [{
                    "Action": ["execute-api:Invoke"], "Effect": "Allow",
                    "Resource": ["arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/*"],
                }]})
            );
            assert_eq!(
                answer["context"],
                json!({"userId": "alice", "workspaceId": "acme", "keyId": "01JD3V6Y4N8Q2Z5X7W9B0C1D2E",
                    "keyName": "build server", "scopes": "orders:read orders:write", "credential": "api_key"})
            );
        }
    }

    fn restricted(rules: &[&str]) -> Decision {
        let mut key = caller(None);
        key.endpoints = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        Decision::Accepted(key)
    }

    #[test]
    fn a_policy_has_the_rules_of_its_key_and_denies_ambiguous_paths() {
        let decision = restricted(&["GET /orders/*", "* /", "$connect"]);
        for event in [token(), websocket(), http1(&json!({})), http2()] {
            let answer = answer(&event, &decision, AuthorizerAnswer::Policy).unwrap();
            let statements = answer["policyDocument"]["Statement"].as_array().unwrap();
            let stage = "arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test";
            let ends = [
                "GET/orders/*",
                "GET/",
                "HEAD/",
                "POST/",
                "PUT/",
                "PATCH/",
                "DELETE/",
                "OPTIONS/",
                "$connect",
            ];
            let resources = ends.map(|end| format!("{stage}/{end}"));
            assert_eq!(statements[0]["Effect"], "Allow");
            assert_eq!(statements[0]["Resource"], json!(resources), "{event}");
            assert_eq!(statements[1]["Effect"], "Deny");
            assert_eq!(statements[1]["Resource"][0], "arn:aws:execute-api:*:*:*//*");
            assert_eq!(answer["context"]["endpoints"], "GET /orders/*,* /,$connect");
        }
    }

    #[test]
    fn a_policy_is_for_the_partition_of_its_event() {
        for partition in ["aws-cn", "aws-us-gov"] {
            let event = token().replace("arn:aws:", &format!("arn:{partition}:"));
            let answer = answer(&event, &restricted(&["GET /"]), AuthorizerAnswer::Policy).unwrap();
            for statement in answer["policyDocument"]["Statement"].as_array().unwrap() {
                for resource in statement["Resource"].as_array().unwrap() {
                    assert!(resource.as_str().unwrap().starts_with(&format!("arn:{partition}:execute-api:")));
                }
            }
        }
    }

    #[test]
    fn a_simple_response_evaluates_rules_only_where_it_is_not_cached() {
        let is_authorized = |rules: &[&str], form, path: &str, stage: &str| {
            let mut event: Value = serde_json::from_str(&http2()).unwrap();
            event["rawPath"] = json!(path);
            event["requestContext"]["stage"] = json!(stage);
            let answer = answer(&event.to_string(), &restricted(rules), form).unwrap();
            assert_eq!(answer["context"].get("userId").is_some(), answer["isAuthorized"] == true);
            answer["isAuthorized"] == true
        };
        let (cached, uncached) = (AuthorizerAnswer::Simple, AuthorizerAnswer::SimpleUncached);
        assert!(!is_authorized(&["* /*"], cached, "/test/orders", "test"));
        assert!(is_authorized(&[], cached, "/test/orders", "test"));
        // rule, path, stage, allowed
        for (rule, path, stage, allowed) in [
            ("GET /orders", "/test/orders", "test", true),
            ("GET /orders", "/orders", "$default", true),
            ("GET /orders", "/$default/orders", "$default", false),
            ("GET /orders", "/orders", "test", true),
            ("GET /orders", "/testorders", "test", false),
            ("GET /testorders", "/testorders", "test", true),
            ("GET /test/orders", "/test/orders", "test", false),
            ("GET /", "/test", "test", true),
            ("GET /", "/test/", "test", true),
            ("GET /*", "/test//orders", "test", false),
            ("POST /orders", "/test/orders", "test", false),
        ] {
            assert_eq!(
                is_authorized(&[rule], uncached, path, stage),
                allowed,
                "{rule} for {path} of {stage}"
            );
        }
    }

    /// IAM's evaluation, from its documentation: an explicit Deny, then an Allow, else nothing; `*` is any text and `?`
    /// any character within one of the parts that colons separate
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>).
    fn iam_allows(policy: &Value, arn: &str) -> bool {
        fn matches(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern.split_first(), text.split_first()) {
                (None, None) => true,
                (Some((b'*', pattern_rest)), _) => {
                    (0..=text.len()).any(|skipped| matches(pattern_rest, &text[skipped..]))
                }
                (Some((b'?', pattern_rest)), Some((_, rest))) => matches(pattern_rest, rest),
                (Some((expected, pattern_rest)), Some((found, rest))) => {
                    expected == found && matches(pattern_rest, rest)
                }
                _ => false,
            }
        }
        let is_matched = |statement: &Value| {
            statement["Resource"].as_array().unwrap().iter().any(|resource| {
                let mut parts = resource.as_str().unwrap().splitn(6, ':').zip(arn.splitn(6, ':'));
                parts.all(|(pattern, part)| matches(pattern.as_bytes(), part.as_bytes()))
            })
        };
        let effects: Vec<_> = policy["Statement"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|statement| is_matched(statement))
            .map(|statement| statement["Effect"].as_str().unwrap())
            .collect();
        effects.contains(&"Allow") && !effects.contains(&"Deny")
    }

    fn some_rules() -> impl Strategy<Value = Vec<EndpointRule>> {
        let rule = "(\\*|GET|PUT|DELETE) /(\\*|[ab](/[ab.~]b){0,2}(/\\*)?)?|\\$connect";
        prop::collection::vec(rule.prop_map(|rule| rule.parse().unwrap()), 1..6)
    }

    fn with_rules(rules: &[EndpointRule]) -> Decision {
        let mut key = caller(None);
        key.endpoints = rules.to_vec();
        Decision::Accepted(key)
    }

    proptest! {
        #[test]
        fn a_policy_and_a_simple_response_mean_the_same(
            rules in some_rules(),
            called in "GET|PUT|POST|OPTIONS|TRACE",
            path in "(/(a|b|ab|bb|[.~]b|\\.{1,2}|%2[fF]|a;b|\\\\|\\*|a\\?b|@:)?){1,4}",
        ) {
            let arn = format!("arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/{called}{path}");
            let event = json!({"version": "2.0", "type": "REQUEST", "routeArn": arn, "rawPath": format!("/test{path}"),
                "headers": {}, "requestContext": {"stage": "test", "http": {"method": called}}});
            let answer = |form| answer(&event.to_string(), &with_rules(&rules), form).unwrap();
            let simple = answer(AuthorizerAnswer::SimpleUncached)["isAuthorized"] == true;
            prop_assert_eq!(iam_allows(&answer(AuthorizerAnswer::Policy)["policyDocument"], &arn), simple);
        }

        #[test]
        fn a_policy_says_nothing_of_the_method_that_is_called(rules in some_rules(), called in "(GET|PUT)(/[a-z]{1,3}){1,3}") {
            let event = |called: &str| token().replace("GET/orders/7", called);
            let answer = |called: &str| answer(&event(called), &with_rules(&rules), AuthorizerAnswer::Policy).unwrap();
            prop_assert_eq!(answer(&called), answer("POST/other"));
        }

        #[test]
        fn an_answer_stays_below_8_kb_and_a_resource_below_512_characters(
            rules in prop::collection::btree_set("(\\*|GET|OPTIONS) /[a-z]{1,180}(/\\*)?", 1..=endpoint::MOST_RULES),
            scopes in prop::collection::btree_set("[a-z]{1,64}", 0..=MOST_SCOPES),
        ) {
            let mut longest = caller(Some("2027-01-01T00:00:00Z"));
            longest.key_name = "𝄞".repeat(100);
            longest.user_id = "u".repeat(128).parse().unwrap();
            longest.workspace_id = "w".repeat(64).parse().unwrap();
            longest.endpoints = rules.iter().map(|rule| rule.parse().unwrap()).collect();
            longest.scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
            while !endpoint::fit(&longest.endpoints, &longest.scopes) {
                longest.endpoints.pop();
            }
            let stage = "s".repeat(128);
            let arn = format!("arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:abcdefghij/{stage}/GET/");
            let event = json!({"type": "TOKEN", "authorizationToken": "Bearer x", "methodArn": arn}).to_string();
            let answer = answer(&event, &Decision::Accepted(longest), AuthorizerAnswer::Policy).unwrap();
            prop_assert!(answer.to_string().len() < 8_000, "{}", answer.to_string().len());
            for statement in answer["policyDocument"]["Statement"].as_array().unwrap() {
                for resource in statement["Resource"].as_array().unwrap() {
                    prop_assert!(resource.as_str().unwrap().len() < 512);
                }
            }
        }
    }

    #[test]
    fn a_policy_ends_when_its_key_does() {
        let decision = Decision::Accepted(caller(Some("2027-01-01T00:00:00Z")));
        let answer = answer(&token(), &decision, AuthorizerAnswer::Policy).unwrap();
        let condition = &answer["policyDocument"]["Statement"][0]["Condition"];
        assert_eq!(condition, &json!({"DateLessThan": {"aws:CurrentTime": ["2027-01-01T00:00:00Z"]}}));
        assert_eq!(answer["context"]["expiresAt"], "2027-01-01T00:00:00Z");
    }

    #[test]
    fn a_refusal_is_an_error_for_rest_and_websocket_apis_and_a_denial_for_an_http_api() {
        let refused = Decision::Refused(Refusal::Missing);
        for form in [AuthorizerAnswer::Policy, AuthorizerAnswer::Simple] {
            assert_eq!(answer(&token(), &refused, form).unwrap_err().to_string(), "Unauthorized");
            assert_eq!(answer(&request(&json!({})), &refused, form).unwrap_err().to_string(), "Unauthorized");
            assert_eq!(answer(&websocket(), &refused, form).unwrap_err().to_string(), "Unauthorized");
            let denied = answer(&http1(&json!({})), &refused, form).unwrap();
            assert_eq!(denied["policyDocument"]["Statement"][0]["Effect"], "Deny");
        }
        let denied = answer(&http2(), &refused, AuthorizerAnswer::Policy).unwrap();
        assert_eq!(denied["policyDocument"]["Statement"][0]["Effect"], "Deny");
        assert_eq!(denied["context"], json!({}));
        let denied = answer(&http2(), &refused, AuthorizerAnswer::Simple).unwrap();
        assert_eq!(denied, json!({"isAuthorized": false, "context": {}}));
    }

    #[test]
    fn simple_responses_are_for_payload_2_0_alone() {
        let accepted = Decision::Accepted(caller(None));
        let simple = answer(&http2(), &accepted, AuthorizerAnswer::Simple).unwrap();
        assert_eq!((&simple["isAuthorized"], &simple["context"]["userId"]), (&json!(true), &json!("alice")));
        for event in [token(), websocket(), http1(&json!({}))] {
            let policy = answer(&event, &accepted, AuthorizerAnswer::Simple).unwrap();
            assert!(policy.get("policyDocument").is_some(), "{event}");
        }
    }

    #[test]
    fn the_management_api_reads_the_context_that_the_authorizer_wrote() {
        let mut key = caller(None);
        let caller = Caller::try_from(Context::of(&key)).unwrap();
        assert_eq!((caller.user_id.as_str(), caller.workspace_id.as_str()), ("alice", "acme"));
        assert_eq!((caller.scopes, caller.endpoints), (key.scopes.clone(), Vec::new()));

        key.endpoints = ["GET /orders/*", "$connect"].map(|rule| rule.parse().unwrap()).into();
        let context = Context::of(&key);
        assert_eq!(Caller::try_from(context.clone()).unwrap().endpoints, key.endpoints);
        for broken in ["", "GET /orders/*,", "GET orders"] {
            let context = Context { endpoints: Some(broken.to_owned()), ..context.clone() };
            assert!(Caller::try_from(context).is_err(), "{broken:?} is not taken for no rules");
        }
    }
}

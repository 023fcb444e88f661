//! The responses of a custom authorizer, in the format of each kind of API.
//!
//! | event | recognized by | response | refusal |
//! | --- | --- | --- | --- |
//! | REST API, `TOKEN` | `type` | policy | error |
//! | REST API, `REQUEST` | `type`, no `version` | policy | error |
//! | WebSocket API, `$connect` | `type`, `requestContext.eventType` | policy | error |
//! | HTTP API, payload 1.0 | `type`, `version` | policy | denial |
//! | HTTP API, payload 2.0 | `type`, `version` | policy, or a simple response if so configured | denial |
//! | GraphQL API of AppSync | `requestContext.queryString`, no `type` | `isAuthorized` | denial |
//!
//! The error is `Unauthorized`, which REST and WebSocket APIs turn into a 401. An HTTP API returns 401 only for a missing
//! header and 500 for every error, so its refusal is a denial, which becomes a 403. See
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-use-lambda-authorizer.html>,
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html> and
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>. A denial of AppSync is an
//! `UnauthorizedException`:
//! <https://docs.aws.amazon.com/appsync/latest/devguide/security-authz.html#aws-lambda-authorization>.

use std::collections::HashMap;
use std::net::IpAddr;

use aws_lambda_events::apigw::{
    ApiGatewayCustomAuthorizerPolicy, ApiGatewayV2CustomAuthorizerIamPolicyResponse,
    ApiGatewayV2CustomAuthorizerSimpleResponse,
};
use aws_lambda_events::iam::{IamPolicyEffect, IamPolicyStatement};
use keygate_core::audit_event::CallOutcome;
use keygate_core::caller::Caller;
use keygate_core::decision::{Decision, OUTSIDE_ENDPOINTS};
use keygate_core::endpoint_rule::{self};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::limit::LimitRefusal;
use keygate_core::network::{self, Network};
use keygate_core::time::rfc3339;
use keygate_core::verification::InactiveReason;
use serde::Serialize;
use thiserror::Error as ThisError;

use crate::api::authorizer_context::AuthorizerContext;
use crate::api::authorizer_event::{ApiKind, AuthorizerEvent, method_and_path};

/// The error message that REST and WebSocket APIs turn into a 401.
pub const UNAUTHORIZED: &str = "Unauthorized";

/// The principal of a refused call.
const REFUSED_PRINCIPAL: &str = "nobody";

/// The format of the authorizer's response to payload 2.0 of an HTTP API. The response to every other event is a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizerResponseFormat {
    /// An IAM policy.
    Policy,
    /// `isAuthorized`, for authorizers with simple responses enabled. API Gateway may cache the response and use it for
    /// every other route, so a key with endpoint rules is refused.
    Simple,
    /// `isAuthorized`, for authorizers whose cache time is 0: endpoint rules are evaluated for each call. Behind a custom
    /// domain a key with endpoint rules is refused.
    SimpleUncached,
}

impl AuthorizerResponseFormat {
    /// `AUTHORIZER_RESPONSE`: `policy` by default.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the value is not `policy`, `simple` or `simple-uncached`.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        match environment.text("AUTHORIZER_RESPONSE") {
            None | Some("policy") => Ok(Self::Policy),
            Some("simple") => Ok(Self::Simple),
            Some("simple-uncached") => Ok(Self::SimpleUncached),
            Some(_) => {
                let must_be = "must be policy, simple or simple-uncached";
                Err(InvalidVariable::new("AUTHORIZER_RESPONSE", must_be))
            }
        }
    }
}

/// A response in the format of the service that asks.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum AuthorizerResponse {
    /// An IAM policy with the caller's context.
    Policy(ApiGatewayV2CustomAuthorizerIamPolicyResponse),
    /// A boolean decision, with the caller's context.
    Simple(ApiGatewayV2CustomAuthorizerSimpleResponse),
    /// A boolean decision for AppSync, with the caller's context.
    AppSync(AppSyncResponse),
}

/// A response to AppSync. It is never cached: AppSync would use it for every field of the API until a time is over, and Keygate could
/// not clear it after a revocation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppSyncResponse {
    is_authorized: bool,
    /// Seconds. Without it AppSync would take the time that the API configures.
    ttl_override: u32,
    /// Strings, as resolvers find them in `$ctx.identity.resolverContext`.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolver_context: Option<Box<AuthorizerContext>>,
}

impl AppSyncResponse {
    fn new(context: Option<AuthorizerContext>) -> Self {
        Self { is_authorized: context.is_some(), ttl_override: 0, resolver_context: context.map(Box::new) }
    }
}

/// The refusal of a REST or WebSocket API: an error whose message is exactly `Unauthorized`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("{UNAUTHORIZED}")]
pub struct Unauthorized;

/// The global condition key with the address of the sender
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-sourceip>).
const SOURCE_IP: &str = "aws:SourceIp";

impl AuthorizerEvent {
    /// The outcome of the current call. API Gateway derives the same outcome from a policy, because rules, networks and policy
    /// are equivalent. An event without the address of its sender is allowed by every network here: only the policy can refuse
    /// it.
    #[must_use]
    pub fn outcome(&self, decision: &Decision, form: AuthorizerResponseFormat) -> CallOutcome {
        match decision {
            Decision::Accepted(caller) => {
                self.refusal(caller, form).map_or(CallOutcome::Allowed, CallOutcome::Refused)
            }
            Decision::Refused(refusal) => CallOutcome::Refused(refusal.word()),
        }
    }

    /// The reason, in one word, for refusing the current call of an accepted caller, if it is refused. A GraphQL API has no routes,
    /// its event no address, and one call can do the work of many, so it is for keys without rules, networks and limits.
    fn refusal(&self, caller: &Caller, form: AuthorizerResponseFormat) -> Option<&'static str> {
        if !self.is_within_endpoints(caller, form) {
            Some(OUTSIDE_ENDPOINTS)
        } else if !self.is_within_networks(caller, form) {
            Some(InactiveReason::OutsideNetworks.word())
        } else if matches!(self.api, ApiKind::AppSync) && !caller.limits.is_empty() {
            Some(LimitRefusal::NotEnforced.word())
        } else {
            None
        }
    }

    /// Whether the caller's networks allow the current call. The address of a call to a private API is not the one that the
    /// networks are about. An event without an address is left to the condition of the policy, if the response is one.
    fn is_within_networks(&self, caller: &Caller, form: AuthorizerResponseFormat) -> bool {
        let networks = caller.source_networks();
        if networks.is_empty() {
            return true;
        }
        let has_policy = match self.api {
            ApiKind::AppSync => false,
            ApiKind::Http2 { .. } => form == AuthorizerResponseFormat::Policy,
            ApiKind::Rest | ApiKind::WebSocket | ApiKind::Http1 => true,
        };
        let is_cached = !has_policy && form == AuthorizerResponseFormat::Simple;
        !is_cached
            && !self.is_private
            && self.address().map_or(has_policy, |address| network::allow(networks, address))
    }

    /// Whether the caller's endpoint rules allow the current call.
    fn is_within_endpoints(&self, caller: &Caller, form: AuthorizerResponseFormat) -> bool {
        let rules = &caller.endpoints;
        if rules.is_empty() {
            return true;
        }
        match (&self.api, form) {
            (ApiKind::AppSync, _)
            | (ApiKind::Http2 { .. }, AuthorizerResponseFormat::Simple)
            | (ApiKind::Http2 { is_own_host: false }, AuthorizerResponseFormat::SimpleUncached) => false,
            (ApiKind::WebSocket, _) => endpoint_rule::allow_connect(rules),
            // API Gateway evaluates policies on the ARN, so this is the path that the rules are about. `rawPath` can have
            // another: with the stage or a mapping's key before it, decoded, and cut at a decoded `?`.
            (ApiKind::Rest | ApiKind::Http1 | ApiKind::Http2 { .. }, _) => match method_and_path(&self.arn) {
                (Some(method), path) => {
                    endpoint_rule::allow(rules, method, &format!("/{}", path.unwrap_or_default()))
                }
                (None, _) => false,
            },
        }
    }

    /// Converts a decision to the format of this kind of API.
    ///
    /// # Errors
    ///
    /// [`Unauthorized`]: the refusal of a REST or WebSocket API.
    ///
    /// # Panics
    ///
    /// Never: a context of strings can always be serialized as JSON.
    pub fn response(
        &self,
        decision: &Decision,
        form: AuthorizerResponseFormat,
    ) -> Result<AuthorizerResponse, Unauthorized> {
        match (decision, &self.api, form) {
            (Decision::Refused(_), ApiKind::Rest | ApiKind::WebSocket, _) => Err(Unauthorized),
            (Decision::Refused(_), ApiKind::Http1, _)
            | (Decision::Refused(_), ApiKind::Http2 { .. }, AuthorizerResponseFormat::Policy) => {
                Ok(policy(REFUSED_PRINCIPAL, vec![self.deny_all()], None))
            }
            (Decision::Refused(_), ApiKind::Http2 { .. }, _) => Ok(simple(false, None)),
            (Decision::Refused(_), ApiKind::AppSync, _) => {
                Ok(AuthorizerResponse::AppSync(AppSyncResponse::new(None)))
            }
            (Decision::Accepted(caller), ApiKind::AppSync, _) => {
                let is_allowed = self.refusal(caller, form).is_none();
                let context = is_allowed.then(|| AuthorizerContext::of(caller));
                Ok(AuthorizerResponse::AppSync(AppSyncResponse::new(context)))
            }
            (
                Decision::Accepted(caller),
                ApiKind::Http2 { .. },
                AuthorizerResponseFormat::Simple | AuthorizerResponseFormat::SimpleUncached,
            ) => {
                let is_allowed = self.refusal(caller, form).is_none();
                Ok(simple(is_allowed, is_allowed.then(|| AuthorizerContext::of(caller)).as_ref()))
            }
            (Decision::Accepted(caller), ..) => Ok(policy(
                caller.user_id.as_str(),
                self.statements(caller),
                Some(&AuthorizerContext::of(caller)),
            )),
        }
    }

    /// The response to a call that the limits of its key refuse: a denial for every kind of API, because the credential works.
    /// Its context says why, and when to try again.
    #[must_use]
    pub fn limited(
        &self,
        caller: &Caller,
        refusal: LimitRefusal,
        form: AuthorizerResponseFormat,
    ) -> AuthorizerResponse {
        let context = AuthorizerContext::refused(caller, refusal);
        match (&self.api, form) {
            (
                ApiKind::Http2 { .. },
                AuthorizerResponseFormat::Simple | AuthorizerResponseFormat::SimpleUncached,
            ) => simple(false, Some(&context)),
            // It refuses keys with limits before their permits are counted.
            (ApiKind::AppSync, _) => AuthorizerResponse::AppSync(AppSyncResponse::new(None)),
            (ApiKind::Rest | ApiKind::WebSocket | ApiKind::Http1 | ApiKind::Http2 { .. }, _) => {
                policy(caller.user_id.as_str(), vec![self.deny_all()], Some(&context))
            }
        }
    }

    /// Denies the whole stage.
    fn deny_all(&self) -> IamPolicyStatement {
        statement(IamPolicyEffect::Deny, vec![format!("{}/*", self.stage())])
    }

    /// The policy statements for a caller: they allow the whole stage, or the caller's endpoint rules, from the caller's
    /// networks.
    ///
    /// API Gateway may cache a response for the credential and use it for the next call, possibly to another method or from
    /// another address. So what a response allows must not depend on the called method or on the address. A call to an
    /// ambiguous path is denied by that path too, and a call from outside of the networks by its address.
    fn statements(&self, caller: &Caller) -> Vec<IamPolicyStatement> {
        let mut statements = self.endpoint_statements(caller);
        if !self.is_within_networks(caller, AuthorizerResponseFormat::Policy) {
            statements.extend(self.deny_this_address());
        }
        statements
    }

    /// Denies the stage to the address of the sender, or to every address if the API is private. A text that is not an address
    /// would make the policy invalid, and the other statements allow it nothing.
    fn deny_this_address(&self) -> Option<IamPolicyStatement> {
        let mut deny = statement(IamPolicyEffect::Deny, vec![format!("{}/*", self.stage())]);
        if !self.is_private {
            let address: IpAddr = self.address()?.parse().ok()?;
            let this = HashMap::from([(SOURCE_IP.to_owned(), vec![address.to_canonical().to_string()])]);
            deny.condition = Some(HashMap::from([("IpAddress".to_owned(), this)]));
        }
        Some(deny)
    }
    fn endpoint_statements(&self, caller: &Caller) -> Vec<IamPolicyStatement> {
        let stage = self.stage();
        if caller.endpoints.is_empty() {
            return vec![allow(vec![format!("{stage}/*")], caller)];
        }
        let allowed = endpoint_rule::allowed_resources(&caller.endpoints);
        let allowed = allowed.iter().map(|end| format!("{stage}/{end}")).collect();
        let partition = self.arn.split(':').nth(1).unwrap_or("*");
        let everywhere = |end: &str| format!("arn:{partition}:execute-api:*:*:{end}");
        let mut denied: Vec<String> =
            endpoint_rule::AMBIGUOUS_RESOURCES.iter().map(|end| everywhere(end)).collect();
        if let (Some(method), Some(path)) = method_and_path(&self.arn)
            && endpoint_rule::is_ambiguous(&format!("/{path}"))
        {
            let this_path = endpoint_rule::this_path_resource(&format!("{method}/{path}"));
            denied.push(everywhere(&format!("*/{this_path}")));
        }
        let question_mark = everywhere(endpoint_rule::QUESTION_MARK_RESOURCE);
        vec![
            allow(allowed, caller),
            statement(IamPolicyEffect::Deny, denied),
            statement(IamPolicyEffect::Deny, vec![question_mark]),
        ]
    }

    /// The ARN of the called stage, which contains the partition, region and account of the API.
    fn stage(&self) -> &str {
        let end = self.arn.match_indices('/').nth(1).map_or(self.arn.len(), |(index, _)| index);
        &self.arn[..end]
    }
}

fn policy(
    principal: &str,
    statements: Vec<IamPolicyStatement>,
    context: Option<&AuthorizerContext>,
) -> AuthorizerResponse {
    let mut document = ApiGatewayCustomAuthorizerPolicy::default();
    document.version = Some("2012-10-17".to_owned());
    document.statement = statements;
    let mut response = ApiGatewayV2CustomAuthorizerIamPolicyResponse::default();
    response.principal_id = Some(principal.to_owned());
    response.policy_document = document;
    response.context = context_value(context);
    AuthorizerResponse::Policy(response)
}

fn simple(is_authorized: bool, context: Option<&AuthorizerContext>) -> AuthorizerResponse {
    let mut response = ApiGatewayV2CustomAuthorizerSimpleResponse::default();
    response.is_authorized = is_authorized;
    response.context = context_value(context);
    AuthorizerResponse::Simple(response)
}

fn context_value(context: Option<&AuthorizerContext>) -> serde_json::Value {
    match context {
        Some(context) => serde_json::to_value(context).expect("strings can be written as JSON"),
        None => serde_json::json!({}),
    }
}

/// Allows the resources until the credential expires, from the caller's networks. Both are conditions of the policy, because API
/// Gateway may use a cached policy later and for another sender. Where API Gateway has no address, the condition is false.
fn allow(resources: Vec<String>, caller: &Caller) -> IamPolicyStatement {
    let mut conditions = HashMap::new();
    if let Some(expires_at) = caller.expires_at {
        let before = HashMap::from([("aws:CurrentTime".to_owned(), vec![rfc3339(expires_at)])]);
        conditions.insert("DateLessThan".to_owned(), before);
    }
    if !caller.source_networks().is_empty() {
        let networks = caller.source_networks().iter().map(Network::to_string).collect();
        conditions.insert("IpAddress".to_owned(), HashMap::from([(SOURCE_IP.to_owned(), networks)]));
    }
    let mut allow = statement(IamPolicyEffect::Allow, resources);
    allow.condition = Some(conditions).filter(|conditions| !conditions.is_empty());
    allow
}

fn statement(effect: IamPolicyEffect, resources: Vec<String>) -> IamPolicyStatement {
    let mut statement = IamPolicyStatement::default();
    statement.action = vec!["execute-api:Invoke".to_owned()];
    statement.effect = effect;
    statement.resource = resources;
    statement
}

#[cfg(test)]
mod tests {
    use keygate_core::decision::Refusal;
    use keygate_core::endpoint_rule::EndpointRule;
    use keygate_core::metadata::Metadata;
    use keygate_core::network::MAX_NETWORKS;
    use keygate_core::scope::MAX_SCOPES;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::sample_events::{ARN, app_sync, caller, http1, http2, request, token, websocket};

    fn response(
        event: &str,
        decision: &Decision,
        form: AuthorizerResponseFormat,
    ) -> Result<Value, Unauthorized> {
        AuthorizerEvent::parse(event, None)
            .unwrap()
            .response(decision, form)
            .map(|response| serde_json::to_value(response).unwrap())
    }

    #[test]
    fn an_accepted_key_may_call_the_whole_stage() {
        for event in [token(), websocket(), http1(&json!({})), http2()] {
            let response =
                response(&event, &Decision::Accepted(caller(None)), AuthorizerResponseFormat::Policy)
                    .unwrap();
            assert_eq!(response["principalId"], "alice");
            assert_eq!(
                response["policyDocument"],
                json!({"Version": "2012-10-17", "Statement": [{
                    "Action": ["execute-api:Invoke"], "Effect": "Allow",
                    "Resource": ["arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/*"],
                }]})
            );
            assert_eq!(
                response["context"],
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
            let response = response(&event, &decision, AuthorizerResponseFormat::Policy).unwrap();
            let statements = response["policyDocument"]["Statement"].as_array().unwrap();
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
            let question_mark = json!(["arn:aws:execute-api:*:*:*${?}*"]);
            assert_eq!(
                (&statements[2]["Effect"], &statements[2]["Resource"]),
                (&json!("Deny"), &question_mark)
            );
            assert_eq!(response["context"]["endpoints"], "GET /orders/*,* /,$connect");
        }
    }

    #[test]
    fn a_policy_has_the_partition_of_its_event() {
        for partition in ["aws-cn", "aws-us-gov"] {
            let event = token().replace("arn:aws:", &format!("arn:{partition}:"));
            let response =
                response(&event, &restricted(&["GET /"]), AuthorizerResponseFormat::Policy).unwrap();
            for statement in response["policyDocument"]["Statement"].as_array().unwrap() {
                for resource in statement["Resource"].as_array().unwrap() {
                    assert!(resource.as_str().unwrap().starts_with(&format!("arn:{partition}:execute-api:")));
                }
            }
        }
    }

    #[test]
    fn a_simple_response_evaluates_rules_only_without_caching() {
        let is_authorized = |rule: &str, form, route: &str| {
            let mut event: Value = serde_json::from_str(&http2()).unwrap();
            event["routeArn"] =
                json!(format!("arn:aws:execute-api:eu-west-1:123456789012:abcdef123/{route}"));
            let response = response(&event.to_string(), &restricted(&[rule]), form).unwrap();
            assert_eq!(response["context"].get("userId").is_some(), response["isAuthorized"] == true);
            response["isAuthorized"] == true
        };
        assert!(!is_authorized("* /*", AuthorizerResponseFormat::Simple, "test/GET/orders"));
        for (rule, route, allowed) in [
            ("GET /orders", "test/GET/orders", true),
            ("GET /orders", "$default/GET/orders", true),
            ("GET /orders", "test/GET/test/orders", false),
            ("GET /test/orders", "test/GET/test/orders", true),
            ("GET /orders", "test/GET/testorders", false),
            ("GET /orders", "test/POST/orders", false),
            ("GET /", "test/GET/", true),
            ("GET /", "test/GET", true),
            ("GET /*", "test/GET//orders", false),
            ("GET /*", "test/GET/orders?x", false),
            ("GET /*", "test", false),
        ] {
            let is_allowed = is_authorized(rule, AuthorizerResponseFormat::SimpleUncached, route);
            assert_eq!(is_allowed, allowed, "{rule} for {route}");
        }
    }

    /// `rawPath` is decoded, cut at a decoded `?`, and begins with a stage or with the key of a mapping.
    #[test]
    fn rules_are_evaluated_on_the_path_that_a_policy_is_evaluated_on() {
        let mut event: Value = serde_json::from_str(&http2()).unwrap();
        event["rawPath"] = json!("/orders/7");
        event["requestContext"]["http"]["method"] = json!("GET");
        event["routeArn"] = json!(ARN.replace("GET/orders/7", "POST/admin"));
        let decision = restricted(&["GET /orders/*"]);
        let uncached = AuthorizerResponseFormat::SimpleUncached;
        assert_eq!(response(&event.to_string(), &decision, uncached).unwrap()["isAuthorized"], false);
        let event = AuthorizerEvent::parse(&event.to_string(), None).unwrap();
        for form in [AuthorizerResponseFormat::Policy, uncached] {
            assert_eq!(event.outcome(&decision, form), CallOutcome::Refused(OUTSIDE_ENDPOINTS));
        }
    }

    #[test]
    fn a_simple_response_behind_a_custom_domain_refuses_keys_with_rules() {
        let (rule, none) = (restricted(&["* /*"]), Decision::Accepted(caller(None)));
        let uncached = AuthorizerResponseFormat::SimpleUncached;
        for (domain, is_own) in [
            (json!("abcdef123.execute-api.eu-west-1.amazonaws.com"), true),
            (json!("abcdef123.execute-api.cn-north-1.amazonaws.com.cn"), true),
            (json!("api.example.com"), false),
            (json!("execute-api.example.com"), false),
            (json!(""), false),
            (Value::Null, false),
        ] {
            let mut event: Value = serde_json::from_str(&http2()).unwrap();
            event["requestContext"]["domainName"] = domain.clone();
            let event = event.to_string();
            assert_eq!(response(&event, &rule, uncached).unwrap()["isAuthorized"], is_own, "{domain}");
            assert_eq!(response(&event, &none, uncached).unwrap()["isAuthorized"], true, "{domain}");
            // A policy is evaluated by API Gateway.
            let parsed = AuthorizerEvent::parse(&event, None).unwrap();
            assert_eq!(parsed.outcome(&rule, AuthorizerResponseFormat::Policy), CallOutcome::Allowed);
        }
    }

    #[test]
    fn a_call_to_an_ambiguous_path_is_denied_by_that_path_too() {
        for (called, denied) in [
            ("GET/orders/7?x", Some("GET/orders/7?x")),
            ("GET/orders/7\u{0}\n", Some("GET/orders/7*")),
            ("GET/orders//7", Some("GET/orders//7")),
            ("GET/orders/7", None),
            ("GET/", None),
        ] {
            for event in [token(), request(&json!({})), http1(&json!({})), http2()] {
                let mut event: Value = serde_json::from_str(&event).unwrap();
                let arn = ARN.replace("GET/orders/7", called);
                let field = if event["version"] == "2.0" { "routeArn" } else { "methodArn" };
                event[field] = json!(arn);
                let decision = restricted(&["* /*"]);
                let policy =
                    response(&event.to_string(), &decision, AuthorizerResponseFormat::Policy).unwrap();
                let resources = policy["policyDocument"]["Statement"][1]["Resource"].as_array().unwrap();
                let of_the_call = &resources[endpoint_rule::AMBIGUOUS_RESOURCES.len()..];
                let expected = denied.map(|end| json!(format!("arn:aws:execute-api:*:*:*/{end}")));
                assert_eq!(of_the_call, expected.as_slice(), "{called:?}");
                assert_eq!(iam_allows(&policy["policyDocument"], &arn), denied.is_none(), "{called:?}");
            }
        }
    }

    /// IAM's evaluation according to its documentation: an explicit Deny, then an Allow, otherwise nothing. `*` matches any
    /// text and `?` any character within one of the parts that colons separate
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>), and `${?}` is a `?`.
    fn iam_allows(policy: &Value, arn: &str) -> bool {
        fn matches(pattern: &[char], text: &[char]) -> bool {
            if let (Some(pattern_rest), Some(('?', rest))) =
                (pattern.strip_prefix(&['$', '{', '?', '}']), text.split_first())
            {
                return matches(pattern_rest, rest);
            }
            match (pattern.split_first(), text.split_first()) {
                (None, None) => true,
                (Some(('*', pattern_rest)), _) => {
                    (0..=text.len()).any(|skipped| matches(pattern_rest, &text[skipped..]))
                }
                (Some(('?', pattern_rest)), Some((_, rest))) => matches(pattern_rest, rest),
                (Some((expected, pattern_rest)), Some((found, rest))) => {
                    expected == found && matches(pattern_rest, rest)
                }
                _ => false,
            }
        }
        let is_matched = |statement: &Value| {
            statement["Resource"].as_array().unwrap().iter().any(|resource| {
                let mut parts = resource.as_str().unwrap().splitn(6, ':').zip(arn.splitn(6, ':'));
                let characters = |text: &str| text.chars().collect::<Vec<_>>();
                parts.all(|(pattern, part)| matches(&characters(pattern), &characters(part)))
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

    /// The condition `IpAddress` according to its documentation: a block matches an address with the same first bits, and an
    /// absent address matches no block.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html#Conditions_IPAddress>
    fn holds(statement: &Value, address: Option<&str>) -> bool {
        fn bits(address: &str) -> String {
            match address.parse::<IpAddr>().unwrap() {
                IpAddr::V4(address) => format!("4{:032b}", u32::from(address)),
                IpAddr::V6(address) => format!("6{:0128b}", u128::from(address)),
            }
        }
        let Some(blocks) = statement["Condition"]["IpAddress"]["aws:SourceIp"].as_array() else {
            return true;
        };
        blocks.iter().any(|block| {
            let (first, kept) =
                block.as_str().unwrap().split_once('/').unwrap_or((block.as_str().unwrap(), "128"));
            let kept = 1 + kept.parse::<usize>().unwrap();
            let beginning = |address: &str| bits(address).chars().take(kept).collect::<String>();
            address.is_some_and(|address| beginning(address) == beginning(first))
        })
    }

    /// IAM's evaluation of a policy for a call from an address.
    fn iam_allows_from(policy: &Value, arn: &str, address: Option<&str>) -> bool {
        let mut policy = policy.clone();
        policy["Statement"].as_array_mut().unwrap().retain(|statement| holds(statement, address));
        iam_allows(&policy, arn)
    }

    fn with_networks(networks: &[&str]) -> Decision {
        let mut key = caller(Some("2027-01-01T00:00:00Z"));
        key.networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        Decision::Accepted(key)
    }

    /// Events of every kind of API, from an address if they have one.
    fn events_from(address: &str) -> [String; 5] {
        let mut rest: Value = serde_json::from_str(&request(&json!({}))).unwrap();
        let mut http1: Value = serde_json::from_str(&http1(&json!({}))).unwrap();
        for event in [&mut rest, &mut http1] {
            event["requestContext"]["identity"]["sourceIp"] = json!(address);
        }
        let mut websocket: Value = serde_json::from_str(&websocket()).unwrap();
        websocket["requestContext"]["identity"] = json!({"sourceIp": address});
        let mut http2: Value = serde_json::from_str(&http2()).unwrap();
        http2["requestContext"]["http"]["sourceIp"] = json!(address);
        [token(), rest.to_string(), http1.to_string(), websocket.to_string(), http2.to_string()]
    }

    #[test]
    fn a_policy_allows_the_networks_of_its_key_alone_also_when_it_is_cached_for_another_sender() {
        let networks = ["203.0.113.0/24", "2001:db8::/32"];
        let (inside, outside) = (["203.0.113.7", "2001:db8::7"], ["198.51.100.1", "2001:db9::1"]);
        for address in inside.into_iter().chain(outside) {
            for event in events_from(address) {
                let respond = |form| response(&event, &with_networks(&networks), form).unwrap();
                let policy = &respond(AuthorizerResponseFormat::Policy)["policyDocument"];
                for later in inside {
                    assert!(iam_allows_from(policy, ARN, Some(later)), "{later} {event}");
                }
                for later in outside {
                    assert!(!iam_allows_from(policy, ARN, Some(later)), "{later} {event}");
                }
                assert!(!iam_allows_from(policy, ARN, None), "{event}");
                assert_eq!(policy["Statement"][0]["Condition"]["IpAddress"]["aws:SourceIp"], json!(networks));
                let parsed = AuthorizerEvent::parse(&event, None).unwrap();
                let outcome = parsed.outcome(&with_networks(&networks), AuthorizerResponseFormat::Policy);
                let is_refused = parsed.address().is_some() && outside.contains(&address);
                let refused = CallOutcome::Refused("outside_networks");
                assert_eq!(outcome, if is_refused { refused } else { CallOutcome::Allowed }, "{event}");
            }
        }
    }

    #[test]
    fn a_simple_response_respects_networks_unless_it_may_be_cached() {
        for (address, within) in [("203.0.113.7", true), ("198.51.100.1", false)] {
            let [.., event] = events_from(address);
            let is_authorized = |form| {
                response(&event, &with_networks(&["203.0.113.0/24"]), form).unwrap()["isAuthorized"] == true
            };
            assert_eq!(is_authorized(AuthorizerResponseFormat::SimpleUncached), within);
            assert!(!is_authorized(AuthorizerResponseFormat::Simple), "{address}");
        }
        let everywhere = with_networks(&["0.0.0.0/0", "::/0"]);
        let without_address =
            response(&http2(), &everywhere, AuthorizerResponseFormat::SimpleUncached).unwrap();
        assert_eq!(without_address["isAuthorized"], false, "no policy would refuse it");
    }

    #[test]
    fn a_private_api_refuses_a_key_with_networks() {
        let [_, rest, ..] = events_from("203.0.113.7");
        let mut event: Value = serde_json::from_str(&rest).unwrap();
        event["requestContext"]["identity"]["vpceId"] = json!("vpce-0123456789abcdef0");
        let event = event.to_string();
        let policy = response(&event, &with_networks(&["203.0.113.0/24"]), AuthorizerResponseFormat::Policy);
        assert!(!iam_allows_from(&policy.unwrap()["policyDocument"], ARN, Some("203.0.113.7")));
        let policy = response(&event, &with_networks(&[]), AuthorizerResponseFormat::Policy);
        assert!(iam_allows_from(&policy.unwrap()["policyDocument"], ARN, None));
    }

    #[test]
    fn a_sender_without_an_address_is_refused_and_the_policy_stays_valid() {
        let [_, event, ..] = events_from("test-invoke-source-ip");
        let decision = with_networks(&["0.0.0.0/0"]);
        let policy = response(&event, &decision, AuthorizerResponseFormat::Policy).unwrap();
        assert_eq!(policy["policyDocument"]["Statement"].as_array().unwrap().len(), 1);
        let outcome = AuthorizerEvent::parse(&event, None)
            .unwrap()
            .outcome(&decision, AuthorizerResponseFormat::Policy);
        assert_eq!(outcome, CallOutcome::Refused("outside_networks"));
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

    #[test]
    fn a_policy_ends_when_its_key_does() {
        let decision = Decision::Accepted(caller(Some("2027-01-01T00:00:00Z")));
        let response = response(&token(), &decision, AuthorizerResponseFormat::Policy).unwrap();
        let condition = &response["policyDocument"]["Statement"][0]["Condition"];
        assert_eq!(condition, &json!({"DateLessThan": {"aws:CurrentTime": ["2027-01-01T00:00:00Z"]}}));
        assert_eq!(response["context"]["expiresAt"], "2027-01-01T00:00:00Z");
    }

    #[test]
    fn a_refusal_is_an_error_for_rest_and_websocket_apis_and_a_denial_for_an_http_api() {
        let refused = Decision::Refused(Refusal::Missing);
        for form in [AuthorizerResponseFormat::Policy, AuthorizerResponseFormat::Simple] {
            assert_eq!(response(&token(), &refused, form).unwrap_err().to_string(), "Unauthorized");
            assert_eq!(
                response(&request(&json!({})), &refused, form).unwrap_err().to_string(),
                "Unauthorized"
            );
            assert_eq!(response(&websocket(), &refused, form).unwrap_err().to_string(), "Unauthorized");
            let denied = response(&http1(&json!({})), &refused, form).unwrap();
            assert_eq!(denied["policyDocument"]["Statement"][0]["Effect"], "Deny");
        }
        let denied = response(&http2(), &refused, AuthorizerResponseFormat::Policy).unwrap();
        assert_eq!(denied["policyDocument"]["Statement"][0]["Effect"], "Deny");
        assert_eq!(denied["context"], json!({}));
        let denied = response(&http2(), &refused, AuthorizerResponseFormat::Simple).unwrap();
        assert_eq!(denied, json!({"isAuthorized": false, "context": {}}));
    }

    #[test]
    fn a_call_beyond_a_limit_is_denied_by_every_kind_of_api_with_the_reason_and_the_time() {
        let mut limited = caller(None);
        limited.limits = vec!["10/second".parse().unwrap()].try_into().unwrap();
        for (refusal, error, retry_after) in [
            (LimitRefusal::Exceeded { retry_after: 37 }, "limit_exceeded", json!("37")),
            (LimitRefusal::NotEnforced, "limits_not_enforced", Value::Null),
        ] {
            let respond = |event: &str, form| {
                let event = AuthorizerEvent::parse(event, None).unwrap();
                serde_json::to_value(event.limited(&limited, refusal, form)).unwrap()
            };
            let policies = [token(), request(&json!({})), websocket(), http1(&json!({})), http2()]
                .map(|event| respond(&event, AuthorizerResponseFormat::Policy));
            for policy in policies {
                let statements = policy["policyDocument"]["Statement"].as_array().unwrap();
                assert_eq!((statements.len(), &statements[0]["Effect"]), (1, &json!("Deny")), "{policy}");
                let stage = "arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/*";
                assert_eq!(statements[0]["Resource"], json!([stage]), "{policy}");
                let context = &policy["context"];
                assert_eq!(
                    (&context["error"], context.get("retryAfter").unwrap_or(&Value::Null)),
                    (&json!(error), &retry_after)
                );
                assert_eq!(
                    (&context["keyId"], &context["limits"]),
                    (&json!(limited.key.as_ref().unwrap().id), &json!("10/second"))
                );
            }
            for form in [AuthorizerResponseFormat::Simple, AuthorizerResponseFormat::SimpleUncached] {
                let simple = respond(&http2(), form);
                assert_eq!(
                    (&simple["isAuthorized"], &simple["context"]["error"]),
                    (&json!(false), &json!(error))
                );
                assert!(respond(&token(), form).get("policyDocument").is_some());
            }
        }
    }

    #[test]
    fn simple_responses_are_for_payload_2_0_only() {
        let accepted = Decision::Accepted(caller(None));
        let simple = response(&http2(), &accepted, AuthorizerResponseFormat::Simple).unwrap();
        assert_eq!((&simple["isAuthorized"], &simple["context"]["userId"]), (&json!(true), &json!("alice")));
        for event in [token(), websocket(), http1(&json!({}))] {
            let policy = response(&event, &accepted, AuthorizerResponseFormat::Simple).unwrap();
            assert!(policy.get("policyDocument").is_some(), "{event}");
        }
    }

    /// <https://docs.aws.amazon.com/appsync/latest/devguide/security-authz.html#aws-lambda-authorization>: the context is an object of
    /// plain values, and 0 disables the cache.
    #[test]
    fn app_sync_gets_the_context_of_a_caller_and_caches_nothing() {
        let mut full = caller(Some("2027-01-01T00:00:00Z"));
        full.metadata = Metadata::parse(&json!({"env": "live"})).unwrap();
        for form in [
            AuthorizerResponseFormat::Policy,
            AuthorizerResponseFormat::Simple,
            AuthorizerResponseFormat::SimpleUncached,
        ] {
            let accepted = response(&app_sync("x"), &Decision::Accepted(full.clone()), form).unwrap();
            let context = &accepted["resolverContext"];
            assert_eq!((&accepted["isAuthorized"], &accepted["ttlOverride"]), (&json!(true), &json!(0)));
            assert_eq!(
                [&context["userId"], &context["workspaceId"], &context["metadata"], &context["expiresAt"]],
                ["alice", "acme", "{\"env\":\"live\"}", "2027-01-01T00:00:00Z"]
                    .map(|text| json!(text))
                    .each_ref()
            );
            assert!(context.as_object().unwrap().values().all(Value::is_string), "{context}");
            let refused = response(&app_sync("x"), &Decision::Refused(Refusal::Missing), form).unwrap();
            assert_eq!(refused, json!({"isAuthorized": false, "ttlOverride": 0}));
        }
    }

    #[test]
    fn app_sync_is_refused_for_keys_with_rules_networks_or_limits() {
        let restricted = |change: &dyn Fn(&mut Caller)| {
            let mut key = caller(None);
            change(&mut key);
            Decision::Accepted(key)
        };
        for (decision, reason) in [
            (restricted(&|key| key.endpoints = vec!["* /*".parse().unwrap()]), "outside_endpoints"),
            (restricted(&|key| key.endpoints = vec!["POST /graphql".parse().unwrap()]), "outside_endpoints"),
            (restricted(&|key| key.networks = vec!["0.0.0.0/0".parse().unwrap()]), "outside_networks"),
            (
                restricted(&|key| key.limits = vec!["10/second".parse().unwrap()].try_into().unwrap()),
                "limits_not_enforced",
            ),
        ] {
            for form in [AuthorizerResponseFormat::Policy, AuthorizerResponseFormat::SimpleUncached] {
                let refused = response(&app_sync("x"), &decision, form).unwrap();
                assert_eq!(refused, json!({"isAuthorized": false, "ttlOverride": 0}), "{decision:?}");
                let event = AuthorizerEvent::parse(&app_sync("x"), None).unwrap();
                assert_eq!(event.outcome(&decision, form), CallOutcome::Refused(reason));
            }
        }
    }

    proptest! {
        #[test]
        fn a_policy_and_a_simple_response_are_equivalent(
            rules in some_rules(),
            called in "GET|PUT|POST|OPTIONS|TRACE",
            path in "(/(a|b|ab|bb|[.~]b|\\.{1,2}|%2[fF]|a;b|\\\\|\\*|a\\?b|\\?|a#|\u{0}|\t|\n|@:)?){1,4}",
        ) {
            let mut event: Value = serde_json::from_str(&http2()).unwrap();
            let arn = format!("arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/{called}{path}");
            event["routeArn"] = json!(arn);
            let respond = |event: &str, form| response(event, &with_rules(&rules), form).unwrap();
            let simple = respond(&event.to_string(), AuthorizerResponseFormat::SimpleUncached)["isAuthorized"] == true;
            let policy = respond(&event.to_string(), AuthorizerResponseFormat::Policy);
            prop_assert_eq!(iam_allows(&policy["policyDocument"], &arn), simple);
            // As cached for another call. A policy cannot name control characters.
            let cached = respond(&http2(), AuthorizerResponseFormat::Policy);
            if !path.contains(char::is_control) {
                prop_assert_eq!(iam_allows(&cached["policyDocument"], &arn), simple);
            }
        }

        #[test]
        fn a_policy_does_not_depend_on_the_called_method(rules in some_rules(), called in "(GET|PUT)(/[a-z]{1,3}){1,3}") {
            let event = |called: &str| token().replace("GET/orders/7", called);
            let response = |called: &str| response(&event(called), &with_rules(&rules), AuthorizerResponseFormat::Policy).unwrap();
            prop_assert_eq!(response(&called), response("POST/other"));
        }

        #[test]
        fn a_response_stays_below_8_kb_and_a_resource_below_512_characters(
            rules in prop::collection::btree_set("(\\*|GET|OPTIONS) /[a-z]{1,180}(/\\*)?", 1..=endpoint_rule::MAX_ENDPOINT_RULES),
            scopes in prop::collection::btree_set("[a-z]{1,64}", 0..=MAX_SCOPES),
            networks in 0..=MAX_NETWORKS,
            metadata in "[\"\\\\a𝄞]{1,120}",
        ) {
            let mut longest = caller(Some("2027-01-01T00:00:00Z"));
            longest.key.as_mut().unwrap().name = "𝄞".repeat(100);
            longest.user_id = "u".repeat(128).parse().unwrap();
            longest.workspace_id = "w".repeat(64).parse().unwrap();
            longest.endpoints = rules.iter().map(|rule| rule.parse().unwrap()).collect();
            longest.scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
            longest.networks = (0..networks)
                .map(|n| format!("2001:db8:ffff:ffff:ffff:ffff:ffff:{n:x}/128").parse().unwrap())
                .collect();
            longest.metadata = Metadata::parse(&json!({"a": metadata, "b": metadata})).unwrap();
            longest.limits = ["1000000000/second", "1000000000/minute", "1000000000/month"]
                .map(|limit| limit.parse().unwrap()).to_vec().try_into().unwrap();
            while let Some(attribute) = longest.response_parts().too_large(|_| true) {
                match attribute {
                    "scopes" => drop(longest.scopes.pop()),
                    "endpoints" => drop(longest.endpoints.pop()),
                    "networks" => drop(longest.networks.pop()),
                    _ => longest.metadata = Metadata::default(),
                }
            }
            let stage = "s".repeat(128);
            let path = "a?".repeat(500);
            let arn = format!("arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:abcdefghij/{stage}/GET/{path}");
            let event = json!({"type": "REQUEST", "methodArn": arn, "headers": {"Authorization": "Bearer x"},
                "requestContext": {"identity": {"sourceIp": "203.0.113.7"}}}).to_string();
            let response = response(&event, &Decision::Accepted(longest), AuthorizerResponseFormat::Policy).unwrap();
            prop_assert!(response.to_string().len() < 8_000, "{}", response.to_string().len());
            for statement in response["policyDocument"]["Statement"].as_array().unwrap() {
                for resource in statement["Resource"].as_array().unwrap() {
                    prop_assert!(resource.as_str().unwrap().len() < 512);
                }
            }
        }
    }
}

//! The events of the custom authorizers of API Gateway and of AppSync.

use std::collections::HashMap;
use std::fmt;

use keygate_core::context::RequestOrigin;
use keygate_core::credential;
use keygate_core::decision::{Decision, Refusal};
use keygate_core::legacy_credential::LegacyRules;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error as ThisError;

use crate::authorizer::CredentialHeader;

/// An event from Lambda. It contains a credential, so its text is zeroed on drop and never shown by `Debug`.
pub struct AuthorizerPayload(SecretString);

impl AuthorizerPayload {
    /// The text of the event, only to be parsed.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl<'de> Deserialize<'de> for AuthorizerPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Box<str> = Box::<RawValue>::deserialize(deserializer)?.into();
        Ok(Self(SecretBox::new(text)))
    }
}

impl fmt::Debug for AuthorizerPayload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AuthorizerPayload([REDACTED])")
    }
}

/// A request to authorize, from any kind of API.
pub struct AuthorizerEvent {
    pub(super) api: ApiKind,
    /// The ARN of the called method or route.
    pub(super) arn: String,
    /// The call, as the audit trail records it.
    origin: RequestOrigin,
    /// The non-empty values of all `Authorization` headers.
    authorization: Vec<SecretString>,
    /// The values of the header for legacy keys, if one is configured.
    legacy: Vec<SecretString>,
    has_credential_in_query: bool,
    /// Whether the call came to a private API, whose calls have an address within a VPC.
    pub(super) is_private: bool,
}

impl fmt::Debug for AuthorizerEvent {
    /// Shows nothing of the request, because even the path may contain a credential.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AuthorizerEvent").finish_non_exhaustive()
    }
}

pub(super) enum ApiKind {
    Rest,
    WebSocket,
    /// An HTTP API with payload 1.0, whose authorizers have no simple responses.
    Http1,
    /// A GraphQL API of AppSync
    /// (<https://docs.aws.amazon.com/appsync/latest/devguide/security-authz.html#aws-lambda-authorization>).
    AppSync,
    /// An HTTP API with payload 2.0.
    Http2 {
        /// Whether the call came to the API's own host. A custom domain maps paths to stages, and AWS does not document
        /// which of both paths `routeArn` has then.
        is_own_host: bool,
    },
}

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
    http_method: Option<String>,
    resource: Option<String>,
    route_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequestContext {
    event_type: Option<String>,
    domain_name: Option<String>,
    http: Option<RawHttp>,
    identity: Option<RawIdentity>,
    api_id: Option<String>,
    /// Of AppSync alone: the GraphQL document.
    query_string: Option<SecretString>,
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
    /// Present only for private APIs
    /// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html>).
    vpce_id: Option<String>,
}

impl RawEvent {
    fn api(&self) -> Result<ApiKind, UnknownEvent> {
        let is_connect = || {
            self.request_context
                .as_ref()
                .is_some_and(|context| context.event_type.as_deref() == Some("CONNECT"))
        };
        match (self.kind.as_deref(), self.version.as_deref()) {
            // Any version is accepted: AWS's published sample has one, but actual events have none.
            (Some("REQUEST"), _) if is_connect() => Ok(ApiKind::WebSocket),
            (Some("TOKEN" | "REQUEST"), None) => Ok(ApiKind::Rest),
            (Some("REQUEST"), Some("1.0")) => Ok(ApiKind::Http1),
            (Some("REQUEST"), Some("2.0")) => Ok(ApiKind::Http2 { is_own_host: self.is_own_host() }),
            (None, None) if self.is_app_sync() => Ok(ApiKind::AppSync),
            _ => Err(UnknownEvent),
        }
    }

    /// Whether the event is AppSync's, which has no type: it has a token and the request of a GraphQL API, and nothing that API
    /// Gateway writes.
    fn is_app_sync(&self) -> bool {
        let is_graphql = self.request_context.as_ref().is_some_and(|context| {
            let has_all = context.api_id.is_some() && context.query_string.is_some();
            let has_none = context.event_type.is_none()
                && context.domain_name.is_none()
                && context.http.is_none()
                && context.identity.is_none();
            has_all && has_none
        });
        let is_of_gateway = self.method_arn.is_some()
            || self.route_arn.is_some()
            || self.headers.is_some()
            || self.multi_value_headers.is_some()
            || self.query_string_parameters.is_some()
            || self.multi_value_query_string_parameters.is_some()
            || self.http_method.is_some()
            || self.resource.is_some()
            || self.route_key.is_some();
        self.authorization_token.is_some() && is_graphql && !is_of_gateway
    }

    /// Whether the called host is `<api>.execute-api.<region>.<suffix>`, as of every API without a custom domain.
    fn is_own_host(&self) -> bool {
        let domain = self.request_context.as_ref().and_then(|context| context.domain_name.as_deref());
        domain.is_some_and(|domain| domain.split('.').nth(1) == Some("execute-api"))
    }

    fn is_private(&self) -> bool {
        let identity = self.request_context.as_ref().and_then(|context| context.identity.as_ref());
        identity.is_some_and(|identity| identity.vpce_id.is_some())
    }

    /// The called route instead of the path, because there are few routes; an event of the type `TOKEN` has only the path. A
    /// path that contains a credential is not recorded.
    fn origin(&mut self, arn: &str) -> RequestOrigin {
        let (method_of_arn, path_of_arn) = match method_and_path(arn) {
            // A WebSocket API has routes without methods.
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
        RequestOrigin {
            method: method.filter(|method| RequestOrigin::may_keep(method)),
            path: path.filter(|path| RequestOrigin::may_keep(path)),
            source: source_of_http.or(identity.and_then(|identity| identity.source_ip)),
        }
    }

    /// The values of all `Authorization` headers and of all headers for legacy keys, whatever their case. If the event has
    /// `multiValueHeaders`, then `headers` has only the last value of each. A header without a value counts as not sent:
    /// some clients and proxies send every header that they know, and an empty one presents nothing.
    ///
    /// An event of the type `TOKEN` does not name the header that is its authorizer's identity source. If a header for
    /// legacy keys is configured, a value with a scheme counts as `Authorization`, and a single word as a legacy key.
    ///
    /// The token of AppSync is the value of `Authorization`.
    fn credentials(
        &mut self,
        api: &ApiKind,
        legacy_header: Option<&str>,
    ) -> (Vec<SecretString>, Vec<SecretString>) {
        let has_value = |value: &SecretString| !value.expose_secret().trim().is_empty();
        if let ApiKind::AppSync = api {
            return (self.authorization_token.take().filter(has_value).into_iter().collect(), Vec::new());
        }
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

    /// Whether the query string has an `access_token`, or a name or value that contains something of the form of a
    /// credential or is recognized as a legacy key. Names and values are decoded, and payload 2.0 joins the values of one
    /// name with commas. An event of the type `TOKEN` has no query string.
    fn has_credential_in_query(&self, legacy: Option<&LegacyRules>) -> bool {
        let is_credential = |text: &str| {
            credential::contains_credential(text)
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

/// An event of an unknown kind. The error does not show the event, because it contains a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("not an event of an authorizer of a REST, an HTTP, a WebSocket or a GraphQL API")]
pub struct UnknownEvent;

impl AuthorizerEvent {
    /// Parses an event from Lambda. `legacy` has the rules that recognize legacy keys and the header for them, if the
    /// deployment accepts any.
    ///
    /// # Errors
    ///
    /// [`UnknownEvent`]: no decision is possible.
    pub fn parse(json: &str, legacy: Option<&LegacyRules>) -> Result<Self, UnknownEvent> {
        let mut raw: RawEvent = serde_json::from_str(json).map_err(|_| UnknownEvent)?;
        let api = raw.api()?;
        let arn = match api {
            ApiKind::Http2 { .. } => raw.route_arn.take(),
            // AppSync tells the id of the API alone.
            ApiKind::AppSync => Some(String::new()),
            ApiKind::Rest | ApiKind::WebSocket | ApiKind::Http1 => raw.method_arn.take(),
        };
        let arn = arn.ok_or(UnknownEvent)?;
        let has_credential_in_query = raw.has_credential_in_query(legacy);
        let is_private = raw.is_private();
        let (authorization, legacy) =
            raw.credentials(&api, legacy.and_then(|legacy| legacy.header.as_deref()));
        let origin = raw.origin(&arn);
        Ok(Self { api, arn, origin, authorization, legacy, has_credential_in_query, is_private })
    }

    /// The id of the called API: the beginning of the resource of its ARN. Empty if the ARN has another form, and for a GraphQL API,
    /// which is never the API that an authorizer is for alone.
    pub(super) fn api_id(&self) -> &str {
        self.arn.splitn(6, ':').nth(5).and_then(|resource| resource.split('/').next()).unwrap_or_default()
    }

    /// The address of the sender. An event of the type `TOKEN` has none, and neither has one of AppSync.
    pub(super) fn address(&self) -> Option<&str> {
        self.origin.source.as_deref()
    }

    /// The call, as the audit trail records it. If the credential does not work, this is only the source: the id of a key is
    /// public and a disabled key may have leaked, and neither may fill the audit trail with invented paths.
    #[must_use]
    pub fn origin(&self, decision: &Decision) -> RequestOrigin {
        match decision {
            Decision::Accepted(_) => self.origin.clone(),
            Decision::Refused(_) => {
                RequestOrigin { method: None, path: None, source: self.origin.source.clone() }
            }
        }
    }

    fn is_bare(&self, value: &SecretString) -> bool {
        matches!(self.api, ApiKind::AppSync) && !value.expose_secret().trim().contains(' ')
    }

    /// The only header with a credential.
    ///
    /// # Errors
    ///
    /// - [`Refusal::InQuery`]: the query string contains a credential, where it is written to logs and histories (RFC 6750,
    ///   section 2.3). It is refused even if the request has a valid header.
    /// - [`Refusal::Ambiguous`]: there are several headers, so the caller is ambiguous.
    pub fn header(&self) -> Result<Option<CredentialHeader<'_>>, Refusal> {
        if self.has_credential_in_query {
            return Err(Refusal::InQuery);
        }
        match (self.authorization.as_slice(), self.legacy.as_slice()) {
            ([], []) => Ok(None),
            // Clients of AppSync send a token with the scheme `Bearer` or without one.
            ([one], []) if self.is_bare(one) => Ok(Some(CredentialHeader::Bare(one.expose_secret()))),
            ([one], []) => Ok(Some(CredentialHeader::Authorization(one.expose_secret()))),
            ([], [one]) => Ok(Some(CredentialHeader::Legacy(one.expose_secret()))),
            _ => Err(Refusal::Ambiguous),
        }
    }
}

/// The method and the path, without its first `/`, from the end of an ARN: `…:<api>/<stage>/<method>/<path>`.
pub(super) fn method_and_path(arn: &str) -> (Option<&str>, Option<&str>) {
    let mut parts = arn.splitn(4, '/').skip(2);
    (parts.next(), parts.next())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use keygate_core::verification::InactiveReason;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::sample_events::{ARN, app_sync, caller, http1, http2, request, token, websocket};

    #[test]
    fn the_credential_is_found_in_every_kind_of_event() {
        let events = [
            token(),
            websocket(),
            app_sync("Bearer x"),
            http1(&json!({"AuThorization": "Bearer x"})),
            http2(),
            request(&json!({"Authorization": ["Bearer x"]})),
            request(&json!({"AUTHORIZATION": ["Bearer x"], "X": ["y", "z"]})),
        ];
        for event in events {
            assert_eq!(
                AuthorizerEvent::parse(&event, None).unwrap().header(),
                Ok(Some(CredentialHeader::Authorization("Bearer x"))),
                "{event}"
            );
        }
        assert_eq!(AuthorizerEvent::parse(&request(&json!({})), None).unwrap().header(), Ok(None));
        assert_eq!(
            AuthorizerEvent::parse(&request(&Value::Null), None).unwrap().header(),
            Ok(Some(CredentialHeader::Authorization("last")))
        );
    }

    #[test]
    fn debug_output_does_not_show_an_event() {
        let secret = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi";
        let request = json!({"version": "2.0", "type": "REQUEST", "routeArn": ARN.replace("orders", secret),
            "headers": {"authorization": secret, "x-legacy-key": secret}, "rawPath": format!("/test/{secret}"),
            "queryStringParameters": {"key": secret},
            "requestContext": {"stage": "test", "http": {"method": "GET"}}});
        let token =
            json!({"type": "TOKEN", "authorizationToken": format!("Bearer {secret}"), "methodArn": ARN});
        for event in [request, token] {
            let payload: AuthorizerPayload = serde_json::from_str(&event.to_string()).unwrap();
            assert_eq!(payload.expose(), event.to_string());
            let event = AuthorizerEvent::parse(payload.expose(), Some(&legacy())).unwrap();
            let header = CredentialHeader::Authorization(secret);
            let shown = format!("{payload:?} {event:?} {header:?} {:?}", CredentialHeader::Legacy(secret));
            assert!(!shown.contains("kg_") && shown.contains("REDACTED"), "{shown}");
        }
    }

    #[test]
    fn a_call_without_a_working_credential_records_nothing_that_its_sender_chose() {
        let event = json!({"version": "2.0", "type": "REQUEST", "routeArn": ARN, "rawPath": "/test/made-up",
            "routeKey": "GET /made-up", "headers": {},
            "requestContext": {"stage": "test", "http": {"method": "GET", "sourceIp": "203.0.113.7"}}});
        let event = AuthorizerEvent::parse(&event.to_string(), None).unwrap();
        let id = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        let nothing = RequestOrigin { method: None, path: None, source: Some("203.0.113.7".to_owned()) };
        let reason = [
            InactiveReason::Expired,
            InactiveReason::Disabled,
            InactiveReason::Sunset,
            InactiveReason::Revoked,
            InactiveReason::RefreshToken,
            InactiveReason::Session,
            InactiveReason::NowhereToUse,
            InactiveReason::OutsideNetworks,
            InactiveReason::UserRemoved,
        ];
        let refusals = reason.map(|reason| Refusal::Inactive(id, reason));
        for refusal in refusals.into_iter().chain([Refusal::WrongSecret(id), Refusal::Unknown(Some(id))]) {
            assert_eq!(event.origin(&Decision::Refused(refusal)), nothing, "{refusal}");
        }
        let accepted = event.origin(&Decision::Accepted(caller(None)));
        assert_eq!((accepted.method.as_deref(), accepted.path.as_deref()), (Some("GET"), Some("/made-up")));
    }

    #[test]
    fn two_credentials_in_one_request_are_refused() {
        for headers in [
            json!({"Authorization": ["Bearer x", "Bearer y"]}),
            json!({"Authorization": ["Bearer x"],
            "authorization": ["Bearer x"]}),
        ] {
            assert_eq!(
                AuthorizerEvent::parse(&request(&headers), None).unwrap().header(),
                Err(Refusal::Ambiguous)
            );
        }
        let two_spellings = http1(&json!({"Authorization": "Bearer x", "authorization": "Bearer x"}));
        assert_eq!(AuthorizerEvent::parse(&two_spellings, None).unwrap().header(), Err(Refusal::Ambiguous));
    }

    fn legacy() -> LegacyRules {
        LegacyRules {
            sunset: DateTime::UNIX_EPOCH,
            pattern: LegacyRules::pattern("old-[0-9a-f]{8}").unwrap(),
            header: Some("x-legacy-key".to_owned()),
        }
    }

    #[test]
    fn a_header_without_a_value_counts_as_not_sent() {
        let legacy = legacy();
        let header = |event: &str| {
            let event = AuthorizerEvent::parse(event, Some(&legacy)).unwrap();
            event.header().map(|header| match header {
                None => "none".to_owned(),
                Some(CredentialHeader::Authorization(value)) => format!("authorization {value}"),
                Some(CredentialHeader::Bare(value)) => format!("bare {value}"),
                Some(CredentialHeader::Legacy(value)) => format!("legacy {value}"),
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
    fn a_legacy_key_in_the_query_string_is_refused_if_legacy_keys_are_configured() {
        let (legacy, key) = (legacy(), "old-0123abcd");
        for (query, is_refused) in [
            (json!({"key": key}), true),
            (json!({key: ""}), true),
            (json!({"key": format!("a,{key}")}), true),
            (json!({"key": format!("{key}0"), "token": "old-"}), false),
        ] {
            let event = json!({"version": "1.0", "type": "REQUEST", "methodArn": ARN, "headers": {"authorization": "Bearer x"},
                "queryStringParameters": query});
            let refused = |legacy| {
                AuthorizerEvent::parse(&event.to_string(), legacy).unwrap().header() == Err(Refusal::InQuery)
            };
            assert_eq!((refused(Some(&legacy)), refused(None)), (is_refused, false), "{query}");
        }
    }

    #[test]
    fn a_credential_in_the_query_string_is_refused_despite_a_valid_header() {
        let credential =
            "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi";
        let authorization = |single: Value, multiple: Value| {
            let headers = json!({"authorization": "Bearer x"});
            let event = json!({"version": "1.0", "type": "REQUEST", "methodArn": ARN, "headers": headers,
                "queryStringParameters": single, "multiValueQueryStringParameters": multiple});
            AuthorizerEvent::parse(&event.to_string(), None).unwrap().header().map(|header| header.is_some())
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
    fn a_client_of_app_sync_sends_its_token_with_a_scheme_or_without() {
        let header = |token: &str, legacy: Option<&LegacyRules>| {
            let event = AuthorizerEvent::parse(&app_sync(token), legacy).unwrap();
            assert_eq!(
                (event.api_id(), event.address()),
                ("", None),
                "no API's own authorizer takes it for a call"
            );
            match event.header() {
                Ok(None) => "none".to_owned(),
                Ok(Some(CredentialHeader::Authorization(value))) => format!("authorization {value}"),
                Ok(Some(CredentialHeader::Bare(value))) => format!("bare {value}"),
                other => panic!("{other:?}"),
            }
        };
        for legacy in [None, Some(&legacy())] {
            for (token, expected) in [
                ("Bearer x", "authorization Bearer x"),
                ("Basic x", "authorization Basic x"),
                ("x", "bare x"),
                ("old-0123abcd", "bare old-0123abcd"),
                ("", "none"),
                (" ", "none"),
            ] {
                assert_eq!(header(token, legacy), expected, "{token}");
            }
        }
    }

    /// An event is one of API Gateway or one of AppSync, and never decided on as the other.
    #[test]
    fn an_event_that_could_be_of_two_services_gets_no_decision() {
        let with = |pointer: &str, name: &str, value: Value| {
            let mut event: Value = serde_json::from_str(&app_sync("Bearer x")).unwrap();
            event.pointer_mut(pointer).unwrap()[name] = value;
            event.to_string()
        };
        let without = |pointer: &str, name: &str| {
            let mut event: Value = serde_json::from_str(&app_sync("Bearer x")).unwrap();
            event.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(name);
            event.to_string()
        };
        for event in [
            without("", "authorizationToken"),
            without("", "requestContext"),
            without("/requestContext", "apiId"),
            without("/requestContext", "queryString"),
            with("", "authorizationToken", json!(7)),
            with("", "type", json!("REQUEST")),
            with("", "type", json!("APPSYNC")),
            with("", "version", json!("2.0")),
            with("", "methodArn", json!(ARN)),
            with("", "routeArn", json!(ARN)),
            with("", "headers", json!({})),
            with("", "multiValueHeaders", json!({})),
            with("", "queryStringParameters", json!({})),
            with("", "multiValueQueryStringParameters", json!({})),
            with("", "httpMethod", json!("POST")),
            with("", "resource", json!("/graphql")),
            with("", "routeKey", json!("POST /graphql")),
            with("/requestContext", "eventType", json!("CONNECT")),
            with("/requestContext", "domainName", json!("abcdef123.execute-api.eu-west-1.amazonaws.com")),
            with("/requestContext", "http", json!({"method": "POST"})),
            with("/requestContext", "identity", json!({"sourceIp": "203.0.113.7"})),
            with("/requestContext", "queryString", Value::Null),
        ] {
            assert_eq!(AuthorizerEvent::parse(&event, None).unwrap_err(), UnknownEvent, "{event}");
        }
        // With these members API Gateway's own event stays its own.
        let mut token_event: Value = serde_json::from_str(&token()).unwrap();
        token_event["requestContext"] = json!({"apiId": "x", "queryString": "query { x }"});
        assert_eq!(AuthorizerEvent::parse(&token_event.to_string(), None).unwrap().api_id(), "abcdef123");
    }

    #[test]
    fn an_unknown_event_gets_no_decision() {
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
            assert_eq!(
                AuthorizerEvent::parse(&event.to_string(), None).unwrap_err(),
                UnknownEvent,
                "{event}"
            );
        }
    }
}

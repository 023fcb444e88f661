//! A request to the management API, and a direct invocation.

use chrono::{DateTime, Utc};
use keygate_core::context::RequestContext;
use keygate_core::context::RequestOrigin;
use keygate_core::credential::{KeyId, SessionId, TokenId};
use keygate_core::error::{Error, InvalidField, Place};
use keygate_core::idempotency::IdempotencyKey;
use keygate_core::identity::UserId;
use lambda_http::http::header::{CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use lambda_http::http::{HeaderValue, Method};
use lambda_http::request::RequestContext as GatewayContext;
use lambda_http::{Request, RequestExt};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::api::authorizer_context::AuthorizerContext;
use crate::keys::precondition::IfMatch;
use crate::leaks::github_signature::{KEY_ID_HEADER, ReportSignature, SIGNATURE_HEADER};

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// The maximum length of a body in bytes: several times that of the longest valid request.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// A request to the management API. It has no `Debug`, because its headers contain a credential.
pub struct ManagementRequest {
    request: Request,
    now: DateTime<Utc>,
}

impl ManagementRequest {
    pub(super) fn new(request: Request, now: DateTime<Utc>) -> Self {
        Self { request, now }
    }

    /// The context of the request: the caller, the request and the time.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the request has no authorizer's context, so its sender is unknown. The deployment is
    ///   misconfigured.
    pub fn context(&self) -> Result<RequestContext, Error> {
        let context = self.request.request_context_ref().and_then(GatewayContext::authorizer);
        let fields: Map<String, Value> =
            context.map(|context| context.fields.clone().into_iter().collect()).unwrap_or_default();
        let context: AuthorizerContext = serde_json::from_value(Value::Object(fields))
            .map_err(|_| Error::Broken("the request has no authorizer's context".to_owned()))?;
        Ok(RequestContext { caller: context.try_into()?, origin: origin(&self.request), now: self.now })
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.request.method()
    }

    /// The path of the route in the API's document, such as `/leaks`; none if the event does not name it.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        match self.request.request_context_ref() {
            Some(GatewayContext::ApiGatewayV1(context)) => context.resource_path.as_deref(),
            _ => None,
        }
    }

    /// The time at which the request arrived.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// The id of the key in the path.
    ///
    /// # Errors
    ///
    /// - [`Error::NotFound`]: the text is not the id of a key, so no key has it.
    pub fn key_id(&self) -> Result<KeyId, Error> {
        self.path_parameter("id").and_then(|id| id.parse().ok()).ok_or(Error::NotFound)
    }

    /// The id of the legacy key in the path.
    ///
    /// # Errors
    ///
    /// - [`Error::NoSuchLegacyKey`]: the text is not the id of a legacy key, so no legacy key has it.
    pub fn legacy_key_id(&self) -> Result<KeyId, Error> {
        self.key_id().map_err(|_| Error::NoSuchLegacyKey)
    }

    /// The id of the token in the path, if the route has one.
    ///
    /// # Errors
    ///
    /// - [`Error::NoSuchToken`]: the text is not the id of a token, so no token has it.
    pub fn token_id(&self) -> Result<Option<TokenId>, Error> {
        let id = self.path_parameter("token_id");
        id.map(|id| id.parse().map_err(|_| Error::NoSuchToken)).transpose()
    }

    /// The id of the user in the path, who can have keys. Clients percent-encode some of its characters, and API Gateway
    /// does not decode them.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the text is not the id of a user who can have keys.
    pub fn user_id(&self) -> Result<UserId, Error> {
        let encoded = self.path_parameter("user_id").unwrap_or_default();
        // No user id contains a percent sign, so decoding it twice is harmless.
        let decoded = percent_decode_str(encoded).decode_utf8_lossy();
        decoded.parse().and_then(UserId::reject_reserved).map_err(|invalid| {
            let place = Place::Parameter("user_id".to_owned());
            Error::invalid(InvalidField { place, detail: invalid.to_string() })
        })
    }

    /// The name of a file of the keys page in the path; none for the page itself.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.path_parameter("file")
    }

    /// The `If-None-Match` headers.
    pub fn if_none_match(&self) -> impl Iterator<Item = &str> {
        self.request.headers().get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok())
    }

    fn path_parameter(&self, name: &str) -> Option<&str> {
        self.request.path_parameters_ref().and_then(|path| path.first(name))
    }

    /// The parameters of the query.
    pub fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        self.request.query_string_parameters_ref().into_iter().flat_map(|parameters| parameters.iter())
    }

    /// The `If-Match` header; the last one, if it is repeated.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the value does not have the form of the header.
    pub fn if_match(&self) -> Result<IfMatch, Error> {
        IfMatch::parse(self.request.headers().get(IF_MATCH).map(HeaderValue::as_bytes))
    }

    /// The `Idempotency-Key` header, if there is one; the last one, if it is repeated.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the value does not have the form of the header.
    pub fn idempotency_key(&self) -> Result<Option<IdempotencyKey>, Error> {
        let value = self.request.headers().get("idempotency-key");
        value.map(|value| IdempotencyKey::parse(value.to_str().unwrap_or_default())).transpose()
    }

    /// Requires that there is no `Idempotency-Key`, for a route that does not repeat its response: a client that sends one relies
    /// on it.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the request has the header.
    pub fn reject_idempotency_key(&self) -> Result<(), Error> {
        if self.request.headers().contains_key("idempotency-key") {
            let detail = "is not supported by this route".to_owned();
            return Err(Error::invalid(InvalidField {
                place: Place::Header("Idempotency-Key".to_owned()),
                detail,
            }));
        }
        Ok(())
    }

    /// The signature of a report of GitHub.
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidSignature`]: one of its headers is missing or repeated.
    pub fn report_signature(&self) -> Result<ReportSignature<'_>, Error> {
        let header = |name: &str| {
            let mut values = self.request.headers().get_all(name).iter();
            let only = values.next().filter(|_| values.next().is_none());
            only.and_then(|value| value.to_str().ok()).ok_or(Error::InvalidSignature)
        };
        Ok(ReportSignature { key_id: header(KEY_ID_HEADER)?, signature: header(SIGNATURE_HEADER)? })
    }

    /// The address of the keys page: `/console` beside the path of `POST /sessions`, which is this request.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the event does not have the address of the API.
    pub fn console_url(&self) -> Result<String, Error> {
        let context = self.request.request_context_ref();
        let address = context.and_then(|context| match context {
            GatewayContext::ApiGatewayV1(context) => {
                Some((context.domain_name.as_deref()?, context.path.as_deref()?))
            }
            _ => None,
        });
        let address = address.and_then(|(domain, path)| {
            Some(format!("https://{domain}{}/console", path.strip_suffix("/sessions")?))
        });
        address.ok_or_else(|| Error::Broken("the request has no address of the API".to_owned()))
    }

    /// The request as the audit trail records it.
    #[must_use]
    pub fn origin(&self) -> RequestOrigin {
        origin(&self.request)
    }

    /// The id of the session in the path, if the route has one.
    ///
    /// # Errors
    ///
    /// - [`Error::NoSuchSession`]: the text is not the id of a session, so no session has it.
    pub fn session_id(&self) -> Result<Option<SessionId>, Error> {
        let id = self.path_parameter("session_id");
        id.map(|id| id.parse().map_err(|_| Error::NoSuchSession)).transpose()
    }

    /// The body, if its `Content-Type` is JSON or missing.
    ///
    /// # Errors
    ///
    /// - [`Error::NotJson`]: the `Content-Type` is another one.
    /// - [`Error::Coded`]: the body is compressed or otherwise encoded.
    /// - [`Error::TooLarge`]: the body is longer than [`MAX_BODY_BYTES`].
    pub fn json(&self) -> Result<&[u8], Error> {
        body(&self.request, &[JSON], MAX_BODY_BYTES)
    }

    /// The body of at most `max_len` bytes, if its `Content-Type` is JSON or missing.
    ///
    /// # Errors
    ///
    /// See [`Self::json`].
    pub fn json_up_to(&self, max_len: usize) -> Result<&[u8], Error> {
        body(&self.request, &[JSON], max_len)
    }

    /// The body, if its `Content-Type` is JSON, a merge patch (RFC 7396) or missing.
    ///
    /// # Errors
    ///
    /// See [`Self::json`].
    pub fn merge_patch(&self) -> Result<&[u8], Error> {
        body(&self.request, &[JSON, MERGE_PATCH], MAX_BODY_BYTES)
    }
}

/// A direct invocation, which IAM has authorized. It has no `Debug`, because its payload may contain a credential.
pub struct DirectRequest {
    request: Request,
    now: DateTime<Utc>,
}

impl DirectRequest {
    pub(super) fn new(request: Request, now: DateTime<Utc>) -> Self {
        Self { request, now }
    }

    /// The event.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.request.body()
    }

    /// The id of the invocation, for the log.
    #[must_use]
    pub fn request_id(&self) -> String {
        request_id(&self.request).unwrap_or_default()
    }

    /// The time at which the invocation began.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }
}

/// The request as the audit trail records it, without a path that contains a credential instead of an id.
pub(super) fn origin(request: &Request) -> RequestOrigin {
    let source = match request.request_context_ref() {
        Some(GatewayContext::ApiGatewayV1(context)) => context.identity.source_ip.clone(),
        Some(GatewayContext::ApiGatewayV2(context)) => context.http.source_ip.clone(),
        _ => None,
    };
    let path = Some(request.raw_http_path()).filter(|path| RequestOrigin::may_keep(path));
    RequestOrigin { method: Some(request.method().to_string()), path: path.map(str::to_owned), source }
}

fn body<'a>(request: &'a Request, media_types: &[&str], max_len: usize) -> Result<&'a [u8], Error> {
    let declared = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let declared = declared.map(|value| value.split(';').next().unwrap_or_default().trim());
    if declared
        .is_some_and(|declared| !media_types.iter().any(|allowed| declared.eq_ignore_ascii_case(allowed)))
    {
        return Err(Error::NotJson);
    }
    if has_content_coding(request) {
        return Err(Error::Coded);
    }
    let body: &[u8] = request.body();
    if body.len() > max_len { Err(Error::TooLarge(max_len)) } else { Ok(body) }
}

/// Whether the body is declared to have a content coding (RFC 9110, section 8.4). Keygate decodes none.
pub(crate) fn has_content_coding(request: &Request) -> bool {
    let declared = request.headers().get_all(CONTENT_ENCODING).iter();
    let mut codings = declared.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        !matches!(coding.trim_ascii(), b"") && !coding.trim_ascii().eq_ignore_ascii_case(b"identity")
    })
}

/// The id of the request, which a client quotes in a support request.
pub(crate) fn request_id(request: &Request) -> Option<String> {
    let of_gateway = match request.request_context_ref() {
        Some(GatewayContext::ApiGatewayV1(context)) => context.request_id.clone(),
        Some(GatewayContext::ApiGatewayV2(context)) => context.request_id.clone(),
        _ => None,
    };
    of_gateway.or_else(|| request.lambda_context_ref().map(|context| context.request_id.clone()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use lambda_http::Body;

    use super::*;

    const KEY: &str = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi";

    #[test]
    fn a_path_that_contains_a_credential_is_not_recorded() {
        for (path, kept) in [
            ("/users/bob%40example.com".to_owned(), true),
            (format!("/users/{KEY}"), false),
            (format!("/users/{}", KEY.replace('_', "%5F")), false),
        ] {
            let request = Request::default().with_raw_http_path(&path);
            assert_eq!(origin(&request).path, kept.then_some(path));
        }
    }

    #[test]
    fn the_user_in_a_path_must_be_able_to_have_keys() {
        for (encoded, user) in [
            ("o'brien%40example.com", Some("o'brien@example.com")),
            ("a%7Cb%21~", Some("a|b!~")),
            ("bob+ci", Some("bob+ci")),
            ("%2e%2e", None),
            ("keygate%3Aclock", None),
            ("Keygate:users", None),
            ("", None),
            (KEY, None),
            (&KEY.replace('_', "%5F"), None),
        ] {
            let parameters = HashMap::from([("user_id".to_owned(), encoded.to_owned())]);
            let request =
                ManagementRequest::new(Request::default().with_path_parameters(parameters), Utc::now());
            assert_eq!(request.user_id().ok().as_ref().map(UserId::as_str), user, "{encoded}");
        }
    }

    #[test]
    fn a_signature_has_each_of_its_headers_once() {
        let signed = [(KEY_ID_HEADER, "id"), (SIGNATURE_HEADER, "MEQ=")];
        for (headers, found) in [
            (vec![signed[0], signed[1]], Some(("id", "MEQ="))),
            (vec![signed[0]], None),
            (vec![signed[1]], None),
            (vec![signed[0], signed[1], signed[1]], None),
            (vec![signed[0], (KEY_ID_HEADER, "other"), signed[1]], None),
            (vec![signed[0], (SIGNATURE_HEADER, "\u{e9}")], None),
        ] {
            let mut request = Request::default();
            for (name, value) in &headers {
                request.headers_mut().append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let request = ManagementRequest::new(request, Utc::now());
            let signature = request.report_signature();
            let signature = signature.map(|signature| (signature.key_id, signature.signature));
            assert_eq!(signature.ok(), found, "{headers:?}");
        }
    }

    #[test]
    fn an_encoded_body_is_rejected() {
        for (coding, taken) in [
            ("", true),
            ("identity", true),
            ("Identity, ", true),
            ("gzip", false),
            ("identity, br", false),
            ("x", false),
        ] {
            let mut request = Request::new(Body::from("{}"));
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
            let request = ManagementRequest::new(request, Utc::now());
            let body = request.json();
            assert_eq!(body.is_ok(), taken, "{coding}");
            assert!(matches!(body, Ok(_) | Err(Error::Coded)), "{coding}");
        }
    }
}

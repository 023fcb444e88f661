//! Reads a request to the management API.

use keygate_core::audit_event::RequestOrigin;
use keygate_core::caller::Caller;
use keygate_core::credential::{KeyId, TokenId};
use keygate_core::error::{Error, InvalidField, Place};
use keygate_core::idempotency::IdempotencyKey;
use keygate_core::identity::UserId;
use lambda_http::http::HeaderValue;
use lambda_http::http::header::{CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH};
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::api::authorizer_context::AuthorizerContext;
use crate::keys::precondition::IfMatch;

/// What a body is declared as.
pub const JSON: &str = "application/json";

/// What a merge patch may be declared as besides (RFC 7396).
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// The longest body, in bytes: several times what the longest valid request takes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// Who calls, as the authorizer told API Gateway.
///
/// # Errors
///
/// - [`Error::Broken`]: the request came without the authorizer's context, so nothing is known of its sender. That is
///   a mistake of the deployment, and never a reason to assume anything.
pub fn caller(request: &Request) -> Result<Caller, Error> {
    let context = request.request_context_ref().and_then(RequestContext::authorizer);
    let fields: Map<String, Value> =
        context.map(|context| context.fields.clone().into_iter().collect()).unwrap_or_default();
    let context: AuthorizerContext = serde_json::from_value(Value::Object(fields))
        .map_err(|_| Error::Broken("the request has no authorizer's context".to_owned()))?;
    context.try_into()
}

/// The request as the audit trail has it: without a path that holds a credential in the place of an id.
#[must_use]
pub fn origin(request: &Request) -> RequestOrigin {
    let source = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.identity.source_ip.clone(),
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.clone(),
        _ => None,
    };
    let path = Some(request.raw_http_path()).filter(|path| RequestOrigin::may_keep(path));
    RequestOrigin { method: Some(request.method().to_string()), path: path.map(str::to_owned), source }
}

/// The key's id in the path. What is no id at all is the id of no key.
///
/// # Errors
///
/// - [`Error::NotFound`]: it is not the id of a key.
pub fn key_id(request: &Request) -> Result<KeyId, Error> {
    request.path_parameters_ref().and_then(|path| path.first("id")?.parse().ok()).ok_or(Error::NotFound)
}

/// The legacy key's id in the path. What is no id at all is the id of no legacy key.
///
/// # Errors
///
/// - [`Error::NoSuchLegacyKey`]: it is not the id of a legacy key.
pub fn legacy_key_id(request: &Request) -> Result<KeyId, Error> {
    key_id(request).map_err(|_| Error::NoSuchLegacyKey)
}

/// The token's id in the path. What is no id at all is the id of no token.
///
/// # Errors
///
/// - [`Error::NoSuchToken`]: it is not the id of a token.
pub fn token_id(request: &Request) -> Result<Option<TokenId>, Error> {
    let id = request.path_parameters_ref().and_then(|path| path.first("token_id"));
    id.map(|id| id.parse().map_err(|_| Error::NoSuchToken)).transpose()
}

/// The user's id in the path, who can have keys. A client has to write some of its characters as percent and two digits, which
/// API Gateway hands on as it was sent.
///
/// # Errors
///
/// - [`Error::Invalid`]: it is not the id of such a user.
pub fn user_id(request: &Request) -> Result<UserId, Error> {
    let parameters = request.path_parameters_ref();
    let encoded = parameters.and_then(|path| path.first("user_id")).unwrap_or_default();
    // No user's id has a percent sign, so it makes no difference whether it was decoded on the way.
    let decoded = percent_decode_str(encoded).decode_utf8_lossy();
    decoded.parse().and_then(UserId::reject_reserved).map_err(|invalid| {
        let place = Place::Parameter("user_id".to_owned());
        Error::invalid(InvalidField { place, detail: invalid.to_string() })
    })
}

/// Which states of a key the request is for. Of several such headers the last counts.
///
/// # Errors
///
/// - [`Error::Invalid`]: it is not of the form.
pub fn if_match(request: &Request) -> Result<IfMatch, Error> {
    IfMatch::parse(request.headers().get(IF_MATCH).map(HeaderValue::as_bytes))
}

/// The request's `Idempotency-Key`, if it has one. Of several such headers the last counts.
///
/// # Errors
///
/// - [`Error::Invalid`]: it is not of the form.
pub fn idempotency_key(request: &Request) -> Result<Option<IdempotencyKey>, Error> {
    let value = request.headers().get("idempotency-key").map(|value| value.to_str().unwrap_or_default());
    value.map(IdempotencyKey::parse).transpose()
}

/// The body of a request that has one, declared as one of `media_types` or not at all.
///
/// # Errors
///
/// - [`Error::NotJson`]: it is declared to be something else.
/// - [`Error::Coded`]: it is declared to be compressed or coded otherwise.
/// - [`Error::TooLarge`]: it is longer than [`MAX_BODY_BYTES`].
pub fn body<'a>(request: &'a Request, media_types: &[&str]) -> Result<&'a [u8], Error> {
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
    if body.len() > MAX_BODY_BYTES { Err(Error::TooLarge(MAX_BODY_BYTES)) } else { Ok(body) }
}

/// Whether the body is declared to have a content coding (RFC 9110, section 8.4). Nothing here takes one off.
pub(crate) fn has_content_coding(request: &Request) -> bool {
    let declared = request.headers().get_all(CONTENT_ENCODING).iter();
    let mut codings = declared.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        !matches!(coding.trim_ascii(), b"") && !coding.trim_ascii().eq_ignore_ascii_case(b"identity")
    })
}

/// What a client quotes when it asks about an answer.
pub(crate) fn request_id(request: &Request) -> Option<String> {
    let of_gateway = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.request_id.clone(),
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
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

    fn request(path: &str, user_id: &str) -> Request {
        let parameters = HashMap::from([("user_id".to_owned(), user_id.to_owned())]);
        Request::default().with_raw_http_path(path).with_path_parameters(parameters)
    }

    #[test]
    fn no_path_with_a_credential_is_kept() {
        for (path, kept) in [
            ("/users/bob%40example.com".to_owned(), true),
            (format!("/users/{KEY}"), false),
            (format!("/users/{}", KEY.replace('_', "%5F")), false),
        ] {
            assert_eq!(origin(&request(&path, "")).path, kept.then_some(path));
        }
    }

    #[test]
    fn the_user_in_a_path_is_one_who_can_have_keys() {
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
            let found = user_id(&request("/", encoded));
            assert_eq!(found.ok().as_ref().map(UserId::as_str), user, "{encoded}");
        }
    }

    #[test]
    fn a_body_is_taken_as_it_is_or_not_at_all() {
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
            let body = body(&request, &[JSON]);
            assert_eq!(body.is_ok(), taken, "{coding}");
            assert!(matches!(body, Ok(_) | Err(Error::Coded)), "{coding}");
        }
    }
}

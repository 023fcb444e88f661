//! The management API over `lambda_http`: the caller out of the authorizer's context, answers and problems (RFC 9457).

use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::activity::Origin;
use crate::caller::Caller;
use crate::error::{Error, InvalidField};
use crate::gateway::Context;

/// The longest body, in bytes: several times what the longest valid request takes.
pub const LONGEST_BODY: usize = 16 * 1024;

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
    let context: Context = serde_json::from_value(Value::Object(fields))
        .map_err(|_| Error::Broken("the request has no authorizer's context".to_owned()))?;
    context.try_into()
}

/// The request as the audit trail has it.
#[must_use]
pub fn origin(request: &Request) -> Origin {
    let source = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.identity.source_ip.clone(),
        _ => None,
    };
    Origin {
        method: Some(request.method().to_string()),
        path: Some(request.raw_http_path().to_owned()),
        source,
    }
}

/// The body of a request that has one.
///
/// # Errors
///
/// - [`Error::NotJson`]: it is declared to be something else than JSON.
/// - [`Error::TooLarge`]: it is longer than [`LONGEST_BODY`].
pub fn json_body(request: &Request) -> Result<&[u8], Error> {
    let declared = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let media_type = declared.map(|value| value.split(';').next().unwrap_or_default().trim());
    if media_type.is_some_and(|media_type| !media_type.eq_ignore_ascii_case("application/json")) {
        return Err(Error::NotJson);
    }
    let body: &[u8] = request.body();
    if body.len() > LONGEST_BODY { Err(Error::TooLarge(LONGEST_BODY)) } else { Ok(body) }
}

/// An answer with a body.
///
/// No answer may be stored on its way: all of them tell about keys, and one holds a key.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    with_body(status, "application/json", body)
}

/// An answer without a body.
#[must_use]
pub fn no_content() -> Response<Body> {
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The answer to a request that failed, after everything that is known of the failure went to the log.
#[must_use]
pub fn problem(error: &Error, request: &Request) -> Response<Body> {
    let request_id = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.request_id.clone(),
        _ => None,
    };
    let request_id =
        request_id.or_else(|| request.lambda_context_ref().map(|context| context.request_id.clone()));
    let problem = Problem::of(error, request_id);
    if problem.status.is_server_error() {
        tracing::error!(request_id = problem.request_id, code = problem.code, %error, "request failed");
    } else {
        tracing::info!(request_id = problem.request_id, code = problem.code, %error, "request refused");
    }
    let mut answer = with_body(problem.status, "application/problem+json", &problem);
    if problem.status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

fn with_body(status: StatusCode, content_type: &'static str, body: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_string(body).expect("what this crate answers with can be written as JSON");
    let mut answer = Response::new(Body::Text(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: String,
    code: &'static str,
    request_id: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [InvalidField],
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde's `serialize_with` calls")]
fn as_number<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl<'a> Problem<'a> {
    /// The one place that turns an error of the domain into a status, and decides what a client learns of it.
    fn of(error: &'a Error, request_id: Option<String>) -> Self {
        let mut errors: &[InvalidField] = &[];
        let (status, code, title, detail) = match error {
            Error::Invalid { fields } => {
                errors = fields;
                let detail = "The request has invalid fields.".to_owned();
                (StatusCode::BAD_REQUEST, "invalid_request", "Invalid request", detail)
            }
            Error::TooLarge(longest) => {
                let detail = format!("The body may have at most {} KiB.", longest / 1024);
                (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "Payload too large", detail)
            }
            Error::NotJson => {
                let detail = "The body must be application/json.".to_owned();
                (
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "unsupported_media_type",
                    "Unsupported media type",
                    detail,
                )
            }
            Error::InsufficientScope(scope) => {
                let detail = format!("This requires the scope {scope}.");
                (StatusCode::FORBIDDEN, "insufficient_scope", "Insufficient scope", detail)
            }
            Error::NotYourKey => {
                let detail = "Only administrators of the workspace may act for other users.".to_owned();
                (StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
            }
            Error::NotFound => {
                (StatusCode::NOT_FOUND, "not_found", "Not found", "The workspace has no such key.".to_owned())
            }
            Error::NameTaken => {
                let detail = "A key of this workspace already has this name.".to_owned();
                (StatusCode::CONFLICT, "name_taken", "Name taken", detail)
            }
            Error::QuotaReached(quota) => {
                let detail = format!("The user has {quota} keys, and may have no more.");
                (StatusCode::CONFLICT, "quota_exceeded", "Quota exceeded", detail)
            }
            Error::UserRemoved => {
                let detail = "The user was removed from the workspace and can get no key.".to_owned();
                (StatusCode::CONFLICT, "user_removed", "User removed", detail)
            }
            Error::AlreadyBootstrapped => {
                let detail = "The workspace has users. One of its administrators can create keys.".to_owned();
                (StatusCode::CONFLICT, "already_bootstrapped", "Already bootstrapped", detail)
            }
            Error::Busy | Error::Unavailable { .. } => {
                let detail = "The service is temporarily unavailable. Try again later.".to_owned();
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Service unavailable", detail)
            }
            Error::UnknownPepper(_) | Error::Broken(_) => {
                let detail = "The request could not be processed.".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
            }
        };
        let kind = format!("urn:keygate:problem:{}", code.replace('_', "-"));
        Self { kind, title, status, detail, code, request_id, errors }
    }
}

//! The management API over `lambda_http`: the caller out of the authorizer's context, answers and problems (RFC 9457).

use std::convert::Infallible;
use std::time::Duration;

use lambda_http::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH,
    RETRY_AFTER,
};
use lambda_http::http::{HeaderValue, Method, StatusCode};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response, service_fn};
use percent_encoding::percent_decode_str;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::activity::Origin;
use crate::caller::{Caller, InvalidUserId, UserId};
use crate::config::Environment;
use crate::credential::{KeyId, TokenId};
use crate::error::{Error, InvalidField, Place};
use crate::gateway::Context;
use crate::keys::precondition::{IfMatch, entity_tag};
use crate::replay::IdempotencyKey;

/// How long an answer may take: less than the function may, so that the client hears that it should try again.
const LONGEST_ANSWER: Duration = Duration::from_secs(9);

/// What a body is declared as.
pub const JSON: &str = "application/json";
/// What a merge patch may be declared as besides (RFC 7396).
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// The longest body, in bytes: several times what the longest valid request takes.
pub const LONGEST_BODY: usize = 16 * 1024;

/// Takes requests until Lambda ends the function, and lets pages of the allowed origin read the answers.
///
/// # Errors
///
/// `CORS_ALLOW_ORIGIN` is no origin, or the Runtime API cannot be reached.
pub async fn serve<Respond, Answer>(
    environment: &Environment,
    respond: Respond,
) -> Result<(), lambda_http::Error>
where
    Respond: Fn(Request) -> Answer + Sync,
    Answer: Future<Output = Response<Body>> + Send,
{
    let respond = |request| {
        let answer = respond(request);
        async { (answer.await, ()) }
    };
    let out_of_time = |request: &Identified| request.problem(&OUT_OF_TIME);
    serve_and_leave(environment, respond, out_of_time, |_| std::future::ready(())).await
}

/// What a request that took too long is answered with.
pub(crate) const OUT_OF_TIME: Error = Error::Timeout(LONGEST_ANSWER);

/// As [`serve`]; and once for each request, before its answer is sent, `leave` gets what the handler has left beside the
/// answer, if it came to that.
pub(crate) async fn serve_and_leave<Respond, Answer, Rest, Leave, Left>(
    environment: &Environment,
    respond: Respond,
    out_of_time: impl Fn(&Identified) -> Response<Body> + Sync,
    leave: Leave,
) -> Result<(), lambda_http::Error>
where
    Respond: Fn(Request) -> Answer + Sync,
    Answer: Future<Output = (Response<Body>, Rest)> + Send,
    Rest: Send,
    Leave: Fn(Option<Rest>) -> Left + Sync,
    Left: Future<Output = ()> + Send,
{
    let origin = environment.cors_allow_origin()?;
    let cors = Cors(origin.as_deref().map(HeaderValue::from_str).transpose()?);
    let (cors, respond, out_of_time, leave) = (&cors, &respond, &out_of_time, &leave);
    lambda_http::run(service_fn(move |request: Request| async move {
        let identified = Identified::of(&request);
        let (answer, rest) = match *request.method() {
            Method::OPTIONS => (cors.preflight(&request), None),
            _ => match tokio::time::timeout(LONGEST_ANSWER, respond(request)).await {
                Ok((answer, rest)) => (answer, Some(rest)),
                Err(_) => (out_of_time(&identified), None),
            },
        };
        leave(rest).await;
        Ok::<_, Infallible>(cors.allow(answer))
    }))
    .await
}

/// What is still known of a request when its handler has taken it.
#[derive(Debug)]
pub(crate) struct Identified {
    /// What a client quotes when it asks about the answer.
    pub(crate) request_id: Option<String>,
    /// It came to an HTTP API, as the OAuth API is one and the management API is not.
    pub(crate) is_of_http_api: bool,
}

impl Identified {
    fn of(request: &Request) -> Self {
        let is_of_http_api = matches!(request.request_context_ref(), Some(RequestContext::ApiGatewayV2(_)));
        Self { request_id: request_id(request), is_of_http_api }
    }

    /// The answer to the request, which failed for this reason.
    pub(crate) fn problem(&self, error: &Error) -> Response<Body> {
        problem_of(error, self.request_id.clone())
    }
}

/// Cross-Origin Resource Sharing: the one origin whose pages may call, if any (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
#[derive(Debug)]
struct Cors(Option<HeaderValue>);

impl Cors {
    /// Lets pages of the origin read an answer, and of its headers those that are of use to them.
    fn allow(&self, mut answer: Response<Body>) -> Response<Body> {
        if let Some(origin) = &self.0 {
            let headers = answer.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("ETag, Retry-After"));
        }
        answer
    }

    /// What a browser asks before it sends a request: nothing that depends on who asks.
    fn preflight(&self, request: &Request) -> Response<Body> {
        if self.0.is_none() {
            return problem(&Error::NotFound, request);
        }
        let mut answer = no_content();
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
            (ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match, Idempotency-Key"),
            (ACCESS_CONTROL_MAX_AGE, "7200"),
        ] {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

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
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.clone(),
        _ => None,
    };
    Origin {
        method: Some(request.method().to_string()),
        path: Some(request.raw_http_path().to_owned()),
        source,
    }
}

/// The key's id in the path. What is no id at all is the id of no key.
///
/// # Errors
///
/// - [`Error::NotFound`]: it is not the id of a key.
pub fn key_id(request: &Request) -> Result<KeyId, Error> {
    request.path_parameters_ref().and_then(|path| path.first("id")?.parse().ok()).ok_or(Error::NotFound)
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

/// The user's id in the path. A client has to write some of its characters as percent and two digits, which API Gateway
/// hands on as it was sent.
///
/// # Errors
///
/// - [`Error::Invalid`]: it is not the id of a user.
pub fn user_id(request: &Request) -> Result<UserId, Error> {
    let parameters = request.path_parameters_ref();
    let encoded = parameters.and_then(|path| path.first("user_id")).unwrap_or_default();
    // No user's id has a percent sign, so it makes no difference whether it was decoded on the way.
    let decoded = percent_decode_str(encoded).decode_utf8_lossy();
    decoded.parse().map_err(|invalid: InvalidUserId| {
        let place = Place::Parameter("user_id".to_owned());
        Error::invalid(InvalidField { place, detail: invalid.to_string() })
    })
}

/// Which states of a key the request is for. Of several such headers `lambda_http` hands over the last.
#[must_use]
pub fn if_match(request: &Request) -> IfMatch {
    IfMatch::parse(request.headers().get(IF_MATCH).map(|value| value.to_str().unwrap_or_default()))
}

/// The request's `Idempotency-Key`, if it has one. Of several such headers `lambda_http` hands over the last.
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
/// - [`Error::TooLarge`]: it is longer than [`LONGEST_BODY`].
pub fn body<'a>(request: &'a Request, media_types: &[&str]) -> Result<&'a [u8], Error> {
    let declared = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let declared = declared.map(|value| value.split(';').next().unwrap_or_default().trim());
    if declared
        .is_some_and(|declared| !media_types.iter().any(|allowed| declared.eq_ignore_ascii_case(allowed)))
    {
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

/// An answer that shows a key in the state of `revision`.
#[must_use]
pub fn key(status: StatusCode, revision: u64, body: &impl Serialize) -> Response<Body> {
    let mut answer = json(status, body);
    // A number in quotes always is a valid value.
    if let Ok(tag) = HeaderValue::from_str(&entity_tag(revision)) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
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
    problem_of(error, request_id(request))
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

fn problem_of(error: &Error, request_id: Option<String>) -> Response<Body> {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<KeyId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde's `serialize_with` calls")]
fn as_number<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl<'a> Problem<'a> {
    /// The one place that turns an error of the domain into a status, and decides what a client learns of it.
    fn of(error: &'a Error, request_id: Option<String>) -> Self {
        let mut errors: &[InvalidField] = &[];
        let mut key_id = None;
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
            Error::InsufficientEndpoints(rule) => {
                let detail = match rule {
                    Some(rule) => format!("The endpoint rules of the caller's key do not cover {rule}."),
                    None => "The caller's key has endpoint rules, and this one has none.".to_owned(),
                };
                (StatusCode::FORBIDDEN, "insufficient_endpoints", "Insufficient endpoints", detail)
            }
            Error::NotAKey(presented) => {
                let detail = format!("This takes an API key. {presented} cannot do it.");
                (StatusCode::FORBIDDEN, "insufficient_credential", "Insufficient credential", detail)
            }
            Error::NotYourKey => {
                let detail = "Only administrators of the workspace may act for other users.".to_owned();
                (StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
            }
            Error::NotFound => {
                (StatusCode::NOT_FOUND, "not_found", "Not found", "The workspace has no such key.".to_owned())
            }
            Error::NoSuchToken => {
                (StatusCode::NOT_FOUND, "not_found", "Not found", "The key has no such token.".to_owned())
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
            Error::OwnUser => {
                let detail =
                    "Nobody can remove themself. Another user with the scope users:write can.".to_owned();
                (StatusCode::CONFLICT, "own_user", "Own user", detail)
            }
            // The second never comes to an answer: it ends work that nobody waits for.
            Error::Conflict | Error::UserReinstated => {
                let detail = "The key was changed at the same time. Read it and try again.".to_owned();
                (StatusCode::CONFLICT, "conflict", "Conflict", detail)
            }
            Error::PreconditionFailed => {
                let detail = "The key was changed since that ETag.".to_owned();
                (StatusCode::PRECONDITION_FAILED, "precondition_failed", "Precondition failed", detail)
            }
            Error::IdempotencyMismatch => {
                let detail = "This Idempotency-Key came with another body before.".to_owned();
                (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", "Idempotency mismatch", detail)
            }
            Error::IdempotencyConflict(id) => {
                key_id = Some(*id);
                let detail =
                    "An earlier request with this Idempotency-Key made a key that was rotated, disabled or deleted, or is expired."
                        .to_owned();
                (StatusCode::CONFLICT, "idempotency_conflict", "Idempotency conflict", detail)
            }
            Error::Busy | Error::Timeout(_) | Error::Unavailable { .. } => {
                let detail = match error {
                    Error::Timeout(_) => "The request took too long. A change may or may not have been made.",
                    _ => "The service is temporarily unavailable. Try again later.",
                };
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Service unavailable", detail.to_owned())
            }
            Error::UnknownPepper(_) | Error::Broken(_) => {
                let detail = "The request could not be processed.".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
            }
        };
        let kind = format!("urn:keygate:problem:{}", code.replace('_', "-"));
        Self { kind, title, status, detail, code, request_id, errors, key_id }
    }
}

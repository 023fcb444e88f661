//! The management API over `lambda_http`: the caller out of the authorizer's context, answers and problems (RFC 9457).

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use lambda_http::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE,
    ETAG, IF_MATCH, RETRY_AFTER,
};
use lambda_http::http::{HeaderValue, Method, StatusCode};
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response, service_fn};
use percent_encoding::percent_decode_str;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::activity::Origin;
use crate::caller::{Caller, UserId};
use crate::config::Environment;
use crate::credential::{KeyId, TokenId};
use crate::error::{Error, InvalidField, Place};
use crate::gateway::Context;
use crate::invocation::{Call, Format, Reply, Unreadable};
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

/// Takes requests until Lambda ends the function, and lets pages of the allowed origin read the answers. What is no request of
/// an API, or none that can be read, is refused with a problem.
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
    serve_and_leave(environment, respond, as_problem, |_| std::future::ready(())).await
}

/// Does as [`serve`], and says in the words of `refuse` what is wrong with a request that `respond` has not seen, or not to its
/// end. Once for each invocation, before its answer is sent, `leave` gets what `respond` has left beside the answer, if it came to
/// that.
pub(crate) async fn serve_and_leave<Respond, Answer, Rest, Leave, Left>(
    environment: &Environment,
    respond: Respond,
    refuse: Refuse,
    leave: Leave,
) -> Result<(), lambda_http::Error>
where
    Respond: Fn(Request) -> Answer + Sync,
    Answer: Future<Output = (Response<Body>, Rest)> + Send,
    Leave: Fn(Option<Rest>) -> Left + Sync,
    Left: Future<Output = ()> + Send,
{
    let cors = &Cors::of(environment)?;
    let (respond, leave) = (&respond, &leave);
    run(move |call| async move {
        let rest = Cell::new(None);
        let respond = |request| {
            let (answer, rest) = (respond(request), &rest);
            async move {
                let (answer, left) = answer.await;
                rest.set(Some(left));
                answer
            }
        };
        let reply = match call {
            Call::Request(format, request) => cors.respond(format, request, &respond, refuse).await,
            Call::Unreadable(format, unreadable) => cors.refuse(format, unreadable, refuse),
            Call::Direct(request) => cors.refuse(Format::V1, unexpected(&request), refuse),
        };
        leave(rest.take()).await;
        reply
    })
    .await
}

/// Does as [`serve`], and hands direct invocations, which IAM has authorised, to `direct` as the body of a request. The body of
/// the response is what the invocation is answered.
///
/// # Errors
///
/// As [`serve`] says.
pub async fn serve_with_direct<Respond, Answer, Direct, DirectAnswer>(
    environment: &Environment,
    respond: Respond,
    direct: Direct,
) -> Result<(), lambda_http::Error>
where
    Respond: Fn(Request) -> Answer + Sync,
    Answer: Future<Output = Response<Body>> + Send,
    Direct: Fn(Request) -> DirectAnswer + Sync,
    DirectAnswer: Future<Output = Response<Body>> + Send,
{
    let cors = &Cors::of(environment)?;
    let (respond, direct) = (&respond, &direct);
    run(move |call| async move {
        match call {
            Call::Request(format, request) => cors.respond(format, request, respond, as_problem).await,
            Call::Unreadable(format, unreadable) => cors.refuse(format, unreadable, as_problem),
            Call::Direct(request) => Reply::direct(in_time(Format::V1, request, direct, as_problem).await),
        }
    })
    .await
}

/// Takes direct invocations alone, as [`serve_with_direct`] does, until Lambda ends the function. No API has the function, so
/// every event of one is refused.
///
/// # Errors
///
/// The Runtime API cannot be reached.
pub async fn serve_direct<Direct, Answer>(direct: Direct) -> Result<(), lambda_http::Error>
where
    Direct: Fn(Request) -> Answer + Sync,
    Answer: Future<Output = Response<Body>> + Send,
{
    let direct = &direct;
    run(move |call| async move {
        match call {
            Call::Direct(request) => Reply::direct(in_time(Format::V1, request, direct, as_problem).await),
            Call::Request(format, request) => Cors(None).refuse(format, unexpected(&request), as_problem),
            Call::Unreadable(format, unreadable) => Cors(None).refuse(format, unreadable, as_problem),
        }
    })
    .await
}

async fn run<Handle, Handled>(handle: Handle) -> Result<(), lambda_http::Error>
where
    Handle: Fn(Call) -> Handled,
    Handled: Future<Output = Reply>,
{
    let handle = &handle;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| async move {
        // In a box, because the compiler gives up on the layout of what is nested any deeper.
        Ok::<_, Infallible>(Box::pin(handle(Call::read(event))).await)
    }))
    .await
}

/// An event that a function does not take.
fn unexpected(request: &Request) -> Unreadable {
    Unreadable { header: None, request_id: request_id(request) }
}

/// How an error is told to a client of an API of that format, with what the client quotes when it asks about it.
pub(crate) type Refuse = fn(Format, Error, Option<String>) -> Response<Body>;

#[expect(clippy::needless_pass_by_value, reason = "the signature that `Refuse` says")]
fn as_problem(_: Format, error: Error, request_id: Option<String>) -> Response<Body> {
    problem_of(&error, request_id)
}

/// The response of `respond`, or what is said in its place once it takes too long.
async fn in_time<Respond, Answer>(
    format: Format,
    request: Request,
    respond: &Respond,
    refuse: Refuse,
) -> Response<Body>
where
    Respond: Fn(Request) -> Answer,
    Answer: Future<Output = Response<Body>>,
{
    let request_id = request_id(&request);
    match tokio::time::timeout(LONGEST_ANSWER, respond(request)).await {
        Ok(answer) => answer,
        Err(_) => refuse(format, Error::Timeout(LONGEST_ANSWER), request_id),
    }
}

/// Cross-Origin Resource Sharing: the one origin whose pages may call, if any (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
#[derive(Debug)]
struct Cors(Option<HeaderValue>);

impl Cors {
    fn of(environment: &Environment) -> Result<Self, lambda_http::Error> {
        let origin = environment.cors_allow_origin()?;
        Ok(Self(origin.as_deref().map(HeaderValue::from_str).transpose()?))
    }

    async fn respond<Respond, Answer>(
        &self,
        format: Format,
        request: Request,
        respond: &Respond,
        refuse: Refuse,
    ) -> Reply
    where
        Respond: Fn(Request) -> Answer,
        Answer: Future<Output = Response<Body>>,
    {
        let answer = match *request.method() {
            Method::OPTIONS => self.preflight(&request),
            _ => in_time(format, request, respond, refuse).await,
        };
        Reply::of_api(format, self.allow(answer))
    }

    fn refuse(&self, format: Format, unreadable: Unreadable, refuse: Refuse) -> Reply {
        let Unreadable { header, request_id } = unreadable;
        let (place, detail) = match header {
            Some(header) => (Place::Header(header), "must have no control characters"),
            None => (Place::Pointer(String::new()), "cannot be read"),
        };
        let error = Error::invalid(InvalidField { place, detail: detail.to_owned() });
        Reply::of_api(format, self.allow(refuse(format, error, request_id)))
    }

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
            return problem(&Error::NoOrigin, request);
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

/// The request as the audit trail has it: without a path that holds a credential in the place of an id.
#[must_use]
pub fn origin(request: &Request) -> Origin {
    let source = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.identity.source_ip.clone(),
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.clone(),
        _ => None,
    };
    let path = Some(request.raw_http_path()).filter(|path| Origin::may_keep(path));
    Origin { method: Some(request.method().to_string()), path: path.map(str::to_owned), source }
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
    decoded.parse().and_then(UserId::somebody).map_err(|invalid| {
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
/// - [`Error::TooLarge`]: it is longer than [`LONGEST_BODY`].
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
    if body.len() > LONGEST_BODY { Err(Error::TooLarge(LONGEST_BODY)) } else { Ok(body) }
}

/// Whether the body is declared to have a content coding (RFC 9110, section 8.4). Nothing here takes one off.
pub(crate) fn has_content_coding(request: &Request) -> bool {
    let declared = request.headers().get_all(CONTENT_ENCODING).iter();
    let mut codings = declared.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        !matches!(coding.trim_ascii(), b"") && !coding.trim_ascii().eq_ignore_ascii_case(b"identity")
    })
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

pub(crate) fn problem_of(error: &Error, request_id: Option<String>) -> Response<Body> {
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
    fn of(error: &'a Error, request_id: Option<String>) -> Self {
        let (status, code, title) = kind(error);
        let errors: &[InvalidField] = if let Error::Invalid { fields } = error { fields } else { &[] };
        let key_id = match error {
            Error::IdempotencyConflict(id) => Some(*id),
            Error::NameTaken(holder) => *holder,
            _ => None,
        };
        let kind = format!("urn:keygate:problem:{}", code.replace('_', "-"));
        Self { kind, title, status, detail: detail(error), code, request_id, errors, key_id }
    }
}

/// The one place that turns an error of the domain into a status, with its code and its title.
fn kind(error: &Error) -> (StatusCode, &'static str, &'static str) {
    match error {
        Error::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid_request", "Invalid request"),
        Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "Payload too large"),
        Error::NotJson | Error::Coded => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type")
        }
        Error::InsufficientScope(_) => (StatusCode::FORBIDDEN, "insufficient_scope", "Insufficient scope"),
        Error::InsufficientEndpoints(_) => {
            (StatusCode::FORBIDDEN, "insufficient_endpoints", "Insufficient endpoints")
        }
        Error::InsufficientCredential(_) => {
            (StatusCode::FORBIDDEN, "insufficient_credential", "Insufficient credential")
        }
        Error::NotYourKey => (StatusCode::FORBIDDEN, "forbidden", "Forbidden"),
        Error::CallerRemoved => (StatusCode::FORBIDDEN, "caller_removed", "Caller removed"),
        Error::NotFound
        | Error::NoSuchToken
        | Error::NoSuchLegacyKey
        | Error::NoLegacyKeys
        | Error::NoOrigin => (StatusCode::NOT_FOUND, "not_found", "Not found"),
        Error::NoSuchWorkspace => (StatusCode::NOT_FOUND, "no_such_workspace", "No such workspace"),
        Error::TooManyKeys => (StatusCode::CONFLICT, "too_many_keys", "Too many keys"),
        Error::NameTaken(_) => (StatusCode::CONFLICT, "name_taken", "Name taken"),
        Error::QuotaReached { .. } => (StatusCode::CONFLICT, "quota_exceeded", "Quota exceeded"),
        Error::TooManyTokens(_) => (StatusCode::CONFLICT, "too_many_tokens", "Too many tokens"),
        Error::UserRemoved => (StatusCode::CONFLICT, "user_removed", "User removed"),
        Error::AlreadyBootstrapped => (StatusCode::CONFLICT, "already_bootstrapped", "Already bootstrapped"),
        Error::OwnUser => (StatusCode::CONFLICT, "own_user", "Own user"),
        Error::RemovalLimit(_) => (StatusCode::CONFLICT, "removal_limit", "Removal limit"),
        // The second never comes to an answer: it ends work that no client waits for.
        Error::Conflict | Error::UserReinstated => (StatusCode::CONFLICT, "conflict", "Conflict"),
        Error::PreconditionFailed => {
            (StatusCode::PRECONDITION_FAILED, "precondition_failed", "Precondition failed")
        }
        Error::IdempotencyMismatch => {
            (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", "Idempotency mismatch")
        }
        Error::IdempotencyConflict(_) => {
            (StatusCode::CONFLICT, "idempotency_conflict", "Idempotency conflict")
        }
        Error::Busy | Error::Timeout(_) | Error::Unavailable { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Service unavailable")
        }
        Error::UnknownPepper(_) | Error::Broken(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error")
        }
    }
}

/// What a client learns of an error of the domain.
fn detail(error: &Error) -> String {
    let text = match error {
        Error::Invalid { .. } => "The request has invalid fields.",
        Error::TooLarge(longest) => return format!("The body may have at most {} KiB.", longest / 1024),
        Error::NotJson => "The body must be application/json.",
        Error::Coded => "The body must have no content coding: send it as it is, without Content-Encoding.",
        Error::InsufficientScope(scope) => return format!("This requires the scope {scope}."),
        Error::InsufficientEndpoints(Some(rule)) => {
            return format!("The endpoint rules of the caller's key do not cover {rule}.");
        }
        Error::InsufficientEndpoints(None) => "The caller's key has endpoint rules, and this one has none.",
        Error::InsufficientCredential(presented) => {
            return format!("This takes an API key with its current secret, not {presented}.");
        }
        Error::NotYourKey => "Only administrators of the workspace may act for other users.",
        Error::CallerRemoved => "Your user was removed from this workspace.",
        Error::NotFound => "The workspace has no such key.",
        Error::NoOrigin => {
            "This deployment lets no page of another origin call it: its CorsAllowOrigin is not set."
        }
        Error::NoSuchToken => "The key has no such token.",
        Error::NoSuchLegacyKey => "The workspace has no such legacy key.",
        Error::NoLegacyKeys => "This deployment honours no legacy keys.",
        Error::NoSuchWorkspace => "There is no such workspace. A workspace begins with its bootstrap.",
        Error::TooManyKeys => {
            "You have more keys than can be listed. Delete some, or ask with the scope keys:read."
        }
        Error::NameTaken(None) => "A key of this workspace already has this name.",
        Error::NameTaken(Some(holder)) => return format!("The key {holder} already has this name."),
        Error::QuotaReached { counted, quota } => {
            return format!("The user has {counted} keys, and may have {quota}. Expired keys do not count.");
        }
        Error::TooManyTokens(bound) => {
            return format!("The key has {bound} tokens that work, and may have no more.");
        }
        Error::UserRemoved => "The user was removed from the workspace and can get no key.",
        Error::AlreadyBootstrapped => "The workspace has users. One of its administrators can create keys.",
        Error::OwnUser => {
            "Users can neither remove nor reinstate themselves. Another user with the scope users:write can."
        }
        Error::RemovalLimit(limit) => {
            return format!(
                "This workspace does not know the user, and {limit} such users have been removed from it, which is the limit. \
                 A user who has or had a key can always be removed."
            );
        }
        Error::Conflict | Error::UserReinstated => {
            "The key was changed at the same time. Read it and try again."
        }
        Error::PreconditionFailed => "The key was changed since that ETag.",
        Error::IdempotencyMismatch => {
            "This Idempotency-Key came with another request before. Send the same request again, or a new key with a new one."
        }
        Error::IdempotencyConflict(_) => {
            "An earlier request with this Idempotency-Key made or rotated a key that was rotated, disabled or deleted since, or is expired."
        }
        Error::Timeout(_) => "The request took too long. A change may or may not have been made.",
        Error::Busy | Error::Unavailable { .. } => "The service is temporarily unavailable. Try again later.",
        Error::UnknownPepper(_) | Error::Broken(_) => "The request could not be processed.",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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

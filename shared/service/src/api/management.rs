//! The management API: runs one handler for every request and converts every error to a problem (RFC 9457).

use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, Utc};
use keygate_core::environment::Environment;
use keygate_core::error::Error;
use lambda_http::http::{HeaderMap, Method};
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Body, Request, Response, service_fn};
use serde_json::value::RawValue;

use crate::api::cors::Cors;
use crate::api::invocation::{Invocation, Reply, Unreadable};
use crate::api::problem::problem;
use crate::api::request::{DirectRequest, ManagementRequest, request_id};

/// The time limit of a handler. It is shorter than the function's timeout, so that the client gets a response that suggests
/// a retry.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(9);

/// Serves requests until Lambda ends the function, and allows pages of the configured origins to read the responses. An event
/// that is not a readable request of an API gets a problem.
///
/// # Errors
///
/// `CORS_ALLOW_ORIGINS` is not a list of origins, or the Runtime API cannot be reached.
pub async fn serve(
    environment: &Environment,
    handler: impl AsyncFn(ManagementRequest) -> Result<Response<Body>, Error>,
) -> Result<(), lambda_http::Error> {
    serve_within(environment, HANDLER_TIMEOUT, handler).await
}

/// Serves requests like [`serve`], with another time limit of the handler.
///
/// # Errors
///
/// See [`serve`].
pub async fn serve_within(
    environment: &Environment,
    limit: Duration,
    handler: impl AsyncFn(ManagementRequest) -> Result<Response<Body>, Error>,
) -> Result<(), lambda_http::Error> {
    let cors = Cors::from_environment(environment)?;
    run(async |invocation: Invocation, now| {
        let (format, request) = invocation.of_api();
        Reply::of_api(format, respond_within(&cors, limit, request, now, &handler).await)
    })
    .await
}

/// Serves requests like [`serve`], and passes direct invocations, which IAM has authorized, to `direct`. The reply to the
/// invocation is the body of its response.
///
/// # Errors
///
/// See [`serve`].
pub async fn serve_with_direct(
    environment: &Environment,
    handler: impl AsyncFn(ManagementRequest) -> Result<Response<Body>, Error>,
    direct: impl AsyncFn(DirectRequest) -> Result<Response<Body>, Error>,
) -> Result<(), lambda_http::Error> {
    let cors = Cors::from_environment(environment)?;
    run(async |invocation, now| match invocation {
        Invocation::Direct(request) => Reply::direct(respond_direct(request, now, &direct).await),
        invocation => {
            let (format, request) = invocation.of_api();
            Reply::of_api(format, respond(&cors, request, now, &handler).await)
        }
    })
    .await
}

/// Serves direct invocations only, like [`serve_with_direct`]. The function belongs to no API, so every event of an API gets
/// a problem.
///
/// # Errors
///
/// The Runtime API cannot be reached.
pub async fn serve_direct(
    direct: impl AsyncFn(DirectRequest) -> Result<Response<Body>, Error>,
) -> Result<(), lambda_http::Error> {
    run(async |invocation, now| match invocation {
        Invocation::Direct(request) => Reply::direct(respond_direct(request, now, &direct).await),
        invocation => {
            let (format, request) = invocation.of_api();
            let unreadable =
                request.map_or_else(|unreadable| unreadable, |request| Unreadable::unexpected(&request));
            Reply::of_api(format, problem(&unreadable.error(), unreadable.request_id))
        }
    })
    .await
}

/// Serves invocations until Lambda ends the function. The current time is read here, once per invocation.
pub(super) async fn run(
    handle: impl AsyncFn(Invocation, DateTime<Utc>) -> Reply,
) -> Result<(), lambda_http::Error> {
    let handle = &handle;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| async move {
        // The future is boxed, because the compiler cannot compute the layout of a more deeply nested one.
        Ok::<_, Infallible>(Box::pin(handle(Invocation::read(event), Utc::now())).await)
    }))
    .await
}

/// The response to a request of the management API.
pub(super) async fn respond(
    cors: &Cors,
    request: Result<Request, Unreadable>,
    now: DateTime<Utc>,
    handler: &impl AsyncFn(ManagementRequest) -> Result<Response<Body>, Error>,
) -> Response<Body> {
    respond_within(cors, HANDLER_TIMEOUT, request, now, handler).await
}

async fn respond_within(
    cors: &Cors,
    limit: Duration,
    request: Result<Request, Unreadable>,
    now: DateTime<Utc>,
    handler: &impl AsyncFn(ManagementRequest) -> Result<Response<Body>, Error>,
) -> Response<Body> {
    let cors_headers =
        cors.of_request(request.as_ref().map_or(&HeaderMap::new(), |request| request.headers()));
    let (request_id, result) = match request {
        Err(unreadable) => (unreadable.request_id.clone(), Err(unreadable.error())),
        Ok(request) if *request.method() == Method::OPTIONS => {
            (request_id(&request), cors.preflight(&cors_headers))
        }
        Ok(request) => {
            let request_id = request_id(&request);
            (request_id, within(limit, handler(ManagementRequest::new(request, now))).await)
        }
    };
    cors_headers.add_to(result.unwrap_or_else(|error| problem(&error, request_id)))
}

async fn respond_direct(
    request: Request,
    now: DateTime<Utc>,
    direct: &impl AsyncFn(DirectRequest) -> Result<Response<Body>, Error>,
) -> Response<Body> {
    let request_id = request_id(&request);
    let result = in_time(direct(DirectRequest::new(request, now))).await;
    result.unwrap_or_else(|error| problem(&error, request_id))
}

/// The result of a handler, or an error if it takes longer than [`HANDLER_TIMEOUT`].
pub(super) async fn in_time<T, E: From<Error>>(handled: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    within(HANDLER_TIMEOUT, handled).await
}

async fn within<T, E: From<Error>>(
    limit: Duration,
    handled: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let timeout = tokio::time::timeout(limit, handled).await;
    timeout.unwrap_or_else(|_| Err(Error::Timeout(limit).into()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::api::response::no_content;

    async fn body_of(result: fn() -> Result<Response<Body>, Error>) -> (u16, Value) {
        let response =
            respond(&Cors::default(), Ok(Request::default()), Utc::now(), &async |_| result()).await;
        (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default())
    }

    #[tokio::test]
    async fn an_error_of_a_handler_becomes_a_problem() {
        assert_eq!(body_of(|| Ok(no_content())).await.0, 204);
        let (status, problem) = body_of(|| Err(Error::NotFound)).await;
        assert_eq!((status, problem["code"].as_str()), (404, Some("not_found")));
    }

    #[tokio::test]
    async fn an_unreadable_request_becomes_a_problem_with_its_id() {
        let unreadable =
            Unreadable { header: Some("X-A".to_owned()), request_id: Some("5f1c1e0a".to_owned()) };
        let handler = async |_| Ok(no_content());
        let response = respond(&Cors::default(), Err(unreadable), Utc::now(), &handler).await;
        let problem: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!((response.status().as_u16(), problem["request_id"].as_str()), (400, Some("5f1c1e0a")));
        assert_eq!(problem["errors"][0]["header"], "X-A");
    }
}

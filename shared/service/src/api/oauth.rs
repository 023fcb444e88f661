//! The OAuth API: runs one handler for every request and converts every error to an OAuth response (RFC 6749, sections 5.1
//! and 5.2).

use chrono::{DateTime, Utc};
use keygate_core::audit_event::CallOutcome;
use keygate_core::authorization::Authorization;
use keygate_core::context::RequestOrigin;
use keygate_core::environment::Environment;
use keygate_core::error::Error;
use lambda_http::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use lambda_http::http::{HeaderMap, HeaderValue, Method, StatusCode};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response};
use serde::Serialize;

use crate::api::cors::Cors;
use crate::api::invocation::{Format, Invocation, Reply, Unreadable};
use crate::api::management;
use crate::api::problem::problem;
use crate::api::request::{
    self, DirectRequest, MAX_BODY_BYTES, ManagementRequest, has_content_coding, request_id,
};
use crate::authorizer::call_counter::KeyCall;
use crate::authorizer::deferred::{DeferredWork, DeferredWorker};
use crate::tokens::client::{ClientAuthScheme, ClientRequest};
use crate::tokens::parameters::FormParameters;
use crate::tokens::server_metadata::METADATA_PATH;
use crate::tokens::{OAuthError, RefusedCredential};

/// How long a public document may be cached: far shorter than a key is published before it signs.
const CACHEABLE: HeaderValue = HeaderValue::from_static("public, max-age=600");

const FORM: &str = "application/x-www-form-urlencoded";

/// Serves requests to the OAuth API, which is an HTTP API, until Lambda ends the function. Every error becomes an OAuth
/// response. The refusal of a credential whose key exists is recorded in the audit trail of the key, with `path` instead of
/// the request's path, which the sender may choose.
///
/// # Errors
///
/// See [`management::serve`].
pub async fn serve(
    environment: &Environment,
    deferred: &DeferredWorker,
    path: &'static str,
    handler: impl AsyncFn(OAuthRequest) -> Result<Response<Body>, OAuthError>,
) -> Result<(), lambda_http::Error> {
    let cors = Cors::from_environment(environment)?;
    let handler = without_work(handler);
    management::run(async |invocation: Invocation, now| {
        let (format, request) = invocation.of_api();
        let (response, work) = respond(&cors, format, request, now, path, &handler).await;
        deferred.submit(work).await;
        Reply::of_api(format, response)
    })
    .await
}

/// Serves requests for public documents like [`serve`]. They present no credential, so there is no refusal to record.
///
/// # Errors
///
/// See [`management::serve`].
pub async fn serve_documents(
    environment: &Environment,
    handler: impl AsyncFn(OAuthRequest) -> Result<Response<Body>, OAuthError>,
) -> Result<(), lambda_http::Error> {
    let cors = Cors::from_environment(environment)?;
    let handler = without_work(handler);
    management::run(async |invocation: Invocation, now| {
        let (format, request) = invocation.of_api();
        let (response, _) = respond(&cors, format, request, now, METADATA_PATH, &handler).await;
        Reply::of_api(format, response)
    })
    .await
}

/// Serves requests like [`serve`], and passes direct invocations, which IAM has authorized, to `direct`. Each handler also returns
/// the deferred work of its response.
///
/// # Errors
///
/// See [`management::serve`].
pub async fn serve_with_direct(
    environment: &Environment,
    deferred: &DeferredWorker,
    path: &'static str,
    handler: impl AsyncFn(OAuthRequest) -> Result<(Response<Body>, DeferredWork), OAuthError>,
    direct: impl AsyncFn(DirectRequest) -> Result<(Response<Body>, DeferredWork), Error>,
) -> Result<(), lambda_http::Error> {
    let cors = Cors::from_environment(environment)?;
    management::run(async |invocation: Invocation, now| {
        let (reply, work) = match invocation {
            Invocation::Direct(request) => {
                let request_id = request_id(&request);
                match management::in_time(direct(DirectRequest::new(request, now))).await {
                    Ok((response, work)) => (Reply::direct(response), work),
                    Err(error) => {
                        (Reply::direct(problem(&error, request_id)), DeferredWork::of_call(None, now))
                    }
                }
            }
            invocation => {
                let (format, request) = invocation.of_api();
                let (response, work) = respond(&cors, format, request, now, path, &handler).await;
                (Reply::of_api(format, response), work)
            }
        };
        deferred.submit(work).await;
        reply
    })
    .await
}

/// Serves requests like [`serve`], and passes requests of a REST API, which is the management API, to `management_handler`.
///
/// # Errors
///
/// See [`management::serve`].
pub async fn serve_with_management(
    environment: &Environment,
    deferred: &DeferredWorker,
    path: &'static str,
    handler: impl AsyncFn(OAuthRequest) -> Result<Response<Body>, OAuthError>,
    management_handler: impl AsyncFn(ManagementRequest) -> Result<Response<Body>, Error>,
) -> Result<(), lambda_http::Error> {
    let cors = Cors::from_environment(environment)?;
    let handler = without_work(handler);
    management::run(async |invocation: Invocation, now| {
        let (format, request) = invocation.of_api();
        let (response, work) = match format {
            Format::V1 => {
                let response = management::respond(&cors, request, now, &management_handler).await;
                (response, DeferredWork::of_call(None, now))
            }
            Format::V2 => respond(&cors, format, request, now, path, &handler).await,
        };
        deferred.submit(work).await;
        Reply::of_api(format, response)
    })
    .await
}

/// A handler whose responses have no deferred work.
fn without_work(
    handler: impl AsyncFn(OAuthRequest) -> Result<Response<Body>, OAuthError>,
) -> impl AsyncFn(OAuthRequest) -> Result<(Response<Body>, DeferredWork), OAuthError> {
    async move |request: OAuthRequest| {
        let nothing = DeferredWork::of_call(None, request.now);
        Ok((handler(request).await?, nothing))
    }
}

/// The response to a request, and its deferred work: that of the handler, or a refused client in the audit trail.
async fn respond(
    cors: &Cors,
    format: Format,
    request: Result<Request, Unreadable>,
    now: DateTime<Utc>,
    path: &'static str,
    handler: &impl AsyncFn(OAuthRequest) -> Result<(Response<Body>, DeferredWork), OAuthError>,
) -> (Response<Body>, DeferredWork) {
    let nothing = DeferredWork::of_call(None, now);
    let cors_headers =
        cors.of_request(request.as_ref().map_or(&HeaderMap::new(), |request| request.headers()));
    let request = match request {
        Ok(request) if *request.method() == Method::OPTIONS => {
            let response = cors.preflight(&cors_headers);
            let response = response.unwrap_or_else(|error| problem(&error, request_id(&request)));
            return (cors_headers.add_to(response), nothing);
        }
        Ok(request) => request,
        Err(unreadable) => {
            let response = match format {
                Format::V1 => problem(&unreadable.error(), unreadable.request_id),
                Format::V2 => {
                    error_response(&unreadable_request(&unreadable), unreadable.request_id.as_deref())
                }
            };
            return (cors_headers.add_to(response), nothing);
        }
    };
    let (request_id, source) = (request_id(&request), request::origin(&request).source);
    match management::in_time(handler(OAuthRequest { request, now })).await {
        Ok((response, work)) => (cors_headers.add_to(response), work),
        Err(error) => {
            let response = error_response(&error, request_id.as_deref());
            let refused = refused_call(&error, path, source, now);
            (cors_headers.add_to(response), DeferredWork::of_call(refused, now))
        }
    }
}

fn unreadable_request(unreadable: &Unreadable) -> OAuthError {
    OAuthError::InvalidRequest(match &unreadable.header {
        Some(header) => format!("The header {header} must have no control characters."),
        None => "The request cannot be read.".to_owned(),
    })
}

/// The refusal of a credential whose key exists, as a call of that key.
fn refused_call(
    error: &OAuthError,
    path: &'static str,
    source: Option<String>,
    at: DateTime<Utc>,
) -> Option<KeyCall> {
    let RefusedCredential { owner, credential, reason } = error.refused()?;
    Some(KeyCall {
        owner: owner.clone(),
        credential: *credential,
        origin: RequestOrigin { method: Some("POST".to_owned()), path: Some(path.to_owned()), source },
        outcome: CallOutcome::Refused(reason),
        works: false,
        at,
    })
}

/// A request to the OAuth API. It has no `Debug`, because its headers and its body hold credentials.
pub struct OAuthRequest {
    request: Request,
    now: DateTime<Utc>,
}

impl OAuthRequest {
    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.request.raw_http_path()
    }

    /// When the request arrived.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// The request of a client with its credentials and parameters.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidRequest`]: the body is not a form, is compressed or otherwise encoded, is too long, or repeats
    ///   a parameter.
    pub fn client_request(&self) -> Result<ClientRequest<'_>, OAuthError> {
        Ok(ClientRequest {
            authorization: self.authorization(),
            parameters: self.parameters()?,
            origin: request::origin(&self.request),
            now: self.now,
        })
    }

    /// The id of the request, for the log. Empty if the event has none.
    #[must_use]
    pub fn request_id(&self) -> String {
        request_id(&self.request).unwrap_or_default()
    }

    fn authorization(&self) -> Option<Authorization<'_>> {
        let value = self.request.headers().get(AUTHORIZATION)?;
        // A value that is not text has no known scheme.
        value.to_str().map_or(Some(Authorization::Other), Authorization::parse)
    }

    fn parameters(&self) -> Result<FormParameters, OAuthError> {
        let declared = self.request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let declared = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !declared.eq_ignore_ascii_case(FORM) {
            return Err(OAuthError::InvalidRequest(format!("The body must be {FORM}.")));
        }
        if has_content_coding(&self.request) {
            let detail =
                "The body must not have a content coding. Send it without Content-Encoding.".to_owned();
            return Err(OAuthError::InvalidRequest(detail));
        }
        let body: &[u8] = self.request.body();
        if body.len() > MAX_BODY_BYTES {
            let detail = format!("The body may have at most {} KiB.", MAX_BODY_BYTES / 1024);
            return Err(OAuthError::InvalidRequest(detail));
        }
        FormParameters::parse(body)
    }

    /// The URL of this API: the `configured` issuer, or otherwise the host that the client called.
    #[must_use]
    pub fn issuer(&self, configured: Option<&str>) -> String {
        if let Some(issuer) = configured {
            return issuer.to_owned();
        }
        let host = match self.request.request_context_ref() {
            Some(RequestContext::ApiGatewayV2(context)) => context.domain_name.as_deref(),
            _ => None,
        };
        let host = host.or_else(|| self.request.headers().get(HOST).and_then(|host| host.to_str().ok()));
        format!("https://{}", host.unwrap_or_default())
    }
}

/// A public document, which caches may store for ten minutes.
pub fn document(body: &impl Serialize) -> Response<Body> {
    let mut response = with_body(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.remove(PRAGMA);
    headers.insert(CACHE_CONTROL, CACHEABLE);
    response
}

/// A response with a body. Caches must not store it.
pub fn json(body: &impl Serialize) -> Response<Body> {
    with_body(StatusCode::OK, body)
}

/// The response to a request that succeeded, without a body (RFC 7009, section 2.2).
#[must_use]
pub fn done() -> Response<Body> {
    uncached(Response::new(Body::Empty))
}

/// The response to a refused or failed request. All details of the error go to the log.
fn error_response(error: &OAuthError, request_id: Option<&str>) -> Response<Body> {
    #[derive(Serialize)]
    struct ErrorBody<'a> {
        error: &'static str,
        error_description: &'a str,
    }
    let (too_many, lacking);
    let (status, code, description) = match error {
        OAuthError::InvalidRequest(detail) => (StatusCode::BAD_REQUEST, "invalid_request", detail.as_str()),
        OAuthError::InvalidClient(..) | OAuthError::RefusedClient(..) => {
            let description = "The client must authenticate with a working API key.";
            (StatusCode::UNAUTHORIZED, "invalid_client", description)
        }
        OAuthError::UnauthorizedClient(_) => {
            let description = "This requires an API key with its current secret.";
            (StatusCode::BAD_REQUEST, "unauthorized_client", description)
        }
        OAuthError::InsufficientScope(scope) => {
            lacking = format!("This requires an API key with the scope {scope}.");
            (StatusCode::FORBIDDEN, "insufficient_scope", lacking.as_str())
        }
        OAuthError::Failed(Error::CallerRemoved) => {
            let description = "The user of this client was removed.";
            (StatusCode::BAD_REQUEST, "unauthorized_client", description)
        }
        OAuthError::Failed(Error::TooManyTokens(bound)) => {
            // RFC 6749 has no code for this error. This code marks it as temporary, which it is, because tokens expire.
            too_many = format!(
                "The key has {bound} working tokens, the maximum. Revoke some, or wait until they expire."
            );
            (StatusCode::CONFLICT, "temporarily_unavailable", too_many.as_str())
        }
        OAuthError::InvalidGrant(_) | OAuthError::RefusedGrant(_) => {
            let description = "The token is invalid or belongs to another client.";
            (StatusCode::BAD_REQUEST, "invalid_grant", description)
        }
        OAuthError::UnsupportedGrantType => {
            let description = "grant_type must be client_credentials or refresh_token.";
            (StatusCode::BAD_REQUEST, "unsupported_grant_type", description)
        }
        OAuthError::InvalidScope(detail) => (StatusCode::BAD_REQUEST, "invalid_scope", detail.as_str()),
        OAuthError::InvalidTarget(detail) => (StatusCode::BAD_REQUEST, "invalid_target", *detail),
        OAuthError::RestrictedKey => {
            let description = "A key with endpoint rules, networks or limits gets no JWT, because the API could not enforce \
                               them. Leave out resource.";
            (StatusCode::BAD_REQUEST, "unauthorized_client", description)
        }
        OAuthError::IrrevocableToken => {
            let description = "A JWT cannot be revoked. It ends by its expiry.";
            (StatusCode::BAD_REQUEST, "unsupported_token_type", description)
        }
        OAuthError::UnsupportedTokenType => {
            let description =
                "Only the management API can end an API key: delete, disable or rotate it there.";
            (StatusCode::BAD_REQUEST, "unsupported_token_type", description)
        }
        OAuthError::Failed(Error::Timeout(_)) => {
            let description = "The request took too long. A change may or may not have been made.";
            (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description)
        }
        OAuthError::Failed(failure) if failure.is_passing() => {
            let description = "The service is temporarily unavailable. Try again later.";
            (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description)
        }
        OAuthError::Failed(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "The request could not be processed.")
        }
    };
    if status.is_server_error() {
        tracing::error!(request_id, code, %error, "request failed");
    } else {
        tracing::info!(request_id, code, %error, "request refused");
    }
    let mut response = with_body(status, &ErrorBody { error: code, error_description: description });
    let headers = response.headers_mut();
    if let OAuthError::InvalidClient(_, scheme) | OAuthError::RefusedClient(_, scheme) = error {
        let challenge = match scheme {
            ClientAuthScheme::Basic => "Basic realm=\"keygate\"",
            ClientAuthScheme::Bearer => "Bearer realm=\"keygate\", error=\"invalid_token\"",
        };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let OAuthError::InsufficientScope(scope) = error {
        // RFC 6750, section 3.
        let challenge = format!("Bearer realm=\"keygate\", error=\"insufficient_scope\", scope=\"{scope}\"");
        headers.insert(WWW_AUTHENTICATE, challenge.try_into().expect("a scope is a word"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn with_body(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_string(body).expect("a response can be written as JSON");
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    uncached(response)
}

/// A response with a token requires both headers (RFC 6749, section 5.1).
fn uncached(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_client_whose_request_takes_too_long_gets_an_oauth_error() {
        let error = Error::Timeout(Duration::from_secs(9));
        let response = error_response(&error.into(), Some("5f1c1e0a"));
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["error"], "temporarily_unavailable");
        assert!(body["error_description"].as_str().unwrap().contains("took too long"), "{body}");
    }
}

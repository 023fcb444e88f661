//! The OAuth API over `lambda_http`: requests in, answers and errors out (RFC 6749, sections 5.1 and 5.2).

use aws_sdk_dynamodb::Client;
use chrono::Utc;
use keygate_core::audit_event::{CallOutcome, RequestOrigin};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::{Error, InvalidField, Place};
use lambda_http::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response};
use serde::Serialize;

use crate::api::invocation::Format;
use crate::api::management;
use crate::api::problem::problem_of;
use crate::api::request::{self, MAX_BODY_BYTES, has_content_coding, request_id};
use crate::authorizer::call_counter::{CallCounter, KeyCall, MINUTE};
use crate::authorizer::deferred::{DeferredWork, DeferredWorker, DeferredWriter};
use crate::authorizer::settings;
use crate::store::activity::ActivityTable;
use crate::tokens::client::ClientAuthScheme;
use crate::tokens::parameters::FormParameters;
use crate::tokens::{OAuthError, RefusedCredential};

const FORM: &str = "application/x-www-form-urlencoded";

/// Does as [`management::serve`], refuses in the words of OAuth what is no request to the OAuth API, which is an HTTP API, or takes too
/// long, and leaves refusals of known credentials for the audit trail.
///
/// # Errors
///
/// As [`management::serve`] says.
pub async fn serve<Respond, Answer>(
    environment: &Environment,
    deferred: &DeferredWorker,
    respond: Respond,
) -> Result<(), lambda_http::Error>
where
    Respond: Fn(Request) -> Answer + Sync,
    Answer: Future<Output = (Response<Body>, Option<KeyCall>)> + Send,
{
    let leave =
        |call: Option<Option<KeyCall>>| deferred.submit(DeferredWork::of_call(call.flatten(), Utc::now()));
    management::serve_and_leave(environment, respond, refuse, leave).await
}

fn refuse(format: Format, error: Error, request_id: Option<String>) -> Response<Body> {
    if format == Format::V1 {
        return problem_of(&error, request_id);
    }
    let error = match &error {
        Error::Invalid { fields } => {
            let texts = fields.iter().map(|InvalidField { place, detail }| match place {
                Place::Header(name) => format!("The header {name} {detail}."),
                Place::Pointer(_) | Place::Parameter(_) => format!("The request {detail}."),
            });
            OAuthError::InvalidRequest(texts.collect::<Vec<_>>().join(" "))
        }
        _ => OAuthError::Failed(error),
    };
    refusal_of(&error, request_id.as_deref())
}

/// The value of the `Authorization` header, if there is one. A header without a value counts as not sent, as it does before the
/// authorizer.
#[must_use]
pub fn authorization(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?;
    // One that is no text presents something that is no credential.
    let value = value.to_str().unwrap_or("?");
    Some(value).filter(|value| !value.trim().is_empty())
}

/// The parameters in the body.
///
/// # Errors
///
/// - [`OAuthError::InvalidRequest`]: the body is no form, compressed or coded otherwise, too long, or has a parameter twice.
pub fn parameters(request: &Request) -> Result<FormParameters, OAuthError> {
    let declared =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !declared.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM) {
        return Err(OAuthError::InvalidRequest(format!("The body must be {FORM}.")));
    }
    if has_content_coding(request) {
        let detail =
            "The body must have no content coding: send it as it is, without Content-Encoding.".to_owned();
        return Err(OAuthError::InvalidRequest(detail));
    }
    let body: &[u8] = request.body();
    if body.len() > MAX_BODY_BYTES {
        let detail = format!("The body may have at most {} KiB.", MAX_BODY_BYTES / 1024);
        return Err(OAuthError::InvalidRequest(detail));
    }
    FormParameters::parse(body)
}

/// The address at which the client found this API, unless one is `configured`.
#[must_use]
pub fn issuer(request: &Request, configured: Option<&str>) -> String {
    if let Some(issuer) = configured {
        return issuer.to_owned();
    }
    let host = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.domain_name.as_deref(),
        _ => None,
    };
    let host = host.or_else(|| request.headers().get(HOST).and_then(|host| host.to_str().ok()));
    format!("https://{}", host.unwrap_or_default())
}

/// An answer with a body. None may be stored on its way.
pub fn json(body: &impl Serialize) -> Response<Body> {
    with_body(StatusCode::OK, body)
}

/// The answer to a request that was done and has nothing to say (RFC 7009, section 2.2).
#[must_use]
pub fn done() -> Response<Body> {
    uncached(Response::new(Body::Empty))
}

/// What writes the refusals of a function of this API into the audit trail, counted by the minute.
///
/// # Errors
///
/// [`InvalidVariable`] when the table's name is missing, or a setting is wrong.
pub fn writer(environment: &Environment, dynamodb: Client) -> Result<DeferredWriter, InvalidVariable> {
    Ok(DeferredWriter {
        usage_writer: None,
        activity: ActivityTable::new(dynamodb, environment)?,
        budget: settings::deferred_budget(environment)?,
        calls: CallCounter::new(Some(MINUTE)).into(),
        metrics: None,
    })
}

/// The answer to a request for `path` that was refused or failed, and what of it is for the audit trail of the key that it
/// names, if there is such a key. The path is the route, so that nobody can write there what they like.
#[must_use]
pub fn refusal(
    error: &OAuthError,
    request: &Request,
    path: &'static str,
) -> (Response<Body>, Option<KeyCall>) {
    let call = error.refused().map(|RefusedCredential { owner, credential, reason }| KeyCall {
        owner: owner.clone(),
        credential: *credential,
        origin: RequestOrigin {
            method: Some("POST".to_owned()),
            path: Some(path.to_owned()),
            source: request::origin(request).source,
        },
        outcome: CallOutcome::Refused(reason),
        works: false,
        at: Utc::now(),
    });
    (refusal_of(error, request_id(request).as_deref()), call)
}

/// The answer to a request that was refused or failed, after everything that is known of it went to the log.
fn refusal_of(error: &OAuthError, request_id: Option<&str>) -> Response<Body> {
    #[derive(Serialize)]
    struct Refused<'a> {
        error: &'static str,
        error_description: &'a str,
    }
    let too_many;
    let (status, code, description) = match error {
        OAuthError::InvalidRequest(detail) => (StatusCode::BAD_REQUEST, "invalid_request", detail.as_str()),
        OAuthError::InvalidClient(..) | OAuthError::RefusedClient(..) => {
            let description = "The client must be authenticated with an API key that works.";
            (StatusCode::UNAUTHORIZED, "invalid_client", description)
        }
        OAuthError::UnauthorizedClient(_) => {
            let description = "This takes an API key with its current secret.";
            (StatusCode::BAD_REQUEST, "unauthorized_client", description)
        }
        OAuthError::Failed(Error::CallerRemoved) => {
            let description = "The user of this client was removed.";
            (StatusCode::BAD_REQUEST, "unauthorized_client", description)
        }
        OAuthError::Failed(Error::TooManyTokens(bound)) => {
            // RFC 6749 has no code for it. This one says that it passes, which it does when tokens expire.
            too_many = format!(
                "The key has as many tokens that work as it may have, {bound}. Revoke some, or wait until they expire."
            );
            (StatusCode::CONFLICT, "temporarily_unavailable", too_many.as_str())
        }
        OAuthError::InvalidGrant(_) | OAuthError::RefusedGrant(_) => {
            let description = "The token does not work, or is another client's.";
            (StatusCode::BAD_REQUEST, "invalid_grant", description)
        }
        OAuthError::UnsupportedGrantType => {
            let description = "grant_type must be client_credentials or refresh_token.";
            (StatusCode::BAD_REQUEST, "unsupported_grant_type", description)
        }
        OAuthError::InvalidScope(detail) => (StatusCode::BAD_REQUEST, "invalid_scope", detail.as_str()),
        OAuthError::UnsupportedTokenType => {
            let description = "An API key is deleted, disabled or rotated over the management API.";
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
    let mut answer = with_body(status, &Refused { error: code, error_description: description });
    let headers = answer.headers_mut();
    if let OAuthError::InvalidClient(_, scheme) | OAuthError::RefusedClient(_, scheme) = error {
        let challenge = match scheme {
            ClientAuthScheme::Basic => "Basic realm=\"keygate\"",
            ClientAuthScheme::Bearer => "Bearer realm=\"keygate\", error=\"invalid_token\"",
        };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

fn with_body(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_string(body).expect("what this crate answers with can be written as JSON");
    let mut answer = Response::new(Body::Text(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    uncached(answer)
}

/// Both headers are demanded of an answer that holds a token (RFC 6749, section 5.1).
fn uncached(mut answer: Response<Body>) -> Response<Body> {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_client_whose_request_takes_too_long_gets_an_oauth_error() {
        let error = Error::Timeout(Duration::from_secs(9));
        let answer = refuse(Format::V2, error, Some("5f1c1e0a".to_owned()));
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["error"], "temporarily_unavailable");
        assert!(body["error_description"].as_str().unwrap().contains("took too long"), "{body}");
    }
}

//! Problem details (RFC 9457): the status, code and text of every error.

use keygate_core::credential::KeyId;
use keygate_core::error::{Error, InvalidField};
use lambda_http::http::header::RETRY_AFTER;
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde::{Serialize, Serializer};

use crate::api::response::with_body;

/// The response to a failed request. All details of the error go to the log.
pub(crate) fn problem(error: &Error, request_id: Option<String>) -> Response<Body> {
    let problem = Problem::of(error, request_id);
    if problem.status.is_server_error() {
        tracing::error!(request_id = problem.request_id, code = problem.code, %error, "request failed");
    } else {
        tracing::info!(request_id = problem.request_id, code = problem.code, %error, "request refused");
    }
    let mut response = with_body(problem.status, "application/problem+json", &problem);
    if problem.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
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

/// The status, the code and the title of an error. This is the only mapping from errors of the domain.
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
        Error::InsufficientNetworks(_) => {
            (StatusCode::FORBIDDEN, "insufficient_networks", "Insufficient networks")
        }
        Error::LimitedCaller => (StatusCode::FORBIDDEN, "limited_caller", "Limited caller"),
        Error::LimitsNotEnforced => (StatusCode::CONFLICT, "limits_not_enforced", "Limits not enforced"),
        Error::InsufficientCredential(_) => {
            (StatusCode::FORBIDDEN, "insufficient_credential", "Insufficient credential")
        }
        Error::InvalidSignature => (StatusCode::FORBIDDEN, "invalid_signature", "Invalid signature"),
        Error::NotYourKey => (StatusCode::FORBIDDEN, "forbidden", "Forbidden"),
        Error::CallerRemoved => (StatusCode::FORBIDDEN, "caller_removed", "Caller removed"),
        Error::NotFound
        | Error::NoSuchToken
        | Error::NoSuchSession
        | Error::NoSuchFile
        | Error::NoSuchLegacyKey
        | Error::NoLegacyKeys
        | Error::NoGitHubReports
        | Error::NoOrigin => (StatusCode::NOT_FOUND, "not_found", "Not found"),
        Error::InvalidPageCode => (StatusCode::BAD_REQUEST, "invalid_page_code", "Invalid page code"),
        Error::NoSuchWorkspace => (StatusCode::NOT_FOUND, "no_such_workspace", "No such workspace"),
        Error::TooManyKeys => (StatusCode::CONFLICT, "too_many_keys", "Too many keys"),
        Error::NameTaken(_) => (StatusCode::CONFLICT, "name_taken", "Name taken"),
        Error::QuotaReached { .. } => (StatusCode::CONFLICT, "quota_exceeded", "Quota exceeded"),
        Error::TooManyTokens(_) => (StatusCode::CONFLICT, "too_many_tokens", "Too many tokens"),
        Error::UserRemoved => (StatusCode::CONFLICT, "user_removed", "User removed"),
        Error::AlreadyBootstrapped => (StatusCode::CONFLICT, "already_bootstrapped", "Already bootstrapped"),
        Error::OwnUser => (StatusCode::CONFLICT, "own_user", "Own user"),
        Error::RemovalLimit(_) => (StatusCode::CONFLICT, "removal_limit", "Removal limit"),
        Error::KeyLeaked => (StatusCode::CONFLICT, "key_leaked", "Key leaked"),
        // `UserReinstated` reaches no client, because only background work returns it.
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

/// The text that a client gets about an error.
fn detail(error: &Error) -> String {
    let text = match error {
        Error::Invalid { .. } => "The request has invalid fields.",
        Error::TooLarge(longest) => return format!("The body may have at most {} KiB.", longest / 1024),
        Error::NotJson => "The body must be application/json.",
        Error::Coded => "The body must not have a content coding. Send it without Content-Encoding.",
        Error::InsufficientScope(scope) => return format!("This requires the scope {scope}."),
        Error::InsufficientEndpoints(Some(rule)) => {
            return format!("The endpoint rules of the caller's key do not cover {rule}.");
        }
        Error::InsufficientEndpoints(None) => {
            "The caller's key has endpoint rules, but the key of the request has none."
        }
        Error::InsufficientNetworks(Some(network)) => {
            return format!("The networks of the caller's key do not contain {network}.");
        }
        Error::InsufficientNetworks(None) => {
            "The caller's key has networks, but the key of the request has none."
        }
        Error::InsufficientCredential(presented) => {
            return format!("This requires an API key with its current secret, not {presented}.");
        }
        Error::LimitedCaller => {
            "The caller's key has limits. It can create, widen or transfer no key, and rotate no key but itself."
        }
        Error::LimitsNotEnforced => {
            "This deployment does not enforce limits: AuthorizerUncached is not true. Create the key without limits."
        }
        Error::NotYourKey => "Only administrators of the workspace may act for other users.",
        Error::CallerRemoved => "Your user was removed from this workspace.",
        Error::NotFound => "The key does not exist in this workspace.",
        Error::NoOrigin => {
            "This deployment does not allow cross-origin requests: CorsAllowOrigins is not set."
        }
        Error::NoSuchToken => "The key does not have this token.",
        Error::NoSuchSession => "The session does not exist, or has ended.",
        Error::NoSuchFile => "The keys page has no such file.",
        Error::InvalidPageCode => {
            "The page code is unknown, used or expired, or its session has ended. Open a new session."
        }
        Error::NoSuchLegacyKey => "The legacy key does not exist in this workspace.",
        Error::NoLegacyKeys => "This deployment accepts no legacy keys.",
        Error::NoGitHubReports => "This deployment accepts no reports of GitHub: GitHubReports is not true.",
        Error::InvalidSignature => "The report is not signed with a key that GitHub publishes.",
        Error::NoSuchWorkspace => "The workspace does not exist. Bootstrap it first.",
        Error::TooManyKeys => {
            "You have too many keys for a list of your own keys. Delete some, or use a key with the scope keys:read."
        }
        Error::NameTaken(None) => "A key of this workspace already has this name.",
        Error::NameTaken(Some(holder)) => return format!("The key {holder} already has this name."),
        Error::QuotaReached { counted, quota } => {
            return format!(
                "The user has {counted} keys, and the quota is {quota}. Expired keys do not count."
            );
        }
        Error::TooManyTokens(bound) => {
            return format!("The key has {bound} working tokens, the maximum.");
        }
        Error::UserRemoved => "The user was removed from the workspace and cannot get new keys.",
        Error::AlreadyBootstrapped => {
            "The workspace is bootstrapped already. Its administrators can create keys."
        }
        Error::OwnUser => {
            "Users cannot remove or reinstate themselves. Another user with the scope users:write can do it."
        }
        Error::RemovalLimit(limit) => {
            return format!(
                "The user is unknown in this workspace, and {limit} unknown users were removed from it, the maximum. \
                 A user who has or had a key can always be removed."
            );
        }
        Error::KeyLeaked => {
            "The key is disabled, because its secret was reported as leaked. Rotate it without an overlap: that enables it."
        }
        Error::Conflict | Error::UserReinstated => {
            "The key was changed at the same time. Read it and try again."
        }
        Error::PreconditionFailed => "The key was changed since that ETag.",
        Error::IdempotencyMismatch => {
            "This Idempotency-Key was used with another request. Repeat that request, or use a new Idempotency-Key."
        }
        Error::IdempotencyConflict(_) => {
            "The key that an earlier request with this Idempotency-Key created or rotated was rotated, disabled or deleted since, or has expired."
        }
        Error::Timeout(_) => "The request took too long. A change may or may not have been made.",
        Error::Busy | Error::Unavailable { .. } => "The service is temporarily unavailable. Try again later.",
        Error::UnknownPepper(_) | Error::Broken(_) => "The request could not be processed.",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keygate_core::credential_class::CredentialClass;
    use keygate_core::error::Place;
    use keygate_core::pepper::UnknownPepper;
    use serde_json::{Value, json};

    use super::*;

    const CAUSE: &str = "connection reset by 10.0.0.7";

    fn key_id() -> KeyId {
        "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap()
    }

    fn invalid() -> Error {
        let place = Place::Pointer("/name".to_owned());
        Error::invalid(InvalidField { place, detail: "must be a string".to_owned() })
    }

    /// Every variant with its status and code. `number` fails to compile if a variant is missing.
    fn all() -> Vec<(Error, u16, &'static str)> {
        vec![
            (invalid(), 400, "invalid_request"),
            (Error::TooLarge(16_384), 413, "payload_too_large"),
            (Error::NotJson, 415, "unsupported_media_type"),
            (Error::Coded, 415, "unsupported_media_type"),
            (Error::InsufficientScope("keys:write".to_owned()), 403, "insufficient_scope"),
            (Error::InsufficientEndpoints(None), 403, "insufficient_endpoints"),
            (Error::InsufficientCredential(CredentialClass::AccessToken), 403, "insufficient_credential"),
            (Error::NotYourKey, 403, "forbidden"),
            (Error::CallerRemoved, 403, "caller_removed"),
            (Error::NotFound, 404, "not_found"),
            (Error::NoSuchToken, 404, "not_found"),
            (Error::NoSuchLegacyKey, 404, "not_found"),
            (Error::NoLegacyKeys, 404, "not_found"),
            (Error::NoOrigin, 404, "not_found"),
            (Error::NoSuchWorkspace, 404, "no_such_workspace"),
            (Error::TooManyKeys, 409, "too_many_keys"),
            (Error::NameTaken(None), 409, "name_taken"),
            (Error::QuotaReached { counted: 3, quota: 3 }, 409, "quota_exceeded"),
            (Error::TooManyTokens(100), 409, "too_many_tokens"),
            (Error::UserRemoved, 409, "user_removed"),
            (Error::UserReinstated, 409, "conflict"),
            (Error::AlreadyBootstrapped, 409, "already_bootstrapped"),
            (Error::OwnUser, 409, "own_user"),
            (Error::RemovalLimit(10_000), 409, "removal_limit"),
            (Error::Conflict, 409, "conflict"),
            (Error::PreconditionFailed, 412, "precondition_failed"),
            (Error::IdempotencyMismatch, 422, "idempotency_mismatch"),
            (Error::IdempotencyConflict(key_id()), 409, "idempotency_conflict"),
            (Error::Busy, 503, "unavailable"),
            (Error::Timeout(Duration::from_secs(9)), 503, "unavailable"),
            (Error::Unavailable { service: "DynamoDB", cause: CAUSE.to_owned() }, 503, "unavailable"),
            (Error::UnknownPepper(UnknownPepper { version: 7 }), 500, "internal"),
            (Error::Broken(CAUSE.to_owned()), 500, "internal"),
            (Error::InsufficientNetworks(None), 403, "insufficient_networks"),
            (Error::LimitedCaller, 403, "limited_caller"),
            (Error::LimitsNotEnforced, 409, "limits_not_enforced"),
            (Error::NoSuchSession, 404, "not_found"),
            (Error::InvalidPageCode, 400, "invalid_page_code"),
            (Error::NoSuchFile, 404, "not_found"),
            (Error::KeyLeaked, 409, "key_leaked"),
            (Error::NoGitHubReports, 404, "not_found"),
            (Error::InvalidSignature, 403, "invalid_signature"),
        ]
    }

    fn number(error: &Error) -> usize {
        match error {
            Error::Invalid { .. } => 0,
            Error::TooLarge(_) => 1,
            Error::NotJson => 2,
            Error::Coded => 3,
            Error::InsufficientScope(_) => 4,
            Error::InsufficientEndpoints(_) => 5,
            Error::InsufficientCredential(_) => 6,
            Error::NotYourKey => 7,
            Error::CallerRemoved => 8,
            Error::NotFound => 9,
            Error::NoSuchToken => 10,
            Error::NoSuchLegacyKey => 11,
            Error::NoLegacyKeys => 12,
            Error::NoOrigin => 13,
            Error::NoSuchWorkspace => 14,
            Error::TooManyKeys => 15,
            Error::NameTaken(_) => 16,
            Error::QuotaReached { .. } => 17,
            Error::TooManyTokens(_) => 18,
            Error::UserRemoved => 19,
            Error::UserReinstated => 20,
            Error::AlreadyBootstrapped => 21,
            Error::OwnUser => 22,
            Error::RemovalLimit(_) => 23,
            Error::Conflict => 24,
            Error::PreconditionFailed => 25,
            Error::IdempotencyMismatch => 26,
            Error::IdempotencyConflict(_) => 27,
            Error::Busy => 28,
            Error::Timeout(_) => 29,
            Error::Unavailable { .. } => 30,
            Error::UnknownPepper(_) => 31,
            Error::Broken(_) => 32,
            Error::InsufficientNetworks(_) => 33,
            Error::LimitedCaller => 34,
            Error::LimitsNotEnforced => 35,
            Error::NoSuchSession => 36,
            Error::InvalidPageCode => 37,
            Error::NoSuchFile => 38,
            Error::KeyLeaked => 39,
            Error::NoGitHubReports => 40,
            Error::InvalidSignature => 41,
        }
    }

    fn body(response: &Response<Body>) -> Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    #[test]
    fn every_error_has_its_status_and_its_code() {
        for (index, (error, status, code)) in all().into_iter().enumerate() {
            assert_eq!(number(&error), index, "{error:?}");
            let response = problem(&error, None);
            let body = body(&response);
            assert_eq!(response.status().as_u16(), status, "{error:?}");
            assert_eq!((&body["status"], &body["code"]), (&json!(status), &json!(code)), "{error:?}");
            assert_eq!(body["type"], format!("urn:keygate:problem:{}", code.replace('_', "-")));
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert_eq!(response.headers()["cache-control"], "no-store");
        }
    }

    #[test]
    fn the_cause_of_a_failure_is_not_shown_to_clients() {
        for (error, status, _) in all() {
            let text = body(&problem(&error, None)).to_string();
            assert!(!text.contains(CAUSE) && !text.contains("DynamoDB"), "{text}");
            assert!(status < 500 || !text.contains(&error.to_string()), "{text}");
        }
    }

    #[test]
    fn only_temporary_failures_tell_the_client_to_retry() {
        for (error, status, _) in all() {
            let response = problem(&error, None);
            let retry_after = response.headers().get(RETRY_AFTER);
            assert_eq!(retry_after.is_some(), status == 503, "{error:?}");
            assert_eq!(error.is_passing(), status == 503, "{error:?}");
        }
    }

    #[test]
    fn a_problem_names_the_request_the_invalid_fields_and_the_key() {
        let problem_of = |error: Error| body(&problem(&error, Some("5f1c1e0a".to_owned())));
        let of_fields = problem_of(invalid());
        assert_eq!(of_fields["request_id"], "5f1c1e0a");
        assert_eq!(of_fields["errors"], json!([{"pointer": "/name", "detail": "must be a string"}]));
        let others =
            [Error::IdempotencyConflict(key_id()), Error::NameTaken(Some(key_id())), Error::NameTaken(None)];
        let [of_conflict, of_name, of_hidden_name] = others.map(problem_of);
        assert_eq!((&of_conflict["key_id"], &of_name["key_id"]), (&json!(key_id()), &json!(key_id())));
        assert_eq!((of_hidden_name.get("key_id"), of_hidden_name.get("errors")), (None, None));
    }
}

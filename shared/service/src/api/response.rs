//! Responses of the management API.

use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::keys::precondition::entity_tag;

/// A response with a body.
///
/// The response must not be stored by caches, because every response describes keys and some contain a key.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    with_body(status, "application/json", body)
}

/// A response that shows a key at the revision `revision`.
#[must_use]
pub fn key(status: StatusCode, revision: u64, body: &impl Serialize) -> Response<Body> {
    let mut response = json(status, body);
    // A quoted number is always a valid header value.
    if let Ok(tag) = HeaderValue::from_str(&entity_tag(revision)) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// A response without a body.
#[must_use]
pub fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn with_body(
    status: StatusCode,
    content_type: &'static str,
    body: &impl Serialize,
) -> Response<Body> {
    let body = serde_json::to_string(body).expect("a response can be written as JSON");
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

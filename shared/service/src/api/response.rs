//! Responses of the management API.

use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::keys::precondition::entity_tag;

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

pub(super) fn with_body(
    status: StatusCode,
    content_type: &'static str,
    body: &impl Serialize,
) -> Response<Body> {
    let body = serde_json::to_string(body).expect("what this crate answers with can be written as JSON");
    let mut answer = Response::new(Body::Text(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

//! The management API: one call with its repetitions, and its errors in the words of an operator.

use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::failure::{Failure, Status, details};
use crate::http::{Http, is_unsent};
use crate::retry::{MAX_ATTEMPTS, pause};

/// What a path segment or a value of the query keeps (RFC 3986, section 2.3).
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The maximum that a page of a list has.
const PAGE: usize = 100;

/// The management API of one deployment, as one caller.
#[derive(Debug)]
pub(crate) struct ManagementApi {
    http: Http,
    url: String,
    key: Option<SecretString>,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<Value>,
    idempotency_key: Option<String>,
    /// Whether a call whose response was lost may be sent again.
    may_repeat: bool,
}

impl Call {
    /// A call of the path that `segments` make. It may be repeated.
    pub(crate) fn new(method: Method, segments: &[&str]) -> Self {
        let path = segments.iter().fold(String::new(), |path, segment| path + "/" + &encoded(segment));
        Self { method, path, query: Vec::new(), body: None, idempotency_key: None, may_repeat: true }
    }

    /// Adds a parameter, if it has a value.
    pub(crate) fn query(mut self, name: &str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name.to_owned(), value.to_string())));
        self
    }

    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// The call is made once, however often it is sent with this text.
    pub(crate) fn idempotency_key(mut self, key: &str) -> Self {
        self.idempotency_key = Some(key.to_owned());
        self
    }

    /// The call would be made twice if it were sent twice.
    pub(crate) fn once(mut self) -> Self {
        self.may_repeat = false;
        self
    }

    fn url(&self, base: &str) -> String {
        let mut url = format!("{base}{}", self.path);
        for (index, (name, value)) in self.query.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            url.extend([&separator.to_string(), &encoded(name), "=", &encoded(value)]);
        }
        url
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, &RESERVED).to_string()
}

impl ManagementApi {
    /// The API at `url`, with or without a caller.
    ///
    /// # Errors
    ///
    /// The URL is not one of an API, or would send the key over the network in clear text.
    pub(crate) fn new(http: Http, url: &str, key: Option<SecretString>) -> Result<Self, Failure> {
        let url = url.trim_end_matches('/');
        if check_encrypted(url, not_a_url)?.query().is_some() {
            return Err(not_a_url(url));
        }
        Ok(Self { http, url: url.to_owned(), key })
    }

    /// Makes a call, and returns the body of its response; null if it has none.
    ///
    /// A call that is throttled is repeated; so is one whose response is lost, if it may be. A deletion of something that is
    /// gone after a lost response was done.
    ///
    /// # Errors
    ///
    /// The API refused the call, did not respond, or is none.
    pub(crate) fn send(&self, call: &Call) -> Result<Value, Failure> {
        let mut was_lost = false;
        for attempt in 1.. {
            let (failure, retry_after) = match self.http.send(self.request(call)?) {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    if head.status.is_success() {
                        return read(&self.url, &body);
                    }
                    if was_lost && call.method == Method::DELETE && head.status == StatusCode::NOT_FOUND {
                        return Ok(Value::Null);
                    }
                    let failure = self.refusal(head.status, &body);
                    let is_throttled = head.status == StatusCode::TOO_MANY_REQUESTS;
                    let is_lost = head.status.is_server_error();
                    was_lost |= is_lost;
                    if !(is_throttled || is_lost && call.may_repeat) {
                        return Err(failure);
                    }
                    (failure, retry_after(&head.headers))
                }
                Err(error) => {
                    let failure = self.unreachable(&error);
                    was_lost |= !is_unsent(&error);
                    // A host that does not exist, and a server that is not there, will not be there in a second.
                    if !call.may_repeat || is_unsent(&error) {
                        return Err(failure);
                    }
                    (failure, None)
                }
            };
            if attempt == MAX_ATTEMPTS || !pause(attempt, retry_after, &failure.message) {
                return Err(given_up(call, was_lost, failure));
            }
        }
        unreachable!("the last attempt returns")
    }

    /// The items of a list, up to `limit` of them, and whether there are more.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub(crate) fn list(&self, call: &Call, limit: Option<usize>) -> Result<(Vec<Value>, bool), Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let left = limit.map_or(PAGE, |limit| limit - items.len());
            let page = call.clone().query("limit", Some(left.min(PAGE))).query("cursor", cursor.as_ref());
            let mut page = self.send(&page)?;
            if let Value::Array(new) = page["items"].take() {
                items.extend(new);
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            let is_full = limit.is_some_and(|limit| items.len() >= limit);
            if cursor.is_none() || is_full {
                return Ok((items, cursor.is_some()));
            }
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Vec<u8>>, Failure> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(call.url(&self.url))
            .header(header::ACCEPT, "application/json");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose_secret()));
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let body = call.body.as_ref().map(|body| body.to_string().into_bytes());
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request
            .body(body.unwrap_or_default())
            .map_err(|error| Failure::usage(format!("the request cannot be made: {error}")))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Failure {
        let class = match status.as_u16() {
            400 | 413 | 415 => Status::Usage,
            401 | 403 => Status::Refused,
            404 => Status::NotFound,
            429 | 500.. => Status::Unavailable,
            _ => Status::Failed,
        };
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |member: &str| problem[member].as_str().map(str::to_owned);
        // API Gateway's own errors have a message alone.
        let Some(message) = text("detail").or_else(|| text("title")).or_else(|| text("message")) else {
            return self.not_keygate(&format!("HTTP {}", status.as_u16())).of(class);
        };
        if message == "Missing Authentication Token" {
            return self.not_keygate("API Gateway has no such route").of(Status::Usage);
        }
        let mut failure = Failure::new(class, message);
        failure.details = details(&problem);
        failure.code = text("code").map(Into::into);
        failure.request_id = text("request_id").map(Into::into);
        failure.advice = match status {
            StatusCode::UNAUTHORIZED => Some(
                "the key is wrong, expired, disabled or deleted, or is one of another deployment: `keygate whoami` \
                 shows whose key works"
                    .to_owned(),
            ),
            StatusCode::TOO_MANY_REQUESTS => Some("the API is throttling: try again in a minute".to_owned()),
            _ => None,
        };
        failure
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        Failure::new(Status::Unavailable, format!("{} cannot be reached: {error}", self.url))
            .advise("check the URL (the stack's output ApiUrl), the network, and HTTPS_PROXY")
    }

    fn not_keygate(&self, what: &str) -> Failure {
        Failure::new(Status::Failed, format!("{} is not a management API of Keygate: {what}", self.url))
            .advise("the URL is the stack's output ApiUrl, with the name of the stage")
    }
}

/// The failure of the last attempt. Something that may have been created is found by repeating the call.
fn given_up(call: &Call, was_lost: bool, failure: Failure) -> Failure {
    match &call.idempotency_key {
        Some(key) if was_lost => failure.advise(format!(
            "it may have been done: repeat the command with --idempotency-key {key} within ten minutes, and it is done once"
        )),
        _ => failure,
    }
}

impl Failure {
    fn of(mut self, status: Status) -> Self {
        self.status = status;
        self
    }
}

/// The URL, if a credential may be sent to it: by TLS, or on this machine. `otherwise` makes the failure of a text that is no URL, of
/// which it gets a part that can be shown.
///
/// # Errors
///
/// It is not a URL, or the credential would go over the network in clear text.
pub(crate) fn check_encrypted(url: &str, otherwise: fn(&str) -> Failure) -> Result<http::Uri, Failure> {
    let not_a_url = || {
        let shown: String = url.chars().filter(|character| !character.is_control()).take(100).collect();
        otherwise(&shown)
    };
    let parsed: http::Uri = url.parse().map_err(|_| not_a_url())?;
    let host = parsed.host().ok_or_else(not_a_url)?;
    let is_local = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    match parsed.scheme_str() {
        Some("https") => Ok(parsed),
        Some("http") if is_local => Ok(parsed),
        Some("http") => Err(Failure::usage(format!("{url} is not encrypted: use https"))),
        _ => Err(not_a_url()),
    }
}

fn not_a_url(shown: &str) -> Failure {
    Failure::usage(format!("`{shown}` is not the URL of a management API")).advise(
        "it is the stack's output ApiUrl, such as https://abc123.execute-api.eu-west-1.amazonaws.com/v1",
    )
}

fn read(url: &str, body: &[u8]) -> Result<Value, Failure> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|_| {
        Failure::new(Status::Failed, format!("{url} returned no JSON: it is not a management API of Keygate"))
    })
}

/// Seconds, the form that Keygate and API Gateway use (RFC 9110, section 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

//! Calls of AWS without an SDK: signed with Signature Version 4, sent, and retried within a budget.
//!
//! `docs/decisions/0026-one-signed-client.md` says which services are called this way.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_sdk_dynamodb::config::Credentials;
use aws_smithy_types::body::SdkBody;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use keygate_core::error::{Error, chain};
use serde::Deserialize;
use thiserror::Error as ThisError;
use tokio::time::Instant;

use crate::aws::backoff::Backoff;
use crate::aws::http_client::HttpClient;
use crate::aws::kept_timer::KeptTimer;
use crate::aws::service_clock::ServiceClock;
use crate::aws::signature::{ServiceRequest, Signer};

/// The maximum number of attempts of a call.
const MAX_ATTEMPTS: u32 = 3;
/// The maximum pause before the second attempt, and before any attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The maximum size of a response, in bytes. The largest expected one is a batch of three `DynamoDB` items of 400 kB.
const MAX_RESPONSE_LEN: usize = 2_000_000;
/// The maximum length of an error code; a longer one is dropped.
const MAX_CODE_LEN: usize = 100;
/// The error codes of credentials that the service does not know: those of a role that was made moments ago, until all of AWS has
/// heard of it. A lasting one is a fault of the deployment, so they are attempted again and are not transient. Expired
/// credentials are neither: an environment keeps those that Lambda started it with.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>
const UNKNOWN_CREDENTIALS_CODES: [&str; 2] = ["InvalidClientTokenId", "UnrecognizedClientException"];

/// Makes signed calls of any service, as one function. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct SigV4Client {
    http: HttpClient,
    clock: ServiceClock,
    signer: Arc<Signer>,
    timer: Arc<KeptTimer>,
    /// The `User-Agent`, which AWS logs with every call.
    user_agent: HeaderValue,
    budget: Duration,
}

/// Why a call has no result.
#[derive(Debug, ThisError)]
pub(crate) enum CallError {
    /// The service returned an error.
    #[error("{0}")]
    Refused(ErrorResponse),
    /// The service did not respond within the budget, or its response could not be read.
    #[error("{0}")]
    NoResponse(String),
    /// The request cannot be signed or written.
    #[error("{0}")]
    InvalidRequest(String),
}

/// An error returned by a service. Its `Display` leaves out the message, which may repeat parts of the request.
pub(crate) struct ErrorResponse {
    pub(crate) status: StatusCode,
    /// Such as `ThrottlingException`; empty if the response has none.
    code: String,
    message: String,
    /// Whether the service refused a signature's time, which is corrected now.
    is_skewed: bool,
}

impl SigV4Client {
    /// Makes calls as `function`, whose name AWS logs with every call. `budget` bounds one call with its attempts: half of
    /// it one attempt.
    ///
    /// # Panics
    ///
    /// When `function` is not a word of letters, digits and hyphens, or the session token cannot be a header.
    pub(crate) fn new(
        http: HttpClient,
        credentials: Credentials,
        region: String,
        function: &str,
        budget: Duration,
    ) -> Self {
        let user_agent = format!("keygate/{} app/keygate-{function}", env!("CARGO_PKG_VERSION"));
        let user_agent = user_agent.parse().expect("a function's name is a word");
        let signer = Signer::new(credentials, region).expect("AWS sets a session token that is a header");
        let (clock, signer, timer) = (ServiceClock::default(), Arc::new(signer), Arc::default());
        Self { http, clock, signer, timer, user_agent, budget }
    }

    /// How long one call with its attempts may take.
    pub(crate) fn budget(&self) -> Duration {
        self.budget
    }

    /// Makes an idempotent call, and returns the body of its response.
    ///
    /// # Errors
    ///
    /// As [`call_and_read`](Self::call_and_read).
    pub(crate) async fn call(&self, request: &ServiceRequest<'_>) -> Result<Bytes, CallError> {
        self.call_and_read(request, |body| Some(body.clone())).await
    }

    /// Makes an idempotent call, and reads its response. A response that `read` returns `None` for is
    /// transient: the call is attempted again.
    ///
    /// # Errors
    ///
    /// - [`CallError::Refused`]: the service responded with an error that is not transient, or with one in the last attempt.
    /// - [`CallError::NoResponse`]: no response arrived in time, or it cannot be read.
    /// - [`CallError::InvalidRequest`]: the request cannot be signed or serialized. It was not sent.
    pub(crate) async fn call_and_read<T>(
        &self,
        request: &ServiceRequest<'_>,
        read: impl Fn(&Bytes) -> Option<T>,
    ) -> Result<T, CallError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE, Instant::now() + self.budget);
        let mut attempts = 1;
        loop {
            match self.attempt(request, &read, backoff.deadline()).await {
                Err(error) if error.may_pass() && attempts < MAX_ATTEMPTS && backoff.pause().await => {
                    attempts += 1;
                }
                result => return result,
            }
        }
    }

    async fn attempt<T>(
        &self,
        request: &ServiceRequest<'_>,
        read: impl Fn(&Bytes) -> Option<T>,
        deadline: Instant,
    ) -> Result<T, CallError> {
        let end = deadline.min(Instant::now() + self.budget / 2);
        let response = self.timer.until(end, self.exchange(request)).await;
        let body = response.ok_or_else(|| CallError::no_response("out of time"))??;
        read(&body).ok_or_else(|| CallError::no_response("a response that cannot be read"))
    }

    async fn exchange(&self, request: &ServiceRequest<'_>) -> Result<Bytes, CallError> {
        let url: Uri = request.url.parse().map_err(CallError::invalid_request)?;
        // Each attempt has a time of its own: a signature is valid for minutes only.
        let time = self.clock.time(SystemTime::now());
        let mut headers = self.signer.sign(request, &url, time).map_err(CallError::invalid_request)?;
        headers.insert(header::USER_AGENT, self.user_agent.clone());
        let mut signed = Request::new(SdkBody::from(request.body));
        *signed.method_mut() = request.method.clone();
        *signed.uri_mut() = url;
        *signed.headers_mut() = headers;

        let (head, body) = self.http.send(signed).await.map_err(CallError::no_response)?.into_parts();
        let body = Limited::new(body, MAX_RESPONSE_LEN).collect().await;
        let body = body.map_err(CallError::no_response)?.to_bytes();
        if head.status.is_success() {
            Ok(body)
        } else {
            let mut response = ErrorResponse::read(head.status, &head.headers, &body);
            response.is_skewed = self.clock.correct(&response.code, &head.headers, SystemTime::now());
            Err(CallError::Refused(response))
        }
    }
}

impl CallError {
    /// This error of `service` in the words of the domain, with the service's code and without its message.
    pub(crate) fn of(self, service: &'static str) -> Error {
        Error::Unavailable { service, cause: self.to_string() }
    }

    /// The whole error, with the service's message: only for calls whose requests may be logged.
    pub(crate) fn with_message(&self) -> String {
        match self {
            Self::Refused(response) if !response.message.is_empty() => {
                format!("{response}: {}", response.message)
            }
            error => error.to_string(),
        }
    }

    /// Whether the same call may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Refused(response) => response.is_transient(),
            Self::NoResponse(_) => true,
            Self::InvalidRequest(_) => false,
        }
    }

    /// Whether another attempt is worth its time.
    fn may_pass(&self) -> bool {
        let is_unknown = matches!(self, Self::Refused(response) if response.has_unknown_credentials());
        self.is_transient() || is_unknown
    }

    fn no_response(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::NoResponse(chain(reason.into().as_ref()))
    }

    fn invalid_request(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::InvalidRequest(chain(reason.into().as_ref()))
    }
}

impl ErrorResponse {
    /// The code is in a header or in the body, in some protocols with a namespace before it or an address after it.
    /// <https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization>
    fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            #[serde(rename = "__type")]
            kind: String,
            #[serde(alias = "Message")]
            message: String,
        }
        let Body { kind, message } = serde_json::from_slice(body).unwrap_or_default();
        let header = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        let code = header.unwrap_or(&kind);
        let code = code.rsplit('#').next().unwrap_or_default();
        let code = code.split(':').next().unwrap_or_default();
        // A code is a word. Anything else may repeat the request.
        let is_word = code.len() <= MAX_CODE_LEN
            && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte));
        let code = if is_word { code.to_owned() } else { String::new() };
        Self { status, code, message, is_skewed: false }
    }

    /// The codes are those that the SDK retries, of throttling and of requests that took the service too long.
    fn is_transient(&self) -> bool {
        self.status.is_server_error()
            || self.status == StatusCode::TOO_MANY_REQUESTS
            || self.is_skewed
            || THROTTLING_ERRORS.iter().chain(TRANSIENT_ERRORS).any(|code| *code == self.code)
    }

    fn has_unknown_credentials(&self) -> bool {
        UNKNOWN_CREDENTIALS_CODES.contains(&self.code.as_str())
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = if self.code.is_empty() { "no error code" } else { &self.code };
        write!(formatter, "{}: {code}", self.status)
    }
}

impl fmt::Debug for ErrorResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ErrorResponse")
            .field("status", &self.status)
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::TcpListener;

    use hex::encode as hex;
    use hmac::{Hmac, KeyInit, Mac};
    use http::Method;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::aws::test_server::{ArrivedRequest, BUDGET, SECRET_ACCESS_KEY, TestServer, aws, response};

    fn request(url: &str) -> ServiceRequest<'_> {
        let headers =
            &[("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "Service.Operation")];
        ServiceRequest { service: "service", method: Method::POST, url, headers, body: b"{}" }
    }

    /// Calculated from what arrives, as the receiver does it. The path is encoded twice in the canonical request.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    #[tokio::test]
    async fn a_call_is_signed_as_it_arrives() {
        for (path, sent, canonical) in
            [("", "/", "/"), ("/stages/%24default", "/stages/%24default", "/stages/%2524default")]
        {
            let server = TestServer::start([response("200 OK", "{}")]);
            let url = format!("{}{path}", server.url);
            server.aws().sigv4().call(&request(&url)).await.unwrap();
            let arrived = server.requests().remove(0);
            assert_eq!(arrived.line, format!("POST {sent} HTTP/1.1"));
            assert_signed(&arrived, canonical);
        }
    }

    fn assert_signed(ArrivedRequest { headers, body, .. }: &ArrivedRequest, path: &str) {
        assert_eq!(headers["x-amz-target"], "Service.Operation");
        assert_eq!(headers["x-amz-security-token"], "a/session+token=");
        assert_eq!(headers["user-agent"], format!("keygate/{} app/keygate-test", env!("CARGO_PKG_VERSION")));
        assert_eq!(body, b"{}");

        let authorization = headers["authorization"].strip_prefix("AWS4-HMAC-SHA256 ").unwrap();
        let parts: BTreeMap<_, _> =
            authorization.split(", ").filter_map(|part| part.split_once('=')).collect();
        let (access_key_id, scope) = parts["Credential"].split_once('/').unwrap();
        let (date, time) = (&headers["x-amz-date"][..8], &headers["x-amz-date"]);
        assert_eq!(access_key_id, "AKIDEXAMPLE");
        assert_eq!(scope, format!("{date}/eu-west-1/service/aws4_request"));
        let signed: String = parts["SignedHeaders"]
            .split(';')
            .map(|name| [name, ":", &headers[name], "\n"].concat())
            .collect();
        for name in ["content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target"] {
            assert!(signed.contains(&format!("{name}:")), "{name} is not signed");
        }
        let canonical =
            format!("POST\n{path}\n\n{signed}\n{}\n{}", parts["SignedHeaders"], hex(Sha256::digest(body)));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(Sha256::digest(canonical)));
        let key = format!("AWS4{SECRET_ACCESS_KEY}").into_bytes();
        let key = scope.split('/').fold(key, |key, part| mac(&key, part));
        assert_eq!(parts["Signature"], hex(mac(&key, &to_sign)));
    }

    fn mac(key: &[u8], text: &str) -> Vec<u8> {
        Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(text).finalize().into_bytes().to_vec()
    }

    #[test]
    fn an_error_is_classified_by_its_status_and_its_code() {
        for (status, header, body, code, is_transient) in [
            (
                400,
                None,
                r#"{"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException"}"#,
                "ThrottlingException",
                true,
            ),
            (
                400,
                None,
                r#"{"__type": "ProvisionedThroughputExceededException"}"#,
                "ProvisionedThroughputExceededException",
                true,
            ),
            (
                400,
                None,
                r#"{"__type": "com.amazon.coral.service#AccessDeniedException"}"#,
                "AccessDeniedException",
                false,
            ),
            (
                400,
                None,
                r#"{"__type": "DisabledException", "message": "the key is disabled"}"#,
                "DisabledException",
                false,
            ),
            (
                404,
                Some("NotFoundException:http://internal.amazon.com/coral/"),
                "",
                "NotFoundException",
                false,
            ),
            (
                429,
                Some("TooManyRequestsException"),
                r#"{"Message": "Rate exceeded"}"#,
                "TooManyRequestsException",
                true,
            ),
            (429, None, "", "", true),
            (403, None, "<html>", "", false),
            (500, None, r#"{"__type": "com.amazonaws#InternalServerError"}"#, "InternalServerError", true),
            (501, None, "", "", true),
            (503, None, "<html>", "", true),
            (400, None, r#"{"__type": "no code, but a sentence"}"#, "", false),
            (302, None, "", "", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(header.map(|value| {
                (http::HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(value))
            }));
            let error = ErrorResponse::read(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes());
            assert_eq!((error.code.as_str(), error.is_transient()), (code, is_transient), "{status} {body}");
        }
        let long = format!(r#"{{"__type": "{}"}}"#, "x".repeat(MAX_CODE_LEN + 1));
        assert_eq!(ErrorResponse::read(StatusCode::BAD_REQUEST, &HeaderMap::new(), long.as_bytes()).code, "");
    }

    /// A message may repeat the request.
    #[test]
    fn the_message_of_a_service_is_shown_on_demand_alone() {
        let body = br#"{"__type": "ValidationException", "message": "bob is not valid"}"#;
        let response = ErrorResponse::read(StatusCode::BAD_REQUEST, &HeaderMap::new(), body);
        assert!(!format!("{response:?}").contains("bob"), "{response:?}");
        let error = CallError::Refused(response);
        assert_eq!(error.to_string(), "400 Bad Request: ValidationException");
        assert_eq!(error.with_message(), "400 Bad Request: ValidationException: bob is not valid");
        let (text, domain) = (error.to_string(), error.of("EventBridge"));
        assert!(matches!(domain, Error::Unavailable { service: "EventBridge", cause } if cause == text));
    }

    #[tokio::test]
    async fn a_transient_failure_is_tried_again() {
        for failure in [
            response("500 Internal Server Error", "{}"),
            response("429 Too Many Requests", ""),
            response("400 Bad Request", r#"{"__type": "ThrottlingException"}"#),
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}".to_owned(),
            "nothing of HTTP\r\n\r\n".to_owned(),
            String::new(),
        ] {
            let server = TestServer::start([failure.clone(), response("202 Accepted", "done")]);
            let body = server.aws().sigv4().call(&request(&server.url)).await.unwrap();
            assert_eq!(body, "done", "{failure}");
            assert_eq!(server.requests().len(), 2, "{failure}");
        }
    }

    #[tokio::test]
    async fn a_response_that_cannot_be_read_is_a_transient_failure() {
        let server = TestServer::start([response("200 OK", "half"), response("200 OK", "whole")]);
        let read = |body: &Bytes| (body == "whole").then_some(7);
        let result = server.aws().sigv4().call_and_read(&request(&server.url), read).await;
        assert_eq!(result.unwrap(), 7);
        assert_eq!(server.requests().len(), 2);
    }

    #[tokio::test]
    async fn a_call_has_three_attempts() {
        let server = TestServer::start(vec![response("503 Service Unavailable", ""); 3]);
        let error = server.aws().sigv4().call(&request(&server.url)).await.unwrap_err();
        assert_eq!(error.to_string(), "503 Service Unavailable: no error code");
        assert!(error.is_transient());
        assert_eq!(server.requests().len(), 3);
    }

    #[tokio::test]
    async fn a_refused_time_is_corrected_by_the_service_and_kept_for_the_next_call() {
        let refusal = |code: &str| {
            let body = format!(r#"{{"__type": "com.amazon.coral.service#{code}"}}"#);
            let head = "HTTP/1.1 400 Bad Request\r\nDate: Tue, 01 Jan 2036 00:00:00 GMT";
            format!("{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        };
        let refusals = [
            (refusal("InvalidSignatureException"), response("200 OK", "done")),
            (refusal("RequestTimeTooSkewed"), response("200 OK", "done")),
        ];
        for (refusal, accepted) in refusals {
            let server = TestServer::start([refusal, accepted.clone(), accepted]);
            let client = server.aws().sigv4();
            for _ in 0..2 {
                assert_eq!(client.call(&request(&server.url)).await.unwrap(), "done");
            }
            let dates =
                server.requests().into_iter().map(|request| request.headers["x-amz-date"][..8].to_owned());
            let dates: Vec<_> = dates.collect();
            assert!(dates[0].as_str() < "20360101", "{dates:?}");
            assert_eq!(dates[1..], ["20360101", "20360101"]);
        }
        // At the corrected time the signature itself is wrong, which a third attempt does not mend.
        let wrong = refusal("InvalidSignatureException");
        let server = TestServer::start([wrong.clone(), wrong]);
        let error = server.aws().sigv4().call(&request(&server.url)).await.unwrap_err();
        assert!(!error.is_transient(), "{error}");
        assert_eq!(server.requests().len(), 2);
    }

    #[tokio::test]
    async fn unknown_credentials_are_attempted_again_and_are_no_transient_failure() {
        let unknown = response("400 Bad Request", r#"{"__type": "UnrecognizedClientException"}"#);
        let server = TestServer::start([unknown.clone(), response("200 OK", "done")]);
        assert_eq!(server.aws().sigv4().call(&request(&server.url)).await.unwrap(), "done");
        assert_eq!(server.requests().len(), 2);
        let server = TestServer::start(vec![unknown; 3]);
        let error = server.aws().sigv4().call(&request(&server.url)).await.unwrap_err();
        assert!(!error.is_transient(), "{error}");
        assert_eq!(server.requests().len(), 3);
    }

    /// A second attempt would find no server.
    #[tokio::test]
    async fn a_lasting_error_is_not_tried_again() {
        let server = TestServer::start([response("404 Not Found", "{}")]);
        let error = server.aws().sigv4().call(&request(&server.url)).await.unwrap_err();
        assert!(matches!(&error, CallError::Refused(response) if response.status == StatusCode::NOT_FOUND));
        assert!(!error.is_transient());
        assert_eq!(server.requests().len(), 1);
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_written_is_not_sent() {
        for url in ["http://", "no url", "http://127.0.0.1:1/a b"] {
            let client = aws("http://127.0.0.1:1", BUDGET).sigv4();
            let error = client.call(&request(url)).await.unwrap_err();
            assert!(matches!(error, CallError::InvalidRequest(_)), "{url}: {error:?}");
            assert!(!error.is_transient());
        }
    }

    #[tokio::test]
    async fn a_response_is_read_up_to_a_length() {
        let endless = response("200 OK", &" ".repeat(MAX_RESPONSE_LEN + 1));
        let server = TestServer::start(vec![endless; 3]);
        let error = server.aws().sigv4().call(&request(&server.url)).await.unwrap_err();
        assert!(error.to_string().contains("length limit exceeded"), "{error}");
    }

    #[tokio::test]
    async fn a_silent_service_is_waited_for_within_the_budget_and_asked_twice() {
        let budget = Duration::from_millis(400);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let started = Instant::now();
        let error = aws(&url, budget).sigv4().call(&request(&url)).await.unwrap_err();
        assert!(started.elapsed() < BUDGET / 2, "{:?}", started.elapsed());
        assert_eq!(error.to_string(), "out of time");
        silent.set_nonblocking(true).unwrap();
        assert_eq!(std::iter::from_fn(|| silent.accept().ok()).count(), 2);
    }
}

//! Calls of `DynamoDB` without the SDK's client: signed, sent and read here.
//!
//! What the client does around a call takes more processor time than the call, and the authorizer makes one for every
//! request of everybody. This is for its read alone; whatever nobody waits for goes by the SDK. The format is that of
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html>.

use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_types::body::SdkBody;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use crate::aws::backoff::Backoff;
use crate::aws::transport::Transport;
use crate::config::AwsSettings;
use crate::error::{Error, chain};

/// How often a call is tried.
const ATTEMPTS: u32 = 3;
/// The longest pause before the second attempt, and the longest of all pauses.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The longest answer: three items of 400 kB, which is what `DynamoDB` bounds them to, and some more.
const LONGEST_ANSWER: usize = 2_000_000;
/// The errors that blame the client and pass all the same: throttling, in all the words that services of AWS have for it.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
const TRANSIENT: [&str; 9] = [
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];
const SERVICE: &str = "DynamoDB";
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// What makes calls of `DynamoDB`.
#[derive(Debug)]
pub struct Direct {
    transport: Transport,
    identity: Identity,
    region: String,
    /// In the place of the region's own.
    endpoint: Option<String>,
    /// What AWS logs with every call.
    user_agent: HeaderValue,
    budget: Duration,
    url: OnceCell<String>,
}

/// Why an attempt came to nothing.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// Another attempt may come to something.
    is_transient: bool,
}

/// An answer that is an error.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorAnswer {
    #[serde(rename = "__type")]
    kind: String,
    #[serde(alias = "Message")]
    message: String,
}

impl Direct {
    /// Makes calls as `function`, whose name AWS logs with every call. `budget` bounds one call with its attempts: half
    /// of it one attempt.
    ///
    /// # Panics
    ///
    /// When `function` is not a word of letters, digits and hyphens.
    pub(crate) fn new(
        settings: &AwsSettings,
        credentials: Credentials,
        transport: Transport,
        function: &str,
        budget: Duration,
    ) -> Self {
        Self {
            transport,
            identity: credentials.into(),
            region: settings.region.clone(),
            endpoint: settings.dynamodb_endpoint.clone(),
            user_agent: format!("app/keygate-{function}").parse().expect("a function's name is a word"),
            budget,
            url: OnceCell::new(),
        }
    }

    /// How long one call with its attempts may take.
    pub(crate) fn budget(&self) -> Duration {
        self.budget
    }

    /// Makes a call that may be made more than once.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer in time, or not as it should, or with an error that passes.
    /// - [`Error::Broken`]: it refused the call, or the call cannot be made at all: the role may not make it, the table is
    ///   not there, credentials are wrong. That is a fault of the deployment, and no time makes it pass.
    pub(crate) async fn call<Answer: DeserializeOwned>(
        &self,
        operation: &str,
        request: &Value,
    ) -> Result<Answer, Error> {
        let request = request.to_string();
        let mut backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE, Instant::now() + self.budget);
        let mut attempts = 1;
        let result = loop {
            match self.attempt(operation, request.as_bytes(), backoff.deadline()).await {
                Err(failure) if failure.is_transient && attempts < ATTEMPTS && backoff.pause().await => {
                    attempts += 1;
                }
                result => break result,
            }
        };
        result.map_err(|Failure { reason, is_transient }| {
            if is_transient {
                Error::Unavailable { service: SERVICE, cause: reason }
            } else {
                Error::Broken(format!("{SERVICE} refused a call: {reason}"))
            }
        })
    }

    async fn attempt<Answer: DeserializeOwned>(
        &self,
        operation: &str,
        request: &[u8],
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let end = deadline.min(Instant::now() + self.budget / 2);
        let answer = timeout_at(end, self.exchange(operation, request)).await;
        let (status, answer) = answer.map_err(|_| Failure::transient("out of time"))??;
        if status != StatusCode::OK {
            let error: ErrorAnswer = serde_json::from_slice(&answer).unwrap_or_default();
            let kind = error.kind.rsplit('#').next().unwrap_or_default();
            let is_throttled = status == StatusCode::TOO_MANY_REQUESTS || TRANSIENT.contains(&kind);
            return Err(Failure {
                is_transient: status.is_server_error() || is_throttled,
                reason: format!("{status}: {kind}: {}", error.message),
            });
        }
        // serde's own message can quote what it read.
        serde_json::from_slice(&answer).map_err(|_| Failure::transient("an answer that cannot be read"))
    }

    async fn exchange(&self, operation: &str, body: &[u8]) -> Result<(StatusCode, Bytes), Failure> {
        let url = self.url.get_or_try_init(|| self.resolve()).await?;
        let target = format!("DynamoDB_20120810.{operation}");
        let parameters = SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name("dynamodb")
            // Each attempt has a time of its own: a signature is good for minutes only.
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(Failure::lasting)?
            .into();
        let signed_headers = [("content-type", CONTENT_TYPE), ("x-amz-target", target.as_str())];
        let signable =
            SignableRequest::new("POST", url, signed_headers.into_iter(), SignableBody::Bytes(body));
        let (signature, _) =
            sign(signable.map_err(Failure::lasting)?, &parameters).map_err(Failure::lasting)?.into_parts();
        let mut request = Request::post(url)
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header("x-amz-target", &target)
            .header(header::USER_AGENT, self.user_agent.clone())
            .body(SdkBody::from(body))
            .map_err(Failure::lasting)?;
        signature.apply_to_request_http1x(&mut request);

        let answer = self.transport.send(request).await.map_err(Failure::transient)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        Ok((status, body.map_err(Failure::transient)?.to_bytes()))
    }

    /// Finds out where the database is, which is another place in each region and partition.
    async fn resolve(&self) -> Result<String, Failure> {
        let parameters = Params::builder().region(&self.region).set_endpoint(self.endpoint.clone()).build();
        let parameters = parameters.map_err(Failure::lasting)?;
        let endpoint =
            DefaultResolver::new().resolve_endpoint(&parameters).await.map_err(Failure::lasting)?;
        Ok(endpoint.url().to_owned())
    }
}

impl Failure {
    fn transient(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { reason: chain(reason.into().as_ref()), is_transient: true }
    }

    fn lasting(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { reason: chain(reason.into().as_ref()), is_transient: false }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use hmac::{Hmac, KeyInit, Mac};
    use serde_json::json;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::aws::Aws;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A request as it arrives.
    struct Arrived {
        headers: BTreeMap<String, String>,
        body: Vec<u8>,
    }

    /// Answers requests with these texts, each over a connection of its own, and returns the requests.
    fn database(answers: Vec<String>) -> (Direct, JoinHandle<Vec<Arrived>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let direct = direct(&format!("http://{}", listener.local_addr().unwrap()), PATIENCE);
        let serving = std::thread::spawn(move || {
            let answered = answers.into_iter().map(|answer| {
                let (mut connection, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(connection.try_clone().unwrap());
                let mut lines =
                    reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty());
                assert_eq!(lines.next().as_deref(), Some("POST / HTTP/1.1"));
                let headers: BTreeMap<_, _> = lines
                    .map(|line| {
                        line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                    })
                    .collect::<Option<_>>()
                    .unwrap();
                let mut body = vec![0; headers["content-length"].parse().unwrap()];
                reader.read_exact(&mut body).unwrap();
                connection.write_all(answer.as_bytes()).unwrap();
                Arrived { headers, body }
            });
            answered.collect()
        });
        (direct, serving)
    }

    fn direct(endpoint: &str, budget: Duration) -> Direct {
        let settings = AwsSettings {
            region: "eu-west-1".to_owned(),
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: SECRET.to_owned().into(),
            session_token: Some("a/session+token=".to_owned().into()),
            dynamodb_endpoint: Some(endpoint.to_owned()),
            kms_endpoint: None,
            lambda_endpoint: None,
            events_endpoint: None,
            queues_endpoint: None,
            gateway_endpoint: None,
            url_suffix: "amazonaws.com".to_owned(),
            ca_bundle: None,
        };
        Aws::new(&settings, "test", budget).unwrap().direct()
    }

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    }

    async fn call(direct: &Direct) -> Result<Value, Error> {
        direct.call("GetItem", &json!({"TableName": "keys"})).await
    }

    /// Calculated from what arrived, as the receiver does it.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    #[tokio::test]
    async fn a_call_is_signed_as_it_arrives() {
        let (direct, serving) = database(vec![answer("200 OK", "{}")]);
        call(&direct).await.unwrap();
        let Arrived { headers, body } = serving.join().unwrap().remove(0);
        assert_eq!(headers["x-amz-target"], "DynamoDB_20120810.GetItem");
        assert_eq!(headers["x-amz-security-token"], "a/session+token=");
        assert_eq!(headers["user-agent"], "app/keygate-test");
        assert_eq!(body, br#"{"TableName":"keys"}"#);

        let authorization = headers["authorization"].strip_prefix("AWS4-HMAC-SHA256 ").unwrap();
        let parts: BTreeMap<_, _> =
            authorization.split(", ").filter_map(|part| part.split_once('=')).collect();
        let (access_key_id, scope) = parts["Credential"].split_once('/').unwrap();
        let (date, time) = (&headers["x-amz-date"][..8], &headers["x-amz-date"]);
        assert_eq!(access_key_id, "AKIDEXAMPLE");
        assert_eq!(scope, format!("{date}/eu-west-1/dynamodb/aws4_request"));
        let signed: String = parts["SignedHeaders"]
            .split(';')
            .map(|name| [name, ":", &headers[name], "\n"].concat())
            .collect();
        for name in ["host", "x-amz-date", "x-amz-security-token", "x-amz-target"] {
            assert!(signed.contains(&format!("{name}:")), "{name} is not signed");
        }
        let canonical =
            format!("POST\n/\n\n{signed}\n{}\n{}", parts["SignedHeaders"], hex(&Sha256::digest(&body)));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let key = scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, part| mac(&key, part));
        assert_eq!(parts["Signature"], hex(&mac(&key, &to_sign)));
    }

    fn mac(key: &[u8], text: &str) -> Vec<u8> {
        Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(text).finalize().into_bytes().to_vec()
    }

    fn hex(bytes: &[u8]) -> String {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from_digit(digit.into(), 16).unwrap()).collect()
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again() {
        let throttled =
            r#"{"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}"#;
        for failure in [
            answer("500 Internal Server Error", r#"{"__type": "com.amazonaws#InternalServerError"}"#),
            answer("503 Service Unavailable", "<html>"),
            answer("400 Bad Request", throttled),
            answer("200 OK", r#"{"Item": {"#),
            answer("200 OK", "\u{7f}garbage"),
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}".to_owned(),
            "nothing of HTTP\r\n\r\n".to_owned(),
            String::new(),
        ] {
            let (direct, serving) = database(vec![failure.clone(), answer("200 OK", r#"{"Item": 7}"#)]);
            assert_eq!(call(&direct).await.unwrap(), json!({"Item": 7}), "{failure}");
            assert_eq!(serving.join().unwrap().len(), 2, "{failure}");
        }
    }

    #[tokio::test]
    async fn what_does_not_pass_is_an_error_after_three_attempts() {
        let (direct, serving) = database(vec![answer("500 Internal Server Error", ""); 3]);
        let error = call(&direct).await.unwrap_err();
        assert!(error.to_string().contains("DynamoDB failed: 500"), "{error}");
        assert_eq!(serving.join().unwrap().len(), 3);
    }

    /// A second attempt would wait for ever, because nobody serves it.
    #[tokio::test]
    async fn what_another_attempt_does_not_change_is_an_error_at_once() {
        let denied = r#"{"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "User: arn is not authorized"}"#;
        let (direct, serving) = database(vec![answer("400 Bad Request", denied)]);
        let error = call(&direct).await.unwrap_err();
        assert_eq!(serving.join().unwrap().len(), 1);
        let text = error.to_string();
        assert!(text.contains("AccessDeniedException: User: arn is not authorized"), "{text}");
        assert!(matches!(error, Error::Broken(_)), "no excuse for an answer from memory: {error:?}");
    }

    #[tokio::test]
    async fn no_more_of_an_answer_is_read_than_an_answer_can_have() {
        let endless = answer("200 OK", &format!("{{}}{}", " ".repeat(LONGEST_ANSWER)));
        let (direct, _serving) = database(vec![endless; 3]);
        let error = call(&direct).await.unwrap_err();
        assert!(error.to_string().contains("length limit exceeded"), "{error}");
    }

    /// Within the test's own patience: without a budget it would not end.
    #[tokio::test]
    async fn nobody_is_waited_for_beyond_the_budget() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let error = call(&direct(&endpoint, Duration::from_millis(200))).await.unwrap_err();
        assert!(error.to_string().contains("out of time"), "{error}");
    }
}

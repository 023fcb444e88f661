//! Signed calls of services that Keygate asks for one or two things each: `EventBridge`, SQS, API Gateway.
//!
//! Their SDKs would be more code than all of Keygate. What the SDKs are made of is there anyhow: connections, retries,
//! timeouts and Signature Version 4 are theirs.

use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::body::SdkBody;
use keygate_core::environment::InvalidVariable;
use keygate_core::error::{Error, chain};
use serde_json::Value;
use thiserror::Error as ThisError;

use crate::aws::settings::AwsSettings;
use crate::aws::transport::Transport;
use crate::aws::{credentials, retries, timeouts};

/// What is worth another attempt: throttling, and what the service itself blames on itself.
const PASSING: &[u16] = &[429, 500, 502, 503, 504];

/// The client of a function.
#[derive(Clone, Debug)]
pub struct Signed {
    http: Transport,
    credentials: Credentials,
    region: String,
    user_agent: String,
    timeouts: TimeoutConfig,
    retries: RetryConfig,
}

/// One call.
#[derive(Debug)]
pub struct Call<'a> {
    /// The service, as its signatures call it.
    pub service: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// Where the service is.
    pub endpoint: &'a str,
    /// The path there, percent-encoded.
    pub path: &'a str,
    /// `X-Amz-Target` of the services that take one, and the `Content-Type` of their JSON.
    pub target: Option<(&'static str, &'static str)>,
    /// JSON, or nothing.
    pub body: &'a str,
}

/// A service said no. Its own words are not kept: they can repeat what was sent.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("status {status}, {code}")]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The kind of error, if it says one.
    pub code: String,
}

/// Why a call has no answer.
#[derive(Debug, ThisError)]
pub enum Failure {
    /// The service said no.
    #[error(transparent)]
    Refused(Refusal),
    /// It did not answer in time, or could not be reached.
    #[error("{0}")]
    Unavailable(String),
}

impl Failure {
    /// This failure of `service` in the words of the domain.
    #[must_use]
    pub fn of(self, service: &'static str) -> Error {
        Error::Unavailable { service, cause: self.to_string() }
    }
}

impl Signed {
    /// Makes the client of `function`. Nothing is sent yet. `budget` bounds one call with its retries.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when `AWS_CA_BUNDLE` names no file with PEM certificates.
    pub fn new(settings: &AwsSettings, function: &str, budget: Duration) -> Result<Self, InvalidVariable> {
        Ok(Self {
            http: Transport::new(settings.ca_bundle.as_deref(), budget / 4)?,
            credentials: credentials(settings),
            region: settings.region.clone(),
            user_agent: format!("keygate/{} app/keygate-{function}", env!("CARGO_PKG_VERSION")),
            timeouts: timeouts(budget),
            retries: retries(),
        })
    }

    /// Makes a call, tried again where that may help: the body of the answer.
    ///
    /// # Errors
    ///
    /// - [`Failure::Refused`]: the status is none of success.
    /// - [`Failure::Unavailable`]: there was no answer.
    pub async fn call(&self, call: &Call<'_>) -> Result<Vec<u8>, Failure> {
        let request = self.sign(call).map_err(|error| Failure::Unavailable(error.to_string()))?;
        let operation = Operation::builder()
            .service_name(call.service)
            .operation_name(call.target.map_or(call.method, |(target, _)| target))
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(self.http.clone())
            .endpoint_url(call.endpoint)
            // The signature is made here, and what is signed is not touched any more.
            .no_auth()
            .timeout_config(self.timeouts.clone())
            .standard_retry(&self.retries)
            .retry_classifier(HttpStatusCodeClassifier::new_from_codes(PASSING))
            .retry_classifier(TransientErrorClassifier::<Refusal>::new())
            .serializer(|request: HttpRequest| Ok(request))
            .deserializer(read)
            .build();
        operation.invoke(request).await.map_err(|failure| match failure {
            SdkError::ServiceError(refused) => Failure::Refused(refused.into_err()),
            other => Failure::Unavailable(chain(&other)),
        })
    }

    fn sign(&self, call: &Call<'_>) -> Result<HttpRequest, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = HttpRequest::new(SdkBody::from(call.body));
        request.set_method(call.method)?;
        request.set_uri(call.path)?;
        let headers = request.headers_mut();
        headers.insert("user-agent", self.user_agent.clone());
        if let Some((target, content_type)) = call.target {
            headers.insert("x-amz-target", target);
            headers.insert("content-type", content_type);
        }
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(call.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let signable = SignableRequest::new(
            call.method,
            format!("{}{}", call.endpoint, call.path),
            request.headers().iter(),
            SignableBody::Bytes(call.body.as_bytes()),
        )?;
        let (signed, _) = sign(signable, &parameters)?.into_parts();
        let (signed, _) = signed.into_parts();
        for header in signed {
            request.headers_mut().insert(header.name(), header.value().to_owned());
        }
        Ok(request)
    }
}

fn read(response: &HttpResponse) -> Result<Vec<u8>, OrchestratorError<Refusal>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return Ok(body.to_vec());
    }
    let header = response.headers().get("x-amzn-errortype").map(str::to_owned);
    let member = || serde_json::from_slice::<Value>(body).ok()?.get("__type")?.as_str().map(str::to_owned);
    let code = header.or_else(member).unwrap_or_else(|| "of no kind".to_owned());
    // Kinds of errors are words; what is none may repeat anything.
    let is_word =
        code.len() <= 100 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".#:_".contains(&byte));
    let code = if is_word { code } else { "of no kind".to_owned() };
    Err(OrchestratorError::operation(Refusal { status: response.status().as_u16(), code }))
}

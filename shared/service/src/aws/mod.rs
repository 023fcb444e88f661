//! The clients of AWS, made for a short cold start: configured by the variables that Lambda sets, without a search for
//! profiles, and with TLS by `ring` and compiled-in root certificates.
//!
//! The SDK calls `DynamoDB`, and KMS to sign JWTs. [`SigV4Client`] calls the other services, makes the reads that each request waits
//! for, and derives the peppers: `docs/decisions/0026-one-signed-client.md` says why.

pub mod async_invoke;
pub(crate) mod backoff;
pub mod document_client;
pub mod dynamodb;
pub mod dynamodb_read_client;
mod http_client;
mod kept_timer;
pub mod kms;
pub(crate) mod publication;
mod service_clock;
pub mod settings;
pub(crate) mod signature;
pub mod signing_key;
pub mod sigv4_client;
#[cfg(test)]
pub(crate) mod test_server;

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{AppName, BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;
use document_client::DocumentClient;
use dynamodb::DynamoDb;
use dynamodb_read_client::DynamoDbReadClient;
use http_client::HttpClient;
use keygate_core::environment::InvalidVariable;
use kms::MacClient;
use secrecy::ExposeSecret;
use sigv4_client::SigV4Client;

use crate::aws::settings::AwsSettings;

/// How long a background function waits for one call of AWS, retries included.
pub const BACKGROUND_BUDGET: Duration = Duration::from_secs(6);

/// How long a management function waits for one call of AWS, retries included.
pub const MANAGEMENT_BUDGET: Duration = Duration::from_secs(3);

/// Makes the clients of one function on demand, because each adds its code to the binary. They share one pool of
/// connections.
#[derive(Clone, Debug)]
pub struct Aws {
    settings: AwsSettings,
    function: String,
    budget: Duration,
    http: HttpClient,
}

impl Aws {
    /// Reads the settings for the clients of `function`, whose name AWS logs with every call. Nothing is sent yet.
    ///
    /// `budget` bounds one call with its retries: half of it bounds one attempt, a quarter of it connecting over TCP.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when `AWS_CA_BUNDLE` names no file with PEM certificates.
    pub fn new(settings: &AwsSettings, function: &str, budget: Duration) -> Result<Self, InvalidVariable> {
        let http = HttpClient::new(settings.ca_bundle.as_deref(), budget / 4)?;
        Ok(Self { settings: settings.clone(), function: function.to_owned(), budget, http })
    }

    /// The SDK's client of `DynamoDB`. Its first use panics if the function's name is not a word of letters, digits and hyphens.
    #[must_use]
    pub fn dynamodb(&self) -> DynamoDb {
        let aws = self.clone();
        DynamoDb::new(move || aws.dynamodb_config())
    }

    /// The SDK's client of `DynamoDB` for writes that must not be repeated: it makes one attempt. It panics as
    /// [`dynamodb`](Self::dynamodb) does.
    #[must_use]
    pub fn dynamodb_without_retries(&self) -> DynamoDb {
        let aws = self.clone();
        DynamoDb::new(move || aws.dynamodb_config().retry_config(RetryConfig::disabled()))
    }

    /// The SDK's client of KMS.
    ///
    /// # Panics
    ///
    /// When the function's name is not a word of letters, digits and hyphens.
    #[must_use]
    pub fn kms(&self) -> aws_sdk_kms::Client {
        let mut config = aws_sdk_kms::config::Builder::from(&self.sdk_config());
        config.set_endpoint_url(self.settings.kms_endpoint.clone());
        aws_sdk_kms::Client::from_conf(config.build())
    }

    /// The client that reads presented credentials, for which every request waits.
    ///
    /// # Panics
    ///
    /// As [`sigv4`](Self::sigv4).
    #[must_use]
    pub fn dynamodb_read(&self) -> DynamoDbReadClient {
        DynamoDbReadClient::new(self.sigv4(), self.settings.dynamodb_url())
    }

    /// The client that derives MAC keys, for which every environment waits when it starts.
    ///
    /// # Panics
    ///
    /// As [`sigv4`](Self::sigv4).
    #[must_use]
    pub fn macs(&self) -> MacClient {
        MacClient::new(self.sigv4(), self.settings.kms_url())
    }

    /// The client that reads public documents over HTTPS.
    #[must_use]
    pub fn documents(&self) -> DocumentClient {
        DocumentClient::new(self.http.clone())
    }

    /// The client of all other services.
    ///
    /// # Panics
    ///
    /// When the function's name is not a word of letters, digits and hyphens.
    #[must_use]
    pub fn sigv4(&self) -> SigV4Client {
        let (http, region) = (self.http.clone(), self.settings.region.clone());
        SigV4Client::new(http, self.credentials(), region, &self.function, self.budget)
    }

    fn dynamodb_config(&self) -> aws_sdk_dynamodb::config::Builder {
        let mut config = aws_sdk_dynamodb::config::Builder::from(&self.sdk_config());
        config.set_endpoint_url(self.settings.dynamodb_endpoint.clone());
        config
    }

    /// The common configuration of the SDK's clients.
    fn sdk_config(&self) -> SdkConfig {
        let app_name = AppName::new(format!("keygate-{}", self.function));
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(self.budget / 2)
            .operation_timeout(self.budget)
            .build();
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(self.http.clone())
            .credentials_provider(SharedCredentialsProvider::new(self.credentials()))
            .region(Region::new(self.settings.region.clone()))
            .app_name(app_name.expect("a function's name is a word"))
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(50)))
            .build()
    }

    /// The settings of the clients.
    pub(crate) fn settings(&self) -> &AwsSettings {
        &self.settings
    }

    /// The credentials of the function's role.
    fn credentials(&self) -> Credentials {
        let token = self.settings.session_token.as_ref();
        Credentials::new(
            &self.settings.access_key_id,
            self.settings.secret_access_key.expose_secret(),
            token.map(|token| token.expose_secret().to_owned()),
            None,
            "environment",
        )
    }
}

#[cfg(test)]
mod tests {
    use keygate_core::error::Error;
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn a_database_that_does_not_respond_is_a_failure_of_both_clients() {
        // Nothing listens there.
        let aws = test_server::aws("https://127.0.0.1:1", Duration::from_secs(2));
        let failure = aws.dynamodb().list_tables().send().await.unwrap_err();
        assert!(matches!(failure, aws_sdk_dynamodb::error::SdkError::DispatchFailure(_)), "{failure:?}");
        let failure = aws.dynamodb_read().call::<Value>("ListTables", &json!({})).await.unwrap_err();
        assert!(matches!(failure, Error::Unavailable { service: "DynamoDB", .. }), "{failure:?}");
    }

    #[tokio::test]
    async fn a_client_without_retries_makes_one_attempt_of_each_call() {
        let server = test_server::TestServer::start([
            test_server::response("500 Internal Server Error", "{}"),
            test_server::response("200 OK", r#"{"TableNames": []}"#),
        ]);
        let client = server.aws().dynamodb_without_retries();
        client.list_tables().send().await.unwrap_err();
        client.list_tables().send().await.unwrap();
        assert_eq!(server.requests().len(), 2);
    }

    #[test]
    fn a_bundle_without_certificates_is_an_invalid_variable() {
        for path in ["/nowhere/at/all.pem", "Cargo.toml"] {
            let settings = test_server::settings(&[("AWS_CA_BUNDLE", path)]);
            let invalid = Aws::new(&settings, "test", Duration::from_secs(2)).unwrap_err();
            assert_eq!(invalid.name, "AWS_CA_BUNDLE", "{path}");
        }
    }
}

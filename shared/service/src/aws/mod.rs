//! The clients of AWS, made for a short cold start: from what Lambda sets in the environment rather than from a
//! search for profiles, over TLS by `ring` with compiled-in roots rather than the machine's.

pub(crate) mod backoff;
pub mod direct;
pub mod handover;
pub mod kms;
pub mod settings;
pub mod signed;
mod transport;

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{AppName, BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;
use direct::Direct;
use keygate_core::environment::InvalidVariable;
use secrecy::ExposeSecret;
use transport::Transport;

use crate::aws::settings::AwsSettings;

/// How long a function that nobody waits for waits for one call of AWS, retries included.
pub const BACKGROUND_BUDGET: Duration = Duration::from_secs(6);

/// How long a management function waits for one call of AWS, retries included.
pub const MANAGEMENT_BUDGET: Duration = Duration::from_secs(3);

/// What makes the clients of one function. It makes only those that are asked for: a client brings all that it can do into
/// the binary.
#[derive(Debug)]
pub struct Aws {
    settings: AwsSettings,
    function: String,
    budget: Duration,
    transport: Transport,
    shared: SdkConfig,
}

impl Aws {
    /// Reads the settings for the clients of `function`, whose name AWS logs with every call. Nothing is sent yet.
    ///
    /// `budget` bounds one call with its retries: half of it one attempt, a quarter of it connecting over TCP.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when `AWS_CA_BUNDLE` names no file with PEM certificates.
    ///
    /// # Panics
    ///
    /// When `function` is not a word of letters, digits and hyphens.
    pub fn new(settings: &AwsSettings, function: &str, budget: Duration) -> Result<Self, InvalidVariable> {
        let transport = Transport::new(settings.ca_bundle.as_deref(), budget / 4)?;
        let shared = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(transport.clone())
            .credentials_provider(SharedCredentialsProvider::new(credentials(settings)))
            .region(Region::new(settings.region.clone()))
            .app_name(AppName::new(format!("keygate-{function}")).expect("a function's name is a word"))
            .timeout_config(timeouts(budget))
            .retry_config(retries())
            .build();
        Ok(Self { settings: settings.clone(), function: function.to_owned(), budget, transport, shared })
    }

    /// The database.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let mut config = aws_sdk_dynamodb::config::Builder::from(&self.shared);
        config.set_endpoint_url(self.settings.dynamodb_endpoint.clone());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// The source of peppers.
    #[must_use]
    pub fn kms(&self) -> aws_sdk_kms::Client {
        let mut config = aws_sdk_kms::config::Builder::from(&self.shared);
        config.set_endpoint_url(self.settings.kms_endpoint.clone());
        aws_sdk_kms::Client::from_conf(config.build())
    }

    /// What invokes other functions.
    #[must_use]
    pub fn lambda(&self) -> aws_sdk_lambda::Client {
        let mut config = aws_sdk_lambda::config::Builder::from(&self.shared);
        config.set_endpoint_url(self.settings.lambda_endpoint.clone());
        aws_sdk_lambda::Client::from_conf(config.build())
    }

    /// The database, for the read that everybody waits for.
    #[must_use]
    pub fn direct(&self) -> Direct {
        let (settings, transport) = (&self.settings, self.transport.clone());
        Direct::new(settings, credentials(settings), transport, &self.function, self.budget)
    }
}

/// Those of the function's role.
fn credentials(settings: &AwsSettings) -> Credentials {
    Credentials::new(
        &settings.access_key_id,
        settings.secret_access_key.expose_secret(),
        settings.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
        None,
        "environment",
    )
}

fn timeouts(budget: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(budget / 2).operation_timeout(budget).build()
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_initial_backoff(Duration::from_millis(50))
}

#[cfg(test)]
mod tests {
    use keygate_core::error::Error;
    use serde_json::{Value, json};

    use super::*;

    fn settings(ca_bundle: Option<&str>) -> AwsSettings {
        AwsSettings {
            region: "eu-west-1".to_owned(),
            access_key_id: "id".to_owned(),
            secret_access_key: "secret".to_owned().into(),
            session_token: None,
            // Nothing listens there.
            dynamodb_endpoint: Some("https://127.0.0.1:1".to_owned()),
            kms_endpoint: None,
            lambda_endpoint: None,
            events_endpoint: None,
            queues_endpoint: None,
            gateway_endpoint: None,
            url_suffix: "amazonaws.com".to_owned(),
            ca_bundle: ca_bundle.map(str::to_owned),
        }
    }

    #[tokio::test]
    async fn that_nobody_answers_is_a_failure_of_both_ways_to_the_database() {
        let aws = Aws::new(&settings(None), "test", Duration::from_secs(2)).unwrap();
        let failure = aws.dynamodb().list_tables().send().await.unwrap_err();
        assert!(matches!(failure, aws_sdk_dynamodb::error::SdkError::DispatchFailure(_)), "{failure:?}");
        let failure = aws.direct().call::<Value>("ListTables", &json!({})).await.unwrap_err();
        assert!(matches!(failure, Error::Unavailable { service: "DynamoDB", .. }), "{failure:?}");
    }

    #[test]
    fn a_bundle_without_certificates_is_an_invalid_variable() {
        for path in ["/nowhere/at/all.pem", "Cargo.toml"] {
            let invalid = Aws::new(&settings(Some(path)), "test", Duration::from_secs(2)).unwrap_err();
            assert_eq!(invalid.name, "AWS_CA_BUNDLE", "{path}");
        }
    }
}

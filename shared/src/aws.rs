//! The clients of AWS, made for a short cold start: from what Lambda sets in the environment rather than from a
//! search for profiles, over TLS by `ring` with compiled-in roots rather than the machine's.

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{AppName, BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;

use crate::config::{AwsSettings, InvalidVariable};

/// How long a function that nobody waits for waits for one call of AWS, retries included.
pub const BACKGROUND_BUDGET: Duration = Duration::from_secs(6);

/// How long a management function waits for one call of AWS, retries included.
pub const MANAGEMENT_BUDGET: Duration = Duration::from_secs(3);

/// The clients of one function.
#[derive(Debug)]
pub struct Aws {
    /// The database.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// The source of peppers.
    pub kms: aws_sdk_kms::Client,
}

impl Aws {
    /// Makes the clients of `function`, whose name AWS logs with every call. Nothing is sent yet.
    ///
    /// `budget` bounds one call with its retries: half of it one attempt, a quarter of it connecting.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when `AWS_CA_BUNDLE` names no file with PEM certificates.
    ///
    /// # Panics
    ///
    /// When `function` is not a word of letters, digits and hyphens.
    pub fn new(settings: &AwsSettings, function: &str, budget: Duration) -> Result<Self, InvalidVariable> {
        let http = http_client(settings.ca_bundle.as_deref())?;
        let credentials = credentials(settings);
        let region = Region::new(settings.region.clone());
        let name = AppName::new(format!("keygate-{function}")).expect("a function's name is a word");
        let (timeouts, retries) = (timeouts(budget), retries());

        let mut dynamodb = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http.clone())
            .credentials_provider(credentials.clone())
            .region(region.clone())
            .app_name(name.clone())
            .timeout_config(timeouts.clone())
            .retry_config(retries.clone());
        dynamodb.set_endpoint_url(settings.dynamodb_endpoint.clone());

        let mut kms = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .credentials_provider(credentials)
            .region(region)
            .app_name(name)
            .timeout_config(timeouts)
            .retry_config(retries);
        kms.set_endpoint_url(settings.kms_endpoint.clone());

        Ok(Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
            kms: aws_sdk_kms::Client::from_conf(kms.build()),
        })
    }
}

/// Those of the function's role.
pub(crate) fn credentials(settings: &AwsSettings) -> Credentials {
    Credentials::new(
        &settings.access_key_id,
        settings.secret_access_key.expose_secret(),
        settings.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
        None,
        "environment",
    )
}

pub(crate) fn timeouts(budget: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(budget / 4)
        .operation_attempt_timeout(budget / 2)
        .operation_timeout(budget)
        .build()
}

pub(crate) fn retries() -> RetryConfig {
    RetryConfig::standard().with_initial_backoff(Duration::from_millis(50))
}

pub(crate) fn http_client(ca_bundle: Option<&str>) -> Result<SharedHttpClient, InvalidVariable> {
    let mut trusted = TrustStore::empty().with_pem_certificate(public_roots());
    if let Some(path) = ca_bundle {
        let bundle = std::fs::read(path)
            .ok()
            .filter(|bundle| bundle.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN.as_bytes()))
            .ok_or_else(|| InvalidVariable {
                name: "AWS_CA_BUNDLE",
                must_be: "must be the path of a file with PEM certificates".to_owned(),
            })?;
        trusted.add_pem_certificate(bundle);
    }
    let context =
        TlsContext::builder().with_trust_store(trusted).build().expect("a trust store is all it takes");
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context).build_https())
}

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// Mozilla's root certificates in the one form that the SDK's client takes.
fn public_roots() -> String {
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.push_str(PEM_BEGIN);
        pem.push('\n');
        STANDARD.encode_string(certificate, &mut pem);
        pem.push('\n');
        pem.push_str(PEM_END);
        pem.push('\n');
    }
    pem
}

#[cfg(test)]
mod tests {
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
            events_endpoint: None,
            queues_endpoint: None,
            gateway_endpoint: None,
            url_suffix: "amazonaws.com".to_owned(),
            ca_bundle: ca_bundle.map(str::to_owned),
        }
    }

    /// The roots are read when the first connection is opened, and what cannot be read there is a panic.
    #[tokio::test]
    async fn the_compiled_in_roots_can_be_read() {
        let aws = Aws::new(&settings(None), "test", Duration::from_secs(2)).unwrap();
        let failure = aws.dynamodb.list_tables().send().await.unwrap_err();
        assert!(matches!(failure, aws_sdk_dynamodb::error::SdkError::DispatchFailure(_)), "{failure:?}");
        assert!(webpki_root_certs::TLS_SERVER_ROOT_CERTS.len() > 50);
    }

    #[test]
    fn a_bundle_without_certificates_is_an_invalid_variable() {
        for path in ["/nowhere/at/all.pem", "Cargo.toml"] {
            let invalid = Aws::new(&settings(Some(path)), "test", Duration::from_secs(2)).unwrap_err();
            assert_eq!(invalid.name, "AWS_CA_BUNDLE", "{path}");
        }
    }
}

//! The settings of AWS's clients, which Lambda sets in the environment.

use keygate_core::environment::{Environment, InvalidVariable};
use secrecy::SecretString;

/// The Region, the role's credentials and the endpoints.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    /// `AWS_REGION`.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID` of the function's role.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: SecretString,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<SecretString>,
    /// `AWS_ENDPOINT_URL_DYNAMODB`, or `AWS_ENDPOINT_URL` for all services.
    pub dynamodb_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_KMS`, or `AWS_ENDPOINT_URL` for all services.
    pub kms_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_LAMBDA`, or `AWS_ENDPOINT_URL` for all services.
    pub lambda_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_EVENTBRIDGE`, or `AWS_ENDPOINT_URL` for all services.
    pub events_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_SQS`, or `AWS_ENDPOINT_URL` for all services.
    pub queues_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_API_GATEWAY`, or `AWS_ENDPOINT_URL` for all services.
    pub gateway_endpoint: Option<String>,
    /// `URL_SUFFIX`: the domain that the endpoints of the region's services are in; `amazonaws.com` by default.
    pub url_suffix: String,
    /// `AWS_CA_BUNDLE`: the path of a PEM file with more roots to trust.
    pub ca_bundle: Option<String>,
}

impl AwsSettings {
    /// Reads the settings from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the Region or the role's credentials are not set, or other endpoints are asked for in general.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        for name in ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"] {
            if environment.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
                let must_be =
                    "must not be true: set AWS_ENDPOINT_URL_DYNAMODB and those of the other services instead";
                return Err(InvalidVariable::new(name, must_be));
            }
        }
        let required = |name| environment.required(name, "must be set, as Lambda does");
        let text = |name| environment.text(name).map(str::to_owned);
        let endpoint = |name| text(name).or_else(|| text("AWS_ENDPOINT_URL"));
        Ok(Self {
            region: required("AWS_REGION")?,
            access_key_id: required("AWS_ACCESS_KEY_ID")?,
            secret_access_key: required("AWS_SECRET_ACCESS_KEY")?.into(),
            session_token: environment.text("AWS_SESSION_TOKEN").map(SecretString::from),
            dynamodb_endpoint: endpoint("AWS_ENDPOINT_URL_DYNAMODB"),
            kms_endpoint: endpoint("AWS_ENDPOINT_URL_KMS"),
            lambda_endpoint: endpoint("AWS_ENDPOINT_URL_LAMBDA"),
            events_endpoint: endpoint("AWS_ENDPOINT_URL_EVENTBRIDGE"),
            queues_endpoint: endpoint("AWS_ENDPOINT_URL_SQS"),
            gateway_endpoint: endpoint("AWS_ENDPOINT_URL_API_GATEWAY"),
            url_suffix: text("URL_SUFFIX").unwrap_or_else(|| "amazonaws.com".to_owned()),
            ca_bundle: text("AWS_CA_BUNDLE"),
        })
    }

    /// The endpoint of `DynamoDB`, for calls without the SDK.
    #[must_use]
    pub fn dynamodb_url(&self) -> String {
        self.url("dynamodb", self.dynamodb_endpoint.as_ref())
    }

    /// The endpoint of KMS.
    #[must_use]
    pub fn kms_url(&self) -> String {
        self.url("kms", self.kms_endpoint.as_ref())
    }

    /// The endpoint of Lambda.
    #[must_use]
    pub fn lambda_url(&self) -> String {
        self.url("lambda", self.lambda_endpoint.as_ref())
    }

    /// The endpoint of `EventBridge`.
    #[must_use]
    pub fn events_url(&self) -> String {
        self.url("events", self.events_endpoint.as_ref())
    }

    /// The endpoint of SQS.
    #[must_use]
    pub fn queues_url(&self) -> String {
        self.url("sqs", self.queues_endpoint.as_ref())
    }

    /// The endpoint of API Gateway's control plane.
    #[must_use]
    pub fn gateway_url(&self) -> String {
        self.url("apigateway", self.gateway_endpoint.as_ref())
    }

    fn url(&self, service: &str, endpoint: Option<&String>) -> String {
        let usual = || format!("https://{service}.{}.{}", self.region, self.url_suffix);
        endpoint.map_or_else(usual, |endpoint| endpoint.trim_end_matches('/').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_of_one_service_goes_before_that_of_all() {
        let settings = AwsSettings::from_environment(&Environment::from_iter([
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_ENDPOINT_URL", "http://all"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb"),
        ]))
        .unwrap();
        assert_eq!(settings.dynamodb_endpoint.as_deref(), Some("http://dynamodb"));
        assert_eq!(settings.kms_endpoint.as_deref(), Some("http://all"));
        assert!(!format!("{settings:?}").contains("secret\""));
    }

    /// The names of these endpoints follow no rule: those of some services and Regions differ. An operator who sets a variable
    /// relies on it, so calling the usual endpoints instead would be wrong.
    #[test]
    fn endpoints_of_fips_and_of_ipv6_are_refused_and_not_ignored() {
        for name in ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"] {
            for (value, is_refused) in [("true", true), ("True", true), ("false", false), ("", false)] {
                let settings = AwsSettings::from_environment(&Environment::from_iter([
                    ("AWS_REGION", "us-gov-west-1"),
                    ("AWS_ACCESS_KEY_ID", "id"),
                    ("AWS_SECRET_ACCESS_KEY", "secret"),
                    (name, value),
                ]));
                assert_eq!(settings.err().map(|invalid| invalid.name), is_refused.then_some(name), "{value}");
            }
        }
    }
}

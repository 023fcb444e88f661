//! The environment of a function, read once when it starts.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use thiserror::Error;
use tracing::Level;

use crate::cache_invalidation::Stage;
use crate::credential::Brand;
use crate::keys::unused::UnusedRules;
use crate::legacy::LegacyRules;
use crate::time::whole_second;

/// The environment variables of a function. One that is set to nothing counts as not set. The credentials of the function's
/// role are among them, so `Debug` shows none.
pub struct Environment(HashMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// A variable that is missing or cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("environment variable {name} {must_be}")]
pub struct InvalidVariable {
    /// Which one.
    pub name: &'static str,
    /// What it must be. The value itself is not repeated: it may be a secret put into the wrong variable.
    pub must_be: String,
}

/// Where the key of a MAC comes from: `kms:GenerateMac(key, HMAC_SHA_256, label)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacKeySource {
    /// Stands beside everything that was made under it.
    pub version: u32,
    /// What the MAC is made of, so that one KMS key gives many peppers.
    pub label: String,
    /// ARN of a KMS key of the spec `HMAC_256`.
    pub kms_key: String,
}

/// The keys of a MAC, and the one for what is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacKeySources {
    /// Every version that is honoured, each once.
    pub versions: Vec<MacKeySource>,
    /// The version for what is new, one of them.
    pub current: u32,
}

/// What the clients of AWS are made from: variables that Lambda sets.
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
    /// `URL_SUFFIX`: the domain that the endpoints of the region's services are in; `amazonaws.com` unless set.
    pub url_suffix: String,
    /// `AWS_CA_BUNDLE`: the path of a PEM file with more roots to trust.
    pub ca_bundle: Option<String>,
}

impl AwsSettings {
    /// The endpoint of `DynamoDB`, for calls that go without the SDK.
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

    /// Where `EventBridge` is.
    #[must_use]
    pub fn events_url(&self) -> String {
        self.url("events", self.events_endpoint.as_ref())
    }

    /// Where SQS is.
    #[must_use]
    pub fn queues_url(&self) -> String {
        self.url("sqs", self.queues_endpoint.as_ref())
    }

    /// Where API Gateway is told what to do.
    #[must_use]
    pub fn gateway_url(&self) -> String {
        self.url("apigateway", self.gateway_endpoint.as_ref())
    }

    fn url(&self, service: &str, endpoint: Option<&String>) -> String {
        let usual = || format!("https://{service}.{}.{}", self.region, self.url_suffix);
        endpoint.map_or_else(usual, |endpoint| endpoint.trim_end_matches('/').to_owned())
    }
}

/// The form in which the authorizer answers an HTTP API's payload 2.0. Every other event is answered with a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizerAnswer {
    /// An IAM policy.
    Policy,
    /// `isAuthorized`, for authorizers with simple responses enabled. API Gateway may keep the answer and use it for
    /// every other route, so a key with endpoint rules is refused.
    Simple,
    /// The same for authorizers whose cache time is 0: endpoint rules are evaluated for the call at hand.
    SimpleUncached,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars().collect()
    }

    /// `BRAND`: the word credentials begin with.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no [`Brand`].
    pub fn brand(&self) -> Result<Brand, InvalidVariable> {
        self.parsed("BRAND", "kg", "must be 2 to 10 lower-case letters and digits and begin with a letter")
    }

    /// `KEYS_TABLE`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn keys_table(&self) -> Result<String, InvalidVariable> {
        self.required("KEYS_TABLE", "must be the name of the table of keys")
    }

    /// `WORKSPACES_TABLE`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn workspaces_table(&self) -> Result<String, InvalidVariable> {
        self.required("WORKSPACES_TABLE", "must be the name of the table of names and users")
    }

    /// `ACTIVITY_TABLE`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn activity_table(&self) -> Result<String, InvalidVariable> {
        self.required("ACTIVITY_TABLE", "must be the name of the table of activity")
    }

    /// `CLEAR_USER_FUNCTION`: the function that does what is left of a removal.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn clear_user_function(&self) -> Result<String, InvalidVariable> {
        self.required("CLEAR_USER_FUNCTION", "must be the name of the function that clears removed users")
    }

    /// `TOKENS_TABLE`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn tokens_table(&self) -> Result<String, InvalidVariable> {
        self.required("TOKENS_TABLE", "must be the name of the table of tokens")
    }

    /// `PEPPERS`: every version whose hashes are honoured. New hashes are made under the highest, unless `PEPPER_VERSION`
    /// names another one: a version has to be known everywhere before it is used anywhere.
    ///
    /// ```
    /// # use keygate::config::Environment;
    /// let key = "arn:aws:kms:eu-west-1:123456789012:key/4d7e";
    /// let environment: Environment = [("PEPPERS".to_owned(), format!("1:first:{key},2:second:{key}"))].into_iter().collect();
    /// assert_eq!(environment.peppers().unwrap().current, 2);
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when `PEPPERS` is not set, not of that form, or names a version twice; or when
    /// `PEPPER_VERSION` is none of them.
    pub fn peppers(&self) -> Result<MacKeySources, InvalidVariable> {
        const NAME: &str = "PEPPERS";
        const MUST_BE: &str =
            "must be version:label:KMS key ARN, several separated by commas, each version once";
        let invalid = || InvalidVariable { name: NAME, must_be: MUST_BE.to_owned() };
        let list = self.required(NAME, MUST_BE)?;
        let versions: Vec<_> =
            list.split(',').map(mac_key_source).collect::<Option<_>>().ok_or_else(invalid)?;
        let mut numbers: Vec<u32> = versions.iter().map(|source| source.version).collect();
        numbers.sort_unstable();
        if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(invalid());
        }
        let mut sources = MacKeySources { current: numbers.pop().ok_or_else(invalid)?, versions };
        if let Some(version) = self.text("PEPPER_VERSION") {
            let listed = sources.versions.iter().find(|source| source.version.to_string() == version);
            let must_be = "must be one of the versions that PEPPERS lists".to_owned();
            sources.current = listed.ok_or(InvalidVariable { name: "PEPPER_VERSION", must_be })?.version;
        }
        Ok(sources)
    }

    /// `REPLAY_KEY`: what the secrets of idempotent creates are derived from, in the form of one of `PEPPERS`. What was
    /// remembered under another one is not found again, so there is no use for more than one.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set or not of that form.
    pub fn replay_key(&self) -> Result<MacKeySource, InvalidVariable> {
        self.mac_key_source("REPLAY_KEY")
    }

    /// `ROTATION_KEY`: the same for idempotent rotations. It is another key, so that neither function can derive the secrets of
    /// the other.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set or not of that form.
    pub fn rotation_key(&self) -> Result<MacKeySource, InvalidVariable> {
        self.mac_key_source("ROTATION_KEY")
    }

    /// `RETENTION_DAYS`: how long an expired key can still be seen; 30 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 1 to 3650.
    pub fn retention(&self) -> Result<TimeDelta, InvalidVariable> {
        self.number("RETENTION_DAYS", 30, 1..=3650).map(|days| TimeDelta::days(days.into()))
    }

    /// `ACTIVITY_RETENTION_DAYS`: how long the audit trail goes back; 365 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 1 to 3650.
    pub fn activity_retention(&self) -> Result<TimeDelta, InvalidVariable> {
        self.number("ACTIVITY_RETENTION_DAYS", 365, 1..=3650).map(|days| TimeDelta::days(days.into()))
    }

    /// `KEYS_PER_USER`: how many keys that have not expired a user may have; 100 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 1 to 1000.
    pub fn keys_per_user(&self) -> Result<u32, InvalidVariable> {
        self.number("KEYS_PER_USER", 100, 1..=1000)
    }

    /// `MAX_REMOVED_USERS`: how many users whom a workspace does not know requests may remove from it; 10,000 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 1 to 1000000.
    pub fn max_removed_users(&self) -> Result<u32, InvalidVariable> {
        self.number("MAX_REMOVED_USERS", 10_000, 1..=1_000_000)
    }

    /// `MAX_LIFETIME_DAYS`: the longest life of a key, counted from when its expiry is set; without end where it is 0 or
    /// not set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 0 to 36500.
    pub fn max_lifetime(&self) -> Result<Option<TimeDelta>, InvalidVariable> {
        let days = self.number("MAX_LIFETIME_DAYS", 0, 0..=36_500)?;
        Ok((days > 0).then(|| TimeDelta::days(days.into())))
    }

    /// `CORS_ALLOW_ORIGIN`: the one origin whose pages may call the management API from a browser; none unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no origin (RFC 6454, section 6.2), nor `*`.
    pub fn cors_allow_origin(&self) -> Result<Option<String>, InvalidVariable> {
        let Some(origin) = self.text("CORS_ALLOW_ORIGIN") else { return Ok(None) };
        let host = origin.strip_prefix("https://").or(origin.strip_prefix("http://"));
        let is_host = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
        };
        if origin == "*" || host.is_some_and(is_host) {
            return Ok(Some(origin.to_owned()));
        }
        let must_be = "must be an origin such as https://dashboard.example.com, or *".to_owned();
        Err(InvalidVariable { name: "CORS_ALLOW_ORIGIN", must_be })
    }

    /// `AUTHORIZER_ANSWER`: `policy` unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is none of `policy`, `simple` and `simple-uncached`.
    pub fn authorizer_answer(&self) -> Result<AuthorizerAnswer, InvalidVariable> {
        match self.text("AUTHORIZER_ANSWER") {
            None | Some("policy") => Ok(AuthorizerAnswer::Policy),
            Some("simple") => Ok(AuthorizerAnswer::Simple),
            Some("simple-uncached") => Ok(AuthorizerAnswer::SimpleUncached),
            Some(_) => Err(InvalidVariable {
                name: "AUTHORIZER_ANSWER",
                must_be: "must be policy, simple or simple-uncached".to_owned(),
            }),
        }
    }

    /// `AUTHORIZER_BUDGET_MS`: how long the store may take before the authorizer gives up; 2000 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 100 to 4000.
    pub fn authorizer_budget(&self) -> Result<Duration, InvalidVariable> {
        self.number("AUTHORIZER_BUDGET_MS", 2000, 100..=4000)
            .map(|budget| Duration::from_millis(budget.into()))
    }

    /// `CACHE_SECONDS`: for how long the authorizer takes its own word for a credential; 0 unless set, so that a deleted
    /// key is refused at once.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 0 to 300.
    pub fn cache_seconds(&self) -> Result<TimeDelta, InvalidVariable> {
        self.number("CACHE_SECONDS", 0, 0..=300).map(|seconds| TimeDelta::seconds(seconds.into()))
    }

    /// `STALE_IF_ERROR_SECONDS`: for how long the authorizer takes its own word for an accepted credential while the
    /// store fails; 0 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 0 to 3600.
    pub fn stale_if_error(&self) -> Result<TimeDelta, InvalidVariable> {
        self.number("STALE_IF_ERROR_SECONDS", 0, 0..=3600).map(|seconds| TimeDelta::seconds(seconds.into()))
    }

    /// `LAST_USED_INTERVAL`: for how many seconds a key may be used before it is written again that it was; 900 unless
    /// set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 0 to 86400.
    pub fn last_used_interval(&self) -> Result<TimeDelta, InvalidVariable> {
        self.number("LAST_USED_INTERVAL", 900, 0..=86_400).map(|seconds| TimeDelta::seconds(seconds.into()))
    }

    /// `AFTER_BUDGET_MS`: how long writing after the answer may take; 1000 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 100 to 4000.
    pub fn after_budget(&self) -> Result<Duration, InvalidVariable> {
        self.number("AFTER_BUDGET_MS", 1000, 100..=4000).map(|budget| Duration::from_millis(budget.into()))
    }

    /// `CALL_ACTIVITY`: how often calls of one key with one method to one route are written to the audit trail: `minute`
    /// (unless set) for once a minute with their number, `each` for every one, `off` for none.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is none of these.
    pub fn call_activity(&self) -> Result<Option<TimeDelta>, InvalidVariable> {
        match self.text("CALL_ACTIVITY") {
            None | Some("minute") => Ok(Some(TimeDelta::minutes(1))),
            Some("each") => Ok(Some(TimeDelta::zero())),
            Some("off") => Ok(None),
            Some(_) => {
                let must_be = "must be minute, each or off".to_owned();
                Err(InvalidVariable { name: "CALL_ACTIVITY", must_be })
            }
        }
    }

    /// `EVENT_BUS`: the name of the bus that events go to; `default` unless set.
    #[must_use]
    pub fn event_bus(&self) -> String {
        self.text("EVENT_BUS").unwrap_or("default").to_owned()
    }

    /// When keys are disabled that nobody uses: after `DISABLE_UNUSED_DAYS` without use, and announced `UNUSED_NOTICE_DAYS`
    /// before; 14 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when `DISABLE_UNUSED_DAYS` is not set, or no number from 2 to 3650; or when `UNUSED_NOTICE_DAYS` is
    /// no number from 1 up to and without that.
    pub fn unused_rules(&self) -> Result<UnusedRules, InvalidVariable> {
        let days = self.number("DISABLE_UNUSED_DAYS", 0, 2..=3650)?;
        let notice_days = self.number("UNUSED_NOTICE_DAYS", 14, 1..=days - 1)?;
        Ok(UnusedRules { days, notice_days })
    }

    /// `AUTHORIZER_CACHES`: the stages whose authorizer caches are to be cleared, separated by commas.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set, or one is no [`Stage`].
    pub fn authorizer_caches(&self) -> Result<Vec<Stage>, InvalidVariable> {
        const NAME: &str = "AUTHORIZER_CACHES";
        const MUST_BE: &str =
            "must be restapis/{id}/stages/{stage} or apis/{id}/stages/{stage}, several separated by commas";
        let list = self.required(NAME, MUST_BE)?;
        let stages = list.split(',').map(|stage| stage.trim().parse());
        stages
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidVariable { name: NAME, must_be: MUST_BE.to_owned() })
    }

    /// `CLEAR_AGAIN_QUEUE`: the URL of the queue that says when to clear caches again.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn clear_again_queue(&self) -> Result<String, InvalidVariable> {
        self.required(
            "CLEAR_AGAIN_QUEUE",
            "must be the URL of the queue that says when to clear caches again",
        )
    }

    /// `METRICS_STACK`: the deployment that metrics are of; `keygate` unless set.
    #[must_use]
    pub fn metrics_stack(&self) -> String {
        self.text("METRICS_STACK").unwrap_or("keygate").to_owned()
    }

    /// `ACCESS_TOKEN_SECONDS`: the longest life of an access token; 3600 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 60 to 86400.
    pub fn access_token_lifetime(&self) -> Result<TimeDelta, InvalidVariable> {
        self.number("ACCESS_TOKEN_SECONDS", 3600, 60..=86_400)
            .map(|seconds| TimeDelta::seconds(seconds.into()))
    }

    /// `REFRESH_TOKEN_DAYS`: how long access tokens can be renewed without the key; 30 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 1 to 365.
    pub fn refresh_token_lifetime(&self) -> Result<TimeDelta, InvalidVariable> {
        self.number("REFRESH_TOKEN_DAYS", 30, 1..=365).map(|days| TimeDelta::days(days.into()))
    }

    /// `REFRESH_REUSE_SECONDS`: for how long after its first use a refresh token that is used again gets other tokens, because its
    /// client may have lost the answer; 0 unless set, so that it works once.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 0 to 60.
    pub fn refresh_reuse(&self) -> Result<TimeDelta, InvalidVariable> {
        self.number("REFRESH_REUSE_SECONDS", 0, 0..=60).map(|seconds| TimeDelta::seconds(seconds.into()))
    }

    /// `TOKENS_PER_KEY`: how many tokens of a key may work at the same time; 1000 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 2 to 100000.
    pub fn tokens_per_key(&self) -> Result<u32, InvalidVariable> {
        self.number("TOKENS_PER_KEY", 1000, 2..=100_000)
    }

    /// `OAUTH_ISSUER`: the address at which clients find the OAuth API, without a `/` at its end (RFC 8414, section 2).
    /// Unless set it is the API's own host.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no such address.
    pub fn oauth_issuer(&self) -> Result<Option<String>, InvalidVariable> {
        let Some(issuer) = self.text("OAUTH_ISSUER") else { return Ok(None) };
        let rest = issuer.strip_prefix("https://").or(issuer.strip_prefix("http://127.0.0.1:"));
        if rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with('/') && !rest.contains(['?', '#'])) {
            return Ok(Some(issuer.to_owned()));
        }
        let must_be =
            "must be an address such as https://auth.example.com, without a / at its end".to_owned();
        Err(InvalidVariable { name: "OAUTH_ISSUER", must_be })
    }

    /// `LEGACY_KEYS_TABLE`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn legacy_keys_table(&self) -> Result<String, InvalidVariable> {
        self.required("LEGACY_KEYS_TABLE", "must be the name of the table of legacy keys")
    }

    /// `LEGACY_SUNSET`: from when on no legacy key works, as RFC 3339 has times; none is honoured unless it is set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no such time.
    pub fn legacy_sunset(&self) -> Result<Option<DateTime<Utc>>, InvalidVariable> {
        let Some(text) = self.text("LEGACY_SUNSET") else { return Ok(None) };
        let must_be = || "must be a time in the form of RFC 3339".to_owned();
        let sunset = DateTime::parse_from_rfc3339(text)
            .map_err(|_| InvalidVariable { name: "LEGACY_SUNSET", must_be: must_be() })?;
        Ok(Some(whole_second(sunset.into())))
    }

    /// How legacy keys are told from everything else, if any are honoured: `LEGACY_PATTERN`, a regular expression that
    /// matches the whole of one, and `LEGACY_HEADER`, a header that they may be sent in beside `Authorization`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when `LEGACY_SUNSET` is set and `LEGACY_PATTERN` is no regular expression, or `LEGACY_HEADER` no
    /// name of a header.
    pub fn legacy_rules(&self) -> Result<Option<LegacyRules>, InvalidVariable> {
        let Some(sunset) = self.legacy_sunset()? else { return Ok(None) };
        let pattern = self.text("LEGACY_PATTERN").and_then(LegacyRules::pattern);
        let must_be = "must be a regular expression that matches the whole of a legacy key".to_owned();
        let pattern = pattern.ok_or(InvalidVariable { name: "LEGACY_PATTERN", must_be })?;
        let header = self.text("LEGACY_HEADER").map(str::to_ascii_lowercase);
        let is_name = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if header.as_ref().is_some_and(|name| !is_name(name) || name == "authorization") {
            let must_be = "must be the name of a header, other than Authorization".to_owned();
            return Err(InvalidVariable { name: "LEGACY_HEADER", must_be });
        }
        Ok(Some(LegacyRules { sunset, pattern, header }))
    }

    /// `LOG_LEVEL`: `info` unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is none of `error`, `warn`, `info` and `debug`. There is no `trace`: at that level
    /// the Lambda runtime prints events, and events hold credentials.
    pub fn log_level(&self) -> Result<Level, InvalidVariable> {
        match self.text("LOG_LEVEL") {
            Some("error") => Ok(Level::ERROR),
            Some("warn") => Ok(Level::WARN),
            None | Some("info") => Ok(Level::INFO),
            Some("debug") => Ok(Level::DEBUG),
            Some(_) => {
                let must_be = "must be error, warn, info or debug".to_owned();
                Err(InvalidVariable { name: "LOG_LEVEL", must_be })
            }
        }
    }

    /// What Lambda tells every function about AWS.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the region or the role's credentials are not set.
    pub fn aws(&self) -> Result<AwsSettings, InvalidVariable> {
        let endpoint = |name| self.text(name).or(self.text("AWS_ENDPOINT_URL")).map(str::to_owned);
        Ok(AwsSettings {
            region: self.required("AWS_REGION", "must be set, as Lambda does")?,
            access_key_id: self.required("AWS_ACCESS_KEY_ID", "must be set, as Lambda does")?,
            secret_access_key: self.required("AWS_SECRET_ACCESS_KEY", "must be set, as Lambda does")?.into(),
            session_token: self.text("AWS_SESSION_TOKEN").map(SecretString::from),
            dynamodb_endpoint: endpoint("AWS_ENDPOINT_URL_DYNAMODB"),
            kms_endpoint: endpoint("AWS_ENDPOINT_URL_KMS"),
            lambda_endpoint: endpoint("AWS_ENDPOINT_URL_LAMBDA"),
            events_endpoint: endpoint("AWS_ENDPOINT_URL_EVENTBRIDGE"),
            queues_endpoint: endpoint("AWS_ENDPOINT_URL_SQS"),
            gateway_endpoint: endpoint("AWS_ENDPOINT_URL_API_GATEWAY"),
            url_suffix: self.text("URL_SUFFIX").unwrap_or("amazonaws.com").to_owned(),
            ca_bundle: self.text("AWS_CA_BUNDLE").map(str::to_owned),
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &'static str, must_be: &str) -> Result<String, InvalidVariable> {
        self.text(name)
            .map(str::to_owned)
            .ok_or_else(|| InvalidVariable { name, must_be: must_be.to_owned() })
    }

    fn mac_key_source(&self, name: &'static str) -> Result<MacKeySource, InvalidVariable> {
        const MUST_BE: &str = "must be version:label:KMS key ARN";
        let invalid = || InvalidVariable { name, must_be: MUST_BE.to_owned() };
        mac_key_source(&self.required(name, MUST_BE)?).ok_or_else(invalid)
    }

    fn parsed<T: FromStr>(
        &self,
        name: &'static str,
        default: &str,
        must_be: &str,
    ) -> Result<T, InvalidVariable> {
        let value = self.text(name).unwrap_or(default);
        value.parse().map_err(|_| InvalidVariable { name, must_be: must_be.to_owned() })
    }

    fn number(
        &self,
        name: &'static str,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Result<u32, InvalidVariable> {
        let must_be = format!("must be a whole number from {} to {}", range.start(), range.end());
        let number = self.parsed(name, &default.to_string(), &must_be)?;
        if range.contains(&number) { Ok(number) } else { Err(InvalidVariable { name, must_be }) }
    }
}

fn mac_key_source(text: &str) -> Option<MacKeySource> {
    let mut parts = text.trim().splitn(3, ':').map(str::to_owned);
    let version = parts.next()?.parse().ok()?;
    let label = parts.next().filter(|label| !label.is_empty())?;
    let kms_key = parts.next().filter(|key| key.starts_with("arn:"))?;
    Some(MacKeySource { version, label, kms_key })
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_not_set_has_its_default() {
        let empty = environment(&[("BRAND", ""), ("KEYS_PER_USER", "")]);
        assert_eq!(empty.brand().unwrap().as_str(), "kg");
        assert_eq!(empty.keys_per_user(), Ok(100));
        assert_eq!(empty.max_removed_users(), Ok(10_000));
        assert_eq!(empty.retention(), Ok(TimeDelta::days(30)));
        assert_eq!(empty.activity_retention(), Ok(TimeDelta::days(365)));
        assert_eq!(empty.authorizer_answer(), Ok(AuthorizerAnswer::Policy));
        assert_eq!(empty.authorizer_budget(), Ok(Duration::from_secs(2)));
        assert_eq!(empty.refresh_reuse(), Ok(TimeDelta::zero()));
        assert_eq!(empty.tokens_per_key(), Ok(1000));
        assert_eq!(empty.log_level(), Ok(Level::INFO));
    }

    #[test]
    fn unused_keys_are_announced_before_they_are_disabled_or_nothing_starts() {
        let rules = |days, notice_days| {
            environment(&[("DISABLE_UNUSED_DAYS", days), ("UNUSED_NOTICE_DAYS", notice_days)]).unused_rules()
        };
        assert_eq!(rules("90", ""), Ok(UnusedRules { days: 90, notice_days: 14 }));
        assert_eq!(rules("2", "1"), Ok(UnusedRules { days: 2, notice_days: 1 }));
        for (days, notice_days, wrong) in [
            ("", "", "DISABLE_UNUSED_DAYS"),
            ("0", "1", "DISABLE_UNUSED_DAYS"),
            ("1", "1", "DISABLE_UNUSED_DAYS"),
            ("3651", "14", "DISABLE_UNUSED_DAYS"),
            ("14", "", "UNUSED_NOTICE_DAYS"),
            ("90", "0", "UNUSED_NOTICE_DAYS"),
        ] {
            assert_eq!(rules(days, notice_days).unwrap_err().name, wrong, "{days} {notice_days}");
        }
    }

    #[test]
    fn an_error_names_the_variable_and_what_it_must_be_and_not_its_value() {
        let wrong = environment(&[("KEYS_PER_USER", "kg_key_secret"), ("LOG_LEVEL", "trace")]);
        assert_eq!(
            wrong.keys_per_user().unwrap_err().to_string(),
            "environment variable KEYS_PER_USER must be a whole number from 1 to 1000"
        );
        assert_eq!(
            wrong.log_level().unwrap_err().to_string(),
            "environment variable LOG_LEVEL must be error, warn, info or debug"
        );
        assert!(wrong.keys_table().unwrap_err().to_string().contains("KEYS_TABLE must be"));
    }

    #[test]
    fn peppers_are_version_label_and_key_each_version_once() {
        let peppers = |value| environment(&[("PEPPERS", value)]).peppers();
        let two =
            peppers("1:one:arn:aws:kms:eu-west-1:1:key/a, 2:two:arn:aws:kms:eu-west-1:1:key/b").unwrap();
        assert_eq!((two.versions[1].version, two.versions[1].label.as_str(), two.current), (2, "two", 2));
        assert_eq!(two.versions[1].kms_key, "arn:aws:kms:eu-west-1:1:key/b");
        for wrong in [
            "",
            "one",
            "1:one",
            "1:one:key/a",
            "1::arn:aws:kms",
            "x:one:arn:a",
            "1:a:arn:a,1:b:arn:b",
            "1:a:arn:a,",
        ] {
            assert!(peppers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_origin_may_be_allowed_and_none_is_unless_said() {
        assert_eq!(environment(&[]).cors_allow_origin(), Ok(None));
        for valid in ["https://dashboard.example.com", "http://localhost:5173", "*"] {
            let allowed = environment(&[("CORS_ALLOW_ORIGIN", valid)]).cors_allow_origin();
            assert_eq!(allowed, Ok(Some(valid.to_owned())));
        }
        for wrong in
            ["dashboard.example.com", "https://", "https://a.example/path", "null", "https://a\nb", "ftp://a"]
        {
            assert!(environment(&[("CORS_ALLOW_ORIGIN", wrong)]).cors_allow_origin().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pepper_can_be_known_before_it_is_used() {
        let current = |version| {
            let peppers =
                ("PEPPERS", "1:one:arn:aws:kms:eu-west-1:1:key/a,2:two:arn:aws:kms:eu-west-1:1:key/b");
            environment(&[peppers, ("PEPPER_VERSION", version)]).peppers().map(|peppers| peppers.current)
        };
        assert_eq!((current(""), current("1"), current("2")), (Ok(2), Ok(1), Ok(2)));
        assert!(current("3").is_err() && current("01").is_err());
    }

    #[test]
    fn an_endpoint_of_one_service_goes_before_that_of_all() {
        let settings = environment(&[
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_ENDPOINT_URL", "http://all"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb"),
        ])
        .aws()
        .unwrap();
        assert_eq!(settings.dynamodb_endpoint.as_deref(), Some("http://dynamodb"));
        assert_eq!(settings.kms_endpoint.as_deref(), Some("http://all"));
        assert!(!format!("{settings:?}").contains("secret\""));
    }
}

//! Cache invalidation: clears API Gateway's authorizer caches after a revocation, for the stages that are listed.
//!
//! API Gateway keeps an authorizer's response for the cache time of its authorizer, and can only forget the responses for all
//! keys of a stage at once. Keygate clears a stage twice. The first time is at once, so that a revoked key stops within
//! seconds. The second time is after every cached and every in-flight decision of the authorizer has ended, because API
//! Gateway may have cached one of those after the first time.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use http::{Method, StatusCode};
use keygate_core::audit_event::{Action, InvalidAction};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error as ThisError;

use crate::authorizer::settings::CacheSettings;
use crate::aws::Aws;
use crate::aws::signature::ServiceRequest;
use crate::aws::sigv4_client::{CallError, SigV4Client};

/// The longest delay of a message in SQS.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-timers.html>
const MAX_DELAY: TimeDelta = TimeDelta::minutes(15);

/// How long a decision that was read before a change may be in flight: the timeout of the authorizer's function, and the way
/// to API Gateway.
const INFLIGHT_GRACE: TimeDelta = TimeDelta::seconds(10);

/// The fields of a key that the authorizer's response depends on.
const DECISIVE_FIELDS: [&str; 6] = ["scopes", "endpoints", "networks", "limits", "expires_at", "disabled"];

/// A stage of an API: `restapis/{id}/stages/{stage}`, or `apis/{id}/stages/{stage}` for an HTTP API. That is how API
/// Gateway's own paths and ARNs name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    is_rest: bool,
    api: String,
    name: String,
}

/// A text that is not a [`Stage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("must be restapis/{{id}}/stages/{{stage}} or apis/{{id}}/stages/{{stage}}")]
pub struct InvalidStage;

impl FromStr for Stage {
    type Err = InvalidStage;

    fn from_str(text: &str) -> Result<Self, InvalidStage> {
        let parts: Vec<_> = text.split('/').collect();
        let [kind, api, "stages", name] = parts[..] else { return Err(InvalidStage) };
        let is_rest = match kind {
            "restapis" => true,
            "apis" => false,
            _ => return Err(InvalidStage),
        };
        let is_id = !api.is_empty() && api.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_name = name == "$default"
            || !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if is_id && is_name {
            Ok(Self { is_rest, api: api.to_owned(), name: name.to_owned() })
        } else {
            Err(InvalidStage)
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_rest { "restapis" } else { "apis" };
        write!(formatter, "{kind}/{}/stages/{}", self.api, self.name)
    }
}

impl Stage {
    /// The path of its authorizer caches, percent-encoded: that of `FlushStageAuthorizersCache` for a REST API, of
    /// `ResetAuthorizersCache` for an HTTP API.
    fn cache_path(&self) -> String {
        let version = if self.is_rest { "" } else { "/v2" };
        format!("{version}/{self}/cache/authorizers").replace('$', "%24")
    }
}

/// The fields of an audit event that say whether a cached decision may be wrong.
#[derive(Debug, Deserialize)]
pub struct AuditedChange {
    action: String,
    changed: Option<Vec<String>>,
}

impl AuditedChange {
    /// Whether a decision that was right before the change may be wrong after it. An update that does not list its fields
    /// may have changed any, and an action that this version does not know may revoke a key.
    #[must_use]
    pub fn revokes(&self) -> bool {
        let is_decisive =
            |fields: &Vec<String>| fields.iter().any(|field| DECISIVE_FIELDS.contains(&field.as_str()));
        match Action::parse(&self.action) {
            Ok(Action::KeyUpdated) => self.changed.as_ref().is_none_or(is_decisive),
            Ok(action) => action.revokes(),
            Err(InvalidAction) => true,
        }
    }
}

/// A message of the queue: clear the caches once more at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledInvalidation {
    /// The earliest time, in whole seconds.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub invalidate_at: DateTime<Utc>,
}

/// Clears the authorizer caches of the listed stages.
#[derive(Debug)]
pub struct CacheInvalidator {
    sigv4: SigV4Client,
    gateway_url: String,
    sqs_url: String,
    queue: String,
    stages: Vec<Stage>,
    cache_ttl: TimeDelta,
}

/// `AUTHORIZER_CACHES`: the stages whose authorizer caches are to be cleared, separated by commas.
///
/// # Errors
///
/// [`InvalidVariable`] when it is not set, or one is no [`Stage`].
fn stages(environment: &Environment) -> Result<Vec<Stage>, InvalidVariable> {
    const NAME: &str = "AUTHORIZER_CACHES";
    const MUST_BE: &str =
        "must be restapis/{id}/stages/{stage} or apis/{id}/stages/{stage}, several separated by commas";
    let list = environment.required(NAME, MUST_BE)?;
    let stages = list.split(',').map(|stage| stage.trim().parse());
    stages.collect::<Result<_, _>>().map_err(|_| InvalidVariable::new(NAME, MUST_BE))
}

impl CacheInvalidator {
    /// Takes from the environment the stages (`AUTHORIZER_CACHES`), the URL of the queue of [`ScheduledInvalidation`]s
    /// (`CACHE_INVALIDATION_QUEUE`), and the longest time for which an environment of the authorizer reuses a decision
    /// ([`CacheSettings`]).
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one of them is missing or wrong.
    pub fn new(aws: &Aws, environment: &Environment) -> Result<Self, InvalidVariable> {
        let cache = CacheSettings::from_environment(environment)?;
        let must_be = "must be the URL of the queue of scheduled cache invalidations";
        Ok(Self {
            sigv4: aws.sigv4(),
            gateway_url: aws.settings().gateway_url(),
            sqs_url: aws.settings().queues_url(),
            queue: environment.required("CACHE_INVALIDATION_QUEUE", must_be)?,
            stages: stages(environment)?,
            cache_ttl: cache.fresh_for.max(cache.stale_for),
        })
    }

    /// Invalidates the caches after changes of which at least one may revoke a key. A change that cannot be read may.
    ///
    /// # Errors
    ///
    /// As [`Self::invalidate_after_revocation`] says.
    pub async fn invalidate_after(
        &self,
        changes: impl IntoIterator<Item = Result<AuditedChange, Error>>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let revokes = |change: Result<AuditedChange, Error>| change.map_or(true, |change| change.revokes());
        if changes.into_iter().any(revokes) { self.invalidate_after_revocation(now).await } else { Ok(()) }
    }

    /// Schedules the second invalidation after a revocation, then makes the first. In this order, so that the second happens even if
    /// the function ends between the two.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the invalidation was not scheduled, or a stage was not cleared. All of it can be repeated.
    pub async fn invalidate_after_revocation(&self, now: DateTime<Utc>) -> Result<(), Error> {
        self.schedule(ScheduledInvalidation { invalidate_at: now + self.cache_ttl + INFLIGHT_GRACE }, now)
            .await?;
        self.invalidate().await
    }

    /// Makes one invalidation for all that are due, and schedules the latest of the others again: SQS delays a message by at most
    /// 15 minutes.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: an invalidation was not scheduled, or a stage was not cleared. All of it can be repeated.
    pub async fn invalidate_scheduled(
        &self,
        scheduled: &[ScheduledInvalidation],
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let (due, early): (Vec<ScheduledInvalidation>, Vec<ScheduledInvalidation>) =
            scheduled.iter().partition(|invalidation| invalidation.invalidate_at <= now);
        if let Some(last) = early.into_iter().max_by_key(|invalidation| invalidation.invalidate_at) {
            self.schedule(last, now).await?;
        }
        if due.is_empty() { Ok(()) } else { self.invalidate().await }
    }

    /// Clears every stage, even if others fail.
    async fn invalidate(&self) -> Result<(), Error> {
        let mut result = Ok(());
        for stage in &self.stages {
            let request = ServiceRequest {
                service: "apigateway",
                method: Method::DELETE,
                url: &format!("{}{}", self.gateway_url, stage.cache_path()),
                headers: &[],
                body: b"",
            };
            match self.sigv4.call(&request).await {
                Ok(_) => tracing::info!(%stage, "authorizer caches cleared"),
                // Trying again would not make it exist.
                Err(CallError::Refused(response)) if response.status == StatusCode::NOT_FOUND => {
                    tracing::error!(%stage, %response, "no such stage: AUTHORIZER_CACHES is out of date");
                }
                Err(error) => {
                    tracing::warn!(%stage, %error, "authorizer caches not cleared");
                    result = Err(error.of("API Gateway"));
                }
            }
        }
        result
    }

    async fn schedule(&self, invalidation: ScheduledInvalidation, now: DateTime<Utc>) -> Result<(), Error> {
        let delay = (invalidation.invalidate_at - now).min(MAX_DELAY);
        let body = json!({
            "QueueUrl": self.queue,
            // Never early by a fraction of a second.
            "DelaySeconds": (delay.num_milliseconds() + 999) / 1000,
            "MessageBody": json!(invalidation).to_string(),
        });
        let body = body.to_string();
        let request = ServiceRequest {
            service: "sqs",
            method: Method::POST,
            url: &self.sqs_url,
            headers: &[
                ("content-type", "application/x-amz-json-1.0"),
                ("x-amz-target", "AmazonSQS.SendMessage"),
            ],
            body: body.as_bytes(),
        };
        self.sigv4.call(&request).await.map_err(|error| error.of("SQS"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::test_server::{ArrivedRequest, TestServer, response};

    const NOW: DateTime<Utc> = DateTime::from_timestamp(1_795_341_432, 0).unwrap();

    fn invalidator(server: &TestServer, cache_ttl: TimeDelta) -> CacheInvalidator {
        let seconds = cache_ttl.num_seconds().to_string();
        let environment = Environment::from_iter([
            ("AUTHORIZER_CACHES", "restapis/abc123/stages/prod,apis/def456/stages/$default"),
            ("CACHE_INVALIDATION_QUEUE", "https://sqs/1/cache-invalidation"),
            ("STALE_IF_ERROR_SECONDS", &seconds),
        ]);
        CacheInvalidator::new(&server.aws(), &environment).unwrap()
    }

    fn assert_clears(requests: &[ArrivedRequest]) {
        let lines: Vec<_> = requests.iter().map(|request| request.line.as_str()).collect();
        let expected = [
            "DELETE /restapis/abc123/stages/prod/cache/authorizers HTTP/1.1",
            "DELETE /v2/apis/def456/stages/%24default/cache/authorizers HTTP/1.1",
        ];
        assert_eq!(lines, expected);
        for request in requests {
            assert!(request.headers["authorization"].contains("/eu-west-1/apigateway/aws4_request"));
            assert!(request.body.is_empty());
        }
    }

    #[tokio::test]
    async fn stages_are_cleared_after_a_revocation_or_a_change_that_cannot_be_read() {
        let change = |action: &str| Ok(AuditedChange { action: action.to_owned(), changed: None });
        let unreadable = || Err(Error::Broken("a stream record is malformed".to_owned()));
        for (changes, requests) in [
            (vec![], 0),
            (vec![change("key.created"), change("user.reinstated")], 0),
            (vec![change("key.created"), change("key.deleted")], 3),
            (vec![change("key.created"), unreadable()], 3),
        ] {
            let server = TestServer::start(vec![response("200 OK", "{}"); requests]);
            invalidator(&server, TimeDelta::zero()).invalidate_after(changes, NOW).await.unwrap();
            assert_eq!(server.requests().len(), requests);
        }
    }

    #[tokio::test]
    async fn an_invalidation_is_scheduled_before_the_stages_are_cleared() {
        let server = TestServer::start(vec![response("200 OK", "{}"); 3]);
        invalidator(&server, TimeDelta::seconds(30)).invalidate_after_revocation(NOW).await.unwrap();
        let mut requests = server.requests();
        let scheduled = requests.remove(0);
        assert_eq!(scheduled.line, "POST / HTTP/1.1");
        assert_eq!(scheduled.headers["x-amz-target"], "AmazonSQS.SendMessage");
        assert_eq!(scheduled.headers["content-type"], "application/x-amz-json-1.0");
        assert!(scheduled.headers["authorization"].contains("/eu-west-1/sqs/aws4_request"));
        let expected = json!({
            "QueueUrl": "https://sqs/1/cache-invalidation", "DelaySeconds": 40,
            "MessageBody": json!({"invalidate_at": NOW.timestamp() + 40}).to_string(),
        });
        assert_eq!(scheduled.json(), expected);
        assert_clears(&requests);
    }

    #[tokio::test]
    async fn invalidations_that_are_due_are_made_once_and_the_latest_of_the_others_is_scheduled_again() {
        let server = TestServer::start(vec![response("200 OK", "{}"); 3]);
        let invalidations = [-5, 0, 10, 1_000]
            .map(|seconds| ScheduledInvalidation { invalidate_at: NOW + TimeDelta::seconds(seconds) });
        invalidator(&server, TimeDelta::zero()).invalidate_scheduled(&invalidations, NOW).await.unwrap();
        let mut requests = server.requests();
        let scheduled = requests.remove(0).json();
        assert_eq!(scheduled["DelaySeconds"], MAX_DELAY.num_seconds());
        assert_eq!(scheduled["MessageBody"], json!({"invalidate_at": NOW.timestamp() + 1_000}).to_string());
        assert_clears(&requests);
    }

    #[tokio::test]
    async fn a_failing_stage_does_not_keep_others_from_being_cleared_and_an_unknown_one_is_not_a_failure() {
        for (status, expected) in [("403 Forbidden", false), ("404 Not Found", true)] {
            let server = TestServer::start([response(status, "{}"), response("202 Accepted", "")]);
            let due = [ScheduledInvalidation { invalidate_at: NOW }];
            let result = invalidator(&server, TimeDelta::zero()).invalidate_scheduled(&due, NOW).await;
            assert_clears(&server.requests());
            assert_eq!(result.is_ok(), expected, "{status}: {result:?}");
        }
    }

    #[test]
    fn a_stage_is_named_as_api_gateway_names_it() {
        for (text, path) in [
            ("restapis/abc123/stages/prod", "/restapis/abc123/stages/prod/cache/authorizers"),
            ("apis/abc123/stages/prod_1", "/v2/apis/abc123/stages/prod_1/cache/authorizers"),
            ("apis/abc123/stages/$default", "/v2/apis/abc123/stages/%24default/cache/authorizers"),
        ] {
            assert_eq!(text.parse::<Stage>().unwrap().cache_path(), path);
        }
        for wrong in [
            "",
            "abc123/prod",
            "restapi/abc123/stages/prod",
            "restapis//stages/prod",
            "restapis/abc123/stages/",
            "restapis/abc123/stages/prod/x",
            "restapis/a..b/stages/prod",
            "restapis/abc123/stages/$other",
            "restapis/abc123/stage/prod",
        ] {
            assert_eq!(wrong.parse::<Stage>(), Err(InvalidStage), "{wrong}");
        }
    }

    #[test]
    fn only_changes_that_affect_the_authorizers_response_revoke() {
        for (action, changed, revokes) in [
            ("key.deleted", None, true),
            ("key.rotated", None, true),
            ("key.leaked", None, true),
            ("key.overlap_ended", None, true),
            ("legacy.deleted", None, true),
            ("legacy.imported", None, false),
            ("user.removed", None, true),
            ("token.revoked", None, true),
            ("token.reused", None, true),
            ("key.updated", None, true),
            ("key.updated", Some(&["name", "disabled"][..]), true),
            ("key.updated", Some(&["scopes"]), true),
            ("key.updated", Some(&["endpoints"]), true),
            ("key.updated", Some(&["networks"]), true),
            ("key.updated", Some(&["limits"]), true),
            ("key.updated", Some(&["expires_at"]), true),
            ("key.updated", Some(&["name", "description"]), false),
            ("key.updated", Some(&[]), false),
            ("key.created", None, false),
            ("key.expiring", None, false),
            ("key.expired", None, false),
            ("key.purged", None, false),
            // Of another version, older or newer.
            ("key.leaked", None, true),
            ("", None, true),
        ] {
            let change = AuditedChange {
                action: action.to_owned(),
                changed: changed.map(|fields| fields.iter().map(|field| (*field).to_owned()).collect()),
            };
            assert_eq!(change.revokes(), revokes, "{action} {changed:?}");
        }
    }

    /// The names of all actions, of which serde's error about another one has a list.
    fn all_actions() -> Vec<String> {
        let error = serde_json::from_str::<Action>("\"?\"").unwrap_err().to_string();
        let quoted = error.split('`').skip(1).step_by(2).skip(1);
        quoted.map(str::to_owned).collect()
    }

    /// The actions that the filter of the stream keeps from the function.
    fn actions_left_out_by_the_template() -> Vec<String> {
        let fragment = include_str!("../../../../infra/template/functions/invalidate-caches.yaml");
        let mut lines = fragment.lines().skip_while(|line| line.trim() != "InvalidateCachesMapping:");
        let indent = |line: &str| line.len() - line.trim_start().len();
        let key = lines.find(|line| line.trim().ends_with("Pattern: >-")).expect("its filter");
        let pattern: String = lines.take_while(|line| indent(line) > indent(key)).collect();
        let pattern: serde_json::Value = serde_json::from_str(&pattern).expect("JSON");
        let action = &pattern["dynamodb"]["NewImage"]["action"]["S"];
        let names = action[0]["anything-but"].as_array().expect("a list of actions").iter();
        names.map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    #[test]
    fn the_filter_of_the_stream_leaves_out_exactly_the_actions_that_never_revoke() {
        let all = all_actions();
        assert!(all.len() >= 20 && all.iter().all(|name| Action::parse(name).is_ok()), "{all:?}");
        let mut harmless: Vec<_> =
            all.into_iter().filter(|name| !Action::parse(name).is_ok_and(Action::revokes)).collect();
        let mut left_out = actions_left_out_by_the_template();
        harmless.sort();
        left_out.sort();
        assert_eq!(left_out, harmless);
    }
}

//! Revocation that reaches API Gateway: clearing the authorizer caches of the stages in front of which a key was good.
//!
//! API Gateway keeps an authorizer's answer for the cache time of its authorizer and cannot be told about one key, only to
//! forget everything. That is done at once, so that a revoked key stops within seconds; and again once no function can
//! take its own word for the key any more, and none is at work that read it before: what it answers in between is cached
//! again.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error as ThisError;

use crate::activity::{Action, InvalidAction};
use crate::aws::Aws;
use crate::aws::sigv4_client::{CallError, ServiceRequest, SigV4Client};
use crate::error::Error;

/// The longest time for which SQS holds a message back.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-timers.html>
const LONGEST_DELAY: TimeDelta = TimeDelta::minutes(15);

/// How long an authorizer may be at work with what it read before a change: its function's timeout, and some more until
/// API Gateway has its answer.
const AT_WORK: TimeDelta = TimeDelta::seconds(10);

/// Which fields of a key the authorizer's answer depends on.
const DECISIVE: [&str; 4] = ["scopes", "endpoints", "expires_at", "disabled"];

/// A stage of an API: `restapis/{id}/stages/{stage}`, or `apis/{id}/stages/{stage}` for an HTTP API. That is how API
/// Gateway's own paths and ARNs name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    is_rest: bool,
    api: String,
    name: String,
}

/// A text that is no [`Stage`].
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
    /// The path of its authorizer caches: `FlushStageAuthorizersCache` of REST APIs, `ResetAuthorizersCache` of HTTP APIs.
    fn caches(&self) -> String {
        let version = if self.is_rest { "" } else { "/v2" };
        format!("{version}/{self}/cache/authorizers").replace('$', "%24")
    }
}

/// A change, as far as it says whether caches may hold what is not true any more.
#[derive(Debug, Deserialize)]
pub struct Change {
    action: String,
    changed: Option<Vec<String>>,
}

impl Change {
    /// Whether an answer that was right before the change may be wrong now. A change that does not say what it changed may
    /// have changed anything, and an action that this version does not know may revoke anything.
    #[must_use]
    pub fn revokes(&self) -> bool {
        let is_decisive =
            |fields: &Vec<String>| fields.iter().any(|field| DECISIVE.contains(&field.as_str()));
        match Action::parse(&self.action) {
            Ok(Action::KeyUpdated) => self.changed.as_ref().is_none_or(is_decisive),
            Ok(action) => action.revokes(),
            Err(InvalidAction) => true,
        }
    }
}

/// A message to ourselves: clear again, at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// When.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub clear_at: DateTime<Utc>,
}

/// Clears caches.
#[derive(Debug)]
pub struct Clearer {
    sigv4: SigV4Client,
    gateway: String,
    queues: String,
    queue: String,
    stages: Vec<Stage>,
    /// For how long a function may take its own word for a credential.
    own_word: TimeDelta,
}

impl Clearer {
    /// Takes the stages, the queue's URL, and for how long the authorizer's functions take their own word.
    #[must_use]
    pub fn new(aws: &Aws, stages: Vec<Stage>, queue: String, own_word: TimeDelta) -> Self {
        Self {
            sigv4: aws.sigv4(),
            gateway: aws.settings().gateway_url(),
            queues: aws.settings().queues_url(),
            queue,
            stages,
            own_word,
        }
    }

    /// Clears after something was revoked: asks to be told to do it again, and does it now. In this order, so that
    /// whatever comes in between, it is done.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: something was not done. All of it can be done once more.
    pub async fn after_revocation(&self, now: DateTime<Utc>) -> Result<(), Error> {
        self.ask(Again { clear_at: now + self.own_word + AT_WORK }, now).await?;
        self.clear().await
    }

    /// Clears if it is time for one of the messages, once for all of them, and asks again for the others: SQS holds
    /// messages back for a quarter of an hour at most.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: something was not done. All of it can be done once more.
    pub async fn again(&self, messages: &[Again], now: DateTime<Utc>) -> Result<(), Error> {
        let (due, early): (Vec<Again>, Vec<Again>) =
            messages.iter().partition(|message| message.clear_at <= now);
        if let Some(last) = early.into_iter().max_by_key(|message| message.clear_at) {
            self.ask(last, now).await?;
        }
        if due.is_empty() { Ok(()) } else { self.clear().await }
    }

    /// Clears every stage, whatever becomes of the others.
    async fn clear(&self) -> Result<(), Error> {
        let mut cleared = Ok(());
        for stage in &self.stages {
            let request = ServiceRequest {
                service: "apigateway",
                method: Method::DELETE,
                url: &format!("{}{}", self.gateway, stage.caches()),
                headers: &[],
                body: b"",
            };
            match self.sigv4.call(&request).await {
                Ok(_) => tracing::info!(%stage, "authorizer caches cleared"),
                // Trying again would not make it exist.
                Err(CallError::Refused(refusal)) if refusal.status == StatusCode::NOT_FOUND => {
                    tracing::error!(%stage, %refusal, "no such stage: AUTHORIZER_CACHES is out of date");
                }
                Err(failure) => {
                    tracing::warn!(%stage, %failure, "authorizer caches not cleared");
                    cleared = Err(failure.of("API Gateway"));
                }
            }
        }
        cleared
    }

    async fn ask(&self, again: Again, now: DateTime<Utc>) -> Result<(), Error> {
        let delay = (again.clear_at - now).min(LONGEST_DELAY);
        let body = json!({
            "QueueUrl": self.queue,
            // Never early by a fraction of a second.
            "DelaySeconds": (delay.num_milliseconds() + 999) / 1000,
            "MessageBody": json!(again).to_string(),
        });
        let body = body.to_string();
        let request = ServiceRequest {
            service: "sqs",
            method: Method::POST,
            url: &self.queues,
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

    #[test]
    fn a_stage_is_named_as_api_gateway_names_it() {
        for (text, path) in [
            ("restapis/abc123/stages/prod", "/restapis/abc123/stages/prod/cache/authorizers"),
            ("apis/abc123/stages/prod_1", "/v2/apis/abc123/stages/prod_1/cache/authorizers"),
            ("apis/abc123/stages/$default", "/v2/apis/abc123/stages/%24default/cache/authorizers"),
        ] {
            assert_eq!(text.parse::<Stage>().unwrap().caches(), path);
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
    fn what_an_answer_of_the_authorizer_depends_on_revokes_and_nothing_else_does() {
        for (action, changed, revokes) in [
            ("key.deleted", None, true),
            ("key.rotated", None, true),
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
            let change = Change {
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

    /// What the mapping of the stream leaves out before anything is invoked for it.
    fn left_out_by_template() -> Vec<String> {
        let template = include_str!("../../infra/template.yaml");
        let (_, mapping) = template.split_once("\n  ClearCachesMapping:\n").expect("the mapping");
        let (_, pattern) = mapping.split_once("Pattern: >-\n").expect("its filter");
        let pattern: String = pattern.lines().take_while(|line| line.starts_with("              ")).collect();
        let pattern: serde_json::Value = serde_json::from_str(&pattern).expect("JSON");
        let action = &pattern["dynamodb"]["NewImage"]["action"]["S"];
        let names = action[0]["anything-but"].as_array().expect("what is left out").iter();
        names.map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    #[test]
    fn the_template_leaves_out_what_revokes_nothing_and_lets_every_other_action_through() {
        let all = all_actions();
        assert!(all.len() >= 20 && all.iter().all(|name| Action::parse(name).is_ok()), "{all:?}");
        let mut harmless: Vec<_> =
            all.into_iter().filter(|name| !Action::parse(name).is_ok_and(Action::revokes)).collect();
        let mut left_out = left_out_by_template();
        harmless.sort();
        left_out.sort();
        assert_eq!(left_out, harmless);
    }
}

//! Records calls from an API's access log as events of the audit trail. This includes calls that API Gateway serves from its
//! own cache, of which the authorizer is not told.
//!
//! A line is a JSON object with the members below; other members are ignored. API Gateway writes `-` for an unknown value:
//!
//! | member | of a REST API | of an HTTP or WebSocket API |
//! | --- | --- | --- |
//! | `workspaceId`, `userId`, `keyId` | `$context.authorizer.workspaceId` and so on | the same |
//! | `method` | `$context.httpMethod` | the same |
//! | `resourcePath` or `routeKey` | `$context.resourcePath` | `$context.routeKey` |
//! | `ip` | `$context.identity.sourceIp` | the same |
//! | `errorType` | `$context.error.responseType` | the same |
//! | `credential`, optional | `$context.authorizer.credential` | the same |
//!
//! The time of an event is that of the log entry, not a member of the line.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::{AuditEvent, CallOutcome};
use keygate_core::context::RequestOrigin;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::key::KeyOwner;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use ulid::Ulid;

use crate::authorizer::settings::{UsageSource, usage_retention};
use crate::authorizer::usage_counter::UsageCounter;
use crate::aws::dynamodb::DynamoDb;
use crate::store::WriteOutcome;
use crate::store::activity::ActivityTable;
use crate::store::usage::UsageTable;

/// The number of concurrent writes.
const EVENTS_AT_ONCE: usize = 16;

/// The source of log lines. Together with the id of a line it identifies the line.
#[derive(Clone, Copy, Debug)]
pub struct LogSource<'a> {
    /// The account id.
    pub owner: &'a str,
    /// The log group.
    pub group: &'a str,
    /// The log stream.
    pub stream: &'a str,
}

/// A line of an access log. It has no `Debug`, because an API may log a misplaced credential.
#[derive(Clone, Copy)]
pub struct AccessLogLine<'a> {
    /// The id of the line in its log, the same for each delivery.
    pub id: &'a str,
    /// The time of the line in milliseconds since 1970.
    pub at: i64,
    /// The text.
    pub text: &'a str,
}

/// The parsed content of a line.
#[derive(Debug)]
enum Reading {
    /// A call with a key.
    Call(Box<AuditEvent>),
    /// A call without a key, or with a refused one. It belongs to no user.
    Anonymous,
    /// A line that cannot be parsed. It belongs to no user.
    Invalid,
}

/// The result of processing lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLogSummary {
    /// The number of lines that were recorded as events.
    pub calls: usize,
    /// The number of calls without a key.
    pub anonymous: usize,
    /// The number of lines that could not be parsed.
    pub invalid: usize,
}

/// Records the calls in access logs.
#[derive(Clone, Debug)]
pub struct AccessLogRecorder {
    activity: ActivityTable,
    /// The table in which calls are counted, and how long; `None` if the authorizer counts them.
    counted_in: Option<(UsageTable, TimeDelta)>,
}

impl AccessLogRecorder {
    /// Reads the names of tables and the settings from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is missing or invalid.
    pub fn new(client: &DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        let counted_in = match UsageSource::from_environment(environment)? {
            UsageSource::Authorizer => None,
            UsageSource::AccessLogs => {
                Some((UsageTable::new(client.clone(), environment)?, usage_retention(environment)?))
            }
        };
        Ok(Self { activity: ActivityTable::new(client.clone(), environment)?, counted_in })
    }

    /// Records lines as events, and counts the calls. A line that is delivered again yields the same event, which is written
    /// and counted once.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`], [`Error::Broken`]: some events were not written. Processing the same lines again writes the
    ///   missing ones.
    pub async fn record(
        &self,
        source: LogSource<'_>,
        lines: impl IntoIterator<Item = AccessLogLine<'_>>,
    ) -> Result<AccessLogSummary, Error> {
        let mut recorded = AccessLogSummary::default();
        let mut events = Vec::new();
        for line in lines {
            match read(source, line) {
                Reading::Call(event) => events.push(event),
                Reading::Anonymous => recorded.anonymous += 1,
                Reading::Invalid => recorded.invalid += 1,
            }
        }
        let mut failure = None;
        let mut counter = UsageCounter::new(TimeDelta::zero());
        for events in events.chunks(EVENTS_AT_ONCE) {
            let writes = events.iter().cloned().map(|event| {
                let activity = self.activity.clone();
                async move { (activity.append(&event).await, event) }
            });
            for (written, event) in writes.collect::<JoinSet<_>>().join_all().await {
                match written {
                    Ok(outcome) => {
                        recorded.calls += 1;
                        if let (WriteOutcome::Applied, Some(key_id), Some(called)) =
                            (outcome, event.key_id, event.outcome)
                        {
                            counter.count(key_id, called, event.at);
                        }
                    }
                    Err(error) => failure = Some(error),
                }
            }
        }
        self.add(counter).await;
        failure.map_or(Ok(recorded), Err)
    }

    /// Adds the calls that were recorded for the first time. A failure is logged and not returned: the events are written, so
    /// another delivery would not count them.
    async fn add(&self, mut counter: UsageCounter) {
        let Some((usage, retention)) = &self.counted_in else { return };
        for calls in counter.take() {
            if let Err(error) = usage.add_calls(calls, *retention).await {
                tracing::error!(key_id = %calls.key_id, %error, "calls not counted");
            }
        }
    }
}

/// A line in the documented format.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    workspace_id: Option<String>,
    user_id: Option<String>,
    key_id: Option<String>,
    method: Option<String>,
    resource_path: Option<String>,
    route_key: Option<String>,
    ip: Option<String>,
    error_type: Option<String>,
    credential: Option<String>,
}

fn read(source: LogSource<'_>, line: AccessLogLine<'_>) -> Reading {
    let known = |member: Option<String>| member.filter(|value| !value.is_empty() && value != "-");
    let Ok(members) = serde_json::from_str::<Members>(line.text) else { return Reading::Invalid };
    let ids = [members.workspace_id, members.user_id, members.key_id].map(known);
    if ids.iter().all(Option::is_none) {
        return Reading::Anonymous;
    }
    let [Some(workspace_id), Some(user_id), Some(key_id)] = ids else { return Reading::Invalid };
    let (Ok(workspace_id), Ok(user_id), Ok(key_id), Some(at)) =
        (workspace_id.parse(), user_id.parse(), key_id.parse(), DateTime::from_timestamp_millis(line.at))
    else {
        return Reading::Invalid;
    };
    // As in the authorizer's events, the method of `GET /orders/{id}` has its own attribute.
    let route = known(members.route_key).map(|key| match key.split_once(' ') {
        Some((_, path)) => path.to_owned(),
        None => key,
    });
    let kept = |text: Option<String>| text.filter(|text| RequestOrigin::may_keep(text));
    let origin = RequestOrigin {
        method: kept(known(members.method)),
        path: kept(known(members.resource_path).or(route)),
        source: kept(known(members.ip)),
    };
    let outcome = match members.error_type.as_deref() {
        Some("ACCESS_DENIED") => CallOutcome::Refused("access_denied"),
        _ => CallOutcome::Allowed,
    };
    // Unknown attributes are left out.
    let credential = known(members.credential)
        .and_then(|word| serde_json::from_value(serde_json::Value::String(word)).ok());
    let owner = KeyOwner { workspace_id, user_id, key_id };
    let event = AuditEvent::for_call(&owner, credential, outcome, &origin, at);
    Reading::Call(Box::new(AuditEvent { id: id(source, line, at), ..event }))
}

/// The id of a line's event: the same for each delivery of the line, and unique to the line.
fn id(source: LogSource<'_>, line: AccessLogLine<'_>, at: DateTime<Utc>) -> Ulid {
    let mut digest = Sha256::new();
    for part in [source.owner, source.group, source.stream, line.id] {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    }
    let mut random = [0; 16];
    random.copy_from_slice(&digest.finalize()[..16]);
    Ulid::from_parts(u64::try_from(at.timestamp_millis()).unwrap_or_default(), u128::from_be_bytes(random))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SOURCE: LogSource<'_> = LogSource { owner: "123456789012", group: "access", stream: "a" };

    fn read_text(text: &str) -> Reading {
        read(SOURCE, AccessLogLine { id: "1", at: 1_767_225_600_123, text })
    }

    fn event(line: &Value) -> AuditEvent {
        match read_text(&line.to_string()) {
            Reading::Call(event) => *event,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn line() -> Value {
        json!({"workspaceId": "acme", "userId": "alice", "keyId": "01JD3V6Y4N8Q2Z5X7W9B0C1D2E", "method": "GET",
            "resourcePath": "/orders/{id}", "ip": "203.0.113.7", "errorType": "-", "status": "200"})
    }

    #[test]
    fn a_line_of_a_call_with_a_key_is_an_event_of_its_user() {
        let rest = event(&line());
        assert_eq!((rest.workspace_id.as_str(), rest.actor.as_str()), ("acme", "alice"));
        assert_eq!(rest.key_id.unwrap().to_string(), "01JD3V6Y4N8Q2Z5X7W9B0C1D2E");
        assert_eq!(rest.origin.path.as_deref(), Some("/orders/{id}"));
        assert_eq!((rest.origin.method.as_deref(), rest.outcome), (Some("GET"), Some(CallOutcome::Allowed)));
        assert_eq!(rest.at.timestamp_millis(), 1_767_225_600_123);
        let mut http = line();
        http["resourcePath"] = json!("-");
        http["routeKey"] = json!("GET /orders/{id}");
        http["errorType"] = json!("ACCESS_DENIED");
        let http = event(&http);
        assert_eq!(http.origin.path.as_deref(), Some("/orders/{id}"));
        assert_eq!(http.outcome, Some(CallOutcome::Refused("access_denied")));
    }

    #[test]
    fn a_line_without_an_unambiguous_user_belongs_to_no_user() {
        let mut nobody = line();
        for member in ["workspaceId", "userId", "keyId"] {
            nobody[member] = json!("-");
        }
        assert!(matches!(read_text(&nobody.to_string()), Reading::Anonymous));
        assert!(matches!(read_text(r#"{"status":"401"}"#), Reading::Anonymous));
        for (member, value) in [
            ("workspaceId", json!("-")),
            ("workspaceId", json!("acme#bob")),
            ("workspaceId", json!(7)),
            ("userId", json!("")),
            ("userId", json!("a b")),
            ("keyId", json!("x")),
        ] {
            let mut wrong = line();
            wrong[member] = value.clone();
            assert!(matches!(read_text(&wrong.to_string()), Reading::Invalid), "{member}: {value}");
        }
        for wrong in ["", "GET / 200", "[]", r#"{"userId":"alice","userId":"bob"}"#] {
            assert!(matches!(read_text(wrong), Reading::Invalid), "{wrong}");
        }
    }

    #[test]
    fn a_line_always_yields_the_same_event_and_no_other_line_does() {
        let text = line().to_string();
        let position = |source, id, at| match read(source, AccessLogLine { id, at, text: &text }) {
            Reading::Call(event) => event.position(),
            other => panic!("{other:?}"),
        };
        let first = position(SOURCE, "1", 1_767_225_600_123);
        assert_eq!(position(SOURCE, "1", 1_767_225_600_123), first);
        assert_ne!(position(SOURCE, "2", 1_767_225_600_123), first);
        assert_ne!(position(LogSource { stream: "b", ..SOURCE }, "1", 1_767_225_600_123), first);
    }

    #[test]
    fn a_path_that_contains_a_credential_is_not_recorded() {
        let mut leaking = line();
        let key = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1uQGQy";
        leaking["resourcePath"] = json!(format!("/orders/{key}"));
        assert_eq!(event(&leaking).origin.path, None);
    }
}

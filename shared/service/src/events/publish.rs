//! Publishes the events of the audit trail on `EventBridge`, for mails, webhooks and other uses of the adopter.
//!
//! The audit trail is the outbox. A change and its event are one transaction, and the table's stream delivers each event at
//! least once, so each event is published at least once. Consumers can recognise a repeated event by its `id`.

use http::Method;
use keygate_core::environment::Environment;
use keygate_core::error::Error;
use keygate_core::metadata::Metadata;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::aws::Aws;
use crate::aws::signature::ServiceRequest;
use crate::aws::sigv4_client::SigV4Client;

/// The maximum number of events in one call of `EventBridge`.
/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>
pub const MAX_EVENTS: usize = 10;

/// The `source` of Keygate's events.
const SOURCE: &str = "keygate";

/// An event of the audit trail as it is stored.
#[derive(Debug, Deserialize)]
pub struct OutboxEvent {
    actor: String,
    event: String,
    workspace_id: String,
    action: String,
    key_id: Option<String>,
    token_id: Option<String>,
    target: Option<String>,
    session_id: Option<String>,
    opened_by: Option<String>,
    method: Option<String>,
    path: Option<String>,
    source: Option<String>,
    changed: Option<Vec<String>>,
    expires_at: Option<String>,
    days_left: Option<u32>,
    ended: Option<String>,
    metadata: Option<Metadata>,
}

/// The event as it is published; `docs/events.md` describes every field.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct PublicEvent {
    id: String,
    time: String,
    action: String,
    workspace_id: String,
    actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<String>,
}

impl TryFrom<OutboxEvent> for PublicEvent {
    type Error = Error;

    fn try_from(stored: OutboxEvent) -> Result<Self, Error> {
        let broken = || Error::Broken("a stored event is malformed".to_owned());
        let (time, id) = stored.event.split_once('#').ok_or_else(broken)?;
        let (_, actor) = stored.actor.split_once('#').ok_or_else(broken)?;
        Ok(Self {
            id: id.to_owned(),
            time: time.to_owned(),
            actor: actor.to_owned(),
            action: stored.action,
            workspace_id: stored.workspace_id,
            key_id: stored.key_id,
            token_id: stored.token_id,
            user_id: stored.target,
            session_id: stored.session_id,
            opened_by: stored.opened_by,
            changed: stored.changed,
            expires_at: stored.expires_at,
            days_left: stored.days_left,
            ended: stored.ended,
            metadata: stored.metadata,
            method: stored.method,
            path: stored.path,
            source_ip: stored.source,
        })
    }
}

/// Puts events on a bus.
#[derive(Debug)]
pub struct Publisher {
    sigv4: SigV4Client,
    url: String,
    bus: String,
}

impl Publisher {
    /// `EVENT_BUS`: the name of the bus; `default` by default.
    ///
    /// # Panics
    ///
    /// As [`Aws::sigv4`].
    #[must_use]
    pub fn new(aws: &Aws, environment: &Environment) -> Self {
        let bus = environment.text("EVENT_BUS").unwrap_or("default").to_owned();
        Self { sigv4: aws.sigv4(), url: aws.settings().events_url(), bus }
    }

    /// Publishes at most [`MAX_EVENTS`] events, and returns, in their order, whether each one was accepted.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: `EventBridge` did not respond, or refused the call. Some events may be published.
    /// - [`Error::Broken`]: the response cannot be read.
    pub async fn publish(&self, events: &[PublicEvent]) -> Result<Vec<bool>, Error> {
        #[derive(Deserialize)]
        struct PutEventsResponse {
            #[serde(rename = "Entries")]
            entries: Vec<Value>,
        }
        let entries: Vec<_> = events.iter().map(|event| self.entry(event)).collect();
        let body = json!({"Entries": entries}).to_string();
        let request = ServiceRequest {
            service: "events",
            method: Method::POST,
            url: &self.url,
            headers: &[
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", "AWSEvents.PutEvents"),
            ],
            body: body.as_bytes(),
        };
        let response = self.sigv4.call(&request).await.map_err(|error| error.of("EventBridge"))?;
        let response: PutEventsResponse = serde_json::from_slice(&response)
            .map_err(|_| Error::Broken("EventBridge returned a malformed response".to_owned()))?;
        let taken: Vec<_> = response.entries.iter().map(|entry| entry.get("ErrorCode").is_none()).collect();
        if taken.len() == events.len() {
            Ok(taken)
        } else {
            Err(Error::Broken("EventBridge returned results for another number of events".to_owned()))
        }
    }

    fn entry(&self, event: &PublicEvent) -> Value {
        let time = chrono::DateTime::parse_from_rfc3339(&event.time).map(|time| time.timestamp());
        json!({
            "EventBusName": self.bus,
            "Source": SOURCE,
            "DetailType": event.action,
            "Time": time.ok(),
            "Detail": serde_json::to_string(event).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::test_server::{TestServer, response};

    #[test]
    fn an_event_is_published_with_its_id_and_without_missing_fields() {
        let stored: OutboxEvent = serde_json::from_value(json!({
            "actor": "acme#alice@example.com", "event": "2026-11-22T09:57:12.345Z#01M81B0E10KE2P1TGS1FTDF5KQ",
            "workspace_id": "acme", "action": "user.removed", "target": "bob", "outcome": "done", "count": 1, "ttl": 1,
        }))
        .unwrap();
        let event = PublicEvent::try_from(stored).unwrap();
        let expected = json!({
            "id": "01M81B0E10KE2P1TGS1FTDF5KQ", "time": "2026-11-22T09:57:12.345Z", "action": "user.removed",
            "workspace_id": "acme", "actor": "alice@example.com", "user_id": "bob",
        });
        assert_eq!(serde_json::to_value(&event).unwrap(), expected);
    }

    #[test]
    fn an_invalid_stored_event_is_an_error() {
        for (actor, event) in
            [("acme", "2026-11-22T09:57:12.345Z#01M8"), ("acme#a", "2026-11-22T09:57:12.345Z")]
        {
            let stored =
                json!({"actor": actor, "event": event, "workspace_id": "acme", "action": "key.created"});
            let stored: OutboxEvent = serde_json::from_value(stored).unwrap();
            assert!(PublicEvent::try_from(stored).is_err(), "{actor} {event}");
        }
    }

    fn event(id: &str) -> PublicEvent {
        let stored = json!({
            "actor": "acme#alice", "event": format!("2026-11-22T09:57:12.345Z#{id}"),
            "workspace_id": "acme", "action": "key.deleted",
        });
        serde_json::from_value::<OutboxEvent>(stored).unwrap().try_into().unwrap()
    }

    #[tokio::test]
    async fn events_are_entries_of_one_call_and_each_rejected_one_is_reported() {
        let taken =
            r#"{"FailedEntryCount": 1, "Entries": [{"EventId": "1"}, {"ErrorCode": "InternalFailure"}]}"#;
        let server = TestServer::start([response("200 OK", taken)]);
        let publisher = Publisher::new(&server.aws(), &Environment::from_iter([("EVENT_BUS", "keys")]));
        assert_eq!(publisher.publish(&[event("a"), event("b")]).await.unwrap(), [true, false]);
        let request = server.requests().remove(0);
        assert_eq!(request.line, "POST / HTTP/1.1");
        assert_eq!(request.headers["x-amz-target"], "AWSEvents.PutEvents");
        assert_eq!(request.headers["content-type"], "application/x-amz-json-1.1");
        assert!(request.headers["authorization"].contains("/eu-west-1/events/aws4_request"));
        let entries = request.json()["Entries"].take();
        assert_eq!(entries.as_array().unwrap().len(), 2);
        let detail: Value = serde_json::from_str(entries[0]["Detail"].as_str().unwrap()).unwrap();
        assert_eq!(detail, serde_json::to_value(event("a")).unwrap());
        for (field, expected) in
            [("EventBusName", "keys"), ("Source", "keygate"), ("DetailType", "key.deleted")]
        {
            assert_eq!(entries[1][field], expected);
        }
        assert_eq!(entries[1]["Time"], 1_795_341_432);
    }

    #[tokio::test]
    async fn a_response_about_another_number_of_events_is_an_error() {
        for (body, expected) in [(r#"{"Entries": []}"#, "another number"), ("{}", "malformed response")] {
            let server = TestServer::start([response("200 OK", body)]);
            let publisher = Publisher::new(&server.aws(), &Environment::from_iter([("EVENT_BUS", "keys")]));
            let error = publisher.publish(&[event("a")]).await.unwrap_err();
            assert!(matches!(&error, Error::Broken(text) if text.contains(expected)), "{error:?}");
        }
    }
}

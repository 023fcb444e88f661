//! Calls of an access log in the audit trail.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use flate2::Compression;
use flate2::read::GzEncoder;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::calls;
use crate::support::emulator::put_log_lines;
use crate::support::eventually;
use crate::support::function::{Disturbance, Function, Moment, token_event};
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, id_of, unique};

/// The line that API Gateway logs for a call with that key.
fn line(workspace: &Workspace, user: &str, key: &str) -> Value {
    json!({"requestId": "c6af9ac6", "ip": "203.0.113.7", "method": "GET", "resourcePath": "/orders/{id}", "status": "200",
        "errorType": "-", "userId": user, "workspaceId": workspace.id, "keyId": id_of(key), "credential": "api_key"})
}

/// The event in which `CloudWatch` Logs delivers lines to a subscribed function
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html>).
pub(crate) fn delivery(stream: &str, lines: &[String]) -> Value {
    let now = Utc::now().timestamp_millis();
    let entries: Vec<_> = lines
        .iter()
        .enumerate()
        .map(|(index, line)| json!({"id": format!("{index:056}"), "timestamp": now, "message": line}))
        .collect();
    let data = json!({"messageType": "DATA_MESSAGE", "owner": "123456789012", "logGroup": "access", "logStream": stream,
        "subscriptionFilters": ["calls"], "logEvents": entries})
    .to_string();
    let mut compressed = Vec::new();
    GzEncoder::new(data.as_bytes(), Compression::fast())
        .read_to_end(&mut compressed)
        .expect("it can be compressed");
    json!({"awslogs": {"data": STANDARD.encode(compressed)}})
}

#[tokio::test]
async fn every_line_of_a_call_with_a_key_is_an_event_once_however_often_it_is_delivered() {
    let (workspace, function) = tokio::join!(Workspace::new(), Function::start("ingest-access-logs", &[]));
    let key = workspace.key_of("bob", &[]).await;
    let mut refused = line(&workspace, "bob", &key);
    refused["errorType"] = json!("ACCESS_DENIED");
    let call = line(&workspace, "bob", &key).to_string();
    let event = delivery(&unique("log"), &[call.clone(), call, refused.to_string()]);
    for _ in 0..2 {
        assert_eq!(function.invoke(event.clone()).await, Ok(Value::Null));
    }
    let events = calls(&workspace.id, "bob").await;
    assert_eq!(events.len(), 3, "{events:#?}");
    let outcomes: Vec<_> = events.iter().map(|event| event["outcome"].as_str().expect("a text")).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "refused").count(), 1, "{events:#?}");
    for event in &events {
        let origin = ["method", "path", "source"].map(|name| event[name].clone());
        assert_eq!(origin, [json!("GET"), json!("/orders/{id}"), json!("203.0.113.7")], "{event}");
        assert_eq!((&event["key_id"], &event["count"]), (&json!(id_of(&key)), &json!(1)));
    }
    let of_key = workspace.activity(&format!("?key_id={}&action=key.used", id_of(&key))).await;
    assert_eq!(of_key["items"].as_array().map(Vec::len), Some(3));
    workspace.contents().await;
}

#[tokio::test]
async fn lines_are_counted_once_if_the_authorizer_does_not_count() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let settings = [("USAGE_SOURCE", "access-logs"), ("LAST_USED_INTERVAL", "0")];
    let (function, authorizer) = tokio::join!(
        Function::start("ingest-access-logs", &settings),
        Function::start("authorize", &settings)
    );
    let mut refused = line(&workspace, "bob", &key);
    refused["errorType"] = json!("ACCESS_DENIED");
    let call = line(&workspace, "bob", &key).to_string();
    let event = delivery(&unique("log"), &[call.clone(), call.clone(), refused.to_string()]);
    for _ in 0..2 {
        assert_eq!(function.invoke(event.clone()).await, Ok(Value::Null));
    }
    authorizer.invoke(token_event(&format!("Bearer {key}"))).await.expect("a policy");
    authorizer.frozen().await;
    let route = format!("/api-keys/{}/usage?per=day", id_of(&key));
    let usage = workspace.call(Method::GET, &route, &workspace.admin).await.json();
    let last = usage["items"].as_array().and_then(|items| items.last()).expect("today").clone();
    assert_eq!((&last["allowed"], &last["refused"]), (&json!(2), &json!(1)), "{usage}");
    let other = Function::start("ingest-access-logs", &[]).await;
    other.invoke(delivery(&unique("log"), &[call])).await.expect("it is recorded");
    let unchanged = workspace.call(Method::GET, &route, &workspace.admin).await.json();
    assert_eq!(unchanged, usage, "the authorizer counts by default");
}

#[tokio::test]
async fn a_delivery_that_failed_is_written_completely_when_it_comes_again() {
    let (workspace, function) = tokio::join!(Workspace::new(), Function::start("ingest-access-logs", &[]));
    let key = workspace.key_of("bob", &[]).await;
    let lines = vec![line(&workspace, "bob", &key).to_string(); 20];
    let event = delivery(&unique("log"), &lines);
    function.disturb(Disturbance::WritesFail);
    assert!(function.invoke(event.clone()).await.is_err(), "Lambda is to try again");
    function.disturb(Disturbance::KillAt(7, Moment::Before));
    assert!(!function.survives(event.clone()).await);
    assert!(calls(&workspace.id, "bob").await.len() < lines.len());
    let next = Function::start("ingest-access-logs", &[]).await;
    assert!(next.invoke(event).await.is_ok());
    assert_eq!(calls(&workspace.id, "bob").await.len(), lines.len());
}

#[tokio::test]
async fn a_line_without_a_valid_key_is_counted_and_belongs_to_no_user() {
    let (workspace, function) = tokio::join!(Workspace::new(), Function::start("ingest-access-logs", &[]));
    let key = workspace.key_of("bob", &[]).await;
    let with = |member: &str, value: &str| {
        let mut line = line(&workspace, "bob", &key);
        line[member] = json!(value);
        line.to_string()
    };
    let mut anonymous = line(&workspace, "-", &key);
    anonymous["workspaceId"] = json!("-");
    anonymous["keyId"] = json!("-");
    let lines = [
        anonymous.to_string(),
        with("workspaceId", "-"),
        with("workspaceId", &format!("{}#bob", workspace.id)),
        with("userId", "bob#x"),
        with("keyId", "x"),
        "GET /orders 200".to_owned(),
        with("userId", "carol"),
    ];
    assert!(function.invoke(delivery(&unique("log"), &lines)).await.is_ok());
    let counts = |line: &Value| (line["calls"].clone(), line["anonymous"].clone(), line["invalid"].clone());
    let logged = function.log_lines();
    let counted = logged.iter().find(|line| line["message"] == "access log batch ingested").expect("a line");
    assert_eq!(counts(counted), (json!(1), json!(1), json!(5)));
    assert!(calls(&workspace.id, "bob").await.is_empty());
    assert_eq!(calls(&workspace.id, "carol").await.len(), 1);
}

#[tokio::test]
async fn the_configured_log_group_is_read() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let group = format!("/aws/apigateway/{}/access", variable("KEYGATE_STACK"));
    put_log_lines(&workspace.api, &group, &unique("log"), &[line(&workspace, "bob", &key).to_string()]).await;
    eventually("the call is recorded", async || !calls(&workspace.id, "bob").await.is_empty()).await;
    assert_eq!(calls(&workspace.id, "bob").await[0]["path"], "/orders/{id}");
}

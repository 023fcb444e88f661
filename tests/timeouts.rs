//! Requests that take longer than they may.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::function::{Disturbance, Function, request};
use crate::support::workspace::{Workspace, id_of};

/// Shorter than the time limit of one call. A deletion with all its retries takes longer than the time limit of a request.
const SLOW: Disturbance = Disturbance::SlowChanges(Duration::from_millis(1_300));

/// The response of a function, and the error in its log.
fn outcome(function: &Function, answer: &Value) -> (Value, String) {
    let body = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
    let line = function.log_lines().into_iter().find(|line| line["message"] == "request failed");
    let line = line.expect("a line in the log");
    (body, line["error"].as_str().expect("an error").to_owned())
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_a_timeout_in_the_response_and_the_log() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("delete-key", &[]).await;
    function.disturb(SLOW);
    let event = request(&workspace, ("DELETE", "/api-keys/{id}"), Some(id_of(&key)), &[], &Value::Null);
    let answer = function.invoke(event).await.expect("a response");
    let retry_after = &answer["multiValueHeaders"]["retry-after"];
    assert_eq!((&answer["statusCode"], retry_after), (&json!(503), &json!(["1"])), "{answer}");
    let (problem, error) = outcome(&function, &answer);
    assert_eq!(
        (&problem["code"], &problem["request_id"]),
        (&json!("unavailable"), &json!("c6af9ac6-7b61-11e6-9a41-93e8deadbeef"))
    );
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("took too long") && detail.contains("may or may not"), "{problem}");
    assert!(error.contains("not handled within 9 s"), "{error}");
}

//! Clearing API Gateway's authorizer caches after a revocation: `invalidate-caches`.

use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};

use crate::support::eventually_within;
use crate::support::function::{Disturbance, Function, Moment};
use crate::support::stack::variable;
use crate::support::tables::batch;
use crate::support::workspace::{Workspace, id_of};

const REST: &str = "DELETE /restapis/abc123/stages/prod/cache/authorizers";
const HTTP: &str = "DELETE /v2/apis/def456/stages/%24default/cache/authorizers";

async fn start(stale_if_error_seconds: &str) -> Function {
    let variables = [
        ("AUTHORIZER_CACHES", "restapis/abc123/stages/prod,apis/def456/stages/$default"),
        ("CACHE_INVALIDATION_QUEUE", "https://sqs.eu-west-1.amazonaws.com/123456789012/cache-invalidation"),
        ("CACHE_SECONDS", "30"),
        ("STALE_IF_ERROR_SECONDS", stale_if_error_seconds),
    ];
    Function::start("invalidate-caches", &variables).await
}

/// The stream record of an audit event, with the attributes that `invalidate-caches` reads.
fn record(action: &str, changed: Option<&[&str]>) -> Value {
    let mut image = json!({"action": {"S": action}});
    if let Some(changed) = changed {
        image["changed"] = json!({"L": changed.iter().map(|field| json!({"S": field})).collect::<Vec<_>>()});
    }
    json!({"eventID": "1", "eventName": "INSERT", "awsRegion": "eu-west-1", "eventSource": "aws:dynamodb",
        "dynamodb": {"ApproximateCreationDateTime": 1_700_000_000.0, "SequenceNumber": "1", "SizeBytes": 1,
            "NewImage": image}})
}

/// A batch of messages from the queue, one for each time.
fn messages(invalidate_at: &[i64]) -> Value {
    let message = |at: &i64| {
        let body = json!({"invalidate_at": at}).to_string();
        json!({"messageId": "1", "body": body, "eventSource": "aws:sqs"})
    };
    json!({"Records": invalidate_at.iter().map(message).collect::<Vec<_>>()})
}

fn operations(function: &Function) -> Vec<String> {
    function.take_calls().into_iter().map(|(operation, _)| operation).collect()
}

#[tokio::test]
async fn a_batch_of_revocations_clears_every_stage_once_and_schedules_the_second_time() {
    let function = start("0").await;
    let many: Vec<Value> = (0..50).map(|_| record("key.deleted", None)).collect();
    let before = Utc::now().timestamp();
    function.invoke(batch(&many)).await.expect("a response");
    let calls = function.take_calls();
    let operations: Vec<_> = calls.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(operations, ["SendMessage", REST, HTTP]);
    // CACHE_SECONDS, and the longest time that an authorizer may still work with what it has read.
    assert_eq!(calls[0].1["DelaySeconds"], 40);
    let again: Value =
        serde_json::from_str(calls[0].1["MessageBody"].as_str().expect("a body")).expect("JSON");
    assert!((40..=100).contains(&(again["invalidate_at"].as_i64().expect("a time") - before)), "{again}");
}

#[tokio::test]
async fn only_changes_that_revoke_clear_the_caches() {
    let function = start("0").await;
    for (action, changed, clears) in [
        ("key.updated", Some(&["disabled"][..]), true),
        ("key.updated", Some(&["scopes"]), true),
        ("key.updated", Some(&["endpoints"]), true),
        ("key.updated", Some(&["expires_at"]), true),
        ("key.updated", Some(&["name", "description"]), false),
        ("key.rotated", None, true),
        ("key.overlap_ended", None, true),
        ("user.removed", None, true),
        ("key.created", None, false),
        ("key.expiring", None, false),
    ] {
        function.invoke(batch(&[record(action, changed)])).await.expect("a response");
        assert_eq!(!operations(&function).is_empty(), clears, "{action} {changed:?}");
    }
    let mut strange = record("key.created", None);
    strange["dynamodb"]["NewImage"] = json!({"action": {"N": "1"}});
    function.invoke(batch(&[strange])).await.expect("a response");
    assert_eq!(operations(&function).len(), 3, "an unreadable record may be a revocation");
}

#[tokio::test]
async fn messages_that_are_due_clear_every_stage_once() {
    let function = start("0").await;
    let now = Utc::now().timestamp();
    function.invoke(messages(&[now - 5, now - 1, now])).await.expect("a response");
    assert_eq!(operations(&function), [REST, HTTP]);
}

/// SQS delays a message by 15 minutes at most.
#[tokio::test]
async fn a_time_beyond_the_longest_delay_of_a_message_is_scheduled_again() {
    let function = start("3600").await;
    function.invoke(batch(&[record("key.deleted", None)])).await.expect("a response");
    assert_eq!(function.take_calls()[0].1["DelaySeconds"], 900);
    let later = Utc::now().timestamp() + 1000;
    function.invoke(messages(&[later - 500, later])).await.expect("a response");
    let calls = function.take_calls();
    assert_eq!(calls.len(), 1, "nothing is due: {calls:?}");
    assert_eq!(calls[0].1["DelaySeconds"], 900);
    assert_eq!(calls[0].1["MessageBody"], json!({"invalidate_at": later}).to_string());
}

#[tokio::test]
async fn a_stage_that_cannot_be_cleared_does_not_stop_the_others_and_a_missing_stage_is_no_failure() {
    let function = start("0").await;
    function.disturb(Disturbance::RefuseClearing(404));
    function.invoke(batch(&[record("key.deleted", None)])).await.expect("a response");
    assert_eq!(operations(&function), ["SendMessage", REST, HTTP]);
    assert!(function.log_lines().iter().any(|line| line["level"] == "ERROR"), "but an error is logged");

    function.disturb(Disturbance::RefuseClearing(400));
    let error = function
        .invoke(batch(&[record("key.deleted", None)]))
        .await
        .expect_err("a failure, so that the batch is delivered again");
    assert!(error.contains("API Gateway"), "{error}");
    assert_eq!(operations(&function), ["SendMessage", REST, HTTP]);
    function.disturb(Disturbance::None);
    function.invoke(batch(&[record("key.deleted", None)])).await.expect("a response");
}

#[tokio::test]
async fn after_a_kill_at_any_call_the_next_run_clears_every_stage_and_schedules_the_second_time() {
    for at in 0..3 {
        for moment in [Moment::Before, Moment::After] {
            let killed = start("0").await;
            killed.disturb(Disturbance::KillAt(at, moment));
            assert!(!killed.survives(batch(&[record("key.deleted", None)])).await, "{at} {moment:?}");
            let again = start("0").await;
            again.invoke(batch(&[record("key.deleted", None)])).await.expect("a response");
            assert_eq!(operations(&again), ["SendMessage", REST, HTTP], "{at} {moment:?}");
        }
    }
}

/// This goes through the deployed event source mappings: of the stream for the first time, of the queue for the second.
#[tokio::test]
async fn deleting_a_key_clears_the_deployed_stages_at_once_and_again() {
    let cleared = || {
        let calls = std::fs::read_to_string(variable("KEYGATE_CALLS_LOG")).expect("the calls are recorded");
        calls.lines().filter(|line| line.contains("/restapis/local/stages/test/cache/authorizers")).count()
    };
    let workspace = Workspace::new().await;
    let key = workspace.key_of("admin", &[]).await;
    let before = cleared();
    assert_eq!(workspace.delete(&workspace.admin, id_of(&key)).await.status, 204);
    // The second time comes after `CACHE_SECONDS` and the longest that a function may be at work.
    let is_cleared_twice = async || cleared() >= before + 2;
    eventually_within(Duration::from_secs(90), "the stage is cleared twice", is_cleared_twice).await;
}

/// A unit test of the actions compares them with the stream's filter.
#[tokio::test]
async fn every_revocation_clears_the_caches_and_nothing_else_does() {
    let actions = [
        "key.deleted",
        "key.overlap_ended",
        "key.rotated",
        "key.transferred",
        "key.updated",
        "legacy.deleted",
        "token.reused",
        "token.revoked",
        "user.removed",
    ];
    let function = start("0").await;
    for action in actions {
        function.invoke(batch(&[record(action, None)])).await.expect("a response");
        assert_eq!(operations(&function), ["SendMessage", REST, HTTP], "{action}");
    }
    for action in ["key.created", "legacy.imported", "user.reinstated"] {
        function.invoke(batch(&[record(action, None)])).await.expect("a response");
        assert!(operations(&function).is_empty(), "{action}");
    }
}

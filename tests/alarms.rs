//! What the alarms watch is written by what fails: each metric of Keygate itself, and each line that a metric filter counts.
//!
//! `infra/test_alarms.py` checks the metrics that AWS writes, by the pages that list them.

use std::time::Duration;

use keygate_core::credential::CredentialForm;
use serde_json::{Value, json};

use crate::access_log::delivery;
use crate::refused_clients::made_up;
use crate::support::alarms::{MetricAlarm, MetricFilter, access_log_line, counts_errors_of, has_metric_of};
use crate::support::function::{Disturbance, Function, oauth_request, token_event};
use crate::support::github::{self, GitHubKey, matches};
use crate::support::oauth::basic;
use crate::support::stack::variable;
use crate::support::tables::batch;
use crate::support::workspace::{Workspace, id_of, text};

fn call(key: &str) -> Value {
    token_event(&format!("Bearer {key}"))
}

#[tokio::test]
async fn each_failure_of_the_authorizer_is_in_the_metric_of_its_alarm() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let slow = Disturbance::SlowChanges(Duration::from_millis(600));
    for (alarm, disturbance, stale_if_error_seconds, is_allowed) in [
        ("AuthorizerErrorsAlarm", Disturbance::Down, "0", false),
        ("AuthorizerStaleHitsAlarm", Disturbance::Down, "600", true),
        ("AuthorizerDeferredWriteFailuresAlarm", Disturbance::WritesFail, "0", true),
        ("AuthorizerLatencyAlarm", slow, "0", true),
    ] {
        let settings = [
            ("METRICS_STACK", "somewhere"),
            ("CALL_ACTIVITY", "each"),
            ("STALE_IF_ERROR_SECONDS", stale_if_error_seconds),
        ];
        let authorizer = Function::start("authorize", &settings).await;
        authorizer.invoke(call(&key)).await.expect("a policy");
        authorizer.frozen().await;
        let watched = MetricAlarm::named(alarm);
        authorizer.disturb(disturbance);
        assert_eq!(authorizer.invoke(call(&key)).await.is_ok(), is_allowed, "{alarm}");
        authorizer.frozen().await;
        authorizer.disturb(Disturbance::None);
        authorizer.terminate().await;
        let lines = authorizer.log_lines();
        assert!(!watched.bad_values(&lines, "somewhere").is_empty(), "{alarm}: {lines:#?}");
        assert!(watched.bad_values(&lines, "elsewhere").is_empty(), "{alarm} is about one stack");
    }
}

#[tokio::test]
async fn an_authorizer_that_works_raises_no_alarm() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[("METRICS_STACK", "somewhere")]).await;
    authorizer.invoke(call(&key)).await.expect("a policy");
    authorizer.invoke(call("nonsense")).await.expect_err("a refusal is no failure");
    authorizer.terminate().await;
    let lines = authorizer.log_lines();
    for alarm in ["AuthorizerErrorsAlarm", "AuthorizerStaleHitsAlarm", "AuthorizerDeferredWriteFailuresAlarm"]
    {
        assert!(MetricAlarm::named(alarm).bad_values(&lines, "somewhere").is_empty(), "{alarm}: {lines:#?}");
    }
    assert_eq!(MetricFilter::named("AuthorizerCrashesFilter").counted(&lines), 0);
}

#[tokio::test]
async fn deferred_writes_that_fail_are_counted_in_the_log_of_each_function_of_the_oauth_api() {
    let workspace = Workspace::new().await;
    let wrong = basic(&made_up(id_of(&workspace.key_of("bob", &[]).await), CredentialForm::ApiKey));
    for (function, endpoint, form, filter, log_group) in [
        (
            "issue-token",
            "token",
            "grant_type=client_credentials",
            "IssueTokenDeferredWriteFailuresFilter",
            "IssueTokenLogGroup",
        ),
        (
            "introspect-token",
            "introspect",
            "token=x",
            "IntrospectTokenDeferredWriteFailuresFilter",
            "IntrospectTokenLogGroup",
        ),
        (
            "revoke-token",
            "revoke",
            "token=x",
            "RevokeTokenDeferredWriteFailuresFilter",
            "RevokeTokenLogGroup",
        ),
    ] {
        let filter = MetricFilter::named(filter);
        assert_eq!(filter.log_group, log_group);
        for (disturbance, counted) in [(Disturbance::None, 0), (Disturbance::WritesFail, 1)] {
            // Each has an environment of its own, because one counts further refusals before it writes them.
            let running = Function::start(function, &[]).await;
            running.disturb(disturbance);
            let event = oauth_request(endpoint, Some(&wrong), form);
            let answer = running.invoke(event).await.expect("a response");
            assert_eq!(answer["statusCode"], 401, "{function}: {answer}");
            running.frozen().await;
            assert_eq!(filter.counted(&running.log_lines()), counted, "{function}: {}", running.log());
        }
    }
}

#[tokio::test]
async fn a_report_of_github_that_fails_is_counted_and_one_that_is_refused_is_not() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let filter = MetricFilter::named("GitHubReportFailuresFilter");
    assert_eq!(filter.log_group, "ReportLeaksLogGroup");
    let (github, body) = (GitHubKey::of_stack(), matches(&[&key]));
    let signed = github::event(&workspace, &github.sign(&body.to_string()), &body);
    let unsigned = github::event(&workspace, &[], &body);
    let (issuer, nowhere) = (variable("KEYGATE_OIDC_ISSUER"), "https://127.0.0.1:1".to_owned());
    for (issuer, event, disturbance, status, counted) in [
        (&issuer, &unsigned, Disturbance::None, 403, 0),
        (&issuer, &signed, Disturbance::Down, 503, 1),
        // The keys were not fetched, and the report failed.
        (&nowhere, &signed, Disturbance::None, 503, 2),
        (&issuer, &signed, Disturbance::None, 200, 0),
    ] {
        let function = github::function(issuer, &[]).await;
        function.disturb(disturbance);
        let answer = function.invoke(event.clone()).await.expect("a response");
        assert_eq!(answer["statusCode"], status, "{answer}");
        assert_eq!(filter.counted(&function.log_lines()), counted, "{disturbance:?}: {}", function.log());
    }
    assert!(!workspace.accepts(&key).await);
}

#[tokio::test]
async fn a_batch_of_a_stream_that_is_incomplete_is_counted_although_its_invocation_succeeds() {
    let image = |names: &[&str]| -> Value {
        names.iter().map(|name| ((*name).to_owned(), json!({"S": "acme"}))).collect()
    };
    let mut event = image(&["actor", "event", "workspace_id", "user_id", "action"]);
    event["at"] = json!({"N": "1700000000"});
    let inserted = json!({"eventID": "1", "eventName": "INSERT", "awsRegion": "eu-west-1",
        "dynamodb": {"ApproximateCreationDateTime": 1_700_000_000, "SequenceNumber": "1", "SizeBytes": 1,
            "NewImage": event}});
    let removed = json!({"eventID": "1", "eventName": "REMOVE", "awsRegion": "eu-west-1",
        "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
        "dynamodb": {"ApproximateCreationDateTime": 1_700_000_000, "SequenceNumber": "1", "SizeBytes": 1,
            "OldImage": image(&["key_id", "workspace_id", "user_id", "name_folded"])}});
    for (function, record, alarm, filter, log_group) in [
        (
            "publish-events",
            inserted,
            "PublishEventsErrorsAlarm",
            "PublishEventsIncompleteBatchesFilter",
            "PublishEventsLogGroup",
        ),
        (
            "purge-keys",
            removed,
            "PurgeKeysErrorsAlarm",
            "PurgeKeysIncompleteBatchesFilter",
            "PurgeKeysLogGroup",
        ),
    ] {
        assert!(has_metric_of(alarm, filter), "{alarm}");
        let filter = MetricFilter::named(filter);
        assert_eq!(filter.log_group, log_group);
        let running = Function::start(function, &[]).await;
        running.invoke(batch(&[])).await.expect("a response");
        assert_eq!(filter.counted(&running.log_lines()), 0, "{function}");
        running.disturb(Disturbance::Denied);
        let answer = running.invoke(batch(&[record])).await.expect("a success, to Lambda");
        assert_eq!(answer["batchItemFailures"], json!([{"itemIdentifier": "1"}]), "{function}");
        assert_eq!(filter.counted(&running.log_lines()), 1, "{function}: {}", running.log());
    }
}

#[tokio::test]
async fn each_other_background_function_fails_with_an_error_which_lambda_counts() {
    let revocation = json!({"eventID": "1", "eventName": "INSERT", "awsRegion": "eu-west-1",
        "eventSource": "aws:dynamodb", "dynamodb": {"ApproximateCreationDateTime": 1_700_000_000.0,
            "SequenceNumber": "1", "SizeBytes": 1, "NewImage": {"action": {"S": "key.deleted"}}}});
    let removal = json!({"workspace_id": "acme", "user_id": "bob", "time": "2026-01-01T00:00:00Z"});
    let line = json!({"requestId": "c6af9ac6", "ip": "203.0.113.7", "method": "GET", "resourcePath": "/orders",
        "status": "200", "errorType": "-", "userId": "bob", "workspaceId": "acme",
        "keyId": "01JD3V6Y4N8Q2Z5X7W9B0C1D2E", "credential": "api_key"});
    let lines = delivery("stream", &[line.to_string()]);
    let caches = [
        ("AUTHORIZER_CACHES", "restapis/abc123/stages/prod"),
        ("CACHE_INVALIDATION_QUEUE", "https://sqs.eu-west-1.amazonaws.com/123456789012/cache-invalidation"),
    ];
    for (alarm, function, logical_name, variables, event) in [
        (
            "AnnounceLifecycleErrorsAlarm",
            "announce-lifecycle",
            "AnnounceLifecycleFunction",
            &[][..],
            json!({}),
        ),
        ("RecountUsersErrorsAlarm", "recount-users", "RecountUsersFunction", &[], json!({})),
        (
            "DisableUnusedKeysErrorsAlarm",
            "disable-unused-keys",
            "DisableUnusedKeysFunction",
            &[("DISABLE_UNUSED_DAYS", "90")],
            json!({}),
        ),
        ("ProcessUserRemovalErrorsAlarm", "process-user-removal", "ProcessUserRemovalFunction", &[], removal),
        (
            "InvalidateCachesErrorsAlarm",
            "invalidate-caches",
            "InvalidateCachesFunction",
            &caches,
            batch(&[revocation]),
        ),
        ("IngestAccessLogsErrorsAlarm", "ingest-access-logs", "IngestAccessLogsFunction", &[], lines),
    ] {
        assert!(counts_errors_of(alarm, logical_name), "{alarm}");
        let running = Function::start(function, variables).await;
        running.disturb(Disturbance::Denied);
        running.invoke(event).await.expect_err(function);
    }
}

#[tokio::test]
async fn a_stage_that_does_not_exist_is_counted_and_another_failure_of_it_is_not() {
    let filter = MetricFilter::named("MissingCacheStagesFilter");
    assert_eq!(filter.log_group, "InvalidateCachesLogGroup");
    let revocation = json!({"eventID": "1", "eventName": "INSERT", "awsRegion": "eu-west-1",
        "eventSource": "aws:dynamodb", "dynamodb": {"ApproximateCreationDateTime": 1_700_000_000.0,
            "SequenceNumber": "1", "SizeBytes": 1, "NewImage": {"action": {"S": "key.deleted"}}}});
    let variables = [
        ("AUTHORIZER_CACHES", "restapis/abc123/stages/prod"),
        ("CACHE_INVALIDATION_QUEUE", "https://sqs.eu-west-1.amazonaws.com/123456789012/cache-invalidation"),
    ];
    let function = Function::start("invalidate-caches", &variables).await;
    function.disturb(Disturbance::RefuseClearing(400));
    function.invoke(batch(std::slice::from_ref(&revocation))).await.expect_err("the stage is not cleared");
    assert_eq!(filter.counted(&function.log_lines()), 0);
    function.disturb(Disturbance::RefuseClearing(404));
    function.invoke(batch(&[revocation])).await.expect("a stage without a cache");
    assert_eq!(filter.counted(&function.log_lines()), 1, "{}", function.log());
}

/// Lambda writes these lines, as its documentation shows them
/// (<https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>). The line of a panic is tested in
/// `shared/service/src/logging.rs`.
#[test]
fn starts_that_fail_and_timeouts_of_the_authorizer_are_counted() {
    let filter = MetricFilter::named("AuthorizerCrashesFilter");
    assert_eq!(filter.log_group, "AuthorizeLogGroup");
    let line = |kind: &str, record: Value| json!({"time": "2022-10-12T00:01:15.000Z", "type": kind, "record": record});
    let start = |status: &str| {
        line("platform.initRuntimeDone", json!({"initializationType": "on-demand", "status": status}))
    };
    let done =
        |status: &str| line("platform.runtimeDone", json!({"requestId": "6d68ca91", "status": status}));
    for (line, counted) in [
        (start("success"), 0),
        (start("error"), 1),
        (start("timeout"), 1),
        (done("success"), 0),
        (done("timeout"), 1),
        // To Lambda a refusal is an error of the function.
        (done("error"), 0),
        (json!({"level": "ERROR", "message": "panic: this environment ends"}), 1),
        (json!({"level": "ERROR", "message": "no decision"}), 0),
    ] {
        assert_eq!(filter.counted(std::slice::from_ref(&line)), counted, "{line}");
    }
}

#[test]
fn responses_with_429_are_counted_in_both_access_logs() {
    for (api, filter, log_group) in [
        ("ManagementApi", "ManagementApiThrottledFilter", "AccessLogGroup"),
        ("OAuthStage", "OAuthApiThrottledFilter", "OAuthAccessLogGroup"),
    ] {
        let filter = MetricFilter::named(filter);
        assert_eq!(filter.log_group, log_group);
        for (status, counted) in [(200, 0), (429, 1), (500, 0)] {
            let line = access_log_line(api, status);
            assert_eq!(text(&line, "status"), status.to_string());
            assert_eq!(filter.counted(&[line]), counted, "{api} {status}");
        }
    }
}

//! `keygate smoke`, which says whether a deployed stack works.

use std::collections::BTreeSet;
use std::sync::Mutex;

use axum::http::StatusCode;
use keygate_core::credential::contains_credential;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::scripted::{Response, Scripted, changing};
use super::{Done, Keygate, assert_document};
use crate::support::database;
use crate::support::function::binary;
use crate::support::openapi;
use crate::support::stack::variable;

/// The checks of a stack that is configured as the local one.
const CHECKS: [&str; 12] = [
    "refusals",
    "keys",
    "sessions",
    "leaks",
    "page",
    "tokens",
    "jwts",
    "users",
    "legacy keys",
    "audit trail",
    "own API",
    "clean-up",
];

/// The command, which takes no key. In the emulator the addresses are not those of the outputs.
fn at(management_url: &str) -> Keygate {
    Keygate::in_aws()
        .set("KEYGATE_API_URL", management_url)
        .set("KEYGATE_OAUTH_URL", &variable("KEYGATE_OAUTH_URL"))
}

/// Checks that the output of a run has no secret, and that no key of the run's workspace is left.
async fn assert_clean(done: &Done) {
    for text in [&done.stdout, &done.stderr] {
        assert!(!contains_credential(text), "a credential is shown: {text}");
    }
    let contents = database::contents(workspace_of(&done.stderr)).await;
    assert!(contents.keys.is_empty() && !contents.events.is_empty(), "{contents:#?}");
    contents.assert_consistent();
}

/// The workspace of a run, which the first line of standard error names.
fn workspace_of(stderr: &str) -> &str {
    let first = stderr.lines().next().expect("a line");
    let workspace = first.split_once("workspace ").expect("the workspace of the run").1;
    assert!(workspace.starts_with("smoke-"), "{stderr}");
    workspace
}

/// The checks with a result.
fn with_result<'a>(document: &'a Value, result: &str) -> Vec<&'a str> {
    let items = document["items"].as_array().expect("items");
    let items = items.iter().filter(|item| item["result"] == result);
    items.map(|item| item["check"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn a_stack_that_works_passes_with_a_call_of_every_route() {
    let own = ["KEYGATE_REST_EXAMPLE_URL", "KEYGATE_HTTP_EXAMPLE_URL"];
    let [rest, http] = own.map(|name| format!("{}/echo", variable(name)));
    let keygate = at(&variable("KEYGATE_API_URL"));
    let done = keygate.run(&["smoke", "--call", &rest, "--call", &http, "--json"]).await;
    let document: Value = serde_json::from_str(done.ok()).expect("JSON");
    assert_document("smoke", &document).await;
    assert_eq!(with_result(&document, "passed"), CHECKS, "{document:#}");
    assert_clean(&done).await;

    let items = document["items"].as_array().expect("items");
    let called = items.iter().flat_map(|item| item["routes"].as_array().expect("routes"));
    let called: BTreeSet<_> = called.map(|route| route.as_str().expect("a route").to_owned()).collect();
    let documented = ["openapi.yaml", "oauth.yaml"].into_iter().flat_map(openapi::routes);
    let mut documented: BTreeSet<_> = documented.map(|(method, path)| format!("{method} {path}")).collect();
    assert!(documented.remove("POST /leaks/github"), "only GitHub can sign a report");
    assert_eq!(called, documented);
}

#[tokio::test]
async fn a_stack_that_accepts_a_deleted_key_fails() {
    let deleted = Mutex::new(None);
    let accepting = move |method: &str, path: &str, credential: &str, status: StatusCode| {
        let mut deleted = deleted.lock().expect("no panic");
        if method == "DELETE"
            && status == StatusCode::NO_CONTENT
            && let Some(("", id)) = path.split_once("/api-keys/")
            && !id.contains('/')
        {
            deleted.get_or_insert_with(|| id.to_owned());
        }
        let is_deleted = deleted.as_ref().is_some_and(|id| credential.contains(id));
        if path == "/me" && is_deleted { StatusCode::OK } else { status }
    };
    let url = changing(&variable("KEYGATE_API_URL"), accepting).await;
    let done = at(&url).run(&["smoke"]).await;
    assert_eq!(done.status, 1, "{done:?}");
    let lines: Vec<_> = done.stdout.lines().collect();
    let failed: Vec<_> = lines.iter().filter(|line| line.starts_with("FAILED ")).collect();
    assert_eq!(failed.len(), 1, "{done:?}");
    assert!(failed[0].contains(" keys ") && failed[0].contains("a deleted key is still accepted by GET /me"));
    assert!(lines.iter().any(|line| line.starts_with("not checked  own API ")), "{done:?}");
    assert!(lines.last().is_some_and(|sum| sum.ends_with("10 passed, 1 failed, 1 not checked.")), "{done:?}");
    assert!(done.stderr.ends_with("error: the smoke test failed: keys\n"), "{done:?}");
    assert_clean(&done).await;
}

/// Every creation seems to have failed, so each check ends early.
#[tokio::test]
async fn keys_of_which_the_run_learnt_nothing_end_too() {
    let changed = |_: &str, _: &str, _: &str, status| {
        if status == StatusCode::CREATED { StatusCode::OK } else { status }
    };
    let url = changing(&variable("KEYGATE_API_URL"), changed).await;
    let done = at(&url).run(&["smoke", "--json"]).await;
    let document = failed(&done).await;
    assert_eq!(with_result(&document, "passed"), ["page", "legacy keys", "audit trail", "clean-up"]);
    assert_eq!(with_result(&document, "not_checked"), ["own API"]);
    assert_clean(&done).await;

    // A reader who is gone does not make a success of it.
    let mut process = at(&url).command(&binary("keygate")).arg("smoke").spawn().expect("the command starts");
    drop(process.stdout.take());
    let output = process.wait_with_output().await.expect("it ends");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: the smoke test failed: refusals, keys"), "{said}");
    assert!(database::contents(workspace_of(&said)).await.keys.is_empty());
}

/// As API Gateway responds if it may not invoke the authorizer.
const UNDECIDED: &[Response] = &[
    (401, ("content-type", "application/json"), "{}"),
    (500, ("content-type", "application/json"), r#"{"message": null}"#),
];

#[tokio::test]
async fn failures_are_shown_without_secrets_and_an_api_that_does_not_decide_is_one() {
    let changed = |_: &str, path: &str, _: &str, status| {
        if path == "/oauth/token" && status == StatusCode::OK { StatusCode::CREATED } else { status }
    };
    let url = changing(&variable("KEYGATE_OAUTH_URL"), changed).await;
    let keygate = at(&variable("KEYGATE_API_URL")).set("KEYGATE_OAUTH_URL", &url);
    let own = Scripted::start(UNDECIDED).await;
    let done = keygate.run(&["smoke", "--call", &own.url, "--json"]).await;
    let document = failed(&done).await;
    assert_eq!(with_result(&document, "failed"), ["tokens", "jwts", "own API"]);
    for item in document["items"].as_array().expect("items") {
        if item["check"] == "own API" {
            let detail = item["detail"].as_str().expect("a detail");
            assert!(detail.contains(": 500, expected neither 401, 403, 429 nor 5xx"), "{detail}");
        } else if item["result"] == "failed" {
            let detail = item["detail"].as_str().expect("a detail");
            assert!(detail.starts_with("POST /oauth/token: 201, expected 200: {"), "{detail}");
            assert!(detail.contains('\u{2026}'), "{detail}");
        }
    }
    assert_clean(&done).await;
}

/// The document of a run with checks that failed.
async fn failed(done: &Done) -> Value {
    assert_eq!(done.status, 1, "{done:?}");
    let document: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_document("smoke", &document).await;
    let failure: Value = serde_json::from_str(done.stderr.lines().last().expect("a line")).expect("JSON");
    assert_document("error", &failure).await;
    document
}

#[tokio::test]
async fn all_keys_of_an_interrupted_run_expire_within_an_hour() {
    let keygate = at(&variable("KEYGATE_API_URL"));
    let mut process = keygate.command(&binary("keygate")).arg("smoke").spawn().expect("the command starts");
    let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
    let first = lines.next_line().await.expect("it writes").expect("a line");
    assert!(first.starts_with("ok  "), "{first}");
    let id = process.id().expect("a process").to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let output = process.wait_with_output().await.expect("it ends");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted\nall API keys of the run expire within an hour"), "{said}");

    let contents = database::contents(workspace_of(&said)).await;
    let latest = chrono::Utc::now().timestamp() + 3_600;
    assert!(contents.keys.len() >= 3, "the administrator's and two of the first check: {contents:#?}");
    for key in &contents.keys {
        assert!(key["expires_at"].as_i64().is_some_and(|expires_at| expires_at <= latest), "{key}");
    }
}

#[tokio::test]
async fn a_run_that_cannot_begin_fails_as_other_commands_do_and_makes_no_key() {
    const WEBSITE: &[Response] = &[(200, ("content-type", "application/json"), "{}")];
    const ANOTHER_API: &[Response] =
        &[(401, ("content-type", "application/json"), r#"{"message": "Unauthorized"}"#)];
    let url = variable("KEYGATE_API_URL");
    at(&url).run(&["smoke", "--stack", "no-such-stack"]).await.assert_failed(3, &["does not exist"]);
    at(&url).set("AWS_ACCESS_KEY_ID", "").run(&["smoke"]).await.assert_failed(4, &["no AWS credentials"]);
    for (call, told) in [("http://api.example.com", "use https"), ("orders", "is not a URL")] {
        at(&url).run(&["smoke", "--call", call]).await.assert_failed(2, &[told]);
    }
    let unbegun = at("http://127.0.0.1:1").run(&["smoke"]).await;
    unbegun.assert_failed(5, &["cannot be reached"]);
    assert!(!unbegun.stderr.contains("workspace smoke-"), "{unbegun:?}");
    let told = [(1, "is answered without a credential"), (4, "is the URL that of the stack?")];
    for (responses, (status, told)) in [WEBSITE, ANOTHER_API].into_iter().zip(told) {
        let server = Scripted::start(responses).await;
        at(&server.url).run(&["smoke"]).await.assert_failed(status, &[told]);
        assert_eq!(server.requests(), ["GET /me"]);
    }
}

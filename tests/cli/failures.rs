//! Exit statuses, and errors that say what to do.

use serde_json::Value;

use super::scripted::{Response, Scripted};
use super::{Keygate, assert_document};
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, id_of};

const JSON: (&str, &str) = ("content-type", "application/json");
const UNKNOWN: &str = "01M8G3V5Z5K8T3Q1W7X2Y9B4CD";

const GATEWAY: &[Response] = &[(403, JSON, r#"{"message":"Missing Authentication Token"}"#)];
const WEBSITE: &[Response] = &[(200, ("content-type", "text/html"), "<html></html>")];
const LOGIN: &[Response] = &[(302, ("location", "https://login.example"), "")];
const FOR_AN_HOUR: &[Response] = &[(503, ("retry-after", "3600"), r#"{"detail":"the database is busy"}"#)];

#[tokio::test]
async fn each_class_of_failure_has_its_exit_status() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    let lesser = Keygate::with_key(&workspace.key_of("bob", &[]).await);
    let id = id_of(&workspace.admin);
    keygate.run(&["keys", "create", "first"]).await.assert_failed(1, &[]);
    keygate.run(&["keys", "create", "x", "--scope", "Not A Scope"]).await.assert_failed(2, &["/scopes/0: "]);
    keygate.run(&["keys", "update", id]).await.assert_failed(2, &["nothing to change"]);
    keygate.run(&["keys", "create"]).await.assert_failed(2, &["<NAME>"]);
    keygate.run(&["keys", "show", UNKNOWN]).await.assert_failed(3, &["request id: "]);
    lesser.run(&["keys", "create", "x"]).await.assert_failed(4, &[]);
    Keygate::with_key("kg_key_wrong").run(&["whoami"]).await.assert_failed(4, &["the key is wrong"]);
}

#[tokio::test]
async fn a_failure_for_programs_is_a_document_with_the_code_of_the_api() {
    let workspace = Workspace::new().await;
    let done = Keygate::of(&workspace).run(&["keys", "create", "first", "--json"]).await;
    done.assert_failed(1, &[]);
    let document: Value = serde_json::from_str(done.stderr.lines().last().expect("a line")).expect("JSON");
    assert_document("error", &document).await;
    assert_eq!(document["error"]["code"], "name_taken");
}

#[tokio::test]
async fn a_wrong_url_is_told_from_a_wrong_key() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    for (url, status, told) in [
        ("http://127.0.0.1:1", 5, "cannot be reached"),
        ("http://keygate.invalid", 2, "is not encrypted"),
        ("https://keygate.invalid", 5, "cannot be reached"),
        ("keygate.example", 2, "is not the URL"),
        ("ftp://127.0.0.1", 2, "is not the URL"),
        ("https://a.example/v1?stage", 2, "is not the URL"),
    ] {
        keygate.run(&["whoami", "--url", url]).await.assert_failed(status, &[told]);
    }
    Keygate::new().set("KEYGATE_KEY", "kg_key").run(&["whoami"]).await.assert_failed(2, &["ApiUrl"]);

    for (responses, status, told) in
        [(GATEWAY, 2, "the name of the stage"), (WEBSITE, 1, "returned no JSON"), (LOGIN, 1, "HTTP 302")]
    {
        let server = Scripted::start(responses).await;
        keygate.run(&["whoami", "--url", &server.url]).await.assert_failed(status, &[told]);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_throttled_call_is_repeated_when_the_api_says() {
    const ONCE: &[Response] = &[
        (429, ("retry-after", "1"), r#"{"message":"Too Many Requests"}"#),
        (200, JSON, r#"{"user_id":"bob"}"#),
    ];
    let server = Scripted::start(ONCE).await;
    let keygate = Keygate::with_key("kg_key");
    let done = keygate.run(&["whoami", "--url", &server.url]).await;
    assert!(done.ok().contains("bob"), "{done:?}");
    assert!(done.stderr.contains("Too Many Requests: attempt 2 of 5 in 1"), "{done:?}");
    assert_eq!(server.requests(), ["GET /me", "GET /me"]);

    let server = Scripted::start(FOR_AN_HOUR).await;
    keygate.run(&["whoami", "--url", &server.url]).await.assert_failed(5, &["the database is busy"]);
    assert_eq!(server.requests().len(), 1, "it does not wait for an hour");
}

#[tokio::test]
async fn a_key_that_may_exist_can_be_asked_for_again() {
    const BUSY: &[Response] = &[(503, ("retry-after", "60"), r#"{"detail":"the database is busy"}"#)];
    let server = Scripted::start(BUSY).await;
    let keygate = Keygate::with_key("kg_key");
    let done = keygate.run(&["keys", "create", "x", "--url", &server.url]).await;
    done.assert_failed(5, &["--idempotency-key "]);
    let key =
        done.stderr.split_once("--idempotency-key ").expect("a key").1.split(' ').next().expect("its end");

    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace).set("KEYGATE_API_URL", &variable("KEYGATE_API_URL"));
    let create = ["keys", "create", "x", "--idempotency-key", key];
    let (one, other) = (keygate.json(&create).await, keygate.json(&create).await);
    assert_eq!(one["item"]["key"], other["item"]["key"]);
}

#[tokio::test]
async fn a_session_is_never_opened_twice() {
    const BUSY: &[Response] = &[(503, ("retry-after", "1"), r#"{"detail":"the database is busy"}"#)];
    let server = Scripted::start(BUSY).await;
    let open = ["sessions", "open", "bob", "--scope", "keys:read", "--url", &server.url];
    Keygate::with_key("kg_key").run(&open).await.assert_failed(5, &["the database is busy"]);
    assert_eq!(server.requests(), ["POST /sessions"]);
}

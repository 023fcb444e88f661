//! Functions that are killed or disturbed at their transaction, and functions with other settings than the stack's.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::database::events_of;
use crate::support::function::{Disturbance, Function, request};
use crate::support::oauth::form_event as form;
use crate::support::workspace::{Workspace, id_of, text, unique};

fn create(workspace: &Workspace, name: &str) -> Value {
    request(workspace, ("POST", "/api-keys"), None, &[], &json!({"name": name}))
}

#[tokio::test]
async fn killed_before_its_transaction_it_leaves_nothing() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    function.disturb(Disturbance::KillBefore);
    function.invoke_until_killed(create(&workspace, "ci")).await;
    let contents = workspace.contents().await;
    assert_eq!((contents.keys.len(), contents.events.len()), (1, 1), "the administrator's alone");
    workspace.created(json!({"name": "ci"})).await;
}

#[tokio::test]
async fn killed_after_its_transaction_it_leaves_all_of_it() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    function.disturb(Disturbance::KillAfter);
    function.invoke_until_killed(create(&workspace, "ci")).await;
    let contents = workspace.contents().await;
    assert_eq!((contents.keys.len(), contents.events.len()), (2, 2));
    workspace.create(&workspace.admin, &json!({"name": "ci"})).await.assert_problem(409, "name_taken");
}

#[tokio::test]
async fn a_conflict_that_passes_is_tried_again_under_the_same_token() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    function.disturb(Disturbance::Conflicts(3));
    let answer = function.invoke(create(&workspace, "ci")).await.expect("a response");
    assert_eq!(answer["statusCode"], 201, "{answer}");
    let calls = function.take_calls();
    let tokens: BTreeSet<_> =
        calls.iter().map(|(_, request)| request["ClientRequestToken"].to_string()).collect();
    assert_eq!((calls.len(), tokens.len()), (4, 1));
    assert_eq!(workspace.contents().await.keys.len(), 2);
}

#[tokio::test]
async fn a_conflict_that_does_not_pass_is_a_503_to_try_again() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    function.disturb(Disturbance::Conflicts(u32::MAX));
    let answer = function.invoke(create(&workspace, "ci")).await.expect("a response");
    assert_eq!(answer["statusCode"], 503, "{answer}");
    let retry_after = &answer["multiValueHeaders"]["retry-after"][0];
    assert_eq!(retry_after, "1", "{answer}");
    let problem: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
    assert_eq!(problem["code"], "unavailable");
    assert_eq!(problem["request_id"], "c6af9ac6-7b61-11e6-9a41-93e8deadbeef");
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

#[tokio::test]
async fn when_the_database_fails_the_response_is_a_503() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    function.disturb(Disturbance::Down);
    let answer = function.invoke(create(&workspace, "ci")).await.expect("a response");
    assert_eq!(answer["statusCode"], 503, "{answer}");
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

/// An unused refresh token still works. A used one, whose response was lost, ends its family.
#[tokio::test]
async fn a_renewal_that_is_killed_leaves_the_refresh_token_used_or_unused() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    for (disturbance, works) in [(Disturbance::KillBefore, true), (Disturbance::KillAfter, false)] {
        let tokens = workspace.tokens(&key, "offline_access").await;
        let refresh = text(&tokens, "refresh_token");
        let function = Function::start("issue-token", &[]).await;
        function.disturb(disturbance);
        let request = form("/oauth/token", &format!("grant_type=refresh_token&refresh_token={refresh}"));
        function.invoke_until_killed(request).await;
        assert!(workspace.accepts(text(&tokens, "access_token")).await);
        assert_eq!(workspace.refresh(refresh).await.status == 200, works, "{disturbance:?}");
        assert_eq!(workspace.accepts(text(&tokens, "access_token")).await, works, "{disturbance:?}");
    }
    workspace.contents().await;
}

#[tokio::test]
async fn tokens_come_with_their_event_or_not_at_all() {
    let workspace = Workspace::new().await;
    for (disturbance, written) in [(Disturbance::KillBefore, 0), (Disturbance::KillAfter, 1)] {
        let key = workspace.key_of("bob", &["keys:read"]).await;
        let function = Function::start("issue-token", &[]).await;
        function.disturb(disturbance);
        let client = format!("client_id={}&client_secret={key}", id_of(&key));
        let request = form("/oauth/token", &format!("grant_type=client_credentials&{client}"));
        function.invoke_until_killed(request).await;
        let listed = workspace.list_tokens(&key, id_of(&key), "").await.json();
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(written), "{disturbance:?}");
        let events = events_of(&workspace.id, "bob", "token.issued").await;
        assert_eq!(events.iter().filter(|event| event["key_id"] == id_of(&key)).count(), written);
    }
    let function = Function::start("issue-token", &[]).await;
    function.disturb(Disturbance::Down);
    let client = format!("client_id={}&client_secret={}", id_of(&workspace.admin), workspace.admin);
    let request = form("/oauth/token", &format!("grant_type=client_credentials&{client}"));
    let answer = function.invoke(request).await.expect("a response");
    assert_eq!(
        (&answer["statusCode"], &answer["headers"]["retry-after"]),
        (&json!(503), &json!("1")),
        "{answer}"
    );
    workspace.contents().await;
}

/// A deployment without the authorizer must not serve any request.
#[tokio::test]
async fn a_request_without_the_authorizers_context_is_an_error() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    for authorizer in [Value::Null, json!({}), json!({"principalId": "admin", "userId": "admin"})] {
        let mut event = create(&workspace, "ci");
        event["requestContext"]["authorizer"] = authorizer;
        let answer = function.invoke(event).await.expect("a response");
        assert_eq!(answer["statusCode"], 500, "{answer}");
    }
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

#[tokio::test]
async fn with_max_lifetime_days_no_request_makes_a_key_live_longer() {
    let workspace = Workspace::new().await;
    let limit = [("MAX_LIFETIME_DAYS", "30")];
    let (creator, updater) =
        tokio::join!(Function::start("create-key", &limit), Function::start("update-key", &limit));
    let place = |answer: &Value| {
        let problem: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
        problem["errors"][0]["pointer"].as_str().map(str::to_owned)
    };
    let create = |body: Value| request(&workspace, ("POST", "/api-keys"), None, &[], &body);
    for (body, wrong) in [
        (json!({"name": "a"}), Some("/expires_at")),
        (json!({"name": "a", "expires_in": 31 * 86_400}), Some("/expires_in")),
        (json!({"name": "a", "expires_in": 30 * 86_400}), None),
    ] {
        let answer = creator.invoke(create(body)).await.expect("a response");
        assert_eq!(answer["statusCode"], if wrong.is_some() { 400 } else { 201 }, "{answer}");
        assert_eq!(place(&answer).as_deref(), wrong);
    }
    let bootstrap =
        json!({"bootstrap": {"workspace_id": unique("test"), "user_id": "admin", "name": "first"}});
    let first = creator.invoke(bootstrap).await.expect("a response");
    assert!(first["expires_at"].is_string(), "the first key expires, too");

    let id = id_of(&workspace.admin);
    let patch = |body: Value| request(&workspace, ("PATCH", "/api-keys/{id}"), Some(id), &[], &body);
    for patched in [json!({"expires_at": null}), json!({"expires_at": "2098-01-01T00:00:00Z"})] {
        let answer = updater.invoke(patch(patched)).await.expect("a response");
        assert_eq!(
            (answer["statusCode"].as_u64(), place(&answer).as_deref()),
            (Some(400), Some("/expires_at"))
        );
    }
}

#[tokio::test]
async fn a_key_is_read_consistently() {
    let workspace = Workspace::new().await;
    // get-key also reads the last use.
    for (name, route, reads) in
        [("get-key", ("GET", "/api-keys/{id}"), 2), ("delete-key", ("DELETE", "/api-keys/{id}"), 1)]
    {
        let function = Function::start(name, &[]).await;
        let read = request(&workspace, route, Some("01JD3V6Y4N8Q2Z5X7W9B0C1D2E"), &[], &Value::Null);
        assert_eq!(function.invoke(read).await.expect("a response")["statusCode"], 404);
        let calls = function.take_calls();
        assert_eq!(calls.len(), reads, "{calls:?}");
        for (operation, call) in calls {
            assert_eq!((operation.as_str(), &call["ConsistentRead"]), ("GetItem", &json!(true)), "{call}");
        }
    }
}

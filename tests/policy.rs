//! `GET /policy`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::function::{Function, request};
use crate::support::workspace::{Workspace, id_of, text, unique};

/// The policy that a credential gets.
async fn policy(workspace: &Workspace, key: &str) -> Value {
    let answer = workspace.call(Method::GET, "/policy", key).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{answer:?}");
    answer.json()
}

fn names(policy: &Value) -> Vec<&str> {
    let scopes = policy["scopes"].as_array().expect("scopes");
    scopes.iter().map(|scope| text(scope, "name")).collect()
}

#[tokio::test]
async fn the_response_says_what_the_caller_may_ask_for() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "keys:write"]).await;
    let seen = policy(&workspace, &key).await;
    let left = seen["keys"]["quota"].as_u64().expect("a quota") - 1;
    assert_eq!(seen["keys"]["left"], left);
    assert_eq!(seen["may_create_keys"], true);
    assert_eq!(seen["any_scope"], false);
    assert_eq!(
        seen["scopes"],
        json!([
            {"name": "keys:write", "description": "See and change your own keys"},
            {"name": "orders:read", "description": null},
        ])
    );
    workspace.contents().await;
}

#[tokio::test]
async fn each_listed_scope_can_be_granted_and_no_other_one() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "keys:write", "sessions:write"]).await;
    let seen = policy(&workspace, &key).await;
    assert_eq!(names(&seen), ["keys:write", "orders:read"]);
    for (scope, status) in
        [("keys:write", 201), ("orders:read", 201), ("sessions:write", 403), ("orders:write", 403)]
    {
        let answer = workspace.create(&key, &json!({"name": unique("key"), "scopes": [scope]})).await;
        assert_eq!(answer.status, status, "{scope}: {answer:?}");
    }

    let seen = policy(&workspace, &workspace.admin).await;
    assert_eq!((&seen["any_scope"], names(&seen).contains(&"sessions:write")), (&json!(true), true));
    for scope in names(&seen).into_iter().chain(["orders:write"]) {
        let answer =
            workspace.create(&workspace.admin, &json!({"name": unique("key"), "scopes": [scope]})).await;
        assert_eq!(answer.status, 201, "{scope}: {answer:?}");
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_caller_who_may_create_no_key_grants_no_scope() {
    let workspace = Workspace::new().await;
    let reader = workspace.key_of("bob", &["orders:read", "keys:read"]).await;
    let writer = workspace.key_of("bob", &["orders:read", "keys:write"]).await;
    let token = workspace.access_token(&writer).await;
    for credential in [&reader, &token] {
        let seen = policy(&workspace, credential).await;
        assert_eq!((&seen["may_create_keys"], &seen["any_scope"]), (&json!(false), &json!(false)), "{seen}");
        assert_eq!(seen["scopes"], json!([]), "{seen}");
        let refused = workspace.create(credential, &json!({"name": unique("key")})).await;
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    workspace.contents().await;
}

#[tokio::test]
async fn the_places_are_those_that_a_create_finds() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["keys:write"]).await;
    let other = workspace.key_of("carol", &["keys:write"]).await;
    let left = async |key: &str| policy(&workspace, key).await["keys"]["left"].as_u64().expect("a number");
    let (before, of_other) = (left(&key).await, left(&other).await);

    let created = workspace.create(&key, &json!({"name": unique("lasting")})).await.json();
    assert_eq!(left(&key).await, before - 1);
    let short = workspace.create(&key, &json!({"name": unique("short"), "expires_in": 1})).await.json();
    workspace.until_expired(text(&short, "id")).await;
    // An expired key holds its place for the difference of clocks, which is 2 seconds.
    crate::support::eventually("the expired key holds no place", async || left(&key).await == before - 1)
        .await;
    assert_eq!(workspace.delete(&key, text(&created, "id")).await.status, 204);
    assert_eq!(left(&key).await, before);
    assert_eq!(left(&other).await, of_other, "another user's keys hold no place");
    workspace.contents().await;
}

#[tokio::test]
async fn the_settings_are_those_of_the_deployment() {
    let workspace = Workspace::new().await;
    let descriptions =
        r#"{"orders:write": "Change orders", "orders:read": "See orders", "keys:read": "See keys"}"#;
    let function = Function::start(
        "get-policy",
        &[
            ("KEYS_PER_USER", "1"),
            ("MAX_LIFETIME_DAYS", "90"),
            ("AUTHORIZER_UNCACHED", "true"),
            ("LEGACY_SUNSET", "2030-01-01T00:00:00Z"),
            ("SCOPE_DESCRIPTIONS", descriptions),
        ],
    )
    .await;
    let event = request(&workspace, ("GET", "/policy"), None, &[], &Value::Null);
    let answer = function.invoke(event).await.expect("a response");
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let seen: Value = serde_json::from_str(text(&answer, "body")).expect("JSON");
    assert_eq!(seen["keys"], json!({"quota": 1, "left": 0}), "{seen}");
    assert_eq!(
        (&seen["max_lifetime_days"], &seen["limits_enforced"], &seen["legacy_sunset"]),
        (&json!(90), &json!(true), &json!("2030-01-01T00:00:00Z")),
        "{seen}"
    );
    assert_eq!(names(&seen)[..4], ["orders:write", "orders:read", "keys:read", "activity:read"], "{seen}");
    assert_eq!(seen["scopes"][2], json!({"name": "keys:read", "description": "See keys"}));
    workspace.contents().await;
}

#[tokio::test]
async fn the_users_of_another_workspace_hold_no_place() {
    let (workspace, other) = tokio::join!(Workspace::new(), Workspace::new());
    let (key, of_other) = (workspace.key_of("bob", &[]).await, other.key_of("bob", &[]).await);
    assert_ne!(id_of(&key), id_of(&of_other));
    let before = policy(&workspace, &key).await;
    other.key_of("bob", &[]).await;
    assert_eq!(policy(&workspace, &key).await, before);
    let left = |seen: &Value| seen["keys"]["left"].as_u64().expect("a number");
    assert_eq!(left(&policy(&other, &of_other).await), left(&before) - 1);
}

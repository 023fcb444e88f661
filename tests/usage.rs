//! The calls of keys by hour and day.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::function::{Function, token_event};
use crate::support::workspace::{Workspace, id_of, text};

/// The counts of a key in the present hour, or in the one before if the hour has just begun.
async fn calls(workspace: &Workspace, caller: &str, id: &str) -> (u64, u64) {
    let answer = workspace.call(Method::GET, &format!("/api-keys/{id}/usage?per=day"), caller).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let usage = answer.json();
    let sum = |member: &str| {
        let items = usage["items"].as_array().expect("items").iter();
        items.map(|item| item[member].as_u64().expect("a number")).sum()
    };
    (sum("allowed"), sum("refused"))
}

async fn until_counted(workspace: &Workspace, id: &str, expected: (u64, u64)) {
    eventually("the calls are counted", async || calls(workspace, &workspace.admin, id).await == expected)
        .await;
}

#[tokio::test]
async fn allowed_and_refused_calls_of_a_key_and_its_tokens_are_counted() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let token = workspace.access_token(&key).await;
    assert_eq!(calls(&workspace, &workspace.admin, id_of(&key)).await, (0, 0));
    let authorizer = Function::start("authorize", &[("LAST_USED_INTERVAL", "0")]).await;
    for credential in [&key, &key, &token] {
        authorizer.invoke(token_event(&format!("Bearer {credential}"))).await.expect("a policy");
    }
    let other = workspace.key_of("carol", &[]).await;
    let wrong = format!("{}{}", &key[..key.len() - 49], &other[other.len() - 49..]);
    authorizer.invoke(token_event(&format!("Bearer {wrong}"))).await.expect_err("a wrong secret or checksum");
    workspace.update(&workspace.admin, id_of(&key), &json!({"disabled": true})).await.assert_succeeded();
    authorizer.invoke(token_event(&format!("Bearer {key}"))).await.expect_err("a disabled key");
    until_counted(&workspace, id_of(&key), (3, 1)).await;
    assert_eq!(calls(&workspace, &workspace.admin, id_of(&other)).await, (0, 0));
}

#[tokio::test]
async fn an_environment_writes_its_counts_once_in_the_interval_and_when_it_ends() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[("LAST_USED_INTERVAL", "3600")]).await;
    for _ in 0..30 {
        authorizer.invoke(token_event(&format!("Bearer {key}"))).await.expect("a policy");
    }
    assert_eq!(calls(&workspace, &workspace.admin, id_of(&key)).await, (0, 0));
    let writes = authorizer.take_calls().into_iter().filter(|(_, call)| is_count(call)).count();
    assert_eq!(writes, 0);
    authorizer.terminate().await;
    until_counted(&workspace, id_of(&key), (30, 0)).await;
    let writes = authorizer.take_calls().into_iter().filter(|(_, call)| is_count(call)).count();
    assert_eq!(writes, 1);
}

fn is_count(call: &Value) -> bool {
    call["UpdateExpression"].as_str().is_some_and(|update| update.contains("refused"))
}

#[tokio::test]
async fn a_series_has_every_interval_of_its_range() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let route = format!("/api-keys/{}/usage", id_of(&key));
    let get =
        async |query: &str| workspace.call(Method::GET, &format!("{route}{query}"), &workspace.admin).await;
    let hours = get("?from=2026-11-20T09:30:00Z&to=2026-11-20T11:00:00Z").await.json();
    let none = |start: &str| json!({"start": start, "allowed": 0, "refused": 0});
    let expected = [none("2026-11-20T09:00:00Z"), none("2026-11-20T10:00:00Z")];
    assert_eq!(hours, json!({"per": "hour", "items": expected}));
    let week = get("").await.json();
    assert_eq!(week["items"].as_array().map(Vec::len), Some(7 * 24 + 1));
    let last = text(&week["items"][7 * 24], "start");
    let last: DateTime<Utc> = last.parse().expect("a time");
    assert!(Utc::now() - last < TimeDelta::minutes(61), "{last}");
    assert_eq!(get("?per=day").await.json()["items"].as_array().map(Vec::len), Some(8));
    for (query, place) in [
        ("?per=week", "per"),
        ("?from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z", "from"),
        ("?from=2026-03-01T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
        ("?limit=7", "limit"),
    ] {
        assert_eq!(get(query).await.invalid_places(), [place], "{query}");
    }
}

#[tokio::test]
async fn usage_is_shown_to_those_who_may_read_the_key() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let route = format!("/api-keys/{}/usage", id_of(&key));
    let get = async |caller: &str| workspace.call(Method::GET, &route, caller).await;
    let own = workspace.key_of("bob", &["keys:write"]).await;
    assert_eq!(get(&own).await.status, 200);
    let reader = workspace.key_of("carol", &["keys:read"]).await;
    assert_eq!(get(&reader).await.status, 200);
    let others = workspace.key_of("carol", &["keys:write"]).await;
    get(&others).await.assert_problem(403, "insufficient_scope");
    get(&key).await.assert_problem(403, "insufficient_scope");
    let stranger = Workspace::new().await;
    get(&stranger.admin).await.assert_problem(404, "not_found");
    let unknown =
        workspace.call(Method::GET, "/api-keys/01JD3V6Y4N8Q2Z5X7W9B0C1D2E/usage", &workspace.admin).await;
    unknown.assert_problem(404, "not_found");
}

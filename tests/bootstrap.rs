//! The first administrator's key.

use serde_json::json;

use crate::support::stack::Api;
use crate::support::workspace::{Workspace, bootstrap, unique};

#[tokio::test]
async fn a_workspace_is_bootstrapped_once() {
    let workspace = Workspace::new().await;
    let again =
        bootstrap(&workspace.api, &json!({"workspace_id": workspace.id, "user_id": "eve", "name": "again"}))
            .await;
    assert_eq!(again["code"], "already_bootstrapped", "{again}");
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

#[tokio::test]
async fn the_first_key_is_an_administrators() {
    let workspace = Workspace::new().await;
    let keys = workspace.list(&workspace.admin, "").await.json();
    assert_eq!(keys["items"][0]["scopes"], json!(["workspace:admin"]));
    let contents = workspace.contents().await;
    assert_eq!(contents.events.len(), 1);
    assert_eq!(contents.events[0]["action"], "key.bootstrapped");
}

#[tokio::test]
async fn the_first_key_expires_if_that_is_asked_for() {
    let api = Api::default();
    let request = |seconds: i64| json!({"workspace_id": unique("test"), "user_id": "alice", "name": "first", "expires_in": seconds});
    let created = bootstrap(&api, &request(3_600)).await;
    let time = |member: &str| {
        let text = created[member].as_str().unwrap_or_else(|| panic!("{member} of {created}"));
        chrono::DateTime::parse_from_rfc3339(text).expect("a time")
    };
    assert_eq!(time("expires_at") - time("created_at"), chrono::TimeDelta::hours(1));
    let problem = bootstrap(&api, &request(0)).await;
    assert_eq!(problem["errors"][0]["pointer"], "/expires_in", "{problem}");
}

#[tokio::test]
async fn breaking_the_glass_makes_another_administrator_and_is_in_the_trail() {
    let workspace = Workspace::new().await;
    let request =
        json!({"workspace_id": workspace.id, "user_id": "oncall", "name": "emergency", "break_glass": true});
    let created = bootstrap(&workspace.api, &request).await;
    let key = created["key"].as_str().expect("a key");
    assert_eq!(workspace.list(key, "").await.status, 200);
    let contents = workspace.contents().await;
    assert_eq!(contents.events_of("key.break_glass", &created["id"]), 1);
}

#[tokio::test]
async fn a_bootstrap_with_wrong_fields_names_them() {
    let problem = bootstrap(&Api::default(), &json!({"workspace_id": "Not Valid", "scopes": []})).await;
    let places: Vec<_> =
        problem["errors"].as_array().expect("errors").iter().map(|error| &error["pointer"]).collect();
    assert_eq!(places, ["/workspace_id", "/user_id", "/name", "/scopes"]);
}

#[tokio::test]
async fn two_bootstraps_at_once_make_one_administrator() {
    let api = Api::default();
    let id = unique("test");
    let request = |user| json!({"workspace_id": id, "user_id": user, "name": format!("key of {user}")});
    let (one, other) = (request("one"), request("other"));
    let (one, other) = tokio::join!(bootstrap(&api, &one), bootstrap(&api, &other));
    let made = [&one, &other].iter().filter(|answer| answer["key"].is_string()).count();
    assert_eq!(made, 1, "{one} {other}");
}

/// The request of an HTTP client is the body of an event, never the event itself.
#[tokio::test]
async fn bootstrapping_over_http_is_impossible() {
    let workspace = Workspace::new().await;
    let body =
        json!({"bootstrap": {"workspace_id": "mine", "user_id": "eve", "name": "a", "break_glass": true}});
    assert_eq!(workspace.create(&workspace.admin, &body).await.invalid_places(), ["/name", "/bootstrap"]);
}

//! Networks: the addresses from which a key and its tokens work.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::function::{Function, event};
use crate::support::oauth::basic;
use crate::support::workspace::{Workspace, text, unique};

/// Networks with the address of the tests, and without it (RFC 5737).
const HERE: &str = "127.0.0.0/8";
const ELSEWHERE: &str = "203.0.113.0/24";

async fn key_with(workspace: &Workspace, networks: &[&str]) -> Value {
    workspace.created(json!({"name": unique("key"), "user_id": "bob", "networks": networks})).await
}

#[tokio::test]
async fn a_key_with_networks_works_only_from_their_addresses() {
    let workspace = Workspace::new().await;
    for (networks, allowed) in
        [(&[][..], true), (&[HERE], true), (&[ELSEWHERE], false), (&[ELSEWHERE, "127.0.0.1"], true)]
    {
        let key = key_with(&workspace, networks).await;
        // The authorizer of the REST API does not know the address, and the emulator evaluates no conditions of policies. The
        // smoke test asks AWS.
        let [_, http] = workspace.api.examples(&Method::GET, "/echo", text(&key, "key")).await;
        assert_eq!(http, if allowed { 200 } else { 403 }, "{networks:?}");
        let connected = workspace.api.connect(Some(&format!("Bearer {}", text(&key, "key")))).await;
        assert_eq!(connected, if allowed { 101 } else { 403 }, "{networks:?}");
        let me = workspace.call(Method::GET, "/me", text(&key, "key")).await;
        assert_eq!(me.status, if allowed { 200 } else { 403 }, "{networks:?}");
    }
}

#[tokio::test]
async fn every_kind_of_event_gets_a_policy_with_the_networks_of_its_key() {
    let workspace = Workspace::new().await;
    let key = key_with(&workspace, &["2001:db8::/32", ELSEWHERE]).await;
    let function = Function::start("authorize", &[]).await;
    for name in [
        "authorize-rest-token",
        "authorize-rest-request",
        "authorize-websocket",
        "authorize-http-1.0",
        "authorize-http-2.0",
    ] {
        let mut event = event(name);
        let bearer = json!(format!("Bearer {}", text(&key, "key")));
        if event["type"] == "TOKEN" {
            event["authorizationToken"] = bearer;
        } else {
            event["headers"]["Authorization"] = bearer.clone();
            if event.get("multiValueHeaders").is_some() {
                event["multiValueHeaders"]["Authorization"] = json!([bearer]);
            }
        }
        let response = function.invoke(event).await.expect(name);
        let condition = &response["policyDocument"]["Statement"][0]["Condition"]["IpAddress"]["aws:SourceIp"];
        assert_eq!(condition, &json!(["2001:db8::/32", ELSEWHERE]), "{name}: {response}");
        assert_eq!(response["context"]["networks"], "2001:db8::/32,203.0.113.0/24", "{name}");
    }
}

#[tokio::test]
async fn networks_are_shown_changed_and_kept_when_a_key_is_rotated() {
    let workspace = Workspace::new().await;
    let created = key_with(&workspace, &["203.0.113.7", "2001:DB8::/32"]).await;
    let (id, canonical) = (text(&created, "id"), json!(["203.0.113.7/32", "2001:db8::/32"]));
    assert_eq!(created["networks"], canonical);
    assert_eq!(workspace.rotate(&workspace.admin, id, &json!({})).await.json()["networks"], canonical);
    assert_eq!(workspace.get(&workspace.admin, id).await.json()["networks"], canonical);
    let listed = workspace.list(&workspace.admin, "?user_id=bob").await.json();
    assert_eq!(listed["items"][0]["networks"], canonical);
    let patched = workspace.update(&workspace.admin, id, &json!({"networks": [HERE]})).await.json();
    assert_eq!(patched["networks"], json!([HERE]));
    let cleared = workspace.update(&workspace.admin, id, &json!({"networks": null})).await.json();
    assert_eq!(cleared["networks"], json!([]));
    for (networks, place) in [
        (json!(["10.0.0.1/8"]), "/networks/0"),
        (json!([HERE, "all"]), "/networks/1"),
        (json!([HERE, HERE]), "/networks/1"),
        (json!("127.0.0.1"), "/networks"),
    ] {
        let refused = workspace.update(&workspace.admin, id, &json!({"networks": networks})).await;
        assert_eq!(refused.invalid_places(), [place]);
    }
}

#[tokio::test]
async fn a_caller_with_networks_makes_and_changes_only_keys_within_them() {
    let workspace = Workspace::new().await;
    let writer =
        json!({"name": unique("key"), "user_id": "bob", "scopes": ["keys:write"], "networks": [HERE]});
    let writer = workspace.created(writer).await;
    let caller = text(&writer, "key");
    for (networks, allowed) in [
        (json!([HERE]), true),
        (json!(["127.0.0.1", "127.1.0.0/16"]), true),
        (json!([]), false),
        (json!(["0.0.0.0/0"]), false),
        (json!([HERE, ELSEWHERE]), false),
    ] {
        let created = workspace.create(caller, &json!({"name": unique("key"), "networks": networks})).await;
        if allowed {
            assert_eq!(created.status, 201, "{networks}");
        } else {
            created.assert_problem(403, "insufficient_networks");
            let widened = workspace.update(caller, text(&writer, "id"), &json!({"networks": networks})).await;
            widened.assert_problem(403, "insufficient_networks");
        }
    }
    let other = workspace.created(json!({"name": unique("key"), "user_id": "bob"})).await;
    workspace
        .rotate(caller, text(&other, "id"), &json!({}))
        .await
        .assert_problem(403, "insufficient_networks");
}

#[tokio::test]
async fn a_key_gets_and_renews_tokens_only_from_its_networks_and_they_work_only_there() {
    let workspace = Workspace::new().await;
    let key = key_with(&workspace, &[HERE]).await;
    let (id, credential) = (text(&key, "id"), text(&key, "key"));
    let tokens = workspace.tokens(credential, "offline_access").await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    assert_eq!(workspace.call(Method::GET, "/me", access).await.json()["networks"], json!([HERE]));

    workspace.update(&workspace.admin, id, &json!({"networks": [ELSEWHERE]})).await.assert_succeeded();
    assert_eq!(workspace.call(Method::GET, "/me", access).await.status, 403);
    let form = [("grant_type", "client_credentials")];
    workspace.oauth("token", Some(&basic(credential)), &form).await.assert_oauth_error(401, "invalid_client");
    workspace.refresh(refresh).await.assert_oauth_error(400, "invalid_grant");
    let events = workspace.activity(&format!("?key_id={id}&outcome=refused")).await;
    let reasons: Vec<_> =
        events["items"].as_array().expect("events").iter().map(|event| &event["reason"]).collect();
    assert!(!reasons.is_empty() && reasons.iter().all(|reason| *reason == "outside_networks"), "{events}");

    workspace.update(&workspace.admin, id, &json!({"networks": null})).await.assert_succeeded();
    assert_eq!(workspace.call(Method::GET, "/me", access).await.status, 200);
    assert_eq!(
        workspace.refresh(refresh).await.status,
        200,
        "the refused request did not use the refresh token"
    );
}

//! `PATCH /api-keys/{id}`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::workspace::{Workspace, id_of, keys_url, text};

#[tokio::test]
async fn a_patch_changes_only_the_fields_that_it_names() {
    let workspace = Workspace::new().await;
    let created = workspace
        .created(json!({"name": "ci", "description": "old", "scopes": ["a:b"], "user_id": "bob"}))
        .await;
    let id = text(&created, "id");

    let patch = json!({"name": "CI", "description": "new", "scopes": ["a:b", "c:d"],
        "endpoints": ["GET /orders/*"], "expires_at": "2099-01-01T00:00:00Z"});
    let answer = workspace.update(&workspace.admin, id, &patch).await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"2\"")), "{answer:?}");
    let mut expected = created.clone();
    expected.as_object_mut().expect("an object").remove("key");
    expected["can"] = json!(["update", "widen", "disable", "rotate", "delete", "revoke_tokens"]);
    for (member, value) in patch.as_object().expect("an object") {
        expected[member] = value.clone();
    }
    assert_eq!(answer.json(), expected);
    assert_eq!(workspace.get(&workspace.admin, id).await.json(), expected);

    let cleared = json!({"description": null, "scopes": null, "endpoints": null, "expires_at": null});
    let answer = workspace.update(&workspace.admin, id, &cleared).await.json();
    assert_eq!(
        (&answer["description"], &answer["scopes"], &answer["endpoints"], &answer["expires_at"]),
        (&Value::Null, &json!([]), &json!([]), &Value::Null)
    );
    assert_eq!(workspace.contents().await.events_of("key.updated", &created["id"]), 2);
}

#[tokio::test]
async fn a_patch_that_changes_nothing_writes_nothing() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci", "scopes": ["a:b"]})).await;
    for patch in
        [json!({}), json!({"name": "ci"}), json!({"disabled": false, "scopes": ["a:b"], "description": null})]
    {
        let answer = workspace.update(&workspace.admin, text(&created, "id"), &patch).await;
        assert_eq!((answer.status, answer.header("etag")), (200, Some("\"1\"")), "{patch}");
    }
    assert_eq!(workspace.contents().await.events_of("key.updated", &created["id"]), 0);
}

#[tokio::test]
async fn a_disabled_key_is_refused_until_it_is_enabled() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let (id, key) = (text(&created, "id"), text(&created, "key"));
    for (disabled, status, tag) in
        [(true, "disabled", "\"2\""), (true, "disabled", "\"2\""), (false, "active", "\"3\"")]
    {
        let answer = workspace.update(&workspace.admin, id, &json!({"disabled": disabled})).await;
        assert_eq!((&answer.json()["status"], answer.header("etag")), (&json!(status), Some(tag)));
        assert_eq!(workspace.accepts(key).await, !disabled);
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_renamed_key_frees_its_old_name_and_takes_the_new_one() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "old"})).await;
    workspace.created(json!({"name": "taken"})).await;
    let id = text(&created, "id");
    workspace.update(&workspace.admin, id, &json!({"name": "TAKEN"})).await.assert_problem(409, "name_taken");
    assert_eq!(workspace.update(&workspace.admin, id, &json!({"name": "new"})).await.status, 200);
    workspace.create(&workspace.admin, &json!({"name": "new"})).await.assert_problem(409, "name_taken");
    workspace.created(json!({"name": "old"})).await;
    workspace.contents().await;
}

#[tokio::test]
async fn a_changed_expiry_moves_the_name_along() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let id = text(&created, "id");
    for patch in [
        json!({"expires_at": "2098-01-01T00:00:00Z"}),
        json!({"expires_at": "2099-01-01T00:00:00Z", "name": "renamed"}),
        json!({"expires_at": null}),
    ] {
        assert_eq!(workspace.update(&workspace.admin, id, &patch).await.status, 200);
        workspace.contents().await;
    }
}

#[tokio::test]
async fn an_expired_key_works_again_when_its_life_is_extended() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "short", "expires_in": 1})).await;
    workspace.until_refused(text(&created, "key")).await;
    let patch = json!({"expires_at": "2099-01-01T00:00:00Z"});
    assert_eq!(
        workspace.update(&workspace.admin, text(&created, "id"), &patch).await.json()["status"],
        "active"
    );
    assert!(workspace.accepts(text(&created, "key")).await);
    workspace.contents().await;
}

#[tokio::test]
async fn a_change_is_for_the_revision_it_names() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let rest = format!("/{}", text(&created, "id"));
    let update = |if_match: &'static str, description: &'static str| {
        let (workspace, rest) = (&workspace, &rest);
        async move {
            let (route, patch) = ((Method::PATCH, rest.as_str()), json!({"description": description}));
            workspace.send(route, &workspace.admin, &[("If-Match", if_match)], Some(&patch)).await
        }
    };
    assert_eq!(update("\"1\"", "one").await.status, 200);
    for stale in ["\"1\"", "W/\"2\"", "\"x\"", "\"3\""] {
        update(stale, "two").await.assert_problem(412, "precondition_failed");
    }
    for malformed in ["2", "'2'", ""] {
        update(malformed, "two").await.assert_problem(400, "invalid_request");
    }
    assert_eq!(update("*", "three").await.header("etag"), Some("\"3\""));
    assert_eq!(update("\"7\", \"3\"", "four").await.header("etag"), Some("\"4\""));
    let delete =
        workspace.send((Method::DELETE, &rest), &workspace.admin, &[("If-Match", "\"1\"")], None).await;
    delete.assert_problem(412, "precondition_failed");
    let delete =
        workspace.send((Method::DELETE, &rest), &workspace.admin, &[("If-Match", "\"4\"")], None).await;
    assert_eq!(delete.status, 204);
    workspace.contents().await;
}

#[tokio::test]
async fn bad_input_is_a_400_that_names_every_field() {
    let workspace = Workspace::new().await;
    let id = id_of(&workspace.admin);
    for (patch, places) in [
        (json!({"name": null}), vec!["/name"]),
        (json!({"name": "", "description": 1}), vec!["/name", "/description"]),
        (json!({"expires_at": "2020-01-01T00:00:00Z", "disabled": "no"}), vec!["/expires_at", "/disabled"]),
        (json!({"expires_in": 60}), vec!["/expires_in"]),
        (
            json!({"user_id": "bob", "endpoints": ["/"], "hash": "x"}),
            vec!["/endpoints/0", "/hash", "/user_id"],
        ),
        (json!([]), vec![""]),
    ] {
        assert_eq!(workspace.update(&workspace.admin, id, &patch).await.invalid_places(), places, "{patch}");
    }
    let request = workspace.api.client().patch(keys_url(&format!("/{id}"))).bearer_auth(&workspace.admin);
    let merge_patch =
        request.header("Content-Type", "application/merge-patch+json").body(r#"{"description":"d"}"#);
    assert_eq!(merge_patch.send().await.expect("a response").status().as_u16(), 200);
    workspace
        .update(&workspace.admin, "01JD3V6Y4N8Q2Z5X7W9B0C1D2E", &json!({}))
        .await
        .assert_problem(404, "not_found");
    workspace.contents().await;
}

//! `POST /api-keys/{id}/rotate`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::workspace::{Workspace, text};

#[tokio::test]
async fn a_rotated_key_has_another_secret_and_the_same_id() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci", "scopes": ["a:b"]})).await;
    let (id, old) = (text(&created, "id"), text(&created, "key"));
    let answer = workspace.send((Method::POST, &format!("/{id}/rotate")), &workspace.admin, &[], None).await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"2\"")), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let rotated = answer.json();
    let new = text(&rotated, "key");
    assert_ne!(new, old);
    assert_eq!(rotated["previous_expires_at"], Value::Null);
    let without_text = |key: &Value| {
        let mut key = key.clone();
        key.as_object_mut().expect("an object").remove("key");
        key
    };
    assert_eq!(without_text(&rotated), without_text(&created));

    assert!(workspace.accepts(new).await);
    assert!(!workspace.accepts(old).await, "without an overlap the old secret ends at once");
    assert_eq!(workspace.contents().await.events_of("key.rotated", &created["id"]), 1);
}

#[tokio::test]
async fn during_the_overlap_both_secrets_work_and_afterwards_one() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let (id, old) = (text(&created, "id"), text(&created, "key"));
    let rotated = workspace.rotate(&workspace.admin, id, &json!({"overlap_seconds": 3})).await.json();
    let new = text(&rotated, "key");
    assert!(workspace.accepts(old).await && workspace.accepts(new).await);
    assert_eq!(
        workspace.get(&workspace.admin, id).await.json()["previous_expires_at"],
        rotated["previous_expires_at"]
    );
    workspace.until_refused(old).await;
    let over = chrono::DateTime::parse_from_rfc3339(text(&rotated, "previous_expires_at")).expect("RFC 3339");
    assert!(over <= chrono::Utc::now(), "the old secret works until the overlap ends");
    assert!(workspace.accepts(new).await);
    assert_eq!(workspace.get(&workspace.admin, id).await.json()["previous_expires_at"], Value::Null);
    workspace.contents().await;
}

#[tokio::test]
async fn rotating_again_inside_an_overlap_ends_the_older_secret() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let (id, first) = (text(&created, "id"), text(&created, "key"));
    let overlap = json!({"overlap_seconds": 3600});
    let second = workspace.rotate(&workspace.admin, id, &overlap).await.json();
    let third = workspace.rotate(&workspace.admin, id, &overlap).await.json();
    assert!(!workspace.accepts(first).await);
    assert!(workspace.accepts(text(&second, "key")).await);
    assert!(workspace.accepts(text(&third, "key")).await);

    let last = workspace.rotate(&workspace.admin, id, &json!({"overlap_seconds": 0})).await.json();
    assert!(!workspace.accepts(text(&third, "key")).await, "no overlap ends everything before");
    assert!(workspace.accepts(text(&last, "key")).await);
    workspace.contents().await;
}

#[tokio::test]
async fn a_disabled_key_stays_disabled_when_it_is_rotated() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let id = text(&created, "id");
    workspace.update(&workspace.admin, id, &json!({"disabled": true})).await.assert_succeeded();
    let rotated = workspace.rotate(&workspace.admin, id, &json!({})).await.json();
    assert_eq!(rotated["status"], "disabled");
    assert!(!workspace.accepts(text(&rotated, "key")).await);
    workspace.contents().await;
}

#[tokio::test]
async fn an_overlap_is_0_to_30_days() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let id = text(&created, "id");
    for body in [
        json!({"overlap_seconds": -1}),
        json!({"overlap_seconds": 2_592_001}),
        json!({"overlap_seconds": "60"}),
    ] {
        assert_eq!(
            workspace.rotate(&workspace.admin, id, &body).await.invalid_places(),
            ["/overlap_seconds"],
            "{body}"
        );
    }
    assert_eq!(
        workspace.rotate(&workspace.admin, id, &json!({"overlap": 1})).await.invalid_places(),
        ["/overlap"]
    );
    assert_eq!(
        workspace.rotate(&workspace.admin, id, &json!({"overlap_seconds": 2_592_000})).await.status,
        200
    );
    assert_eq!(workspace.rotate(&workspace.admin, id, &json!({"overlap_seconds": null})).await.status, 200);
    let stale = [("If-Match", "\"1\"")];
    let answer =
        workspace.send((Method::POST, &format!("/{id}/rotate")), &workspace.admin, &stale, None).await;
    answer.assert_problem(412, "precondition_failed");
    workspace.rotate(&workspace.admin, "x", &json!({})).await.assert_problem(404, "not_found");
    workspace.contents().await;
}

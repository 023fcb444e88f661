//! `POST /api-keys` with an `Idempotency-Key`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database;
use crate::support::eventually;
use crate::support::stack::{Answer, remember_secret};
use crate::support::workspace::{Workspace, keys_url, text, unique};

async fn create(workspace: &Workspace, key: &str, header: &str, body: &Value) -> Answer {
    if header.len() >= 16 {
        remember_secret(header);
    }
    workspace.send((Method::POST, ""), key, &[("Idempotency-Key", header)], Some(body)).await
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_response_and_creates_no_second_key() {
    let workspace = Workspace::new().await;
    let (header, body) = (unique("request"), json!({"name": "ci", "scopes": ["a:b"], "expires_in": 3600}));
    let first = create(&workspace, &workspace.admin, &header, &body).await;
    assert_eq!(first.status, 201, "{first:?}");
    let again = create(&workspace, &workspace.admin, &header, &body).await;
    assert_eq!((again.status, again.json()), (201, first.json()));
    assert_eq!(again.header("etag"), first.header("etag"));
    assert!(workspace.accepts(text(&first.json(), "key")).await);
    let contents = workspace.contents().await;
    assert_eq!((contents.keys.len(), contents.events_of("key.created", &first.json()["id"])), (2, 1));
}

#[tokio::test]
async fn of_16_at_once_one_makes_the_key_and_all_get_it() {
    let workspace = std::sync::Arc::new(Workspace::new().await);
    let header = unique("request");
    let mut creates = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (workspace, header) = (std::sync::Arc::clone(&workspace), header.clone());
        creates.spawn(
            async move { create(&workspace, &workspace.admin, &header, &json!({"name": "ci"})).await },
        );
    }
    let answers = creates.join_all().await;
    for answer in &answers {
        assert_eq!((answer.status, answer.json()), (201, answers[0].json()));
    }
    assert_eq!(workspace.contents().await.keys.len(), 2);
}

#[tokio::test]
async fn the_same_header_with_another_body_is_a_422() {
    let workspace = Workspace::new().await;
    let header = unique("request");
    create(&workspace, &workspace.admin, &header, &json!({"name": "one"})).await.assert_succeeded();
    let answer = create(&workspace, &workspace.admin, &header, &json!({"name": "two"})).await;
    answer.assert_problem(422, "idempotency_mismatch");
    assert_eq!(workspace.contents().await.keys.len(), 2);
}

#[tokio::test]
async fn a_request_is_the_same_however_and_whenever_it_is_written() {
    let workspace = Workspace::new().await;
    let header = unique("request");
    remember_secret(&header);
    let send = async |body: &'static str| {
        let request = workspace.api.client().post(keys_url("")).bearer_auth(&workspace.admin);
        let request = request.header("Idempotency-Key", &header).header("Content-Type", "application/json");
        Answer::of(request.body(body).send().await.expect("a response of the stack")).await
    };
    let first = send(r#"{"name":"ci","scopes":["a:b"],"expires_in":3600}"#).await;
    assert_eq!(first.status, 201, "{first:?}");
    // The same `expires_in` a second later is the same request, although the key would expire a second later.
    let made = text(&first.json(), "created_at").to_owned();
    let is_later = async || chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true) > made;
    eventually("the next second begins", is_later).await;
    for same in [
        r#"{ "expires_in": 3600, "name": "ci", "scopes": ["a:b"] }"#,
        r#"{"name":" ci","scopes":["a:b"],"expires_in":3600,"description":null}"#,
    ] {
        let again = send(same).await;
        assert_eq!((again.status, again.json()), (201, first.json()), "{same}");
    }
    for another in [
        r#"{"name":"ci","scopes":["a:b"],"expires_in":3601}"#,
        r#"{"name":"ci","expires_in":3600}"#,
        r#"{"name":"CI","scopes":["a:b"],"expires_in":3600}"#,
    ] {
        send(another).await.assert_problem(422, "idempotency_mismatch");
    }
    assert_eq!(workspace.contents().await.keys.len(), 2);
}

#[tokio::test]
async fn the_same_header_of_another_caller_is_another_request() {
    let workspace = Workspace::new().await;
    let header = unique("request");
    let other = workspace.key_of("admin", &["workspace:admin"]).await;
    let first = create(&workspace, &workspace.admin, &header, &json!({"name": "one"})).await.json();
    let second = create(&workspace, &other, &header, &json!({"name": "two"})).await;
    assert_eq!(second.status, 201, "{second:?}");
    assert_ne!(second.json()["key"], first["key"]);
    create(&workspace, &other, &unique("request"), &json!({"name": "one"}))
        .await
        .assert_problem(409, "name_taken");
    workspace.contents().await;
}

#[tokio::test]
async fn a_key_that_has_changed_since_is_not_shown_again() {
    let workspace = Workspace::new().await;
    for (name, change) in [("rotated", 0), ("disabled", 1), ("deleted", 2), ("expired", 3)] {
        let (header, body) =
            (unique("request"), json!({"name": name, "expires_in": if change == 3 { 1 } else { 60 }}));
        let created = create(&workspace, &workspace.admin, &header, &body).await.json();
        let id = text(&created, "id");
        let changed = match change {
            0 => workspace.rotate(&workspace.admin, id, &json!({"overlap_seconds": 60})).await,
            1 => workspace.update(&workspace.admin, id, &json!({"disabled": true})).await,
            3 => {
                workspace.until_expired(id).await;
                workspace.get(&workspace.admin, id).await
            }
            _ => workspace.delete(&workspace.admin, id).await,
        };
        assert!(matches!(changed.status, 200 | 204), "{changed:?}");
        let again = create(&workspace, &workspace.admin, &header, &body).await;
        again.assert_problem(409, "idempotency_conflict");
        assert_eq!(again.json()["key_id"], created["id"], "{name}");
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_key_that_was_given_more_scopes_is_not_shown_again_to_a_caller_without_them() {
    let workspace = Workspace::new().await;
    let writer = workspace.key_of("bob", &["keys:write", "a:b"]).await;
    let (header, body) = (unique("request"), json!({"name": "ci", "scopes": ["a:b"]}));
    let created = create(&workspace, &writer, &header, &body).await.json();
    let granted = json!({"scopes": ["workspace:admin"]});
    assert_eq!(workspace.update(&workspace.admin, text(&created, "id"), &granted).await.status, 200);
    create(&workspace, &writer, &header, &body).await.assert_problem(403, "insufficient_scope");
    workspace.contents().await;
}

#[tokio::test]
async fn a_key_that_was_given_wider_rules_is_not_shown_again_to_a_caller_with_narrower_ones() {
    let workspace = Workspace::new().await;
    let rules = json!(["POST /api-keys", "GET /orders/*"]);
    let writer = json!({"name": "writer", "user_id": "bob", "scopes": ["keys:write"], "endpoints": rules});
    let writer = workspace.created(writer).await;
    let writer = text(&writer, "key");
    let (header, body) = (unique("request"), json!({"name": "ci", "endpoints": ["GET /orders/7"]}));
    let created = create(&workspace, writer, &header, &body).await.json();
    assert_eq!(create(&workspace, writer, &header, &body).await.json()["key"], created["key"]);
    let granted = json!({"endpoints": null});
    assert_eq!(workspace.update(&workspace.admin, text(&created, "id"), &granted).await.status, 200);
    create(&workspace, writer, &header, &body).await.assert_problem(403, "insufficient_endpoints");
    workspace.contents().await;
}

#[tokio::test]
async fn after_ten_minutes_the_request_is_a_new_one() {
    let workspace = Workspace::in_which_time_passes().await;
    let (header, body) = (unique("request"), json!({"name": "ci"}));
    let created = create(&workspace, &workspace.admin, &header, &body).await.json();
    database::end_memory(&workspace.id).await;
    create(&workspace, &workspace.admin, &header, &body).await.assert_problem(409, "name_taken");
    assert_eq!(workspace.delete(&workspace.admin, text(&created, "id")).await.status, 204);
    let new = create(&workspace, &workspace.admin, &header, &body).await.json();
    assert_ne!(new["key"], created["key"]);
}

#[tokio::test]
async fn the_header_is_stored_nowhere() {
    let workspace = Workspace::new().await;
    let header = unique("request");
    create(&workspace, &workspace.admin, &header, &json!({"name": "ci"})).await.assert_succeeded();
    let records = database::idempotency_records(&workspace.id).await;
    assert_eq!(records.len(), 1);
    let contents = format!("{records:?} {:?}", workspace.contents().await);
    assert!(!contents.contains(&header));
}

#[tokio::test]
async fn a_malformed_header_is_a_400_that_names_it() {
    let workspace = Workspace::new().await;
    for header in ["", "short", "has a space in between", &"x".repeat(256)] {
        let answer = create(&workspace, &workspace.admin, header, &json!({"name": "ci"})).await;
        answer.assert_problem(400, "invalid_request");
        assert_eq!(answer.json()["errors"][0]["header"], "Idempotency-Key", "{header}");
    }
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

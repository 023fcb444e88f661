//! Races: one function changes a key between another function's read and its write.

use serde_json::{Value, json};

use crate::support::function::{Function, request};
use crate::support::workspace::{Workspace, text};

const PATCH: (&str, &str) = ("PATCH", "/api-keys/{id}");
const ROTATE: (&str, &str) = ("POST", "/api-keys/{id}/rotate");
const DELETE: (&str, &str) = ("DELETE", "/api-keys/{id}");
const IF_MATCH: [(&str, &str); 1] = [("If-Match", "\"1\"")];

/// A workspace with a key in it.
async fn with_a_key() -> (Workspace, Value) {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci", "scopes": ["a:b"]})).await;
    (workspace, created)
}

#[track_caller]
fn assert_lost(answer: &Value, status: u16, code: &str) {
    assert_eq!(answer["statusCode"], status, "{answer}");
    let problem: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
    assert_eq!(problem["code"], code);
}

#[tokio::test]
async fn of_two_updates_one_wins() {
    let function = Function::start("update-key", &[]).await;
    for (headers, status, code) in [(&[][..], 409, "conflict"), (&IF_MATCH, 412, "precondition_failed")] {
        let (workspace, key) = with_a_key().await;
        let id = text(&key, "id");
        let late =
            request(&workspace, PATCH, Some(id), headers, &json!({"description": "late", "name": "late"}));
        let answer = function.invoke_while(late, async {
            assert_eq!(
                workspace.update(&workspace.admin, id, &json!({"description": "first"})).await.status,
                200
            );
        });
        assert_lost(&answer.await, status, code);
        assert_eq!(workspace.get(&workspace.admin, id).await.json()["description"], "first");
        workspace.contents().await;
    }
}

#[tokio::test]
async fn an_update_and_a_rotation_lose_to_a_deletion() {
    for (name, route, body) in [
        ("update-key", PATCH, json!({"name": "late", "expires_at": "2099-01-01T00:00:00Z"})),
        ("rotate-key", ROTATE, json!({})),
    ] {
        let function = Function::start(name, &[]).await;
        let (workspace, key) = with_a_key().await;
        let id = text(&key, "id");
        let answer = function.invoke_while(request(&workspace, route, Some(id), &[], &body), async {
            assert_eq!(workspace.delete(&workspace.admin, id).await.status, 204);
        });
        assert_lost(&answer.await, 409, "conflict");
        assert_eq!(workspace.contents().await.keys.len(), 1, "the key stays deleted");
    }
}

#[tokio::test]
async fn of_two_rotations_one_wins_and_only_its_secret_works() {
    let function = Function::start("rotate-key", &[]).await;
    let (workspace, key) = with_a_key().await;
    let id = text(&key, "id");
    let winner = std::sync::Mutex::new(Value::Null);
    let late = request(&workspace, ROTATE, Some(id), &[], &json!({"overlap_seconds": 60}));
    let answer = function.invoke_while(late, async {
        let rotated = workspace.rotate(&workspace.admin, id, &json!({})).await.json();
        *winner.lock().expect("one at a time") = rotated;
    });
    assert_lost(&answer.await, 409, "conflict");
    let winner = winner.into_inner().expect("one at a time");
    assert!(workspace.accepts(text(&winner, "key")).await);
    assert!(!workspace.accepts(text(&key, "key")).await, "no overlap was asked for");
}

#[tokio::test]
async fn a_deletion_wins_over_an_update_unless_it_was_for_the_state_before() {
    let function = Function::start("delete-key", &[]).await;
    for (headers, status, left) in [(&[][..], 204, 1), (&IF_MATCH, 412, 2)] {
        let (workspace, key) = with_a_key().await;
        let id = text(&key, "id");
        let answer =
            function.invoke_while(request(&workspace, DELETE, Some(id), headers, &Value::Null), async {
                assert_eq!(
                    workspace.update(&workspace.admin, id, &json!({"name": "renamed"})).await.status,
                    200
                );
            });
        assert_eq!(answer.await["statusCode"], status);
        assert_eq!(workspace.contents().await.keys.len(), left);
    }
}

#[tokio::test]
async fn of_two_that_want_one_name_one_gets_it() {
    let function = Function::start("update-key", &[]).await;
    for rival_is_new in [true, false] {
        let (workspace, key) = with_a_key().await;
        let other = workspace.created(json!({"name": "other"})).await;
        let rename = request(&workspace, PATCH, Some(text(&key, "id")), &[], &json!({"name": "wanted"}));
        let answer = function.invoke_while(rename, async {
            let wanted = json!({"name": "Wanted"});
            let rival = if rival_is_new {
                workspace.create(&workspace.admin, &wanted).await
            } else {
                workspace.update(&workspace.admin, text(&other, "id"), &wanted).await
            };
            assert!(matches!(rival.status, 200 | 201), "{rival:?}");
        });
        assert_lost(&Box::pin(answer).await, 409, "name_taken");
        let contents = workspace.contents().await;
        assert!(contents.entries.contains_key("NAME#ci") && contents.entries.contains_key("NAME#wanted"));
    }
}

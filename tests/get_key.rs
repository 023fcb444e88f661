//! `GET /api-keys/{id}`.

use serde_json::{Value, json};

use crate::support::workspace::{Workspace, id_of, text};

#[tokio::test]
async fn a_key_is_shown_as_it_was_created_and_without_its_text() {
    let workspace = Workspace::new().await;
    let mut created = workspace
        .created(json!({"name": "ci", "description": "runs", "scopes": ["a:b"], "expires_in": 60}))
        .await;
    let key = created.as_object_mut().expect("an object").remove("key").expect("the key");
    let answer = workspace.get(&workspace.admin, text(&created, "id")).await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"1\"")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    created["can"] = json!(["update", "widen", "disable", "rotate", "delete", "revoke_tokens"]);
    assert_eq!(answer.json(), created);
    assert!(!answer.text.contains(&key.as_str().expect("a key")[34..]));
    workspace.contents().await;
}

#[tokio::test]
async fn the_entity_tag_changes_with_the_key() {
    let workspace = Workspace::new().await;
    let id = id_of(&workspace.admin);
    workspace.update(&workspace.admin, id, &json!({"description": "changed"})).await.assert_succeeded();
    let answer = workspace.get(&workspace.admin, id).await;
    assert_eq!((answer.header("etag"), &answer.json()["description"]), (Some("\"2\""), &json!("changed")));
    workspace.contents().await;
}

#[tokio::test]
async fn a_key_that_the_workspace_does_not_have_is_a_404() {
    let (workspace, elsewhere) = tokio::join!(Workspace::new(), Workspace::new());
    for id in
        [id_of(&elsewhere.admin), "01JD3V6Y4N8Q2Z5X7W9B0C1D2E", "x", &id_of(&workspace.admin).to_lowercase()]
    {
        workspace.get(&workspace.admin, id).await.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_key_past_its_retention_is_a_404() {
    let workspace = Workspace::in_which_time_passes().await;
    let created = workspace.created(json!({"name": "short", "expires_in": 1})).await;
    let id = text(&created, "id");
    workspace.until_expired(id).await;
    assert_eq!(workspace.get(&workspace.admin, id).await.json()["last_used_at"], Value::Null);
    crate::support::database::end_retention(id).await;
    workspace.get(&workspace.admin, id).await.assert_problem(404, "not_found");
}

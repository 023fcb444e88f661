//! `DELETE /api-keys/{id}`.

use serde_json::json;

use crate::support::workspace::{Workspace, id_of};

#[tokio::test]
async fn a_deleted_key_is_refused_at_once_and_its_name_is_free() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let bearer = format!("Bearer {}", created["key"].as_str().expect("a key"));
    assert_eq!(workspace.api.rest_example(Some(&bearer)).await.status, 200);
    assert_eq!(workspace.api.http_example(Some(&bearer)).await.status, 200);

    let answer = workspace.delete(&workspace.admin, created["id"].as_str().expect("an id")).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    assert_eq!(workspace.api.rest_example(Some(&bearer)).await.status, 401);
    assert_eq!(workspace.api.http_example(Some(&bearer)).await.status, 403);

    let contents = workspace.contents().await;
    assert_eq!((contents.keys.len(), contents.events_of("key.deleted", &created["id"])), (1, 1));
    workspace.created(json!({"name": "ci"})).await;
}

#[tokio::test]
async fn a_key_is_deleted_once() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let id = created["id"].as_str().expect("an id");
    let (one, other) =
        tokio::join!(workspace.delete(&workspace.admin, id), workspace.delete(&workspace.admin, id));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404]);
    workspace.delete(&workspace.admin, id).await.assert_problem(404, "not_found");
    workspace.contents().await;
}

#[tokio::test]
async fn an_id_that_names_no_key_is_a_404() {
    let workspace = Workspace::new().await;
    let lower_case = id_of(&workspace.admin).to_lowercase();
    for id in ["x", "01JD3V6Y4N8Q2Z5X7W9B0C1D2E", "%00", "NAME%23first", &lower_case] {
        workspace.delete(&workspace.admin, id).await.assert_problem(404, "not_found");
    }
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

/// A truth table: caller, key, and whether the caller may delete it.
#[tokio::test]
async fn users_delete_their_own_keys_and_administrators_everyones() {
    let (workspace, elsewhere) = tokio::join!(Workspace::new(), Workspace::new());
    let reader = workspace.key_of("bob", &["keys:read"]).await;
    let writer = workspace.key_of("bob", &["keys:write"]).await;
    let bobs = [workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await];
    let carols = workspace.key_of("carol", &[]).await;
    // key, of whom, status, code
    let table = [
        (&reader, &bobs[0], 403, "insufficient_scope"),
        (&writer, &carols, 403, "forbidden"),
        (&writer, &workspace.admin, 403, "forbidden"),
        (&elsewhere.admin, &bobs[0], 404, "not_found"),
        (&writer, &bobs[0], 204, ""),
        (&workspace.admin, &bobs[1], 204, ""),
        (&workspace.admin, &carols, 204, ""),
        (&workspace.admin, &workspace.admin, 204, ""),
    ];
    for (caller, key, status, code) in table {
        let answer = workspace.delete(caller, id_of(key)).await;
        if status == 204 {
            assert_eq!(answer.status, 204, "{answer:?}");
        } else {
            answer.assert_problem(status, code);
        }
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_key_past_its_retention_is_gone_and_its_name_can_be_taken_over() {
    let workspace = Workspace::in_which_time_passes().await;
    let old = workspace.created(json!({"name": "ci", "expires_in": 1})).await;
    let old_id = old["id"].as_str().expect("an id");
    crate::support::database::end_retention(old_id).await;
    let new = workspace.created(json!({"name": "CI"})).await;

    workspace.delete(&workspace.admin, old_id).await.assert_problem(404, "not_found");
    workspace.create(&workspace.admin, &json!({"name": "ci"})).await.assert_problem(409, "name_taken");
    assert_eq!(workspace.delete(&workspace.admin, new["id"].as_str().expect("an id")).await.status, 204);
}

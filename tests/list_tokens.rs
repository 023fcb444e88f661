//! `GET /api-keys/{id}/tokens`.

use serde_json::{Value, json};

use crate::support::oauth::token_id_of;
use crate::support::workspace::{Workspace, id_of, text};

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().map(|token| text(token, "id")).collect()
}

#[tokio::test]
async fn working_tokens_are_listed_with_their_scopes_and_without_a_secret() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "keys:read"]).await;
    let id = id_of(&key);
    let revoked = workspace.access_token(&key).await;
    workspace.oauth("revoke", None, &[("token", &revoked)]).await.assert_succeeded();
    let first = workspace.tokens(&key, "orders:read offline_access").await;
    let second = workspace.refresh(text(&first, "refresh_token")).await.json();
    let ended = workspace.tokens(&key, "offline_access").await;
    workspace.oauth("revoke", None, &[("token", text(&ended, "refresh_token"))]).await.assert_succeeded();

    let answer = workspace.list_tokens(&key, id, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    let expected: Vec<&str> =
        [text(&second, "refresh_token"), text(&second, "access_token"), text(&first, "access_token")]
            .map(token_id_of)
            .into();
    assert_eq!(ids(&page), expected, "{page}");
    assert_eq!((&page["next_cursor"], &page["prev_cursor"]), (&Value::Null, &Value::Null));
    let token = &page["items"][1];
    assert_eq!((&token["kind"], &token["scopes"]), (&json!("access_token"), &json!(["orders:read"])));
    assert_eq!(page["items"][0]["kind"], "refresh_token");
    assert!(!answer.text.contains("hash") && !answer.text.contains("_tok_"), "{answer:?}");
}

#[tokio::test]
async fn a_list_continues_at_its_cursors_in_both_directions_and_refuses_the_cursor_of_another_key() {
    let workspace = Workspace::new().await;
    let (key, other) = (workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await);
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(token_id_of(&workspace.access_token(&key).await).to_owned());
    }
    made.sort_unstable_by(|one, other| other.cmp(one));
    let mut found = Vec::new();
    let mut query = "?limit=2".to_owned();
    let (cursor, last) = loop {
        let page = workspace.list_tokens(&workspace.admin, id_of(&key), &query).await.json();
        found.extend(ids(&page).into_iter().map(str::to_owned));
        assert!(found.len() <= made.len(), "the pages show tokens again: {found:?}");
        let Some(cursor) = page["next_cursor"].as_str() else { break (query, page) };
        query = format!("?limit=2&cursor={cursor}");
    };
    assert_eq!(found, made);
    let mut back: Vec<String> = ids(&last).into_iter().map(str::to_owned).collect();
    let mut before = last["prev_cursor"].as_str().map(str::to_owned);
    while let Some(cursor) = before {
        let query = format!("?limit=2&cursor={cursor}");
        let page = workspace.list_tokens(&workspace.admin, id_of(&key), &query).await.json();
        back.splice(0..0, ids(&page).into_iter().map(str::to_owned));
        assert!(back.len() <= made.len(), "the pages show tokens again: {back:?}");
        before = page["prev_cursor"].as_str().map(str::to_owned);
    }
    assert_eq!(back, made, "the same pages lead back");
    for (id, query) in [(id_of(&other), cursor.as_str()), (id_of(&key), "?cursor=x")] {
        let refused = workspace.list_tokens(&workspace.admin, id, query).await;
        assert_eq!(refused.invalid_places(), ["cursor"], "{query}");
    }
    let refused = workspace.list_tokens(&workspace.admin, id_of(&key), "?limit=0&colour=red").await;
    // A query's parameters have no order.
    let mut places = refused.invalid_places();
    places.sort_unstable();
    assert_eq!(places, ["colour", "limit"]);
    workspace.list_tokens(&other, id_of(&key), "").await.assert_problem(403, "insufficient_scope");
}

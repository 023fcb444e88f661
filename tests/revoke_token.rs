//! `POST /oauth/revoke`, `DELETE /api-keys/{id}/tokens` and `/api-keys/{id}/tokens/{token_id}`.

use serde_json::json;

use crate::support::database::{events_of, put_tokens};
use crate::support::oauth::{basic, token_id_of};
use crate::support::workspace::{Workspace, id_of, text};

/// RFC 7009, sections 2.1 and 2.2.
#[tokio::test]
async fn every_request_gets_the_response_of_its_section() {
    let workspace = Workspace::new().await;
    let (key, other) = (workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await);
    let kept = workspace.access_token(&key).await;
    let expired = workspace.access_token(&key).await;
    let gone = expired.replace(token_id_of(&expired), "01JD4A0000F9K3W7RT2M8Q0000");
    let (wrong, other_client) = (basic(&key.replace(id_of(&key), id_of(&other))), basic(&other));
    let hint = ("token_type_hint", "refresh_token");
    workspace
        .assert_oauth_cases(
            "revoke",
            &[
                ("no token (2.1)", None, &[], 400, "invalid_request"),
                ("an unknown token is as good as revoked (2.2)", None, &[("token", &gone)], 200, ""),
                ("a text that is no token is accepted, too (2.2)", None, &[("token", "x")], 200, ""),
                ("a wrong hint is only a hint (2.1)", None, &[("token", &gone), hint], 200, ""),
                ("an API key is no token (2.2.1)", None, &[("token", &key)], 400, "unsupported_token_type"),
                ("a client that fails (2.1)", Some(&wrong), &[("token", &kept)], 401, "invalid_client"),
                (
                    "a client that fails, with nonsense",
                    Some("Basic x"),
                    &[("token", "x")],
                    401,
                    "invalid_client",
                ),
                ("another client's (2.1)", Some(&other_client), &[("token", &kept)], 400, "invalid_grant"),
            ],
        )
        .await;
    assert!(
        workspace.accepts(&kept).await && workspace.accepts(&key).await,
        "nothing of it has revoked anything"
    );
    for authorization in [None, Some(basic(&key)), Some(format!("Bearer {key}"))] {
        let token = workspace.access_token(&key).await;
        for _ in 0..2 {
            let answer = workspace.oauth("revoke", authorization.as_deref(), &[("token", &token)]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(!workspace.accepts(&token).await);
        }
    }
    assert_eq!(events_of(&workspace.id, "bob", "token.revoked").await.len(), 3, "once for each");
    workspace.contents().await;
}

#[tokio::test]
async fn an_access_token_is_revoked_alone_and_a_refresh_token_with_its_family() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let revoked = async |token: &str| {
        assert_eq!(workspace.oauth("revoke", None, &[("token", token)]).await.status, 200);
    };
    let family = workspace.tokens(&key, "offline_access").await;
    let other = workspace.access_token(&key).await;
    revoked(text(&family, "access_token")).await;
    assert!(!workspace.accepts(text(&family, "access_token")).await);
    let renewed = workspace.refresh(text(&family, "refresh_token")).await.json();
    assert!(workspace.accepts(text(&renewed, "access_token")).await, "its refresh token has gone on");

    revoked(text(&renewed, "refresh_token")).await;
    assert!(!workspace.accepts(text(&renewed, "access_token")).await);
    workspace.refresh(text(&renewed, "refresh_token")).await.assert_oauth_error(400, "invalid_grant");
    assert!(
        workspace.accepts(&other).await && workspace.accepts(&key).await,
        "other tokens and the key work on"
    );
    assert!(events_of(&workspace.id, "bob", "token.reused").await.is_empty());
    workspace.contents().await;
}

#[tokio::test]
async fn a_token_is_revoked_by_its_id() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let id = id_of(&key);
    let family = workspace.tokens(&key, "offline_access").await;
    let (alone, kept) = (workspace.access_token(&key).await, workspace.access_token(&key).await);
    let revoke = async |token: &str| {
        workspace.revoke_tokens(&workspace.admin, id, &format!("/{}", token_id_of(token))).await
    };
    for token in [alone.as_str(), text(&family, "refresh_token")] {
        assert_eq!(revoke(token).await.status, 204);
        revoke(token).await.assert_problem(404, "not_found");
    }
    for token in [&alone, text(&family, "access_token")] {
        assert!(!workspace.accepts(token).await);
    }
    assert!(workspace.accepts(&kept).await && workspace.accepts(&key).await);
    let other = workspace.key_of("bob", &[]).await;
    let elsewhere = format!("/{}", token_id_of(&kept));
    workspace
        .revoke_tokens(&workspace.admin, id_of(&other), &elsewhere)
        .await
        .assert_problem(404, "not_found");
    workspace.revoke_tokens(&workspace.admin, id, "/x").await.assert_problem(404, "not_found");
    let events = events_of(&workspace.id, "admin", "token.revoked").await;
    assert_eq!(events.len(), 2);
    assert!(
        events.iter().all(|event| event["target"] == "bob" && event["token_id"].is_string()),
        "{events:#?}"
    );
    workspace.contents().await;
}

#[tokio::test]
async fn all_tokens_of_a_key_are_revoked_at_once_and_later_ones_work() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let family = workspace.tokens(&key, "offline_access").await;
    let alone = workspace.access_token(&key).await;
    assert_eq!(workspace.revoke_tokens(&workspace.admin, id_of(&key), "").await.status, 204);
    for token in [&alone, text(&family, "access_token")] {
        assert!(!workspace.accepts(token).await);
    }
    workspace.refresh(text(&family, "refresh_token")).await.assert_oauth_error(400, "invalid_grant");
    let later = workspace.access_token(&key).await;
    assert!(workspace.accepts(&later).await && workspace.accepts(&key).await);
    let key = workspace.get(&workspace.admin, id_of(&key)).await;
    assert_eq!(key.header("etag"), Some("\"1\""), "the key has not changed");
    workspace.contents().await;
}

#[tokio::test]
async fn rotating_with_an_overlap_leaves_tokens_unless_asked_and_disabling_or_deleting_ends_them() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let id = id_of(&key);
    let first = workspace.access_token(&key).await;
    let key = workspace.rotate(&workspace.admin, id, &json!({"overlap_seconds": 60})).await.json();
    assert!(workspace.accepts(&first).await);
    let second = workspace.access_token(text(&key, "key")).await;
    let rotation = json!({"revoke_tokens": true, "overlap_seconds": 60});
    let rotated = workspace.rotate(&workspace.admin, id, &rotation).await.json();
    assert!(!workspace.accepts(&first).await && !workspace.accepts(&second).await);
    assert!(workspace.accepts(text(&key, "key")).await, "the overlap is the key's");

    let tokens = workspace.tokens(text(&rotated, "key"), "offline_access").await;
    assert_eq!(workspace.update(&workspace.admin, id, &json!({"disabled": true})).await.status, 200);
    assert!(!workspace.accepts(text(&tokens, "access_token")).await);
    workspace.refresh(text(&tokens, "refresh_token")).await.assert_oauth_error(400, "invalid_grant");
    assert_eq!(workspace.update(&workspace.admin, id, &json!({"disabled": false})).await.status, 200);
    assert!(
        !workspace.accepts(text(&tokens, "access_token")).await,
        "the key is on again, and its tokens stay revoked"
    );
    let tokens = workspace.tokens(text(&rotated, "key"), "offline_access").await;
    assert!(workspace.accepts(text(&tokens, "access_token")).await);
    assert_eq!(workspace.delete(&workspace.admin, id).await.status, 204);
    assert!(!workspace.accepts(text(&tokens, "access_token")).await);
    workspace.refresh(text(&tokens, "refresh_token")).await.assert_oauth_error(400, "invalid_grant");
    workspace.contents().await;
}

/// The deletion makes as many writes as that of a key without tokens: it does not touch the tokens.
#[tokio::test]
async fn a_key_with_10000_tokens_is_deleted_like_one_with_none() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let token = workspace.access_token(&key).await;
    put_tokens(&key, 10_000).await;
    let mut listed = 0;
    let mut query = "?limit=100".to_owned();
    loop {
        let page = workspace.list_tokens(&workspace.admin, id_of(&key), &query).await.json();
        let tokens = page["items"].as_array().expect("items").len();
        assert_ne!(tokens, 0, "a page without tokens: {page}");
        listed += tokens;
        assert!(listed <= 10_001, "the pages show tokens again");
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=100&cursor={cursor}");
    }
    assert_eq!(listed, 10_001);

    let delete = crate::support::function::Function::start("delete-key", &[]).await;
    let calls = async |key: &str| {
        delete.take_calls();
        let route = ("DELETE", "/api-keys/{id}");
        let event = crate::support::function::request(&workspace, route, Some(id_of(key)), &[], &json!(null));
        assert_eq!(delete.invoke(event).await.expect("a response")["statusCode"], 204);
        let count = |(operation, request): (String, serde_json::Value)| {
            (operation, request["TransactItems"].as_array().map_or(0, Vec::len))
        };
        delete.take_calls().into_iter().map(count).collect::<Vec<_>>()
    };
    assert!(workspace.accepts(&token).await);
    let without = workspace.key_of("bob", &[]).await;
    assert_eq!(calls(&key).await, calls(&without).await);
    assert!(!workspace.accepts(&token).await);
    workspace.list_tokens(&workspace.admin, id_of(&key), "").await.assert_problem(404, "not_found");
    workspace.contents().await;
}

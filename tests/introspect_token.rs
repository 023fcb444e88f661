//! `POST /oauth/introspect`.

use serde_json::json;

use crate::support::oauth::{basic, token_id_of};
use crate::support::workspace::{Workspace, id_of, text};

/// RFC 7662, sections 2.2 and 2.3.
#[tokio::test]
async fn working_credentials_are_active_and_all_others_look_the_same() {
    let (workspace, elsewhere) = tokio::join!(Workspace::new(), Workspace::new());
    let server = basic(&workspace.key_of("svc:api", &[]).await);
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let tokens = workspace.tokens(&key, "orders:read offline_access").await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let used = workspace.tokens(&key, "orders:read offline_access").await;
    workspace.refresh(text(&used, "refresh_token")).await;
    let revoked = workspace.access_token(&key).await;
    workspace.oauth("revoke", None, &[("token", &revoked)]).await;
    let disabled = workspace.key_of("bob", &[]).await;
    let of_disabled = workspace.access_token(&disabled).await;
    workspace.update(&workspace.admin, id_of(&disabled), &json!({"disabled": true})).await;
    let stranger = elsewhere.access_token(&elsewhere.admin).await;
    let mixed = access.replace("_tok_", "_ref_");

    for (case, token, active) in [
        ("an access token", access, true),
        ("a refresh token", refresh, true),
        ("an API key", &key, true),
        ("a refresh token that was used", text(&used, "refresh_token"), false),
        ("a revoked token", &revoked, false),
        ("a token of a disabled key", &of_disabled, false),
        ("a disabled key", &disabled, false),
        ("a token of another workspace", &stranger, false),
        ("the key of another workspace", &elsewhere.admin, false),
        ("an access token as a refresh token", &mixed, false),
        ("nonsense", "x", false),
    ] {
        let answer = workspace.oauth("introspect", Some(&server), &[("token", token)]).await;
        assert_eq!(answer.status, 200, "{case}: {answer:?}");
        answer.assert_uncached();
        let told = answer.json();
        assert_eq!(told["active"], active, "{case}: {told}");
        if active {
            assert_eq!((&told["sub"], &told["client_id"]), (&json!("bob"), &json!(id_of(&key))), "{case}");
            assert_eq!(told["scope"], "orders:read", "{case}");
            assert_eq!(told["workspace_id"], workspace.id, "{case}");
        } else {
            assert_eq!(told, json!({"active": false}), "{case}");
        }
    }
    let told = workspace.oauth("introspect", Some(&server), &[("token", access)]).await.json();
    assert_eq!(told["jti"], token_id_of(access));
    assert!(told["exp"].as_i64() > told["iat"].as_i64(), "{told}");
}

#[tokio::test]
async fn introspection_takes_a_key() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let token = workspace.access_token(&key).await;
    let form = [("token", token.as_str())];
    for authorization in [None, Some(format!("Bearer {token}")), Some("Basic x".to_owned())] {
        let answer = workspace.oauth("introspect", authorization.as_deref(), &form).await;
        answer.assert_oauth_error(401, "invalid_client");
    }
    workspace.oauth("introspect", Some(&basic(&key)), &[]).await.assert_oauth_error(400, "invalid_request");
}

/// A resource server that introspects a token has to enforce them itself.
#[tokio::test]
async fn the_response_has_the_endpoint_rules_of_a_credential() {
    let workspace = Workspace::new().await;
    let restricted = json!({"name": "restricted", "endpoints": ["GET /orders/*"]});
    let key = text(&workspace.created(restricted).await, "key").to_owned();
    for credential in [workspace.access_token(&key).await, key] {
        let told = workspace
            .oauth("introspect", Some(&basic(&workspace.admin)), &[("token", &credential)])
            .await
            .json();
        assert_eq!(told["endpoints"], json!(["GET /orders/*"]), "{told}");
    }
}

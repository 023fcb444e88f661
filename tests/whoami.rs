//! `GET /me`.

use reqwest::Method;
use serde_json::json;

use crate::support::stack::variable;
use crate::support::workspace::{Workspace, text};

#[tokio::test]
async fn the_response_describes_the_caller() {
    let workspace = Workspace::new().await;
    let created = workspace
        .created(json!({"name": "Build server", "user_id": "svc:ci", "scopes": ["orders:read", "a:b"],
            "endpoints": ["GET /me"], "networks": ["127.0.0.0/8"], "metadata": {"env": "live"}, "expires_in": 60}))
        .await;
    let url = format!("{}/me", variable("KEYGATE_API_URL"));
    let answer = workspace.api.send(Method::GET, &url, Some(text(&created, "key")), None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.json(),
        json!({
            "user_id": "svc:ci", "workspace_id": workspace.id, "key_id": created["id"], "key_name": "Build server",
            "scopes": ["orders:read", "a:b"],
            "endpoints": ["GET /me"], "networks": ["127.0.0.0/8"], "metadata": {"env": "live"}, "limits": [],
            "credential": "api_key", "expires_at": created["expires_at"],
            "old_secret": null, "deprecated": false, "sunset": null,
        })
    );
    workspace.contents().await;
}

#[tokio::test]
async fn the_route_requires_no_scope() {
    let workspace = Workspace::new().await;
    let url = format!("{}/me", variable("KEYGATE_API_URL"));
    let key = workspace.key_of("bob", &[]).await;
    assert_eq!(workspace.api.send(Method::GET, &url, Some(&key), None).await.json()["scopes"], json!([]));
    workspace.api.send(Method::GET, &url, None, None).await.assert_problem(401, "unauthorized");
    workspace.contents().await;
}

//! `infra/examples/jwt.yaml`: an HTTP API with API Gateway's own JWT authorizer.

use reqwest::Method;
use serde_json::json;

use crate::jwt_verifiers::Tokens;
use crate::support::examples::Example;
use crate::support::jwts::AUDIENCE;
use crate::support::stack::variable;
use crate::support::workspace::Workspace;

#[tokio::test]
async fn api_gateways_own_authorizer_accepts_a_jwt_and_the_backend_checks_its_workspace() {
    let (workspace, elsewhere) = tokio::join!(Workspace::new(), Workspace::new());
    let parameters = [
        format!("Issuer={}", variable("KEYGATE_OAUTH_URL")),
        format!("Audience={AUDIENCE}"),
        format!("Workspace={}", workspace.id),
    ];
    let example = Example::deploy("jwt", &parameters).await;
    let orders = format!("{}/orders", example.url(""));
    let call = async |token: Option<&str>| workspace.api.send(Method::GET, &orders, token, None).await;

    let Tokens { good, bad } = Tokens::new(&workspace).await;
    let answer = call(Some(&good)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&answer.json()["user"], &answer.json()["scopes"]), (&json!("bob"), &json!("orders:read")));
    for (about, token) in bad {
        // API Gateway compares no type, and takes a token without an expiry.
        if !["another type", "no expiry"].contains(&about) {
            assert_eq!(call(Some(&token)).await.status, 401, "{about}");
        }
    }
    assert_eq!(call(None).await.status, 401);
    let key = workspace.key_of("bob", &["orders:write"]).await;
    assert_eq!(call(Some(&key)).await.status, 401, "an API key");
    let unscoped = workspace.jwt(&key, &[]).await;
    assert_eq!(call(unscoped["access_token"].as_str()).await.status, 403, "another scope");
    let stranger = elsewhere.key_of("bob", &["orders:read"]).await;
    let stranger = elsewhere.jwt(&stranger, &[]).await;
    assert_eq!(call(stranger["access_token"].as_str()).await.status, 403, "another workspace");
    example.delete().await;
}

//! People: tokens of an identity provider, at the authorizer of the management API.

use chrono::Utc;
use serde_json::{Value, json};

use crate::support::function::Function;
use crate::support::people::{SigningKey, management_event, with};
use crate::support::workspace::Workspace;

const ISSUER: &str = "https://login.example.com";

/// A token for alice in the group of administrators, with other claims.
fn token(key: &SigningKey, others: &Value) -> String {
    let now = Utc::now().timestamp();
    let claims = json!({"iss": ISSUER, "aud": "keys", "sub": "alice", "iat": now, "exp": now + 300,
        "groups": ["admins"]});
    key.sign(&key.header(&json!({})), &with(&claims, others))
}

#[tokio::test]
async fn a_person_is_accepted_at_the_management_api_alone_and_refused_as_soon_as_they_are_removed() {
    let (workspace, key) = (Workspace::new().await, SigningKey::new("k"));
    let keys = json!({"keys": [key.public]}).to_string();
    let settings = [
        ("MANAGEMENT_API", "management"),
        ("OIDC_ISSUER", ISSUER),
        ("OIDC_AUDIENCE", "keys"),
        ("OIDC_WORKSPACE_CLAIM", "workspace"),
        ("OIDC_GROUP_SCOPES", r#"{"admins": "keys:read keys:write"}"#),
        ("OIDC_JWKS", keys.as_str()),
    ];
    let (management, adopters) =
        tokio::join!(Function::start("authorize-management", &settings), Function::start("authorize", &[]));
    let alice = token(&key, &json!({"workspace": workspace.id}));
    let allowed = management.invoke(management_event("management", &alice)).await.expect("a policy");
    let context = &allowed["context"];
    let told = json!({"userId": "alice", "workspaceId": workspace.id, "scopes": "keys:read keys:write", "credential": "person"});
    for (name, value) in told.as_object().expect("an object") {
        assert_eq!(&context[name], value, "{name}: {allowed}");
    }
    assert!(context.get("keyId").is_none() && context["expiresAt"].is_string(), "{allowed}");

    let unauthorized = |result: Result<Value, String>, what: &str| {
        let error = result.expect_err(what);
        assert!(error.contains("Unauthorized"), "{what}: {error}");
    };
    unauthorized(management.invoke(management_event("another", &alice)).await, "another API");
    unauthorized(
        management.invoke(management_event("another", &workspace.admin)).await,
        "a key at another API",
    );
    unauthorized(adopters.invoke(management_event("management", &alice)).await, "the adopters' authorizer");
    management.invoke(management_event("management", &workspace.admin)).await.expect("a key is accepted");
    for (what, others) in [
        ("a workspace that does not exist", json!({"workspace": "nowhere"})),
        ("a service account", json!({"workspace": workspace.id, "sub": "svc:a"})),
        ("another audience", json!({"workspace": workspace.id, "aud": "other"})),
        ("an expired token", json!({"workspace": workspace.id, "exp": 1})),
    ] {
        unauthorized(management.invoke(management_event("management", &token(&key, &others))).await, what);
    }
    let other = token(&SigningKey::new("k"), &json!({"workspace": workspace.id}));
    unauthorized(management.invoke(management_event("management", &other)).await, "another signing key");

    // Alice gets a key, so that the workspace knows her; then she is removed.
    workspace.key_of("alice", &[]).await;
    management.invoke(management_event("management", &alice)).await.expect("not removed yet");
    workspace.remove("alice", "").await;
    unauthorized(management.invoke(management_event("management", &alice)).await, "a removed person");
}

//! People: tokens of an identity provider, at the authorizer of the management API.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::support::function::{Function, event};
use crate::support::workspace::Workspace;

const ISSUER: &str = "https://login.example.com";

struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random);
        Self(key.expect("the same key"))
    }

    fn published(&self) -> String {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        json!({"keys": [{"kty": "EC", "kid": "k", "crv": "P-256", "x": x, "y": y}]}).to_string()
    }

    /// A token for alice in the group of administrators, with other claims.
    fn token(&self, others: &Value) -> String {
        let now = Utc::now().timestamp();
        let mut claims = json!({"iss": ISSUER, "aud": "keys", "sub": "alice", "iat": now, "exp": now + 300,
            "groups": ["admins"]});
        claims.as_object_mut().expect("an object").extend(others.as_object().expect("an object").clone());
        let [header, claims] = [json!({"alg": "ES256", "kid": "k"}), claims]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn request(api: &str, token: &str) -> Value {
    let mut event = event("authorize-rest-request");
    event["methodArn"] = format!("arn:aws:execute-api:us-east-1:123456789012:{api}/v1/GET/api-keys").into();
    event["headers"] = json!({});
    event["multiValueHeaders"] = json!({"Authorization": [format!("Bearer {token}")]});
    event["queryStringParameters"] = json!({});
    event["multiValueQueryStringParameters"] = json!({});
    event
}

#[tokio::test]
async fn a_person_is_accepted_at_the_management_api_alone_and_refused_as_soon_as_they_are_removed() {
    let (workspace, issuer) = (Workspace::new().await, Issuer::new());
    let keys = issuer.published();
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
    let token = issuer.token(&json!({"workspace": workspace.id}));
    let allowed = management.invoke(request("management", &token)).await.expect("a policy");
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
    unauthorized(management.invoke(request("another", &token)).await, "another API");
    unauthorized(management.invoke(request("another", &workspace.admin)).await, "a key at another API");
    unauthorized(adopters.invoke(request("management", &token)).await, "the adopters' authorizer");
    management.invoke(request("management", &workspace.admin)).await.expect("a key is accepted");
    for (what, others) in [
        ("a workspace that does not exist", json!({"workspace": "nowhere"})),
        ("a service account", json!({"workspace": workspace.id, "sub": "svc:a"})),
        ("another audience", json!({"workspace": workspace.id, "aud": "other"})),
        ("an expired token", json!({"workspace": workspace.id, "exp": 1})),
    ] {
        unauthorized(management.invoke(request("management", &issuer.token(&others))).await, what);
    }
    let other = Issuer::new().token(&json!({"workspace": workspace.id}));
    unauthorized(management.invoke(request("management", &other)).await, "another signing key");

    // Alice gets a key, so that the workspace knows her; then she is removed.
    workspace.key_of("alice", &[]).await;
    management.invoke(request("management", &token)).await.expect("not removed yet");
    workspace.remove("alice", "").await;
    unauthorized(management.invoke(request("management", &token)).await, "a removed person");
}

//! The custom authorizer, in front of the management API, a REST API and an HTTP API.

use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use keygate_core::credential::{Brand, Credential, CredentialForm, KeyId, Secret};
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::function::{Disturbance, Function, event, token_event};
use crate::support::stack::{Answer, Api, dynamodb, variable};
use crate::support::workspace::{Workspace, id_of, keys_url};

/// A well-formed key with that id and a secret that was never issued.
fn made_up(id: &str) -> String {
    let secret = [7; 32];
    let credential = Credential {
        key_id: id.parse().expect("an id"),
        form: CredentialForm::ApiKey,
        secret: Secret::from_bytes(&secret.into()),
    };
    credential.to_text(&brand()).expose_secret().to_owned()
}

fn brand() -> Brand {
    "kg".parse().expect("a brand")
}

fn an_unknown_id() -> String {
    KeyId::generate(chrono::Utc::now()).to_string()
}

/// The body of a refusal without its `request_id`, which differs from request to request.
fn body(answer: &Answer) -> Value {
    let mut body = answer.json();
    body.as_object_mut().expect("an object").remove("request_id");
    body
}

#[tokio::test]
async fn every_refusal_looks_the_same() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let deleted = workspace.key_of("bob", &[]).await;
    assert_eq!(workspace.delete(&workspace.admin, id_of(&deleted)).await.status, 204);
    let expired = workspace.created(json!({"name": "short", "expires_in": 1})).await;
    let expired = expired["key"].as_str().expect("a key").to_owned();
    workspace.until_refused(&expired).await;
    let disabled = workspace.key_of("bob", &[]).await;
    disable(id_of(&disabled)).await;

    let wrong_checksum = format!("{}{}", &key[..key.len() - 1], if key.ends_with('x') { 'y' } else { 'x' });
    let refused = [
        ("no credential", None),
        ("another scheme", Some(format!("Basic {key}"))),
        ("no scheme", Some(key.clone())),
        ("malformed", Some("Bearer not-a-key".to_owned())),
        ("cut off", Some(format!("Bearer {}", &key[..key.len() - 6]))),
        ("another case", Some(format!("Bearer {}", key.to_uppercase()))),
        ("a wrong checksum", Some(format!("Bearer {wrong_checksum}"))),
        ("an unknown id", Some(format!("Bearer {}", made_up(&an_unknown_id())))),
        ("a wrong secret", Some(format!("Bearer {}", made_up(id_of(&key))))),
        ("an expired key", Some(format!("Bearer {expired}"))),
        ("a deleted key", Some(format!("Bearer {deleted}"))),
        ("a disabled key", Some(format!("Bearer {disabled}"))),
    ];
    let mut bodies = Vec::new();
    for (what, authorization) in &refused {
        let rest = workspace.api.rest_example(authorization.as_deref()).await;
        assert_eq!(rest.status, 401, "{what}: {rest:?}");
        assert!(
            rest.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer realm=")),
            "{rest:?}"
        );
        bodies.push(body(&rest));

        let http = workspace.api.http_example(authorization.as_deref()).await;
        assert_eq!(http.status, if authorization.is_none() { 401 } else { 403 }, "{what}: {http:?}");

        let managed =
            workspace.api.send_text(Method::GET, &keys_url(""), authorization.as_deref(), None).await;
        managed.assert_problem(401, "unauthorized");
        assert!(managed.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer realm=")));
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    workspace.contents().await;
}

async fn disable(id: &str) {
    dynamodb()
        .update_item()
        .table_name(variable("KEYGATE_KEYS_TABLE"))
        .key("key_id", S(id.to_owned()))
        .update_expression("SET disabled_at = :now")
        .expression_attribute_values(":now", N("1700000000".to_owned()))
        .send()
        .await
        .expect("the key can be changed");
}

#[tokio::test]
async fn the_backend_gets_the_caller() {
    let workspace = Workspace::new().await;
    let body = json!({"name": "build server", "user_id": "bob", "scopes": ["orders:read", "orders:write"],
        "endpoints": ["GET /echo", "GET /orders/*"], "expires_in": 3600});
    let created = workspace.created(body).await;
    let key = created["key"].as_str().expect("a key");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let authorization = format!("{scheme} {key}");
        let answers = tokio::join!(
            workspace.api.rest_example(Some(&authorization)),
            workspace.api.http_example(Some(&authorization))
        );
        for answer in [answers.0, answers.1] {
            assert_eq!(answer.status, 200, "{answer:?}");
            let caller = answer.json()["caller"].clone();
            let told = json!({
                "userId": "bob", "workspaceId": workspace.id, "keyId": created["id"], "keyName": "build server",
                "scopes": "orders:read orders:write", "endpoints": "GET /echo,GET /orders/*",
                "credential": "api_key", "expiresAt": created["expires_at"],
            });
            for (name, value) in told.as_object().expect("an object") {
                assert_eq!(&caller[name], value, "{name}: {answer:?}");
            }
        }
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_key_without_the_scope_is_a_403() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    workspace.list(&key, "").await.assert_problem(403, "insufficient_scope");
    workspace.create(&key, &json!({"name": "a"})).await.assert_problem(403, "insufficient_scope");
    workspace.delete(&key, id_of(&key)).await.assert_problem(403, "insufficient_scope");
    workspace.contents().await;
}

fn http_event(authorization: &str) -> Value {
    let mut event = event("authorize-http-2.0");
    event["headers"]["authorization"] = json!(authorization);
    event
}

#[tokio::test]
async fn garbage_costs_no_read_and_every_other_credential_one() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[("CALL_ACTIVITY", "off")]).await;
    let operations = |function: &Function| -> Vec<String> {
        // Deferred work is written at any time after the response, so only reads count.
        let reads = function.take_calls().into_iter().filter(|(operation, _)| operation.contains("Get"));
        reads.map(|(operation, _)| operation).collect()
    };
    assert_eq!(operations(&authorizer), ["GetItem"], "the connection is opened before the first call");

    let mut no_credential = event("authorize-rest-request");
    no_credential["headers"] = json!({});
    no_credential["multiValueHeaders"] = json!({});
    let wrong_checksum =
        format!("Bearer {}{}", &key[..key.len() - 1], if key.ends_with('x') { 'y' } else { 'x' });
    for garbage in [no_credential, token_event("Bearer not-a-key"), token_event(&wrong_checksum)] {
        assert_eq!(authorizer.invoke(garbage).await, Err("Unauthorized".to_owned()));
        assert_eq!(operations(&authorizer), Vec::<String>::new());
    }
    for unknown in [made_up(&an_unknown_id()), made_up(id_of(&key))] {
        let refused = authorizer.invoke(token_event(&format!("Bearer {unknown}"))).await;
        assert_eq!(refused, Err("Unauthorized".to_owned()));
        assert_eq!(operations(&authorizer), ["GetItem"]);
    }
    let accepted = authorizer.invoke(token_event(&format!("Bearer {key}"))).await.expect("a policy");
    assert_eq!(accepted["policyDocument"]["Statement"][0]["Effect"], "Allow");
    let calls = authorizer.take_calls();
    let reads: Vec<_> = calls.iter().filter(|(operation, _)| operation.contains("Get")).collect();
    let [(read, request)] = reads.as_slice() else { panic!("one read: {reads:?}") };
    assert_eq!((read.as_str(), &request["ConsistentRead"]), ("GetItem", &json!(true)));
    workspace.contents().await;
}

#[tokio::test]
async fn when_the_store_fails_the_response_is_an_error_and_never_a_decision() {
    let workspace = Workspace::new().await;
    let bearer = format!("Bearer {}", workspace.key_of("bob", &[]).await);
    let authorizer = Function::start("authorize", &[("AUTHORIZER_BUDGET_MS", "500")]).await;
    authorizer.disturb(Disturbance::Down);
    for event in [token_event(&bearer), http_event(&bearer)] {
        let error = authorizer.invoke(event).await.expect_err("no response");
        assert_ne!(error, "Unauthorized");
        assert!(!error.contains(&bearer[7..]), "the error repeats no credential: {error}");
    }
    authorizer.disturb(Disturbance::None);
    assert!(authorizer.invoke(token_event(&bearer)).await.is_ok(), "it recovers at once");
    workspace.contents().await;
}

#[tokio::test]
async fn an_event_that_is_no_authorizers_is_an_error_that_repeats_nothing() {
    let authorizer = Function::start("authorize", &[]).await;
    for event in [
        json!({}),
        json!({"type": "TOKEN", "authorizationToken": ["Bearer kg_key_x"]}),
        json!("Bearer kg_key_x"),
    ] {
        let error = authorizer.invoke(event).await.expect_err("no response");
        assert!(!error.contains("kg_key_x"), "{error}");
    }
}

#[tokio::test]
async fn no_api_is_open() {
    let api = Api::default();
    for (method, rest) in
        [(Method::POST, ""), (Method::GET, ""), (Method::DELETE, "/01JD3V6Y4N8Q2Z5X7W9B0C1D2E")]
    {
        api.send(method, &keys_url(rest), None, Some(&json!({"name": "a"})))
            .await
            .assert_problem(401, "unauthorized");
    }
}

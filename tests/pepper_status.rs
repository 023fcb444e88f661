//! `keygate pepper status`: the number of hashes under each version of the pepper.

use serde_json::{Value, json};

use crate::cli::Keygate;
use crate::support::function::{Function, request, token_event};
use crate::support::legacy::{LEGACY, counts, legacy_key};
use crate::support::stack::{pepper_versions_with, remember_secret};
use crate::support::workspace::{Workspace, id_of};

/// The row of a version in `keygate pepper status`: keys, previous secrets, tokens, and legacy keys.
async fn status(version: &str) -> Option<[u64; 4]> {
    let document = Keygate::in_aws().json(&["pepper", "status"]).await;
    let rows = document["items"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["version"].as_u64() == version.parse().ok())?;
    Some(["keys", "overlaps", "tokens", "legacy"].map(|name| row[name].as_u64().expect("a number")))
}

#[tokio::test]
async fn the_hashes_of_a_version_are_counted_until_the_last_of_them_is_gone() {
    let workspace = Workspace::new().await;
    // No other test has this version, so the counts are this test's alone.
    let version = (u32::MAX - std::process::id()).to_string();
    assert_eq!(status(&version).await, None);
    let versions = pepper_versions_with(&version);
    let settings = [("PEPPER_VERSIONS", versions.as_str()), ("CURRENT_PEPPER_VERSION", version.as_str())];
    let (creator, authorizer, issuer) = tokio::join!(
        Function::start("create-key", &settings),
        Function::start("authorize", &settings),
        Function::start("issue-token", &settings)
    );
    let mut keys = Vec::new();
    for name in ["one", "two"] {
        let event = request(&workspace, ("POST", "/api-keys"), None, &[], &json!({"name": name}));
        let answer = creator.invoke(event).await.expect("a response");
        let body: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
        let key = body["key"].as_str().expect("a key").to_owned();
        remember_secret(&key[key.len() - 49..][..43]);
        authorizer.invoke(token_event(&format!("Bearer {key}"))).await.expect("a key under that version");
        keys.push(key);
    }
    assert_eq!(status(&version).await, Some([2, 0, 0, 0]));

    let client = format!("client_id={}&client_secret={}", id_of(&keys[0]), keys[0]);
    let answer = issuer.invoke(token_request(&format!("grant_type=client_credentials&{client}"))).await;
    let answer = answer.expect("a response");
    let body: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
    let token = body["access_token"].as_str().unwrap_or_else(|| panic!("a token: {body}"));
    remember_secret(&token[token.len() - 49..][..43]);
    assert_eq!(status(&version).await, Some([2, 0, 1, 0]));

    let settings = [&settings[..], &LEGACY[..2]].concat();
    let importer = Function::start("import-legacy-keys", &settings).await;
    let keys_to_import = json!([{"key": legacy_key(), "user_id": "bob", "name": "old"}]);
    let event = json!({"import": {"workspace_id": workspace.id, "keys": keys_to_import}});
    assert_eq!(counts(&importer.invoke(event).await.expect("a response")), [1, 0, 0]);
    assert_eq!(status(&version).await, Some([2, 0, 1, 1]));

    // The deployed functions store the new secret under version 1. The previous one stays under the other version.
    let overlap = json!({"overlap_seconds": 3600});
    assert_eq!(workspace.rotate(&workspace.admin, id_of(&keys[0]), &overlap).await.status, 200);
    assert_eq!(status(&version).await, Some([1, 1, 1, 1]));
    for key in &keys {
        assert_eq!(workspace.rotate(&workspace.admin, id_of(key), &json!({})).await.status, 200);
    }
    assert_eq!(status(&version).await, Some([0, 0, 1, 1]), "the token and the legacy key are not rehashed");
    workspace.contents().await;
}

/// The event of a request for a token.
fn token_request(body: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": "POST /oauth/token", "rawPath": "/oauth/token", "rawQueryString": "",
        "headers": {"content-type": "application/x-www-form-urlencoded"},
        "requestContext": {
            "apiId": "abcdef123", "domainName": "localhost", "stage": "$default", "routeKey": "POST /oauth/token",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", "timeEpoch": 0,
            "http": {"method": "POST", "path": "/oauth/token", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7",
                "userAgent": "test"},
        },
        "body": body, "isBase64Encoded": false,
    })
}

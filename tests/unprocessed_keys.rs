//! Batches that `DynamoDB` reads in part, and returns the rest of as unprocessed, as it does under throttling.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::function::{Disturbance, Function, request, token_event};
use crate::support::legacy::{LEGACY, imported, legacy_key};
use crate::support::stack::pepper_versions_with;
use crate::support::workspace::{Workspace, id_of, text};

fn call(credential: &str) -> Value {
    token_event(&format!("Bearer {credential}"))
}

/// The number of keys in each batch since the last call of this function.
fn batches(function: &Function) -> Vec<usize> {
    let keys = |request: &Value| {
        let tables = request["RequestItems"].as_object().expect("tables").values();
        tables.map(|table| table["Keys"].as_array().map_or(0, Vec::len)).sum()
    };
    let calls = function.take_calls();
    calls
        .iter()
        .filter(|(operation, _)| operation == "BatchGetItem")
        .map(|(_, request)| keys(request))
        .collect()
}

#[tokio::test]
async fn the_authorizer_asks_for_the_rest_of_a_token_its_family_and_its_key_and_puts_the_parts_together() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let tokens = workspace.tokens(&key, "orders:read offline_access").await;
    let token = text(&tokens, "access_token");
    let authorizer = Function::start("authorize", &[("CALL_ACTIVITY", "off")]).await;
    let whole = authorizer.invoke(call(token)).await.expect("a policy");
    assert_eq!(batches(&authorizer), [3]);
    for (left, asked) in [(1, &[3, 2][..]), (2, &[3, 2, 1])] {
        authorizer.disturb(Disturbance::Partial(left));
        assert_eq!(authorizer.invoke(call(token)).await.expect("the same policy"), whole);
        assert_eq!(batches(&authorizer), asked, "only unprocessed keys are asked for again");
    }
    // A refusal can be read in parts as well.
    workspace.oauth("revoke", None, &[("token", text(&tokens, "refresh_token"))]).await.assert_succeeded();
    authorizer.disturb(Disturbance::Partial(2));
    assert_eq!(authorizer.invoke(call(token)).await, Err("Unauthorized".to_owned()));
}

#[tokio::test]
async fn keys_that_stay_unprocessed_are_an_error_within_the_budget_and_no_decision() {
    let workspace = Workspace::new().await;
    let token = workspace.access_token(&workspace.key_of("bob", &[]).await).await;
    let legacy = imported(&workspace, "bob", &[]).await;
    let settings = [&LEGACY[..], &[("AUTHORIZER_BUDGET_MS", "1000"), ("CALL_ACTIVITY", "off")]].concat();
    let authorizer = Function::start("authorize", &settings).await;
    authorizer.disturb(Disturbance::Unprocessed);
    for credential in [&token, &legacy] {
        let asked = Instant::now();
        let error = authorizer.invoke(call(credential)).await.expect_err("no response");
        assert!(error.contains("left keys unprocessed"), "{error}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        let batches = batches(&authorizer);
        // With pauses that grow: neither once nor as often as it can.
        assert!((2..=30).contains(&batches.len()), "{batches:?}");
    }
    authorizer.disturb(Disturbance::None);
    for credential in [&token, &legacy] {
        authorizer.invoke(call(credential)).await.expect("a policy");
    }
}

#[tokio::test]
async fn a_legacy_key_is_found_although_one_of_its_hashes_is_read_later() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &[]).await;
    let versions = pepper_versions_with("2");
    let peppers = [("PEPPER_VERSIONS", versions.as_str()), ("CURRENT_PEPPER_VERSION", "2")];
    let settings = [&LEGACY[..], &peppers[..], &[("CALL_ACTIVITY", "off")]].concat();
    let authorizer = Function::start("authorize", &settings).await;
    // The batch has the key's hash under the newer pepper first, which is not stored.
    authorizer.disturb(Disturbance::Partial(1));
    authorizer.invoke(call(&key)).await.expect("a policy");
    assert_eq!(batches(&authorizer), [2, 1]);
    authorizer.disturb(Disturbance::Partial(1));
    assert_eq!(authorizer.invoke(call(&legacy_key())).await, Err("Unauthorized".to_owned()));
}

#[tokio::test]
async fn a_list_of_tokens_is_whole_although_their_families_come_in_parts() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    for _ in 0..4 {
        workspace.tokens(&key, "offline_access").await;
    }
    let function = Function::start("list-tokens", &[]).await;
    let event = request(&workspace, ("GET", "/api-keys/{id}/tokens"), Some(id_of(&key)), &[], &Value::Null);
    let whole = function.invoke(event.clone()).await.expect("a response");
    let body: Value = serde_json::from_str(text(&whole, "body")).expect("JSON");
    assert_eq!(body["items"].as_array().map(Vec::len), Some(8), "{body}");
    assert_eq!(batches(&function), [4]);
    function.disturb(Disturbance::Partial(3));
    assert_eq!(function.invoke(event.clone()).await, Ok(whole));
    assert_eq!(batches(&function), [4, 3, 2, 1]);

    function.disturb(Disturbance::Unprocessed);
    let answer = function.invoke(event).await.expect("a response");
    assert_eq!(answer["statusCode"], 503, "{answer}");
    assert!(batches(&function).len() > 1);
}

#[tokio::test]
async fn an_import_finds_every_stored_key_although_they_come_in_parts() {
    let workspace = Workspace::new().await;
    let keys: Vec<_> = (0..5).map(|_| legacy_key()).collect();
    let batch: Value = keys.iter().map(|key| json!({"key": key, "user_id": "bob", "name": "old"})).collect();
    let event = json!({"import": {"workspace_id": workspace.id, "keys": batch}});
    let function = Function::start("import-legacy-keys", &LEGACY).await;
    function.invoke(event.clone()).await.expect("a response");
    batches(&function);
    function.disturb(Disturbance::Partial(4));
    let again = function.invoke(event).await.expect("a response");
    assert_eq!((&again["imported"], &again["present"]), (&json!(0), &json!(5)), "{again}");
    assert_eq!(batches(&function), [5, 4, 3, 2, 1]);
}

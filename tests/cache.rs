//! The authorizer's cache of decisions: `CacheSeconds` and `StaleIfErrorSeconds`.

use chrono::Utc;
use keygate_core::credential::Credential;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::function::{Disturbance, Function, token_event};
use crate::support::workspace::{Workspace, id_of, text};

fn call(key: &str) -> Value {
    token_event(&format!("Bearer {key}"))
}

const CACHED: [(&str, &str); 2] = [("CACHE_SECONDS", "60"), ("LAST_USED_INTERVAL", "86400")];

fn reads(function: &Function) -> usize {
    function.take_calls().iter().filter(|(operation, _)| operation == "GetItem").count()
}

#[tokio::test]
async fn a_credential_is_read_once_whether_it_is_accepted_or_refused() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let deleted = workspace.key_of("bob", &[]).await;
    workspace.delete(&workspace.admin, id_of(&deleted)).await.assert_succeeded();
    let authorizer = Function::start("authorize", &CACHED).await;
    authorizer.take_calls();
    for credential in [&key, &deleted] {
        for _ in 0..3 {
            let accepted = authorizer.invoke(call(credential)).await.is_ok();
            assert_eq!(accepted, credential == &key);
        }
        assert_eq!(reads(&authorizer), 1);
    }
}

#[tokio::test]
async fn without_a_cache_every_call_is_read_and_a_deleted_key_is_refused_at_once() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let (plain, cached) =
        tokio::join!(Function::start("authorize", &[]), Function::start("authorize", &CACHED));
    for function in [&plain, &cached] {
        function.invoke(call(&key)).await.expect("a policy");
    }
    workspace.delete(&workspace.admin, id_of(&key)).await.assert_succeeded();
    assert_eq!(plain.invoke(call(&key)).await, Err("Unauthorized".to_owned()));
    cached.invoke(call(&key)).await.expect("a cached decision stands for CACHE_SECONDS");
}

#[tokio::test]
async fn no_cache_outlives_an_expiry_or_an_overlap() {
    let workspace = Workspace::new().await;
    let settings = [CACHED[0], CACHED[1], ("STALE_IF_ERROR_SECONDS", "60")];
    let authorizer = Function::start("authorize", &settings).await;
    for (name, life) in [("expiring", Some(2)), ("rotated", None)] {
        let created = workspace.created(json!({"name": name, "expires_in": life})).await;
        if life.is_none() {
            workspace
                .rotate(&workspace.admin, text(&created, "id"), &json!({"overlap_seconds": 2}))
                .await
                .assert_succeeded();
        }
        let key = text(&created, "key");
        authorizer.invoke(call(key)).await.expect("accepted, and cached");
        eventually("the secret ends", async || authorizer.invoke(call(key)).await.is_err()).await;
        authorizer.disturb(Disturbance::Down);
        assert_eq!(authorizer.invoke(call(key)).await, Err("Unauthorized".to_owned()), "{name}");
        authorizer.disturb(Disturbance::None);
    }
}

#[tokio::test]
async fn while_the_store_fails_only_credentials_that_were_accepted_before_are_accepted() {
    let workspace = Workspace::new().await;
    let (known, unknown) = (workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await);
    let authorizer = Function::start("authorize", &[("STALE_IF_ERROR_SECONDS", "600")]).await;
    authorizer.invoke(call(&known)).await.expect("a policy");

    authorizer.disturb(Disturbance::Down);
    authorizer.invoke(call(&known)).await.expect("the cached policy");
    let error = authorizer.invoke(call(&unknown)).await.expect_err("no response");
    assert_ne!(error, "Unauthorized");

    authorizer.disturb(Disturbance::None);
    workspace.delete(&workspace.admin, id_of(&known)).await.assert_succeeded();
    assert_eq!(authorizer.invoke(call(&known)).await, Err("Unauthorized".to_owned()), "it recovers at once");
}

/// Anyone can make up well-formed credentials. A flood of them must not evict the decisions that are kept for an outage.
#[tokio::test]
async fn a_flood_of_unknown_credentials_evicts_no_accepted_one() {
    let workspace = Workspace::new().await;
    let known = workspace.key_of("bob", &[]).await;
    let settings =
        [CACHED[0], ("STALE_IF_ERROR_SECONDS", "600"), ("CALL_ACTIVITY", "off"), ("LOG_LEVEL", "warn")];
    let authorizer = Function::start("authorize", &settings).await;
    authorizer.invoke(call(&known)).await.expect("a policy");
    for _ in 0..1_100 {
        let unknown = Credential::generate(Utc::now()).to_text(&"kg".parse().expect("a brand"));
        let answer = authorizer.invoke(call(unknown.expose_secret())).await;
        assert_eq!(answer, Err("Unauthorized".to_owned()));
    }
    authorizer.take_calls();
    authorizer.invoke(call(&known)).await.expect("the cached policy");
    assert_eq!(reads(&authorizer), 0);
    authorizer.disturb(Disturbance::Down);
    authorizer.invoke(call(&known)).await.expect("the cached policy");
}

/// A missing permission or a missing table does not pass by itself: an operator has to repair it.
#[tokio::test]
async fn a_fault_of_the_deployment_is_an_error_even_for_cached_credentials() {
    let workspace = Workspace::new().await;
    let (key, other) = (workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await);
    let token = workspace.access_token(&other).await;
    let authorizer = Function::start("authorize", &[("STALE_IF_ERROR_SECONDS", "600")]).await;
    for credential in [&key, &token] {
        authorizer.invoke(call(credential)).await.expect("a policy");
        authorizer.frozen().await;
    }
    authorizer.disturb(Disturbance::Denied);
    for credential in [&key, &token] {
        let error = authorizer.invoke(call(credential)).await.expect_err("no response");
        assert!(error.contains("AccessDeniedException") && error.contains("refused a call"), "{error}");
    }
    authorizer.disturb(Disturbance::Down);
    for credential in [&key, &token] {
        authorizer.invoke(call(credential)).await.expect("the cached policy");
    }
}

//! Deferred work: what the authorizer writes after its response.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database;
use crate::support::emulator::log_lines;
use crate::support::faults::Faults;
use crate::support::function::{Disturbance, Function, token_event};
use crate::support::stack::{pepper_versions_with, variable};
use crate::support::workspace::{Workspace, id_of, text};
use crate::support::{eventually, eventually_some};

fn call(key: &str) -> Value {
    token_event(&format!("Bearer {key}"))
}

fn updates(function: &Function) -> usize {
    function.take_calls().iter().filter(|(operation, _)| operation == "UpdateItem").count()
}

/// The version of the pepper under which a key's hash is stored.
async fn pepper_version(id: &str) -> i64 {
    database::key(id).await["pepper_version"].as_i64().expect("a version")
}

/// Waits until the hash of a key is stored under the second pepper.
async fn until_rehashed(id: &str) {
    eventually("the key is rehashed", async || pepper_version(id).await == 2).await;
}

/// Waits until the last use of a key is stored.
async fn until_used(id: &str) {
    eventually("the last use is stored", async || database::last_used_at(id).await != 0).await;
}

#[tokio::test]
async fn a_used_key_shows_when_it_was_used_last() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let (id, before) = (text(&created, "id"), Utc::now());
    assert!(workspace.accepts(text(&created, "key")).await);
    let used = eventually_some("the key has a last_used_at", async || {
        let answer = workspace.get(&workspace.admin, id).await;
        assert_eq!(answer.header("etag"), Some("\"1\""), "a use does not change the revision");
        answer.json()["last_used_at"].as_str().map(str::to_owned)
    });
    let used = DateTime::parse_from_rfc3339(&used.await).expect("RFC 3339").to_utc();
    assert!((before.timestamp()..=Utc::now().timestamp()).contains(&used.timestamp()));
    let listed = workspace.list(&workspace.admin, "?sort=last_used_at&status=unused").await.json();
    assert_eq!(listed["items"], json!([]));
    workspace.contents().await;
}

#[tokio::test]
async fn the_last_use_has_the_address_of_the_sender_where_the_authorizer_knows_it() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    // As the key is shown alone, and in two lists, one of which reads it from the index.
    let last_uses = async || {
        let mut keys = vec![workspace.get(&workspace.admin, id_of(&key)).await.json()];
        for sort in ["name", "last_used_at"] {
            let list = workspace.list(&workspace.admin, &format!("?user_id=bob&sort={sort}")).await.json();
            keys.push(list["items"][0].clone());
        }
        let address = |key: &Value| key["last_used_from"].as_str().map(str::to_owned);
        keys.iter().map(|key| (key["last_used_at"].is_string(), address(key))).collect::<Vec<_>>()
    };
    assert_eq!(last_uses().await, vec![(false, None); 3]);
    workspace.call(Method::GET, "/me", &key).await.assert_succeeded();
    let here = (true, Some("127.0.0.1".to_owned()));
    eventually("the address is stored", async || last_uses().await == vec![here.clone(); 3]).await;
    let authorizer = Function::start("authorize", &[("LAST_USED_INTERVAL", "0")]).await;
    authorizer.invoke(call(&key)).await.expect("a policy");
    eventually("the event had no address", async || last_uses().await == vec![(true, None); 3]).await;
}

/// The emulator has no Extensions API, so its environments write before they respond, which is slower.
#[tokio::test]
async fn an_environment_whose_extension_cannot_register_logs_the_reason() {
    let workspace = Workspace::new().await;
    assert!(workspace.accepts(&workspace.admin).await);
    let warning = "extension not registered: deferred work runs before each response";
    let line = eventually_some("the authorizer logs a warning", async || {
        log_lines(&workspace.api).await.into_iter().find(|line| line.contains(warning))
    });
    let line: Value = serde_json::from_str(&line.await).expect("JSON");
    assert_eq!(line["level"], "WARN", "{line}");
    assert!(line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");

    let authorizer = Function::start("authorize", &[]).await;
    authorizer.invoke(call(&workspace.admin)).await.expect("a policy");
    assert!(!authorizer.log().contains(warning), "with an Extensions API there is no warning");
}

#[tokio::test]
async fn the_response_does_not_wait_for_deferred_work() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[]).await;
    let answer = authorizer.invoke_then(call(&key), async {
        let stored = database::last_used_at(id_of(&key)).await;
        assert_eq!(stored, 0, "the response has arrived, and nothing is written yet");
    });
    assert_eq!(Box::pin(answer).await["principalId"], "bob");
    until_used(id_of(&key)).await;
    workspace.contents().await;
}

#[tokio::test]
async fn all_deferred_work_is_done_when_the_environment_is_frozen() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[]).await;
    authorizer.invoke(call(&key)).await.expect("a policy");
    authorizer.frozen().await;
    assert_ne!(database::last_used_at(id_of(&key)).await, 0);
    assert_eq!(database::calls(&workspace.id, "bob").await.len(), 1);
    workspace.contents().await;
}

/// DynamoDB closes the connections of an environment that stays frozen for long.
#[tokio::test]
async fn a_thawed_environment_works_although_its_connections_have_ended() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let mut dynamodb = Faults::before(&variable("KEYGATE_DYNAMODB_URL")).await;
    let url = dynamodb.url();
    let authorizer = Function::start("authorize", &[("AWS_ENDPOINT_URL_DYNAMODB", &url)]).await;
    authorizer.invoke(call(&key)).await.expect("a policy");
    authorizer.frozen().await;
    dynamodb.restart().await;
    authorizer.invoke(call(&key)).await.expect("a policy");
    authorizer.terminate().await;
    let counts: Vec<_> =
        database::calls(&workspace.id, "bob").await.iter().map(|event| event["count"].clone()).collect();
    assert_eq!(counts, [1, 1], "calls that the frozen environment still held are written when it ends");
}

#[tokio::test]
async fn the_last_use_is_written_once_in_an_interval_and_never_moves_back() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let (one, other) = tokio::join!(Function::start("authorize", &[]), Function::start("authorize", &[]));
    one.invoke(call(&key)).await.expect("a policy");
    until_used(id_of(&key)).await;
    assert_eq!(updates(&one), 1);
    let written = database::last_used_at(id_of(&key)).await;
    for function in [&one, &other, &one, &other] {
        function.invoke(call(&key)).await.expect("a policy");
    }
    assert_eq!((updates(&one), updates(&other)), (0, 1), "an environment tries once");
    assert_eq!(database::last_used_at(id_of(&key)).await, written);
    workspace.contents().await;
}

#[tokio::test]
async fn a_failure_of_deferred_work_changes_no_response() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[("LAST_USED_INTERVAL", "0")]).await;
    authorizer.disturb(Disturbance::WritesFail);
    for _ in 0..3 {
        assert_eq!(authorizer.invoke(call(&key)).await.expect("a policy")["principalId"], "bob");
    }
    authorizer.disturb(Disturbance::None);
    authorizer.invoke(call(&key)).await.expect("a policy");
    until_used(id_of(&key)).await;
    workspace.contents().await;
}

#[tokio::test]
async fn a_refused_call_is_no_use_of_the_key() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    workspace
        .update(&workspace.admin, text(&created, "id"), &json!({"disabled": true}))
        .await
        .assert_succeeded();
    let authorizer = Function::start("authorize", &[]).await;
    authorizer.take_calls();
    assert!(authorizer.invoke(call(text(&created, "key"))).await.is_err());
    let accepted = workspace.key_of("bob", &[]).await;
    authorizer.invoke(call(&accepted)).await.expect("a policy");
    until_used(id_of(&accepted)).await;
    assert_eq!(updates(&authorizer), 1, "one update, of the accepted key");
    workspace.contents().await;
}

#[tokio::test]
async fn a_hash_under_an_older_pepper_is_renewed_when_its_key_is_used() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let versions = pepper_versions_with("2");
    let (old, both) = ([], [("PEPPER_VERSIONS", versions.as_str()), ("CURRENT_PEPPER_VERSION", "2")]);
    let (old, both) = tokio::join!(Function::start("authorize", &old), Function::start("authorize", &both));
    assert_eq!(pepper_version(id_of(&key)).await, 1);
    both.invoke(call(&key)).await.expect("a policy");
    until_rehashed(id_of(&key)).await;
    both.invoke(call(&key)).await.expect("the same key is accepted under its new hash");
    let error = old.invoke(call(&key)).await.expect_err("an environment without the pepper cannot decide");
    assert_ne!(error, "Unauthorized");
    workspace.contents().await;
}

#[tokio::test]
async fn a_newer_pepper_that_is_not_current_renews_no_hash() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let versions = pepper_versions_with("2");
    let settings = [("PEPPER_VERSIONS", versions.as_str()), ("CURRENT_PEPPER_VERSION", "1")];
    let authorizer = Function::start("authorize", &settings).await;
    authorizer.invoke(call(&key)).await.expect("a policy");
    until_used(id_of(&key)).await;
    assert_eq!(
        (updates(&authorizer), pepper_version(id_of(&key)).await),
        (1, 1),
        "the one update is of the last use"
    );
    workspace.contents().await;
}

#[tokio::test]
async fn a_rotation_wins_over_a_rehash_at_the_same_time() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let (id, old) = (text(&created, "id"), text(&created, "key"));
    let versions = pepper_versions_with("2");
    let peppers = [("PEPPER_VERSIONS", versions.as_str()), ("CURRENT_PEPPER_VERSION", "2")];
    let settings = [&peppers[..], &[("LAST_USED_INTERVAL", "86400")]].concat();
    let authorizer = Function::start("authorize", &settings).await;
    let rotated = std::sync::Mutex::new(Value::Null);
    authorizer
        .invoke_then(call(old), async {
            let answer =
                workspace.rotate(&workspace.admin, id, &json!({"overlap_seconds": 3600})).await.json();
            *rotated.lock().expect("one at a time") = answer;
        })
        .await;
    let rotated = rotated.into_inner().expect("one at a time");
    for key in [old, text(&rotated, "key")] {
        authorizer.invoke(call(key)).await.expect("both secrets work during the overlap");
    }
    until_rehashed(id).await;
    for key in [old, text(&rotated, "key")] {
        authorizer.invoke(call(key)).await.expect("and after the new one's hash was renewed");
    }
    workspace.contents().await;
}

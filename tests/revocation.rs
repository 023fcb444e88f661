//! Revocation: the revoked party cannot prevent it, and everything derived from a credential ends with the credential.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::database;
use crate::support::function::{Disturbance, Function, event, request, token_event};
use crate::support::legacy::imported;
use crate::support::oauth::basic;
use crate::support::workspace::{Workspace, id_of, text, unique};

/// The number of removals that a user resists.
const TRIALS: usize = 40;
/// The number of such removals at the same time.
const AT_ONCE: usize = 4;

/// Removes a user with `users:write` who tries to reinstate themself in three loops. Returns whether one of their keys still
/// works, or a reinstatement succeeded.
async fn survives(workspace: &Workspace, is_legacy: bool) -> bool {
    let mallory = unique("mallory");
    let own = if is_legacy {
        imported(workspace, &mallory, &["users:write"]).await
    } else {
        workspace.key_of(&mallory, &["users:write"]).await
    };
    let mut keys = vec![own.clone()];
    for _ in 0..3 {
        keys.push(workspace.key_of(&mallory, &[]).await);
    }
    let (is_over, undone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let loops: Vec<_> = (0..3)
        .map(|_| {
            let (workspace, own, mallory) = (workspace.clone(), own.clone(), mallory.clone());
            let (is_over, undone) = (Arc::clone(&is_over), Arc::clone(&undone));
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = workspace.call(Method::PUT, &format!("/users/{mallory}"), &own).await;
                    undone.fetch_add(u32::from(answer.status == 204), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let removal = workspace.call(Method::DELETE, &format!("/users/{mallory}"), &workspace.admin).await;
    assert_eq!(removal.status, 202, "{removal:?}");
    workspace.until_cleared(&mallory).await;
    // Legacy keys go last.
    let mut left = keys.len();
    for _ in 0..50 {
        left = 0;
        for key in &keys {
            left += usize::from(workspace.accepts(key).await);
        }
        if left == 0 {
            break;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for task in loops {
        task.await.expect("no panic");
    }
    left > 0 || undone.load(Ordering::Relaxed) > 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_removed_user_undoes_their_own_removal() {
    let workspace = Workspace::new().await;
    let mut survivors = 0;
    for batch in 0..TRIALS / AT_ONCE {
        let trials: Vec<_> = (0..AT_ONCE)
            .map(|trial| {
                let workspace = workspace.clone();
                // One trial in eight has a legacy key.
                tokio::spawn(async move { survives(&workspace, batch % 2 == 0 && trial == 0).await })
            })
            .collect();
        for trial in trials {
            survivors += usize::from(trial.await.expect("no panic"));
        }
    }
    assert_eq!(survivors, 0, "of {TRIALS}");
    workspace.contents().await;
}

#[tokio::test]
async fn users_neither_remove_nor_reinstate_themselves_with_any_credential() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("officer", &["users:write"]).await;
    let token = workspace.access_token(&key).await;
    let legacy = imported(&workspace, "officer", &["users:write"]).await;
    for (caller, status, code) in [
        (&key, 409, "own_user"),
        (&token, 403, "insufficient_credential"),
        (&legacy, 403, "insufficient_credential"),
    ] {
        for method in [Method::PUT, Method::DELETE] {
            workspace.call(method, "/users/officer", caller).await.assert_problem(status, code);
        }
        // Nor do lesser credentials reinstate anybody else.
        if code == "insufficient_credential" {
            workspace.call(Method::PUT, "/users/carol", caller).await.assert_problem(status, code);
        }
    }
    assert_eq!(workspace.call(Method::PUT, "/users/carol", &key).await.status, 204);
    workspace.contents().await;
}

/// The caller's user is marked as removed, and the caller's key is not deleted yet.
#[tokio::test]
async fn a_removed_administrator_makes_no_key_in_the_time_that_their_own_has_left() {
    let workspace = Workspace::new().await;
    let boss = workspace.key_of("boss", &["workspace:admin"]).await;
    let creator = Function::start("create-key", &[]).await;
    let mut create = request(
        &workspace,
        ("POST", "/api-keys"),
        None,
        &[],
        &json!({"name": "back", "user_id": "svc:back"}),
    );
    create["requestContext"]["authorizer"]["userId"] = json!("boss");
    create["requestContext"]["authorizer"]["keyId"] = json!(id_of(&boss));
    let late = creator.invoke_while(create, async {
        database::mark_removed(&workspace.id, "boss", true).await;
    });
    let late = Box::pin(late).await;
    assert_eq!(late["statusCode"], 403, "{late}");
    database::mark_removed(&workspace.id, "boss", false).await;
    let contents = workspace.contents().await;
    assert!(!contents.entries.contains_key("USER#svc:back"), "{contents:#?}");
}

/// After a conflict on the caller's own entry it is unknown whether the caller was removed, so the transaction is tried again.
#[tokio::test]
async fn conflicts_on_the_callers_entry_are_tried_again() {
    let workspace = Workspace::new().await;
    let creator = Function::start("create-key", &[]).await;
    creator.disturb(Disturbance::Conflicts(4));
    let create =
        request(&workspace, ("POST", "/api-keys"), None, &[], &json!({"name": "late", "user_id": "bob"}));
    let created = creator.invoke(create).await.expect("a response");
    assert_eq!(created["statusCode"], 201, "{created}");
    workspace.contents().await;
}

/// The number of functions that create keys at the same time, and the number of keys of each.
const CREATORS: usize = 4;
const KEYS_EACH: usize = 12;

/// Every transaction checks the caller's entry, so the transactions of one busy caller conflict there. DynamoDB lets one of
/// two such transactions fail, and Keygate tries it again.
#[tokio::test]
async fn one_administrator_creates_keys_for_many_users_at_the_same_time() {
    let workspace = Workspace::new().await;
    let mut creators = JoinSet::new();
    for part in 0..CREATORS {
        let workspace = workspace.clone();
        creators.spawn(async move {
            let creator = Function::start("create-key", &[]).await;
            creator.disturb(Disturbance::Contention);
            for index in 0..KEYS_EACH {
                let body =
                    json!({"name": format!("{part} {index}"), "user_id": format!("svc:{part}-{index}")});
                let create = request(&workspace, ("POST", "/api-keys"), None, &[], &body);
                let answer = creator.invoke(create).await.expect("a response");
                assert_eq!(answer["statusCode"], 201, "{answer}");
            }
            creator.take_calls().len()
        });
    }
    let attempts: usize = creators.join_all().await.into_iter().sum();
    assert!(attempts > CREATORS * KEYS_EACH, "they have met: {attempts}");
    assert_eq!(workspace.contents().await.keys.len(), CREATORS * KEYS_EACH + 1);
}

/// The condition of the `Allow` statement in the authorizer's response.
async fn policy_end(authorizer: &Function, credential: &str) -> Value {
    let policy = authorizer.invoke(token_event(&format!("Bearer {credential}"))).await.expect("a policy");
    let condition = &policy["policyDocument"]["Statement"][0]["Condition"];
    let end = condition["DateLessThan"]["aws:CurrentTime"][0].clone();
    assert_eq!(policy["context"]["expiresAt"], end, "{policy}");
    end
}

#[tokio::test]
async fn a_response_for_a_previous_secret_ends_with_the_overlap() {
    let workspace = Workspace::new().await;
    let authorizer = Function::start("authorize", &[]).await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    assert_eq!(policy_end(&authorizer, &key).await, Value::Null, "a key without an expiry");
    let overlap = json!({"overlap_seconds": 3600});
    let rotated = workspace.rotate(&workspace.admin, id_of(&key), &overlap).await.json();
    assert_eq!(policy_end(&authorizer, &key).await, rotated["previous_expires_at"]);
    assert_eq!(policy_end(&authorizer, text(&rotated, "key")).await, Value::Null);

    let introspected =
        workspace.oauth("introspect", Some(&basic(&workspace.admin)), &[("token", &key)]).await;
    let end = chrono::DateTime::parse_from_rfc3339(text(&rotated, "previous_expires_at")).expect("RFC 3339");
    assert_eq!(introspected.json()["exp"], end.timestamp(), "{introspected:?}");
    let me = workspace.call(Method::GET, "/me", &key).await.json();
    assert_eq!(me["expires_at"], rotated["previous_expires_at"]);

    let leaving = workspace.key_of("leaver", &[]).await;
    workspace.remove("leaver", "?transfer_to=svc:heir&overlap_seconds=600").await;
    let shown = workspace.get(&workspace.admin, id_of(&leaving)).await.json();
    assert!(shown["previous_expires_at"].is_string(), "{shown}");
    assert_eq!(policy_end(&authorizer, &leaving).await, shown["previous_expires_at"]);
}

#[tokio::test]
async fn a_simple_response_tells_the_end_of_the_overlap_too() {
    let workspace = Workspace::new().await;
    let authorizer = Function::start("authorize", &[("AUTHORIZER_RESPONSE", "simple")]).await;
    let key = workspace.key_of("bob", &[]).await;
    let overlap = json!({"overlap_seconds": 3600});
    let rotated = workspace.rotate(&workspace.admin, id_of(&key), &overlap).await.json();
    let mut call = event("authorize-http-2.0");
    call["headers"]["authorization"] = json!(format!("Bearer {key}"));
    call["identitySource"] = json!([format!("Bearer {key}")]);
    let answer = authorizer.invoke(call).await.expect("a response");
    assert_eq!(answer["isAuthorized"], true, "{answer}");
    assert_eq!(answer["context"]["expiresAt"], rotated["previous_expires_at"], "{answer}");
}

#[tokio::test]
async fn a_handed_over_key_keeps_the_secret_in_use_when_it_is_rotated_with_an_overlap() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("leaver", &["orders:read", "keys:write"]).await;
    let id = id_of(&key);
    workspace.remove("leaver", "?transfer_to=svc:jobs").await;
    assert!(workspace.accepts(&key).await);
    let overlap = json!({"overlap_seconds": 86_400});
    let claimed = workspace.rotate(&workspace.admin, id, &overlap).await.json();
    assert!(workspace.accepts(&key).await, "it goes on until {}", claimed["previous_expires_at"]);
    assert!(workspace.accepts(text(&claimed, "key")).await);

    // It still is the secret of a former user, and ends with the next rotation.
    workspace.rotate(&key, id, &overlap).await.assert_problem(403, "insufficient_credential");
    workspace.create(&key, &json!({"name": "mine"})).await.assert_problem(403, "insufficient_credential");
    let next = workspace.rotate(&workspace.admin, id, &overlap).await.json();
    assert!(!workspace.accepts(&key).await);
    assert!(workspace.accepts(text(&claimed, "key")).await && workspace.accepts(text(&next, "key")).await);
    workspace.contents().await;
}

#[tokio::test]
async fn a_key_that_is_handed_over_twice_keeps_the_secret_in_use_and_no_longer_than_promised() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("first", &[]).await;
    let id = id_of(&key);
    workspace.remove("first", "?transfer_to=second&overlap_seconds=3600").await;
    let promised = workspace.get(&workspace.admin, id).await.json()["previous_expires_at"].clone();
    workspace.remove("second", "?transfer_to=third&overlap_seconds=86400").await;
    let shown = workspace.get(&workspace.admin, id).await.json();
    assert_eq!((&shown["user_id"], &shown["previous_expires_at"]), (&json!("third"), &promised));
    assert!(workspace.accepts(&key).await);
    workspace.remove("third", "?transfer_to=fourth&overlap_seconds=0").await;
    assert!(!workspace.accepts(&key).await);
    workspace.contents().await;
}

#[tokio::test]
async fn a_rotation_without_an_overlap_ends_the_thiefs_tokens_too() {
    let workspace = Workspace::new().await;
    let leaked = workspace.key_of("bob", &["orders:read"]).await;
    let tokens = workspace.tokens(&leaked, "orders:read offline_access").await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    assert!(workspace.accepts(access).await);
    let rotated = workspace.rotate(&workspace.admin, id_of(&leaked), &json!({})).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    assert!(!workspace.accepts(&leaked).await && !workspace.accepts(access).await);
    workspace.refresh(refresh).await.assert_oauth_error(400, "invalid_grant");

    let kept = text(&rotated.json(), "key").to_owned();
    let token = workspace.access_token(&kept).await;
    let body = json!({"revoke_tokens": false});
    assert_eq!(workspace.rotate(&workspace.admin, id_of(&leaked), &body).await.status, 200);
    assert!(workspace.accepts(&token).await, "unless told otherwise");
    workspace.contents().await;
}

#[tokio::test]
async fn tokens_of_a_key_stay_revoked_when_it_is_enabled_again() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let tokens = workspace.tokens(&key, "offline_access").await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    for disabled in [true, false] {
        let changed = workspace.update(&workspace.admin, id_of(&key), &json!({"disabled": disabled})).await;
        assert_eq!(changed.status, 200, "{changed:?}");
    }
    assert!(workspace.accepts(&key).await);
    assert!(!workspace.accepts(access).await);
    workspace.refresh(refresh).await.assert_oauth_error(400, "invalid_grant");
    assert!(workspace.accepts(&workspace.access_token(&key).await).await, "new ones work");
    workspace.contents().await;
}

#[tokio::test]
async fn tokens_of_a_previous_secret_end_with_it() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let id = id_of(&key);
    let rotated = workspace.rotate(&workspace.admin, id, &json!({"overlap_seconds": 600})).await.json();
    let form = [("grant_type", "client_credentials")];
    let issued = workspace.oauth("token", Some(&basic(&key)), &form).await.json();
    assert!(issued["expires_in"].as_i64().is_some_and(|seconds| seconds <= 600), "{issued}");
    let (token, of_current) =
        (text(&issued, "access_token"), workspace.access_token(text(&rotated, "key")).await);
    assert!(workspace.accepts(token).await);
    let listed = workspace.list_tokens(&workspace.admin, id, "").await.json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");

    // The next rotation ends the secret that it was made with, before its time.
    let next = workspace.rotate(&workspace.admin, id, &json!({"overlap_seconds": 600})).await;
    assert_eq!(next.status, 200, "{next:?}");
    assert!(!workspace.accepts(&key).await && !workspace.accepts(token).await);
    assert!(workspace.accepts(&of_current).await, "tokens of the current secret still work");
    let listed = workspace.list_tokens(&workspace.admin, id, "").await.json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
    let introspected =
        workspace.oauth("introspect", Some(&basic(&workspace.admin)), &[("token", token)]).await;
    assert_eq!(introspected.json(), json!({"active": false}));
    workspace.contents().await;
}

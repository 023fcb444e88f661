//! `DELETE /users/{user_id}` and `PUT /users/{user_id}`, and removals by an event.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::Contents;
use crate::support::emulator::{invoke_later, put_event};
use crate::support::function::{Disturbance, Function, Moment, request};
use crate::support::legacy::{LEGACY, imported};
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, id_of, text};

/// An event that asks for the removal of `user`, as `EventBridge` hands it over.
fn removal(workspace: &Workspace, user: &str) -> Value {
    json!({"workspace_id": workspace.id, "user_id": user})
}

/// The number of events by action and by user.
fn done(contents: &Contents) -> BTreeMap<(String, String), usize> {
    let mut done = BTreeMap::new();
    for event in &contents.events {
        *done.entry((text(event, "action").to_owned(), text(event, "target").to_owned())).or_default() += 1;
    }
    done
}

/// How many keys each user has, and the marks of those who were removed.
fn users(contents: &Contents) -> BTreeMap<String, (i64, bool)> {
    let users = contents.entries.iter().filter(|(entry, _)| entry.starts_with("USER#"));
    users
        .map(|(entry, user)| {
            (entry.clone(), (user["key_count"].as_i64().expect("a count"), user.get("removed_at").is_some()))
        })
        .collect()
}

#[tokio::test]
async fn a_removed_user_loses_every_key_and_can_get_no_other() {
    let workspace = Workspace::new().await;
    let mut keys = Vec::new();
    for scopes in [&["keys:write"][..], &["orders:read"], &[]] {
        keys.push(workspace.key_of("bob", scopes).await);
    }
    let carols = workspace.key_of("carol", &[]).await;
    let contents = workspace.remove("bob", "").await;
    for key in &keys {
        assert!(!workspace.accepts(key).await);
        assert_eq!(contents.events_of("key.deleted", &json!(id_of(key))), 1);
    }
    assert!(workspace.accepts(&carols).await, "other users' keys stay");
    assert_eq!(done(&contents)[&("user.removed".to_owned(), "bob".to_owned())], 1);
    let request = json!({"name": "another", "user_id": "bob"});
    workspace.create(&workspace.admin, &request).await.assert_problem(409, "user_removed");
}

#[tokio::test]
async fn removing_again_changes_nothing_and_a_user_without_keys_can_be_removed() {
    let workspace = Workspace::new().await;
    let answer = workspace.call(Method::DELETE, "/users/auth0%7C5f7c", &workspace.admin).await;
    assert_eq!((answer.status, &answer.json()["user_id"]), (202, &json!("auth0|5f7c")));
    let before = done(&workspace.when_cleared("auth0|5f7c").await);
    for _ in 0..2 {
        let again = workspace.call(Method::DELETE, "/users/auth0%7C5f7c", &workspace.admin).await;
        assert_eq!(again.status, 202);
    }
    assert_eq!(done(&workspace.contents().await), before);
}

/// The counts of keys in the response to a removal, and its hint.
async fn found(workspace: &Workspace, user_and_query: &str) -> (Value, Value) {
    let answer = workspace.call(Method::DELETE, &format!("/users/{user_and_query}"), &workspace.admin).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let answer = answer.json();
    (answer["found"].clone(), answer["hint"].clone())
}

#[tokio::test]
async fn a_removal_says_how_many_keys_of_each_kind_it_found() {
    for query in ["", "?transfer_to=svc:heir"] {
        let workspace = Workspace::new().await;
        for _ in 0..2 {
            imported(&workspace, "bob", &[]).await;
        }
        imported(&workspace, "carol", &[]).await;
        let disabled = workspace.key_of("bob", &[]).await;
        let answer = workspace.update(&workspace.admin, id_of(&disabled), &json!({"disabled": true})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        workspace.created(json!({"name": "expired", "user_id": "bob", "expires_in": 1})).await;
        workspace.key_of("bob", &[]).await;
        workspace.key_of("bobby", &[]).await;
        let (counts, hint) = found(&workspace, &format!("bob{query}")).await;
        assert_eq!((counts, hint), (json!({"api_keys": 3, "legacy_keys": 2}), Value::Null), "{query}");
        workspace.when_cleared("bob").await;
    }
}

#[tokio::test]
async fn a_removal_without_keys_has_a_hint_that_ids_are_case_sensitive() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob@example.com", &[]).await;
    let legacy = imported(&workspace, "bob@example.com", &[]).await;
    for user in ["BOB@example.com", "nobody@example.com"] {
        let (counts, hint) = found(&workspace, user).await;
        assert_eq!(counts, json!({"api_keys": 0, "legacy_keys": 0}), "{user}");
        assert!(hint.as_str().expect("a hint").contains("case-sensitive"), "{hint}");
    }
    assert!(workspace.accepts(&key).await && workspace.accepts(&legacy).await);
}

/// The event of the administrator's request to remove a user.
fn removal_request(workspace: &Workspace, user: &str) -> Value {
    let mut event = request(workspace, ("DELETE", "/users/{user_id}"), None, &[], &Value::Null);
    event["pathParameters"] = json!({"user_id": user});
    event
}

#[tokio::test]
async fn a_removal_counts_every_key_that_was_created_at_the_same_time() {
    let workspace = Workspace::new().await;
    let function = Function::start("remove-user", &LEGACY[..1]).await;
    let answer = function.invoke_while(removal_request(&workspace, "bob"), async {
        workspace.key_of("bob", &[]).await;
        imported(&workspace, "bob", &[]).await;
    });
    let answer = Box::pin(answer).await;
    let body: Value = serde_json::from_str(text(&answer, "body")).expect("JSON");
    assert_eq!(body["found"], json!({"api_keys": 1, "legacy_keys": 1}), "{body}");
    let operations: Vec<_> = function.take_calls().into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(operations, ["TransactWriteItems", "Query", "Query"], "the mark comes first");
    workspace.when_cleared("bob").await;
}

#[tokio::test]
async fn a_removal_whose_keys_cannot_be_counted_goes_on_all_the_same_and_is_not_called_done() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("remove-user", &LEGACY[..1]).await;
    function.disturb(Disturbance::QueriesFail);
    let answer = function.invoke(removal_request(&workspace, "bob")).await.expect("a response");
    assert_eq!(answer["statusCode"], 503, "{answer}");
    let cleared = tokio::time::timeout(Duration::from_secs(30), workspace.when_cleared("bob"));
    cleared.await.expect("the removal was handed over");
    assert!(!workspace.accepts(&key).await);
}

#[tokio::test]
async fn a_reinstated_user_can_have_keys_again_and_the_deleted_ones_stay_deleted() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    workspace.remove("bob", "").await;
    for _ in 0..2 {
        let answer = workspace.call(Method::PUT, "/users/bob", &workspace.admin).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    }
    let contents = workspace.contents().await;
    assert_eq!(done(&contents)[&("user.reinstated".to_owned(), "bob".to_owned())], 1);
    assert!(!workspace.accepts(&key).await);
    let new = workspace.key_of("bob", &[]).await;
    assert!(workspace.accepts(&new).await);
    workspace.contents().await;
}

#[tokio::test]
async fn keys_are_handed_over_with_all_that_they_may_do_and_their_secrets_end() {
    let workspace = Workspace::new().await;
    let request = json!({"name": "nightly", "user_id": "bob", "scopes": ["orders:read"], "endpoints": ["GET /echo"],
        "description": "exports"});
    let created = workspace.created(request).await;
    let (id, old) = (text(&created, "id"), text(&created, "key"));
    let contents = workspace.remove("bob", "?transfer_to=svc:export&overlap_seconds=600").await;
    assert_eq!(done(&contents)[&("key.transferred".to_owned(), "svc:export".to_owned())], 1);

    let mut expected = created.clone();
    expected["user_id"] = json!("svc:export");
    let mut transferred = workspace.get(&workspace.admin, id).await.json();
    assert!(transferred["previous_expires_at"].is_string(), "{transferred}");
    for object in [&mut expected, &mut transferred] {
        for member in ["key", "previous_expires_at", "last_used_at", "last_used_from", "can"] {
            object.as_object_mut().expect("an object").remove(member);
        }
    }
    assert_eq!(transferred, expected);
    let caller = workspace.api.rest_example(Some(&format!("Bearer {old}"))).await.json();
    assert_eq!(
        caller["caller"]["userId"], "svc:export",
        "during the overlap the old secret acts as the new user"
    );

    let rotated = workspace.rotate(&workspace.admin, id, &json!({})).await.json();
    assert!(workspace.accepts(text(&rotated, "key")).await);
    assert!(!workspace.accepts(old).await, "the overlap ended with the rotation");
    workspace.contents().await;
}

#[tokio::test]
async fn without_an_overlap_no_secret_works_for_a_key_that_was_handed_over() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    workspace.remove("bob", "?transfer_to=carol&overlap_seconds=0").await;
    assert!(!workspace.accepts(&key).await);
    let shown = workspace.get(&workspace.admin, id_of(&key)).await.json();
    assert_eq!((&shown["user_id"], &shown["status"]), (&json!("carol"), &json!("active")));
}

#[tokio::test]
async fn a_key_for_which_the_other_user_has_no_room_is_deleted() {
    let workspace = Workspace::new().await;
    for user in ["bob", "bob", "svc:heir"] {
        workspace.key_of(user, &[]).await;
    }
    let function = Function::start("process-user-removal", &[("KEYS_PER_USER", "2")]).await;
    let mut event = removal(&workspace, "bob");
    event["transfer_to"] = json!("svc:heir");
    assert_eq!(function.invoke(event).await, Ok(Value::Null));
    let contents = workspace.contents().await;
    let done = done(&contents);
    assert_eq!(done[&("key.transferred".to_owned(), "svc:heir".to_owned())], 1);
    assert_eq!(done[&("key.deleted".to_owned(), "bob".to_owned())], 1);
    assert_eq!(users(&contents)["USER#svc:heir"], (2, false));
}

/// A truth table: caller, removed user, recipient of the keys, and the response.
#[tokio::test]
async fn removing_takes_the_scope_and_handing_over_an_administrator() {
    let workspace = Workspace::new().await;
    let officer = workspace.key_of("officer", &["users:write"]).await;
    let writer = workspace.key_of("bob", &["keys:write", "keys:read"]).await;
    let restricted = json!({"name": "restricted", "user_id": "dave", "scopes": ["workspace:admin"],
        "endpoints": ["* /users/*"]});
    let restricted = text(&workspace.created(restricted).await, "key").to_owned();
    workspace.remove("gone", "").await;
    let delete = Method::DELETE;
    for (caller, method, route, status, code) in [
        (&writer, &delete, "/users/carol", 403, "insufficient_scope"),
        (&writer, &delete, "/users/bob", 403, "insufficient_scope"),
        (&writer, &Method::PUT, "/users/gone", 403, "insufficient_scope"),
        (&officer, &delete, "/users/officer", 409, "own_user"),
        (&workspace.admin, &delete, "/users/admin", 409, "own_user"),
        (&officer, &delete, "/users/carol?transfer_to=dave", 403, "insufficient_scope"),
        (&restricted, &delete, "/users/carol?transfer_to=dave", 403, "insufficient_endpoints"),
        (&workspace.admin, &delete, "/users/carol?transfer_to=gone", 409, "user_removed"),
    ] {
        workspace.call(method.clone(), route, caller).await.assert_problem(status, code);
    }
    let untouched = workspace.contents().await;
    assert!(!untouched.entries.contains_key("USER#carol"), "nothing of it has been done");
    for (route, places) in [
        ("/users/a%20b", vec!["user_id"]),
        (
            "/users/carol?transfer_to=carol&overlap_seconds=2592001&now=1",
            vec!["transfer_to", "overlap_seconds", "now"],
        ),
    ] {
        let answer = workspace.call(delete.clone(), route, &workspace.admin).await;
        assert_eq!(answer.invalid_places(), places);
    }
    assert_eq!(
        workspace.call(delete, "/users/admin", &officer).await.status,
        202,
        "administrators are users"
    );
    workspace.when_cleared("admin").await;
    assert!(!workspace.accepts(&workspace.admin).await);
}

#[tokio::test]
async fn an_event_of_another_system_removes_its_user() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let detail = json!({"workspace_id": workspace.id, "user_id": "bob"});
    put_event(&workspace.api, "example.users", "user created", &detail).await;
    assert!(workspace.accepts(&key).await, "an event of another kind does nothing");
    put_event(&workspace.api, "example.users", "user removed", &detail).await;
    workspace.when_cleared("bob").await;
    assert!(!workspace.accepts(&key).await);
    let trail = workspace.activity("?actor=keygate:users").await;
    let events = trail["items"].as_array().expect("items");
    let actions: Vec<_> = events.iter().map(|event| text(event, "action")).collect();
    assert_eq!(events.len(), 2, "{trail}");
    assert!(actions.contains(&"user.removed") && actions.contains(&"key.deleted"), "{trail}");
}

#[tokio::test]
async fn an_event_that_is_not_a_removal_fails_and_removes_no_user() {
    let workspace = Workspace::new().await;
    let function = Function::start("process-user-removal", &[]).await;
    for event in [
        json!({"workspace_id": workspace.id}),
        json!({"workspace_id": workspace.id, "user_id": "admin", "force": true}),
        json!({"workspace_id": "No Workspace", "user_id": "admin"}),
        json!("admin"),
    ] {
        assert!(function.invoke(event.clone()).await.is_err(), "{event}");
    }
    assert!(function.take_calls().is_empty());
    assert!(workspace.accepts(&workspace.admin).await);
}

/// Events are delivered at least once. A second delivery can come after a reinstatement.
#[tokio::test]
async fn a_removal_that_is_repeated_after_a_reinstatement_removes_no_user() {
    let workspace = Workspace::new().await;
    workspace.key_of("bob", &[]).await;
    let mut event = removal(&workspace, "bob");
    event["time"] = json!((Utc::now() - TimeDelta::seconds(5)).to_rfc3339_opts(SecondsFormat::Secs, true));
    let function = Function::start("process-user-removal", &[]).await;
    assert!(function.invoke(event.clone()).await.is_ok());
    let reinstated = workspace.call(Method::PUT, "/users/bob", &workspace.admin).await;
    assert_eq!(reinstated.status, 204);
    let key = workspace.key_of("bob", &[]).await;
    assert!(function.invoke(event.clone()).await.is_ok());
    assert!(workspace.accepts(&key).await);

    // After a new removal the old event does not decide whether the keys are handed over.
    workspace.remove("bob", "").await;
    event["transfer_to"] = json!("carol");
    assert!(function.invoke(event).await.is_ok());
    let contents = workspace.contents().await;
    assert!(!contents.entries.contains_key("USER#carol"), "{contents:#?}");
}

/// A reinstatement works although the second step of the removal has not begun.
#[tokio::test]
async fn a_removal_that_is_undone_before_it_has_begun_is_over() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let (remover, clearer) =
        tokio::join!(Function::start("remove-user", &[]), Function::start("process-user-removal", &[]));
    remover.disturb(Disturbance::KillAfter);
    let mut request = request(&workspace, ("DELETE", "/users/bob"), None, &[], &Value::Null);
    request["pathParameters"] = json!({"user_id": "bob"});
    remover.invoke_until_killed(request).await;
    let mut event = removal(&workspace, "bob");
    event["time"] = json!(Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true));
    workspace.call(Method::PUT, "/users/bob", &workspace.admin).await.assert_succeeded();
    assert!(clearer.invoke(event).await.is_ok());
    assert!(workspace.accepts(&key).await);
    assert_eq!(users(&workspace.contents().await)["USER#bob"], (1, false));
}

#[tokio::test]
async fn a_removal_that_is_undone_half_way_leaves_the_rest_alone() {
    let workspace = Workspace::new().await;
    for _ in 0..2 {
        workspace.key_of("bob", &[]).await;
    }
    let mut event = removal(&workspace, "bob");
    event["time"] = json!((Utc::now() - TimeDelta::seconds(5)).to_rfc3339_opts(SecondsFormat::Secs, true));
    let (killed, next) = tokio::join!(
        Function::start("process-user-removal", &[]),
        Function::start("process-user-removal", &[])
    );
    // The mark, the entries, the first key and its deletion, the second key.
    killed.disturb(Disturbance::KillAt(5, Moment::Before));
    assert!(!killed.survives(event.clone()).await);
    assert_eq!(users(&workspace.contents().await)["USER#bob"], (1, true));
    workspace.call(Method::PUT, "/users/bob", &workspace.admin).await.assert_succeeded();
    assert!(next.invoke(event).await.is_ok());
    assert_eq!(users(&workspace.contents().await)["USER#bob"], (1, false));
}

#[tokio::test]
async fn wherever_a_removal_is_killed_the_next_run_ends_it_as_one_run_does() {
    let finisher = Function::start("process-user-removal", &[("KEYS_PER_USER", "2")]).await;
    for transfer_to in [Value::Null, json!("svc:heir")] {
        let mut ends = Vec::new();
        for calls in 0.. {
            let workspace = Workspace::new().await;
            for user in ["bob", "bob", "svc:heir"] {
                workspace.key_of(user, &[]).await;
            }
            let mut event = removal(&workspace, "bob");
            event["transfer_to"] = transfer_to.clone();
            let function = Function::start("process-user-removal", &[("KEYS_PER_USER", "2")]).await;
            function.disturb(Disturbance::KillAt(calls, Moment::Before));
            let survived = function.survives(event.clone()).await;
            let between = workspace.contents().await;
            assert!(finisher.invoke(event).await.is_ok());
            let contents = workspace.contents().await;
            ends.push((done(&contents), users(&contents)));
            if survived {
                assert_eq!((done(&between), users(&between)), ends[0], "there was nothing left to do");
                break;
            }
        }
        assert!(ends.len() > 6, "it was killed at several places");
        assert!(ends.iter().all(|end| *end == ends[0]), "{ends:#?}");
    }
}

#[tokio::test]
async fn a_request_that_dies_before_it_hands_over_is_taken_up_by_the_next_one() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("remove-user", &[]).await;
    function.disturb(Disturbance::KillAfter);
    let mut event = request(&workspace, ("DELETE", "/users/bob"), None, &[], &Value::Null);
    event["pathParameters"] = json!({"user_id": "bob"});
    function.invoke_until_killed(event).await;
    assert_eq!(users(&workspace.contents().await)["USER#bob"], (1, true));
    assert!(workspace.accepts(&key).await, "it has not come to the key");
    workspace
        .create(&workspace.admin, &json!({"name": "a", "user_id": "bob"}))
        .await
        .assert_problem(409, "user_removed");
    let contents = workspace.remove("bob", "").await;
    assert_eq!(done(&contents)[&("user.removed".to_owned(), "bob".to_owned())], 1);
    assert!(!workspace.accepts(&key).await);
}

/// A key that is being made while its user is removed is refused, or deleted with the others.
#[tokio::test]
async fn no_key_slips_through_while_its_user_is_removed() {
    let workspace = Workspace::new().await;
    let (creator, clearer) =
        tokio::join!(Function::start("create-key", &[]), Function::start("process-user-removal", &[]));
    let create =
        request(&workspace, ("POST", "/api-keys"), None, &[], &json!({"name": "late", "user_id": "bob"}));
    let late = creator.invoke_while(create, async {
        assert!(clearer.invoke(removal(&workspace, "bob")).await.is_ok());
    });
    let late = Box::pin(late).await;
    assert_eq!(late["statusCode"], 409, "{late}");

    let answer = clearer.invoke_while(removal(&workspace, "carol"), async {
        workspace.key_of("carol", &[]).await;
    });
    Box::pin(answer).await;
    assert_eq!(users(&workspace.contents().await)["USER#carol"], (0, true));
}

/// The key is changed between the read and the deletion.
#[tokio::test]
async fn a_change_at_the_same_time_saves_no_key() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    workspace.remove("nobody", "").await;
    let clearer = Function::start("process-user-removal", &[]).await;
    let conflicting = clearer.invoke_while(removal(&workspace, "bob"), async {
        let answer = workspace.update(&workspace.admin, id_of(&key), &json!({"name": "renamed"})).await;
        assert_eq!(answer.status, 200);
    });
    Box::pin(conflicting).await;
    assert!(!workspace.accepts(&key).await);
    workspace.contents().await;
}

#[tokio::test]
async fn a_user_with_a_thousand_keys_is_removed_in_one_run() {
    const KEYS: usize = 1_000;
    let workspace = Workspace::new().await;
    let quota = [("KEYS_PER_USER", "1000")];
    let create = async |part: usize| {
        let creator = Function::start("create-key", &quota).await;
        for index in (0..KEYS).filter(|index| index % 4 == part) {
            let body = json!({"name": format!("key {index}"), "user_id": "bob"});
            let answer = creator.invoke(request(&workspace, ("POST", "/api-keys"), None, &[], &body)).await;
            assert_eq!(answer.expect("a response")["statusCode"], 201);
        }
    };
    tokio::join!(create(0), create(1), create(2), create(3));
    invoke_later(&workspace.api, &variable("KEYGATE_USER_REMOVAL_FUNCTION"), &removal(&workspace, "bob"))
        .await;
    let contents = workspace.when_cleared("bob").await;
    assert_eq!(contents.keys.len(), 1, "the administrator's");
    assert_eq!(done(&contents)[&("key.deleted".to_owned(), "bob".to_owned())], KEYS);
}

//! `POST /api-keys/{id}/rotate` with an `Idempotency-Key`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database;
use crate::support::function::{Disturbance, Function, Moment, request};
use crate::support::openapi;
use crate::support::stack::{Answer, pepper_versions_with, remember_secret, variable};
use crate::support::workspace::{Workspace, id_of, keys_url, text, unique};

const ROTATE: (&str, &str) = ("POST", "/api-keys/{id}/rotate");

async fn rotate(workspace: &Workspace, caller: &str, id: &str, header: &str, body: &Value) -> Answer {
    if header.len() >= 16 {
        remember_secret(header);
    }
    let (method, path) = (Method::POST, format!("/{id}/rotate"));
    workspace.send((method, &path), caller, &[("Idempotency-Key", header)], Some(body)).await
}

/// The event of a request to rotate a key. The caller is a user, the id of their key, and its scopes.
fn event(workspace: &Workspace, id: &str, (user, caller, scopes): (&str, &str, &str), header: &str) -> Value {
    remember_secret(header);
    let headers = [("Idempotency-Key", header)];
    let mut event = request(
        workspace,
        ROTATE,
        Some(id),
        &headers,
        &json!({"overlap_seconds": 600, "revoke_tokens": true}),
    );
    let authorizer = &mut event["requestContext"]["authorizer"];
    authorizer["userId"] = json!(user);
    authorizer["keyId"] = json!(caller);
    authorizer["scopes"] = json!(scopes);
    event
}

/// The status and the body of a function's response.
fn answered(answer: &Value) -> (u64, Value) {
    let body = answer["body"].as_str().expect("a body");
    let body: Value = serde_json::from_str(body).expect("JSON");
    if let Some(key) = body["key"].as_str() {
        remember_secret(&key[key.len() - 49..][..43]);
    }
    (answer["statusCode"].as_u64().expect("a status"), body)
}

#[tokio::test]
async fn a_repeated_rotation_gets_the_same_response_and_rotates_once() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci", "scopes": ["a:b"]})).await;
    let (id, old) = (text(&created, "id"), text(&created, "key"));
    let (header, body) = (unique("request"), json!({"overlap_seconds": 3600}));
    remember_secret(&header);
    let path = format!("/{id}/rotate");
    // A repeat has the `If-Match` of the first request, which is not the key's ETag any more.
    let headers = [("Idempotency-Key", header.as_str()), ("If-Match", "\"1\"")];
    let send = || workspace.send((Method::POST, &path), &workspace.admin, &headers, Some(&body));
    let first = send().await;
    assert_eq!((first.status, first.header("etag")), (200, Some("\"2\"")), "{first:?}");
    for _ in 0..2 {
        let again = send().await;
        assert_eq!((again.status, again.json()), (200, first.json()));
        assert_eq!(again.header("etag"), Some("\"2\""));
    }
    assert!(workspace.accepts(text(&first.json(), "key")).await);
    assert!(workspace.accepts(old).await, "the repeats have not ended the overlap");
    assert_eq!(workspace.contents().await.events_of("key.rotated", &created["id"]), 1);

    let stale = [("Idempotency-Key", &*unique("request")), ("If-Match", "\"1\"")];
    let other = workspace.send((Method::POST, &path), &workspace.admin, &stale, Some(&body)).await;
    other.assert_problem(412, "precondition_failed");
}

#[tokio::test]
async fn of_16_at_once_one_rotates_and_all_get_the_secret() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let header = unique("request");
    let mut rotations = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (workspace, header, id) = (workspace.clone(), header.clone(), text(&created, "id").to_owned());
        rotations.spawn(async move { rotate(&workspace, &workspace.admin, &id, &header, &json!({})).await });
    }
    let answers = rotations.join_all().await;
    for answer in &answers {
        assert_eq!((answer.status, answer.json()), (200, answers[0].json()));
    }
    assert_eq!(workspace.contents().await.events_of("key.rotated", &created["id"]), 1);
}

#[tokio::test]
async fn a_request_is_the_same_however_it_is_written_and_another_one_is_a_422() {
    let workspace = Workspace::new().await;
    let (created, other) =
        (workspace.created(json!({"name": "ci"})).await, workspace.created(json!({"name": "other"})).await);
    let header = unique("request");
    remember_secret(&header);
    let send = async |id: &str, body: &'static str| {
        let request = workspace.api.client().post(keys_url(&format!("/{id}/rotate")));
        let request = request.bearer_auth(&workspace.admin).header("Idempotency-Key", &header);
        let request = request.header("Content-Type", "application/json").body(body);
        Answer::of(request.send().await.expect("a response of the stack")).await
    };
    let id = text(&created, "id");
    let first = send(id, r#"{"overlap_seconds":600,"revoke_tokens":false}"#).await;
    assert_eq!(first.status, 200, "{first:?}");
    for same in [r#"{ "revoke_tokens" : false, "overlap_seconds": 600 }"#, r#"{"overlap_seconds":600}"#] {
        let again = send(id, same).await;
        assert_eq!((again.status, again.json()), (200, first.json()), "{same}");
    }
    for another in ["", r#"{"overlap_seconds":601}"#, r#"{"overlap_seconds":600,"revoke_tokens":true}"#] {
        send(id, another).await.assert_problem(422, "idempotency_mismatch");
    }
    let of_other_key = send(text(&other, "id"), r#"{"overlap_seconds":600,"revoke_tokens":false}"#).await;
    of_other_key.assert_problem(422, "idempotency_mismatch");
    assert_eq!(workspace.contents().await.events_of("key.rotated", &other["id"]), 0);
}

#[tokio::test]
async fn the_same_header_of_another_caller_is_another_request() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let (id, header) = (text(&created, "id"), unique("request"));
    let other = workspace.key_of("admin", &["workspace:admin"]).await;
    let body = json!({"overlap_seconds": 60});
    let first = rotate(&workspace, &workspace.admin, id, &header, &body).await.json();
    let second = rotate(&workspace, &other, id, &header, &body).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_ne!(second.json()["key"], first["key"]);
    let token = workspace.access_token(&workspace.admin).await;
    let by_token = rotate(&workspace, &token, id, &header, &body).await;
    by_token.assert_problem(403, "insufficient_credential");
    assert_eq!(workspace.contents().await.events_of("key.rotated", &created["id"]), 2);
}

/// A key that rotates itself has only its old secret until it has the response.
#[tokio::test]
async fn a_key_that_rotates_itself_can_repeat_that_with_its_old_secret() {
    let workspace = Workspace::new().await;
    let own = workspace.key_of("bob", &["keys:write"]).await;
    let (id, header) = (id_of(&own), unique("request"));
    for short in [json!({}), json!({"overlap_seconds": 0}), json!({"overlap_seconds": 599})] {
        let refused = rotate(&workspace, &own, id, &header, &short).await;
        assert_eq!(refused.invalid_places(), ["/overlap_seconds"], "{short}");
    }
    let overlap = json!({"overlap_seconds": 600});
    let first = rotate(&workspace, &own, id, &header, &overlap).await;
    assert_eq!(first.status, 200, "{first:?}");
    let rotated = first.json();
    let new = text(&rotated, "key");
    assert_ne!(new, own);
    for secret in [own.as_str(), new] {
        let again = rotate(&workspace, secret, id, &header, &overlap).await;
        assert_eq!((again.status, again.json()), (200, first.json()));
    }
    let mismatch = rotate(&workspace, &own, id, &header, &json!({"overlap_seconds": 601})).await;
    mismatch.assert_problem(422, "idempotency_mismatch");

    // Any other request is a new rotation, which the old secret may not make.
    let another = rotate(&workspace, &own, id, &unique("request"), &overlap).await;
    another.assert_problem(403, "insufficient_credential");
    workspace.rotate(&own, id, &overlap).await.assert_problem(403, "insufficient_credential");
    assert_eq!(workspace.contents().await.events_of("key.rotated", &json!(id)), 1);

    // Without the header a key rotates itself as ever.
    assert_eq!(workspace.rotate(new, id, &json!({})).await.status, 200);
}

/// An old secret gets the new one only by the `Idempotency-Key` of its own request.
#[tokio::test]
async fn an_old_secret_repeats_only_its_own_rotation() {
    let workspace = Workspace::new().await;
    let own = workspace.key_of("bob", &["keys:write"]).await;
    let (id, header, overlap) = (id_of(&own), unique("request"), json!({"overlap_seconds": 600}));
    assert_eq!(rotate(&workspace, &workspace.admin, id, &header, &overlap).await.status, 200);
    let by_old = rotate(&workspace, &own, id, &header, &overlap).await;
    by_old.assert_problem(403, "insufficient_credential");
}

#[tokio::test]
async fn a_key_that_has_changed_since_is_not_shown_again() {
    let workspace = Workspace::new().await;
    for (name, change) in [("rotated", 0), ("disabled", 1), ("deleted", 2), ("expired", 3), ("renamed", 4)] {
        let life = if change == 3 { 2 } else { 60 };
        let created = workspace.created(json!({"name": name, "expires_in": life})).await;
        let (id, header) = (text(&created, "id"), unique("request"));
        let body = json!({"overlap_seconds": 60});
        let first = rotate(&workspace, &workspace.admin, id, &header, &body).await;
        assert_eq!(first.status, 200, "{first:?}");
        let changed = match change {
            0 => workspace.rotate(&workspace.admin, id, &body).await,
            1 => workspace.update(&workspace.admin, id, &json!({"disabled": true})).await,
            2 => workspace.delete(&workspace.admin, id).await,
            3 => {
                workspace.until_expired(id).await;
                workspace.get(&workspace.admin, id).await
            }
            _ => workspace.update(&workspace.admin, id, &json!({"name": "another"})).await,
        };
        assert!(matches!(changed.status, 200 | 204), "{changed:?}");
        let again = rotate(&workspace, &workspace.admin, id, &header, &body).await;
        match change {
            2 => again.assert_problem(404, "not_found"),
            4 => {
                assert_eq!((again.status, &again.json()["key"]), (200, &first.json()["key"]));
                assert_eq!(again.json()["name"], "another", "the key is shown as it is");
                assert_eq!(again.header("etag"), Some("\"3\""));
            }
            _ => {
                again.assert_problem(409, "idempotency_conflict");
                assert_eq!(again.json()["key_id"], created["id"], "{name}");
            }
        }
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_key_that_was_off_when_it_was_rotated_is_shown_again_as_it_was() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let (id, header) = (text(&created, "id"), unique("request"));
    workspace.update(&workspace.admin, id, &json!({"disabled": true})).await.assert_succeeded();
    let first = rotate(&workspace, &workspace.admin, id, &header, &json!({})).await;
    assert_eq!((first.status, &first.json()["status"]), (200, &json!("disabled")), "{first:?}");
    let again = rotate(&workspace, &workspace.admin, id, &header, &json!({})).await;
    assert_eq!((again.status, again.json()), (200, first.json()));
}

#[tokio::test]
async fn a_key_that_was_given_more_rights_is_not_shown_again_to_a_caller_without_them() {
    let workspace = Workspace::new().await;
    let rules = json!(["POST /api-keys/*", "GET /orders/*"]);
    let writer =
        json!({"name": "writer", "user_id": "bob", "scopes": ["keys:write", "a:b"], "endpoints": rules});
    let writer = workspace.created(writer).await;
    let writer = text(&writer, "key");
    for (granted, code) in [
        (json!({"scopes": ["workspace:admin"]}), "insufficient_scope"),
        (json!({"endpoints": null}), "insufficient_endpoints"),
    ] {
        let target = json!({"name": unique("key"), "user_id": "bob", "scopes": ["a:b"], "endpoints": ["GET /orders/7"]});
        let created = workspace.created(target).await;
        let (id, header) = (text(&created, "id"), unique("request"));
        let first = rotate(&workspace, writer, id, &header, &json!({})).await;
        assert_eq!(first.status, 200, "{first:?}");
        assert_eq!(workspace.update(&workspace.admin, id, &granted).await.status, 200);
        rotate(&workspace, writer, id, &header, &json!({})).await.assert_problem(403, code);
    }
    workspace.contents().await;
}

/// One condition checks the key's rights together with its hash.
#[tokio::test]
async fn a_key_that_is_widened_while_a_repeat_looks_at_it_is_not_shown() {
    let workspace = Workspace::new().await;
    let writer = workspace.key_of("bob", &["keys:write"]).await;
    let target = workspace.created(json!({"name": "ci", "user_id": "bob"})).await;
    let (id, header) = (text(&target, "id"), unique("request"));
    let function = Function::start("rotate-key", &[]).await;
    let repeat = || event(&workspace, id, ("bob", id_of(&writer), "keys:write"), &header);
    let (status, first) = answered(&function.invoke(repeat()).await.expect("a response"));
    assert_eq!(status, 200, "{first}");
    let answer = function.invoke_while(repeat(), async {
        let renamed = workspace.update(&workspace.admin, id, &json!({"name": "another"})).await;
        assert_eq!(renamed.status, 200, "{renamed:?}");
    });
    let (status, again) = answered(&answer.await);
    assert_eq!((status, &again["key"], &again["name"]), (200, &first["key"], &json!("another")));

    let answer = function.invoke_while(repeat(), async {
        let granted = json!({"scopes": ["workspace:admin"]});
        assert_eq!(workspace.update(&workspace.admin, id, &granted).await.status, 200);
    });
    let (status, refused) = answered(&answer.await);
    assert_eq!((status, &refused["code"]), (403, &json!("insufficient_scope")));
}

#[tokio::test]
async fn a_caller_who_was_removed_since_is_shown_nothing_again() {
    let workspace = Workspace::new().await;
    let target = workspace.created(json!({"name": "ci"})).await;
    let leaver = workspace.key_of("mallory", &["workspace:admin"]).await;
    let (id, header) = (text(&target, "id"), unique("request"));
    let function = Function::start("rotate-key", &[]).await;
    let request = || event(&workspace, id, ("mallory", id_of(&leaver), "workspace:admin"), &header);
    let (status, first) = answered(&function.invoke(request()).await.expect("a response"));
    assert_eq!(status, 200, "{first}");
    workspace.remove("mallory", "").await;
    let (status, again) = answered(&function.invoke(request()).await.expect("a response"));
    assert_eq!((status, &again["code"]), (403, &json!("caller_removed")), "{again}");
    // This refusal outranks a conflict with a later change of the key.
    workspace.rotate(&workspace.admin, id, &json!({})).await.assert_succeeded();
    let (status, again) = answered(&function.invoke(request()).await.expect("a response"));
    assert_eq!((status, &again["code"]), (403, &json!("caller_removed")), "{again}");
}

#[tokio::test]
async fn a_removed_user_gets_no_secret_out_of_a_key_that_rotated_itself() {
    let workspace = Workspace::new().await;
    let own = workspace.key_of("mallory", &["keys:write"]).await;
    let (id, header, overlap) = (id_of(&own), unique("request"), json!({"overlap_seconds": 600}));
    let first = rotate(&workspace, &own, id, &header, &overlap).await;
    assert_eq!(first.status, 200, "{first:?}");
    database::mark_removed(&workspace.id, "mallory", true).await;
    for secret in [own.as_str(), text(&first.json(), "key")] {
        let again = rotate(&workspace, secret, id, &header, &overlap).await;
        again.assert_problem(403, "caller_removed");
    }
    database::mark_removed(&workspace.id, "mallory", false).await;
    assert_eq!(rotate(&workspace, &own, id, &header, &overlap).await.json(), first.json());
}

#[tokio::test]
async fn after_ten_minutes_the_request_is_a_new_one() {
    let workspace = Workspace::in_which_time_passes().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let (id, header, body) = (text(&created, "id"), unique("request"), json!({"overlap_seconds": 60}));
    let first = rotate(&workspace, &workspace.admin, id, &header, &body).await.json();
    database::end_memory(&workspace.id).await;
    let second = rotate(&workspace, &workspace.admin, id, &header, &body).await;
    assert_eq!((second.status, second.header("etag")), (200, Some("\"3\"")), "{second:?}");
    assert_ne!(second.json()["key"], first["key"]);
}

/// Until it is rotated, a handed-over key has only the secret of the user who left.
#[tokio::test]
async fn the_rotation_of_a_key_that_was_handed_over_can_be_repeated() {
    let workspace = Workspace::new().await;
    let old = workspace.key_of("bob", &["orders:read"]).await;
    workspace.remove("bob", "?transfer_to=carol&overlap_seconds=600").await;
    let (id, header, body) = (id_of(&old), unique("request"), json!({"overlap_seconds": 600}));
    let first = rotate(&workspace, &workspace.admin, id, &header, &body).await;
    assert_eq!(first.status, 200, "{first:?}");
    let again = rotate(&workspace, &workspace.admin, id, &header, &body).await;
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert!(workspace.accepts(text(&first.json(), "key")).await && workspace.accepts(&old).await);
    workspace.contents().await;
}

/// After a kill at any call the repeated request succeeds, and the key is rotated once.
#[tokio::test]
async fn a_rotation_that_is_killed_at_any_call_can_be_repeated() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "counted"})).await;
    let function = Function::start("rotate-key", &[]).await;
    function.take_calls();
    let caller = ("admin", id_of(&workspace.admin), "workspace:admin");
    let answer = function.invoke(event(&workspace, text(&created, "id"), caller, &unique("request"))).await;
    assert_eq!(answered(&answer.expect("a response")).0, 200);
    let calls: Vec<_> = function.take_calls().into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(calls, ["GetItem", "GetItem", "GetItem", "TransactWriteItems"]);

    for at in 0..4 {
        for moment in [Moment::Before, Moment::After] {
            let created = workspace.created(json!({"name": unique("key")})).await;
            let (id, header) = (text(&created, "id"), unique("request"));
            let killed = Function::start("rotate-key", &[]).await;
            killed.disturb(Disturbance::KillAt(at, moment));
            killed.invoke_until_killed(event(&workspace, id, caller, &header)).await;
            let body = json!({"overlap_seconds": 600, "revoke_tokens": true});
            let answer = rotate(&workspace, &workspace.admin, id, &header, &body).await;
            assert_eq!((answer.status, answer.header("etag")), (200, Some("\"2\"")), "{at} {moment:?}");
            assert!(workspace.accepts(text(&answer.json(), "key")).await);
            assert_eq!(workspace.contents().await.events_of("key.rotated", &created["id"]), 1);
        }
    }
}

#[tokio::test]
async fn a_hash_is_compared_by_a_condition_and_never_read() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let (id, header) = (text(&created, "id"), unique("request"));
    let caller = ("admin", id_of(&workspace.admin), "workspace:admin");
    // The authorizer may have renewed the hash under another pepper that is in use.
    let both = pepper_versions_with("2");
    let first = Function::start("rotate-key", &[]).await;
    let (status, shown) =
        answered(&first.invoke(event(&workspace, id, caller, &header)).await.expect("a response"));
    assert_eq!(status, 200, "{shown}");
    let settings = [("PEPPER_VERSIONS", both.as_str()), ("CURRENT_PEPPER_VERSION", "2")];
    let later = Function::start("rotate-key", &settings).await;
    later.take_calls();
    let (status, again) =
        answered(&later.invoke(event(&workspace, id, caller, &header)).await.expect("a response"));
    assert_eq!((status, &again), (200, &shown));
    for (operation, call) in later.take_calls() {
        match operation.as_str() {
            "GetItem" if call["TableName"] == *variable("KEYGATE_USAGE_TABLE") => {}
            "GetItem" => {
                let read = call["ProjectionExpression"].as_str().expect("named attributes alone");
                assert!(!read.contains("hash") && !read.contains("pepper"), "{read}");
            }
            "TransactWriteItems" => {
                for item in call["TransactItems"].as_array().expect("items") {
                    let check = &item["ConditionCheck"];
                    assert!(check.is_object(), "a repeat writes nothing: {item}");
                    assert!(check.get("ReturnValuesOnConditionCheckFailure").is_none(), "{check}");
                }
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn the_header_is_stored_nowhere() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    let header = unique("request");
    rotate(&workspace, &workspace.admin, text(&created, "id"), &header, &json!({})).await.assert_succeeded();
    let records = database::idempotency_records(&workspace.id).await;
    assert_eq!(records.len(), 1);
    let contents = format!("{records:?} {:?}", workspace.contents().await);
    assert!(!contents.contains(&header));
}

#[tokio::test]
async fn a_malformed_header_is_a_400_that_names_it() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "ci"})).await;
    for header in ["short", "has a space in between", &"x".repeat(256)] {
        let answer = rotate(&workspace, &workspace.admin, text(&created, "id"), header, &json!({})).await;
        answer.assert_problem(400, "invalid_request");
        assert_eq!(answer.json()["errors"][0]["header"], "Idempotency-Key", "{header}");
    }
    assert_eq!(workspace.contents().await.events_of("key.rotated", &created["id"]), 0);
}

/// A client that sends the header relies on it, so a `POST` route supports it or refuses it.
#[tokio::test]
async fn every_post_route_of_the_management_api_takes_or_refuses_the_header() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/openapi.yaml"))
        .expect("the document");
    let (_, paths) = document.split_once("\npaths:\n").expect("paths");
    let (supporting, refusing): (Vec<_>, Vec<_>) = openapi::routes("openapi.yaml")
        .into_iter()
        .filter(|(method, _)| method == "POST")
        .map(|(_, route)| route)
        .partition(|route| {
            let (_, operation) =
                paths.split_once(&format!("  {route}:\n    post:\n")).expect("the operation");
            let (operation, _) = operation.split_once("\n      requestBody:").expect("a body");
            operation.contains("- name: Idempotency-Key\n")
        });
    assert_eq!(supporting, ["/api-keys", "/api-keys/{id}/rotate"]);

    let workspace = Workspace::new().await;
    // A report of leaks may be repeated as it is, and ignores the header.
    assert_eq!(refusing, ["/leaks", "/leaks/github", "/sessions", "/sessions/exchange"]);
    for route in refusing.into_iter().filter(|route| !route.starts_with("/leaks")) {
        let url = format!("{}{route}", variable("KEYGATE_API_URL"));
        let request = workspace.api.client().request(Method::POST, url).bearer_auth(&workspace.admin);
        let request = request.header("Idempotency-Key", unique("a-key-that-is-long-enough")).json(&json!({}));
        let answer = Answer::of(request.send().await.expect("a response")).await;
        answer.assert_problem(400, "invalid_request");
        assert_eq!(answer.json()["errors"][0]["header"], "Idempotency-Key", "{route}");
    }
}

//! Legacy keys: they are imported, honoured until the sunset, reported, and deleted with their users.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use keygate::store::legacy_key_transactions::LegacyStore;
use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::context::EventContext;
use keygate_core::environment::Environment;
use keygate_core::error::Error;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::database::{calls, everything, to_json};
use crate::support::function::{Disturbance, Function, Moment, event, token_event};
use crate::support::legacy::{LEGACY, counts, import, imported, legacy_key};
use crate::support::stack::{dynamodb, pepper_versions_with, variable};
use crate::support::workspace::{Workspace, text};
use crate::support::{eventually, eventually_some};

/// The legacy keys of a workspace as they are stored.
async fn stored(workspace: &Workspace) -> Vec<Value> {
    let items = everything("KEYGATE_LEGACY_KEYS_TABLE").await;
    items.iter().map(to_json).filter(|key| key["workspace_id"] == workspace.id).collect()
}

/// The reads of the authorizer since the last call of this function.
fn reads(function: &Function) -> Vec<String> {
    let calls = function.take_calls().into_iter().map(|(operation, _)| operation);
    calls.filter(|operation| ["GetItem", "BatchGetItem"].contains(&operation.as_str())).collect()
}

#[tokio::test]
async fn a_legacy_key_is_accepted_by_every_api_and_marked_in_every_response() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &["orders:read"]).await;
    let bearer = format!("Bearer {key}");
    let (rest, http) =
        tokio::join!(workspace.api.rest_example(Some(&bearer)), workspace.api.http_example(Some(&bearer)));
    for answer in [rest, http] {
        assert_eq!(answer.status, 200, "{answer:?}");
        let caller = &answer.json()["caller"];
        for (name, value) in [
            ("userId", "bob"),
            ("workspaceId", &workspace.id),
            ("keyName", "old"),
            ("scopes", "orders:read"),
            ("credential", "legacy_key"),
            ("expiresAt", LEGACY[0].1),
            ("legacySunset", LEGACY[0].1),
        ] {
            assert_eq!(caller[name], value, "{name}: {caller}");
        }
    }
    assert_eq!(workspace.api.connect(Some(&bearer)).await, 101);

    let me = workspace.call(Method::GET, "/me", &key).await.json();
    assert_eq!(
        (&me["credential"], &me["deprecated"], &me["sunset"]),
        (&json!("legacy_key"), &json!(true), &json!(LEGACY[0].1)),
        "{me}"
    );
    let me = workspace.call(Method::GET, "/me", &workspace.admin).await.json();
    assert_eq!((&me["deprecated"], &me["sunset"]), (&json!(false), &Value::Null), "{me}");

    eventually("the call is written", async || !calls(&workspace.id, "bob").await.is_empty()).await;
    let trail = workspace.activity("?actor=bob").await;
    let call = &trail["items"][0];
    assert_eq!((&call["action"], &call["credential"]), (&json!("key.used"), &json!("legacy_key")), "{trail}");
    let imports = workspace.contents().await.events;
    let imports: Vec<_> = imports.iter().filter(|event| event["action"] == "legacy.imported").collect();
    assert_eq!((imports.len(), &imports[0]["count"]), (1, &json!(1)), "{imports:?}");
    let is_used = async || stored(&workspace).await[0]["last_used_at"] != 0;
    eventually("the last use is stored", is_used).await;
}

#[tokio::test]
async fn a_legacy_key_is_taken_as_bearer_or_in_its_own_header_and_never_beside_another_credential() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &[]).await;
    let api_key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &LEGACY).await;
    for name in ["authorize-rest-request", "authorize-websocket", "authorize-http-1.0", "authorize-http-2.0"]
    {
        let with = |headers: &[(&str, &str)]| {
            let mut event = event(name);
            for (header, value) in headers {
                event["headers"][header] = json!(value);
                if event.get("multiValueHeaders").is_some() {
                    event["multiValueHeaders"][header] = json!([value]);
                }
            }
            event
        };
        let bearer = format!("Bearer {key}");
        for headers in [&[("Authorization", bearer.as_str())][..], &[("x-legacy-KEY", key.as_str())]] {
            let answer = authorizer.invoke(with(headers)).await.expect("a response");
            assert_eq!(answer["context"]["credential"], "legacy_key", "{name} {headers:?}: {answer}");
        }
        for headers in [
            &[("Authorization", bearer.as_str()), ("X-Legacy-Key", key.as_str())][..],
            &[("Authorization", &format!("Bearer {api_key}")), ("X-Legacy-Key", key.as_str())],
            &[("Authorization", key.as_str())],
            &[("X-Api-Key", key.as_str())],
        ] {
            let answer = authorizer.invoke(with(headers)).await;
            let is_refused = answer.as_ref().is_err_and(|error| error == "Unauthorized")
                || answer
                    .as_ref()
                    .is_ok_and(|answer| answer["policyDocument"]["Statement"][0]["Effect"] == "Deny");
            assert!(is_refused, "{name} {headers:?}: {answer:?}");
        }
    }
    // An event of the kind TOKEN does not say which header its identity source is.
    for authorization in [key.clone(), format!("Bearer {key}")] {
        authorizer.invoke(token_event(&authorization)).await.expect("a policy");
    }
}

/// A text that begins with the prefix of this deployment's credentials is never a legacy key, even if the pattern matches it.
#[tokio::test]
async fn a_text_with_this_deployments_brand_is_a_legacy_key_in_no_header() {
    let workspace = Workspace::new().await;
    let key = legacy_key();
    let branded = format!("kg_{key}");
    let digest = |key: &str| {
        let digits: Vec<_> = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        digits.concat()
    };
    let keys: Value = [&key, &branded]
        .map(|key| json!({"sha256": digest(key), "user_id": "bob", "name": "old"}))
        .into_iter()
        .collect();
    assert_eq!(counts(&import(&workspace, keys).await), [2, 0, 0]);
    let settings = [LEGACY[0], ("LEGACY_PATTERN", "(kg_)?old-[0-9a-f]{32}"), LEGACY[2]];
    let authorizer = Function::start("authorize", &settings).await;
    for (text, is_taken) in [(&key, true), (&branded, false)] {
        for (header, value) in [("Authorization", format!("Bearer {text}")), ("X-Legacy-Key", text.clone())] {
            let mut event = event("authorize-http-2.0");
            event["headers"][header] = json!(value);
            let answer = authorizer.invoke(event).await.expect("a response");
            let effect = &answer["policyDocument"]["Statement"][0]["Effect"];
            assert_eq!(effect, if is_taken { "Allow" } else { "Deny" }, "{header} {is_taken}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_text_outside_the_pattern_costs_no_read_and_an_unknown_legacy_key_costs_one() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &[]).await;
    let authorizer = Function::start("authorize", &LEGACY).await;
    authorizer.take_calls();
    for garbage in [&key[..35], &format!("{key}0"), &key.to_uppercase(), "old-", "x"] {
        let answer = authorizer.invoke(token_event(&format!("Bearer {garbage}"))).await;
        assert_eq!(answer, Err("Unauthorized".to_owned()));
        assert!(reads(&authorizer).is_empty(), "{garbage}");
    }
    let unknown = authorizer.invoke(token_event(&format!("Bearer {}", legacy_key()))).await;
    assert_eq!(unknown, Err("Unauthorized".to_owned()));
    assert_eq!(reads(&authorizer), ["BatchGetItem"]);
    authorizer.invoke(token_event(&format!("Bearer {key}"))).await.expect("a policy");
    assert_eq!(reads(&authorizer), ["BatchGetItem"]);
    // Without a sunset there are no legacy keys, so nothing is read.
    let without = Function::start("authorize", &LEGACY[1..]).await;
    without.take_calls();
    let answer = without.invoke(token_event(&format!("Bearer {key}"))).await;
    assert_eq!((answer, reads(&without)), (Err("Unauthorized".to_owned()), Vec::new()));
}

#[tokio::test]
async fn from_the_second_of_the_sunset_on_no_legacy_key_works_not_even_a_cached_one() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &[]).await;
    let event = || token_event(&format!("Bearer {key}"));
    let sunset =
        DateTime::from_timestamp((Utc::now() + TimeDelta::seconds(4)).timestamp(), 0).expect("a time");
    let text_of_sunset = sunset.to_rfc3339_opts(SecondsFormat::Secs, true);
    let settings = [("LEGACY_SUNSET", text_of_sunset.as_str()), LEGACY[1], ("CACHE_SECONDS", "300")];
    let authorizer = Function::start("authorize", &settings).await;
    authorizer.take_calls();
    let answer = authorizer.invoke(event()).await.expect("a policy");
    let condition = &answer["policyDocument"]["Statement"][0]["Condition"];
    assert_eq!(condition["DateLessThan"]["aws:CurrentTime"], json!([text_of_sunset]), "{answer}");
    eventually("the sunset passes", async || {
        let before = Utc::now();
        let answer = authorizer.invoke(event()).await;
        let after = Utc::now();
        if answer.is_ok() {
            assert!(before < sunset, "accepted at {before}");
        } else {
            assert!(sunset <= after, "refused at {after}");
        }
        answer.is_err()
    })
    .await;
    assert_eq!(reads(&authorizer), ["BatchGetItem"], "the first time");
    let refused = |line: &Value| line["reason"] == "sunset" && line["decision"] == "refused";
    assert!(authorizer.log_lines().iter().any(|line| refused(line) || refused(&line["fields"])));
}

#[tokio::test]
async fn a_legacy_key_makes_no_other_credential() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &["workspace:admin"]).await;
    let created = workspace.created(json!({"name": "a", "user_id": "bob"})).await;
    let id = text(&created, "id");
    assert_eq!(workspace.get(&key, id).await.status, 200);
    let refused = workspace.create(&key, &json!({"name": "b"})).await;
    refused.assert_problem(403, "insufficient_credential");
    assert_eq!(
        refused.json()["detail"],
        "This requires an API key with its current secret, not a legacy key."
    );
    workspace.rotate(&key, id, &json!({})).await.assert_problem(403, "insufficient_credential");
    let widened = workspace.update(&key, id, &json!({"scopes": ["orders:read"]})).await;
    widened.assert_problem(403, "insufficient_credential");
    let own_id = text(&stored(&workspace).await[0], "key_id").to_owned();
    for client in [own_id.as_str(), id] {
        let form =
            [("grant_type", "client_credentials"), ("client_id", client), ("client_secret", key.as_str())];
        workspace.oauth("token", None, &form).await.assert_oauth_error(401, "invalid_client");
    }
    workspace.contents().await;
}

#[tokio::test]
async fn importing_again_changes_nothing_whatever_pepper_is_current() {
    let workspace = Workspace::new().await;
    let keys: Vec<_> = (0..60).map(|_| legacy_key()).collect();
    let batch = |user: &str| -> Value {
        let key = |key: &String| json!({"key": key, "user_id": user, "name": "old"});
        keys.iter().chain(&keys[..1]).map(key).collect()
    };
    assert_eq!(counts(&import(&workspace, batch("bob")).await), [60, 1, 0]);
    assert_eq!(counts(&import(&workspace, batch("bob")).await), [0, 61, 0]);
    assert_eq!(counts(&import(&workspace, batch("eve")).await), [0, 0, 61]);
    let versions = pepper_versions_with("2");
    let peppers = [("PEPPER_VERSIONS", versions.as_str()), ("CURRENT_PEPPER_VERSION", "2")];
    let settings = [&peppers[..], &LEGACY[..2]].concat();
    let importer = Function::start("import-legacy-keys", &settings).await;
    for (user, expected) in [("bob", [0, 61, 0]), ("eve", [0, 0, 61])] {
        let event = json!({"import": {"workspace_id": workspace.id, "keys": batch(user)}});
        assert_eq!(counts(&importer.invoke(event).await.expect("a response")), expected);
    }
    let stored = stored(&workspace).await;
    assert_eq!(stored.len(), 60);
    assert!(stored.iter().all(|key| key["user_id"] == "bob"));
    // A year after the sunset, so that one that is postponed finds its keys.
    let sunset = DateTime::parse_from_rfc3339(LEGACY[0].1).expect("a time").timestamp();
    assert_eq!(stored[0]["ttl"], sunset + 365 * 24 * 60 * 60);
    let events = workspace.contents().await.events;
    let counts = events.iter().filter(|event| event["action"] == "legacy.imported");
    assert_eq!(counts.filter_map(|event| event["count"].as_i64()).sum::<i64>(), 60);
}

#[tokio::test]
async fn a_removed_users_legacy_keys_are_deleted_even_where_the_others_are_handed_over() {
    for query in ["", "?transfer_to=svc:heir"] {
        let workspace = Workspace::new().await;
        let keys = [imported(&workspace, "bob", &[]).await, imported(&workspace, "bob", &[]).await];
        let carols = imported(&workspace, "carol", &[]).await;
        let ids: Vec<_> =
            stored(&workspace).await.into_iter().filter(|key| key["user_id"] == "bob").collect();
        workspace.remove("bob", query).await;
        eventually("bob's legacy keys end", async || stored(&workspace).await.len() == 1).await;
        for key in &keys {
            assert!(!workspace.accepts(key).await);
        }
        assert!(workspace.accepts(&carols).await, "other users' keys stay");
        let contents = workspace.contents().await;
        for key in ids {
            assert_eq!(contents.events_of("legacy.deleted", &key["key_id"]), 1, "{query}");
        }
    }
}

#[tokio::test]
async fn a_removal_that_is_killed_anywhere_among_the_legacy_keys_goes_on_when_it_is_run_again() {
    for (call, moment) in (0..5).flat_map(|call| [(call, Moment::Before), (call, Moment::After)]) {
        let workspace = Workspace::new().await;
        let keys: Value =
            (0..2).map(|_| json!({"key": legacy_key(), "user_id": "bob", "name": "old"})).collect();
        import(&workspace, keys).await;
        let ids = stored(&workspace).await;
        let removal = json!({"workspace_id": workspace.id, "user_id": "bob"});
        let killed = Function::start("process-user-removal", &LEGACY[..1]).await;
        killed.disturb(Disturbance::KillAt(call, moment));
        assert!(
            !killed.survives(removal.clone()).await,
            "call {call}: mark, members, index, and one for each key"
        );
        let again = Function::start("process-user-removal", &LEGACY[..1]).await;
        assert_eq!(again.invoke(removal).await, Ok(Value::Null));
        assert!(stored(&workspace).await.is_empty(), "{call} {moment:?}");
        let contents = workspace.contents().await;
        for key in ids {
            assert_eq!(contents.events_of("legacy.deleted", &key["key_id"]), 1, "{call} {moment:?}");
        }
    }
}

#[tokio::test]
async fn of_a_user_who_is_not_removed_no_legacy_key_is_deleted() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &[]).await;
    let environment: Environment = ["LEGACY_KEYS_TABLE", "WORKSPACES_TABLE", "ACTIVITY_TABLE"]
        .map(|name| (name.to_owned(), variable(&format!("KEYGATE_{name}"))))
        .into_iter()
        .collect();
    let store = LegacyStore::new(dynamodb(), &environment).expect("complete settings");
    let (id, bob) = (workspace.id.parse().expect("a workspace"), "bob".parse().expect("a user"));
    let keys = eventually_some("the key is in the index", async || {
        let keys = store.keys.of_user(&id, &bob).await.expect("the index can be read");
        (!keys.is_empty()).then_some(keys)
    })
    .await;
    let now = Utc::now();
    let context = EventContext::without_request(&id, &bob, now);
    let event = AuditEvent::for_key(Action::LegacyDeleted, context, keys[0].key_id, &bob);
    let deleted = store.delete_of_removed_user(&keys[0], (&id, &bob), now, &event).await;
    assert!(matches!(deleted, Err(Error::UserReinstated)), "{deleted:?}");
    assert!(workspace.accepts(&key).await);
    workspace.contents().await;
}

/// Functions that read an index learn what it holds. The table's key is in every index.
#[tokio::test]
async fn the_indexes_of_legacy_keys_hold_only_the_shown_attributes() {
    let description =
        dynamodb().describe_table().table_name(variable("KEYGATE_LEGACY_KEYS_TABLE")).send().await;
    let table = description.expect("the table is there").table.expect("a description");
    let indexes = table.global_secondary_indexes.expect("indexes");
    assert_eq!(indexes.len(), 2);
    for index in indexes {
        let projection = index.projection.expect("a projection");
        let mut attributes = projection.non_key_attributes.expect("attributes");
        attributes.retain(|attribute| attribute != "workspace_id");
        attributes.sort();
        assert_eq!(attributes, ["imported_at", "last_used_at", "name", "scopes", "ttl", "user_id"]);
    }
}

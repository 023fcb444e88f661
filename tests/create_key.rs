//! `POST /api-keys`.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::workspace::{Workspace, id_of, keys_url};

#[tokio::test]
async fn a_key_is_created_and_shown_once() {
    let workspace = Workspace::new().await;
    let body = json!({"name": " Build server ", "description": "runs the tests", "scopes": ["orders:read"],
        "endpoints": ["GET /orders/*"], "networks": ["203.0.113.7"], "metadata": {"env": "live"},
        "expires_at": "2099-12-31T23:59:59.5Z"});
    let answer = workspace.create(&workspace.admin, &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("etag"), Some("\"1\""));

    let mut key = answer.json();
    let members = key.as_object_mut().expect("an object");
    let text = members.remove("key").expect("the key itself");
    let text = text.as_str().expect("a string");
    let id = members.remove("id").expect("an id");
    assert_eq!(id, id_of(text));
    assert!(members.remove("created_at").expect("a time").as_str().is_some_and(|time| time.ends_with('Z')));
    assert_eq!(
        key,
        json!({
            "name": "Build server", "description": "runs the tests", "prefix": format!("kg_key_{}", id_of(text)),
            "user_id": "admin", "created_by": "admin", "expires_at": "2099-12-31T23:59:59Z", "last_used_at": null, "last_used_from": null,
            "status": "active", "leaked_at": null, "scopes": ["orders:read"], "endpoints": ["GET /orders/*"],
            "networks": ["203.0.113.7/32"], "metadata": {"env": "live"}, "limits": [],
            "previous_expires_at": null,
        })
    );

    let list = workspace.list(&workspace.admin, "").await;
    assert!(
        list.text.contains(id_of(text)) && !list.text.contains(text),
        "the list shows the key without its text"
    );
    assert_eq!(workspace.contents().await.keys.len(), 2);
}

#[tokio::test]
async fn a_key_works_until_it_expires() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "short", "expires_in": 3600})).await;
    let life = |time: &Value| {
        chrono::DateTime::parse_from_rfc3339(time.as_str().expect("a time")).expect("RFC 3339")
    };
    let seconds = (life(&created["expires_at"]) - life(&created["created_at"])).num_seconds();
    assert_eq!(seconds, 3600);
    workspace.contents().await;
}

#[tokio::test]
async fn a_name_is_taken_for_all_names_that_read_the_same() {
    let workspace = Workspace::new().await;
    workspace.created(json!({"name": "Straße"})).await;
    for name in ["Straße", "STRASSE", "  strasse ", "ｓｔｒａｓｓｅ"] {
        workspace.create(&workspace.admin, &json!({"name": name})).await.assert_problem(409, "name_taken");
    }
    workspace.contents().await;
}

#[tokio::test]
async fn another_workspace_has_names_of_its_own() {
    let (one, other) = tokio::join!(Workspace::new(), Workspace::new());
    one.created(json!({"name": "ci"})).await;
    other.created(json!({"name": "ci"})).await;
}

#[tokio::test]
async fn of_64_concurrent_creates_of_one_name_exactly_one_succeeds() {
    let workspace = Workspace::new().await;
    let mut creates = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (api, key) = (workspace.api.clone(), workspace.admin.clone());
        creates.spawn(async move {
            api.send(Method::POST, &keys_url(""), Some(&key), Some(&json!({"name": "wanted by all"}))).await
        });
    }
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    while let Some(answer) = creates.join_next().await {
        let answer = answer.expect("a response");
        *statuses.entry(answer.status).or_default() += 1;
        if answer.status != 201 {
            answer.assert_problem(409, "name_taken");
        }
    }
    assert_eq!(statuses, BTreeMap::from([(201, 1), (409, 63)]));

    let contents = workspace.contents().await;
    assert_eq!(contents.keys.len(), 2, "the administrator's and the one");
    assert_eq!(contents.entries["USER#admin"]["key_count"], 2);
    assert_eq!(contents.events.len(), 2);
}

#[tokio::test]
async fn a_user_has_at_most_as_many_keys_as_the_quota_says() {
    let workspace = Workspace::new().await;
    for index in 0..100 {
        workspace.created(json!({"name": format!("key {index}"), "user_id": "bob"})).await;
    }
    let one_more = json!({"name": "one more", "user_id": "bob"});
    workspace.create(&workspace.admin, &one_more).await.assert_problem(409, "quota_exceeded");
    workspace.created(json!({"name": "one more", "user_id": "carol"})).await;
    assert_eq!(workspace.contents().await.entries["USER#bob"]["key_count"], 100);
}

#[tokio::test]
async fn a_removed_user_gets_no_key() {
    let workspace = Workspace::new().await;
    workspace.created(json!({"name": "before", "user_id": "bob"})).await;
    workspace.remove("bob", "").await;
    let after = json!({"name": "after", "user_id": "bob"});
    workspace.create(&workspace.admin, &after).await.assert_problem(409, "user_removed");
}

/// A truth table: caller, key, and whether the caller may create it.
#[tokio::test]
async fn a_caller_cannot_create_a_key_with_more_than_it_holds() {
    let workspace = Workspace::new().await;
    let reader = workspace.key_of("bob", &["keys:read"]).await;
    let writer = workspace.key_of("bob", &["keys:write", "orders:read"]).await;
    // key, body, status, code
    let table = [
        (&reader, json!({"name": "1"}), 403, "insufficient_scope"),
        (&writer, json!({"name": "2"}), 201, ""),
        (&writer, json!({"name": "3", "user_id": "bob"}), 201, ""),
        (&writer, json!({"name": "4", "user_id": "carol"}), 403, "forbidden"),
        (&writer, json!({"name": "5", "scopes": ["orders:read"]}), 201, ""),
        (&writer, json!({"name": "6", "scopes": ["orders:read", "orders:write"]}), 403, "insufficient_scope"),
        (&writer, json!({"name": "7", "scopes": ["workspace:admin"]}), 403, "insufficient_scope"),
        (&workspace.admin, json!({"name": "8", "user_id": "carol", "scopes": ["anything:at-all"]}), 201, ""),
        (&workspace.admin, json!({"name": "9", "scopes": ["workspace:admin"]}), 201, ""),
    ];
    for (key, body, status, code) in table {
        let answer = workspace.create(key, &body).await;
        if status == 201 {
            assert_eq!(answer.status, 201, "{body}: {answer:?}");
        } else {
            answer.assert_problem(status, code);
        }
    }
    workspace.contents().await;
}

#[tokio::test]
async fn bad_input_is_a_400_that_names_every_field() {
    let workspace = Workspace::new().await;
    let table = [
        (json!({}), vec!["/name"]),
        (json!({"name": ""}), vec!["/name"]),
        (json!({"name": "n".repeat(10_000)}), vec!["/name"]),
        (json!({"name": "a\u{0}b"}), vec!["/name"]),
        (json!({"name": "a\u{7f}b"}), vec!["/name"]),
        (json!({"name": 7, "scopes": [[]], "expires_in": "1"}), vec!["/name", "/expires_in", "/scopes/0"]),
        (json!({"name": "a", "expires_at": "2020-01-01T00:00:00Z"}), vec!["/expires_at"]),
        (json!({"name": "a", "expires_at": "tomorrow"}), vec!["/expires_at"]),
        (json!({"name": "a", "expires_in": -1}), vec!["/expires_in"]),
        (json!({"name": "a", "endpoints": ["GET /orders", "GET orders"]}), vec!["/endpoints/1"]),
        (json!({"name": "a", "admin": true, "hash": "x"}), vec!["/admin", "/hash"]),
        (json!({"name": "a", "user_id": "bob#carol"}), vec!["/user_id"]),
        (json!([]), vec![""]),
        (json!("name"), vec![""]),
        (Value::Null, vec![""]),
    ];
    for (body, places) in table {
        assert_eq!(workspace.create(&workspace.admin, &body).await.invalid_places(), places, "{body}");
    }
    for text in [
        "",
        "{",
        "{\"name\": \"a\"} trailing",
        "name=a",
        "\u{feff}\u{feff}{\"name\":\"a\"}",
        &"[".repeat(10_000),
    ] {
        let answer = workspace.create_text(&workspace.admin, text.to_owned()).await;
        assert_eq!(answer.invalid_places(), [""], "{text}");
    }
    assert_eq!(workspace.contents().await.keys.len(), 1, "invalid requests create no key");
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_and_one_that_is_not_json_a_415() {
    let workspace = Workspace::new().await;
    let long = json!({"name": "a", "description": "d".repeat(20_000)});
    workspace.create(&workspace.admin, &long).await.assert_problem(413, "payload_too_large");

    let request = workspace.api.client().post(keys_url("")).bearer_auth(&workspace.admin).body("name=a");
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    let answer = crate::support::stack::Answer::of(request.send().await.expect("a response")).await;
    answer.assert_problem(415, "unsupported_media_type");
    workspace.contents().await;
}

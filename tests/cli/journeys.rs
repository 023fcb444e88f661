//! Each command, once and whole.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Keygate, assert_document, remember};
use crate::support::function::{Function, binary, token_event};
use crate::support::legacy::imported;
use crate::support::workspace::{Workspace, id_of, text};
use crate::support::{eventually, stack};

#[tokio::test]
async fn a_key_is_created_changed_rotated_and_deleted() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    let created = keygate
        .json(&[
            "keys",
            "create",
            "nightly export",
            "--description",
            "for the reports",
            "--user-id",
            "svc:export",
            "--scope",
            "orders:read,orders:write",
            "--endpoint",
            "GET /echo",
            "--network",
            "0.0.0.0/0",
            "--metadata",
            "env=live",
            "--expires-in",
            "90d",
        ])
        .await;
    let (id, key) = (text(&created["item"], "id").to_owned(), text(&created["item"], "key").to_owned());
    assert_eq!(created["item"]["scopes"], json!(["orders:read", "orders:write"]));
    assert!(workspace.accepts(&key).await);

    let listed = keygate.json(&["keys", "list", "--metadata", "env=live", "--sort", "created_at"]).await;
    assert_eq!((&listed["items"][0]["id"], &listed["more"]), (&json!(id), &json!(false)));
    let changed = keygate.json(&["keys", "update", &id, "--name", "weekly export", "--no-networks"]).await;
    assert_eq!(
        (&changed["item"]["name"], &changed["item"]["networks"]),
        (&json!("weekly export"), &json!([]))
    );
    assert_eq!(changed["item"]["endpoints"], json!(["GET /echo"]), "what is not named stays");
    assert_eq!(keygate.json(&["keys", "disable", &id]).await["item"]["status"], "disabled");
    assert_eq!(keygate.json(&["keys", "show", &id]).await["item"]["status"], "disabled");
    assert_eq!(keygate.json(&["keys", "enable", &id]).await["item"]["status"], "active");

    let rotated = keygate.json(&["keys", "rotate", &id, "--overlap", "1h"]).await;
    assert!(workspace.accepts(&key).await, "the old secret, in the overlap");
    assert!(workspace.accepts(text(&rotated["item"], "key")).await);
    keygate.json(&["keys", "delete", &id, "--yes"]).await;
    assert_eq!(workspace.get(&workspace.admin, &id).await.status, 404);
    workspace.contents().await;
}

#[tokio::test]
async fn a_long_list_is_read_page_by_page() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    for number in 0..104 {
        workspace
            .created(json!({"name": format!("key {number}"), "user_id": format!("user-{}", number % 4)}))
            .await;
    }
    let all = keygate.json(&["keys", "list", "--all"]).await;
    assert_eq!((all["items"].as_array().map(Vec::len), &all["more"]), (Some(105), &json!(false)));
    let some = keygate.json(&["keys", "list", "--limit", "102"]).await;
    assert_eq!((some["items"].as_array().map(Vec::len), &some["more"]), (Some(102), &json!(true)));
    assert_eq!(
        some["items"].as_array().map(|items| &items[..]),
        all["items"].as_array().map(|items| &items[..102])
    );
}

#[tokio::test]
async fn the_tokens_of_a_key_are_listed_and_revoked() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let tokens = [workspace.access_token(&key).await, workspace.access_token(&key).await];
    let listed = keygate.json(&["tokens", "list", id_of(&key)]).await;
    let id = text(&listed["items"][0], "id").to_owned();
    keygate.json(&["tokens", "revoke", id_of(&key), &id]).await;
    let left = keygate.json(&["tokens", "list", id_of(&key)]).await;
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1));
    let revoked = keygate.run(&["tokens", "revoke", id_of(&key), "--all"]).await;
    assert_eq!(revoked.ok(), format!("All tokens of key {} are revoked.", id_of(&key)));
    for token in tokens {
        assert!(!workspace.accepts(&token).await);
    }
}

#[tokio::test]
async fn a_user_is_removed_and_reinstated() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    let key = workspace.key_of("bob", &[]).await;
    let removal = keygate.json(&["users", "remove", "bob", "--yes"]).await;
    assert_eq!(removal["item"]["found"]["api_keys"], 1);
    workspace.until_refused(&key).await;
    workspace.until_cleared("bob").await;
    keygate.json(&["users", "reinstate", "bob"]).await;
    let again = workspace.key_of("bob", &[]).await;
    assert!(workspace.accepts(&again).await);
}

#[tokio::test]
async fn a_session_is_opened_and_ended() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    let opened = keygate.json(&["sessions", "open", "bob", "--scope", "keys:write", "--ttl", "10m"]).await;
    let (id, session) = (text(&opened["item"], "id"), text(&opened["item"], "session"));
    let mine = Keygate::with_key(session);
    assert_eq!(mine.json(&["whoami"]).await["item"]["user_id"], "bob");
    keygate.json(&["sessions", "end", id]).await;
    mine.run(&["whoami"]).await.assert_failed(4, &[]);

    let page = keygate.path("page");
    let to_page = page.to_str().expect("UTF-8");
    let opened = keygate
        .json(&["sessions", "open", "bob", "--scope", "keys:write", "--page-url", "--output", to_page])
        .await;
    assert_eq!((&opened["item"]["session"], &opened["item"]["page_url"]), (&json!(null), &json!(null)));
    assert!(std::fs::read_to_string(page).expect("the file").starts_with("http"));
}

#[tokio::test]
async fn calls_are_counted_and_events_are_listed() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[("LAST_USED_INTERVAL", "0")]).await;
    authorizer.invoke(token_event(&format!("Bearer {key}"))).await.expect("a policy");
    eventually("the calls are counted", async || {
        let usage = keygate.json(&["usage", id_of(&key), "--per", "day"]).await;
        let counted: u64 =
            usage["items"].as_array().expect("rows").iter().filter_map(|item| item["allowed"].as_u64()).sum();
        counted > 0
    })
    .await;
    let events = keygate.json(&["activity", "--key-id", id_of(&key), "--action", "key.created"]).await;
    assert_eq!(events["items"][0]["actor"], "admin");
}

#[tokio::test]
async fn new_events_are_followed() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    let mut following = keygate
        .command(&binary("keygate"))
        .args(["activity", "--follow", "--json", "--action", "key.created"])
        .spawn()
        .expect("the command starts");
    let mut lines = BufReader::new(following.stdout.take().expect("its output")).lines();
    // The key is made after the first poll or before it: the command began a second before at the latest.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for name in ["one", "two"] {
        let created = workspace.created(json!({"name": name})).await;
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await.expect("in time");
        let event = serde_json::from_str(&line.expect("a line").expect("not the end")).expect("JSON");
        assert_document("activity --follow", &event).await;
        assert_eq!(event["item"]["key_id"], created["id"], "each event once, in order");
    }
    following.kill().await.expect("it runs until it is ended");
}

#[tokio::test]
async fn leaked_credentials_are_reported_without_a_key() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::new().set("KEYGATE_API_URL", &stack::variable("KEYGATE_API_URL"));
    let keys = [workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await];
    let reported = keygate.run_with_input(&["leaks", "report"], &format!("{}\n\nnothing\n", keys[0])).await;
    assert_eq!(reported.ok(), "2 texts are reported.");
    let file = keygate.file("found.txt", &keys[1]);
    keygate.json(&["leaks", "report", file.to_str().expect("UTF-8")]).await;
    for key in keys {
        assert!(!workspace.accepts(&key).await);
    }
    keygate.run(&["leaks", "report"]).await.assert_failed(2, &["nothing to report"]);
}

#[tokio::test]
async fn legacy_keys_are_listed_and_deleted() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    let key = imported(&workspace, "bob", &["orders:read"]).await;
    let listed = keygate.json(&["legacy", "list", "--user-id", "bob"]).await;
    let id = text(&listed["items"][0], "id");
    keygate.json(&["legacy", "delete", id, "--yes"]).await;
    workspace.until_refused(&key).await;
}

#[tokio::test]
async fn a_key_that_was_created_by_a_lost_response_is_not_created_again() {
    let workspace = Workspace::new().await;
    let url = super::scripted::losing_the_first_response_of(&stack::variable("KEYGATE_API_URL")).await;
    let keygate = Keygate::of(&workspace).set("KEYGATE_API_URL", &url);
    let created = keygate.run(&["keys", "create", "once"]).await;
    let key = created.ok();
    remember(key);
    assert!(created.stderr.contains("attempt 2 of 5"), "{created:?}");
    assert!(workspace.accepts(key).await);
    let names = Keygate::of(&workspace).json(&["keys", "list", "--name", "once"]).await;
    assert_eq!(names["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_deletion_whose_response_was_lost_is_done() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let url = super::scripted::losing_the_first_response_of(&stack::variable("KEYGATE_API_URL")).await;
    let keygate = Keygate::of(&workspace).set("KEYGATE_API_URL", &url);
    let deleted = keygate.run(&["keys", "delete", id_of(&key), "--yes"]).await;
    assert_eq!(deleted.ok(), format!("Key {} is deleted.", id_of(&key)));
}

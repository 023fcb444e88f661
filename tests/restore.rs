//! `keygate restore`: a table that was restored to a point in time comes back, and nothing that was revoked since.
//!
//! DynamoDB Local restores no tables. A table with a copy of items is what AWS's would be.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::cli::{Done, Keygate, assert_document};
use crate::support::database::{Item, everything, key, put_request, to_json, write_batches};
use crate::support::eventually;
use crate::support::function::binary;
use crate::support::legacy::{import, legacy_key};
use crate::support::stack::{dynamodb, run_folder, variable};
use crate::support::tables::{create_like, remove_key};
use crate::support::workspace::{Workspace, id_of, unique};

/// A restored table, and what it was restored from.
struct Restored {
    table: String,
    word: &'static str,
    to: String,
    keygate: Keygate,
}

impl Restored {
    /// A copy of the items of a table, by the variable of its name, as they are now.
    async fn of(word: &'static str, name: &str, is_wanted: impl Fn(&Value) -> bool) -> Self {
        let table = unique("restored");
        create_like(&table, &variable(name)).await;
        let items: Vec<Item> = everything(name).await;
        let wanted = items.into_iter().filter(|item| is_wanted(&to_json(item)));
        write_batches(&dynamodb(), &table, wanted.map(put_request).collect()).await;
        let to = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        Self { table, word, to, keygate: Keygate::in_aws() }
    }

    async fn run(&self, more: &[&str]) -> Done {
        self.keygate.run(&self.arguments(more)).await
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let own = ["restore", "--table", self.word, "--from", &self.table, "--restored-at", &self.to];
        [&own, more].concat()
    }

    /// The counts of a run.
    async fn counts(&self, more: &[&str]) -> Value {
        let path = self.progress_file();
        let more = [more, &["--json", "--progress-file", &path]].concat();
        let done = self.run(&more).await;
        let document: Value = serde_json::from_str(done.ok()).expect("JSON");
        assert_document("restore", &document).await;
        assert!(!std::path::Path::new(&path).exists(), "nothing is left to do");
        document["item"].clone()
    }

    fn progress_file(&self) -> String {
        run_folder().join(format!("{}.progress", self.table)).to_str().expect("UTF-8").to_owned()
    }
}

/// Compares those of the counts that are not 0.
#[track_caller]
fn assert_counts(counts: &Value, expected: &[(&str, u64)]) {
    let counts: Vec<_> = counts.as_object().expect("an object").iter().collect();
    let mut counts: Vec<_> = counts
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_u64().filter(|count| *count > 0)?)))
        .collect();
    counts.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(counts, expected);
}

/// Whether an item is of a workspace, or of one of these keys.
fn of<'a>(workspace: &'a Workspace, ids: &'a [&'a str]) -> impl Fn(&Value) -> bool + 'a {
    move |item| {
        let belongs = |id: &&str| item["key_id"] == **id;
        item["workspace_id"] == workspace.id || item.get("workspace_id").is_none() && ids.iter().any(belongs)
    }
}

/// Deletes an item of a table as a mistake of an operator does: without an event.
async fn lose(name: &str, key: &[(&str, &str)]) {
    let key = key.iter().map(|(name, value)| ((*name).to_owned(), AttributeValue::S((*value).to_owned())));
    let delete = dynamodb().delete_item().table_name(variable(name)).set_key(Some(key.collect()));
    delete.send().await.expect("the item can be deleted");
}

#[tokio::test]
async fn lost_keys_come_back_and_revoked_ones_do_not() {
    let workspace = Workspace::in_which_time_passes().await;
    let [lost, deleted, updated, rotated, tampered, of_gone] = [
        workspace.key_of("bob", &["orders:read"]).await,
        workspace.key_of("bob", &[]).await,
        workspace.key_of("bob", &["orders:read", "orders:write"]).await,
        workspace.key_of("bob", &[]).await,
        workspace.key_of("bob", &["orders:read"]).await,
        workspace.key_of("gone", &[]).await,
    ];
    let ids = [&lost, &deleted, &updated, &rotated, &tampered, &of_gone].map(|key| id_of(key));
    let keys = Restored::of("keys", "KEYGATE_KEYS_TABLE", of(&workspace, &[])).await;
    let entries = Restored::of("workspaces", "KEYGATE_WORKSPACES_TABLE", of(&workspace, &[])).await;
    let uses = Restored::of("usage", "KEYGATE_USAGE_TABLE", of(&workspace, &ids)).await;

    // What happened since.
    assert_eq!(workspace.delete(&workspace.admin, id_of(&deleted)).await.status, 204);
    let narrower = json!({"scopes": ["orders:read"]});
    assert_eq!(workspace.update(&workspace.admin, id_of(&updated), &narrower).await.status, 200);
    assert_eq!(workspace.rotate(&workspace.admin, id_of(&rotated), &json!({})).await.status, 200);
    workspace.remove("gone", "").await;
    // The damage: items are lost or changed past Keygate.
    let folded = key(id_of(&lost)).await["name_folded"].as_str().expect("a name").to_owned();
    for id in [id_of(&lost), id_of(&rotated)] {
        remove_key(&variable("KEYGATE_KEYS_TABLE"), id).await;
    }
    let member = format!("MEMBER#bob#{}", id_of(&lost));
    for entry in [&format!("NAME#{folded}"), &member] {
        lose("KEYGATE_WORKSPACES_TABLE", &[("workspace_id", &workspace.id), ("entry", entry)]).await;
    }
    lose("KEYGATE_USAGE_TABLE", &[("key_id", id_of(&lost)), ("entry", "LAST")]).await;
    let widened = AttributeValue::L(vec![AttributeValue::S("workspace:admin".to_owned())]);
    let tamper = dynamodb()
        .update_item()
        .table_name(variable("KEYGATE_KEYS_TABLE"))
        .key("key_id", AttributeValue::S(id_of(&tampered).to_owned()))
        .update_expression("SET scopes = :scopes")
        .expression_attribute_values(":scopes", widened);
    tamper.send().await.expect("the key can be changed");
    assert!(!workspace.accepts(&lost).await);

    let expected = [
        ("read", 7),
        ("same", 1),
        ("added", 1),
        ("replaced", 1),
        ("newer", 1),
        ("changed_since", 2),
        ("of_removed_users", 1),
    ];
    assert_counts(&keys.counts(&["--dry-run"]).await, &expected);
    assert!(!workspace.accepts(&lost).await, "nothing is written");
    let dry = keys.run(&["--dry-run"]).await;
    assert!(dry.ok().contains("would be written: 1 that were missing, 1 that differed"), "{dry:?}");
    for (key, what) in
        [(&deleted, "key.deleted at 2"), (&rotated, "key.rotated at 2"), (&updated, "is newer")]
    {
        let told = format!("not written: key {} of workspace {}: {what}", id_of(key), workspace.id);
        assert!(dry.stderr.contains(&told), "{told}: {dry:?}");
    }

    assert_counts(&keys.counts(&["--yes"]).await, &expected);
    assert!(workspace.accepts(&lost).await);
    for revoked in [&deleted, &rotated, &of_gone] {
        assert!(!workspace.accepts(revoked).await);
    }
    assert_eq!(key(id_of(&tampered)).await["scopes"], json!(["orders:read"]));
    assert_eq!(key(id_of(&updated)).await["scopes"], json!(["orders:read"]), "it is as it was changed");
    let again = keys.counts(&["--yes"]).await;
    assert_eq!((&again["added"], &again["replaced"], &again["same"]), (&json!(0), &json!(0), &json!(3)));

    // Names and members of keys that did not come back stay away too, and counts of users are as they are.
    let counts = entries.counts(&["--yes"]).await;
    assert_eq!(counts["added"], 2, "{counts}");
    assert_eq!(counts["without_key"], 4, "those of the deleted key and of the removed user's: {counts}");
    let counts = uses.counts(&["--yes"]).await;
    assert_eq!((&counts["added"], &counts["without_key"]), (&json!(1), &json!(2)), "{counts}");
    let listed = workspace.list(&workspace.admin, "?user_id=bob").await.json();
    let listed: Vec<_> =
        listed["items"].as_array().expect("keys").iter().map(|key| key["id"].clone()).collect();
    assert!(listed.contains(&json!(id_of(&lost))) && !listed.contains(&json!(id_of(&deleted))), "{listed:?}");
}

/// Changes an attribute of an item past Keygate.
async fn tamper(name: &str, key: &[(&str, &str)], attribute: &str, value: i64) {
    let key = key.iter().map(|(name, value)| ((*name).to_owned(), AttributeValue::S((*value).to_owned())));
    let update = dynamodb()
        .update_item()
        .table_name(variable(name))
        .set_key(Some(key.collect()))
        .update_expression("SET #attribute = :value")
        .expression_attribute_names("#attribute", attribute)
        .expression_attribute_values(":value", AttributeValue::N(value.to_string()));
    update.send().await.expect("the item can be changed");
}

#[tokio::test]
async fn a_live_key_that_looks_older_is_not_overwritten_if_it_was_revoked_since_or_is_disabled() {
    let workspace = Workspace::in_which_time_passes().await;
    let [rotated, disabled] = [workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await];
    let ids = [id_of(&rotated), id_of(&disabled)];
    let is_wanted = |item: &Value| ids.iter().any(|id| item["key_id"] == *id);
    let keys = Restored::of("keys", "KEYGATE_KEYS_TABLE", is_wanted).await;
    assert_eq!(workspace.rotate(&workspace.admin, ids[0], &json!({})).await.status, 200);
    tamper("KEYGATE_KEYS_TABLE", &[("key_id", ids[0])], "revision", 0).await;
    tamper("KEYGATE_KEYS_TABLE", &[("key_id", ids[1])], "disabled_at", 1).await;

    assert_counts(&keys.counts(&["--yes"]).await, &[("read", 2), ("changed_since", 1), ("newer", 1)]);
    let told = keys.run(&["--yes", "--dry-run"]).await;
    assert!(told.stderr.contains("is disabled in the live table"), "{told:?}");
    assert!(!workspace.accepts(&rotated).await && !workspace.accepts(&disabled).await);
    assert_counts(&keys.counts(&["--yes", "--overwrite"]).await, &[("read", 2), ("replaced", 2)]);
    assert!(workspace.accepts(&rotated).await && workspace.accepts(&disabled).await);
}

#[tokio::test]
async fn a_removed_user_whose_entry_was_made_anew_is_told() {
    let workspace = Workspace::in_which_time_passes().await;
    workspace.key_of("gone", &[]).await;
    let entries = Restored::of("workspaces", "KEYGATE_WORKSPACES_TABLE", of(&workspace, &[])).await;
    workspace.remove("gone", "").await;
    let entry = [("workspace_id", workspace.id.as_str()), ("entry", "USER#gone")];
    lose("KEYGATE_WORKSPACES_TABLE", &entry).await;
    tamper("KEYGATE_WORKSPACES_TABLE", &entry, "key_count", 0).await;
    let done = entries.run(&["--yes"]).await;
    let told =
        format!("user gone of workspace {} was removed, and the live entry does not say so", workspace.id);
    assert!(done.stderr.contains(&told), "{done:?}");
}

#[tokio::test]
async fn without_an_audit_trail_nothing_is_written_unless_it_is_asked_for() {
    let workspace = Workspace::in_which_time_passes().await;
    let lost = workspace.key_of("bob", &[]).await;
    let keys = Restored::of("keys", "KEYGATE_KEYS_TABLE", |item| item["key_id"] == id_of(&lost)).await;
    remove_key(&variable("KEYGATE_KEYS_TABLE"), id_of(&lost)).await;
    let trailless = unique("lost-trail");
    let update = dynamodb()
        .update_item()
        .table_name(&keys.table)
        .key("key_id", AttributeValue::S(id_of(&lost).to_owned()))
        .update_expression("SET workspace_id = :workspace")
        .expression_attribute_values(":workspace", AttributeValue::S(trailless.clone()));
    update.send().await.expect("the copy can be changed");
    let path = keys.progress_file();
    let refused = keys.run(&["--yes", "--progress-file", &path]).await;
    let told = format!("the audit trail of workspace {trailless} has no event up to the restored time");
    refused.assert_failed(2, &[&told, "--without-trail"]);
    keys.run(&["--without-trail"]).await.assert_failed(2, &["will WORK AGAIN"]);
    assert_counts(&keys.counts(&["--yes", "--without-trail"]).await, &[("read", 1), ("added", 1)]);
    remove_key(&variable("KEYGATE_KEYS_TABLE"), id_of(&lost)).await;
}

#[tokio::test]
async fn what_was_revoked_works_again_only_if_it_is_asked_for() {
    let workspace = Workspace::in_which_time_passes().await;
    let [deleted, rotated, of_gone] = [
        workspace.key_of("bob", &[]).await,
        workspace.key_of("bob", &[]).await,
        workspace.key_of("gone", &[]).await,
    ];
    let token = workspace.access_token(&deleted).await;
    let ids = [&deleted, &rotated, &of_gone].map(|key| id_of(key));
    let is_wanted = |item: &Value| ids.iter().any(|id| item["key_id"] == *id);
    let keys = Restored::of("keys", "KEYGATE_KEYS_TABLE", is_wanted).await;
    assert_eq!(workspace.delete(&workspace.admin, id_of(&deleted)).await.status, 204);
    assert_eq!(workspace.rotate(&workspace.admin, id_of(&rotated), &json!({})).await.status, 200);
    workspace.remove("gone", "").await;
    let before = key(id_of(&rotated)).await;

    let expected = [("read", 3), ("newer", 1), ("changed_since", 1), ("of_removed_users", 1)];
    assert_counts(&keys.counts(&["--yes"]).await, &expected);
    keys.run(&["--overwrite", "--revive"]).await.assert_failed(2, &["will WORK AGAIN", "--yes"]);
    let counts = keys.counts(&["--yes", "--overwrite", "--revive"]).await;
    assert_counts(&counts, &[("read", 3), ("added", 1), ("replaced", 1), ("of_removed_users", 1)]);
    assert!(workspace.accepts(&deleted).await && workspace.accepts(&rotated).await);
    assert!(!workspace.accepts(&of_gone).await, "removed users stay removed");
    assert!(!workspace.accepts(&token).await, "the tokens of a revived key have ended");
    let after = key(id_of(&rotated)).await;
    let revision = |key: &Value| key["revision"].as_u64().expect("a revision");
    assert!(revision(&after) > revision(&before), "{after}");
}

#[tokio::test]
async fn a_removed_user_whose_entry_is_lost_is_removed_again() {
    let workspace = Workspace::in_which_time_passes().await;
    let of_gone = workspace.key_of("gone", &[]).await;
    let keys = Restored::of("keys", "KEYGATE_KEYS_TABLE", of(&workspace, &[])).await;
    let entries = Restored::of("workspaces", "KEYGATE_WORKSPACES_TABLE", of(&workspace, &[])).await;
    workspace.remove("gone", "").await;
    lose("KEYGATE_WORKSPACES_TABLE", &[("workspace_id", &workspace.id), ("entry", "USER#gone")]).await;
    let counts = keys.counts(&["--yes", "--revive"]).await;
    assert_counts(&counts, &[("read", 2), ("same", 1), ("of_removed_users", 1)]);
    entries.counts(&["--yes"]).await;
    let refused = workspace.create(&workspace.admin, &json!({"name": "again", "user_id": "gone"})).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(!workspace.accepts(&of_gone).await);
}

#[tokio::test]
async fn tokens_come_back_unless_something_of_their_key_was_revoked() {
    let workspace = Workspace::in_which_time_passes().await;
    let [kept, changed] = [workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await];
    let tokens = [workspace.access_token(&kept).await, workspace.access_token(&changed).await];
    let ids = [id_of(&kept), id_of(&changed)];
    let restored = Restored::of("tokens", "KEYGATE_TOKENS_TABLE", of(&workspace, &ids)).await;
    let all = format!("/api-keys/{}/tokens", id_of(&changed));
    assert_eq!(workspace.call(reqwest::Method::DELETE, &all, &workspace.admin).await.status, 204);
    for item in everything("KEYGATE_TOKENS_TABLE").await.iter().map(to_json) {
        if let Some(id) = ids.iter().find(|id| item["key_id"] == **id) {
            let entry = item["entry"].as_str().expect("an entry");
            lose("KEYGATE_TOKENS_TABLE", &[("key_id", id), ("entry", entry)]).await;
        }
    }
    let counts = restored.counts(&["--yes"]).await;
    let [added, since] = ["added", "changed_since"].map(|name| counts[name].as_u64().expect("a number"));
    assert!(added >= 2 && since >= 2 && counts["read"] == added + since, "{counts}");
    assert!(workspace.accepts(&tokens[0]).await && !workspace.accepts(&tokens[1]).await);
}

#[tokio::test]
async fn an_interrupted_restoration_continues_where_it_stopped() {
    const KEYS: usize = 2_000;
    let workspace = Workspace::new().await;
    let keys: Vec<_> = (0..KEYS).map(|_| legacy_key()).collect();
    for some in keys.chunks(1_000) {
        let batch: Value =
            some.iter().map(|key| json!({"key": key, "user_id": "bob", "name": "old"})).collect();
        import(&workspace, batch).await;
    }
    let restored = Restored::of("legacy-keys", "KEYGATE_LEGACY_KEYS_TABLE", of(&workspace, &[])).await;
    let stored = async || -> Vec<Item> {
        let items = everything("KEYGATE_LEGACY_KEYS_TABLE").await;
        items.into_iter().filter(|item| to_json(item)["workspace_id"] == workspace.id).collect()
    };
    let before = stored().await;
    for item in &before {
        let delete = dynamodb()
            .delete_item()
            .table_name(variable("KEYGATE_LEGACY_KEYS_TABLE"))
            .key("hash", item["hash"].clone());
        delete.send().await.expect("the item can be deleted");
    }

    let path = restored.progress_file();
    let more = ["--yes", "--progress-file", &path];
    let arguments = restored.arguments(&more);
    let process = restored.keygate.command(&binary("keygate")).args(arguments).spawn();
    let mut process = process.expect("the command starts");
    eventually("the restoration notes its progress", async || {
        let ended = process.try_wait().expect("its state");
        let has_progress = std::path::Path::new(&path).exists();
        assert!(has_progress || ended.is_none(), "it ended before it noted any progress");
        has_progress
    })
    .await;
    let id = process.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let ended = process.wait_with_output().await.expect("its end");
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    let some = stored().await.len();
    assert!((100..KEYS).contains(&some), "{some}");

    let other = restored.run(&["--yes", "--revive", "--progress-file", &path]).await;
    other.assert_failed(2, &["is the progress of another restoration"]);
    let done = restored.run(&more).await;
    assert!(done.stderr.contains("items are done already: continuing after them"), "{done:?}");
    assert!(done.ok().contains(&format!("{KEYS} items of {}", restored.table)), "{done:?}");
    let by_hash = |items: Vec<Item>| {
        let mut items: Vec<_> = items.iter().map(|item| to_json(item).to_string()).collect();
        items.sort();
        items
    };
    assert!(by_hash(stored().await) == by_hash(before), "each item is as it was");
    assert!(workspace.accepts(&keys[0]).await);
    assert_counts(&restored.counts(&["--yes"]).await, &[("read", KEYS as u64), ("same", KEYS as u64)]);
}

#[tokio::test]
async fn tables_that_do_not_fit_together_are_refused() {
    let workspace = Workspace::new().await;
    let uses = Restored::of("tokens", "KEYGATE_USAGE_TABLE", of(&workspace, &[])).await;
    uses.run(&["--yes"]).await.assert_failed(2, &["has another form: entry, key_id", "is --table the table"]);
    let keys = Restored { word: "keys", ..uses };
    let told = "its key is key_id (HASH, S), entry (RANGE, S)";
    keys.run(&["--yes"]).await.assert_failed(2, &["is of another table", told]);
    keys.run(&[]).await.assert_failed(2, &["is of another table"]);

    let keygate = Keygate::in_aws();
    let live = variable("KEYGATE_KEYS_TABLE");
    let time = "2026-11-01T00:00:00Z";
    let from = |table: &'static str, from: String| {
        ["restore", "--table", table, "--yes", "--from"].map(str::to_owned).into_iter().chain([from])
    };
    for (arguments, status, told) in [
        (from("keys", live.clone()), 2, "is the live table itself"),
        (from("keys", "no-such-table".to_owned()), 3, "there is no table no-such-table"),
    ] {
        let arguments: Vec<_> = arguments.chain(["--restored-at".to_owned(), time.to_owned()]).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        keygate.run(&arguments).await.assert_failed(status, &[told]);
    }
    let keys = Restored::of("keys", "KEYGATE_KEYS_TABLE", of(&workspace, &[])).await;
    let own = ["restore", "--table", "keys", "--from", &keys.table];
    let run = async |more: &[&str]| keygate.run(&[&own[..], more].concat()).await;
    run(&["--yes"]).await.assert_failed(2, &["does not say to which time", "--restored-at"]);
    run(&["--restored-at", "2099-01-01T00:00:00Z"]).await.assert_failed(2, &["is in the future"]);
    let early = run(&["--restored-at", "2020-01-01T00:00:00Z"]).await;
    early.assert_failed(2, &["the audit trail is kept for"]);
    keys.run(&[]).await.assert_failed(2, &["Copy items of", "--dry-run", "--yes"]);
    let entries = Restored { word: "workspaces", ..keys };
    entries.run(&["--yes", "--overwrite"]).await.assert_failed(2, &["--overwrite and --revive are for"]);
}

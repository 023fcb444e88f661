//! Importing legacy keys: the function, and the commands `keygate legacy import` and `report`. An import reports a true result
//! for each key.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use chrono::DateTime;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{Done, Keygate, assert_document};
use crate::support::database::{self, everything, string, to_json};
use crate::support::emulator;
use crate::support::eventually;
use crate::support::function::{Function, binary};
use crate::support::legacy::{LEGACY, counts, import, imported, legacy_id, legacy_key};
use crate::support::stack::{remember_secret, run_folder, variable};
use crate::support::workspace::{Workspace, text, unique};

/// The legacy keys of a workspace as they are stored.
async fn stored(workspace: &Workspace) -> Vec<Value> {
    let items = everything("KEYGATE_LEGACY_KEYS_TABLE").await;
    items.iter().map(to_json).filter(|key| key["workspace_id"] == workspace.id).collect()
}

/// A key of a batch.
fn entry(key: &str, user: &str, name: &str, scopes: &[&str]) -> Value {
    json!({"key": key, "user_id": user, "name": name, "scopes": scopes})
}

/// The results of a batch, with the places of the errors instead of their texts.
fn results(answer: &Value) -> Vec<Value> {
    let mut keys = answer["keys"].as_array().unwrap_or_else(|| panic!("results: {answer}")).clone();
    for key in &mut keys {
        if let Some(errors) = key.get_mut("errors") {
            *errors =
                errors.as_array().expect("errors").iter().map(|error| error["pointer"].clone()).collect();
        }
    }
    keys
}

#[tokio::test]
async fn every_key_of_a_batch_has_a_result_of_its_own_that_is_true() {
    let (workspace, elsewhere) = (Workspace::new().await, Workspace::new().await);
    workspace.remove("gone", "").await;
    let keys: Vec<_> = (0..10).map(|_| legacy_key()).collect();
    let before = json!([
        entry(&keys[1], "bob", "old", &["a", "b"]),
        entry(&keys[2], "bob", "old", &["a"]),
        entry(&keys[3], "bob", "old", &[]),
    ]);
    assert_eq!(counts(&import(&workspace, before).await), [3, 0, 0]);
    assert_eq!(counts(&import(&elsewhere, json!([entry(&keys[4], "bob", "old", &[])])).await), [1, 0, 0]);
    let own_form = workspace.key_of("bob", &[]).await;
    let other_shape = "sk_live_0123456789abcdef";
    remember_secret(other_shape);
    let batch = json!([
        entry(&keys[0], "bob", "new", &["a"]),
        entry(&keys[1], "bob", "old", &["b", "a"]),
        entry(&keys[2], "bob", "another", &["a", "b"]),
        entry(&keys[3], "carol", "old", &[]),
        entry(&keys[4], "bob", "old", &[]),
        entry(&keys[5], "gone", "old", &[]),
        entry(&format!("{} ", keys[6]), "bob", "old", &[]),
        entry(&own_form, "bob", "old", &[]),
        entry(other_shape, "bob", "old", &[]),
        entry(&keys[7], "b b", "", &["a", "a"]),
        entry(&keys[0], "bob", "new", &["a"]),
        entry(&keys[0], "bob", "new", &[]),
        entry(&keys[5], "bob", "old", &[]),
        {"sha256": keys[8], "user_id": "bob", "name": "old"},
        entry(&keys[9], "bob", "also new", &[]),
    ]);
    let answer = import(&workspace, batch).await;
    let expected = json!([
        {"result": "imported"},
        {"result": "present"},
        {"result": "other_values", "fields": ["name", "scopes"]},
        {"result": "other_values", "fields": ["user_id"]},
        {"result": "other_workspace"},
        {"result": "user_removed"},
        {"result": "invalid", "errors": ["/keys/6/key"]},
        {"result": "invalid", "errors": ["/keys/7/key"]},
        {"result": "invalid", "errors": ["/keys/8/key"]},
        {"result": "invalid", "errors": ["/keys/9/user_id", "/keys/9/name", "/keys/9/scopes/1"]},
        {"result": "present", "same_as": 0},
        {"result": "other_values", "fields": ["scopes"], "same_as": 0},
        {"result": "duplicate", "same_as": 5},
        {"result": "invalid", "errors": ["/keys/13/sha256"]},
        {"result": "imported"},
    ]);
    assert_eq!(json!(results(&answer)), expected, "{answer}");
    assert_eq!(counts(&answer), [2, 2, 11]);
    for (index, reason) in [(6, "white space"), (7, "brand"), (8, "LegacyPattern")] {
        let detail = text(&answer["keys"][index]["errors"][0], "detail");
        assert!(detail.starts_with("can never work: ") && detail.contains(reason), "{detail}");
    }
    for secret in keys.iter().map(String::as_str).chain([own_form.as_str(), other_shape]) {
        assert!(!answer.to_string().contains(secret), "{answer}");
    }
    // Only keys whose result is `imported` are stored.
    let mut values: Vec<_> = stored(&workspace)
        .await
        .iter()
        .map(|key| (text(key, "user_id").to_owned(), text(key, "name").to_owned(), key["scopes"].to_string()))
        .collect();
    values.sort();
    let of_bob = |name: &str, scopes: &str| ("bob".to_owned(), name.to_owned(), scopes.to_owned());
    let expected = [
        of_bob("also new", "[]"),
        of_bob("new", r#"["a"]"#),
        of_bob("old", r#"["a","b"]"#),
        of_bob("old", r#"["a"]"#),
        of_bob("old", "[]"),
    ];
    assert_eq!(values, expected);
    assert!(workspace.accepts(&keys[0]).await && workspace.accepts(&keys[9]).await);
    let events = workspace.contents().await.events;
    let imports = events.iter().filter(|event| event["action"] == "legacy.imported");
    assert_eq!(
        imports.filter_map(|event| event["count"].as_i64()).collect::<Vec<_>>().iter().sum::<i64>(),
        5
    );
}

#[tokio::test]
async fn an_import_into_a_workspace_that_does_not_exist_writes_nothing() {
    let workspace = Workspace::new().await;
    let typo = format!("{}e", workspace.id);
    let key = legacy_key();
    let event = json!({"import": {"workspace_id": typo, "keys": [entry(&key, "bob", "old", &[])]}});
    let function = variable("KEYGATE_IMPORT_LEGACY_KEYS_FUNCTION");
    let answer = emulator::invoke(&workspace.api, &function, &event).await;
    assert_eq!(answer["code"], "no_such_workspace", "{answer}");
    assert!(
        everything("KEYGATE_LEGACY_KEYS_TABLE")
            .await
            .iter()
            .all(|item| to_json(item)["workspace_id"] != typo)
    );
    assert!(!workspace.accepts(&key).await);
    assert_eq!(counts(&import(&workspace, json!([entry(&key, "bob", "old", &[])])).await), [1, 0, 0]);
}

#[tokio::test]
async fn the_keys_of_a_removed_user_are_refused_and_all_others_are_imported() {
    let workspace = Workspace::new().await;
    workspace.remove("gone", "").await;
    let user = |index: usize| if index % 20 == 7 { "gone" } else { "bob" };
    let batch: Value = (0..120).map(|index| entry(&legacy_key(), user(index), "old", &[])).collect();
    let answer = import(&workspace, batch).await;
    assert_eq!(counts(&answer), [114, 0, 6]);
    for (index, result) in results(&answer).iter().enumerate() {
        let expected = if user(index) == "gone" { "user_removed" } else { "imported" };
        assert_eq!(result["result"], expected, "{index}");
    }
    assert_eq!(stored(&workspace).await.len(), 114);
}

#[tokio::test]
async fn a_key_that_somebody_else_imports_meanwhile_is_compared_and_the_others_are_imported() {
    let workspace = Workspace::new().await;
    let keys = [legacy_key(), legacy_key()];
    let function = Function::start("import-legacy-keys", &LEGACY).await;
    let batch: Value = keys.iter().map(|key| entry(key, "bob", "old", &[])).collect();
    let event = json!({"import": {"workspace_id": workspace.id, "keys": batch}});
    let answer = function.invoke_while(event, async {
        let faster = json!([entry(&keys[0], "carol", "old", &[])]);
        assert_eq!(counts(&import(&workspace, faster).await), [1, 0, 0]);
    });
    let answer = Box::pin(answer).await;
    let expected = json!([{"result": "other_values", "fields": ["user_id"]}, {"result": "imported"}]);
    assert_eq!(json!(results(&answer)), expected, "{answer}");
}

/// The arguments of an import of a file into a workspace.
fn import_of<'a>(workspace: &'a str, path: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let path = path.to_str().expect("UTF-8");
    [&["legacy", "import", path, "--workspace", workspace], more].concat()
}

/// Runs the import of a file into a workspace.
async fn import_file(workspace: &str, path: &Path, more: &[&str]) -> Done {
    Keygate::in_aws().run(&import_of(workspace, path, more)).await
}

/// The error output of a command that failed with a status.
#[track_caller]
fn complaint(done: &Done, status: i32) -> &str {
    assert_eq!(done.status, status, "{done:?}");
    &done.stderr
}

fn file(extension: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = run_folder().join(format!("{}.{extension}", unique("legacy")));
    std::fs::write(&path, content).expect("the file can be written");
    path
}

fn lines(entries: &[Value]) -> String {
    let lines: Vec<_> = entries.iter().map(|entry| format!("{entry}\n")).collect();
    lines.concat()
}

/// Deletes a file with keys, and its progress, so that no key is left in the run's folder.
fn remove(path: &Path) {
    std::fs::remove_file(path).expect("it is there");
    let progress = path.with_file_name(format!("{}.progress", path.file_name().expect("a name").display()));
    if let Ok(noted) = std::fs::read_to_string(&progress) {
        assert!(!noted.contains("old-"));
        std::fs::remove_file(progress).expect("it is there");
    }
}

#[tokio::test]
async fn an_interrupted_import_continues_where_it_stopped_and_skips_no_line() {
    let workspace = Workspace::new().await;
    let keys: Vec<_> = (0..300).map(|_| legacy_key()).collect();
    let mut entries: Vec<_> = keys.iter().map(|key| entry(key, "bob", "old", &["orders:read"])).collect();
    entries[250] = entry(&keys[250], "b b", "old", &["orders:read"]);
    let path = file("jsonl", lines(&entries));
    let batches = ["--batch-size", "25"];

    // The import is interrupted as soon as it has noted progress.
    let keygate = Keygate::in_aws();
    let process = keygate.command(&binary("keygate")).args(import_of(&workspace.id, &path, &batches)).spawn();
    let mut process = process.expect("the command starts");
    let progress = path.with_extension("jsonl.progress");
    eventually("the import notes its progress", async || {
        let ended = process.try_wait().expect("its state");
        let has_progress = progress.exists();
        assert!(has_progress || ended.is_none(), "the import ended before it noted any progress");
        has_progress
    })
    .await;
    let id = process.id().expect("it runs").to_string();
    let signal = std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill");
    assert!(signal.success());
    let ended = process.wait_with_output().await.expect("its end");
    let said = String::from_utf8(ended.stderr).expect("UTF-8");
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted") && said.contains("it continues where it stopped"), "{said}");
    let some = stored(&workspace).await.len();
    assert!((25..300).contains(&some), "{some}");

    // A line that is wrong is named, every time, and keeps no other from being imported.
    for _ in 0..2 {
        let done = import_file(&workspace.id, &path, &batches).await;
        let said = complaint(&done, 1);
        assert!(said.contains("line 251: user_id must be"), "{said}");
        assert!(said.contains("1 keys of the file are not imported"), "{said}");
        assert!(keys.iter().all(|key| !said.contains(key.as_str())));
        assert_eq!(stored(&workspace).await.len(), 299);
    }

    entries[250] = entry(&keys[250], "bob", "old", &["orders:read"]);
    std::fs::write(&path, lines(&entries)).expect("the file can be written");
    let done = import_file(&workspace.id, &path, &batches).await;
    let said = done.ok();
    assert!(done.stderr.contains("250 lines are imported already"), "{done:?}");
    assert!(said.starts_with("300 lines: 1 imported, 49 imported before, 0 not imported"), "{said}");
    assert_eq!(stored(&workspace).await.len(), 300);
    assert!(workspace.accepts(&keys[250]).await);
    let done = import_file(&workspace.id, &path, &batches).await;
    assert!(done.ok().starts_with("300 lines: 0 imported, 0 imported before"), "{done:?}");
    assert!(done.stderr.contains("300 lines are imported already"), "{done:?}");
    remove(&path);
}

#[tokio::test]
async fn the_command_names_each_line_that_is_not_in_and_ends_well_only_if_every_line_is() {
    let (workspace, elsewhere) = (Workspace::new().await, Workspace::new().await);
    workspace.remove("gone", "").await;
    let keys: Vec<_> = (0..9).map(|_| legacy_key()).collect();
    imported_as(&elsewhere, &keys[1], "bob").await;
    imported_as(&workspace, &keys[2], "carol").await;
    let own_form = workspace.key_of("bob", &[]).await;
    let mut entries = vec![
        entry(&keys[0], "bob", "old", &[]),
        entry(&keys[1], "bob", "old", &[]),
        entry(&keys[2], "bob", "new name", &["a"]),
        entry(&keys[3], "gone", "old", &[]),
        entry(&format!("{} ", keys[4]), "bob", "old", &[]),
        entry(&own_form, "bob", "old", &[]),
        entry(&keys[5].to_uppercase(), "bob", "old", &[]),
        entry(&keys[0], "bob", "old", &["b"]),
        entry(&keys[3], "bob", "old", &[]),
        json!({"key": keys[6], "user": "bob", "name": "old"}),
        json!([keys[7]]),
    ];
    let content = format!(
        "{}{{\"key\" \"{}\"}}\n\n{{\"key\": \"{}\", \"user_id\": \"bob\", \"user_id\": \"eve\", \"name\": \"x\"}}\n",
        lines(&entries),
        keys[7],
        keys[8],
    );
    let path = file("jsonl", content);
    let dry = import_file(&workspace.id, &path, &["--dry-run"]).await;
    assert_eq!(stored(&workspace).await.len(), 1, "nothing is written");
    let done = import_file(&workspace.id, &path, &[]).await;
    let said = complaint(&done, 1);
    assert_eq!(complaint(&dry, 1), said, "a dry run tells the same");
    let (told, summary) = said.split_once("error: ").expect("a summary");
    assert!(summary.contains("12 keys of the file are not imported"), "{said}");
    let mut told: Vec<_> = told
        .lines()
        .map(|line| {
            let told = line.strip_prefix("line ").expect(line);
            let (number, why) = told.split_once(": ").expect(line);
            (number.parse::<u32>().expect("a number"), why)
        })
        .collect();
    told.sort_unstable();
    let expected = [
        (2, "the key is already imported into another workspace"),
        (3, "the key is already imported with other values: user_id, name, scopes"),
        (
            4,
            "user_id must not be a user who was removed from the workspace, and the key must not be one of such a user",
        ),
        (5, "key can never work: it begins or ends with white space, which no header can transport"),
        (6, "key can never work: it begins with this deployment's brand, as its own credentials do"),
        (7, "key can never work: it does not match LegacyPattern"),
        (8, "the key is in line 1 with other values: scopes"),
        (9, "the key is in line 4, which was not imported"),
        (10, "has 1 unknown fields: the fields are key, sha256, user_id, name, scopes"),
        (11, "must be a JSON object"),
        (12, "must be a JSON object, but is not JSON at column 8"),
        (14, "has a repeated field"),
    ];
    assert_eq!(told, expected, "{said}");
    let stdout = &done.stdout;
    assert!(stdout.starts_with("14 lines: 1 imported, 0 imported before, 12 not imported"), "{stdout}");
    assert!(dry.stdout.contains("without --dry-run: 1 imported, 0 imported before, 12"), "{dry:?}");
    for secret in keys.iter().chain([&own_form]) {
        assert!(!said.contains(secret.as_str()) && !stdout.contains(secret.as_str()));
    }

    // For programs: the same in documents.
    let done = import_file(&workspace.id, &path, &["--json"]).await;
    assert_eq!(done.status, 1, "{done:?}");
    let document: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_document("legacy import", &document).await;
    assert_eq!((&document["item"]["present"], &document["item"]["refused"]), (&json!(1), &json!(12)));
    assert_eq!(document["item"]["refused_lines"][0], json!({"line": 2, "reason": expected[0].1}));
    let error: Value = serde_json::from_str(&done.stderr).expect("one document");
    assert_document("error", &error).await;
    remove(&path);

    // Two lines with the same key and values are no fault.
    entries.truncate(1);
    let path = file("jsonl", lines(&[&entries[..], &entries[..]].concat()));
    let done = import_file(&workspace.id, &path, &[]).await;
    assert!(done.ok().contains("0 imported, 2 imported before, 0 not imported"), "{done:?}");
    remove(&path);
}

#[tokio::test]
async fn keys_that_are_not_imported_fail_the_command_even_if_its_reader_is_gone() {
    let workspace = Workspace::new().await;
    workspace.remove("gone", "").await;
    let path = file("jsonl", lines(&[entry(&legacy_key(), "gone", "old", &[])]));
    let keygate = Keygate::in_aws();
    let mut command = keygate.command(&binary("keygate"));
    let mut process = command.args(import_of(&workspace.id, &path, &[])).spawn().expect("it starts");
    drop(process.stdout.take());
    let output = process.wait_with_output().await.expect("it ends");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 keys of the file are not imported"), "{said}");
    remove(&path);
}

#[tokio::test]
async fn an_update_hands_no_key_of_a_removed_user_on() {
    let workspace = Workspace::new().await;
    let key = legacy_key();
    imported_as(&workspace, &key, "gone").await;
    // Marked as removed; the function that deletes the keys has not come to this one yet.
    database::mark_removed(&workspace.id, "gone", true).await;
    let path = file("jsonl", lines(&[entry(&key, "carol", "new", &["orders:read"])]));
    for more in [&["--update", "--dry-run"][..], &["--update"]] {
        let done = import_file(&workspace.id, &path, more).await;
        let said = complaint(&done, 1);
        assert!(said.contains("line 1: user_id must not be a user who was removed"), "{said}");
    }
    assert_eq!(stored(&workspace).await[0]["user_id"], "gone");
    database::mark_removed(&workspace.id, "gone", false).await;
    remove(&path);
}

#[tokio::test]
async fn a_key_that_is_deleted_while_an_update_replaces_it_stays_deleted() {
    let workspace = Workspace::new().await;
    let (deleted, replaced) = (legacy_key(), legacy_key());
    for key in [&deleted, &replaced] {
        imported_as(&workspace, key, "bob").await;
    }
    let id = legacy_id(&workspace, &deleted).await;
    let function = Function::start("import-legacy-keys", &LEGACY).await;
    let keys = [&deleted, &replaced].map(|key| entry(key, "carol", "new", &[]));
    let event = json!({"import": {"workspace_id": workspace.id, "keys": keys, "update": true}});
    let answer = function.invoke_while(event, async {
        let path = format!("/legacy-keys/{id}");
        assert_eq!(workspace.call(Method::DELETE, &path, &workspace.admin).await.status, 204);
    });
    let answer = answer.await;
    let results: Vec<_> = results(&answer).iter().map(|key| string(&key["result"])).collect();
    assert_eq!(results, ["deleted", "updated"], "{answer}");
    let left = stored(&workspace).await;
    assert_eq!(left.iter().map(|key| string(&key["user_id"])).collect::<Vec<_>>(), ["carol"]);
    assert!(!workspace.accepts(&deleted).await && workspace.accepts(&replaced).await);
}

#[tokio::test]
async fn an_update_replaces_keys_with_other_values_and_ends_what_they_were() {
    let workspace = Workspace::new().await;
    workspace.remove("gone", "").await;
    let keys = [legacy_key(), legacy_key(), legacy_key(), legacy_key()];
    for key in &keys[..3] {
        imported_as(&workspace, key, "bob").await;
    }
    assert!(workspace.accepts(&keys[0]).await);
    let is_used = async || stored(&workspace).await.iter().any(|key| key["last_used_at"] != 0);
    eventually("the last use is stored", is_used).await;
    let before = stored(&workspace).await;
    let entries = [
        entry(&keys[0], "carol", "new", &["orders:read"]),
        entry(&keys[1], "bob", "old", &[]),
        entry(&keys[2], "gone", "old", &[]),
        entry(&keys[3], "bob", "old", &[]),
        entry(&keys[0], "dave", "new", &[]),
    ];
    let path = file("jsonl", lines(&entries));
    let done = import_file(&workspace.id, &path, &["--update", "--dry-run"]).await;
    assert_eq!(done.status, 1, "{done:?}");
    assert!(done.stdout.contains("1 imported, 1 updated, 1 imported before, 2 not imported"), "{done:?}");
    assert_eq!(json!(stored(&workspace).await), json!(before), "nothing is written");

    let done = import_file(&workspace.id, &path, &["--update"]).await;
    let said = complaint(&done, 1);
    assert!(said.contains("line 3: user_id must not be a user who was removed"), "{said}");
    assert!(said.contains("line 5: the key is in line 1 with other values: user_id, scopes"), "{said}");
    assert!(done.stdout.contains("1 imported, 1 updated, 1 imported before, 2 not imported"), "{done:?}");
    let me = workspace.call(reqwest::Method::GET, "/me", &keys[0]).await.json();
    assert_eq!((&me["user_id"], &me["scopes"]), (&json!("carol"), &json!(["orders:read"])), "{me}");
    let used = |keys: &[Value]| {
        let mut used = keys.iter().filter(|key| key["last_used_at"] != 0);
        used.next().cloned().expect("a key that was used")
    };
    let (old, new) = (used(&before), used(&stored(&workspace).await));
    assert_ne!(old["key_id"], new["key_id"], "it is another key");
    assert_eq!(old["hash"], new["hash"]);
    let contents = workspace.contents().await;
    assert_eq!(
        contents.events_of("legacy.deleted", &old["key_id"]),
        1,
        "the caches of the old one are cleared"
    );
    assert_eq!(stored(&workspace).await.len(), 4);
    remove(&path);

    // The next update looks at every line again: another file may have changed the key meanwhile.
    let path = file("jsonl", lines(&entries[..2]));
    for expected in ["0 imported, 0 updated, 2 imported before", "0 imported, 0 updated, 2 imported before"] {
        let done = import_file(&workspace.id, &path, &["--update"]).await;
        assert!(done.ok().contains(expected), "{done:?}");
    }
    remove(&path);
}

#[tokio::test]
async fn standard_input_is_imported_without_a_file_of_progress() {
    let workspace = Workspace::new().await;
    let keys = [legacy_key(), legacy_key()];
    let keygate = Keygate::in_aws();
    let objects = lines(&[entry(&keys[0], "bob", "old", &[])]);
    let import = ["legacy", "import", "-", "--workspace", &workspace.id];
    let done = keygate.run_with_input(&[&import[..], &["--json"]].concat(), &objects).await;
    let document: Value = serde_json::from_str(done.ok()).expect("JSON");
    assert_document("legacy import", &document).await;
    assert_eq!(document["item"]["imported"], 1);
    let rows = format!("key,user_id,name\n{},bob,old\n", keys[1]);
    let done = keygate.run_with_input(&[&import[..], &["--format", "csv"]].concat(), &rows).await;
    assert!(done.ok().starts_with("2 lines: 1 imported"), "{done:?}");
    assert!(workspace.accepts(&keys[0]).await && workspace.accepts(&keys[1]).await);
    let done = keygate.run_with_input(&import, "").await;
    assert!(complaint(&done, 2).contains("the file has no keys"), "{done:?}");
}

#[tokio::test]
async fn a_batch_is_sent_again_after_a_transient_failure() {
    const LAMBDA: (&str, &str) = ("content-type", "application/json");
    const RESPONSES: &[crate::cli::scripted::Response] = &[
        (
            200,
            ("content-type", "text/xml"),
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackId>arn:stack</StackId><Outputs><member>\
             <OutputKey>ImportLegacyKeysFunctionName</OutputKey><OutputValue>f</OutputValue></member></Outputs>\
             <Parameters><member><ParameterKey>LegacyPattern</ParameterKey><ParameterValue>old-.*</ParameterValue>\
             </member></Parameters></member></Stacks></DescribeStacksResult></DescribeStacksResponse>",
        ),
        (429, ("x-amzn-errortype", "TooManyRequestsException"), r#"{"message":"Rate exceeded"}"#),
        (200, LAMBDA, r#"{"errorType":"Sandbox.Timedout","errorMessage":"Task timed out"}"#),
        (200, LAMBDA, r#"{"code":"unavailable","status":503,"detail":"the database is busy"}"#),
        (200, LAMBDA, r#"{"imported":1,"present":0,"refused":0,"keys":[{"result":"imported"}]}"#),
    ];
    let server = crate::cli::scripted::Scripted::start(RESPONSES).await;
    let keygate = Keygate::in_aws().set("AWS_ENDPOINT_URL", &server.url);
    let input = lines(&[entry("old-not-a-key", "bob", "old", &[])]);
    let done = keygate.run_with_input(&["legacy", "import", "-", "--workspace", "acme"], &input).await;
    assert!(done.ok().starts_with("1 lines: 1 imported"), "{done:?}");
    for told in ["Rate exceeded: attempt 2 of 10", "Task timed out: attempt 3 of 10", "busy: attempt 4 of 10"]
    {
        assert!(done.stderr.contains(told), "{told}: {done:?}");
    }
    assert_eq!(server.requests().len(), 5);
}

async fn imported_as(workspace: &Workspace, key: &str, user: &str) {
    assert_eq!(counts(&import(workspace, json!([entry(key, user, "old", &[])])).await), [1, 0, 0]);
}

#[tokio::test]
async fn a_misspelt_workspace_is_an_error_of_the_import_and_of_the_report() {
    let workspace = Workspace::new().await;
    let typo = format!("{}e", workspace.id);
    let path = file("jsonl", lines(&[entry(&legacy_key(), "bob", "old", &[])]));
    let unknown = format!("the workspace {typo} does not exist");
    let done = import_file(&typo, &path, &[]).await;
    done.assert_failed(3, &[&unknown]);
    assert!(!path.with_extension("jsonl.progress").exists(), "nothing is noted as done");
    remove(&path);
    let keygate = Keygate::in_aws();
    keygate.run(&["legacy", "report", "--workspace", &typo]).await.assert_failed(3, &[&unknown]);
    // An existing workspace without legacy keys is no error.
    let report = keygate.run(&["legacy", "report", "--workspace", &workspace.id]).await;
    assert_eq!((report.ok(), report.stderr.as_str()), ("", "There are none.\n"));
}

#[tokio::test]
async fn an_unreadable_file_is_refused_with_the_reason_before_anything_is_imported() {
    let workspace = Workspace::new().await;
    let key = legacy_key();
    let row = format!("{key},bob,old\n");
    let utf16 = |text: &str| {
        [&[0xff, 0xfe], &text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()[..]].concat()
    };
    let semicolons = format!("Key;User_ID;Name\n{}", row.replace(',', ";"));
    let tabs = format!("key\tuser_id\tname\n{}", row.replace(',', "\t"));
    for (extension, content, expected) in [
        (
            "csv",
            semicolons.into_bytes(),
            "line 1: the headings are separated by semicolons: the headings are key, ",
        ),
        ("csv", tabs.into_bytes(), "line 1: the headings are separated by tabs"),
        (
            "csv",
            format!("key,User,name,colour\n{row}").into_bytes(),
            "line 1: unknown headings \"User\", \"colour\": ",
        ),
        ("csv", format!("key,user_id,KEY\n{row}").into_bytes(), "line 1: a heading is repeated"),
        (
            "csv",
            row.clone().into_bytes(),
            "line 1: is not a heading: the headings are key, sha256, user_id, name, scopes, ",
        ),
        ("csv", format!("key,user_id,name\n\"{row}").into_bytes(), "line 2: not CSV: "),
        (
            "csv",
            utf16(&format!("key,user_id,name\n{row}")),
            "UTF-16 instead of UTF-8, by its first two bytes: save ",
        ),
        (
            "jsonl",
            utf16(&lines(&[entry(&key, "bob", "old", &[])]))[2..].to_vec(),
            "line 1: has NUL characters",
        ),
        (
            "csv",
            [format!("key,user_id,name\n{row}{key},bob,caf").as_bytes(), &[0xe9, b'\n']].concat(),
            "line 3: not UTF-8 at character 45: save the file as UTF-8",
        ),
        ("jsonl", b"\n\n".to_vec(), "the file has no keys"),
    ] {
        let path = file(extension, &content);
        let done = import_file(&workspace.id, &path, &[]).await;
        done.assert_failed(2, &[expected]);
        assert!(!done.stderr.contains(&key), "{done:?}");
        remove(&path);
    }
    assert!(stored(&workspace).await.is_empty());
}

#[tokio::test]
async fn a_table_of_keys_is_imported_and_the_report_tells_who_still_calls_with_them() {
    let workspace = Workspace::new().await;
    let keys = [legacy_key(), legacy_key(), legacy_key()];
    let row = |key: &str, rest: &str| format!("{key},{rest}\n");
    // Headings in any case, spaces behind commas, and rows without anything.
    let content = [
        row("Key", " User_ID, NAME,scopes"),
        row(&keys[0], "bob, \"nightly, export\",orders:read orders:write"),
        row("", ",,"),
        row(&keys[1], " bob,b,"),
        row(&keys[2], "carol,c"),
    ];
    let path = file("csv", content.concat());
    let done = import_file(&workspace.id, &path, &[]).await;
    assert!(done.ok().starts_with("5 lines: 3 imported"), "{done:?}");
    let caller = workspace.api.rest_example(Some(&format!("Bearer {}", keys[0]))).await.json();
    assert_eq!(caller["caller"]["keyName"], "nightly, export");
    assert_eq!(caller["caller"]["scopes"], "orders:read orders:write");
    let is_used = async || stored(&workspace).await.iter().any(|key| key["last_used_at"] != 0);
    eventually("the last use is stored", is_used).await;

    let keygate = Keygate::in_aws();
    for arguments in [&["legacy", "report", "--workspace", workspace.id.as_str()][..], &["legacy", "report"]]
    {
        let report = keygate.run(arguments).await;
        let rows: Vec<Vec<_>> = report.ok().lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["WORKSPACE", "USER", "KEYS", "USED", "LAST", "USED"]);
        let own: Vec<_> = rows.iter().filter(|row| row[0] == workspace.id).collect();
        assert_eq!(own.len(), 2, "{report:?}");
        assert_eq!(own[0][1..4], ["bob", "2", "1"], "{report:?}");
        DateTime::parse_from_rfc3339(own[0][4]).expect("a time");
        assert_eq!(own[1][1..], ["carol", "1", "0", "-"], "{report:?}");
    }
    let document = keygate.json(&["legacy", "report", "--workspace", &workspace.id]).await;
    assert_eq!(document["items"][1]["last_used_at"], Value::Null);
    remove(&path);
}

#[tokio::test]
async fn a_report_whose_output_is_closed_ends_without_an_error_message() {
    let workspace = Workspace::new().await;
    imported(&workspace, "bob", &[]).await;
    let keygate = Keygate::in_aws();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = keygate.command(&binary("keygate"));
    let report = command.args(["legacy", "report", "--workspace", &workspace.id]).stdout(Stdio::from(writer));
    let report = report.spawn().expect("the command starts");
    drop((reader, command));
    let done = report.wait_with_output().await.expect("its end");
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
}

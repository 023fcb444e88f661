//! Keys of an earlier mechanism: imported, honoured until the sunset, reported, and gone with their users.

use std::path::PathBuf;
use std::process::{Command, Output};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use keygate::activity::{Action, Event, Origin};
use keygate::config::Environment;
use keygate::error::Error;
use keygate::store::legacy_keys::LegacyStore;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::{calls, everything, to_json};
use crate::support::function::{Disturbance, Function, Moment, event, token_event};
use crate::support::legacy::{LEGACY, import, imported, legacy_key};
use crate::support::stack::{dynamodb, run_folder, variable};
use crate::support::workspace::{Workspace, text, unique};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The legacy keys of a workspace as they are stored.
async fn stored(workspace: &Workspace) -> Vec<Value> {
    let items = everything("KEYGATE_LEGACY_KEYS_TABLE").await;
    items.iter().map(to_json).filter(|key| key["workspace_id"] == workspace.id).collect()
}

/// What the authorizer has asked its tables since the last time.
fn reads(function: &Function) -> Vec<String> {
    let calls = function.take_calls().into_iter().map(|(operation, _)| operation);
    calls.filter(|operation| ["GetItem", "BatchGetItem"].contains(&operation.as_str())).collect()
}

#[tokio::test]
async fn a_legacy_key_is_honoured_by_every_api_and_marked_wherever_it_is_seen() {
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

    while calls(&workspace.id, "bob").await.is_empty() {}
    let trail = workspace.activity("?actor=bob").await;
    let call = &trail["items"][0];
    assert_eq!((&call["action"], &call["credential"]), (&json!("key.used"), &json!("legacy_key")), "{trail}");
    let imports = workspace.contents().await.events;
    let imports: Vec<_> = imports.iter().filter(|event| event["action"] == "legacy.imported").collect();
    assert_eq!((imports.len(), &imports[0]["count"]), (1, &json!(1)), "{imports:?}");
    while stored(&workspace).await[0]["last_used_at"] == 0 {}
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
            let answer = authorizer.invoke(with(headers)).await.expect("an answer");
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

#[tokio::test]
async fn what_no_legacy_key_looks_like_costs_no_read_and_an_unknown_one_costs_one() {
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
    // Where no sunset is configured there is nothing to look for.
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
    loop {
        let before = Utc::now();
        let answer = authorizer.invoke(event()).await;
        let after = Utc::now();
        if answer.is_err() {
            assert!(sunset <= after, "refused at {after}");
            break;
        }
        assert!(before < sunset, "accepted at {before}");
    }
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
    assert_eq!(refused.json()["detail"], "This takes an API key. A legacy key cannot do it.");
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
    assert_eq!(import(&workspace, batch("bob")).await, json!({"imported": 60, "present": 1}));
    assert_eq!(import(&workspace, batch("eve")).await, json!({"imported": 0, "present": 61}));
    let deployed = variable("KEYGATE_PEPPERS");
    let kms_key = deployed.splitn(3, ':').nth(2).expect("version, label and key");
    let peppers = format!("{deployed},2:keygate-pepper-of-a-test:{kms_key}");
    let importer = Function::start("import-legacy-keys", &[("PEPPERS", peppers.as_str()), LEGACY[0]]).await;
    let event = json!({"import": {"workspace_id": workspace.id, "keys": batch("eve")}});
    assert_eq!(importer.invoke(event).await, Ok(json!({"imported": 0, "present": 61})));
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
async fn an_import_names_what_is_wrong_and_takes_nothing_for_a_removed_user() {
    let workspace = Workspace::new().await;
    let secret = legacy_key();
    let wrong =
        import(&workspace, json!([{"key": secret, "user_id": "b b", "name": "", "extra": secret}])).await;
    let errors = wrong["errors"].as_array().expect("errors");
    let places: Vec<_> = errors.iter().map(|error| &error["pointer"]).collect();
    assert_eq!(places, ["/keys/0/user_id", "/keys/0/name", "/keys/0/extra"], "{wrong}");
    assert!(!wrong.to_string().contains(&secret));
    workspace.remove("bob", "").await;
    let refused = import(&workspace, json!([{"key": secret, "user_id": "bob", "name": "old"}])).await;
    assert_eq!(refused["errors"][0]["pointer"], "/keys/0/user_id", "{refused}");
    assert!(stored(&workspace).await.is_empty());
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
        while stored(&workspace).await.len() > 1 {}
        for key in &keys {
            assert!(!workspace.accepts(key).await);
        }
        assert!(workspace.accepts(&carols).await, "nobody else's");
        let contents = workspace.contents().await;
        for key in ids {
            assert_eq!(contents.events_of("key.deleted", &key["key_id"]), 1, "{query}");
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
        let killed = Function::start("clear-user", &LEGACY[..1]).await;
        killed.disturb(Disturbance::KillAt(call, moment));
        assert!(
            !killed.survives(removal.clone()).await,
            "call {call}: mark, members, index, and one for each key"
        );
        let again = Function::start("clear-user", &LEGACY[..1]).await;
        assert_eq!(again.invoke(removal).await, Ok(Value::Null));
        assert!(stored(&workspace).await.is_empty(), "{call} {moment:?}");
        let contents = workspace.contents().await;
        for key in ids {
            assert_eq!(contents.events_of("key.deleted", &key["key_id"]), 1, "{call} {moment:?}");
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
    let mut keys = Vec::new();
    while keys.is_empty() {
        keys = store.keys.of_user(&id, &bob).await.expect("the index can be read");
    }
    let now = Utc::now();
    let event = Event::new(Action::KeyDeleted, (&id, &bob), (keys[0].key_id, &bob), Origin::default(), now);
    let deleted = store.delete(&keys[0].hash, (&id, &bob), now, &event).await;
    assert!(matches!(deleted, Err(Error::UserReinstated)), "{deleted:?}");
    assert!(workspace.accepts(&key).await);
    workspace.contents().await;
}

/// Runs one of the scripts behind `make`.
fn script(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(format!("{ROOT}/.local/tools/cli/bin/python"));
    command.args(["-B", &format!("infra/local/{name}.py"), "--stack", &variable("KEYGATE_STACK")]);
    command.args(arguments).current_dir(ROOT);
    command
}

#[track_caller]
fn output(done: &Output) -> String {
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout.clone()).expect("UTF-8")
}

fn file(extension: &str, lines: &[String]) -> PathBuf {
    let path = run_folder().join(format!("{}.{extension}", unique("legacy")));
    std::fs::write(&path, lines.concat()).expect("the file can be written");
    path
}

#[tokio::test]
async fn an_import_that_is_interrupted_goes_on_where_it_stopped() {
    let workspace = Workspace::new().await;
    let line = |key: &str, user: &str| {
        let key = json!({"key": key, "user_id": user, "name": "old", "scopes": ["orders:read"]});
        format!("{key}\n")
    };
    let keys: Vec<_> = (0..300).map(|_| legacy_key()).collect();
    let mut lines: Vec<_> = keys.iter().map(|key| line(key, "bob")).collect();
    lines[250] = line(&keys[250], "b b");
    let path = file("jsonl", &lines);
    let name = path.to_str().expect("UTF-8");
    let arguments = ["--workspace", &workspace.id, "--batch-size", "25", name];

    // Killed, as early as there is something to go on from.
    let mut killed = script("import_legacy", &arguments).spawn().expect("the script runs");
    let progress = path.with_extension("jsonl.progress");
    while !progress.exists() {
        assert!(killed.try_wait().expect("its state").is_none(), "it ended before there was any progress");
    }
    killed.kill().expect("it can be killed");
    assert!(!killed.wait().expect("its end").success());
    let some = stored(&workspace).await.len();
    assert!((25..300).contains(&some), "{some}");

    // Stopped by a line that is wrong, which it names.
    let stopped = script("import_legacy", &arguments).output().expect("the script runs");
    let said = String::from_utf8_lossy(&stopped.stderr);
    assert!(!stopped.status.success() && said.contains("line 251: user_id must be"), "{said}");
    assert!(keys.iter().all(|key| !said.contains(key.as_str())));
    assert_eq!(stored(&workspace).await.len(), 250);

    lines[250] = line(&keys[250], "bob");
    std::fs::write(&path, lines.concat()).expect("the file can be written");
    let said = output(&script("import_legacy", &arguments).output().expect("the script runs"));
    assert!(said.contains("250 lines are imported already"), "{said}");
    assert!(said.contains("line 300 of 300: 50 imported, 0 there before"), "{said}");
    assert_eq!(stored(&workspace).await.len(), 300);
    assert!(workspace.accepts(&keys[299]).await);
    assert!(!std::fs::read_to_string(&progress).expect("the progress").contains("old-"));
    for written in [path, progress] {
        std::fs::remove_file(written).expect("it is there");
    }
}

#[tokio::test]
async fn a_table_of_keys_is_imported_and_the_report_tells_who_still_calls_with_them() {
    let workspace = Workspace::new().await;
    let keys = [legacy_key(), legacy_key(), legacy_key()];
    let row = |key: &str, rest: &str| format!("{key},{rest}\n");
    let path = file(
        "csv",
        &[
            row("key", "user_id,name,scopes"),
            row(&keys[0], "bob,\"nightly, export\",orders:read orders:write"),
            row(&keys[1], "bob,b,"),
            row(&keys[2], "carol,c,"),
        ],
    );
    let arguments = ["--workspace", &workspace.id, path.to_str().expect("UTF-8")];
    let said = output(&script("import_legacy", &arguments).output().expect("the script runs"));
    assert!(said.contains("3 imported"), "{said}");
    let caller = workspace.api.rest_example(Some(&format!("Bearer {}", keys[0]))).await.json();
    assert_eq!(caller["caller"]["keyName"], "nightly, export");
    assert_eq!(caller["caller"]["scopes"], "orders:read orders:write");
    while stored(&workspace).await.iter().all(|key| key["last_used_at"] == 0) {}

    for arguments in [&["--workspace", workspace.id.as_str()][..], &[]] {
        let report = output(&script("legacy_report", arguments).output().expect("the script runs"));
        let rows: Vec<Vec<_>> = report.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["workspace", "user", "keys", "used", "last", "used"]);
        let own: Vec<_> = rows.iter().filter(|row| row[0] == workspace.id).collect();
        assert_eq!(own.len(), 2, "{report}");
        assert_eq!(own[0][1..4], ["bob", "2", "1"], "{report}");
        DateTime::parse_from_rfc3339(own[0][4]).expect("a time");
        assert_eq!(own[1][1..], ["carol", "1", "0", "never"], "{report}");
    }
    for written in [path.with_extension("csv.progress"), path] {
        std::fs::remove_file(written).expect("it is there");
    }
}

/// Whoever may read an index may not learn more than the report and a removal take.
#[tokio::test]
async fn the_index_of_legacy_keys_holds_no_scopes_and_no_names() {
    let description =
        dynamodb().describe_table().table_name(variable("KEYGATE_LEGACY_KEYS_TABLE")).send().await;
    let table = description.expect("the table is there").table.expect("a description");
    let indexes = table.global_secondary_indexes.expect("indexes");
    let projection = indexes[0].projection.as_ref().expect("a projection");
    let mut attributes = projection.non_key_attributes.clone().expect("attributes");
    attributes.sort();
    assert_eq!(attributes, ["key_id", "last_used_at", "pepper_version", "ttl"]);
}

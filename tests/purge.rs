//! Cleaning up after keys that TTL has removed: `purge-keys`, and `recount-users` for keys that `purge-keys` has missed.

use chrono::Utc;
use serde_json::{Value, json};

use crate::support::database::string;
use crate::support::emulator;
use crate::support::function::{Disturbance, Moment, request};
use crate::support::stack::variable;
use crate::support::tables::{Tables, batch, create_key, put_entry, remove_key};
use crate::support::workspace::{Workspace, text, unique};

/// Creates a key of `admin` that expires.
async fn create(tables: &Tables, name: &str) -> String {
    let creator = tables.start("create-key").await;
    let body = json!({"name": name, "expires_in": 3600});
    create_key(&creator, &tables.workspace, &body).await
}

/// The stream record of a key that TTL has removed. The test removes the key and then sets the record's `userIdentity`,
/// because TTL is slow. Only one test waits for TTL.
async fn removed(tables: &Tables, id: &str) -> Value {
    let mut stream = tables.keys_stream().await;
    tables.remove_key(id).await;
    let is_it =
        |record: &Value| record["eventName"] == "REMOVE" && record["dynamodb"]["Keys"]["key_id"]["S"] == id;
    let records = stream.records_with(is_it).await;
    let mut record = records.into_iter().find(is_it).expect("the record");
    assert!(
        record["dynamodb"]["OldImage"]["hash"]["B"].is_string(),
        "the hash comes along, and is left alone"
    );
    record["userIdentity"] = json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"});
    record
}

fn first_failure(answer: &Value) -> Option<&str> {
    answer["batchItemFailures"].as_array().expect("failures").first()?["itemIdentifier"].as_str()
}

#[tokio::test]
async fn the_entries_of_a_key_that_ttl_removed_are_cleaned_up() {
    let tables = Tables::new().await;
    let id = create(&tables, "ci").await;
    let key = tables.key(&id).await.expect("the key is there");
    tables.move_times(&id, &key, &[("expires_at", 1_700_000_000), ("ttl", 1_700_000_000)]).await;
    let mut stream = tables.keys_stream().await;
    tables.enable_ttl().await;
    let by_time = |record: &Value| record["userIdentity"]["principalId"] == "dynamodb.amazonaws.com";
    let records = stream.records_with(by_time).await;

    let purger = tables.start("purge-keys").await;
    let answer = purger.invoke(batch(&records)).await.expect("a response");
    assert_eq!(first_failure(&answer), None);
    let contents = tables.contents().await;
    assert_eq!((contents.keys.len(), contents.events_of("key.purged", &json!(id))), (1, 1));
    let event = contents.events.iter().find(|event| event["action"] == "key.purged").expect("the event");
    assert_eq!(event["actor"], format!("{}#keygate:clock", tables.workspace.id));
    create(&tables, "ci").await;
}

/// The test removes the key itself: the local database stops TTL for a table with an expired item that has no `due_at`, and
/// other tests put such items there.
#[tokio::test]
async fn the_deployed_function_cleans_up_after_keys_that_ttl_removed() {
    let workspace = Workspace::new().await;
    let key = workspace.created(json!({"name": "ci", "expires_in": 3600})).await;
    let id = text(&key, "id");
    let image: Value = ["key_id", "workspace_id", "user_id", "name_folded"]
        .into_iter()
        .zip([id, &workspace.id, "admin", "ci"])
        .map(|(name, value)| (name.to_owned(), json!({"S": value})))
        .collect();
    remove_key(&variable("KEYGATE_KEYS_TABLE"), id).await;
    let record = json!({"eventID": "1", "eventName": "REMOVE", "awsRegion": "eu-west-1",
        "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
        "dynamodb": {"ApproximateCreationDateTime": Utc::now().timestamp(), "SequenceNumber": "1", "SizeBytes": 1,
            "OldImage": image}});
    let answer = emulator::run(&workspace.api, "PurgeKeys", &batch(&[record])).await;
    assert_eq!(first_failure(&answer), None);
    let contents = workspace.contents().await;
    assert_eq!((contents.keys.len(), contents.events_of("key.purged", &json!(id))), (1, 1));
}

#[tokio::test]
async fn the_deployed_function_corrects_missed_entries_and_counts() {
    let workspace = Workspace::new().await;
    let id = unique("nobody").to_uppercase();
    let (_, lost) = id.split_once('-').expect("an id");
    for entry in [
        json!({"workspace_id": workspace.id, "entry": format!("MEMBER#admin#{lost}"), "gone_at": 1_700_000_000}),
        json!({"workspace_id": workspace.id, "entry": "USER#admin", "key_count": 9}),
    ] {
        put_entry(&variable("KEYGATE_WORKSPACES_TABLE"), &entry).await;
    }
    emulator::run(&workspace.api, "RecountUsers", &json!({})).await;
    assert_eq!(workspace.contents().await.entries["USER#admin"]["key_count"], 1);
}

#[tokio::test]
async fn a_repeated_batch_changes_nothing_and_a_deletion_is_ignored() {
    let tables = Tables::new().await;
    let (gone, other) = (create(&tables, "gone").await, create(&tables, "other").await);
    let record = removed(&tables, &gone).await;
    let deleter = tables.start("delete-key").await;
    let mut stream = tables.keys_stream().await;
    let delete = request(&tables.workspace, ("DELETE", "/api-keys/{id}"), Some(&other), &[], &Value::Null);
    assert_eq!(deleter.invoke(delete).await.expect("a response")["statusCode"], 204);
    let is_it = |record: &Value| {
        record["dynamodb"]["Keys"]["key_id"]["S"] == *other && record["eventName"] == "REMOVE"
    };
    let deletion = stream.records_with(is_it).await.into_iter().find(is_it).expect("the deletion");

    let purger = tables.start("purge-keys").await;
    for _ in 0..2 {
        let answer = purger.invoke(batch(&[record.clone(), deletion.clone(), record.clone()])).await;
        assert_eq!(first_failure(&answer.expect("a response")), None);
    }
    let contents = tables.contents().await;
    assert_eq!((contents.keys.len(), contents.events_of("key.purged", &json!(gone))), (1, 1));
    assert_eq!(contents.events_of("key.purged", &json!(other)), 0);
}

#[tokio::test]
async fn a_name_that_another_key_has_by_now_stays_with_it() {
    let tables = Tables::new().await;
    let id = create(&tables, "ci").await;
    let key = tables.key(&id).await.expect("the key is there");
    tables.move_times(&id, &key, &[("expires_at", 1_700_000_000), ("ttl", 1_700_000_000)]).await;
    let heir = create(&tables, "CI").await;
    let record = removed(&tables, &id).await;
    let answer = tables.start("purge-keys").await.invoke(batch(&[record])).await.expect("a response");
    assert_eq!(first_failure(&answer), None);
    let contents = tables.contents().await;
    assert_eq!(contents.entries["NAME#ci"]["key_id"], heir);
    assert_eq!(contents.events_of("key.purged", &json!(id)), 1);
}

#[tokio::test]
async fn a_record_that_cannot_be_handled_is_named_and_holds_up_no_other() {
    let tables = Tables::new().await;
    let (one, two) = (create(&tables, "one").await, create(&tables, "two").await);
    let (one, two) = (removed(&tables, &one).await, removed(&tables, &two).await);
    let mut poison = one.clone();
    poison["dynamodb"]["OldImage"] = json!({"key_id": {"S": "no key"}});
    poison["dynamodb"]["SequenceNumber"] = json!("poison");
    let purger = tables.start("purge-keys").await;
    let answer = purger.invoke(batch(&[one.clone(), poison.clone(), two.clone()])).await.expect("a response");
    assert_eq!(first_failure(&answer), Some("poison"));
    assert_eq!(tables.contents().await.keys.len(), 1);
    let log: Vec<_> = purger.log_lines().into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(log[0]["sequence_number"], "poison");

    // Lambda delivers the batch again from that record on, and later without it.
    let answer = purger.invoke(batch(&[poison, two.clone()])).await.expect("a response");
    assert_eq!(first_failure(&answer), Some("poison"));
    assert_eq!(first_failure(&purger.invoke(batch(&[two])).await.expect("a response")), None);

    let three = create(&tables, "three").await;
    let three = removed(&tables, &three).await;
    purger.disturb(Disturbance::Down);
    let answer = purger.invoke(batch(&[one, three.clone()])).await.expect("a response");
    assert!(first_failure(&answer).is_some(), "while the database fails, nothing is done: {answer}");
    purger.disturb(Disturbance::None);
    assert_eq!(first_failure(&purger.invoke(batch(&[three])).await.expect("a response")), None);
    tables.contents().await;
}

#[tokio::test]
async fn after_a_kill_at_any_point_a_second_run_has_the_result_of_one_clean_run() {
    let tables = Tables::new().await;
    // The most that there is to do: the name is another key's, so there are two attempts.
    let prepare = async || {
        let name = unique("ci");
        let id = create(&tables, &name).await;
        let key = tables.key(&id).await.expect("the key is there");
        tables.move_times(&id, &key, &[("expires_at", 1_700_000_000), ("ttl", 1_700_000_000)]).await;
        create(&tables, &name).await;
        (id.clone(), removed(&tables, &id).await)
    };
    let (_, record) = prepare().await;
    let purger = tables.start("purge-keys").await;
    purger.invoke(batch(&[record])).await.expect("a response");
    let calls = purger.take_calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    for at in 0..2 {
        for moment in [Moment::Before, Moment::After] {
            let (id, record) = prepare().await;
            let killed = tables.start("purge-keys").await;
            killed.disturb(Disturbance::KillAt(at, moment));
            assert!(!killed.survives(batch(std::slice::from_ref(&record))).await, "{at} {moment:?}");
            let answer = purger.invoke(batch(&[record])).await.expect("a response");
            assert_eq!(first_failure(&answer), None);
            assert_eq!(tables.contents().await.events_of("key.purged", &json!(id)), 1, "{at} {moment:?}");
        }
    }
}

#[tokio::test]
async fn a_wrong_count_is_corrected_and_a_right_one_left_alone() {
    let tables = Tables::new().await;
    create(&tables, "ci").await;
    let entry = tables.contents().await.entries["USER#admin"].clone();
    let mut wrong = entry.clone();
    wrong["key_count"] = json!(77);
    tables.put_entry(&wrong).await;
    let recounter = tables.start("recount-users").await;
    recounter.invoke(json!({})).await.expect("a run");
    assert_eq!(tables.contents().await.entries["USER#admin"], entry);
    recounter.take_calls();
    recounter.invoke(json!({})).await.expect("a run");
    let operations: Vec<_> = recounter.take_calls().into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(operations, ["GetItem", "Scan", "Query", "PutItem"]);
}

#[tokio::test]
async fn a_user_who_cannot_be_recounted_keeps_no_other_user_waiting() {
    let tables = Tables::new().await;
    create(&tables, "ci").await;
    let mut other = tables.contents().await.entries["USER#admin"].clone();
    other["entry"] = json!("USER#somebody");
    tables.put_entry(&other).await;
    let broken = json!({"workspace_id": tables.workspace.id, "entry": "MEMBER#admin#no id", "counted": true});
    tables.put_entry(&broken).await;
    let recounter = tables.start("recount-users").await;
    let error = recounter.invoke(json!({})).await.expect_err("a run that failed");
    assert!(error.contains("users that cannot be recounted: 1; recounted: 1"), "{error}");
    assert_eq!(tables.unchecked_contents().await.entries["USER#somebody"]["key_count"], 0);
    let is_named = |line: &Value| line["message"] == "user not recounted" && line["user_id"] == "admin";
    assert!(recounter.log_lines().iter().any(is_named));
}

#[tokio::test]
async fn a_count_that_changes_meanwhile_is_left_to_the_next_run() {
    let tables = Tables::new().await;
    let entry = tables.contents().await.entries["USER#admin"].clone();
    let with_count = |count: i64| {
        let mut entry = entry.clone();
        entry["key_count"] = json!(count);
        entry
    };
    tables.put_entry(&with_count(77)).await;
    let recounter = tables.start("recount-users").await;
    let meanwhile = async { tables.put_entry(&with_count(78)).await };
    Box::pin(recounter.invoke_while(json!({}), meanwhile)).await;
    assert_eq!(tables.unchecked_contents().await.entries["USER#admin"]["key_count"], 78);
    recounter.invoke(json!({})).await.expect("a run");
    tables.contents().await;
}

/// A record that the function does not handle within the stream's retention is lost.
#[tokio::test]
async fn entries_that_were_missed_are_removed_days_later_and_not_while_the_key_exists() {
    let tables = Tables::new().await;
    let (lost, there) = (create(&tables, "lost").await, create(&tables, "there").await);
    for id in [&lost, &there] {
        let key = tables.key(id).await.expect("the key is there");
        tables.move_times(id, &key, &[("expires_at", 1_700_000_000), ("ttl", 1_700_000_000)]).await;
    }
    tables.remove_key(&lost).await;
    tables.remove_entry("NAME#lost").await;
    let recounter = tables.start("recount-users").await;
    recounter.invoke(json!({})).await.expect("a run");
    let contents = tables.contents().await;
    let keys: Vec<_> = contents.keys.iter().map(|key| string(&key["key_id"])).collect();
    assert!(keys.contains(&there) && !keys.contains(&lost), "{keys:?}");
    assert_eq!(contents.events_of("key.purged", &json!(lost)), 1);
    assert_eq!(contents.events_of("key.purged", &json!(there)), 0);
}

#[tokio::test]
async fn after_a_kill_at_any_point_a_second_recount_has_the_result_of_one_clean_run() {
    let tables = Tables::new().await;
    let prepare = async || {
        let id = create(&tables, &unique("ci")).await;
        let key = tables.key(&id).await.expect("the key is there");
        tables.move_times(&id, &key, &[("expires_at", 1_700_000_000), ("ttl", 1_700_000_000)]).await;
        tables.remove_key(&id).await;
        let folded = string(&key["name_folded"]);
        tables.remove_entry(&format!("NAME#{folded}")).await;
        let mut user = tables.unchecked_contents().await.entries["USER#admin"].clone();
        user["key_count"] = json!(50);
        tables.put_entry(&user).await;
    };
    prepare().await;
    let recounter = tables.start("recount-users").await;
    recounter.invoke(json!({})).await.expect("a run");
    let clean = tables.contents().await.entries;
    let calls = recounter.take_calls();
    assert_eq!(calls.len(), 6, "{calls:?}");
    for at in 0..6 {
        for moment in [Moment::Before, Moment::After] {
            prepare().await;
            let killed = tables.start("recount-users").await;
            killed.disturb(Disturbance::KillAt(at, moment));
            assert!(!killed.survives(json!({})).await, "{at} {moment:?}");
            recounter.invoke(json!({})).await.expect("a run");
            assert_eq!(tables.contents().await.entries, clean, "{at} {moment:?}");
        }
    }
}

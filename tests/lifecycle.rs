//! Lifecycle events: `announce-lifecycle` announces expiring keys, expired keys and ended overlaps.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::database::{Contents, string};
use crate::support::emulator;
use crate::support::function::{Disturbance, Function, Moment, request};
use crate::support::tables::{Tables, create_key, revealed, update_key};
use crate::support::workspace::{Workspace, id_of, text};
use crate::support::{eventually, eventually_some};

const DAY: i64 = 86_400;

/// Tables of a test's own, and the functions that work on them.
struct Deployment {
    tables: Tables,
    creator: Function,
    updater: Function,
    rotator: Function,
    deleter: Function,
    announcer: Function,
}

impl Deployment {
    async fn new() -> Self {
        let tables = Tables::new().await;
        let (creator, updater, rotator, deleter, announcer) = tokio::join!(
            tables.start("create-key"),
            tables.start("update-key"),
            tables.start("rotate-key"),
            tables.start("delete-key"),
            tables.start("announce-lifecycle")
        );
        Self { tables, creator, updater, rotator, deleter, announcer }
    }

    async fn create(&self, body: &Value) -> String {
        create_key(&self.creator, &self.tables.workspace, body).await
    }

    async fn update(&self, id: &str, body: &Value) {
        update_key(&self.updater, &self.tables.workspace, id, body).await;
    }

    async fn rotate(&self, id: &str, overlap: i64) {
        let body = json!({"overlap_seconds": overlap});
        let event = request(&self.tables.workspace, ("POST", "/api-keys/{id}/rotate"), Some(id), &[], &body);
        revealed(&self.rotator.invoke(event).await.expect("a response"));
    }

    async fn delete(&self, id: &str) {
        let event =
            request(&self.tables.workspace, ("DELETE", "/api-keys/{id}"), Some(id), &[], &Value::Null);
        assert_eq!(self.deleter.invoke(event).await.expect("a response")["statusCode"], 204);
    }

    /// Lets the next run of `announce-lifecycle` begin with the hour that many hours ago.
    async fn note_hours_ago(&self, hours: i64) {
        let hour = (Utc::now().timestamp() / 3600 - hours) * 3600;
        let note = json!({"workspace_id": "#keygate", "entry": "ANNOUNCED", "note": hour});
        self.tables.put_entry(&note).await;
    }

    async fn key(&self, id: &str) -> Value {
        self.tables.key(id).await.expect("the key is there")
    }

    /// Moves a key's times into the past, as if that many seconds had gone by.
    async fn let_time_pass(&self, id: &str, seconds: i64) {
        let key = self.key(id).await;
        let times = ["expires_at", "ttl", "previous_expires_at", "due_at"];
        let moved: Vec<_> =
            times.iter().filter_map(|name| Some((*name, key[name].as_i64()? - seconds))).collect();
        self.tables.move_times(id, &key, &moved).await;
    }

    /// Runs `announce-lifecycle` until a key has a lifecycle event, and returns the event.
    async fn announce(&self, id: &str) -> Value {
        eventually_some("the key has a lifecycle event", async || {
            self.announcer.invoke(json!({})).await.expect("a run");
            events(&self.tables.contents().await, id).first().copied().cloned()
        })
        .await
    }
}

fn events<'a>(contents: &'a Contents, id: &str) -> Vec<&'a Value> {
    let is_of_lifecycle = |event: &&Value| string(&event["actor"]).ends_with("#keygate:clock");
    contents.events.iter().filter(is_of_lifecycle).filter(|event| event["key_id"] == id).collect()
}

fn actions(contents: &Contents, id: &str) -> Vec<String> {
    events(contents, id).iter().map(|event| string(&event["action"])).collect()
}

#[tokio::test]
async fn a_key_is_announced_7_days_and_1_day_before_it_expires_and_when_it_expires() {
    let deployment = Deployment::new().await;
    for (expires_in, action, days_left) in [
        (7 * DAY + 1, "key.expiring", json!(7)),
        (DAY + 1, "key.expiring", json!(1)),
        (1, "key.expired", Value::Null),
    ] {
        let id = deployment.create(&json!({"name": "ci", "expires_in": expires_in})).await;
        let event = deployment.announce(&id).await;
        assert_eq!((&event["action"], &event["days_left"]), (&json!(action), &days_left), "{event}");
        let expires_at = DateTime::parse_from_rfc3339(text(&event, "expires_at")).expect("a time");
        assert_eq!(json!(expires_at.timestamp()), deployment.key(&id).await["expires_at"]);
        assert_eq!((&event["target"], &event["outcome"]), (&json!("admin"), &json!("done")));
        deployment.delete(&id).await;
    }
}

#[tokio::test]
async fn the_end_of_an_overlap_is_announced_and_removes_the_previous_hash() {
    let deployment = Deployment::new().await;
    let id = id_of(&deployment.tables.workspace.admin).to_owned();
    deployment.rotate(&id, 1).await;
    assert!(deployment.key(&id).await["previous_hash"].is_array());
    assert_eq!(deployment.announce(&id).await["action"], "key.overlap_ended");
    let key = deployment.key(&id).await;
    for gone in ["previous_hash", "previous_pepper_version", "previous_expires_at", "due_at", "due_bucket"] {
        assert!(key.get(gone).is_none(), "{gone}: {key}");
    }
    assert_eq!(key["revision"], 2, "the revision does not change");
}

#[tokio::test]
async fn every_change_of_a_key_updates_when_it_is_due_next() {
    let deployment = Deployment::new().await;
    let id = deployment.create(&json!({"name": "ci", "expires_in": 10 * DAY})).await;
    let due_in = async || Some(deployment.key(&id).await.get("due_at")?.as_i64()? - Utc::now().timestamp());
    let near =
        |due: Option<i64>, expected: i64| due.is_some_and(|due| (expected - 60..=expected).contains(&due));
    assert!(near(due_in().await, 3 * DAY), "the first notice");
    deployment.rotate(&id, DAY).await;
    assert!(near(due_in().await, DAY), "the end of the overlap");
    deployment.rotate(&id, 0).await;
    assert!(near(due_in().await, 3 * DAY), "the notice again");
    let later = (Utc::now() + TimeDelta::days(100)).to_rfc3339();
    deployment.update(&id, &json!({"expires_at": later})).await;
    assert!(near(due_in().await, 93 * DAY), "the notice before the later expiry");
    deployment.update(&id, &json!({"name": "other"})).await;
    assert!(near(due_in().await, 93 * DAY), "a new name does not change it");
    deployment.update(&id, &json!({"expires_at": null})).await;
    assert_eq!(due_in().await, None);
}

#[tokio::test]
async fn after_an_outage_everything_is_announced_once_and_a_notice_that_comes_too_late_is_not() {
    let deployment = Deployment::new().await;
    let expired = deployment.create(&json!({"name": "expired", "expires_in": 8 * DAY})).await;
    let expiring = deployment.create(&json!({"name": "expiring", "expires_in": 10 * DAY})).await;
    deployment.rotate(&expired, DAY).await;
    for id in [&expired, &expiring] {
        deployment.let_time_pass(id, 9 * DAY).await;
    }
    deployment.note_hours_ago(9 * 24).await;
    deployment.announcer.invoke(json!({})).await.expect("the run after the outage");
    let contents = deployment.tables.contents().await;
    assert_eq!(actions(&contents, &expired), ["key.overlap_ended", "key.expired"]);
    assert_eq!(actions(&contents, &expiring), ["key.expiring"]);
    assert_eq!(events(&contents, &expiring)[0]["days_left"], 1);

    deployment.announcer.take_calls();
    deployment.announcer.invoke(json!({})).await.expect("one more run");
    let queries =
        deployment.announcer.take_calls().iter().filter(|(operation, _)| operation == "Query").count();
    // This hour and the one before, or, if it is just over, one more.
    assert!(queries == 8 || queries == 12, "hours that are done are not read again: {queries}");
    assert_eq!(deployment.tables.contents().await.events.len(), contents.events.len());
}

/// Keys that a script creates with the same expiry are due in the same hour. The function handles them page by page, so any
/// number of them fits into its memory.
#[tokio::test]
async fn keys_that_are_due_in_the_same_hour_are_announced_page_by_page_before_the_next_hour() {
    const MANY: usize = 250;
    let deployment = Deployment::new().await;
    let id = deployment.create(&json!({"name": "ci", "expires_in": 3600})).await;
    deployment.let_time_pass(&id, 4 * 3600).await;
    deployment.note_hours_ago(4).await;
    let copies = deployment.tables.copy_key(&id, MANY).await;
    deployment.announcer.take_calls();
    deployment.announcer.invoke(json!({})).await.expect("a run");
    let calls = deployment.announcer.take_calls();

    let queries = calls.iter().filter(|(operation, _)| operation == "Query");
    assert!(queries.clone().all(|(_, request)| request["Limit"].as_i64().is_some_and(|limit| limit <= 100)));
    let operations: String = calls
        .iter()
        .filter_map(|(operation, _)| match operation.as_str() {
            "Query" => Some('q'),
            "TransactWriteItems" => Some('w'),
            _ => None,
        })
        .collect();
    let longest = operations.split('q').map(str::len).max();
    assert_eq!(longest, Some(100), "each page is handled before the next one is read: {operations}");

    let contents = deployment.tables.unchecked_contents().await;
    for id in copies.iter().chain([&id]) {
        assert_eq!(actions(&contents, id), ["key.expired"], "{id}");
    }
    deployment.announcer.take_calls();
    deployment.announcer.invoke(json!({})).await.expect("one more run");
    let queries =
        deployment.announcer.take_calls().iter().filter(|(operation, _)| operation == "Query").count();
    assert!(queries == 8 || queries == 12, "the hour is not read again: {queries}");
}

/// A function that is killed loses what it has in memory, and nothing else: each announced key has left the hour.
#[tokio::test]
async fn keys_that_are_due_in_one_hour_are_announced_once_each_although_runs_are_killed() {
    const MANY: usize = 100;
    let deployment = Deployment::new().await;
    let id = deployment.create(&json!({"name": "ci", "expires_in": 3600})).await;
    deployment.let_time_pass(&id, 4 * 3600).await;
    deployment.note_hours_ago(4).await;
    let mut ids: BTreeSet<_> =
        deployment.tables.copy_key_to_all_shards(&id, MANY).await.into_iter().collect();
    ids.insert(id);
    for (at, moment) in [(10, Moment::Before), (30, Moment::After), (20, Moment::Before)] {
        let killed = deployment.tables.start("announce-lifecycle").await;
        killed.disturb(Disturbance::KillAt(at, moment));
        assert!(!killed.survives(json!({})).await, "{at}");
    }
    deployment.announcer.take_calls();
    deployment.announcer.invoke(json!({})).await.expect("a run");
    let calls = deployment.announcer.take_calls();
    let writes = calls.iter().filter(|(operation, _)| operation == "TransactWriteItems").count();
    assert!(
        (1..MANY - 20).contains(&writes),
        "what the killed runs have announced is not read again: {writes}"
    );
    let contents = deployment.tables.unchecked_contents().await;
    let events = contents.events.iter().filter(|event| string(&event["actor"]).ends_with("#keygate:clock"));
    let announced: Vec<_> =
        events.map(|event| (string(&event["action"]), string(&event["key_id"]))).collect();
    assert_eq!(announced.len(), ids.len(), "no key twice");
    let once: BTreeSet<_> = announced.into_iter().collect();
    assert_eq!(once, ids.into_iter().map(|id| ("key.expired".to_owned(), id)).collect(), "and none is lost");
}

#[tokio::test]
async fn a_key_that_cannot_be_announced_keeps_no_other_key_waiting_and_is_tried_again() {
    let deployment = Deployment::new().await;
    let mut keys = Vec::new();
    for (name, hours) in [("broken", 4), ("same hour", 4), ("later hour", 3)] {
        let id = deployment.create(&json!({"name": name, "expires_in": 3600})).await;
        deployment.let_time_pass(&id, hours * 3600).await;
        keys.push(id);
    }
    deployment.note_hours_ago(4).await;
    deployment.announcer.disturb(Disturbance::RefuseKey(keys[0].clone().leak()));
    for _ in 0..2 {
        let error = deployment.announcer.invoke(json!({})).await.expect_err("a run that failed");
        assert!(error.contains("keys that cannot be announced: 1"), "{error}");
        let contents = deployment.tables.contents().await;
        let announced: Vec<_> = keys.iter().map(|id| actions(&contents, id).join(" ")).collect();
        assert_eq!(announced, ["", "key.expired", "key.expired"]);
    }
    let logged = deployment.announcer.log_lines();
    assert!(logged.iter().any(|line| line["message"] == "key not announced" && line["key_id"] == *keys[0]));
    deployment.announcer.disturb(Disturbance::None);
    deployment.announcer.invoke(json!({})).await.expect("a run");
    assert_eq!(actions(&deployment.tables.contents().await, &keys[0]), ["key.expired"]);
}

#[tokio::test]
async fn an_hour_with_a_key_that_is_still_due_is_read_again() {
    let deployment = Deployment::new().await;
    let id = deployment.create(&json!({"name": "ci", "expires_in": 3600})).await;
    deployment.let_time_pass(&id, 4 * 3600).await;
    deployment.note_hours_ago(4).await;
    // A change between the read and the write leaves the key due.
    let renamed = json!({"name": "other"});
    let meanwhile = deployment.update(&id, &renamed);
    deployment.announcer.invoke_while(json!({}), meanwhile).await;
    assert_eq!(actions(&deployment.tables.contents().await, &id), [""; 0]);
    deployment.announcer.invoke(json!({})).await.expect("one more run");
    assert_eq!(actions(&deployment.tables.contents().await, &id), ["key.expired"]);
}

#[tokio::test]
async fn after_a_kill_at_any_call_the_next_run_has_the_result_of_one_clean_run() {
    let deployment = Deployment::new().await;
    // A key with two lifecycle events during an outage of hours.
    let prepare = async |name: &str| {
        let id = deployment.create(&json!({"name": name, "expires_in": 3600})).await;
        deployment.rotate(&id, 1800).await;
        deployment.let_time_pass(&id, 2 * 3600).await;
        deployment.note_hours_ago(3).await;
        id
    };
    let expected = ["key.overlap_ended", "key.expired"];
    let clean = prepare("clean").await;
    deployment.announcer.invoke(json!({})).await.expect("a run");
    assert_eq!(actions(&deployment.tables.contents().await, &clean), expected);
    let calls = deployment.announcer.take_calls();

    // Between two queries nothing changes. A kill can matter at every other call, and before the first query.
    let first_query = calls.iter().position(|(operation, _)| operation == "Query");
    let is_point =
        |(at, (operation, _)): &(usize, &(String, Value))| operation != "Query" || Some(*at) == first_query;
    let points: Vec<usize> = calls.iter().enumerate().filter(is_point).map(|(at, _)| at).collect();
    assert!(points.len() >= 5, "a note is read, one is written, and there are two transactions: {calls:?}");
    for at in points {
        for moment in [Moment::Before, Moment::After] {
            let id = prepare(&format!("{at} {moment:?}")).await;
            let killed = deployment.tables.start("announce-lifecycle").await;
            killed.disturb(Disturbance::KillAt(u32::try_from(at).expect("a small number"), moment));
            assert!(!killed.survives(json!({})).await, "{at} {moment:?}");
            deployment.announcer.invoke(json!({})).await.expect("a run");
            let contents = deployment.tables.contents().await;
            assert_eq!(actions(&contents, &id), expected, "{at} {moment:?}");
            let key = deployment.key(&id).await;
            assert!(
                key.get("previous_hash").is_none() && key["due_at"] == key["ttl"],
                "{at} {moment:?} {key}"
            );
        }
    }
}

#[tokio::test]
async fn a_key_that_is_extended_during_a_run_is_not_announced_as_expired() {
    let deployment = Deployment::new().await;
    let id = deployment.create(&json!({"name": "ci", "expires_in": 3600})).await;
    deployment.let_time_pass(&id, 3601).await;
    let later = json!({"expires_at": (Utc::now() + TimeDelta::days(2)).to_rfc3339()});
    let meanwhile = deployment.update(&id, &later);
    deployment.announcer.invoke_while(json!({}), meanwhile).await;
    deployment.announcer.invoke(json!({})).await.expect("one more run");
    assert_eq!(actions(&deployment.tables.contents().await, &id), [""; 0]);
}

/// A change at the same time can write back the `due_at` that it has read.
#[tokio::test]
async fn an_expiry_is_announced_once() {
    let deployment = Deployment::new().await;
    let id = deployment.create(&json!({"name": "ci", "expires_in": 3600})).await;
    deployment.let_time_pass(&id, 3601).await;
    let before = deployment.key(&id).await;
    assert_eq!(deployment.announce(&id).await["action"], "key.expired");
    let due_at = before["due_at"].as_i64().expect("a time");
    deployment.tables.move_times(&id, &before, &[("due_at", due_at)]).await;
    deployment.announcer.invoke(json!({})).await.expect("one more run");
    assert_eq!(actions(&deployment.tables.contents().await, &id), ["key.expired"]);
    let key = deployment.key(&id).await;
    assert_eq!(key["due_at"], key["ttl"], "the key is due next at its ttl");
    assert!(string(&key["due_bucket"]).starts_with("ttl#"), "in no hour that a run reads: {key}");
}

#[tokio::test]
async fn the_deployed_function_announces_the_end_of_an_overlap() {
    let workspace = Workspace::new().await;
    workspace
        .rotate(&workspace.admin, id_of(&workspace.admin), &json!({"overlap_seconds": 1}))
        .await
        .assert_succeeded();
    let id = json!(id_of(&workspace.admin));
    eventually("the end of the overlap is announced", async || {
        emulator::run(&workspace.api, "AnnounceLifecycle", &json!({})).await;
        workspace.contents().await.events_of("key.overlap_ended", &id) > 0
    })
    .await;
}

#[tokio::test]
async fn user_ids_of_keygate_are_refused() {
    let workspace = Workspace::new().await;
    let body = json!({"name": "mine", "user_id": "keygate:clock"});
    assert_eq!(workspace.create(&workspace.admin, &body).await.invalid_places(), ["/user_id"]);
}

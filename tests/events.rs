//! Publishing audit events on `EventBridge`: `publish-events`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::database::string;
use crate::support::eventually_within;
use crate::support::function::{Disturbance, Function, Moment, request};
use crate::support::stack::variable;
use crate::support::tables::{Tables, batch, revealed};
use crate::support::workspace::{Workspace, id_of};

/// Tables in which a key was created, changed, rotated and deleted, with the key's id and the stream records of its events.
async fn life_of_a_key() -> (Tables, String, Vec<Value>) {
    let tables = Tables::new().await;
    let workspace = &tables.workspace;
    let create = request(
        workspace,
        ("POST", "/api-keys"),
        None,
        &[],
        &json!({"name": "ci", "metadata": {"env": "live"}}),
    );
    let created = tables.start("create-key").await.invoke(create).await.expect("a response");
    let id = id_of(&revealed(&created)).to_owned();
    let route = |method, path| (method, path);
    for (function, route, body) in [
        ("update-key", route("PATCH", "/api-keys/{id}"), json!({"disabled": true, "description": "d"})),
        ("rotate-key", route("POST", "/api-keys/{id}/rotate"), json!({})),
        ("delete-key", route("DELETE", "/api-keys/{id}"), Value::Null),
    ] {
        let event = request(workspace, route, Some(&id), &[], &body);
        let answer = tables.start(function).await.invoke(event).await.expect("a response");
        assert!(matches!(answer["statusCode"].as_u64(), Some(200 | 204)), "{answer}");
        if function == "rotate-key" {
            revealed(&answer);
        }
    }
    let is_last = |record: &Value| record["dynamodb"]["NewImage"]["action"]["S"] == "key.deleted";
    let records = tables.activity_stream().await.records_with(is_last).await;
    (tables, id, records)
}

/// The events that were sent to `EventBridge`, batch by batch.
fn sent(publisher: &Function) -> Vec<Vec<Value>> {
    let calls = publisher.take_calls().into_iter();
    calls.map(|(_, request)| request["Entries"].as_array().expect("entries").clone()).collect()
}

fn details(entries: &[Value]) -> Vec<Value> {
    let details = entries.iter().map(|entry| entry["Detail"].as_str().expect("a text"));
    details.map(|detail| serde_json::from_str(detail).expect("JSON")).collect()
}

#[tokio::test]
async fn every_change_is_published_with_its_action_and_an_id() {
    let (tables, id, records) = life_of_a_key().await;
    let publisher = tables.start_with("publish-events", &[("EVENT_BUS", "keys")]).await;
    let answer = publisher.invoke(batch(&records)).await.expect("a response");
    assert_eq!(answer, json!({"batchItemFailures": []}));
    let batches = sent(&publisher);
    let entries = batches.concat();
    let kinds: Vec<_> = entries.iter().map(|entry| string(&entry["DetailType"])).collect();
    assert_eq!(kinds, ["key.bootstrapped", "key.created", "key.updated", "key.rotated", "key.deleted"]);
    for entry in &entries {
        assert_eq!(
            (&entry["Source"], &entry["EventBusName"]),
            (&json!("keygate"), &json!("keys")),
            "{entry}"
        );
    }
    let details = details(&entries);
    let metadata: Vec<_> = details.iter().map(|detail| &detail["metadata"]).collect();
    let of_key = json!({"env": "live"});
    assert_eq!(metadata, [&Value::Null, &of_key, &of_key, &of_key, &of_key]);
    let ids: BTreeSet<_> = details.iter().map(|detail| string(&detail["id"])).collect();
    assert_eq!(ids.len(), details.len(), "{details:?}");

    let mut updated = details[2].clone();
    let stored = tables.contents().await.events;
    let stored = stored.iter().find(|event| event["action"] == "key.updated").expect("the event");
    let position = format!("{}#{}", string(&updated["time"]), string(&updated["id"]));
    assert_eq!(stored["event"], position, "the event of the trail, by its time and id");
    for generated in ["id", "time"] {
        updated.as_object_mut().expect("an object").remove(generated);
    }
    let expected = json!({
        "action": "key.updated", "workspace_id": tables.workspace.id, "actor": "admin", "user_id": "admin",
        "key_id": id, "changed": ["description", "disabled"], "method": "PATCH", "path": "/api-keys/{id}".replace("{id}", &id),
        "source_ip": "203.0.113.7", "metadata": {"env": "live"},
    });
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn a_batch_is_delivered_again_from_the_first_event_that_was_not_accepted() {
    let (tables, _, records) = life_of_a_key().await;
    let publisher = tables.start("publish-events").await;
    publisher.disturb(Disturbance::RefuseEvents("key.updated"));
    let answer = publisher.invoke(batch(&records)).await.expect("a response");
    let refused = &records[2]["dynamodb"]["SequenceNumber"];
    assert_eq!(answer["batchItemFailures"], json!([{"itemIdentifier": refused}]));

    publisher.disturb(Disturbance::Down);
    let answer = publisher.invoke(batch(&records)).await.expect("a response");
    let first = &records[0]["dynamodb"]["SequenceNumber"];
    assert_eq!(answer["batchItemFailures"], json!([{"itemIdentifier": first}]));
}

#[tokio::test]
async fn a_batch_is_published_ten_events_at_a_time_and_an_invalid_record_is_reported_as_failed() {
    let (tables, _, records) = life_of_a_key().await;
    let mut many: Vec<Value> = records.iter().cycle().take(23).cloned().collect();
    many[7]["dynamodb"]["NewImage"] = json!({"workspace_id": {"S": "acme"}});
    many[7]["dynamodb"]["SequenceNumber"] = json!("poison");
    let publisher = tables.start("publish-events").await;
    let answer = publisher.invoke(batch(&many)).await.expect("a response");
    assert_eq!(answer["batchItemFailures"], json!([{"itemIdentifier": "poison"}]));
    let sizes: Vec<_> = sent(&publisher).iter().map(Vec::len).collect();
    assert_eq!(sizes, [10, 10, 2]);
}

#[tokio::test]
async fn after_a_kill_at_any_call_the_next_run_publishes_everything_under_the_same_ids() {
    let (tables, _, records) = life_of_a_key().await;
    let many: Vec<Value> = records.iter().cycle().take(15).cloned().collect();
    let publisher = tables.start("publish-events").await;
    let ids = |batches: Vec<Vec<Value>>| -> BTreeSet<String> {
        details(&batches.concat()).iter().map(|detail| string(&detail["id"])).collect()
    };
    publisher.invoke(batch(&many)).await.expect("a response");
    let clean = ids(sent(&publisher));
    assert_eq!(clean.len(), records.len());
    for at in 0..2 {
        for moment in [Moment::Before, Moment::After] {
            let killed = tables.start("publish-events").await;
            killed.disturb(Disturbance::KillAt(at, moment));
            assert!(!killed.survives(batch(&many)).await, "{at} {moment:?}");
            publisher.invoke(batch(&many)).await.expect("a response");
            let again = ids(sent(&publisher));
            assert_eq!(again, clean, "{at} {moment:?}");
            assert!(ids(sent(&killed)).is_subset(&clean), "{at} {moment:?}");
        }
    }
}

/// This goes through the deployed event source mapping, whose filter lets changes through.
#[tokio::test]
async fn a_change_reaches_the_bus_and_a_call_does_not() {
    let published = || {
        let calls = std::fs::read_to_string(variable("KEYGATE_CALLS_LOG")).expect("the calls are recorded");
        calls.lines().filter(|line| line.contains("\"events:PutEvents\", \"event-bus/default\"")).count()
    };
    let before = published();
    let workspace = Workspace::new().await;
    assert!(workspace.accepts(&workspace.admin).await);
    let is_published = async || published() > before;
    eventually_within(Duration::from_mins(1), "an event is published", is_published).await;
}

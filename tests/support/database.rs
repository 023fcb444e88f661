//! What the tables hold, and whether it fits together.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keygate::credential::{KeyId, TokenId};
use serde_json::{Value, json};

use crate::support::stack::{dynamodb, variable};

pub(crate) type Item = std::collections::HashMap<String, AttributeValue>;

/// The variables that name the tables: keys, workspaces, activity, tokens.
pub(crate) const TABLES: [&str; 4] =
    ["KEYGATE_KEYS_TABLE", "KEYGATE_WORKSPACES_TABLE", "KEYGATE_ACTIVITY_TABLE", "KEYGATE_TOKENS_TABLE"];

/// The events that tell of a key's making.
const MAKING: [&str; 3] = ["key.created", "key.bootstrapped", "key.break_glass"];

/// Everything that the tables hold of one workspace.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) keys: Vec<Value>,
    /// By entry.
    pub(crate) entries: BTreeMap<String, Value>,
    pub(crate) events: Vec<Value>,
}

/// Reads everything of one workspace.
pub(crate) async fn contents(workspace: &str) -> Contents {
    contents_of(workspace, &TABLES.map(variable)).await
}

/// Reads everything of one workspace in these tables, its tokens aside.
pub(crate) async fn contents_of(workspace: &str, [keys, entries, events, _]: &[String; 4]) -> Contents {
    let (keys, entries, events) = tokio::join!(
        // The index by name has the name as it is compared; none has the hashes.
        of_workspace(keys, Some("by_name"), workspace),
        of_workspace(entries, None, workspace),
        of_workspace(events, Some("by_workspace"), workspace),
    );
    Contents::new(keys, entries, events)
}

/// The calls of a user in the audit trail, in their order.
pub(crate) async fn calls(workspace: &str, user: &str) -> Vec<Value> {
    events_of(workspace, user, "key.used").await
}

/// What a user has done of one kind, in its order.
pub(crate) async fn events_of(workspace: &str, user: &str, action: &str) -> Vec<Value> {
    let query = dynamodb()
        .query()
        .table_name(variable("KEYGATE_ACTIVITY_TABLE"))
        .key_condition_expression("actor = :actor")
        .expression_attribute_values(":actor", AttributeValue::S(format!("{workspace}#{user}")))
        .consistent_read(true);
    let items: Vec<Item> =
        query.into_paginator().items().send().collect::<Result<_, _>>().await.expect("the table can be read");
    items.iter().map(to_json).filter(|event| event["action"] == action).collect()
}

async fn of_workspace(table: &str, index: Option<&str>, workspace: &str) -> Vec<Value> {
    let query = dynamodb()
        .query()
        .table_name(table)
        .set_index_name(index.map(str::to_owned))
        .key_condition_expression("workspace_id = :workspace")
        .expression_attribute_values(":workspace", AttributeValue::S(workspace.to_owned()));
    let items = query.into_paginator().items().send();
    let items: Vec<Item> = items.collect::<Result<_, _>>().await.expect("the table can be read");
    items.iter().map(to_json).collect()
}

/// Every item of a table, whose name is the value of `variable_name`.
pub(crate) async fn everything(variable_name: &str) -> Vec<Item> {
    let pages =
        dynamodb().scan().table_name(variable(variable_name)).consistent_read(true).into_paginator().items();
    pages.send().collect::<Result<_, _>>().await.expect("the table can be read")
}

impl Contents {
    pub(crate) fn new(keys: Vec<Value>, entries: Vec<Value>, events: Vec<Value>) -> Self {
        let entries = entries.into_iter().map(|entry| (string(&entry["entry"]), entry)).collect();
        Self { keys, entries, events }
    }

    /// Checks what must hold between the tables at every instant: no key without its name, its member entry and its
    /// place in its user's count, none of these without its key, all with the same ttl, and no key without the event of
    /// its making. A user is marked as removed if the last event of that says so.
    #[track_caller]
    pub(crate) fn assert_consistent(&self) {
        let keys: BTreeSet<String> = self.keys.iter().map(|key| string(&key["key_id"])).collect();
        let names: BTreeSet<String> =
            self.entries_of("NAME#").map(|(_, entry)| string(&entry["key_id"])).collect();
        assert_eq!(keys, names, "every key has one name: {self:#?}");

        let expected_members: BTreeSet<String> = self
            .keys
            .iter()
            .map(|key| format!("{}#{}", string(&key["user_id"]), string(&key["key_id"])))
            .collect();
        let members: BTreeSet<String> = self.entries_of("MEMBER#").map(|(rest, _)| rest.to_owned()).collect();
        assert_eq!(members, expected_members, "every key is one user's: {self:#?}");

        let mut expected_counts: BTreeMap<String, i64> = BTreeMap::new();
        for key in &self.keys {
            *expected_counts.entry(string(&key["user_id"])).or_default() += 1;
        }
        let count =
            |(user, entry): (&str, &Value)| (user.to_owned(), entry["key_count"].as_i64().expect("a count"));
        let counts: BTreeMap<_, _> =
            self.entries_of("USER#").map(count).filter(|(_, count)| *count != 0).collect();
        assert_eq!(counts, expected_counts, "every user's keys are counted: {self:#?}");

        for key in &self.keys {
            let (folded, user, id) =
                (string(&key["name_folded"]), string(&key["user_id"]), string(&key["key_id"]));
            let name = &self.entries[&format!("NAME#{folded}")];
            assert_eq!(name["key_id"], key["key_id"], "the name {folded}: {self:#?}");
            let member = &self.entries[&format!("MEMBER#{user}#{id}")];
            assert_eq!(
                (&name["ttl"], &member["gone_at"]),
                (&key["ttl"], &key["ttl"]),
                "the ttl of {id}: {self:#?}"
            );
        }
        for key in &self.keys {
            let id = &key["key_id"];
            let made: usize = MAKING.map(|action| self.events_of(action, id)).iter().sum();
            assert_eq!((made, self.events_of("key.deleted", id)), (1, 0), "the events of {id}: {self:#?}");
            let actions = ["key.updated", "key.rotated", "key.transferred"];
            let changed: usize = actions.map(|action| self.events_of(action, id)).iter().sum();
            assert_eq!(
                key["revision"],
                json!(made + changed),
                "every change of {id} has its event: {self:#?}"
            );
        }
        for (user, entry) in self.entries_of("USER#") {
            let of_user = |action| {
                let events = self.events.iter().filter(|event| event["target"] == user);
                events.filter(|event| event["action"] == action).count()
            };
            let is_removed = usize::from(entry.get("removed_at").is_some());
            assert_eq!(
                of_user("user.removed"),
                of_user("user.reinstated") + is_removed,
                "every removal of {user} has its event: {self:#?}"
            );
        }
        for event in &self.events {
            let Some(id) = event.get("key_id") else {
                let action = string(&event["action"]);
                assert!(
                    action.starts_with("user.") || action == "legacy.imported",
                    "an event of no key: {event}"
                );
                continue;
            };
            let exists = keys.contains(&string(id));
            let ended = self.events_of("key.deleted", id) + self.events_of("key.purged", id);
            assert_eq!(
                usize::from(exists) + ended,
                1,
                "the key of every event is there, or has ended once: {event}"
            );
        }
    }

    pub(crate) fn events_of(&self, action: &str, key_id: &Value) -> usize {
        self.events.iter().filter(|event| event["action"] == action && event["key_id"] == *key_id).count()
    }

    fn entries_of<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.entries
            .iter()
            .filter_map(move |(entry, item)| entry.strip_prefix(prefix).map(|rest| (rest, item)))
    }
}

/// An item as JSON; bytes as the array of their values.
pub(crate) fn to_json(item: &Item) -> Value {
    item.iter().map(|(name, value)| (name.clone(), value_to_json(value))).collect()
}

fn value_to_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!(text),
        AttributeValue::N(number) => json!(number.parse::<i64>().expect("whole numbers only")),
        AttributeValue::B(bytes) => json!(bytes.as_ref()),
        AttributeValue::L(list) => list.iter().map(value_to_json).collect(),
        AttributeValue::Null(_) => Value::Null,
        other => panic!("an attribute of a type that Keygate does not use: {other:?}"),
    }
}

pub(crate) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a string: {value}")).to_owned()
}

/// Lets the retention of an expiring key end, without waiting for it: the key and its name are past their ttl, as they
/// are before DynamoDB gets to deleting them.
pub(crate) async fn end_retention(key_id: &str) {
    let is_the_keys = |item: &Item| to_json(item)["key_id"] == key_id;
    for (table, attributes) in
        [("KEYGATE_KEYS_TABLE", &["key_id"][..]), ("KEYGATE_WORKSPACES_TABLE", &["workspace_id", "entry"])]
    {
        for item in everything(table).await.into_iter().filter(is_the_keys) {
            let key = attributes.iter().map(|name| ((*name).to_owned(), item[*name].clone())).collect();
            dynamodb()
                .update_item()
                .table_name(variable(table))
                .set_key(Some(key))
                .update_expression("SET #ttl = :past, expires_at = :past")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":past", AttributeValue::N("1700000000".to_owned()))
                .send()
                .await
                .expect("the item can be changed");
        }
    }
}

/// Lets the retention of a workspace's changes end, without waiting for it: they are past their ttl.
pub(crate) async fn end_retention_of_activity(workspace: &str) {
    let query = dynamodb()
        .query()
        .table_name(variable("KEYGATE_ACTIVITY_TABLE"))
        .index_name("by_workspace")
        .key_condition_expression("workspace_id = :workspace")
        .expression_attribute_values(":workspace", AttributeValue::S(workspace.to_owned()));
    for item in query.send().await.expect("the table can be read").items.expect("events") {
        dynamodb()
            .update_item()
            .table_name(variable("KEYGATE_ACTIVITY_TABLE"))
            .key("actor", item["actor"].clone())
            .key("event", item["event"].clone())
            .update_expression("SET #ttl = :past")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":past", AttributeValue::N("1700000000".to_owned()))
            .send()
            .await
            .expect("the event can be changed");
    }
}

/// Lets the memory of a workspace's idempotent creates end, as it does after ten minutes.
pub(crate) async fn end_memory(workspace: &str) {
    for (entry, _) in
        contents(workspace).await.entries.iter().filter(|(entry, _)| entry.starts_with("REPLAY#"))
    {
        dynamodb()
            .update_item()
            .table_name(variable("KEYGATE_WORKSPACES_TABLE"))
            .key("workspace_id", AttributeValue::S(workspace.to_owned()))
            .key("entry", AttributeValue::S(entry.clone()))
            .update_expression("SET #ttl = :past")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":past", AttributeValue::N("1700000000".to_owned()))
            .send()
            .await
            .expect("the entry can be changed");
    }
}

/// Whether a user is marked as removed and has no key any more.
pub(crate) async fn is_cleared(workspace: &str, user: &str) -> bool {
    let item = dynamodb()
        .get_item()
        .table_name(variable("KEYGATE_WORKSPACES_TABLE"))
        .key("workspace_id", AttributeValue::S(workspace.to_owned()))
        .key("entry", AttributeValue::S(format!("USER#{user}")))
        .consistent_read(true);
    let user = item.send().await.expect("the table can be read").item.map(|item| to_json(&item));
    user.is_some_and(|user| user.get("removed_at").is_some() && user["key_count"] == 0)
}

/// A stored key, its hash included.
pub(crate) async fn key(id: &str) -> Value {
    to_json(&item(id).await)
}

async fn item(id: &str) -> Item {
    let read = dynamodb()
        .get_item()
        .table_name(variable("KEYGATE_KEYS_TABLE"))
        .key("key_id", AttributeValue::S(id.to_owned()))
        .consistent_read(true);
    read.send().await.expect("the table can be read").item.expect("the key is there")
}

/// A stored key, its hash included, in the form in which DynamoDB answers.
pub(crate) async fn as_read(id: &str) -> Value {
    let stored = item(id).await;
    stored.iter().map(|(name, value)| (name.clone(), value_as_read(value))).collect()
}

fn value_as_read(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::B(bytes) => json!({"B": STANDARD.encode(bytes)}),
        AttributeValue::L(list) => json!({"L": list.iter().map(value_as_read).collect::<Vec<_>>()}),
        other => panic!("an attribute of a type that Keygate does not use: {other:?}"),
    }
}

/// A stored token, its hash included.
pub(crate) async fn token(key_id: &str, token_id: &str) -> Value {
    let item = dynamodb()
        .get_item()
        .table_name(variable("KEYGATE_TOKENS_TABLE"))
        .key("key_id", AttributeValue::S(key_id.to_owned()))
        .key("entry", AttributeValue::S(format!("TOKEN#{token_id}")))
        .consistent_read(true);
    to_json(&item.send().await.expect("the table can be read").item.expect("the token is there"))
}

/// Writes that many more access tokens of a key, copies of one that it has.
pub(crate) async fn put_tokens(key: &str, count: u32) {
    let key_id = key.split('_').nth(2).expect("a key");
    let table = variable("KEYGATE_TOKENS_TABLE");
    let client = dynamodb();
    let query = client
        .query()
        .table_name(&table)
        .key_condition_expression("key_id = :key")
        .expression_attribute_values(":key", AttributeValue::S(key_id.to_owned()));
    let copied = query.send().await.expect("the table can be read").items.expect("tokens").remove(0);
    let puts: Vec<_> = (0..count)
        .map(|_| {
            let mut copy = copied.clone();
            let entry = format!("TOKEN#{}", TokenId::generate(chrono::Utc::now()));
            copy.insert("entry".to_owned(), AttributeValue::S(entry));
            let put = PutRequest::builder().set_item(Some(copy)).build().expect("an item");
            WriteRequest::builder().put_request(put).build()
        })
        .collect();
    for chunk in puts.chunks(25) {
        let written = client.batch_write_item().request_items(&table, chunk.to_vec()).send().await;
        let left = written.expect("the table can be written to").unprocessed_items.unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Writes that many more events of a user, copies of the last one that there is.
pub(crate) async fn put_events(workspace: &str, user: &str, count: u32) {
    let table = variable("KEYGATE_ACTIVITY_TABLE");
    let client = dynamodb();
    let query = client
        .query()
        .table_name(&table)
        .key_condition_expression("actor = :actor")
        .expression_attribute_values(":actor", AttributeValue::S(format!("{workspace}#{user}")))
        .scan_index_forward(false)
        .consistent_read(true)
        .limit(1);
    let copied = query.send().await.expect("the table can be read").items.expect("events").remove(0);
    let puts: Vec<_> = (0..count)
        .map(|_| {
            let mut copy = copied.clone();
            let now = chrono::Utc::now();
            let at = now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            let position = format!("{at}#{}", KeyId::generate(now));
            copy.insert("event".to_owned(), AttributeValue::S(position));
            let put = PutRequest::builder().set_item(Some(copy)).build().expect("an item");
            WriteRequest::builder().put_request(put).build()
        })
        .collect();
    for chunk in puts.chunks(25) {
        let written = client.batch_write_item().request_items(&table, chunk.to_vec()).send().await;
        let left = written.expect("the table can be written to").unprocessed_items.unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Gives a stored key other times that it is in no index of what is due by.
pub(crate) async fn move_times(id: &str, times: &[(&str, i64)]) {
    for (name, seconds) in times {
        let update = dynamodb()
            .update_item()
            .table_name(variable("KEYGATE_KEYS_TABLE"))
            .key("key_id", AttributeValue::S(id.to_owned()))
            .update_expression("SET #name = :seconds")
            .expression_attribute_names("#name", *name)
            .expression_attribute_values(":seconds", AttributeValue::N(seconds.to_string()));
        update.send().await.expect("the key can be changed");
    }
}

/// Writes that a key was used just now, so that the authorizer has no reason to.
pub(crate) async fn mark_used(id: &str) {
    dynamodb()
        .update_item()
        .table_name(variable("KEYGATE_KEYS_TABLE"))
        .key("key_id", AttributeValue::S(id.to_owned()))
        .update_expression("SET last_used_at = :now")
        .expression_attribute_values(":now", AttributeValue::N(chrono::Utc::now().timestamp().to_string()))
        .send()
        .await
        .expect("the key can be changed");
}

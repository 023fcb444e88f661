//! The contents of the tables, and the check of their consistency.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keygate_core::credential::{KeyId, TokenId};
use serde_json::{Value, json};

use crate::support::stack::{dynamodb, variable};

pub(crate) type Item = std::collections::HashMap<String, AttributeValue>;

/// The variables with the names of the tables: keys, workspaces, activity, usage, tokens.
pub(crate) const TABLES: [&str; 5] = [
    "KEYGATE_KEYS_TABLE",
    "KEYGATE_WORKSPACES_TABLE",
    "KEYGATE_ACTIVITY_TABLE",
    "KEYGATE_USAGE_TABLE",
    "KEYGATE_TOKENS_TABLE",
];

/// The actions that create a key.
const MAKING: [&str; 3] = ["key.created", "key.bootstrapped", "key.break_glass"];

/// All items of one workspace, except its tokens.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) keys: Vec<Value>,
    /// By entry.
    pub(crate) entries: BTreeMap<String, Value>,
    pub(crate) events: Vec<Value>,
    /// By the id of the key.
    pub(crate) last_uses: BTreeMap<String, Value>,
}

/// Reads all items of one workspace, except its tokens.
pub(crate) async fn contents(workspace: &str) -> Contents {
    contents_of(workspace, &TABLES.map(variable)).await
}

/// Reads all items of one workspace in these tables, except its tokens.
pub(crate) async fn contents_of(
    workspace: &str,
    [keys, entries, events, usage, _]: &[String; 5],
) -> Contents {
    let (keys, entries, events, last_uses) = tokio::join!(
        // The index by name has the name in the form in which it is compared. No index has the hashes.
        of_workspace(keys, Some("by_name"), workspace),
        of_workspace(entries, None, workspace),
        of_workspace(events, Some("by_workspace"), workspace),
        of_workspace(usage, Some("by_last_used_at"), workspace),
    );
    Contents::new(keys, entries, events, last_uses)
}

/// The calls of a user in the audit trail, oldest first.
pub(crate) async fn calls(workspace: &str, user: &str) -> Vec<Value> {
    events_of(workspace, user, "key.used").await
}

/// The events of a user with one action, oldest first.
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
    pub(crate) fn new(
        keys: Vec<Value>,
        entries: Vec<Value>,
        events: Vec<Value>,
        last_uses: Vec<Value>,
    ) -> Self {
        let entries = entries.into_iter().map(|entry| (string(&entry["entry"]), entry)).collect();
        let last_uses = last_uses.into_iter().map(|last| (string(&last["key_id"]), last)).collect();
        Self { keys, entries, events, last_uses }
    }

    /// Checks that the tables are consistent. Every key has its last use, its member entry and the event of its creation. Every key that has
    /// not expired has its name and is counted. Every name, member entry and count has its key, with the same times. A user is
    /// marked as removed exactly if the last event about that is a removal.
    #[track_caller]
    pub(crate) fn assert_consistent(&self) {
        self.assert_consistent_at(chrono::Utc::now().timestamp());
    }

    /// Checks the same at another time than now.
    #[track_caller]
    pub(crate) fn assert_consistent_at(&self, now: i64) {
        let keys: BTreeSet<String> = self.keys.iter().map(|key| string(&key["key_id"])).collect();
        let has_lapsed =
            |key: &Value| key["expires_at"].as_i64().is_some_and(|expires_at| expires_at + 2 <= now);
        self.assert_names(has_lapsed);
        let with_last_use: BTreeSet<String> = self.last_uses.keys().cloned().collect();
        assert_eq!(with_last_use, keys, "every key has its last use, and every last use its key: {self:#?}");

        let expected_members: BTreeSet<String> = self
            .keys
            .iter()
            .map(|key| format!("{}#{}", string(&key["user_id"]), string(&key["key_id"])))
            .collect();
        let members: BTreeSet<String> = self.entries_of("MEMBER#").map(|(rest, _)| rest.to_owned()).collect();
        assert_eq!(members, expected_members, "every key is one user's: {self:#?}");

        let mut expected_counts: BTreeMap<String, i64> = BTreeMap::new();
        for key in &self.keys {
            let (user, id) = (string(&key["user_id"]), string(&key["key_id"]));
            let member = &self.entries[&format!("MEMBER#{user}#{id}")];
            assert_eq!(
                (member.get("expires_at"), member.get("gone_at")),
                (key.get("expires_at"), key.get("ttl")),
                "the times of {id}: {self:#?}"
            );
            if member.get("counted").is_some() {
                *expected_counts.entry(user).or_default() += 1;
            } else {
                assert!(has_lapsed(key), "a key that has not expired counts: {id}: {self:#?}");
            }
        }
        let count =
            |(user, entry): (&str, &Value)| (user.to_owned(), entry["key_count"].as_i64().expect("a count"));
        let counts: BTreeMap<_, _> =
            self.entries_of("USER#").map(count).filter(|(_, count)| *count != 0).collect();
        assert_eq!(counts, expected_counts, "every user's keys are counted: {self:#?}");

        for key in &self.keys {
            let id = &key["key_id"];
            let made: usize = MAKING.map(|action| self.events_of(action, id)).iter().sum();
            let deleted = self.events_of("key.deleted", id) + self.leaks_of("key_deleted", id);
            assert_eq!((made, deleted), (1, 0), "the events of {id}: {self:#?}");
            let actions = ["key.updated", "key.rotated", "key.transferred"];
            let changed: usize = actions.map(|action| self.events_of(action, id)).iter().sum();
            let changed = changed + self.leaks_of("key_disabled", id) + self.leaks_of("overlap", id);
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
        let removals =
            self.entries.get("REMOVALS").map_or(0, |entry| entry["user_count"].as_u64().expect("a count"));
        let made_by_removal =
            self.entries_of("USER#").filter(|(_, user)| user.get("made_by_removal").is_some());
        assert_eq!(removals, made_by_removal.count() as u64, "every such user is counted: {self:#?}");
        for event in &self.events {
            let Some(id) = event.get("key_id") else {
                let action = string(&event["action"]);
                assert!(
                    action.starts_with("user.") || action == "legacy.imported",
                    "an event without a key: {event}"
                );
                continue;
            };
            let exists = keys.contains(&string(id));
            // A legacy key has no event of its own before its deletion, and is in another table.
            if event["action"] == "legacy.deleted" || event["ended"] == "legacy_key" {
                let deleted = self.events_of("legacy.deleted", id) + self.leaks_of("legacy_key", id);
                assert_eq!(deleted, 1, "a legacy key is deleted once: {event}");
                continue;
            }
            let ended = self.events_of("key.deleted", id) + self.events_of("key.purged", id);
            let ended = ended + self.leaks_of("key_deleted", id);
            assert_eq!(
                usize::from(exists) + ended,
                1,
                "the key of every event is there, or has ended once: {event}"
            );
        }
    }

    /// Checks that every name entry belongs to a key with that name, and that every key has its name entry, unless the key has
    /// freed its name.
    #[track_caller]
    fn assert_names(&self, has_lapsed: impl Fn(&Value) -> bool) {
        let by_id: BTreeMap<String, &Value> =
            self.keys.iter().map(|key| (string(&key["key_id"]), key)).collect();
        for (folded, entry) in self.entries_of("NAME#") {
            let owner = by_id.get(&string(&entry["key_id"]));
            let Some(owner) = owner else { panic!("the name {folded} of no key: {self:#?}") };
            assert_eq!(owner["name_folded"], folded, "the name of another key: {self:#?}");
            assert_eq!(
                (entry.get("expires_at"), entry.get("ttl")),
                (owner.get("expires_at"), owner.get("ttl")),
                "the times of the name {folded}: {self:#?}"
            );
        }
        for key in self.keys.iter().filter(|key| !has_lapsed(key)) {
            let folded = string(&key["name_folded"]);
            let owner = self.entries.get(&format!("NAME#{folded}")).map(|entry| &entry["key_id"]);
            assert_eq!(owner, Some(&key["key_id"]), "the name {folded}: {self:#?}");
        }
    }

    pub(crate) fn events_of(&self, action: &str, key_id: &Value) -> usize {
        self.events.iter().filter(|event| event["action"] == action && event["key_id"] == *key_id).count()
    }

    /// The number of reports that ended something of a key.
    fn leaks_of(&self, ended: &str, key_id: &Value) -> usize {
        let of_key = self.events.iter().filter(|event| event["key_id"] == *key_id);
        of_key.filter(|event| event["action"] == "key.leaked" && event["ended"] == ended).count()
    }

    fn entries_of<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.entries
            .iter()
            .filter_map(move |(entry, item)| entry.strip_prefix(prefix).map(|rest| (rest, item)))
    }
}

/// An item as JSON, with bytes as an array of numbers.
pub(crate) fn to_json(item: &Item) -> Value {
    item.iter().map(|(name, value)| (name.clone(), value_to_json(value))).collect()
}

fn value_to_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!(text),
        AttributeValue::N(number) => json!(number.parse::<i64>().expect("whole numbers only")),
        AttributeValue::B(bytes) => json!(bytes.as_ref()),
        AttributeValue::L(list) => list.iter().map(value_to_json).collect(),
        AttributeValue::Bool(value) => json!(value),
        AttributeValue::M(map) => to_json(map),
        AttributeValue::Null(_) => Value::Null,
        other => panic!("an attribute of a type that Keygate does not use: {other:?}"),
    }
}

pub(crate) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a string: {value}")).to_owned()
}

/// Makes an expiring key expired, without waiting: moves its times so that it expired ten seconds ago.
pub(crate) async fn expire(workspace: &str, key_id: &str) {
    let names = TABLES.map(variable);
    let contents = contents_of(workspace, &names).await;
    let key = contents.keys.into_iter().find(|key| key["key_id"] == key_id).expect("the key is there");
    let passed = key["expires_at"].as_i64().expect("it expires") + 10 - chrono::Utc::now().timestamp();
    let moved = |item: &Value, name: &str| Some(item.get(name)?.as_i64()? - passed);
    let mut items = vec![(&names[0], vec![("key_id", key_id.to_owned())], key)];
    for (entry, item) in contents.entries {
        let is_name = entry.starts_with("NAME#") && item["key_id"] == key_id;
        if is_name || entry.starts_with("MEMBER#") && entry.ends_with(key_id) {
            items.push((&names[1], vec![("workspace_id", workspace.to_owned()), ("entry", entry)], item));
        }
    }
    for (table, key, item) in items {
        let key = key.into_iter().map(|(name, value)| (name.to_owned(), AttributeValue::S(value))).collect();
        let mut update = dynamodb().update_item().table_name(table).set_key(Some(key));
        let mut assignments = Vec::new();
        for name in ["expires_at", "ttl", "gone_at"] {
            if let Some(seconds) = moved(&item, name) {
                assignments.push(format!("#{name} = :{name}"));
                update = update
                    .expression_attribute_names(format!("#{name}"), name)
                    .expression_attribute_values(format!(":{name}"), AttributeValue::N(seconds.to_string()));
            }
        }
        let update = update.update_expression(format!("SET {}", assignments.join(", ")));
        update.send().await.expect("the item can be changed");
    }
}

/// Lets the page code of a session expire now.
pub(crate) async fn expire_page_code(key_id: &str, session_id: &str) {
    dynamodb()
        .update_item()
        .table_name(variable("KEYGATE_TOKENS_TABLE"))
        .key("key_id", AttributeValue::S(key_id.to_owned()))
        .key("entry", AttributeValue::S(format!("CODE#{session_id}")))
        .update_expression("SET expires_at = :now")
        .condition_expression("attribute_exists(expires_at)")
        .expression_attribute_values(":now", AttributeValue::N(chrono::Utc::now().timestamp().to_string()))
        .send()
        .await
        .expect("the page code can be changed");
}

/// Ends the retention of an expiring key, without waiting: the key and its name are past their `ttl`, as before DynamoDB
/// deletes them.
pub(crate) async fn end_retention(key_id: &str) {
    let is_the_keys = |item: &Item| to_json(item)["key_id"] == key_id;
    for (table, attributes) in
        [("KEYGATE_KEYS_TABLE", &["key_id"][..]), ("KEYGATE_WORKSPACES_TABLE", &["workspace_id", "entry"])]
    {
        for item in everything(table).await.into_iter().filter(is_the_keys) {
            let key = attributes.iter().map(|name| ((*name).to_owned(), item[*name].clone())).collect();
            end_item(table, key, "SET #ttl = :past, expires_at = :past").await;
        }
    }
}

/// Ends the retention of a workspace's audit events, without waiting: they are past their `ttl`.
pub(crate) async fn end_retention_of_activity(workspace: &str) {
    let query = dynamodb()
        .query()
        .table_name(variable("KEYGATE_ACTIVITY_TABLE"))
        .index_name("by_workspace")
        .key_condition_expression("workspace_id = :workspace")
        .expression_attribute_values(":workspace", AttributeValue::S(workspace.to_owned()));
    for item in query.send().await.expect("the table can be read").items.expect("events") {
        let key = ["actor", "event"].map(|name| (name.to_owned(), item[name].clone())).into();
        end_item("KEYGATE_ACTIVITY_TABLE", key, "SET #ttl = :past").await;
    }
}

/// The idempotency records of a workspace.
pub(crate) async fn idempotency_records(workspace: &str) -> Vec<Value> {
    let partition = format!("#idempotency#{workspace}");
    of_workspace(&variable("KEYGATE_WORKSPACES_TABLE"), None, &partition).await
}

/// Ends the retention of a workspace's idempotency records, which is ten minutes.
pub(crate) async fn end_memory(workspace: &str) {
    for record in idempotency_records(workspace).await {
        let key = ["workspace_id", "entry"].map(|name| (name, string(&record[name])));
        let key = key_of(key.each_ref().map(|(name, value)| (*name, value.as_str())));
        end_item("KEYGATE_WORKSPACES_TABLE", key, "SET #ttl = :past").await;
    }
}

/// Moves the times of an item that an expression names into the past. The table is named by its variable.
async fn end_item(table: &str, key: Item, expression: &str) {
    let update = dynamodb()
        .update_item()
        .table_name(variable(table))
        .set_key(Some(key))
        .update_expression(expression)
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":past", AttributeValue::N("1700000000".to_owned()));
    update.send().await.expect("the item can be changed");
}

fn key_of<const N: usize>(attributes: [(&str, &str); N]) -> Item {
    attributes.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned()))).into()
}

/// Reads an item, consistently. The table is named by its variable.
async fn read(table: &str, key: Item) -> Option<Item> {
    let read = dynamodb().get_item().table_name(variable(table)).set_key(Some(key)).consistent_read(true);
    read.send().await.expect("the table can be read").item
}

/// Whether a user is marked as removed and has no keys left.
pub(crate) async fn is_cleared(workspace: &str, user_id: &str) -> bool {
    let key = key_of([("workspace_id", workspace), ("entry", &format!("USER#{user_id}"))]);
    let user = read("KEYGATE_WORKSPACES_TABLE", key).await.map(|item| to_json(&item));
    if user.is_none_or(|user| user.get("removed_at").is_none() || user["key_count"] != 0) {
        return false;
    }
    // Expired keys may be uncounted.
    let query = dynamodb()
        .query()
        .table_name(variable("KEYGATE_WORKSPACES_TABLE"))
        .key_condition_expression("workspace_id = :workspace AND begins_with(entry, :members)")
        .expression_attribute_values(":workspace", AttributeValue::S(workspace.to_owned()))
        .expression_attribute_values(":members", AttributeValue::S(format!("MEMBER#{user_id}#")))
        .consistent_read(true);
    query.send().await.expect("the table can be read").items.is_none_or(|members| members.is_empty())
}

/// Sets or deletes the mark of a removed user, and leaves the user's keys alone.
pub(crate) async fn mark_removed(workspace: &str, user: &str, removed: bool) {
    let at = chrono::Utc::now().timestamp_millis().to_string();
    let update = dynamodb()
        .update_item()
        .table_name(variable("KEYGATE_WORKSPACES_TABLE"))
        .key("workspace_id", AttributeValue::S(workspace.to_owned()))
        .key("entry", AttributeValue::S(format!("USER#{user}")));
    let update = if removed {
        let at = AttributeValue::N(at);
        // A user whose keys are all in another table has no entry before.
        update
            .update_expression("SET removed_at = :at, key_count = if_not_exists(key_count, :none)")
            .expression_attribute_values(":at", at)
            .expression_attribute_values(":none", AttributeValue::N("0".to_owned()))
    } else {
        update.update_expression("REMOVE removed_at")
    };
    update.send().await.expect("the entry can be changed");
}

/// Whether all removed users of a workspace have no keys left.
pub(crate) async fn is_cleared_of_removed(workspace: &str) -> bool {
    let users = of_workspace(&variable("KEYGATE_WORKSPACES_TABLE"), None, workspace).await;
    users.iter().filter(|user| user.get("removed_at").is_some()).all(|user| user["key_count"] == 0)
}

/// A stored key, its hash included.
pub(crate) async fn key(id: &str) -> Value {
    to_json(&item(id).await)
}

async fn item(id: &str) -> Item {
    read("KEYGATE_KEYS_TABLE", key_of([("key_id", id)])).await.expect("the key is there")
}

/// A stored key, its hash included, in the form of a DynamoDB response.
pub(crate) async fn as_read(id: &str) -> Value {
    let stored = item(id).await;
    stored.iter().map(|(name, value)| (name.clone(), value_as_read(value))).collect()
}

fn value_as_read(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::B(bytes) => json!({"B": STANDARD.encode(bytes)}),
        AttributeValue::Bool(value) => json!({"BOOL": value}),
        AttributeValue::L(list) => json!({"L": list.iter().map(value_as_read).collect::<Vec<_>>()}),
        other => panic!("an attribute of a type that Keygate does not use: {other:?}"),
    }
}

/// A stored token, its hash included.
pub(crate) async fn token(key_id: &str, token_id: &str) -> Value {
    let key = key_of([("key_id", key_id), ("entry", &format!("TOKEN#{token_id}"))]);
    to_json(&read("KEYGATE_TOKENS_TABLE", key).await.expect("the token is there"))
}

/// The item with the count of a key's tokens.
pub(crate) async fn live_tokens(key_id: &str) -> Value {
    let key = key_of([("key_id", key_id), ("entry", "LIVE")]);
    to_json(&read("KEYGATE_TOKENS_TABLE", key).await.expect("tokens are counted"))
}

/// Moves the first use of a refresh token that many milliseconds into the past. The token names its family.
pub(crate) async fn age_last_use(key_id: &str, token_id: &str, milliseconds: i64) {
    let token: TokenId = token_id.parse().expect("a token's id");
    let family = token.family().expect("a token of a family");
    dynamodb()
        .update_item()
        .table_name(variable("KEYGATE_TOKENS_TABLE"))
        .key("key_id", AttributeValue::S(key_id.to_owned()))
        .key("entry", AttributeValue::S(format!("FAMILY#{family}")))
        .update_expression("SET used_at = used_at - :more")
        .expression_attribute_values(":more", AttributeValue::N(milliseconds.to_string()))
        .send()
        .await
        .expect("the family can be changed");
}

/// Writes that many copies of an access token of a key.
pub(crate) async fn put_tokens(key: &str, count: u32) {
    let key_id = key.split('_').nth(2).expect("a key");
    let table = variable("KEYGATE_TOKENS_TABLE");
    let client = dynamodb();
    let query = client
        .query()
        .table_name(&table)
        .key_condition_expression("key_id = :key AND begins_with(entry, :token)")
        .expression_attribute_values(":token", AttributeValue::S("TOKEN#".to_owned()))
        .expression_attribute_values(":key", AttributeValue::S(key_id.to_owned()));
    let copied = query.send().await.expect("the table can be read").items.expect("tokens").remove(0);
    let puts = (0..count).map(|_| {
        let mut copy = copied.clone();
        let entry = format!("TOKEN#{}", TokenId::generate(chrono::Utc::now()));
        copy.insert("entry".to_owned(), AttributeValue::S(entry));
        put_request(copy)
    });
    write_batches(&client, &table, puts.collect()).await;
}

/// Writes that many copies of a user's last event.
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
    let puts = (0..count).map(|_| {
        let mut copy = copied.clone();
        let now = chrono::Utc::now();
        let at = now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let position = format!("{at}#{}", KeyId::generate(now));
        copy.insert("event".to_owned(), AttributeValue::S(position));
        put_request(copy)
    });
    write_batches(&client, &table, puts.collect()).await;
}

/// The request of a batch that puts an item.
pub(crate) fn put_request(item: Item) -> WriteRequest {
    let put = PutRequest::builder().set_item(Some(item)).build().expect("an item");
    WriteRequest::builder().put_request(put).build()
}

/// Writes requests to a table in batches of 25, the most that DynamoDB takes at once.
pub(crate) async fn write_batches(
    client: &aws_sdk_dynamodb::Client,
    table: &str,
    requests: Vec<WriteRequest>,
) {
    for batch in requests.chunks(25) {
        let written = client.batch_write_item().request_items(table, batch.to_vec()).send().await;
        let left = written.expect("the table can be written to").unprocessed_items.unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Changes times of a stored key that do not decide when it is due.
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

/// The stored last use of a key in seconds; 0 if it was never used.
pub(crate) async fn last_used_at(id: &str) -> i64 {
    last_used_at_in(&variable("KEYGATE_USAGE_TABLE"), id).await
}

/// The same in a table of a test's own.
pub(crate) async fn last_used_at_in(table: &str, id: &str) -> i64 {
    let read = dynamodb().get_item().table_name(table).set_key(Some(last_use_key(id))).consistent_read(true);
    let last_use = read.send().await.expect("the table can be read").item.expect("the key has a last use");
    to_json(&last_use)["last_used_at"].as_i64().expect("a time")
}

/// Writes the last use of a key into a table.
pub(crate) async fn set_last_used_at(table: &str, id: &str, seconds: i64) {
    dynamodb()
        .update_item()
        .table_name(table)
        .set_key(Some(last_use_key(id)))
        .update_expression("SET last_used_at = :seconds")
        .condition_expression("attribute_exists(key_id)")
        .expression_attribute_values(":seconds", AttributeValue::N(seconds.to_string()))
        .send()
        .await
        .expect("the key has a last use");
}

fn last_use_key(id: &str) -> Item {
    key_of([("key_id", id), ("entry", "LAST")])
}

//! Tables of a test's own, with the schema of the deployed ones. Only functions that the test starts use them.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, BillingMode, GlobalSecondaryIndex, TableDescription, TimeToLiveSpecification,
};
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use serde_json::{Value, json};

use crate::support::database::{
    Contents, TABLES, contents_of, last_used_at_in, put_request, set_last_used_at, to_json, write_batches,
};
use crate::support::emulator::signed;
use crate::support::eventually_within;
use crate::support::function::{Function, request};
use crate::support::stack::{Api, dynamodb, remember_secret, variable};
use crate::support::workspace::{Workspace, id_of, unique};

const PATIENCE: Duration = Duration::from_mins(1);

/// Keys, workspaces, activity, usage and tokens, with one workspace in them.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) names: [String; 5],
    pub(crate) workspace: Workspace,
}

/// A reader of a table's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    api: Api,
    arn: String,
    iterators: BTreeMap<String, String>,
}

impl Tables {
    /// Creates empty tables like the deployed ones, and bootstraps a workspace.
    pub(crate) async fn new() -> Self {
        let mut names = TABLES.map(|name| unique(name.to_lowercase().trim_start_matches("keygate_")));
        for (copy, original) in names.iter_mut().zip(TABLES) {
            create_with_stream_like(copy, &variable(original)).await;
        }
        let nobody = Workspace { api: Api::default(), id: unique("own"), admin: String::new() };
        let mut tables = Self { names, workspace: nobody };
        let creator = tables.start("create-key").await;
        let bootstrap =
            json!({"bootstrap": {"workspace_id": tables.workspace.id, "user_id": "admin", "name": "first"}});
        tables.workspace.admin = revealed(&creator.invoke(bootstrap).await.expect("the first key"));
        tables
    }

    /// Starts a function on these tables.
    pub(crate) async fn start(&self, function: &str) -> Function {
        self.start_with(function, &[]).await
    }

    pub(crate) async fn start_with(&self, function: &str, variables: &[(&str, &str)]) -> Function {
        let [keys, workspaces, activity, usage, tokens] = &self.names;
        let tables = [
            ("KEYS_TABLE", &**keys),
            ("WORKSPACES_TABLE", &**workspaces),
            ("ACTIVITY_TABLE", &**activity),
            ("USAGE_TABLE", &**usage),
            ("TOKENS_TABLE", &**tokens),
        ];
        Function::start(function, &[&tables[..], variables].concat()).await
    }

    /// The contents of the tables, which must be consistent.
    pub(crate) async fn contents(&self) -> Contents {
        let contents = self.unchecked_contents().await;
        contents.assert_consistent();
        contents
    }

    pub(crate) async fn unchecked_contents(&self) -> Contents {
        contents_of(&self.workspace.id, &self.names).await
    }

    /// A stored key, its hash included.
    pub(crate) async fn key(&self, id: &str) -> Option<Value> {
        let item = dynamodb()
            .get_item()
            .table_name(&self.names[0])
            .key("key_id", AttributeValue::S(id.to_owned()))
            .consistent_read(true);
        item.send().await.expect("the table can be read").item.as_ref().map(to_json)
    }

    /// The last use of a key in seconds; 0 if it was never used.
    pub(crate) async fn last_used_at(&self, id: &str) -> i64 {
        last_used_at_in(&self.names[3], id).await
    }

    /// Writes the last use of a key.
    pub(crate) async fn set_last_used_at(&self, id: &str, seconds: i64) {
        set_last_used_at(&self.names[3], id, seconds).await;
    }

    /// Writes copies of a key with ids of their own, and returns the ids. They end in the same characters, so that the copies are
    /// in the same shard.
    pub(crate) async fn copy_key(&self, id: &str, count: usize) -> Vec<String> {
        let own = |_| format!("{}{}", &KeyId::generate(Utc::now()).to_string()[..24], &id[24..]);
        let ids: Vec<_> = (0..count).map(own).collect();
        self.write_copies(id, ids.iter().map(|id| (id.clone(), None))).await;
        ids
    }

    /// Writes copies of a key with ids of their own, evenly in the four shards of the hour in which the key is due, and returns the
    /// ids.
    pub(crate) async fn copy_key_to_all_shards(&self, id: &str, count: usize) -> Vec<String> {
        let key = self.key(id).await.expect("the key is there");
        let (hour, _) = key["due_bucket"].as_str().and_then(|it| it.rsplit_once('#')).expect("a bucket");
        let ids: Vec<_> = (0..count).map(|_| KeyId::generate(Utc::now()).to_string()).collect();
        let buckets = (0..count).map(|at| Some(format!("{hour}#{}", at % 4)));
        self.write_copies(id, ids.iter().cloned().zip(buckets)).await;
        ids
    }

    /// Writes copies of a key with these ids and, where one is given, in another bucket of the index by due time.
    async fn write_copies(&self, id: &str, requested: impl Iterator<Item = (String, Option<String>)>) {
        let client = dynamodb();
        let read =
            client.get_item().table_name(&self.names[0]).key("key_id", AttributeValue::S(id.to_owned()));
        let copied = read.send().await.expect("the table can be read").item.expect("the key is there");
        let put = |(id, bucket): (String, Option<String>)| {
            let mut copy = copied.clone();
            copy.insert("key_id".to_owned(), AttributeValue::S(id));
            copy.extend(bucket.map(|bucket| ("due_bucket".to_owned(), AttributeValue::S(bucket))));
            put_request(copy)
        };
        write_batches(&client, &self.names[0], requested.map(put).collect()).await;
    }

    /// Changes times of a stored key, and its place in the index by due time.
    pub(crate) async fn move_times(&self, id: &str, key: &Value, times: &[(&str, i64)]) {
        let mut update = dynamodb()
            .update_item()
            .table_name(&self.names[0])
            .key("key_id", AttributeValue::S(id.to_owned()));
        let mut assignments = Vec::new();
        for (index, (name, seconds)) in times.iter().enumerate() {
            assignments.push(format!("#n{index} = :n{index}"));
            update = update
                .expression_attribute_names(format!("#n{index}"), *name)
                .expression_attribute_values(format!(":n{index}"), AttributeValue::N(seconds.to_string()));
        }
        if let Some((_, due_at)) = times.iter().find(|(name, _)| *name == "due_at") {
            let (_, shard) = key["due_bucket"].as_str().and_then(|it| it.rsplit_once('#')).expect("a bucket");
            let hour = DateTime::from_timestamp(*due_at, 0).expect("a time").format("%Y-%m-%dT%H");
            assignments.push("due_bucket = :bucket".to_owned());
            update =
                update.expression_attribute_values(":bucket", AttributeValue::S(format!("{hour}#{shard}")));
        }
        let update = update.update_expression(format!("SET {}", assignments.join(", ")));
        update.send().await.expect("the key can be changed");
        self.move_entries(id, times).await;
    }

    /// Changes the times of a key's entries like those of the key.
    async fn move_entries(&self, id: &str, times: &[(&str, i64)]) {
        for (entry, item) in self.unchecked_contents().await.entries {
            let ttl = match () {
                () if item["key_id"] == id && entry.starts_with("NAME#") => "ttl",
                () if entry.starts_with("MEMBER#") && entry.ends_with(id) => "gone_at",
                () => continue,
            };
            let mut item = item;
            for (name, seconds) in times {
                match *name {
                    "ttl" => item[ttl] = json!(seconds),
                    "expires_at" => item["expires_at"] = json!(seconds),
                    _ => {}
                }
            }
            self.put_entry(&item).await;
        }
    }

    /// Puts an entry into `workspaces`, without the checks and the other writes of Keygate.
    pub(crate) async fn put_entry(&self, entry: &Value) {
        put_entry(&self.names[1], entry).await;
    }

    /// Removes a key's item alone, as TTL does.
    pub(crate) async fn remove_key(&self, id: &str) {
        remove_key(&self.names[0], id).await;
    }

    /// Removes an entry, as TTL does.
    pub(crate) async fn remove_entry(&self, entry: &str) {
        let delete = dynamodb()
            .delete_item()
            .table_name(&self.names[1])
            .key("workspace_id", AttributeValue::S(self.workspace.id.clone()))
            .key("entry", AttributeValue::S(entry.to_owned()));
        delete.send().await.expect("the entry can be removed");
    }

    /// Enables TTL for keys.
    pub(crate) async fn enable_ttl(&self) {
        let ttl = TimeToLiveSpecification::builder().attribute_name("ttl").enabled(true).build();
        let update = dynamodb()
            .update_time_to_live()
            .table_name(&self.names[0])
            .time_to_live_specification(ttl.expect("an attribute"));
        update.send().await.expect("the time to live can be set");
    }

    pub(crate) async fn keys_stream(&self) -> Stream {
        Stream::of(&self.names[0]).await
    }

    pub(crate) async fn activity_stream(&self) -> Stream {
        Stream::of(&self.names[2]).await
    }
}

impl Stream {
    async fn of(table: &str) -> Self {
        let arn = description(table).await.latest_stream_arn.expect("the table has a stream");
        Self { api: Api::default(), arn, iterators: BTreeMap::new() }
    }

    /// The new records, in the form in which Lambda hands them to a function.
    pub(crate) async fn records(&mut self) -> Vec<Value> {
        let described = self.ask("DescribeStream", json!({"StreamArn": self.arn})).await;
        let shards = described["StreamDescription"]["Shards"].as_array().expect("shards").clone();
        let mut records = Vec::new();
        for shard in shards.iter().map(|shard| shard["ShardId"].as_str().expect("an id").to_owned()) {
            let iterator = if let Some(iterator) = self.iterators.get(&shard) {
                iterator.clone()
            } else {
                let start =
                    json!({"StreamArn": self.arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
                let answer = self.ask("GetShardIterator", start).await;
                answer["ShardIterator"].as_str().expect("an iterator").to_owned()
            };
            let page = self.ask("GetRecords", json!({"ShardIterator": iterator})).await;
            records.extend(page["Records"].as_array().expect("records").iter().map(lambda_record));
            if let Some(next) = page["NextShardIterator"].as_str() {
                self.iterators.insert(shard, next.to_owned());
            }
        }
        records
    }

    /// Waits for a wanted record. Returns all records up to it.
    pub(crate) async fn records_with(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut found = Vec::new();
        eventually_within(PATIENCE, "the stream has the record", async || {
            found.extend(self.records().await);
            found.iter().any(&wanted)
        })
        .await;
        found
    }

    async fn ask(&self, operation: &str, parameters: Value) -> Value {
        let request = signed(self.api.client().post(variable("KEYGATE_DYNAMODB_URL")), "dynamodb")
            .header("X-Amz-Target", format!("DynamoDBStreams_20120810.{operation}"))
            .header("X-Amz-Date", "20260101T000000Z")
            .header("Content-Type", "application/x-amz-json-1.0")
            .body(parameters.to_string());
        let answer =
            request.send().await.expect("the database responds").text().await.expect("a whole response");
        serde_json::from_str(&answer).expect("JSON")
    }
}

/// The event of a batch of records.
pub(crate) fn batch(records: &[Value]) -> Value {
    json!({"Records": records})
}

/// A record as Lambda hands it over: the members of its identity begin in lower case, and it names its source.
fn lambda_record(record: &Value) -> Value {
    let mut converted = record.clone();
    if let Some(identity) = record["userIdentity"].as_object() {
        converted["userIdentity"] = json!({"type": identity["Type"], "principalId": identity["PrincipalId"]});
    }
    converted["awsRegion"] = json!("eu-west-1");
    converted["eventSource"] = json!("aws:dynamodb");
    converted
}

/// The text of the key in a function's response. It is recorded as a secret, which no table and no log may have.
pub(crate) fn revealed(answer: &Value) -> String {
    let body = answer["body"].as_str().map(|body| serde_json::from_str::<Value>(body).expect("JSON"));
    let key = body.as_ref().unwrap_or(answer)["key"].as_str().unwrap_or_else(|| panic!("a key: {answer}"));
    remember_secret(&key[key.len() - 49..][..43]);
    key.to_owned()
}

/// Creates a key through a function, as the workspace's administrator. Returns the key's id.
pub(crate) async fn create_key(creator: &Function, workspace: &Workspace, body: &Value) -> String {
    let event = request(workspace, ("POST", "/api-keys"), None, &[], body);
    id_of(&revealed(&creator.invoke(event).await.expect("a response"))).to_owned()
}

/// Changes a key through a function, as the workspace's administrator. The request must succeed.
pub(crate) async fn update_key(updater: &Function, workspace: &Workspace, id: &str, body: &Value) {
    let event = request(workspace, ("PATCH", "/api-keys/{id}"), Some(id), &[], body);
    let answer = updater.invoke(event).await.expect("a response");
    assert_eq!(answer["statusCode"], 200, "{answer}");
}

/// Puts an entry into a table, without the checks and the other writes of Keygate.
pub(crate) async fn put_entry(table: &str, entry: &Value) {
    let item = entry.as_object().expect("an object").iter().map(|(name, value)| {
        let value = match value {
            Value::String(text) => AttributeValue::S(text.clone()),
            Value::Bool(value) => AttributeValue::Bool(*value),
            number => AttributeValue::N(number.to_string()),
        };
        (name.clone(), value)
    });
    let put = dynamodb().put_item().table_name(table).set_item(Some(item.collect()));
    put.send().await.expect("the entry can be written");
}

/// Removes a key's item alone from a table.
pub(crate) async fn remove_key(table: &str, id: &str) {
    let delete = dynamodb().delete_item().table_name(table).key("key_id", AttributeValue::S(id.to_owned()));
    delete.send().await.expect("the key can be removed");
}

/// Creates an empty table with the key, the indexes and the stream of another one.
async fn create_with_stream_like(copy: &str, original: &str) {
    let table = description(original).await;
    let stream = table.stream_specification.clone();
    let create = creation_like(copy, table).set_stream_specification(stream);
    create.send().await.expect("the table can be created");
}

/// Creates an empty table with the key and the indexes of another one. It has no stream, which would slow down the local
/// database.
pub(crate) async fn create_like(copy: &str, original: &str) {
    let create = creation_like(copy, description(original).await);
    create.send().await.expect("the table can be created");
}

async fn description(table: &str) -> TableDescription {
    let described = dynamodb().describe_table().table_name(table).send().await.expect("the table is there");
    described.table.expect("a description")
}

fn creation_like(copy: &str, table: TableDescription) -> CreateTableFluentBuilder {
    let indexes = table.global_secondary_indexes.unwrap_or_default().into_iter().map(|index| {
        GlobalSecondaryIndex::builder()
            .set_index_name(index.index_name)
            .set_key_schema(index.key_schema)
            .set_projection(index.projection)
            .build()
            .expect("an index")
    });
    let indexes: Vec<_> = indexes.collect();
    dynamodb()
        .create_table()
        .table_name(copy)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(table.attribute_definitions)
        .set_key_schema(table.key_schema)
        .set_global_secondary_indexes((!indexes.is_empty()).then_some(indexes))
}

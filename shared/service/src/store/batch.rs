//! `BatchGetItem`, with the SDK's client and without it.
//!
//! When `DynamoDB` throttles a batch or a part of it fails, the response has some of the items and lists the unprocessed
//! keys. The SDK does not treat this as an error and does not retry. This module requests the unprocessed keys again, after
//! a pause, until all items are read or the time limit of a call has passed.
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::types::builders::KeysAndAttributesBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use keygate_core::error::Error;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use crate::aws::backoff::Backoff;
use crate::aws::dynamodb_read_client::DynamoDbReadClient;

/// The maximum number of items that one request reads.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>
const MAX_PER_REQUEST: usize = 100;

/// The maximum pause before the first retry, and the maximum of all pauses.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The time limit of a read with a client that has no time limit for a call.
const BUDGET: Duration = Duration::from_secs(3);

/// Items by table.
type ItemsByTable<Item> = HashMap<String, Vec<Item>>;

/// Reads items of one or more tables without the SDK's client. `wanted` is the `RequestItems` member of the request.
///
/// # Errors
///
/// - [`Error::Unavailable`]: the database did not respond, or items were still unprocessed when the time was over.
/// - [`Error::Broken`]: the database rejected the request.
pub(super) async fn get_directly(
    client: &DynamoDbReadClient,
    mut wanted: Map<String, Value>,
) -> Result<ItemsByTable<serde_dynamo::Item>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct BatchGetResponse {
        #[serde(default)]
        responses: ItemsByTable<serde_dynamo::Item>,
        #[serde(default)]
        unprocessed_keys: Map<String, Value>,
    }
    let (mut found, mut reads) = (ItemsByTable::new(), ReadBudget::within(client.budget()));
    loop {
        let request = json!({"RequestItems": wanted});
        let response: BatchGetResponse = reads.call(client.call("BatchGetItem", &request)).await?;
        merge(&mut found, response.responses);
        if response.unprocessed_keys.is_empty() {
            return Ok(found);
        }
        wanted = response.unprocessed_keys;
        reads.pause().await?;
    }
}

/// Reads items of one or more tables with the SDK's client.
///
/// # Errors
///
/// - [`Error::Unavailable`]: the database did not respond, or items were still unprocessed when the time was over.
pub(super) async fn get(
    client: &Client,
    mut wanted: HashMap<String, KeysAndAttributes>,
) -> Result<ItemsByTable<HashMap<String, AttributeValue>>, Error> {
    let time = client.config().timeout_config().and_then(TimeoutConfig::operation_timeout);
    let (mut found, mut reads) = (ItemsByTable::new(), ReadBudget::within(time.unwrap_or(BUDGET)));
    loop {
        let call = client.batch_get_item().set_request_items(Some(wanted)).send();
        let call = async { call.await.map_err(|failure| Error::unavailable("DynamoDB", &failure)) };
        let response = reads.call(Box::pin(call)).await?;
        merge(&mut found, response.responses.unwrap_or_default());
        wanted = response.unprocessed_keys.unwrap_or_default();
        if wanted.is_empty() {
            return Ok(found);
        }
        reads.pause().await?;
    }
}

/// Reads the items of one table with the SDK's client, in as many requests as they need. `keys` has no key twice, because
/// `DynamoDB` rejects that. `attributes` adds to each request which attributes to read, and how consistently. The result is
/// in no order, and lacks the items that do not exist.
///
/// # Errors
///
/// - [`Error::Unavailable`]: the database did not respond, or items were still unprocessed when the time was over.
///
/// # Panics
///
/// Never: a request always has keys to read.
pub(super) async fn get_all(
    client: &Client,
    table: &str,
    keys: Vec<HashMap<String, AttributeValue>>,
    attributes: impl Fn(KeysAndAttributesBuilder) -> KeysAndAttributesBuilder,
) -> Result<Vec<HashMap<String, AttributeValue>>, Error> {
    let mut items = Vec::with_capacity(keys.len());
    for keys in keys.chunks(MAX_PER_REQUEST) {
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys.to_vec()));
        let wanted = attributes(wanted).build().expect("keys to read");
        let mut read = get(client, HashMap::from([(table.to_owned(), wanted)])).await?;
        items.extend(read.remove(table).unwrap_or_default());
    }
    Ok(items)
}

fn merge<Item>(found: &mut ItemsByTable<Item>, part: ItemsByTable<Item>) {
    for (table, items) in part {
        found.entry(table).or_default().extend(items);
    }
}

/// The requests of one read, and the time limit for all of them.
struct ReadBudget {
    backoff: Backoff,
    /// Whether an earlier response had unprocessed keys.
    is_partial: bool,
}

impl ReadBudget {
    fn within(budget: Duration) -> Self {
        let backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE, Instant::now() + budget);
        Self { backoff, is_partial: false }
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        timeout_at(self.backoff.deadline(), call).await.unwrap_or_else(|_| Err(self.out_of_time()))
    }

    async fn pause(&mut self) -> Result<(), Error> {
        self.is_partial = true;
        if self.backoff.pause().await { Ok(()) } else { Err(self.out_of_time()) }
    }

    fn out_of_time(&self) -> Error {
        let cause = if self.is_partial { "it left keys unprocessed" } else { "out of time" };
        Error::Unavailable { service: "DynamoDB", cause: cause.to_owned() }
    }
}

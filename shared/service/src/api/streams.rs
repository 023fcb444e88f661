//! The edge of functions that nobody waits for: batches of a table's stream, and schedules.
//!
//! Lambda hands a batch on until the function says that it is done, all of it or up to a record, and at least once. A
//! record that cannot be handled is cut out by halving the batch and ends in a dead-letter queue after some attempts.
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html>

use std::time::{Duration, SystemTime};

use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use chrono::{DateTime, Utc};
use keygate_core::error::Error;
use lambda_http::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How long before Lambda ends an invocation nothing new is begun.
const RESERVE: Duration = Duration::from_secs(10);

/// Who removes items at the end of their time.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html>
const TIME_TO_LIVE: (&str, &str) = ("Service", "dynamodb.amazonaws.com");

/// When an invocation should begin nothing new.
#[must_use]
pub fn stop_at(context: &Context) -> Instant {
    let left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + left.saturating_sub(RESERVE)
}

/// What becomes of a batch.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchResponse {
    #[serde(rename = "batchItemFailures")]
    failures: Vec<BatchItemFailure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct BatchItemFailure {
    #[serde(rename = "itemIdentifier")]
    sequence_number: String,
}

impl BatchResponse {
    /// Everything before that record is done. It comes again, and so does all that comes after it.
    fn until(record: &EventRecord) -> Self {
        let sequence_number = record.change.sequence_number.clone().unwrap_or_default();
        Self { failures: vec![BatchItemFailure { sequence_number }] }
    }
}

/// Handles a batch in parts of `size` records of which `wanted` makes something; the others are done. `handle` says of each
/// whether it is done. The parts are handled whatever becomes of those before, so that one record does not hold up others;
/// what is handled twice for that must not matter.
pub async fn process_batch<T>(
    event: Event,
    size: usize,
    wanted: impl Fn(&EventRecord) -> Option<Result<T, Error>>,
    handle: impl AsyncFn(&[T]) -> Result<Vec<bool>, Error>,
) -> BatchResponse {
    let mut unhandled: Vec<usize> = Vec::new();
    let mut parsed: Vec<(usize, T)> = Vec::new();
    for (index, record) in event.records.iter().enumerate() {
        match wanted(record) {
            None => {}
            Some(Ok(item)) => parsed.push((index, item)),
            Some(Err(error)) => {
                not_handled(record, &error);
                unhandled.push(index);
            }
        }
    }
    let mut parsed = parsed.into_iter().peekable();
    while parsed.peek().is_some() {
        let (indexes, items): (Vec<usize>, Vec<T>) = parsed.by_ref().take(size).unzip();
        match handle(&items).await {
            Ok(done) => {
                let failed = indexes.iter().zip(&done).filter(|(_, done)| !**done).map(|(index, _)| *index);
                unhandled.extend(failed);
            }
            Err(error) => {
                not_handled(&event.records[indexes[0]], &error);
                unhandled.extend(indexes);
            }
        }
    }
    let first = unhandled.into_iter().min();
    first.map_or_else(BatchResponse::default, |index| BatchResponse::until(&event.records[index]))
}

/// The items of the records that say what an item is now.
///
/// # Errors
///
/// - [`Error::Broken`]: an item is something else.
#[must_use]
pub fn new_image<T: DeserializeOwned>(record: &EventRecord) -> Option<Result<T, Error>> {
    let image = &record.change.new_image;
    (!image.is_empty()).then(|| {
        serde_dynamo::from_item(image.clone())
            .map_err(|_| Error::Broken("a record is not as it should be".to_owned()))
    })
}

/// An item that `DynamoDB` removed because its time was over, and when; nothing, if somebody deleted it.
///
/// # Errors
///
/// - [`Error::Broken`]: the item is something else.
#[must_use]
pub fn removed_by_time<T: DeserializeOwned>(
    record: &EventRecord,
) -> Option<Result<(T, DateTime<Utc>), Error>> {
    let by = record.user_identity.as_ref().map(|by| (by.type_.as_str(), by.principal_id.as_str()));
    if record.event_name != "REMOVE" || by != Some(TIME_TO_LIVE) {
        return None;
    }
    let at = record.change.approximate_creation_date_time;
    let item = serde_dynamo::from_item(record.change.old_image.clone());
    // What is wrong is not said: serde's messages can quote values.
    Some(item.map(|item| (item, at)).map_err(|_| Error::Broken("a record is not as it should be".to_owned())))
}

/// What makes a function run that has two sources: a table's stream, or a queue. It has no `Debug`, as nothing has that holds
/// an event.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Trigger {
    /// A batch of the stream.
    Stream(Event),
    /// A batch of the queue.
    Queue(QueueBatch),
}

/// A batch of messages.
#[derive(Deserialize)]
pub struct QueueBatch {
    #[serde(rename = "Records")]
    records: Vec<QueueMessage>,
}

#[derive(Deserialize)]
struct QueueMessage {
    body: String,
}

impl QueueBatch {
    /// What the messages say.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: one of them says something else.
    pub fn bodies<T: DeserializeOwned>(&self) -> Result<Vec<T>, Error> {
        let bodies = self.records.iter().map(|message| serde_json::from_str(&message.body));
        bodies.collect::<Result<_, _>>().map_err(|_| Error::Broken("a message of nobody we know".to_owned()))
    }
}

fn not_handled(record: &EventRecord, error: &Error) {
    let sequence_number = record.change.sequence_number.as_deref();
    tracing::error!(sequence_number, %error, "stream record failed");
}

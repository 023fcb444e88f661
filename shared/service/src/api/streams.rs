//! The interfaces of functions without a client: batches of a table's stream, queues and schedules.
//!
//! Lambda delivers a batch at least once, and again until the function reports that it is done, completely or up to a
//! record. Lambda halves a failing batch to isolate a failing record, which ends in a dead-letter queue after some attempts.
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html>

use std::time::{Duration, SystemTime};

use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use chrono::{DateTime, Utc};
use keygate_core::error::Error;
use lambda_http::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How long before the end of an invocation no new work starts.
const RESERVE: Duration = Duration::from_secs(10);

/// The principal that removes items at the end of their `ttl`.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html>
const TIME_TO_LIVE: (&str, &str) = ("Service", "dynamodb.amazonaws.com");

/// The time after which an invocation should start no new work.
#[must_use]
pub fn stop_at(context: &Context) -> Instant {
    let left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + left.saturating_sub(RESERVE)
}

/// The result of a batch.
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
    /// Reports everything before this record as done. Lambda delivers the record and those after it again.
    fn until(record: &EventRecord) -> Self {
        let sequence_number = record.change.sequence_number.clone().unwrap_or_default();
        Self { failures: vec![BatchItemFailure { sequence_number }] }
    }
}

/// Processes a batch in parts of `size` records. `wanted` selects and converts the records; the others count as done.
/// `handle` returns for each record of a part whether it is done. A failed part does not prevent the following parts, so
/// that one record does not block others. Records may be processed again, so `handle` must be idempotent.
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
    // To Lambda this invocation is a success, so the alarm on the function counts this line.
    if !unhandled.is_empty() {
        tracing::error!(records = unhandled.len(), "stream batch incomplete");
    }
    let first = unhandled.into_iter().min();
    first.map_or_else(BatchResponse::default, |index| BatchResponse::until(&event.records[index]))
}

/// The new item of a record; `None` for a deletion.
///
/// # Errors
///
/// - [`Error::Broken`]: the item is not valid.
#[must_use]
pub fn new_image<T: DeserializeOwned>(record: &EventRecord) -> Option<Result<T, Error>> {
    let image = &record.change.new_image;
    (!image.is_empty()).then(|| {
        serde_dynamo::from_item(image.clone())
            .map_err(|_| Error::Broken("a stream record is malformed".to_owned()))
    })
}

/// The item that `DynamoDB` removed at its `ttl`, with the time; `None` for any other record.
///
/// # Errors
///
/// - [`Error::Broken`]: the item is not valid.
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
    // The error has no details, because serde's messages can quote values.
    Some(item.map(|item| (item, at)).map_err(|_| Error::Broken("a stream record is malformed".to_owned())))
}

/// The event of a function with two sources: a table's stream and a queue. Like every type that contains an event, it has no
/// `Debug`.
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
    /// The decoded messages.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: a message is not valid.
    pub fn bodies<T: DeserializeOwned>(&self) -> Result<Vec<T>, Error> {
        let bodies = self.records.iter().map(|message| serde_json::from_str(&message.body));
        bodies.collect::<Result<_, _>>().map_err(|_| Error::Broken("a queue message is not valid".to_owned()))
    }
}

fn not_handled(record: &EventRecord, error: &Error) {
    let sequence_number = record.change.sequence_number.as_deref();
    tracing::error!(sequence_number, %error, "stream record failed");
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::{Value, json};

    use super::*;

    fn record(name: &str, sequence_number: &str, image: &Value, by: &Value) -> Value {
        let mut change = json!({
            "ApproximateCreationDateTime": 1_000_000_000, "Keys": {}, "SequenceNumber": sequence_number,
            "SizeBytes": 1, "StreamViewType": "NEW_AND_OLD_IMAGES",
        });
        change[if name == "REMOVE" { "OldImage" } else { "NewImage" }] = image.clone();
        json!({
            "eventID": sequence_number, "eventName": name, "eventVersion": "1.1", "eventSource": "aws:dynamodb",
            "awsRegion": "eu-central-1", "dynamodb": change, "userIdentity": by,
        })
    }

    fn event(records: &[Value]) -> Event {
        serde_json::from_value(json!({"Records": records})).unwrap()
    }

    /// A batch of insertions of the numbers from 0, whose sequence numbers are `s0`, `s1`, ….
    fn insertions(count: usize) -> Event {
        let record = |index: usize| {
            record("INSERT", &format!("s{index}"), &json!({"n": {"N": index.to_string()}}), &Value::Null)
        };
        event(&(0..count).map(record).collect::<Vec<_>>())
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
    struct Item {
        n: usize,
    }

    fn number(record: &EventRecord) -> Option<Result<usize, Error>> {
        new_image::<Item>(record).map(|item| item.map(|item| item.n))
    }

    fn failures(response: &BatchResponse) -> Value {
        serde_json::to_value(response).unwrap()["batchItemFailures"].clone()
    }

    fn until(sequence_number: &str) -> Value {
        json!([{"itemIdentifier": sequence_number}])
    }

    #[tokio::test]
    async fn a_batch_is_processed_in_parts_and_done_when_all_parts_are() {
        let parts = RefCell::new(Vec::new());
        let handle = async |items: &[usize]| {
            parts.borrow_mut().push(items.to_vec());
            Ok(vec![true; items.len()])
        };
        assert_eq!(process_batch(insertions(5), 2, number, handle).await, BatchResponse::default());
        assert_eq!(parts.into_inner(), [vec![0, 1], vec![2, 3], vec![4]]);
    }

    #[tokio::test]
    async fn the_batch_is_redelivered_from_the_first_record_that_is_not_done() {
        for (undone, first) in [(&[3, 1][..], "s1"), (&[4], "s4"), (&[0, 4], "s0")] {
            let handle =
                async |items: &[usize]| Ok(items.iter().map(|item| !undone.contains(item)).collect());
            let response = process_batch(insertions(5), 2, number, handle).await;
            assert_eq!(failures(&response), until(first), "{undone:?}");
        }
    }

    #[tokio::test]
    async fn a_failed_part_is_redelivered_and_does_not_block_later_parts() {
        let handled = RefCell::new(Vec::new());
        let handle = async |items: &[usize]| {
            handled.borrow_mut().extend_from_slice(items);
            if items.contains(&3) { Err(Error::Busy) } else { Ok(vec![true; items.len()]) }
        };
        let response = process_batch(insertions(6), 2, number, handle).await;
        assert_eq!(failures(&response), until("s2"));
        assert_eq!(handled.into_inner(), [0, 1, 2, 3, 4, 5]);
    }

    #[tokio::test]
    async fn an_unreadable_record_fails_and_an_unwanted_one_is_done() {
        let handled = RefCell::new(Vec::new());
        let wanted = |record: &EventRecord| match number(record) {
            Some(Ok(2)) => Some(Err(Error::Broken("unreadable".to_owned()))),
            Some(Ok(0)) => None,
            other => other,
        };
        let handle = async |items: &[usize]| {
            handled.borrow_mut().extend_from_slice(items);
            Ok(items.iter().map(|item| *item != 3).collect())
        };
        let response = process_batch(insertions(5), 10, wanted, handle).await;
        assert_eq!(failures(&response), until("s2"), "the unreadable one comes before the one that failed");
        assert_eq!(handled.into_inner(), [1, 3, 4]);
        let none = process_batch(insertions(3), 10, |_| None::<Result<usize, Error>>, async |_| Ok(vec![]));
        assert_eq!(none.await, BatchResponse::default());
    }

    #[test]
    fn the_error_of_an_invalid_item_does_not_quote_it() {
        let records = event(&[
            record("INSERT", "s0", &json!({"n": {"N": "7"}}), &Value::Null),
            record("INSERT", "s1", &json!({"n": {"S": "secret"}}), &Value::Null),
            record("REMOVE", "s2", &json!({"n": {"N": "7"}}), &Value::Null),
        ])
        .records;
        assert_eq!(new_image::<Item>(&records[0]).unwrap().unwrap(), Item { n: 7 });
        let error = new_image::<Item>(&records[1]).unwrap().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        assert!(new_image::<Item>(&records[2]).is_none());
    }

    #[test]
    fn only_dynamodb_itself_removes_an_item_at_its_ttl() {
        let image = json!({"n": {"N": "7"}});
        let dynamodb = json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"});
        let records = event(&[
            record("REMOVE", "s0", &image, &dynamodb),
            record("REMOVE", "s1", &image, &Value::Null),
            record("REMOVE", "s2", &image, &json!({"type": "Service", "principalId": "other.amazonaws.com"})),
            record("MODIFY", "s3", &image, &dynamodb),
            record("REMOVE", "s4", &json!({"n": {"S": "secret"}}), &dynamodb),
        ])
        .records;
        let (item, at) = removed_by_time::<Item>(&records[0]).unwrap().unwrap();
        assert_eq!((item, at.timestamp()), (Item { n: 7 }, 1_000_000_000));
        for record in &records[1..4] {
            assert!(removed_by_time::<Item>(record).is_none(), "{:?}", record.change.sequence_number);
        }
        let error = removed_by_time::<Item>(&records[4]).unwrap().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn no_work_starts_in_the_last_seconds_of_an_invocation() {
        let deadline_in = |seconds| {
            let deadline = SystemTime::now() + Duration::from_secs(seconds);
            let milliseconds = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
            let mut context = Context::default();
            context.deadline = u64::try_from(milliseconds).unwrap();
            context
        };
        let left = |seconds| stop_at(&deadline_in(seconds)).duration_since(Instant::now()).as_secs_f64();
        assert!((49.0..=50.0).contains(&left(60)), "{}", left(60));
        assert!(left(5) <= 0.0, "{}", left(5));
        assert!(stop_at(&Context::default()) <= Instant::now());
    }

    #[test]
    fn a_function_with_two_sources_distinguishes_a_stream_from_a_queue() {
        let stream = json!({"Records": [record("INSERT", "s0", &json!({"n": {"N": "7"}}), &Value::Null)]});
        assert!(
            matches!(serde_json::from_value(stream).unwrap(), Trigger::Stream(event) if event.records.len() == 1)
        );
        let queue = |body: &str| match serde_json::from_value(json!({"Records": [{"body": body}]})).unwrap() {
            Trigger::Queue(batch) => batch.bodies::<Item>(),
            Trigger::Stream(_) => panic!("not a stream"),
        };
        assert_eq!(queue(r#"{"n": 7}"#).unwrap(), [Item { n: 7 }]);
        assert!(matches!(queue("{}"), Err(Error::Broken(_))));
    }
}

//! Reads the stream of `keys`, and removes the names and member entries of keys that `DynamoDB` removed at their `ttl`.

use aws_lambda_events::event::dynamodb::Event;
use chrono::{DateTime, Utc};
use keygate::api::streams;
use keygate::aws::BACKGROUND_BUDGET;
use keygate::keys::purge::{RemovedKey, purge_all};
use keygate::startup;
use keygate::store::Store;
use lambda_http::{Error, LambdaEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(BACKGROUND_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    startup::run(async |event: LambdaEvent<Event>| {
        let purge = async |removed: &[(RemovedKey, DateTime<Utc>)]| purge_all(&store, removed).await;
        Ok(streams::process_batch(event.payload, 1, streams::removed_by_time, purge).await)
    })
    .await
}

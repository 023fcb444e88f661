//! From the stream of `keys`: cleans up after keys that `DynamoDB` has removed at the end of their time.

use aws_lambda_events::event::dynamodb::Event;
use chrono::{DateTime, Utc};
use keygate::api::streams::{self, BatchResponse};
use keygate::aws::BACKGROUND_BUDGET;
use keygate::keys::purge::{RemovedKey, purge};
use keygate::store::Store;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(BACKGROUND_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    lambda_runtime::run(service_fn(|event| respond(&store, event))).await
}

async fn respond(store: &Store, event: LambdaEvent<Event>) -> Result<BatchResponse, Error> {
    let handle = async |removed: &[(RemovedKey, DateTime<Utc>)]| {
        for (key, at) in removed {
            purge(store, key, *at).await?;
        }
        Ok(vec![true; removed.len()])
    };
    Ok(streams::process_batch(event.payload, 1, streams::removed_by_time, handle).await)
}

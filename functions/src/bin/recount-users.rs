//! On a schedule: counts every user's keys, and corrects what is wrong.

use chrono::Utc;
use keygate::api::streams;
use keygate::aws::BACKGROUND_BUDGET;
use keygate::keys::recount::recount;
use keygate::store::Store;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(BACKGROUND_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    lambda_runtime::run(service_fn(|event| respond(&store, event))).await
}

async fn respond(store: &Store, event: LambdaEvent<Value>) -> Result<(), Error> {
    let recounted = recount(store, Utc::now(), streams::stop_at(&event.context)).await?;
    let (users, corrected, purged) = (recounted.users, recounted.corrected, recounted.purged);
    tracing::info!(users, corrected, purged, finished = recounted.finished, "users recounted");
    Ok(())
}

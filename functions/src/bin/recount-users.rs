//! Runs on a schedule, recounts the keys of every user, and corrects wrong counts.

use chrono::Utc;
use keygate::api::streams::stop_at;
use keygate::aws::BACKGROUND_BUDGET;
use keygate::keys::recount::{RecountSummary, recount};
use keygate::startup;
use keygate::store::Store;
use lambda_http::{Error, LambdaEvent};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(BACKGROUND_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    startup::run(async |event: LambdaEvent<Value>| {
        let RecountSummary { users, corrected, purged, finished } =
            recount(&store, Utc::now(), stop_at(&event.context)).await?;
        tracing::info!(users, corrected, purged, finished, "users recounted");
        Ok(())
    })
    .await
}

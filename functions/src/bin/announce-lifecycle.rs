//! Runs on a schedule, and writes the lifecycle events of keys.

use chrono::Utc;
use keygate::api::streams::stop_at;
use keygate::aws::BACKGROUND_BUDGET;
use keygate::keys::announce::announce_lifecycle;
use keygate::startup;
use keygate::store::Store;
use lambda_http::{Error, LambdaEvent};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(BACKGROUND_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    startup::run(async |event: LambdaEvent<Value>| {
        let announced = announce_lifecycle(&store, Utc::now(), stop_at(&event.context)).await?;
        tracing::info!(
            events = announced.events,
            caught_up = announced.caught_up,
            "lifecycle events written"
        );
        Ok(())
    })
    .await
}

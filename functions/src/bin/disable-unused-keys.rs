//! Runs on a schedule, gives notice for unused keys, and disables those whose notice period has passed.

use chrono::Utc;
use keygate::api::streams::stop_at;
use keygate::aws::BACKGROUND_BUDGET;
use keygate::keys::unused::{UnusedRules, UnusedSummary, disable_unused};
use keygate::startup;
use keygate::store::Store;
use lambda_http::{Error, LambdaEvent};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(BACKGROUND_BUDGET)?;
    let rules = UnusedRules::from_environment(&environment)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    startup::run(async |event: LambdaEvent<Value>| {
        let UnusedSummary { announced, disabled, finished } =
            disable_unused(&store, rules, Utc::now(), stop_at(&event.context)).await?;
        tracing::info!(announced, disabled, finished, "unused keys checked");
        Ok(())
    })
    .await
}

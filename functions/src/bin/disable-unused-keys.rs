//! On a schedule: gives notice for unused keys, and disables those whose notice period has passed.

use chrono::Utc;
use keygate::api::streams::stop_at;
use keygate::aws::settings::AwsSettings;
use keygate::aws::{Aws, BACKGROUND_BUDGET};
use keygate::keys::unused::{UnusedRules, UnusedSummary, disable_unused};
use keygate::logging;
use keygate::startup;
use keygate::store::Store;
use keygate_core::environment::Environment;
use lambda_http::{Error, LambdaEvent};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), logging::level(&environment)?);
    let rules = UnusedRules::from_environment(&environment)?;
    let aws =
        Aws::new(&AwsSettings::from_environment(&environment)?, env!("CARGO_BIN_NAME"), BACKGROUND_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    startup::run(async |event: LambdaEvent<Value>| {
        let UnusedSummary { announced, disabled, finished } =
            disable_unused(&store, rules, Utc::now(), stop_at(&event.context)).await?;
        tracing::info!(announced, disabled, finished, "unused keys checked");
        Ok(())
    })
    .await
}

//! On a schedule: announces that keys which nobody uses will be disabled, and disables them when that time is over.

use chrono::Utc;
use keygate::api::streams;
use keygate::aws::settings::AwsSettings;
use keygate::aws::{Aws, BACKGROUND_BUDGET};
use keygate::keys::unused::{UnusedRules, disable_unused};
use keygate::logging;
use keygate::store::Store;
use keygate_core::environment::Environment;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), logging::level(&environment)?);
    let rules = UnusedRules::from_environment(&environment)?;
    let aws =
        Aws::new(&AwsSettings::from_environment(&environment)?, env!("CARGO_BIN_NAME"), BACKGROUND_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    lambda_runtime::run(service_fn(|event| respond(&store, rules, event))).await
}

async fn respond(store: &Store, rules: UnusedRules, event: LambdaEvent<Value>) -> Result<(), Error> {
    let run = disable_unused(store, rules, Utc::now(), streams::stop_at(&event.context)).await?;
    let (announced, disabled) = (run.announced, run.disabled);
    tracing::info!(announced, disabled, finished = run.finished, "unused keys checked");
    Ok(())
}

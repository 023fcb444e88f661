//! On a schedule: announces what has happened to keys by the passing of time.

use chrono::Utc;
use keygate::aws::{Aws, BACKGROUND_BUDGET};
use keygate::config::Environment;
use keygate::keys::announce::announce_due;
use keygate::store::Store;
use keygate::{background, logging};
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), BACKGROUND_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    lambda_runtime::run(service_fn(|event| respond(&store, event))).await
}

async fn respond(store: &Store, event: LambdaEvent<Value>) -> Result<(), Error> {
    let announced = announce_due(store, Utc::now(), background::stop_at(&event.context)).await?;
    tracing::info!(events = announced.events, caught_up = announced.caught_up, "announced");
    Ok(())
}

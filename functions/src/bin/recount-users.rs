//! On a schedule: counts every user's keys, and corrects what is wrong.

use chrono::Utc;
use keygate::aws::{Aws, BACKGROUND_BUDGET};
use keygate::config::Environment;
use keygate::keys::recount::recount;
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
    let recounted = recount(store, Utc::now(), background::stop_at(&event.context)).await?;
    let (users, corrected, purged) = (recounted.users, recounted.corrected, recounted.purged);
    tracing::info!(users, corrected, purged, finished = recounted.finished, "recounted");
    Ok(())
}

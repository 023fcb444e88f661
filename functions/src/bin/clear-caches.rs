//! From the stream of `activity`, and again from a queue: clears API Gateway's authorizer caches after a revocation.

use chrono::Utc;
use keygate::api::streams::{self, Trigger};
use keygate::aws::BACKGROUND_BUDGET;
use keygate::aws::settings::AwsSettings;
use keygate::aws::signed::Signed;
use keygate::events::clearing::{Change, Clearer};
use keygate::logging;
use keygate_core::environment::Environment;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), logging::level(&environment)?);
    let settings = AwsSettings::from_environment(&environment)?;
    let signed = Signed::new(&settings, env!("CARGO_BIN_NAME"), BACKGROUND_BUDGET)?;
    let clearer = Clearer::new(signed, &settings, &environment)?;
    lambda_runtime::run(service_fn(|event| respond(&clearer, event))).await
}

async fn respond(clearer: &Clearer, event: LambdaEvent<Trigger>) -> Result<(), Error> {
    let now = Utc::now();
    match event.payload {
        Trigger::Stream(batch) => {
            // What cannot be read may be anything.
            let revokes = |record| {
                let change = streams::new_image::<Change>(record);
                change.is_some_and(|change| change.map_or(true, |change| change.revokes()))
            };
            if batch.records.iter().any(revokes) {
                clearer.after_revocation(now).await?;
            }
        }
        Trigger::Queue(batch) => clearer.again(&batch.bodies()?, now).await?,
    }
    Ok(())
}

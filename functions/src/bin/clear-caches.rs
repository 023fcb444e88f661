//! From the stream of `activity`, and again from a queue: clears API Gateway's authorizer caches after a revocation.

use chrono::Utc;
use keygate::api::streams::{self, Trigger};
use keygate::aws::BACKGROUND_BUDGET;
use keygate::events::cache_invalidation::AuthorizerCachePurger;
use keygate::startup;
use lambda_http::{Error, LambdaEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(BACKGROUND_BUDGET)?;
    let purger = AuthorizerCachePurger::new(&aws, &environment)?;
    startup::run(async |event: LambdaEvent<Trigger>| {
        let now = Utc::now();
        match event.payload {
            Trigger::Stream(batch) => {
                purger.purge_after(batch.records.iter().filter_map(streams::new_image), now).await?;
            }
            Trigger::Queue(batch) => purger.purge_scheduled(&batch.bodies()?, now).await?,
        }
        Ok(())
    })
    .await
}

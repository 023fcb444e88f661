//! Reads the stream of `activity`, and clears API Gateway's authorizer caches after a revocation; a queue repeats that later.

use chrono::Utc;
use keygate::api::streams::{self, Trigger};
use keygate::aws::BACKGROUND_BUDGET;
use keygate::events::cache_invalidation::CacheInvalidator;
use keygate::startup;
use lambda_http::{Error, LambdaEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(BACKGROUND_BUDGET)?;
    let invalidator = CacheInvalidator::new(&aws, &environment)?;
    startup::run(async |event: LambdaEvent<Trigger>| {
        let now = Utc::now();
        match event.payload {
            Trigger::Stream(batch) => {
                invalidator
                    .invalidate_after(batch.records.iter().filter_map(streams::new_image), now)
                    .await?;
            }
            Trigger::Queue(batch) => invalidator.invalidate_scheduled(&batch.bodies()?, now).await?,
        }
        Ok(())
    })
    .await
}

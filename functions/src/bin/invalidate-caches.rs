//! From the stream of `activity`, and a second time from a queue: clears API Gateway's authorizer caches after a revocation.

use chrono::Utc;
use keygate::api::streams::{self, Trigger};
use keygate::aws::BACKGROUND_BUDGET;
use keygate::events::cache_invalidation::{AuditedChange, CacheInvalidator};
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(BACKGROUND_BUDGET)?;
    let invalidator = CacheInvalidator::new(&aws, &environment)?;
    lambda_runtime::run(service_fn(|event| respond(&invalidator, event))).await
}

async fn respond(invalidator: &CacheInvalidator, event: LambdaEvent<Trigger>) -> Result<(), Error> {
    let now = Utc::now();
    match event.payload {
        Trigger::Stream(batch) => {
            // A record that cannot be read may revoke a key.
            let revokes = |record| {
                let change = streams::new_image::<AuditedChange>(record);
                change.is_some_and(|change| change.map_or(true, |change| change.revokes()))
            };
            if batch.records.iter().any(revokes) {
                invalidator.invalidate_after_revocation(now).await?;
            }
        }
        Trigger::Queue(batch) => invalidator.invalidate_scheduled(&batch.bodies()?, now).await?,
    }
    Ok(())
}

//! From the stream of `activity`, and again from a queue: clears API Gateway's authorizer caches after a revocation.

use chrono::Utc;
use keygate::aws::{Aws, BACKGROUND_BUDGET};
use keygate::background::{self, Trigger};
use keygate::cache_invalidation::{AuditedChange, AuthorizerCachePurger};
use keygate::config::Environment;
use keygate::logging;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), BACKGROUND_BUDGET)?;
    let cache_ttl = environment.cache_seconds()?.max(environment.stale_if_error()?);
    let (stages, queue) = (environment.authorizer_caches()?, environment.clear_again_queue()?);
    let purger = AuthorizerCachePurger::new(&aws, stages, queue, cache_ttl);
    lambda_runtime::run(service_fn(|event| respond(&purger, event))).await
}

async fn respond(purger: &AuthorizerCachePurger, event: LambdaEvent<Trigger>) -> Result<(), Error> {
    let now = Utc::now();
    match event.payload {
        Trigger::Stream(batch) => {
            // A record that cannot be read may revoke a key.
            let revokes = |record| {
                let change = background::new_image::<AuditedChange>(record);
                change.is_some_and(|change| change.map_or(true, |change| change.revokes()))
            };
            if batch.records.iter().any(revokes) {
                purger.purge_after_revocation(now).await?;
            }
        }
        Trigger::Queue(batch) => purger.purge_scheduled(&batch.bodies()?, now).await?,
    }
    Ok(())
}

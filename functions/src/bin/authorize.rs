//! The custom authorizer: tells API Gateway whether a call has a working credential, and who the caller is.

use std::sync::Arc;
use std::time::Instant;

use keygate::api::authorizer::AuthorizerHandler;
use keygate::api::authorizer_response::AuthorizerResponseFormat;
use keygate::authorizer::Authorizer;
use keygate::authorizer::cache::Cache;
use keygate::authorizer::decision_log::{AllowedCalls, DecisionLog};
use keygate::authorizer::deferred::{DeferredWorker, DeferredWriter};
use keygate::authorizer::limits::LimitEnforcer;
use keygate::authorizer::metrics::Latency;
use keygate::authorizer::settings::{self, CacheSettings};
use keygate::authorizer::verifier::Verifier;
use keygate::aws::Aws;
use keygate::aws::kms::MacKeySources;
use keygate::aws::settings::AwsSettings;
use keygate::logging;
use keygate::startup;
use keygate::store::reader::CredentialReader;
use keygate_core::credential::Brand;
use keygate_core::environment::Environment;
use keygate_core::legacy_credential::LegacyRules;
use lambda_http::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), logging::level(&environment)?);
    let aws = Aws::new(
        &AwsSettings::from_environment(&environment)?,
        env!("CARGO_BIN_NAME"),
        settings::budget(&environment)?,
    )?;
    let writer = Arc::new(DeferredWriter::of_authorizer(&aws.dynamodb(), &environment)?);
    let reader = CredentialReader::new(aws.dynamodb_read(), &environment)?;
    // Prepare all three concurrently before the first call.
    let started = Instant::now();
    let peppers = async {
        let peppers = aws.macs().derive(MacKeySources::peppers(&environment)?).await?;
        writer.record_latency(Latency::Kms, started.elapsed());
        Ok::<_, Error>(peppers)
    };
    let (peppers, connected, deferred) =
        tokio::join!(peppers, reader.connect(), DeferredWorker::start(Arc::clone(&writer)));
    connected?;
    let authorizer = Authorizer {
        brand: Brand::from_environment(&environment)?,
        legacy: LegacyRules::from_environment(&environment)?,
        verifier: Verifier { peppers: peppers?, reader },
        cache: Cache::new(CacheSettings::from_environment(&environment)?),
    };
    let limits = LimitEnforcer::new(aws.dynamodb_without_retries(), &environment)?;
    let format = AuthorizerResponseFormat::from_environment(&environment)?;
    let log = DecisionLog::new(AllowedCalls::from_environment(&environment)?);
    let handler = AuthorizerHandler { authorizer, limits, log, deferred: deferred?, format };
    startup::run(async |event| handler.respond(event).await).await
}

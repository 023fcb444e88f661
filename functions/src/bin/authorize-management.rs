//! The custom authorizer of the management API: tells API Gateway who manages keys. It accepts what the authorizer of the adopters'
//! APIs accepts, sessions, and tokens of people.

use std::sync::Arc;
use std::time::Instant;

use keygate::api::authorizer::AuthorizerHandler;
use keygate::api::authorizer_response::AuthorizerResponseFormat;
use keygate::authorizer::Authorizer;
use keygate::authorizer::cache::Cache;
use keygate::authorizer::decision_log::{AllowedCalls, DecisionLog};
use keygate::authorizer::deferred::{DeferredWorker, DeferredWriter};
use keygate::authorizer::limits::LimitEnforcer;
use keygate::authorizer::management::ManagementAuthorizer;
use keygate::authorizer::metrics::Latency;
use keygate::authorizer::settings::{self, CacheSettings};
use keygate::authorizer::verifier::Verifier;
use keygate::aws::Aws;
use keygate::aws::kms::MacKeySources;
use keygate::aws::settings::AwsSettings;
use keygate::logging;
use keygate::people::People;
use keygate::people::provider::Provider;
use keygate::people::settings::PeopleSettings;
use keygate::startup;
use keygate::store::reader::CredentialReader;
use keygate::store::user_reader::UserReader;
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
    let people = match PeopleSettings::from_environment(&environment)? {
        Some(settings) => {
            let provider = Provider::new(&settings, aws.documents());
            Some(People::new(settings, provider, UserReader::new(aws.dynamodb_read(), &environment)?))
        }
        None => None,
    };
    // Prepare all three concurrently before the first call. Signing keys are fetched with the first token of a person.
    let started = Instant::now();
    let peppers = async {
        let peppers = aws.macs().derive(MacKeySources::peppers(&environment)?).await?;
        writer.record_latency(Latency::Kms, started.elapsed());
        Ok::<_, Error>(peppers)
    };
    let (peppers, connected, deferred) =
        tokio::join!(peppers, reader.connect(), DeferredWorker::start(Arc::clone(&writer)));
    connected?;
    let keys = Authorizer {
        brand: Brand::from_environment(&environment)?,
        legacy: LegacyRules::from_environment(&environment)?,
        verifier: Verifier { peppers: peppers?, reader },
        cache: Cache::new(CacheSettings::NONE),
    };
    let authorizer = ManagementAuthorizer {
        keys,
        people,
        users: UserReader::new(aws.dynamodb_read(), &environment)?,
        api_id: ManagementAuthorizer::api_id(&environment)?,
    };
    let limits = LimitEnforcer::new(aws.dynamodb_without_retries(), &environment)?;
    let format = AuthorizerResponseFormat::from_environment(&environment)?;
    // The audit trail has no calls of sessions and people, so the log has every call.
    let log = DecisionLog::new(AllowedCalls::All);
    let handler = AuthorizerHandler { authorizer, limits, log, deferred: deferred?, format };
    startup::run(async |event| handler.respond(event).await).await
}

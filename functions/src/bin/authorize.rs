//! The custom authorizer: says to API Gateway whether a call comes with a key that works, and whose it is.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use keygate::api::authorizer_event::{AuthorizerEvent, AuthorizerPayload};
use keygate::api::authorizer_response::AuthorizerResponse;
use keygate::api::authorizer_response::AuthorizerResponseFormat;
use keygate::authorizer::cache::Cache;
use keygate::authorizer::call_counter::{CallCounter, KeyCall};
use keygate::authorizer::deferred::{DeferredWork, DeferredWorker, DeferredWriter, UsageWriter};
use keygate::authorizer::metrics::{Latency, Metrics};
use keygate::authorizer::settings;
use keygate::authorizer::settings::CacheSettings;
use keygate::authorizer::verifier::Verifier;
use keygate::authorizer::{AuthorizationResult, Authorizer, LookupSource};
use keygate::aws::Aws;
use keygate::aws::kms;
use keygate::aws::kms::MacKeySources;
use keygate::aws::settings::AwsSettings;
use keygate::logging;
use keygate::store::activity::ActivityTable;
use keygate::store::keys::KeysTable;
use keygate::store::legacy_keys::LegacyKeysTable;
use keygate::store::reader::CredentialReader;
use keygate::store::tokens::TokensTable;
use keygate_core::audit_event::CallOutcome;
use keygate_core::credential::Brand;
use keygate_core::decision::Decision;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::legacy_credential;
use keygate_core::legacy_credential::LegacyRules;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), logging::level(&environment)?);
    let aws = Aws::new(
        &AwsSettings::from_environment(&environment)?,
        env!("CARGO_BIN_NAME"),
        settings::budget(&environment)?,
    )?;
    let writer = Arc::new(writer(&environment, &aws)?);
    let reader = CredentialReader::new(aws.dynamodb_read(), &environment)?;
    // All three before the first call, and at the same time.
    let started = Instant::now();
    let peppers = async {
        let peppers = kms::derive(&aws.kms(), MacKeySources::peppers(&environment)?).await?;
        writer.record_latency(Latency::Kms, started.elapsed());
        Ok::<_, Error>(peppers)
    };
    let (peppers, connected, deferred) =
        tokio::join!(peppers, reader.connect(), DeferredWorker::start(Arc::clone(&writer)));
    connected?;
    let cache = Cache::new(CacheSettings::from_environment(&environment)?);
    let verifier = Verifier { peppers: peppers?, reader };
    let (brand, legacy) =
        (Brand::from_environment(&environment)?, LegacyRules::from_environment(&environment)?);
    let authorizer = Authorizer { brand, legacy, verifier, cache };
    let (form, deferred) = (AuthorizerResponseFormat::from_environment(&environment)?, deferred?);
    lambda_runtime::run(service_fn(|event| respond(&authorizer, &deferred, form, event))).await
}

fn writer(environment: &Environment, aws: &Aws) -> Result<DeferredWriter, InvalidVariable> {
    let dynamodb = aws.dynamodb();
    let metrics = Metrics::from_environment(environment)?;
    let usage_writer = UsageWriter {
        keys: KeysTable::new(dynamodb.clone(), environment)?,
        tokens: TokensTable::new(dynamodb.clone(), environment)?,
        legacy_keys: match legacy_credential::sunset(environment)? {
            Some(_) => Some(LegacyKeysTable::new(dynamodb.clone(), environment)?),
            None => None,
        },
        last_used_interval: environment.seconds("LAST_USED_INTERVAL", 900, 0..=86_400)?,
    };
    Ok(DeferredWriter {
        usage_writer: Some(usage_writer),
        activity: ActivityTable::new(dynamodb, environment)?,
        budget: settings::deferred_budget(environment)?,
        calls: CallCounter::from_environment(environment)?.into(),
        metrics: Some(metrics.into()),
    })
}

/// Answers, and leaves what is to be written: always once.
async fn respond(
    authorizer: &Authorizer,
    deferred: &DeferredWorker,
    form: AuthorizerResponseFormat,
    event: LambdaEvent<AuthorizerPayload>,
) -> Result<AuthorizerResponse, Error> {
    let now = Utc::now();
    let (answer, work) = match authorize(authorizer, form, &event, now).await {
        Ok((answer, work)) => (answer, work),
        Err(error) => {
            let request_id = &event.context.request_id;
            tracing::error!(request_id, %error, "no decision");
            (
                Err(error),
                DeferredWork { at: now, outcome: None, lookup: LookupSource::None, call: None, usage: None },
            )
        }
    };
    deferred.submit(work).await;
    answer
}

/// # Errors
///
/// Nothing was decided. That the decision is an error for API Gateway is none here.
async fn authorize(
    authorizer: &Authorizer,
    form: AuthorizerResponseFormat,
    event: &LambdaEvent<AuthorizerPayload>,
    now: DateTime<Utc>,
) -> Result<(Result<AuthorizerResponse, Error>, DeferredWork), Error> {
    let request_id = &event.context.request_id;
    let event = AuthorizerEvent::parse(event.payload.expose(), authorizer.legacy.as_ref())?;
    let AuthorizationResult { decision, owner, credential, lookup, usage } = match event.header() {
        Ok(header) => authorizer.decide(header, now).await?,
        Err(refusal) => AuthorizationResult::refused(refusal),
    };
    let outcome = event.outcome(&decision, form);
    let key_id = owner.as_ref().map(|owner| owner.key_id.to_string());
    match (outcome, &decision) {
        (CallOutcome::Allowed, _) => tracing::info!(request_id, key_id, decision = "allowed"),
        (CallOutcome::Refused(reason), Decision::Refused(refusal)) => {
            tracing::info!(request_id, key_id, decision = "refused", reason, detail = %refusal);
        }
        (CallOutcome::Refused(reason), Decision::Accepted(_)) => {
            tracing::info!(request_id, key_id, decision = "refused", reason);
        }
    }
    let (origin, works) = (event.origin(&decision), matches!(decision, Decision::Accepted(_)));
    let call = owner.map(|owner| KeyCall { owner, credential, origin, outcome, works, at: now });
    let answer = event.answer(&decision, form).map_err(Error::from);
    Ok((answer, DeferredWork { at: now, outcome: Some(outcome), lookup, call, usage }))
}

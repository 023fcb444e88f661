//! The custom authorizer: says to API Gateway whether a call comes with a key that works, and whose it is.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use keygate::activity::Outcome;
use keygate::afterwards::{Afterwards, Followup, Uses, Writer};
use keygate::authorize::{Authorizer, Decided, Decision, Lookup};
use keygate::aws::Aws;
use keygate::cache::Cache;
use keygate::calls::{Call, Calls};
use keygate::config::{AuthorizerAnswer, Environment, InvalidVariable};
use keygate::gateway::{Answer, Event, Payload};
use keygate::metrics::{Latency, Metrics};
use keygate::store::activity::Activity;
use keygate::store::keys::Keys;
use keygate::store::legacy_keys::LegacyKeys;
use keygate::store::reader::Reader;
use keygate::store::tokens::Tokens;
use keygate::verify::Verifier;
use keygate::{kms, logging};
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), environment.authorizer_budget()?)?;
    let writer = Arc::new(writer(&environment, &aws)?);
    let reader = Reader::new(aws.dynamodb_read(), &environment)?;
    // All three before the first call, and at the same time.
    let started = Instant::now();
    let peppers = async {
        let peppers = kms::derive(&aws.kms(), environment.peppers()?).await?;
        writer.took(Latency::Kms, started.elapsed());
        Ok::<_, Error>(peppers)
    };
    let (peppers, connected, afterwards) =
        tokio::join!(peppers, reader.connect(), Afterwards::start(Arc::clone(&writer)));
    connected?;
    let cache = Cache::new(environment.cache_seconds()?, environment.stale_if_error()?);
    let verifier = Verifier { peppers: peppers?, reader };
    let (brand, legacy) = (environment.brand()?, environment.legacy_rules()?);
    let authorizer = Authorizer { brand, legacy, verifier, cache };
    let (form, afterwards) = (environment.authorizer_answer()?, afterwards?);
    lambda_runtime::run(service_fn(|event| respond(&authorizer, &afterwards, form, event))).await
}

fn writer(environment: &Environment, aws: &Aws) -> Result<Writer, InvalidVariable> {
    let (dynamodb, retention) = (aws.dynamodb(), environment.activity_retention()?);
    let metrics = Metrics::new(environment.metrics_stack(), environment.log_level()?);
    let uses = Uses {
        keys: Keys::new(dynamodb.clone(), environment.keys_table()?),
        tokens: Tokens::new(dynamodb.clone(), environment.tokens_table()?),
        legacy_keys: match environment.legacy_sunset()? {
            Some(_) => Some(LegacyKeys::new(dynamodb.clone(), environment.legacy_keys_table()?)),
            None => None,
        },
        last_used_interval: environment.last_used_interval()?,
    };
    Ok(Writer {
        uses: Some(uses),
        activity: Activity::new(dynamodb, environment.activity_table()?, retention),
        budget: environment.after_budget()?,
        calls: Calls::new(environment.call_activity()?).into(),
        metrics: Some(metrics.into()),
    })
}

/// Answers, and leaves what is to be written: always once.
async fn respond(
    authorizer: &Authorizer,
    afterwards: &Afterwards,
    form: AuthorizerAnswer,
    event: LambdaEvent<Payload>,
) -> Result<Answer, Error> {
    let now = Utc::now();
    let (answer, followup) = match authorize(authorizer, form, &event, now).await {
        Ok((answer, followup)) => (answer, followup),
        Err(error) => {
            let request_id = &event.context.request_id;
            tracing::error!(request_id, %error, "no decision");
            (Err(error), Followup { at: now, outcome: None, lookup: Lookup::None, call: None, used: None })
        }
    };
    afterwards.leave(followup).await;
    answer
}

/// # Errors
///
/// Nothing was decided. That the decision is an error for API Gateway is none here.
async fn authorize(
    authorizer: &Authorizer,
    form: AuthorizerAnswer,
    event: &LambdaEvent<Payload>,
    now: DateTime<Utc>,
) -> Result<(Result<Answer, Error>, Followup), Error> {
    let request_id = &event.context.request_id;
    let event = Event::parse(event.payload.expose(), authorizer.legacy.as_ref())?;
    let Decided { decision, holder, credential, lookup, used } = match event.header() {
        Ok(header) => authorizer.decide(header, now).await?,
        Err(refusal) => Decided::refused(refusal),
    };
    let outcome = event.outcome(&decision, form);
    let key_id = holder.as_ref().map(|holder| holder.key_id.to_string());
    match (outcome, &decision) {
        (Outcome::Allowed, _) => tracing::info!(request_id, key_id, decision = "allowed"),
        (Outcome::Refused(reason), Decision::Refused(refusal)) => {
            tracing::info!(request_id, key_id, decision = "refused", reason, detail = %refusal);
        }
        (Outcome::Refused(reason), Decision::Accepted(_)) => {
            tracing::info!(request_id, key_id, decision = "refused", reason);
        }
    }
    let (origin, works) = (event.origin(&decision), matches!(decision, Decision::Accepted(_)));
    let call = holder.map(|holder| Call { holder, credential, origin, outcome, works, at: now });
    let answer = event.answer(&decision, form).map_err(Error::from);
    Ok((answer, Followup { at: now, outcome: Some(outcome), lookup, call, used }))
}

//! The custom authorizer: says to API Gateway whether a call comes with a key that works, and whose it is.

use chrono::Utc;
use keygate::afterwards::{Afterwards, Followup, Writer};
use keygate::authorize::{Authorizer, Decision};
use keygate::aws::Aws;
use keygate::cache::Cache;
use keygate::config::{AuthorizerAnswer, Environment};
use keygate::gateway::{Answer, Event};
use keygate::pepper::Peppers;
use keygate::store::keys::Keys;
use keygate::{kms, logging};
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), environment.authorizer_budget()?)?;
    let keys = Keys::new(aws.dynamodb, environment.keys_table()?);
    let writer = Writer {
        keys: keys.clone(),
        last_used_interval: environment.last_used_interval()?,
        budget: environment.after_budget()?,
    };
    // All three before the first call, and at the same time.
    let (peppers, connected, afterwards) = tokio::join!(
        kms::derive(&aws.kms, environment.peppers()?),
        keys.connect(),
        Afterwards::start(writer)
    );
    connected?;
    let cache = Cache::new(environment.cache_seconds()?, environment.stale_if_error()?);
    let authorizer = Authorizer { brand: environment.brand()?, peppers: Peppers(peppers?), keys, cache };
    let form = environment.authorizer_answer()?;
    lambda_runtime::run(service_fn(|event| respond(&authorizer, &afterwards, form, event))).await
}

/// Answers, and leaves what is to be written: something or nothing, but always once.
async fn respond(
    authorizer: &Authorizer,
    afterwards: &Afterwards,
    form: AuthorizerAnswer,
    event: LambdaEvent<Box<RawValue>>,
) -> Result<Answer, Error> {
    let mut followup = None;
    let answer = authorize(authorizer, form, event, &mut followup).await;
    afterwards.leave(followup).await;
    answer
}

async fn authorize(
    authorizer: &Authorizer,
    form: AuthorizerAnswer,
    event: LambdaEvent<Box<RawValue>>,
    followup: &mut Option<Followup>,
) -> Result<Answer, Error> {
    let request_id = &event.context.request_id;
    let event = Event::parse(event.payload.get()).inspect_err(|error| {
        tracing::error!(request_id, %error, "no decision");
    })?;
    let decision = match event.authorization() {
        Ok(authorization) => {
            let decided = authorizer.decide(authorization, Utc::now()).await;
            let (decision, left) = decided.inspect_err(|error| {
                tracing::error!(request_id, %error, "no decision");
            })?;
            *followup = left;
            decision
        }
        Err(refusal) => Decision::Refused(refusal),
    };
    match &decision {
        Decision::Accepted(key) => tracing::info!(request_id, key_id = %key.key_id, decision = "accepted"),
        Decision::Refused(reason) => tracing::info!(request_id, %reason, decision = "refused"),
    }
    Ok(event.answer(&decision, form)?)
}

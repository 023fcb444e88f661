//! `POST /api-keys`: makes a key and shows it once. A direct invocation makes the first administrator's.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::keys::RevealedKey;
use keygate::keys::create::{BootstrapKey, CreateKey, KeyCreator};
use keygate::keys::expiry::MaxLifetime;
use keygate::store::Store;
use keygate::{http, kms, logging};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let kms = aws.kms();
    let (peppers, replay_key) = tokio::try_join!(
        kms::derive(&kms, environment.peppers()?),
        kms::derive_one(kms.clone(), environment.replay_key()?)
    )?;
    let creator = KeyCreator {
        brand: environment.brand()?,
        peppers,
        replay_key,
        store: Store::new(aws.dynamodb(), &environment)?,
        quota: environment.keys_per_user()?,
        retention: environment.retention()?,
        longest: MaxLifetime(environment.max_lifetime()?),
    };
    let respond = async |request| shown(create(&creator, &request).await, &request);
    let direct = async |request| shown(bootstrap(&creator, &request).await, &request);
    http::serve_with_direct(&environment, respond, direct).await
}

fn shown(created: Result<RevealedKey, keygate::error::Error>, request: &Request) -> Response<Body> {
    match created {
        Ok(key) => http::key(StatusCode::CREATED, key.revision(), &key),
        Err(error) => http::problem(&error, request),
    }
}

async fn create(creator: &KeyCreator, request: &Request) -> Result<RevealedKey, keygate::error::Error> {
    let now = Utc::now();
    let caller = http::caller(request)?;
    let body = http::body(request, &[http::JSON])?;
    let new = CreateKey::parse(body, creator.longest, now)?;
    let idempotency_key = http::idempotency_key(request)?;
    creator.create(&caller, new, idempotency_key.as_ref(), http::origin(request), now).await
}

async fn bootstrap(creator: &KeyCreator, request: &Request) -> Result<RevealedKey, keygate::error::Error> {
    creator.bootstrap(BootstrapKey::parse(request.body())?, Utc::now()).await
}

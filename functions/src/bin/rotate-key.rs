//! `POST /api-keys/{id}/rotate`: gives a key another secret and shows it once.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::keys::RevealedKey;
use keygate::keys::rotate::{KeyRotator, RotateKey};
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
    let (peppers, rotation_key) = tokio::try_join!(
        kms::derive(&kms, environment.peppers()?),
        kms::derive_one(kms.clone(), environment.rotation_key()?)
    )?;
    let rotator = KeyRotator {
        brand: environment.brand()?,
        peppers,
        rotation_key,
        store: Store::new(aws.dynamodb(), &environment)?,
    };
    http::serve(&environment, |request| respond(&rotator, request)).await
}

async fn respond(rotator: &KeyRotator, request: Request) -> Response<Body> {
    match rotate(rotator, &request).await {
        Ok(key) => http::key(StatusCode::OK, key.revision(), &key),
        Err(error) => http::problem(&error, &request),
    }
}

async fn rotate(rotator: &KeyRotator, request: &Request) -> Result<RevealedKey, keygate::error::Error> {
    let caller = http::caller(request)?;
    let rotation = RotateKey::parse(http::body(request, &[http::JSON])?)?;
    let idempotency_key = http::idempotency_key(request)?;
    let (id, if_match) = (http::key_id(request)?, http::if_match(request)?);
    let conditions = (&if_match, idempotency_key.as_ref());
    rotator.rotate(&caller, id, &rotation, conditions, http::origin(request), Utc::now()).await
}

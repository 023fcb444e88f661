//! `POST /api-keys/{id}/rotate`: gives a key another secret and shows it once.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms;
use keygate::aws::kms::MacKeySource;
use keygate::aws::kms::MacKeySources;
use keygate::keys::RevealedKey;
use keygate::keys::rotate::{KeyRotator, RotateKey};
use keygate::store::Store;
use keygate_core::credential::Brand;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let kms = aws.kms();
    let (peppers, rotation_key) = tokio::try_join!(
        kms::derive(&kms, MacKeySources::peppers(&environment)?),
        kms::derive_one(kms.clone(), MacKeySource::of_rotations(&environment)?)
    )?;
    let rotator = KeyRotator {
        brand: Brand::from_environment(&environment)?,
        peppers,
        rotation_key,
        store: Store::new(aws.dynamodb(), &environment)?,
    };
    management::serve(&environment, |request| respond(&rotator, request)).await
}

async fn respond(rotator: &KeyRotator, request: Request) -> Response<Body> {
    match rotate(rotator, &request).await {
        Ok(key) => response::key(StatusCode::OK, key.revision(), &key),
        Err(error) => problem::problem(&error, &request),
    }
}

async fn rotate(rotator: &KeyRotator, request: &Request) -> Result<RevealedKey, keygate_core::error::Error> {
    let caller = request::caller(request)?;
    let rotation = RotateKey::parse(request::body(request, &[request::JSON])?)?;
    let idempotency_key = request::idempotency_key(request)?;
    let (id, if_match) = (request::key_id(request)?, request::if_match(request)?);
    let conditions = (&if_match, idempotency_key.as_ref());
    rotator.rotate(&caller, id, &rotation, conditions, request::origin(request), Utc::now()).await
}

//! `PATCH /api-keys/{id}`: changes what is known of a key.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::keys::DetailedKey;
use keygate::keys::expiry::MaxLifetime;
use keygate::keys::update::{KeyPatch, KeyUpdater};
use keygate::store::Store;
use keygate::{http, logging};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let updater = KeyUpdater {
        brand: environment.brand()?,
        store: Store::new(aws.dynamodb(), &environment)?,
        quota: environment.keys_per_user()?,
        retention: environment.retention()?,
    };
    let longest = MaxLifetime(environment.max_lifetime()?);
    http::serve(&environment, |request| respond(&updater, longest, request)).await
}

async fn respond(updater: &KeyUpdater, longest: MaxLifetime, request: Request) -> Response<Body> {
    match update(updater, longest, &request).await {
        Ok(key) => http::key(StatusCode::OK, key.revision(), &key),
        Err(error) => http::problem(&error, &request),
    }
}

async fn update(
    updater: &KeyUpdater,
    longest: MaxLifetime,
    request: &Request,
) -> Result<DetailedKey, keygate::error::Error> {
    let now = Utc::now();
    let caller = http::caller(request)?;
    let patch = KeyPatch::parse(http::body(request, &[http::JSON, http::MERGE_PATCH])?, longest, now)?;
    let (id, if_match) = (http::key_id(request)?, http::if_match(request)?);
    updater.update(&caller, id, patch, &if_match, http::origin(request), now).await
}

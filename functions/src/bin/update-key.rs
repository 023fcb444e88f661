//! `PATCH /api-keys/{id}`: changes what is known of a key.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::keys::DetailedKey;
use keygate::keys::expiry::MaxLifetime;
use keygate::keys::settings::KeySettings;
use keygate::keys::update::{KeyPatch, KeyUpdater};
use keygate::store::Store;
use keygate_core::credential::Brand;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let updater = KeyUpdater {
        brand: Brand::from_environment(&environment)?,
        store: Store::new(aws.dynamodb(), &environment)?,
        settings: KeySettings::from_environment(&environment)?,
    };
    let longest = updater.settings.max_lifetime;
    management::serve(&environment, |request| respond(&updater, longest, request)).await
}

async fn respond(updater: &KeyUpdater, longest: MaxLifetime, request: Request) -> Response<Body> {
    match update(updater, longest, &request).await {
        Ok(key) => response::key(StatusCode::OK, key.revision(), &key),
        Err(error) => problem::problem(&error, &request),
    }
}

async fn update(
    updater: &KeyUpdater,
    longest: MaxLifetime,
    request: &Request,
) -> Result<DetailedKey, keygate_core::error::Error> {
    let now = Utc::now();
    let caller = request::caller(request)?;
    let patch =
        KeyPatch::parse(request::body(request, &[request::JSON, request::MERGE_PATCH])?, longest, now)?;
    let (id, if_match) = (request::key_id(request)?, request::if_match(request)?);
    updater.update(&caller, id, patch, &if_match, request::origin(request), now).await
}

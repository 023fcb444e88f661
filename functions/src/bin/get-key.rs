//! `GET /api-keys/{id}`: one key.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::keys::{DetailedKey, get};
use keygate::store::keys::KeysTable;
use keygate_core::credential::Brand;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let keys = KeysTable::new(aws.dynamodb(), &environment)?;
    let brand = Brand::from_environment(&environment)?;
    management::serve(&environment, |request| respond(&keys, &brand, request)).await
}

async fn respond(keys: &KeysTable, brand: &Brand, request: Request) -> Response<Body> {
    match get(keys, brand, &request).await {
        Ok(key) => response::key(StatusCode::OK, key.revision(), &key),
        Err(error) => problem::problem(&error, &request),
    }
}

async fn get(
    keys: &KeysTable,
    brand: &Brand,
    request: &Request,
) -> Result<DetailedKey, keygate_core::error::Error> {
    let caller = request::caller(request)?;
    get::get(keys, brand, &caller, request::key_id(request)?, Utc::now()).await
}

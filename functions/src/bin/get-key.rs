//! `GET /api-keys/{id}`: one key.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::credential::Brand;
use keygate::keys::{DetailedKey, get};
use keygate::store::keys::Keys;
use keygate::{http, logging};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let keys = Keys::new(aws.dynamodb(), environment.keys_table()?);
    let brand = environment.brand()?;
    http::serve(&environment, |request| respond(&keys, &brand, request)).await
}

async fn respond(keys: &Keys, brand: &Brand, request: Request) -> Response<Body> {
    match get(keys, brand, &request).await {
        Ok(key) => http::key(StatusCode::OK, key.revision(), &key),
        Err(error) => http::problem(&error, &request),
    }
}

async fn get(keys: &Keys, brand: &Brand, request: &Request) -> Result<DetailedKey, keygate::error::Error> {
    let caller = http::caller(request)?;
    get::get(keys, brand, &caller, http::key_id(request)?, Utc::now()).await
}

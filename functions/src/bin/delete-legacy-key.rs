//! `DELETE /legacy-keys/{id}`: deletes a legacy key for good.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::legacy::delete;
use keygate::store::legacy_keys::LegacyStore;
use keygate::{http, logging};
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let store = environment.legacy_sunset()?.map(|_| LegacyStore::new(aws.dynamodb(), &environment));
    let store = store.transpose()?;
    http::serve(&environment, |request| respond(store.as_ref(), request)).await
}

async fn respond(store: Option<&LegacyStore>, request: Request) -> Response<Body> {
    match delete(store, &request).await {
        Ok(()) => http::no_content(),
        Err(error) => http::problem(&error, &request),
    }
}

async fn delete(store: Option<&LegacyStore>, request: &Request) -> Result<(), keygate::error::Error> {
    let store = store.ok_or(keygate::error::Error::NoLegacyKeys)?;
    let (caller, id) = (http::caller(request)?, http::legacy_key_id(request)?);
    delete::delete(store, &caller, id, http::origin(request), Utc::now()).await
}

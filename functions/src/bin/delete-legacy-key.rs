//! `DELETE /legacy-keys/{id}`: deletes a legacy key for good.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::legacy::delete;
use keygate::store::legacy_key_transactions::LegacyStore;
use keygate_core::legacy_credential;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let store =
        legacy_credential::sunset(&environment)?.map(|_| LegacyStore::new(aws.dynamodb(), &environment));
    let store = store.transpose()?;
    management::serve(&environment, |request| respond(store.as_ref(), request)).await
}

async fn respond(store: Option<&LegacyStore>, request: Request) -> Response<Body> {
    match delete(store, &request).await {
        Ok(()) => response::no_content(),
        Err(error) => problem::problem(&error, &request),
    }
}

async fn delete(store: Option<&LegacyStore>, request: &Request) -> Result<(), keygate_core::error::Error> {
    let store = store.ok_or(keygate_core::error::Error::NoLegacyKeys)?;
    let (caller, id) = (request::caller(request)?, request::legacy_key_id(request)?);
    delete::delete(store, &caller, id, request::origin(request), Utc::now()).await
}

//! `DELETE /api-keys/{id}`: deletes a key for good.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::keys::delete;
use keygate::store::Store;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    management::serve(&environment, |request| respond(&store, request)).await
}

async fn respond(store: &Store, request: Request) -> Response<Body> {
    match delete(store, &request).await {
        Ok(()) => response::no_content(),
        Err(error) => problem::problem(&error, &request),
    }
}

async fn delete(store: &Store, request: &Request) -> Result<(), keygate_core::error::Error> {
    let caller = request::caller(request)?;
    let (id, if_match) = (request::key_id(request)?, request::if_match(request)?);
    delete::delete(store, &caller, id, &if_match, request::origin(request), Utc::now()).await
}

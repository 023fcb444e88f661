//! `DELETE /api-keys/{id}`: deletes a key for good.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::keys::delete;
use keygate::store::Store;
use keygate::{http, logging};
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    http::serve(&environment, |request| respond(&store, request)).await
}

async fn respond(store: &Store, request: Request) -> Response<Body> {
    match delete(store, &request).await {
        Ok(()) => http::no_content(),
        Err(error) => http::problem(&error, &request),
    }
}

async fn delete(store: &Store, request: &Request) -> Result<(), keygate::error::Error> {
    let caller = http::caller(request)?;
    let (id, if_match) = (http::key_id(request)?, http::if_match(request)?);
    delete::delete(store, &caller, id, &if_match, http::origin(request), Utc::now()).await
}

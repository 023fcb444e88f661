//! `DELETE /api-keys/{id}`: deletes a key for good.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::error::Error::NotFound;
use keygate::keys::delete;
use keygate::store::Store;
use keygate::{http, logging};
use lambda_http::{Body, Error, Request, RequestExt, Response, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let store = Store::new(
        aws.dynamodb,
        environment.keys_table()?,
        environment.workspaces_table()?,
        environment.activity_table()?,
        environment.activity_retention()?,
    );
    lambda_http::run(service_fn(|request| respond(&store, request))).await
}

async fn respond(store: &Store, request: Request) -> Result<Response<Body>, Error> {
    Ok(match delete(store, &request).await {
        Ok(()) => http::no_content(),
        Err(error) => http::problem(&error, &request),
    })
}

async fn delete(store: &Store, request: &Request) -> Result<(), keygate::error::Error> {
    let caller = http::caller(request)?;
    let parameters = request.path_parameters();
    // What is no id at all is the id of no key.
    let id = parameters.first("id").and_then(|id| id.parse().ok()).ok_or(NotFound)?;
    delete::delete(store, &caller, id, http::origin(request), Utc::now()).await
}

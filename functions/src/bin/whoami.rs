//! `GET /me`: who the caller is, as the authorizer told. It asks nobody else.

use keygate::config::Environment;
use keygate::{http, logging};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init(module_path!(), Environment::of_process().log_level()?);
    lambda_http::run(service_fn(respond)).await
}

async fn respond(request: Request) -> Result<Response<Body>, Error> {
    Ok(match http::caller(&request) {
        Ok(caller) => http::json(StatusCode::OK, &caller),
        Err(error) => http::problem(&error, &request),
    })
}

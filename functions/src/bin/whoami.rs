//! `GET /me`: who the caller is, as the authorizer told. It asks nobody else, and may not: because its role allows
//! nothing, it also takes the `OPTIONS` of every route, which come without a credential.

use keygate::caller::Me;
use keygate::config::Environment;
use keygate::{http, logging};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    http::serve(&environment, respond).await
}

async fn respond(request: Request) -> Response<Body> {
    match http::caller(&request) {
        Ok(caller) => http::json(StatusCode::OK, &Me::from(caller)),
        Err(error) => http::problem(&error, &request),
    }
}

//! `GET /me`: the caller, as the authorizer describes it. The function calls nothing and its role allows nothing, so it also
//! takes the `OPTIONS` of every route, which come without a credential.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::logging;
use keygate_core::caller::Me;
use keygate_core::environment::Environment;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), logging::level(&environment)?);
    management::serve(&environment, async |request: ManagementRequest| {
        Ok(response::json(StatusCode::OK, &Me::from(request.context()?.caller)))
    })
    .await
}

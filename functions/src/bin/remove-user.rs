//! `DELETE /users/{user_id}` and `PUT /users/{user_id}`: removes a user, and reinstates one.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::handover::Handover;
use keygate::store::Store;
use keygate::users::reinstate;
use keygate::users::remove::{self, Keys, Removal};
use keygate::{http, logging};
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    let handover = Handover::new(aws.lambda(), environment.clear_user_function()?);
    http::serve(&environment, |request| respond(&store, &handover, request)).await
}

async fn respond(store: &Store, handover: &Handover, request: Request) -> Response<Body> {
    let done = match *request.method() {
        Method::PUT => reinstate(store, &request).await.map(|()| http::no_content()),
        _ => {
            remove(store, handover, &request).await.map(|removal| http::json(StatusCode::ACCEPTED, &removal))
        }
    };
    done.unwrap_or_else(|error| http::problem(&error, &request))
}

async fn remove(
    store: &Store,
    handover: &Handover,
    request: &Request,
) -> Result<Removal, keygate::error::Error> {
    let caller = http::caller(request)?;
    let user_id = http::user_id(request)?;
    let parameters = request.query_string_parameters_ref();
    let keys = Keys::parse(&user_id, parameters.into_iter().flat_map(|parameters| parameters.iter()))?;
    let removal = remove::remove(store, &caller, user_id, keys, http::origin(request), Utc::now()).await?;
    handover.clear_user(&removal).await?;
    Ok(removal)
}

async fn reinstate(store: &Store, request: &Request) -> Result<(), keygate::error::Error> {
    let caller = http::caller(request)?;
    reinstate::reinstate(store, &caller, &http::user_id(request)?, http::origin(request), Utc::now()).await
}

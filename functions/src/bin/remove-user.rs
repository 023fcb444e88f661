//! `DELETE /users/{user_id}` and `PUT /users/{user_id}`: removes a user, and reinstates one.

use chrono::Utc;
use keygate::async_invoke::AsyncInvoker;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::store::Store;
use keygate::store::legacy_keys::LegacyKeys;
use keygate::users::found::{self, AnsweredRemoval};
use keygate::users::reinstate;
use keygate::users::remove::{Keys, UserRemover};
use keygate::{http, logging};
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let legacy = match environment.legacy_sunset()? {
        Some(_) => Some(LegacyKeys::new(aws.dynamodb(), environment.legacy_keys_table()?)),
        None => None,
    };
    let remover = UserRemover {
        store: Store::new(aws.dynamodb(), &environment)?,
        legacy,
        max_unknown: environment.max_removed_users()?,
    };
    let clear_user = AsyncInvoker::new(&aws, &environment.clear_user_function()?);
    http::serve(&environment, |request| respond(&remover, &clear_user, request)).await
}

async fn respond(remover: &UserRemover, clear_user: &AsyncInvoker, request: Request) -> Response<Body> {
    let done = match *request.method() {
        Method::PUT => reinstate(&remover.store, &request).await.map(|()| http::no_content()),
        _ => remove(remover, clear_user, &request)
            .await
            .map(|removal| http::json(StatusCode::ACCEPTED, &removal)),
    };
    done.unwrap_or_else(|error| http::problem(&error, &request))
}

async fn remove(
    remover: &UserRemover,
    clear_user: &AsyncInvoker,
    request: &Request,
) -> Result<AnsweredRemoval, keygate::error::Error> {
    let caller = http::caller(request)?;
    let user_id = http::user_id(request)?;
    let parameters = request.query_string_parameters_ref();
    let keys = Keys::parse(&user_id, parameters.into_iter().flat_map(|parameters| parameters.iter()))?;
    let now = Utc::now();
    let removal = remover.remove(&caller, user_id, keys, http::origin(request), now).await?;
    let found = found::count(&remover.store.workspaces, remover.legacy.as_ref(), &removal, now).await;
    // Also where the count has failed: the removal must not wait for somebody to ask again.
    clear_user.invoke(&removal).await?;
    Ok(AnsweredRemoval::new(removal, found?))
}

async fn reinstate(store: &Store, request: &Request) -> Result<(), keygate::error::Error> {
    let caller = http::caller(request)?;
    reinstate::reinstate(store, &caller, &http::user_id(request)?, http::origin(request), Utc::now()).await
}

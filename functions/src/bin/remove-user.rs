//! `DELETE /users/{user_id}` and `PUT /users/{user_id}`: removes a user, and reinstates one.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::async_invoke::AsyncInvoker;
use keygate::store::Store;
use keygate::store::legacy_keys::LegacyKeysTable;
use keygate::users::found::{self, RemovalResponse};
use keygate::users::reinstate;
use keygate::users::remove::max_removed_users;
use keygate::users::remove::{KeyDisposition, UserRemover};
use keygate_core::legacy_credential;
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let legacy = match legacy_credential::sunset(&environment)? {
        Some(_) => Some(LegacyKeysTable::new(aws.dynamodb(), &environment)?),
        None => None,
    };
    let remover = UserRemover {
        store: Store::new(aws.dynamodb(), &environment)?,
        legacy,
        max_unknown: max_removed_users(&environment)?,
    };
    let clear_user = AsyncInvoker::new(
        &aws,
        &environment.required(
            "USER_REMOVAL_FUNCTION",
            "must be the name of the function that processes user removals",
        )?,
    );
    management::serve(&environment, |request| respond(&remover, &clear_user, request)).await
}

async fn respond(remover: &UserRemover, clear_user: &AsyncInvoker, request: Request) -> Response<Body> {
    let done = match *request.method() {
        Method::PUT => reinstate(&remover.store, &request).await.map(|()| response::no_content()),
        _ => remove(remover, clear_user, &request)
            .await
            .map(|removal| response::json(StatusCode::ACCEPTED, &removal)),
    };
    done.unwrap_or_else(|error| problem::problem(&error, &request))
}

async fn remove(
    remover: &UserRemover,
    clear_user: &AsyncInvoker,
    request: &Request,
) -> Result<RemovalResponse, keygate_core::error::Error> {
    let caller = request::caller(request)?;
    let user_id = request::user_id(request)?;
    let parameters = request.query_string_parameters_ref();
    let keys =
        KeyDisposition::parse(&user_id, parameters.into_iter().flat_map(|parameters| parameters.iter()))?;
    let now = Utc::now();
    let removal = remover.remove(&caller, user_id, keys, request::origin(request), now).await?;
    let found = found::count(&remover.store.workspaces, remover.legacy.as_ref(), &removal, now).await;
    // Also where the count has failed: the removal must not wait for somebody to ask again.
    clear_user.invoke(&removal).await?;
    Ok(RemovalResponse::new(removal, found?))
}

async fn reinstate(store: &Store, request: &Request) -> Result<(), keygate_core::error::Error> {
    let caller = request::caller(request)?;
    reinstate::reinstate(store, &caller, &request::user_id(request)?, request::origin(request), Utc::now())
        .await
}

//! `DELETE /users/{user_id}` and `PUT /users/{user_id}`: removes or reinstates a user.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::async_invoke::AsyncInvoker;
use keygate::store::Store;
use keygate::store::legacy_keys::LegacyKeysTable;
use keygate::users::found::remove_user;
use keygate::users::reinstate::reinstate;
use keygate::users::remove::{KeyDisposition, UserRemover, max_removed_users};
use keygate_core::legacy_credential;
use lambda_http::Error;
use lambda_http::http::{Method, StatusCode};

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
    let removal_processor = AsyncInvoker::new(
        &aws,
        &environment.required(
            "USER_REMOVAL_FUNCTION",
            "must be the name of the function that processes user removals",
        )?,
    );
    management::serve(&environment, async |request: ManagementRequest| {
        let (context, user_id) = (request.context()?, request.user_id()?);
        if *request.method() == Method::PUT {
            reinstate(&remover.store, &context, &user_id).await?;
            return Ok(response::no_content());
        }
        let keys = KeyDisposition::parse(&user_id, request.query())?;
        let removal = remove_user(&remover, &removal_processor, &context, user_id, keys).await?;
        Ok(response::json(StatusCode::ACCEPTED, &removal))
    })
    .await
}

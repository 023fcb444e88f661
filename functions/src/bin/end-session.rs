//! `DELETE /sessions/{session_id}` and `DELETE /sessions/current`: ends a session before its time.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::sessions::end::{end, end_own};
use keygate::store::token_transactions::TokenStore;
use lambda_http::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let store = TokenStore::new(aws.dynamodb(), &environment)?;
    management::serve(&environment, async |request: ManagementRequest| {
        let context = request.context()?;
        match request.session_id()? {
            Some(id) => end(&store, &context, id).await?,
            None => end_own(&store, &context).await?,
        }
        Ok(response::no_content())
    })
    .await
}

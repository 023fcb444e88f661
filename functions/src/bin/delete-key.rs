//! `DELETE /api-keys/{id}`: deletes a key permanently.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::keys::delete::delete;
use keygate::store::Store;
use lambda_http::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    management::serve(&environment, async |request: ManagementRequest| {
        delete(&store, &request.context()?, request.key_id()?, &request.if_match()?).await?;
        Ok(response::no_content())
    })
    .await
}

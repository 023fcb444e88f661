//! `DELETE /legacy-keys/{id}`: deletes a legacy key permanently.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::legacy::delete::delete;
use keygate::store::legacy_key_transactions::LegacyStore;
use keygate_core::error;
use keygate_core::legacy_credential;
use lambda_http::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let store =
        legacy_credential::sunset(&environment)?.map(|_| LegacyStore::new(aws.dynamodb(), &environment));
    let store = store.transpose()?;
    management::serve(&environment, async |request: ManagementRequest| {
        let store = store.as_ref().ok_or(error::Error::NoLegacyKeys)?;
        delete(store, &request.context()?, request.legacy_key_id()?).await?;
        Ok(response::no_content())
    })
    .await
}

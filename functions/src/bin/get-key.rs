//! `GET /api-keys/{id}`: one key.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::keys::get::get;
use keygate::store::keys::KeysTable;
use keygate::store::usage::UsageTable;
use keygate_core::credential::Brand;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let keys = KeysTable::new(aws.dynamodb(), &environment)?;
    let usage = UsageTable::new(aws.dynamodb(), &environment)?;
    let brand = Brand::from_environment(&environment)?;
    management::serve(&environment, async |request: ManagementRequest| {
        let key = get(&keys, &usage, &brand, &request.context()?, request.key_id()?).await?;
        Ok(response::key(StatusCode::OK, key.revision(), &key))
    })
    .await
}

//! `GET /api-keys/{id}/usage`: the calls of a key by hour or day.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::store::keys::KeysTable;
use keygate::store::usage::UsageTable;
use keygate::usage::series::{UsageQuery, series};
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let keys = KeysTable::new(aws.dynamodb(), &environment)?;
    let usage = UsageTable::new(aws.dynamodb(), &environment)?;
    management::serve(&environment, async |request: ManagementRequest| {
        let (context, key_id) = (request.context()?, request.key_id()?);
        let query = UsageQuery::parse(request.query(), context.now)?;
        let usage = series(&keys, &usage, &context, key_id, query).await?;
        Ok(response::json(StatusCode::OK, &usage))
    })
    .await
}

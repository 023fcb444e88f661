//! `GET /legacy-keys`: a page of the workspace's legacy keys.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::legacy::LegacyReader;
use keygate::legacy::list::{ListLegacyKeys, list};
use keygate_core::error;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let reader = LegacyReader::new(aws.dynamodb(), &environment)?;
    management::serve(&environment, async |request: ManagementRequest| {
        let reader = reader.as_ref().ok_or(error::Error::NoLegacyKeys)?;
        let context = request.context()?;
        let page = list(reader, &context, &ListLegacyKeys::parse(request.query())?).await?;
        Ok(response::json(StatusCode::OK, &page))
    })
    .await
}

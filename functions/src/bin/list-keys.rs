//! `GET /api-keys`: a page of the workspace's keys, sorted and filtered.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::keys::list::{ListKeys, list};
use keygate::store::key_queries::KeyLister;
use keygate_core::credential::Brand;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let keys = KeyLister::new(aws.dynamodb(), &environment)?;
    let brand = Brand::from_environment(&environment)?;
    management::serve(&environment, async |request: ManagementRequest| {
        let context = request.context()?;
        let page = list(&keys, &brand, &context, &ListKeys::parse(request.query())?).await?;
        Ok(response::json(StatusCode::OK, &page))
    })
    .await
}

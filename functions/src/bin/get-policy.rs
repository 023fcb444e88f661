//! `GET /policy`: what the caller may ask for when they create a key.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::keys::policy::{PolicySettings, policy};
use keygate::store::workspaces::WorkspacesTable;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let workspaces = WorkspacesTable::new(aws.dynamodb(), &environment)?;
    let settings = PolicySettings::from_environment(&environment)?;
    management::serve(&environment, async |request: ManagementRequest| {
        let policy = policy(&workspaces, &settings, &request.context()?).await?;
        Ok(response::json(StatusCode::OK, &policy))
    })
    .await
}

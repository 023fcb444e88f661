//! `GET /activity`: a page of the audit trail, newest first.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::audit::list::{ListActivity, list};
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::store::activity::ActivityTable;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let activity = ActivityTable::new(aws.dynamodb(), &environment)?;
    management::serve(&environment, async |request: ManagementRequest| {
        let context = request.context()?;
        let page = list(&activity, &context, &ListActivity::parse(request.query())?).await?;
        Ok(response::json(StatusCode::OK, &page))
    })
    .await
}

//! `GET /activity`: a page of the audit trail, newest first.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::audit::list::{self, ListActivity};
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::store::activity::ActivityTable;
use keygate::store::pagination::Page;
use keygate_core::audit_event::ShownEvent;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let activity = ActivityTable::new(aws.dynamodb(), &environment)?;
    management::serve(&environment, |request| respond(&activity, request)).await
}

async fn respond(activity: &ActivityTable, request: Request) -> Response<Body> {
    match list(activity, &request).await {
        Ok(page) => response::json(StatusCode::OK, &page),
        Err(error) => problem::problem(&error, &request),
    }
}

async fn list(
    activity: &ActivityTable,
    request: &Request,
) -> Result<Page<ShownEvent>, keygate_core::error::Error> {
    let caller = request::caller(request)?;
    let parameters = request.query_string_parameters_ref();
    let wanted = ListActivity::parse(parameters.into_iter().flat_map(|parameters| parameters.iter()))?;
    list::list(activity, &caller, &wanted, Utc::now()).await
}

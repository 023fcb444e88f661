//! `GET /activity`: a page of the audit trail, newest first.

use chrono::Utc;
use keygate::activity::Recorded;
use keygate::audit::list::{self, ListActivity};
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::page::Page;
use keygate::store::activity::Activity;
use keygate::{http, logging};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let activity =
        Activity::new(aws.dynamodb(), environment.activity_table()?, environment.activity_retention()?);
    http::serve(&environment, |request| respond(&activity, request)).await
}

async fn respond(activity: &Activity, request: Request) -> Response<Body> {
    match list(activity, &request).await {
        Ok(page) => http::json(StatusCode::OK, &page),
        Err(error) => http::problem(&error, &request),
    }
}

async fn list(activity: &Activity, request: &Request) -> Result<Page<Recorded>, keygate::error::Error> {
    let caller = http::caller(request)?;
    let parameters = request.query_string_parameters_ref();
    let wanted = ListActivity::parse(parameters.into_iter().flat_map(|parameters| parameters.iter()))?;
    list::list(activity, &caller, &wanted, Utc::now()).await
}

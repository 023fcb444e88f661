//! `GET /legacy-keys`: a page of the workspace's legacy keys.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::legacy::list::{self, ListLegacyKeys};
use keygate::legacy::{LegacyReader, ShownLegacyKey};
use keygate::store::pagination::Page;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let reader = LegacyReader::new(aws.dynamodb(), &environment)?;
    management::serve(&environment, |request| respond(reader.as_ref(), request)).await
}

async fn respond(reader: Option<&LegacyReader>, request: Request) -> Response<Body> {
    match list(reader, &request).await {
        Ok(page) => response::json(StatusCode::OK, &page),
        Err(error) => problem::problem(&error, &request),
    }
}

async fn list(
    reader: Option<&LegacyReader>,
    request: &Request,
) -> Result<Page<ShownLegacyKey>, keygate_core::error::Error> {
    let reader = reader.ok_or(keygate_core::error::Error::NoLegacyKeys)?;
    let caller = request::caller(request)?;
    let parameters = request.query_string_parameters_ref();
    let wanted = ListLegacyKeys::parse(parameters.into_iter().flat_map(|parameters| parameters.iter()))?;
    list::list(reader, &caller, &wanted, Utc::now()).await
}

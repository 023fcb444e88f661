//! `GET /api-keys`: a page of the workspace's keys, sorted and filtered.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::keys::ShownKey;
use keygate::keys::list::{self, ListKeys};
use keygate::store::keys::KeysTable;
use keygate::store::pagination::Page;
use keygate_core::credential::Brand;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let keys = KeysTable::new(aws.dynamodb(), &environment)?;
    let brand = Brand::from_environment(&environment)?;
    management::serve(&environment, |request| respond(&keys, &brand, request)).await
}

async fn respond(keys: &KeysTable, brand: &Brand, request: Request) -> Response<Body> {
    match list(keys, brand, &request).await {
        Ok(page) => response::json(StatusCode::OK, &page),
        Err(error) => problem::problem(&error, &request),
    }
}

async fn list(
    keys: &KeysTable,
    brand: &Brand,
    request: &Request,
) -> Result<Page<ShownKey>, keygate_core::error::Error> {
    let caller = request::caller(request)?;
    let parameters = request.query_string_parameters_ref();
    let wanted = ListKeys::parse(parameters.into_iter().flat_map(|parameters| parameters.iter()))?;
    list::list(keys, brand, &caller, &wanted, Utc::now()).await
}

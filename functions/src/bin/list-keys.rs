//! `GET /api-keys`: a page of the workspace's keys, sorted and filtered.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::credential::Brand;
use keygate::keys::ShownKey;
use keygate::keys::list::{self, ListKeys};
use keygate::page::Page;
use keygate::store::keys::Keys;
use keygate::{http, logging};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let keys = Keys::new(aws.dynamodb(), environment.keys_table()?);
    let brand = environment.brand()?;
    http::serve(&environment, |request| respond(&keys, &brand, request)).await
}

async fn respond(keys: &Keys, brand: &Brand, request: Request) -> Response<Body> {
    match list(keys, brand, &request).await {
        Ok(page) => http::json(StatusCode::OK, &page),
        Err(error) => http::problem(&error, &request),
    }
}

async fn list(
    keys: &Keys,
    brand: &Brand,
    request: &Request,
) -> Result<Page<ShownKey>, keygate::error::Error> {
    let caller = http::caller(request)?;
    let parameters = request.query_string_parameters_ref();
    let wanted = ListKeys::parse(parameters.into_iter().flat_map(|parameters| parameters.iter()))?;
    list::list(keys, brand, &caller, &wanted, Utc::now()).await
}

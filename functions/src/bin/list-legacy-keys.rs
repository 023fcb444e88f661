//! `GET /legacy-keys`: a page of the workspace's legacy keys.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::legacy::list::{self, ListLegacyKeys};
use keygate::legacy::{LegacyReader, ShownLegacyKey};
use keygate::page::Page;
use keygate::{http, logging};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let reader = LegacyReader::new(aws.dynamodb(), &environment)?;
    http::serve(&environment, |request| respond(reader.as_ref(), request)).await
}

async fn respond(reader: Option<&LegacyReader>, request: Request) -> Response<Body> {
    match list(reader, &request).await {
        Ok(page) => http::json(StatusCode::OK, &page),
        Err(error) => http::problem(&error, &request),
    }
}

async fn list(
    reader: Option<&LegacyReader>,
    request: &Request,
) -> Result<Page<ShownLegacyKey>, keygate::error::Error> {
    let reader = reader.ok_or(keygate::error::Error::NoLegacyKeys)?;
    let caller = http::caller(request)?;
    let parameters = request.query_string_parameters_ref();
    let wanted = ListLegacyKeys::parse(parameters.into_iter().flat_map(|parameters| parameters.iter()))?;
    list::list(reader, &caller, &wanted, Utc::now()).await
}

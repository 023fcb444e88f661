//! `GET /legacy-keys/{id}`: one legacy key.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::legacy::{LegacyReader, ShownLegacyKey, get};
use keygate::{http, logging};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let reader = LegacyReader::new(aws.dynamodb(), &environment)?;
    http::serve(&environment, |request| respond(reader.as_ref(), request)).await
}

async fn respond(reader: Option<&LegacyReader>, request: Request) -> Response<Body> {
    match get(reader, &request).await {
        Ok(key) => http::json(StatusCode::OK, &key),
        Err(error) => http::problem(&error, &request),
    }
}

async fn get(
    reader: Option<&LegacyReader>,
    request: &Request,
) -> Result<ShownLegacyKey, keygate::error::Error> {
    let reader = reader.ok_or(keygate::error::Error::NoLegacyKeys)?;
    get::get(reader, &http::caller(request)?, http::legacy_key_id(request)?, Utc::now()).await
}

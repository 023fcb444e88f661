//! `GET /legacy-keys/{id}`: one legacy key.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::legacy::{LegacyReader, ShownLegacyKey, get};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let reader = LegacyReader::new(aws.dynamodb(), &environment)?;
    management::serve(&environment, |request| respond(reader.as_ref(), request)).await
}

async fn respond(reader: Option<&LegacyReader>, request: Request) -> Response<Body> {
    match get(reader, &request).await {
        Ok(key) => response::json(StatusCode::OK, &key),
        Err(error) => problem::problem(&error, &request),
    }
}

async fn get(
    reader: Option<&LegacyReader>,
    request: &Request,
) -> Result<ShownLegacyKey, keygate_core::error::Error> {
    let reader = reader.ok_or(keygate_core::error::Error::NoLegacyKeys)?;
    get::get(reader, &request::caller(request)?, request::legacy_key_id(request)?, Utc::now()).await
}

//! `GET /api-keys/{id}/tokens`: a page of a key's tokens.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::store::keys::KeysTable;
use keygate::store::pagination::Page;
use keygate::store::tokens::TokensTable;
use keygate::tokens::list::{self, ListTokens, ShownToken};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let dynamodb = aws.dynamodb();
    let keys = KeysTable::new(dynamodb.clone(), &environment)?;
    let tokens = TokensTable::new(dynamodb, &environment)?;
    management::serve(&environment, |request| respond(&keys, &tokens, request)).await
}

async fn respond(keys: &KeysTable, tokens: &TokensTable, request: Request) -> Response<Body> {
    match list(keys, tokens, &request).await {
        Ok(page) => response::json(StatusCode::OK, &page),
        Err(error) => problem::problem(&error, &request),
    }
}

async fn list(
    keys: &KeysTable,
    tokens: &TokensTable,
    request: &Request,
) -> Result<Page<ShownToken>, keygate_core::error::Error> {
    let (caller, key_id) = (request::caller(request)?, request::key_id(request)?);
    let parameters = request.query_string_parameters_ref();
    let wanted = ListTokens::parse(parameters.into_iter().flat_map(|parameters| parameters.iter()))?;
    list::list((keys, tokens), &caller, key_id, &wanted, Utc::now()).await
}

//! `GET /api-keys/{id}/tokens`: a page of a key's tokens.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::store::keys::Keys;
use keygate::store::tokens::Tokens;
use keygate::tokens::list::{self, ListTokens, TokenPage};
use keygate::{http, logging};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let dynamodb = aws.dynamodb();
    let keys = Keys::new(dynamodb.clone(), environment.keys_table()?);
    let tokens = Tokens::new(dynamodb, environment.tokens_table()?);
    http::serve(&environment, |request| respond(&keys, &tokens, request)).await
}

async fn respond(keys: &Keys, tokens: &Tokens, request: Request) -> Response<Body> {
    match list(keys, tokens, &request).await {
        Ok(page) => http::json(StatusCode::OK, &page),
        Err(error) => http::problem(&error, &request),
    }
}

async fn list(keys: &Keys, tokens: &Tokens, request: &Request) -> Result<TokenPage, keygate::error::Error> {
    let (caller, key_id) = (http::caller(request)?, http::key_id(request)?);
    let parameters = request.query_string_parameters_ref();
    let wanted = ListTokens::parse(parameters.into_iter().flat_map(|parameters| parameters.iter()))?;
    list::list((keys, tokens), &caller, key_id, &wanted, Utc::now()).await
}

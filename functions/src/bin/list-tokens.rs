//! `GET /api-keys/{id}/tokens`: a page of a key's tokens.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::store::keys::KeysTable;
use keygate::store::tokens::TokensTable;
use keygate::tokens::list::{ListTokens, list};
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let dynamodb = aws.dynamodb();
    let keys = KeysTable::new(dynamodb.clone(), &environment)?;
    let tokens = TokensTable::new(dynamodb, &environment)?;
    management::serve(&environment, async |request: ManagementRequest| {
        let (context, key_id) = (request.context()?, request.key_id()?);
        let page = list(&keys, &tokens, &context, key_id, &ListTokens::parse(request.query())?).await?;
        Ok(response::json(StatusCode::OK, &page))
    })
    .await
}

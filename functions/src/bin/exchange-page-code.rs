//! `POST /sessions/exchange`: exchanges the page code of a session for a secret of the session. It needs no other credential.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms::MacKeySources;
use keygate::sessions::exchange::{ExchangePageCode, PageCodeExchanger};
use keygate::store::token_transactions::TokenStore;
use keygate_core::credential::Brand;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let exchanger = PageCodeExchanger {
        brand: Brand::from_environment(&environment)?,
        peppers: aws.macs().derive(MacKeySources::peppers(&environment)?).await?,
        store: TokenStore::new(aws.dynamodb(), &environment)?,
    };
    management::serve(&environment, async |request: ManagementRequest| {
        request.reject_idempotency_key()?;
        let code = ExchangePageCode::parse(request.json()?)?;
        let session = Box::pin(exchanger.exchange(&code, &request.origin(), request.now())).await?;
        Ok(response::json(StatusCode::OK, &session))
    })
    .await
}

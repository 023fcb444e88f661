//! `POST /sessions`: opens a session for a user of the workspace.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms::MacKeySources;
use keygate::sessions::open::{OpenSession, SessionOpener};
use keygate::sessions::settings::console_url;
use keygate::store::token_transactions::TokenStore;
use keygate_core::credential::Brand;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let console = console_url(&environment)?;
    let opener = SessionOpener {
        brand: Brand::from_environment(&environment)?,
        peppers: aws.macs().derive(MacKeySources::peppers(&environment)?).await?,
        store: TokenStore::new(aws.dynamodb(), &environment)?,
    };
    management::serve(&environment, async |request: ManagementRequest| {
        request.reject_idempotency_key()?;
        let context = request.context()?;
        let console = || console.clone().map_or_else(|| request.console_url(), Ok);
        let session = opener.open(&context, OpenSession::parse(request.json()?)?, console).await?;
        Ok(response::json(StatusCode::CREATED, &session))
    })
    .await
}

//! `POST /oauth/revoke`, and `DELETE /api-keys/{id}/tokens` and `/api-keys/{id}/tokens/{token_id}`: revokes tokens.

use keygate::api::oauth::{self, OAuthRequest};
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::authorizer::deferred::{DeferredWorker, DeferredWriter};
use keygate::authorizer::verifier::Verifier;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms::MacKeySources;
use keygate::store::reader::CredentialReader;
use keygate::store::token_transactions::TokenStore;
use keygate::tokens::revoke::{TokenRevoker, revoke, revoke_all};
use keygate::tokens::server_metadata::REVOCATION_PATH;
use keygate_core::credential::Brand;
use lambda_http::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let (dynamodb, peppers) =
        (aws.dynamodb(), aws.macs().derive(MacKeySources::peppers(&environment)?).await?);
    let writer = DeferredWriter::of_oauth(dynamodb.clone(), &environment)?;
    let deferred = DeferredWorker::start(writer.into()).await?;
    let revoker = TokenRevoker {
        brand: Brand::from_environment(&environment)?,
        verifier: Verifier { peppers, reader: CredentialReader::new(aws.dynamodb_read(), &environment)? },
        store: TokenStore::new(dynamodb, &environment)?,
    };
    let by_presentation = async |request: OAuthRequest| {
        revoker.revoke_presented(&request.client_request()?).await?;
        Ok(oauth::done())
    };
    let by_id = async |request: ManagementRequest| {
        let (context, key_id) = (request.context()?, request.key_id()?);
        match request.token_id()? {
            Some(token_id) => revoke(&revoker.store, &context, key_id, token_id).await?,
            None => revoke_all(&revoker.store, &context, key_id).await?,
        }
        Ok(response::no_content())
    };
    oauth::serve_with_management(&environment, &deferred, REVOCATION_PATH, by_presentation, by_id).await
}

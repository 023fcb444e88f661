//! `POST /oauth/token`: exchanges a key or a refresh token for tokens. `GET /.well-known/oauth-authorization-server`: the
//! metadata from which a client learns how to use this API.

use keygate::api::oauth::{self, OAuthRequest};
use keygate::authorizer::deferred::{DeferredWorker, DeferredWriter};
use keygate::authorizer::verifier::Verifier;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms::{self, MacKeySources};
use keygate::store::reader::CredentialReader;
use keygate::store::token_transactions::TokenStore;
use keygate::tokens::issue::TokenIssuer;
use keygate::tokens::server_metadata::{self, ServerMetadata, TOKEN_PATH};
use keygate::tokens::settings::TokenSettings;
use keygate_core::credential::Brand;
use lambda_http::Error;
use lambda_http::http::Method;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let (dynamodb, peppers) =
        (aws.dynamodb(), kms::derive(&aws.kms(), MacKeySources::peppers(&environment)?).await?);
    let writer = DeferredWriter::of_oauth(dynamodb.clone(), &environment)?;
    let deferred = DeferredWorker::start(writer.into()).await?;
    let issuer = TokenIssuer {
        brand: Brand::from_environment(&environment)?,
        verifier: Verifier { peppers, reader: CredentialReader::new(aws.dynamodb_read(), &environment)? },
        store: TokenStore::new(dynamodb, &environment)?,
        settings: TokenSettings::from_environment(&environment)?,
    };
    let address = server_metadata::issuer(&environment)?;
    oauth::serve(&environment, &deferred, TOKEN_PATH, async |request: OAuthRequest| {
        if *request.method() == Method::GET {
            return Ok(oauth::json(&ServerMetadata::new(&request.issuer(address.as_deref()))));
        }
        Ok(oauth::json(&issuer.issue(&request.client_request()?).await?))
    })
    .await
}

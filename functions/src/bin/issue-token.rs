//! `POST /oauth/token`: exchanges a key or a refresh token for tokens.

use keygate::api::oauth::{self, OAuthRequest};
use keygate::authorizer::deferred::{DeferredWorker, DeferredWriter};
use keygate::authorizer::verifier::Verifier;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms::MacKeySources;
use keygate::aws::signing_key::SigningKey;
use keygate::store::reader::CredentialReader;
use keygate::store::token_transactions::TokenStore;
use keygate::tokens::issue::TokenIssuer;
use keygate::tokens::jwt_signer::JwtSigner;
use keygate::tokens::server_metadata::{self, TOKEN_PATH};
use keygate::tokens::settings::{JwtSettings, TokenSettings};
use keygate_core::credential::Brand;
use lambda_http::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let dynamodb = aws.dynamodb();
    let peppers = aws.macs().derive(MacKeySources::peppers(&environment)?).await?;
    let writer = DeferredWriter::of_oauth(dynamodb.clone(), &environment)?;
    let deferred = DeferredWorker::start(writer.into()).await?;
    let jwts = JwtSettings::from_environment(&environment)?
        .map(|settings| SigningKey::new(aws.kms(), &environment).map(|key| JwtSigner { key, settings }));
    let issuer = TokenIssuer {
        brand: Brand::from_environment(&environment)?,
        verifier: Verifier { peppers, reader: CredentialReader::new(aws.dynamodb_read(), &environment)? },
        store: TokenStore::new(dynamodb, &environment)?,
        settings: TokenSettings::from_environment(&environment)?,
        jwts: jwts.transpose()?,
    };
    let address = server_metadata::issuer(&environment)?;
    oauth::serve(&environment, &deferred, TOKEN_PATH, async |request: OAuthRequest| {
        let tokens = issuer.issue(&request.client_request()?, &request.issuer(address.as_deref())).await?;
        Ok(oauth::json(&tokens))
    })
    .await
}

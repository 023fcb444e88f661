//! `POST /oauth/token`: trades a key, or a refresh token, for tokens. `GET /.well-known/oauth-authorization-server`: what a
//! client can find out by itself.

use chrono::Utc;
use keygate::api::oauth;
use keygate::api::request;
use keygate::authorizer::call_counter::KeyCall;
use keygate::authorizer::deferred::DeferredWorker;
use keygate::authorizer::verifier::Verifier;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms;
use keygate::aws::kms::MacKeySources;
use keygate::store::reader::CredentialReader;
use keygate::store::token_transactions::TokenStore;
use keygate::tokens::OAuthError;
use keygate::tokens::issue::{IssuedTokens, TokenIssuer};
use keygate::tokens::metadata::{self, Metadata, TOKEN_PATH};
use keygate::tokens::settings::TokenSettings;
use keygate_core::credential::Brand;
use lambda_http::http::Method;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let (dynamodb, peppers) =
        (aws.dynamodb(), kms::derive(&aws.kms(), MacKeySources::peppers(&environment)?).await?);
    let deferred = DeferredWorker::start(oauth::writer(&environment, dynamodb.clone())?.into()).await?;
    let issuer = TokenIssuer {
        brand: Brand::from_environment(&environment)?,
        verifier: Verifier { peppers, reader: CredentialReader::new(aws.dynamodb_read(), &environment)? },
        store: TokenStore::new(dynamodb, &environment)?,
        settings: TokenSettings::from_environment(&environment)?,
    };
    let address = metadata::issuer(&environment)?;
    let respond = |request| respond(&issuer, address.as_deref(), request);
    oauth::serve(&environment, &deferred, respond).await
}

async fn respond(
    issuer: &TokenIssuer,
    address: Option<&str>,
    request: Request,
) -> (Response<Body>, Option<KeyCall>) {
    if *request.method() == Method::GET {
        return (oauth::json(&Metadata::new(&oauth::issuer(&request, address))), None);
    }
    match issue(issuer, &request).await {
        Ok(tokens) => (oauth::json(&tokens), None),
        Err(error) => oauth::refusal(&error, &request, TOKEN_PATH),
    }
}

async fn issue(issuer: &TokenIssuer, request: &Request) -> Result<IssuedTokens, OAuthError> {
    let parameters = oauth::parameters(request)?;
    issuer.issue(oauth::authorization(request), &parameters, request::origin(request), Utc::now()).await
}

//! `POST /oauth/token`: trades a key, or a refresh token, for tokens. `GET /.well-known/oauth-authorization-server`: what a
//! client can find out by itself.

use chrono::Utc;
use keygate::afterwards::Afterwards;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::calls::Call;
use keygate::config::Environment;
use keygate::store::reader::Reader;
use keygate::store::tokens::TokenStore;
use keygate::tokens::OAuthError;
use keygate::tokens::issue::{IssuedTokens, TokenIssuer};
use keygate::tokens::metadata::{Metadata, TOKEN_PATH};
use keygate::verify::Verifier;
use keygate::{http, kms, logging, oauth};
use lambda_http::http::Method;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let (dynamodb, peppers) = (aws.dynamodb(), kms::derive(&aws.kms(), environment.peppers()?).await?);
    let afterwards = Afterwards::start(oauth::writer(&environment, dynamodb.clone())?.into()).await?;
    let issuer = TokenIssuer {
        brand: environment.brand()?,
        verifier: Verifier { peppers, reader: Reader::new(aws.dynamodb_read(), &environment)? },
        store: TokenStore::new(dynamodb, &environment)?,
        access_lifetime: environment.access_token_lifetime()?,
        refresh_lifetime: environment.refresh_token_lifetime()?,
        refresh_reuse: environment.refresh_reuse()?,
        tokens_per_key: environment.tokens_per_key()?,
    };
    let address = environment.oauth_issuer()?;
    let respond = |request| respond(&issuer, address.as_deref(), request);
    oauth::serve(&environment, &afterwards, respond).await
}

async fn respond(
    issuer: &TokenIssuer,
    address: Option<&str>,
    request: Request,
) -> (Response<Body>, Option<Call>) {
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
    issuer.issue(oauth::authorization(request), &parameters, http::origin(request), Utc::now()).await
}

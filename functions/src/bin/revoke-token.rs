//! `POST /oauth/revoke`, and `DELETE /api-keys/{id}/tokens` and `/api-keys/{id}/tokens/{token_id}`: revokes tokens.

use chrono::Utc;
use keygate::afterwards::Afterwards;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::calls::Call;
use keygate::config::Environment;
use keygate::store::reader::Reader;
use keygate::store::tokens::TokenStore;
use keygate::tokens::OAuthError;
use keygate::tokens::metadata::REVOCATION_PATH;
use keygate::tokens::revoke::{self, TokenRevoker};
use keygate::verify::Verifier;
use keygate::{http, kms, logging, oauth};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let (dynamodb, peppers) = (aws.dynamodb(), kms::derive(&aws.kms(), environment.peppers()?).await?);
    let afterwards = Afterwards::start(oauth::writer(&environment, dynamodb.clone())?.into()).await?;
    let revoker = TokenRevoker {
        brand: environment.brand()?,
        verifier: Verifier { peppers, reader: Reader::new(aws.dynamodb_read(), &environment)? },
        store: TokenStore::new(dynamodb, &environment)?,
    };
    oauth::serve(&environment, &afterwards, |request| respond(&revoker, request)).await
}

/// The OAuth API is an HTTP API, and the management API is not.
async fn respond(revoker: &TokenRevoker, request: Request) -> (Response<Body>, Option<Call>) {
    if let Some(RequestContext::ApiGatewayV2(_)) = request.request_context_ref() {
        return match revoke_presented(revoker, &request).await {
            Ok(()) => (oauth::done(), None),
            Err(error) => oauth::refusal(&error, &request, REVOCATION_PATH),
        };
    }
    let answer = match revoke(&revoker.store, &request).await {
        Ok(()) => http::no_content(),
        Err(error) => http::problem(&error, &request),
    };
    (answer, None)
}

async fn revoke_presented(revoker: &TokenRevoker, request: &Request) -> Result<(), OAuthError> {
    let (authorization, parameters) = (oauth::authorization(request), oauth::parameters(request)?);
    revoker.revoke_presented(authorization, &parameters, http::origin(request), Utc::now()).await
}

async fn revoke(store: &TokenStore, request: &Request) -> Result<(), keygate::error::Error> {
    let (now, caller, key_id) = (Utc::now(), http::caller(request)?, http::key_id(request)?);
    match http::token_id(request)? {
        Some(id) => revoke::revoke(store, &caller, (key_id, id), http::origin(request), now).await,
        None => revoke::revoke_all(store, &caller, key_id, http::origin(request), now).await,
    }
}

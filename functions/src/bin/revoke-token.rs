//! `POST /oauth/revoke`, and `DELETE /api-keys/{id}/tokens` and `/api-keys/{id}/tokens/{token_id}`: revokes tokens.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::pepper::Peppers;
use keygate::store::reader::Reader;
use keygate::store::tokens::TokenStore;
use keygate::tokens::OAuthError;
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
    let peppers = Peppers(kms::derive(&aws.kms, environment.peppers()?).await?);
    let revoker = TokenRevoker {
        brand: environment.brand()?,
        verifier: Verifier { peppers, reader: Reader::new(aws.direct, &environment)? },
        store: TokenStore::new(aws.dynamodb, &environment)?,
    };
    oauth::serve(&environment, |request| respond(&revoker, request)).await
}

/// The OAuth API is an HTTP API, and the management API is not.
async fn respond(revoker: &TokenRevoker, request: Request) -> Response<Body> {
    if let Some(RequestContext::ApiGatewayV2(_)) = request.request_context_ref() {
        return match revoke_presented(revoker, &request).await {
            Ok(()) => oauth::done(),
            Err(error) => oauth::refusal(&error, &request),
        };
    }
    match revoke(&revoker.store, &request).await {
        Ok(()) => http::no_content(),
        Err(error) => http::problem(&error, &request),
    }
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

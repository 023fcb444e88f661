//! `POST /oauth/revoke`, and `DELETE /api-keys/{id}/tokens` and `/api-keys/{id}/tokens/{token_id}`: revokes tokens.

use chrono::Utc;
use keygate::api::oauth;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::authorizer::call_counter::KeyCall;
use keygate::authorizer::deferred::DeferredWorker;
use keygate::authorizer::verifier::Verifier;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms;
use keygate::aws::kms::MacKeySources;
use keygate::store::reader::CredentialReader;
use keygate::store::token_transactions::TokenStore;
use keygate::tokens::OAuthError;
use keygate::tokens::metadata::REVOCATION_PATH;
use keygate::tokens::revoke::{self, TokenRevoker};
use keygate_core::credential::Brand;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Error, Request, RequestExt, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let (dynamodb, peppers) =
        (aws.dynamodb(), kms::derive(&aws.kms(), MacKeySources::peppers(&environment)?).await?);
    let deferred = DeferredWorker::start(oauth::writer(&environment, dynamodb.clone())?.into()).await?;
    let revoker = TokenRevoker {
        brand: Brand::from_environment(&environment)?,
        verifier: Verifier { peppers, reader: CredentialReader::new(aws.dynamodb_read(), &environment)? },
        store: TokenStore::new(dynamodb, &environment)?,
    };
    oauth::serve(&environment, &deferred, |request| respond(&revoker, request)).await
}

/// The OAuth API is an HTTP API, and the management API is not.
async fn respond(revoker: &TokenRevoker, request: Request) -> (Response<Body>, Option<KeyCall>) {
    if let Some(RequestContext::ApiGatewayV2(_)) = request.request_context_ref() {
        return match revoke_presented(revoker, &request).await {
            Ok(()) => (oauth::done(), None),
            Err(error) => oauth::refusal(&error, &request, REVOCATION_PATH),
        };
    }
    let answer = match revoke(&revoker.store, &request).await {
        Ok(()) => response::no_content(),
        Err(error) => problem::problem(&error, &request),
    };
    (answer, None)
}

async fn revoke_presented(revoker: &TokenRevoker, request: &Request) -> Result<(), OAuthError> {
    let (authorization, parameters) = (oauth::authorization(request), oauth::parameters(request)?);
    revoker.revoke_presented(authorization, &parameters, request::origin(request), Utc::now()).await
}

async fn revoke(store: &TokenStore, request: &Request) -> Result<(), keygate_core::error::Error> {
    let (now, caller, key_id) = (Utc::now(), request::caller(request)?, request::key_id(request)?);
    match request::token_id(request)? {
        Some(id) => revoke::revoke(store, &caller, (key_id, id), request::origin(request), now).await,
        None => revoke::revoke_all(store, &caller, key_id, request::origin(request), now).await,
    }
}

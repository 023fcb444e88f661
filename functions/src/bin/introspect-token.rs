//! `POST /oauth/introspect`: says what a credential is worth.

use chrono::Utc;
use keygate::api::oauth;
use keygate::authorizer::call_counter::KeyCall;
use keygate::authorizer::deferred::DeferredWorker;
use keygate::authorizer::verifier::Verifier;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms;
use keygate::aws::kms::MacKeySources;
use keygate::store::reader::CredentialReader;
use keygate::tokens::OAuthError;
use keygate::tokens::introspect::{Introspection, Introspector};
use keygate::tokens::metadata::INTROSPECTION_PATH;
use keygate_core::credential::Brand;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let peppers = kms::derive(&aws.kms(), MacKeySources::peppers(&environment)?).await?;
    let verifier = Verifier { peppers, reader: CredentialReader::new(aws.dynamodb_read(), &environment)? };
    let introspector = Introspector { brand: Brand::from_environment(&environment)?, verifier };
    let deferred = DeferredWorker::start(oauth::writer(&environment, aws.dynamodb())?.into()).await?;
    oauth::serve(&environment, &deferred, |request| respond(&introspector, request)).await
}

async fn respond(introspector: &Introspector, request: Request) -> (Response<Body>, Option<KeyCall>) {
    match introspect(introspector, &request).await {
        Ok(introspection) => (oauth::json(&introspection), None),
        Err(error) => oauth::refusal(&error, &request, INTROSPECTION_PATH),
    }
}

async fn introspect(introspector: &Introspector, request: &Request) -> Result<Introspection, OAuthError> {
    let (authorization, parameters) = (oauth::authorization(request), oauth::parameters(request)?);
    introspector.introspect(authorization, &parameters, Utc::now()).await
}

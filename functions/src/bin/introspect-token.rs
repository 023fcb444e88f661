//! `POST /oauth/introspect`: tells a resource server whether a credential works, and what it may do.

use keygate::api::oauth::{self, OAuthRequest};
use keygate::authorizer::deferred::{DeferredWorker, DeferredWriter};
use keygate::authorizer::verifier::Verifier;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms::{self, MacKeySources};
use keygate::store::reader::CredentialReader;
use keygate::tokens::introspect::Introspector;
use keygate::tokens::server_metadata::INTROSPECTION_PATH;
use keygate_core::credential::Brand;
use lambda_http::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let peppers = kms::derive(&aws.kms(), MacKeySources::peppers(&environment)?).await?;
    let verifier = Verifier { peppers, reader: CredentialReader::new(aws.dynamodb_read(), &environment)? };
    let introspector = Introspector { brand: Brand::from_environment(&environment)?, verifier };
    let writer = DeferredWriter::of_oauth(aws.dynamodb(), &environment)?;
    let deferred = DeferredWorker::start(writer.into()).await?;
    oauth::serve(&environment, &deferred, INTROSPECTION_PATH, async |request: OAuthRequest| {
        Ok(oauth::json(&introspector.introspect(&request.client_request()?).await?))
    })
    .await
}

//! `POST /oauth/introspect`: says what a credential is worth.

use chrono::Utc;
use keygate::afterwards::Afterwards;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::calls::Call;
use keygate::config::Environment;
use keygate::store::reader::Reader;
use keygate::tokens::OAuthError;
use keygate::tokens::introspect::{Introspection, Introspector};
use keygate::tokens::metadata::INTROSPECTION_PATH;
use keygate::verify::Verifier;
use keygate::{kms, logging, oauth};
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let peppers = kms::derive(&aws.kms(), environment.peppers()?).await?;
    let verifier = Verifier { peppers, reader: Reader::new(aws.dynamodb_read(), &environment)? };
    let introspector = Introspector { brand: environment.brand()?, verifier };
    let afterwards = Afterwards::start(oauth::writer(&environment, aws.dynamodb())?.into()).await?;
    oauth::serve(&environment, &afterwards, |request| respond(&introspector, request)).await
}

async fn respond(introspector: &Introspector, request: Request) -> (Response<Body>, Option<Call>) {
    match introspect(introspector, &request).await {
        Ok(introspection) => (oauth::json(&introspection), None),
        Err(error) => oauth::refusal(&error, &request, INTROSPECTION_PATH),
    }
}

async fn introspect(introspector: &Introspector, request: &Request) -> Result<Introspection, OAuthError> {
    let (authorization, parameters) = (oauth::authorization(request), oauth::parameters(request)?);
    introspector.introspect(authorization, &parameters, Utc::now()).await
}

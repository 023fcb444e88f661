//! `POST /api-keys`: makes a key and shows it once. A direct invocation makes the first administrator's.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::request;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms;
use keygate::aws::kms::MacKeySource;
use keygate::aws::kms::MacKeySources;
use keygate::keys::RevealedKey;
use keygate::keys::create::{BootstrapKey, CreateKey, KeyCreator};
use keygate::keys::settings::KeySettings;
use keygate::store::Store;
use keygate_core::credential::Brand;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let kms = aws.kms();
    let (peppers, creation_key) = tokio::try_join!(
        kms::derive(&kms, MacKeySources::peppers(&environment)?),
        kms::derive_one(kms.clone(), MacKeySource::of_creates(&environment)?)
    )?;
    let creator = KeyCreator {
        brand: Brand::from_environment(&environment)?,
        peppers,
        creation_key,
        store: Store::new(aws.dynamodb(), &environment)?,
        settings: KeySettings::from_environment(&environment)?,
    };
    let respond = async |request| shown(create(&creator, &request).await, &request);
    let direct = async |request| shown(bootstrap(&creator, &request).await, &request);
    management::serve_with_direct(&environment, respond, direct).await
}

fn shown(created: Result<RevealedKey, keygate_core::error::Error>, request: &Request) -> Response<Body> {
    match created {
        Ok(key) => response::key(StatusCode::CREATED, key.revision(), &key),
        Err(error) => problem::problem(&error, request),
    }
}

async fn create(creator: &KeyCreator, request: &Request) -> Result<RevealedKey, keygate_core::error::Error> {
    let now = Utc::now();
    let caller = request::caller(request)?;
    let body = request::body(request, &[request::JSON])?;
    let new = CreateKey::parse(body, creator.settings.max_lifetime, now)?;
    let idempotency_key = request::idempotency_key(request)?;
    creator.create(&caller, new, idempotency_key.as_ref(), request::origin(request), now).await
}

async fn bootstrap(
    creator: &KeyCreator,
    request: &Request,
) -> Result<RevealedKey, keygate_core::error::Error> {
    creator.bootstrap(BootstrapKey::parse(request.body())?, Utc::now()).await
}

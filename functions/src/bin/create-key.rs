//! `POST /api-keys`: makes a key and shows it once. A direct invocation makes the first administrator's.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::keys::create::{BootstrapKey, CreateKey, CreatedKey, KeyCreator};
use keygate::store::Store;
use keygate::{http, kms, logging};
use lambda_http::http::StatusCode;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Error, Request, RequestExt, Response, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let creator = KeyCreator {
        brand: environment.brand()?,
        peppers: kms::derive_peppers(&aws.kms, environment.peppers()?).await?,
        store: Store::new(
            aws.dynamodb,
            environment.keys_table()?,
            environment.workspaces_table()?,
            environment.activity_table()?,
            environment.activity_retention()?,
        ),
        quota: environment.keys_per_user()?,
        retention: environment.retention()?,
    };
    lambda_http::run(service_fn(|request| respond(&creator, request))).await
}

async fn respond(creator: &KeyCreator, request: Request) -> Result<Response<Body>, Error> {
    let created = match request.request_context_ref() {
        Some(RequestContext::PassThrough) => bootstrap(creator, &request).await,
        _ => create(creator, &request).await,
    };
    Ok(match created {
        Ok(created) => http::json(StatusCode::CREATED, &created),
        Err(error) => http::problem(&error, &request),
    })
}

async fn create(creator: &KeyCreator, request: &Request) -> Result<CreatedKey, keygate::error::Error> {
    let now = Utc::now();
    let caller = http::caller(request)?;
    let new = CreateKey::parse(http::json_body(request)?, now)?;
    creator.create(&caller, new, http::origin(request), now).await
}

async fn bootstrap(creator: &KeyCreator, request: &Request) -> Result<CreatedKey, keygate::error::Error> {
    creator.bootstrap(BootstrapKey::parse(request.body())?, Utc::now()).await
}

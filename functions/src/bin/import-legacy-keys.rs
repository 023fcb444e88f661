//! Imports a batch of legacy keys. It is invoked directly by whoever IAM lets: no API has it.

use chrono::Utc;
use keygate::aws::{Aws, MANAGEMENT_BUDGET};
use keygate::config::Environment;
use keygate::legacy::import::{ImportLegacyKeys, Imported, LegacyImporter};
use keygate::store::legacy_keys::LegacyStore;
use keygate::{http, kms, logging};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), MANAGEMENT_BUDGET)?;
    let importer = LegacyImporter {
        peppers: kms::derive(&aws.kms(), environment.peppers()?).await?,
        store: LegacyStore::new(aws.dynamodb(), &environment)?,
        rules: environment.legacy_rules()?.ok_or("environment variable LEGACY_SUNSET must be set")?,
        brand: environment.brand()?,
    };
    http::serve_direct(|request| respond(&importer, request)).await
}

async fn respond(importer: &LegacyImporter, request: Request) -> Response<Body> {
    match import(importer, &request).await {
        Ok(done) => {
            let Imported { imported, present, refused, .. } = done;
            tracing::info!(imported, present, refused, "batch imported");
            http::json(StatusCode::OK, &done)
        }
        Err(error) => http::problem(&error, &request),
    }
}

async fn import(importer: &LegacyImporter, request: &Request) -> Result<Imported, keygate::error::Error> {
    let batch = ImportLegacyKeys::parse(request.body(), &importer.rules, &importer.brand)?;
    importer.import(batch, Utc::now()).await
}

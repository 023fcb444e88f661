//! Imports a batch of legacy keys. It is invoked directly by whoever IAM lets: no API has it.

use chrono::Utc;
use keygate::api::management;
use keygate::api::problem;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms;
use keygate::aws::kms::MacKeySources;
use keygate::legacy::import::{ImportLegacyKeys, ImportSummary, LegacyImporter};
use keygate::store::legacy_key_transactions::LegacyStore;
use keygate_core::credential::Brand;
use keygate_core::legacy_credential::LegacyRules;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Error, Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let importer = LegacyImporter {
        peppers: kms::derive(&aws.kms(), MacKeySources::peppers(&environment)?).await?,
        store: LegacyStore::new(aws.dynamodb(), &environment)?,
        rules: LegacyRules::from_environment(&environment)?
            .ok_or("environment variable LEGACY_SUNSET must be set")?,
        brand: Brand::from_environment(&environment)?,
    };
    management::serve_direct(|request| respond(&importer, request)).await
}

async fn respond(importer: &LegacyImporter, request: Request) -> Response<Body> {
    match import(importer, &request).await {
        Ok(done) => {
            let ImportSummary { imported, present, refused, .. } = done;
            tracing::info!(imported, present, refused, "batch imported");
            response::json(StatusCode::OK, &done)
        }
        Err(error) => problem::problem(&error, &request),
    }
}

async fn import(
    importer: &LegacyImporter,
    request: &Request,
) -> Result<ImportSummary, keygate_core::error::Error> {
    let batch = ImportLegacyKeys::parse(request.body(), &importer.rules, &importer.brand)?;
    importer.import(batch, Utc::now()).await
}

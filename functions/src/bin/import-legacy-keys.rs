//! Imports a batch of legacy keys, by a direct invocation that IAM authorises. The function belongs to no API.

use keygate::api::management;
use keygate::api::request::DirectRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms::MacKeySources;
use keygate::legacy::import::{ImportLegacyKeys, ImportSummary, LegacyImporter};
use keygate::store::legacy_key_transactions::LegacyStore;
use keygate_core::credential::Brand;
use keygate_core::legacy_credential::LegacyRules;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let importer = LegacyImporter {
        peppers: aws.macs().derive(MacKeySources::peppers(&environment)?).await?,
        store: LegacyStore::new(aws.dynamodb(), &environment)?,
        rules: LegacyRules::from_environment(&environment)?
            .ok_or("environment variable LEGACY_SUNSET must be set")?,
        brand: Brand::from_environment(&environment)?,
    };
    management::serve_direct(async |request: DirectRequest| {
        let batch = ImportLegacyKeys::parse(request.payload(), &importer.rules, &importer.brand)?;
        let is_dry_run = batch.is_dry_run();
        let summary = importer.import(batch, request.now()).await?;
        let ImportSummary { imported, updated, present, refused, .. } = summary;
        tracing::info!(imported, updated, present, refused, is_dry_run, "batch imported");
        Ok(response::json(StatusCode::OK, &summary))
    })
    .await
}

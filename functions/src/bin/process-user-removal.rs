//! Processes a user removal, from remove-user or from an event: marks the user as removed, and deletes or transfers their keys.
//!
//! It is invoked asynchronously. When it fails or times out, Lambda invokes it again, and it continues where it stopped.

use chrono::Utc;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::keys::settings;
use keygate::startup;
use keygate::store::Store;
use keygate::store::legacy_key_transactions::LegacyStore;
use keygate::users::process_removal::{RemovalSummary, UserRemovalProcessor};
use keygate::users::remove::Removal;
use keygate_core::legacy_credential;
use lambda_http::{Error, LambdaEvent};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let dynamodb = aws.dynamodb();
    let legacy =
        legacy_credential::sunset(&environment)?.map(|_| LegacyStore::new(dynamodb.clone(), &environment));
    let processor = UserRemovalProcessor {
        store: Store::new(dynamodb, &environment)?,
        legacy: legacy.transpose()?,
        quota: settings::per_user(&environment)?,
    };
    startup::run(async |event: LambdaEvent<Box<RawValue>>| {
        let now = Utc::now();
        let removal = Removal::parse(event.payload.get().as_bytes(), now)
            .inspect_err(|error| tracing::error!(?error, "invalid user removal"))?;
        let (workspace_id, user_id) = (removal.workspace_id.as_str(), removal.user_id.as_str());
        let RemovalSummary { deleted, transferred, superseded } = processor
            .process(&removal, now)
            .await
            .inspect_err(|error| tracing::error!(workspace_id, user_id, %error, "user removal incomplete"))?;
        tracing::info!(workspace_id, user_id, deleted, transferred, superseded, "user removal processed");
        Ok(())
    })
    .await
}

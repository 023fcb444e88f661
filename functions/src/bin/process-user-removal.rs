//! Processes a user removal, from remove-user or from an event: marks the user as removed, and deletes or transfers their keys.
//!
//! It is invoked asynchronously. When it fails or times out, Lambda invokes it again, and it continues where it stopped.

use chrono::Utc;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::keys::settings;
use keygate::store::Store;
use keygate::store::legacy_keys::LegacyStore;
use keygate::users::clear::UserClearer;
use keygate::users::remove::Removal;
use keygate_core::legacy_credential;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let dynamodb = aws.dynamodb();
    let legacy =
        legacy_credential::sunset(&environment)?.map(|_| LegacyStore::new(dynamodb.clone(), &environment));
    let clearer = UserClearer {
        store: Store::new(dynamodb, &environment)?,
        legacy: legacy.transpose()?,
        quota: settings::per_user(&environment)?,
    };
    lambda_runtime::run(service_fn(|event| clear(&clearer, event))).await
}

async fn clear(clearer: &UserClearer, event: LambdaEvent<Box<RawValue>>) -> Result<(), Error> {
    let now = Utc::now();
    let removal = Removal::parse(event.payload.get().as_bytes(), now)
        .inspect_err(|error| tracing::error!(?error, "invalid user removal"))?;
    let (workspace_id, user_id) = (removal.workspace_id.as_str(), removal.user_id.as_str());
    let done = clearer
        .clear(&removal, now)
        .await
        .inspect_err(|error| tracing::error!(workspace_id, user_id, %error, "user removal incomplete"))?;
    let (deleted, transferred, complete) = (done.deleted, done.transferred, done.is_over);
    tracing::info!(workspace_id, user_id, deleted, transferred, complete, "user removal processed");
    Ok(())
}

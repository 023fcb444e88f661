//! `PATCH /api-keys/{id}`: changes the name, description, scopes, endpoint rules or expiry of a key, or disables it.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::keys::settings::KeySettings;
use keygate::keys::update::{KeyPatch, KeyUpdater};
use keygate::store::Store;
use keygate_core::credential::Brand;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let updater = KeyUpdater {
        brand: Brand::from_environment(&environment)?,
        store: Store::new(aws.dynamodb(), &environment)?,
        settings: KeySettings::from_environment(&environment)?,
    };
    management::serve(&environment, async |request: ManagementRequest| {
        let context = request.context()?;
        let patch = KeyPatch::parse(request.merge_patch()?, updater.settings.max_lifetime, context.now)?;
        let key = updater.update(&context, request.key_id()?, patch, &request.if_match()?).await?;
        Ok(response::key(StatusCode::OK, key.revision(), &key))
    })
    .await
}

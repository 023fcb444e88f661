//! `POST /api-keys`: creates a key and shows it once. A direct invocation creates the key of the first administrator.

use keygate::api::management;
use keygate::api::request::{DirectRequest, ManagementRequest};
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms::{MacKeySource, MacKeySources};
use keygate::keys::create::{BootstrapKey, CreateKey, KeyCreator};
use keygate::keys::settings::KeySettings;
use keygate::store::Store;
use keygate_core::credential::Brand;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let macs = aws.macs();
    let (peppers, creation_key) = tokio::try_join!(
        macs.derive(MacKeySources::peppers(&environment)?),
        macs.derive_one(MacKeySource::of_creates(&environment)?)
    )?;
    let creator = KeyCreator {
        brand: Brand::from_environment(&environment)?,
        peppers,
        creation_key,
        store: Store::new(aws.dynamodb(), &environment)?,
        settings: KeySettings::from_environment(&environment)?,
    };
    let create = async |request: ManagementRequest| {
        let context = request.context()?;
        let new = CreateKey::parse(request.json()?, creator.settings.max_lifetime, context.now)?;
        let key = creator.create(&context, new, request.idempotency_key()?.as_ref()).await?;
        Ok(response::key(StatusCode::CREATED, key.revision(), &key))
    };
    let bootstrap = async |request: DirectRequest| {
        let now = request.now();
        let first = BootstrapKey::parse(request.payload(), creator.settings.max_lifetime, now)?;
        let key = creator.bootstrap(first, now).await?;
        Ok(response::key(StatusCode::CREATED, key.revision(), &key))
    };
    management::serve_with_direct(&environment, create, bootstrap).await
}

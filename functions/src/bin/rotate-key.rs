//! `POST /api-keys/{id}/rotate`: gives a key a new secret and shows it once.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms::{MacKeySource, MacKeySources};
use keygate::keys::rotate::{KeyRotator, RotateKey};
use keygate::store::Store;
use keygate_core::credential::Brand;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let macs = aws.macs();
    let (peppers, rotation_key) = tokio::try_join!(
        macs.derive(MacKeySources::peppers(&environment)?),
        macs.derive_one(MacKeySource::of_rotations(&environment)?)
    )?;
    let rotator = KeyRotator {
        brand: Brand::from_environment(&environment)?,
        peppers,
        rotation_key,
        store: Store::new(aws.dynamodb(), &environment)?,
    };
    management::serve(&environment, async |request: ManagementRequest| {
        let context = request.context()?;
        let rotation = RotateKey::parse(request.json()?)?;
        let idempotency_key = request.idempotency_key()?;
        let (id, if_match) = (request.key_id()?, request.if_match()?);
        let key = rotator.rotate(&context, id, &rotation, &if_match, idempotency_key.as_ref()).await?;
        Ok(response::key(StatusCode::OK, key.revision(), &key))
    })
    .await
}

//! The source of peppers and replay keys: KMS keys that nobody can export.
//!
//! Each is derived, not stored: `kms:GenerateMac` over its label, once per version when a function starts. There is no
//! ciphertext to look after, and with the KMS key disabled no new environment can verify or forge a hash.

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::MacAlgorithmSpec;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::config::{MacKeySource, MacKeySources};
use crate::error::Error;
use crate::pepper::{MacKey, Peppers};

/// Derives every listed pepper, all at the same time.
///
/// # Errors
///
/// - [`Error::Unavailable`]: KMS refused or did not answer in time.
/// - [`Error::Broken`]: KMS answered with something else than 32 bytes.
pub async fn derive(client: &Client, sources: MacKeySources) -> Result<Peppers, Error> {
    let mut derivations: JoinSet<Result<MacKey, Error>> =
        sources.versions.into_iter().map(|source| derive_one(client.clone(), source)).collect();
    let mut keys = Vec::with_capacity(derivations.len());
    while let Some(derived) = derivations.join_next().await {
        keys.push(derived.map_err(|failure| Error::unavailable("KMS", &failure))??);
    }
    Ok(Peppers::new(keys, sources.current))
}

/// Derives one key.
///
/// # Errors
///
/// As [`derive()`].
pub async fn derive_one(client: Client, source: MacKeySource) -> Result<MacKey, Error> {
    let answer = client
        .generate_mac()
        .key_id(source.kms_key)
        .mac_algorithm(MacAlgorithmSpec::HmacSha256)
        .message(Blob::new(source.label))
        .send()
        .await
        .map_err(|failure| Error::unavailable("KMS", &failure))?;
    let mac = Zeroizing::new(answer.mac.map(Blob::into_inner).unwrap_or_default());
    let mut key = Zeroizing::new([0; 32]);
    if mac.len() != key.len() {
        return Err(Error::Broken(format!("KMS answered with a MAC of {} bytes instead of 32", mac.len())));
    }
    key.copy_from_slice(&mac);
    Ok(MacKey::new(source.version, &key))
}

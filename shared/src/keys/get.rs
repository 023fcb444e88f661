//! Reading one key.

use chrono::{DateTime, Utc};

use crate::caller::Caller;
use crate::credential::{Brand, KeyId};
use crate::error::Error;
use crate::keys::{DetailedKey, find};
use crate::scope::KEYS_READ;
use crate::store::keys::Keys;

/// Reads a key of the caller's workspace.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not read keys.
/// - [`Error::NotFound`]: the workspace has no such key.
/// - [`Error::Unavailable`]: try again later.
pub async fn get(
    keys: &Keys,
    brand: &Brand,
    caller: &Caller,
    id: KeyId,
    now: DateTime<Utc>,
) -> Result<DetailedKey, Error> {
    caller.require(KEYS_READ)?;
    let stored = find(keys, caller, id, now).await?;
    Ok(DetailedKey::new(&stored.key, brand, now))
}

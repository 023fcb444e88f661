//! Reading one key.

use keygate_core::context::RequestContext;
use keygate_core::credential::{Brand, KeyId};
use keygate_core::error::Error;
use keygate_core::key::UsedKey;

use crate::keys::{DetailedKey, ReadableKeys, find_used};
use crate::store::keys::KeysTable;
use crate::store::usage::UsageTable;

/// Reads a key of the caller's workspace. A caller with `keys:write` only reads their own keys.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not read keys, or not those of other users.
/// - [`Error::InsufficientCredential`]: the caller presented the secret of a former user.
/// - [`Error::NotFound`]: the workspace has no such key.
/// - [`Error::Unavailable`]: try again later.
pub async fn get(
    keys: &KeysTable,
    usage: &UsageTable,
    brand: &Brand,
    context: &RequestContext,
    id: KeyId,
) -> Result<DetailedKey, Error> {
    let readable = ReadableKeys::of(&context.caller)?;
    let (stored, last_use) = find_used(keys, usage, context, id).await?;
    readable.require(&stored.record.user_id)?;
    Ok(DetailedKey::new(&UsedKey { record: stored.record, last_use }, brand, context.now))
}

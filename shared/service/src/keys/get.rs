//! Reading one key.

use keygate_core::context::RequestContext;
use keygate_core::credential::{Brand, KeyId};
use keygate_core::error::Error;
use keygate_core::key::UsedKey;
use keygate_core::permits::Counters;

use crate::keys::{KeyWithWindows, ReadableKeys, find_used};
use crate::store::keys::KeysTable;
use crate::store::usage::UsageTable;

/// Reads a key of the caller's workspace. A caller with `keys:write` only reads their own keys.
///
/// The counts of limits are one more read, for a key with limits that the caller may read: so it does not tell whether another
/// workspace has the key.
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
) -> Result<KeyWithWindows, Error> {
    let readable = ReadableKeys::of(&context.caller)?;
    let (stored, last_use) = find_used(keys, usage, context, id).await?;
    readable.require(&stored.record.user_id)?;
    let key = UsedKey { record: stored.record, last_use };
    let counters =
        if key.record.limits.is_empty() { Counters::default() } else { usage.limit_counters(id).await? };
    Ok(KeyWithWindows::new(&key, &counters, brand, context.into()))
}

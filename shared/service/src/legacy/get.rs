//! Reading one legacy key.

use keygate_core::context::RequestContext;
use keygate_core::credential::KeyId;
use keygate_core::error::Error;

use crate::keys::ReadableKeys;
use crate::legacy::{LegacyReader, ShownLegacyKey};

/// Reads a legacy key of the caller's workspace. A caller with `keys:write` only reads their own keys.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not read keys, or not those of other users.
/// - [`Error::NoSuchLegacyKey`]: the workspace has no such legacy key.
/// - [`Error::Unavailable`]: try again later.
pub async fn get(
    reader: &LegacyReader,
    context: &RequestContext,
    id: KeyId,
) -> Result<ShownLegacyKey, Error> {
    let RequestContext { caller, now, .. } = context;
    let readable = ReadableKeys::of(caller)?;
    let key = reader.keys.find(&caller.workspace_id, id, *now).await?.ok_or(Error::NoSuchLegacyKey)?;
    readable.require(&key.user_id)?;
    Ok(ShownLegacyKey::new(&key, reader.sunset, *now))
}

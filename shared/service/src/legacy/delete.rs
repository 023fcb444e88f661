//! Deleting one legacy key permanently.

use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::context::RequestContext;
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::rights::Operation;
use keygate_core::scope::KEYS_WRITE;

use crate::store::legacy_key_transactions::LegacyStore;

/// Deletes a legacy key of the caller, or as an administrator of any user of the workspace. The authorizer refuses the key
/// immediately. Importing the same key again creates another legacy key.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not write keys.
/// - [`Error::NoSuchLegacyKey`]: the workspace has no such legacy key.
/// - [`Error::NotYourKey`]: the key is another user's, and the caller is not an administrator.
/// - [`Error::InsufficientCredential`]: the caller presented the secret of a former user.
/// - [`Error::CallerRemoved`]: the caller's user was removed.
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn delete(store: &LegacyStore, context: &RequestContext, id: KeyId) -> Result<(), Error> {
    let caller = &context.caller;
    caller.require(KEYS_WRITE)?;
    caller.may_to(Operation::DeleteKey, id)?;
    let located =
        store.keys.locate(&caller.workspace_id, id, context.now).await?.ok_or(Error::NoSuchLegacyKey)?;
    caller.require_to_act_for(&located.user_id)?;
    let event = AuditEvent::for_key(Action::LegacyDeleted, context.event(), id, &located.user_id);
    store.delete(context.actor(), (&located.hash, located.key_id), &event).await
}

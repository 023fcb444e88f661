//! Deleting a key for good.

use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::context::RequestContext;
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::rights::Operation;
use keygate_core::scope::KEYS_WRITE;

use crate::keys::find;
use crate::keys::precondition::IfMatch;
use crate::store::Store;

/// How often a key is read again because somebody else changed it between the reading and the deleting.
const ATTEMPTS: usize = 4;

/// Deletes a key of the caller, or as an administrator anyone's of the workspace. From that instant the authorizer
/// refuses it. A change at the same time does not keep it from being deleted, unless `if_match` says so.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not write keys.
/// - [`Error::InsufficientCredential`]: the caller came with the old secret of this key.
/// - [`Error::CallerRemoved`]: the caller's user was removed.
/// - [`Error::NotFound`]: the workspace has no such key.
/// - [`Error::NotYourKey`]: the key is another user's, and the caller is no administrator.
/// - [`Error::PreconditionFailed`]: the key has another revision.
/// - [`Error::Conflict`]: others kept changing the key.
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn delete(
    store: &Store,
    context: &RequestContext,
    id: KeyId,
    if_match: &IfMatch,
) -> Result<(), Error> {
    let caller = &context.caller;
    caller.require(KEYS_WRITE)?;
    caller.may_to(Operation::DeleteKey, id)?;
    for _ in 0..ATTEMPTS {
        let stored = find(&store.keys, context, id).await?;
        caller.require_to_act_for(&stored.record.user_id)?;
        if_match.check(stored.record.revision)?;
        let event = AuditEvent::for_key(Action::KeyDeleted, context.event(), id, &stored.record.user_id);
        match store.delete_key(context.actor(), &stored, None, &event).await {
            // Deleted or changed since it was read: the next reading tells.
            Err(Error::Conflict) => {}
            done => return done,
        }
    }
    Err(Error::Conflict)
}

//! Deleting a key permanently.

use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::context::RequestContext;
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::key_action::KeyAction;

use crate::keys::find;
use crate::keys::precondition::IfMatch;
use crate::store::Store;

/// The maximum number of attempts when the key changes concurrently.
const ATTEMPTS: usize = 4;

/// Deletes a key of the caller, or as an administrator of any user of the workspace. The authorizer refuses the key
/// immediately. A concurrent change does not prevent the deletion, unless `if_match` names revisions.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not write keys.
/// - [`Error::InsufficientCredential`]: the caller presented the old secret of this key.
/// - [`Error::CallerRemoved`]: the caller's user was removed.
/// - [`Error::NotFound`]: the workspace has no such key.
/// - [`Error::NotYourKey`]: the key is another user's, and the caller is not an administrator.
/// - [`Error::PreconditionFailed`]: the key has another revision.
/// - [`Error::Conflict`]: the key kept changing concurrently.
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn delete(
    store: &Store,
    context: &RequestContext,
    id: KeyId,
    if_match: &IfMatch,
) -> Result<(), Error> {
    let caller = &context.caller;
    KeyAction::Delete.require_right(caller, id)?;
    for _ in 0..ATTEMPTS {
        let stored = find(&store.keys, context, id).await?;
        KeyAction::Delete.require_permissions(caller, &stored.record)?;
        if_match.check(stored.record.revision)?;
        let event = AuditEvent::for_key(Action::KeyDeleted, context.event(), id, &stored.record.user_id)
            .with_metadata(&stored.record.metadata);
        match store.delete_key(context.actor(), &stored, None, &event).await {
            // The key was deleted or changed since it was read. The next read shows which.
            Err(Error::Conflict) => {}
            done => return done,
        }
    }
    Err(Error::Conflict)
}

//! Reinstating a removed user.

use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::context::RequestContext;
use keygate_core::error::Error;
use keygate_core::identity::UserId;
use keygate_core::rights::Operation;
use keygate_core::scope::USERS_WRITE;

use crate::store::{Store, WriteOutcome};

/// Allows a removed user of the caller's workspace to have keys again. Keys that were deleted or transferred stay so, and
/// the removal leaves the remaining keys unchanged. A user who is not removed stays unchanged.
///
/// Users cannot reinstate themselves: otherwise a removal would have no effect on a user who may reinstate users.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not reinstate users.
/// - [`Error::InsufficientCredential`]: the caller did not present an API key with its current secret.
/// - [`Error::OwnUser`]: the user is the caller.
/// - [`Error::CallerRemoved`]: the caller's user was removed.
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn reinstate(store: &Store, context: &RequestContext, user_id: &UserId) -> Result<(), Error> {
    let caller = &context.caller;
    caller.require(USERS_WRITE)?;
    caller.may(Operation::ReinstateUser)?;
    if *user_id == caller.user_id {
        return Err(Error::OwnUser);
    }
    let event = AuditEvent::for_user(Action::UserReinstated, context.event(), user_id);
    let whom = (&caller.workspace_id, user_id);
    // A user who is not removed can already have keys.
    let (WriteOutcome::Applied | WriteOutcome::Stale) =
        store.reinstate_user(context.actor(), whom, &event, context.now).await?;
    Ok(())
}

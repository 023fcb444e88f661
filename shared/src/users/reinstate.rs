//! Reinstating a removed user.

use chrono::{DateTime, Utc};

use crate::activity::{Action, Event, Origin};
use crate::caller::{Caller, UserId};
use crate::error::Error;
use crate::scope::USERS_WRITE;
use crate::store::Store;

/// Lets a removed user of the caller's workspace have keys again. What was deleted or handed over stays so; what a removal
/// has not come to yet, it leaves alone from now on. A user who is not removed stays as they are.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not reinstate users.
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn reinstate(
    store: &Store,
    caller: &Caller,
    user_id: &UserId,
    origin: Origin,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    caller.require(USERS_WRITE)?;
    let author = (&caller.workspace_id, &caller.user_id);
    let event = Event::of_user(Action::UserReinstated, author, user_id, origin, now);
    store.reinstate_user(&caller.workspace_id, user_id, &event, now).await
}

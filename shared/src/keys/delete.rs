//! Deleting a key for good.

use chrono::{DateTime, Utc};

use crate::activity::{Action, Event, Origin};
use crate::caller::Caller;
use crate::credential::KeyId;
use crate::error::Error;
use crate::scope::KEYS_WRITE;
use crate::store::Store;

/// How often a key is read again because somebody else changed it between the reading and the deleting.
const ATTEMPTS: usize = 4;

/// Deletes a key of the caller, or as an administrator anyone's of the workspace. From that instant the authorizer
/// refuses it.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not write keys.
/// - [`Error::NotFound`]: the workspace has no such key. A key of another workspace is none.
/// - [`Error::NotYourKey`]: the key is another user's, and the caller is no administrator.
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn delete(
    store: &Store,
    caller: &Caller,
    id: KeyId,
    origin: Origin,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    caller.require(KEYS_WRITE)?;
    for _ in 0..ATTEMPTS {
        let key = store.keys.deletable(id, now).await?;
        let key = key.filter(|key| key.workspace_id == caller.workspace_id).ok_or(Error::NotFound)?;
        caller.require_to_act_for(&key.user_id)?;
        let author = (&caller.workspace_id, &caller.user_id);
        let event = Event::new(Action::KeyDeleted, author, (id, &key.user_id), origin.clone(), now);
        match store.delete_key(&key, &event).await {
            // Deleted or changed since it was read: the next reading tells.
            Err(Error::NotFound) => {}
            done => return done,
        }
    }
    Err(Error::Busy)
}

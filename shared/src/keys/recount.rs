//! The repair of what cleaning up has missed: users' counts, and entries whose key is long gone.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use crate::activity::{Action, Details, Event, Holder};
use crate::error::Error;
use crate::store::Store;
use crate::store::workspaces::CountedUser;

/// Under which word is noted where the next page of users begins.
const RECOUNTED: &str = "RECOUNTED";

/// How long after a key is gone its entries may still be cleaned up in the usual way: `DynamoDB` may take days to remove
/// the key, and what it has removed is in the table's stream for a day.
const PATIENCE: TimeDelta = TimeDelta::days(4);

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recounted {
    /// How many users were looked at.
    pub users: usize,
    /// How many counts were wrong.
    pub corrected: usize,
    /// How many entries of keys that are gone were left.
    pub purged: usize,
    /// All users were looked at. If not, the next run goes on.
    pub finished: bool,
}

/// Counts the keys of all users, and corrects what is wrong, from where the last run came to. It begins nothing more after
/// `stop_at`.
///
/// # Errors
///
/// - [`Error::Busy`], [`Error::Unavailable`]: the next run goes on.
/// - [`Error::Broken`]: an entry cannot be read.
pub async fn recount(store: &Store, now: DateTime<Utc>, stop_at: Instant) -> Result<Recounted, Error> {
    let mut recounted = Recounted::default();
    let mut place = store.workspaces.noted(RECOUNTED).await?.filter(|place: &String| !place.is_empty());
    loop {
        let (users, rest) = store.workspaces.users(place.as_deref()).await?;
        for user in users {
            if Instant::now() >= stop_at {
                return Ok(recounted);
            }
            recount_user(store, user, &mut recounted, now).await?;
        }
        store.workspaces.note(RECOUNTED, rest.clone().unwrap_or_default()).await?;
        if rest.is_none() {
            return Ok(Recounted { finished: true, ..recounted });
        }
        place = rest;
    }
}

async fn recount_user(
    store: &Store,
    mut user: CountedUser,
    recounted: &mut Recounted,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let CountedUser { workspace_id, user_id, .. } = user.clone();
    let mut count = 0;
    for member in store.workspaces.members(&workspace_id, &user_id).await? {
        count += 1;
        if member.gone_at.is_some_and(|gone_at| gone_at + PATIENCE < now) {
            let holder = Holder {
                workspace_id: workspace_id.clone(),
                user_id: user_id.clone(),
                key_id: member.key_id,
            };
            let event = Event::of_clock(Action::KeyPurged, &holder, Details::default(), now);
            // The name went with its own ttl.
            if store.purge_key(&holder, None, &event).await? {
                recounted.purged += 1;
                count -= 1;
                user.key_count -= 1;
            }
        }
    }
    if user.key_count != count && store.workspaces.correct_count(&user, count).await? {
        tracing::warn!(%workspace_id, %user_id, count, was = user.key_count, "a user's count was wrong");
        recounted.corrected += 1;
    }
    recounted.users += 1;
    Ok(())
}

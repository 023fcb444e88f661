//! The repair of what cleaning up has missed: counts, of users' keys and of removed users, and entries whose key is long gone.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::{Action, AuditEvent, EventDetails};
use keygate_core::error::Error;
use keygate_core::key::KeyOwner;
use tokio::time::Instant;

use crate::store::Store;
use crate::store::workspaces::{CountedMember, CountedRemovals, CountedUser, CountingEntry};

/// Under which word is noted where the next page of entries begins.
const RECOUNTED: &str = "RECOUNTED";

/// How long after a key is gone its entries may still be cleaned up in the usual way: `DynamoDB` may take days to remove
/// the key, and what it has removed is in the table's stream for a day.
const REMOVAL_GRACE: TimeDelta = TimeDelta::days(4);

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecountSummary {
    /// How many users were looked at.
    pub users: usize,
    /// How many counts were wrong.
    pub corrected: usize,
    /// How many entries of keys that are gone were left.
    pub purged: usize,
    /// All users were looked at. If not, the next run goes on.
    pub finished: bool,
}

/// Counts what all entries say that count others, and corrects what is wrong, from where the last run came to. It begins nothing more after
/// `stop_at`.
///
/// # Errors
///
/// - [`Error::Busy`], [`Error::Unavailable`]: the next run goes on.
/// - [`Error::Broken`]: an entry cannot be read.
pub async fn recount(store: &Store, now: DateTime<Utc>, stop_at: Instant) -> Result<RecountSummary, Error> {
    let mut recounted = RecountSummary::default();
    let mut place = store.workspaces.noted(RECOUNTED).await?.filter(|place: &String| !place.is_empty());
    loop {
        let (entries, rest) = store.workspaces.counting_entries(place.as_deref()).await?;
        for entry in entries {
            if Instant::now() >= stop_at {
                return Ok(recounted);
            }
            match entry {
                CountingEntry::User(user) => recount_user(store, user, &mut recounted, now).await?,
                CountingEntry::Removals(removals) => {
                    recount_removals(store, &removals, &mut recounted).await?;
                }
            }
        }
        store.workspaces.note(RECOUNTED, rest.clone().unwrap_or_default()).await?;
        if rest.is_none() {
            return Ok(RecountSummary { finished: true, ..recounted });
        }
        place = rest;
    }
}

async fn recount_user(
    store: &Store,
    mut user: CountedUser,
    recounted: &mut RecountSummary,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let CountedUser { workspace_id, user_id, .. } = user.clone();
    let mut count = 0;
    for CountedMember { member, is_counted, .. } in
        store.workspaces.counted_members(&workspace_id, &user_id).await?
    {
        count += i64::from(is_counted);
        if member.gone_at.is_some_and(|gone_at| gone_at + REMOVAL_GRACE < now) {
            let owner = KeyOwner {
                workspace_id: workspace_id.clone(),
                user_id: user_id.clone(),
                key_id: member.key_id,
            };
            let event = AuditEvent::of_clock(Action::KeyPurged, &owner, EventDetails::default(), now);
            // The name went with its own ttl.
            if store.purge_key(&owner, None, &event).await? {
                recounted.purged += 1;
                count -= i64::from(is_counted);
                user.key_count -= i64::from(is_counted);
            }
        }
    }
    if user.key_count != count && store.workspaces.correct_count(&user, count).await? {
        tracing::warn!(%workspace_id, %user_id, count, previous_count = user.key_count, "user's key count corrected");
        recounted.corrected += 1;
    }
    recounted.users += 1;
    Ok(())
}

async fn recount_removals(
    store: &Store,
    removals: &CountedRemovals,
    recounted: &mut RecountSummary,
) -> Result<(), Error> {
    let CountedRemovals { workspace_id, user_count } = removals;
    let count = store.workspaces.made_by_removal(workspace_id).await?;
    if *user_count != count && store.workspaces.correct_removals(removals, count).await? {
        tracing::warn!(%workspace_id, count, previous_count = user_count, "workspace's count of removed users corrected");
        recounted.corrected += 1;
    }
    Ok(())
}

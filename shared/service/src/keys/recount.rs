//! Repair of missed clean-ups: the counters of users' keys and of removed users, and the entries of keys that no longer
//! exist.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::{Action, AuditEvent, EventDetails};
use keygate_core::error::Error;
use keygate_core::key::KeyOwner;
use tokio::time::Instant;

use crate::concurrency::work_on_page;
use crate::store::Store;
use crate::store::workspace_counters::{CountedRemovals, CountedUser, CountingEntry};
use crate::store::workspace_members::CountedMember;

/// The name of the saved progress: the cursor of the next page of entries.
const RECOUNTED: &str = "RECOUNTED";

/// How long entries may outlive their key before a recount removes them. `DynamoDB` may take days to remove the key, and the
/// removal stays in the table's stream for a day.
const REMOVAL_GRACE: TimeDelta = TimeDelta::days(4);

/// The result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecountSummary {
    /// The number of users checked.
    pub users: usize,
    /// The number of counts corrected.
    pub corrected: usize,
    /// The number of entries of keys that no longer exist.
    pub purged: usize,
    /// Whether all users were checked. Otherwise the next run continues.
    pub finished: bool,
}

/// Recounts the entries behind every counter and corrects the wrong ones, from where the last run stopped. After `stop_at`
/// it starts no further counter.
///
/// # Errors
///
/// - [`Error::Busy`], [`Error::Unavailable`]: the next run continues.
/// - [`Error::Broken`]: the saved progress cannot be read, or the entries of some users. All others were recounted, and the next run
///   continues.
pub async fn recount(store: &Store, now: DateTime<Utc>, stop_at: Instant) -> Result<RecountSummary, Error> {
    let (mut recounted, mut broken) = (RecountSummary::default(), 0);
    let mut place = store.workspaces.progress(RECOUNTED).await?.filter(|place: &String| !place.is_empty());
    while !recounted.finished {
        let (entries, rest) = store.workspaces.counters(place.as_deref()).await?;
        let done = work_on_page(entries, stop_at, |entry| recount_entry(store, entry, now)).await?;
        broken += done.broken;
        for one in &done.results {
            recounted.users += one.users;
            recounted.corrected += one.corrected;
            recounted.purged += one.purged;
        }
        if !done.is_complete {
            break;
        }
        store.workspaces.save_progress(RECOUNTED, rest.clone().unwrap_or_default()).await?;
        recounted.finished = rest.is_none();
        place = rest;
    }
    match broken {
        0 => Ok(recounted),
        _ => Err(Error::Broken(format!(
            "users that cannot be recounted: {broken}; recounted: {}",
            recounted.users
        ))),
    }
}

/// Returns the summary of one entry. A failure that does not pass by itself is logged with the user.
async fn recount_entry(
    store: &Store,
    entry: CountingEntry,
    now: DateTime<Utc>,
) -> Result<RecountSummary, Error> {
    match entry {
        CountingEntry::User(user) => {
            let CountedUser { workspace_id, user_id, .. } = user.clone();
            let recounted = recount_user(store, user, now).await;
            if let Err(error @ Error::Broken(_)) = &recounted {
                tracing::error!(%workspace_id, %user_id, %error, "user not recounted");
            }
            recounted
        }
        CountingEntry::Removals(removals) => recount_removals(store, &removals).await,
    }
}

async fn recount_user(
    store: &Store,
    mut user: CountedUser,
    now: DateTime<Utc>,
) -> Result<RecountSummary, Error> {
    let mut recounted = RecountSummary { users: 1, ..RecountSummary::default() };
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
            let event = AuditEvent::for_lifecycle(Action::KeyPurged, &owner, EventDetails::default(), now);
            // The entry of the name was removed by its own `ttl`.
            if store.purge_key(&owner, None, &event).await?.is_applied() {
                recounted.purged += 1;
                count -= i64::from(is_counted);
                user.key_count -= i64::from(is_counted);
            }
        }
    }
    if user.key_count != count && store.workspaces.correct_count(&user, count).await?.is_applied() {
        tracing::warn!(%workspace_id, %user_id, count, previous_count = user.key_count, "user's key count corrected");
        recounted.corrected += 1;
    }
    Ok(recounted)
}

async fn recount_removals(store: &Store, removals: &CountedRemovals) -> Result<RecountSummary, Error> {
    let mut recounted = RecountSummary::default();
    let CountedRemovals { workspace_id, user_count } = removals;
    let count = store.workspaces.count_made_by_removal(workspace_id).await?;
    if *user_count != count && store.workspaces.correct_removals(removals, count).await?.is_applied() {
        tracing::warn!(%workspace_id, count, previous_count = user_count, "workspace's count of removed users corrected");
        recounted.corrected += 1;
    }
    Ok(recounted)
}

//! Lifecycle events: Keygate announces them when they happen, not when a client looks at the key.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::{Action, AuditEvent, EventDetails};
use keygate_core::error::Error;
use keygate_core::lifecycle::LifecycleEvent;
use tokio::time::Instant;

use crate::concurrency::work_on_page;
use crate::store::due_keys::{DueCursor, DueKey};
use crate::store::{Store, WriteOutcome};

/// The name of the saved progress: the hour up to which everything is announced.
const ANNOUNCED: &str = "ANNOUNCED";

/// How far in the past the start of an hour must be before the hour is final. A due time is in the future when it is
/// written, and the index has it within moments.
const HOUR: TimeDelta = TimeDelta::hours(1);

/// The result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceSummary {
    /// The number of events written.
    pub events: usize,
    /// Whether all due events are written. Otherwise the next run continues.
    pub caught_up: bool,
}

/// Writes all lifecycle events that are due at `now`, hour by hour from where the last run stopped, so that an outage skips
/// none. After `stop_at` it starts no further key. A key that was announced leaves its hour in the index, so the next run reads
/// only what is left.
///
/// One page of one shard is in memory at a time, whatever number of keys is due. The shards of an hour take turns, because each is
/// a partition of the index, which takes a thousand writes per second.
///
/// # Errors
///
/// - [`Error::Busy`], [`Error::Unavailable`]: the next run continues.
/// - [`Error::Broken`]: the saved progress cannot be read, or some keys cannot be announced. All others were announced. The next run
///   tries the keys again.
pub async fn announce_lifecycle(
    store: &Store,
    now: DateTime<Utc>,
    stop_at: Instant,
) -> Result<AnnounceSummary, Error> {
    let no_time = || Error::Broken("the saved hour is not a valid time".to_owned());
    let current = hour_of(now.timestamp()).ok_or_else(no_time)?;
    let to_pass = current - HOUR;
    let noted = store.workspaces.progress(ANNOUNCED).await?;
    if noted.is_none() {
        // The first run is minutes after the deployment, and nothing is due before it.
        store.workspaces.save_progress(ANNOUNCED, to_pass.timestamp()).await?;
    }
    let mut hour = noted.map_or(Some(to_pass), hour_of).ok_or_else(no_time)?;
    let (mut announced, mut broken) = (AnnounceSummary { events: 0, caught_up: true }, 0_usize);
    'hours: while hour <= current {
        let mut shards: VecDeque<_> = DueCursor::all_shards().collect();
        while let Some(page) = shards.pop_front() {
            // Hours without a due key take time too, after a long outage or behind a broken key.
            if Instant::now() >= stop_at {
                announced.caught_up = false;
                break 'hours;
            }
            let (keys, next) = store.keys.due(hour, now, page).await?;
            let written = work_on_page(keys, stop_at, |due| announce(store, due, now)).await?;
            announced.events += written.results.iter().flatten().sum::<usize>();
            broken += written.broken;
            // Where a key has changed since the index was read, or is broken, this hour is not final yet.
            let is_final = written.broken == 0 && written.results.iter().all(Option::is_some);
            announced.caught_up &= is_final && written.is_complete;
            if !written.is_complete {
                break 'hours;
            }
            shards.extend(next);
        }
        hour += HOUR;
        if hour <= to_pass && announced.caught_up {
            store.workspaces.save_progress(ANNOUNCED, hour.timestamp()).await?;
        }
    }
    match broken {
        0 => Ok(announced),
        _ => Err(Error::Broken(format!(
            "keys that cannot be announced: {broken}; events written: {}",
            announced.events
        ))),
    }
}

/// Writes all due events of one key in their order, and returns their number; `None` if the key has changed since it was
/// read. A failure that does not pass by itself is logged with the key.
async fn announce(store: &Store, due: DueKey, now: DateTime<Utc>) -> Result<Option<usize>, Error> {
    let key_id = due.key_id;
    let written = write_events(store, due, now).await;
    if let Err(error @ Error::Broken(_)) = &written {
        tracing::error!(%key_id, %error, "key not announced");
    }
    written
}

async fn write_events(store: &Store, mut due: DueKey, now: DateTime<Utc>) -> Result<Option<usize>, Error> {
    let mut written = 0;
    while due.due_at <= now && due.schedule.ttl.is_none_or(|ttl| due.due_at < ttl) {
        let reached = due.schedule.due(due.due_at, now);
        let events: Vec<AuditEvent> = reached.iter().map(|event| audit_event(*event, &due)).collect();
        let overlap_ended = reached.contains(&LifecycleEvent::OverlapEnded);
        let mut schedule = due.schedule;
        if overlap_ended {
            schedule.previous_expires_at = None;
        }
        let next = schedule.next_due(due.due_at);
        if store.announce(&due, next, overlap_ended, &events).await? == WriteOutcome::Stale {
            return Ok(None);
        }
        written += events.len();
        let Some(due_at) = next else { break };
        due = DueKey { due_at, schedule, ..due };
    }
    Ok(Some(written))
}

fn audit_event(event: LifecycleEvent, due: &DueKey) -> AuditEvent {
    let expires_at = due.schedule.expires_at;
    let (action, details) = match event {
        LifecycleEvent::Expiring(days) => (
            Action::KeyExpiring,
            EventDetails { expires_at, days_left: Some(days), ..EventDetails::default() },
        ),
        LifecycleEvent::Expired => {
            (Action::KeyExpired, EventDetails { expires_at, ..EventDetails::default() })
        }
        LifecycleEvent::OverlapEnded => (Action::KeyOverlapEnded, EventDetails::default()),
    };
    AuditEvent::for_lifecycle(action, &due.owner(), details, due.due_at).with_metadata(&due.metadata)
}

fn hour_of(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds - seconds.rem_euclid(HOUR.num_seconds()), 0)
}

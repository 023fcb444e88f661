//! The lifecycle of a key: notices before it expires, its expiry, the end of an overlap.
//!
//! Each key carries the instant of its next event. All events before it were announced. A change of the key's times continues
//! from there, so that no event is announced twice or left out.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::key::Key;

/// How many days before the expiry of a key the notices are sent, the earlier notice first.
const NOTICES: [u32; 2] = [7, 1];

/// The times of a key that its lifecycle events follow from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySchedule {
    /// When the key expires.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// The end of its retention after it expired.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<DateTime<Utc>>,
    /// The end of the overlap, in which the secret before the last rotation works.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub previous_expires_at: Option<DateTime<Utc>>,
}

/// An event in the lifecycle of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// The key expires in this many days.
    Expiring(u32),
    /// The key has expired.
    Expired,
    /// The overlap of the last rotation has ended.
    OverlapEnded,
}

impl From<&Key> for KeySchedule {
    fn from(key: &Key) -> Self {
        Self { expires_at: key.expires_at, ttl: key.ttl, previous_expires_at: key.previous_expires_at }
    }
}

impl KeySchedule {
    /// The instant of the first event after `since`. The last instant is the `ttl`, which has no event: it only keeps the
    /// attribute on every key that has a `ttl`.
    #[must_use]
    pub fn next_due(&self, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let announced = self.events().map(|(at, _)| at);
        announced.chain(self.ttl).filter(|at| since < *at).min()
    }

    /// The events that were due `at` an instant and are to be announced `now`. A notice is left out if the next notice or the
    /// expiry is already due.
    #[must_use]
    pub fn due(&self, at: DateTime<Utc>, now: DateTime<Utc>) -> Vec<LifecycleEvent> {
        let is_news = |event: &LifecycleEvent| match (event, self.expires_at) {
            (LifecycleEvent::Expiring(days), Some(expires_at)) => {
                let later = NOTICES.into_iter().filter(|later| later < days).max().unwrap_or(0);
                now < expires_at - TimeDelta::days(later.into())
            }
            _ => true,
        };
        let happening = self.events().filter(|(due, _)| *due == at).map(|(_, event)| event);
        happening.filter(is_news).collect()
    }

    fn events(&self) -> impl Iterator<Item = (DateTime<Utc>, LifecycleEvent)> {
        let notice = |expires_at: DateTime<Utc>| {
            NOTICES.map(|days| (expires_at - TimeDelta::days(days.into()), LifecycleEvent::Expiring(days)))
        };
        let notices = self.expires_at.map(notice).into_iter().flatten();
        let expiry = self.expires_at.map(|at| (at, LifecycleEvent::Expired));
        let overlap = self.previous_expires_at.map(|at| (at, LifecycleEvent::OverlapEnded));
        // No event follows the end of the retention.
        let lives = |at: DateTime<Utc>| self.ttl.is_none_or(|ttl| at < ttl);
        notices.chain(expiry).chain(overlap).filter(move |(at, _)| lives(*at))
    }
}

/// The `since` of [`KeySchedule::next_due`] for a key that is changed `now`. It is before an event that is due and not announced.
#[must_use]
pub fn announced_until(due_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> DateTime<Utc> {
    due_at.map_or(now, |due_at| now.min(due_at - TimeDelta::seconds(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::at;

    const DAY: i64 = 86_400;

    fn schedule(expires: Option<i64>, overlap_ends: Option<i64>) -> KeySchedule {
        KeySchedule {
            expires_at: expires.map(at),
            ttl: expires.map(|expires| at(expires + 30 * DAY)),
            previous_expires_at: overlap_ends.map(at),
        }
    }

    #[test]
    fn the_next_event_is_a_notice_the_expiry_the_end_of_an_overlap_or_at_last_the_ttl() {
        for (expires, overlap_ends, since, due) in [
            (None, None, 0, None),
            (Some(10 * DAY), None, 0, Some(3 * DAY)),
            (Some(10 * DAY), None, 3 * DAY - 1, Some(3 * DAY)),
            (Some(10 * DAY), None, 3 * DAY, Some(9 * DAY)),
            (Some(10 * DAY), None, 9 * DAY, Some(10 * DAY)),
            (Some(10 * DAY), None, 10 * DAY, Some(40 * DAY)),
            (Some(10 * DAY), None, 40 * DAY, None),
            // Too short a life for a notice.
            (Some(3 * DAY), None, 0, Some(2 * DAY)),
            (Some(60), None, 0, Some(60)),
            (None, Some(60), 0, Some(60)),
            (None, Some(60), 60, None),
            (Some(10 * DAY), Some(60), 0, Some(60)),
            (Some(10 * DAY), Some(5 * DAY), 3 * DAY, Some(5 * DAY)),
            // An overlap that would end after the key is gone ends with it.
            (Some(60), Some(31 * DAY), 60, Some(60 + 30 * DAY)),
        ] {
            let next = schedule(expires, overlap_ends).next_due(at(since));
            assert_eq!(next, due.map(at), "{expires:?} {overlap_ends:?} since {since}");
        }
    }

    #[test]
    fn due_events_are_announced_except_outdated_notices() {
        use LifecycleEvent::{Expired, Expiring, OverlapEnded};
        for (overlap_ends, due, now, events) in [
            (None, 3 * DAY, 3 * DAY, &[Expiring(7)][..]),
            (None, 3 * DAY, 9 * DAY - 1, &[Expiring(7)]),
            (None, 3 * DAY, 9 * DAY, &[]),
            (None, 9 * DAY, 10 * DAY - 1, &[Expiring(1)]),
            (None, 9 * DAY, 10 * DAY, &[]),
            (None, 10 * DAY, 30 * DAY, &[Expired]),
            (Some(10 * DAY), 10 * DAY, 10 * DAY, &[Expired, OverlapEnded]),
            (Some(5), 5, 9 * DAY, &[OverlapEnded]),
            (None, 40 * DAY, 40 * DAY, &[]),
        ] {
            let schedule = schedule(Some(10 * DAY), overlap_ends);
            assert_eq!(schedule.due(at(due), at(now)), events, "{overlap_ends:?} {due} {now}");
        }
    }

    #[test]
    fn an_event_that_is_due_stays_due_when_the_key_changes() {
        assert_eq!(announced_until(None, at(0)), at(0));
        assert_eq!(announced_until(Some(at(60)), at(0)), at(0));
        let late = announced_until(Some(at(-60)), at(0));
        assert_eq!(schedule(None, Some(-60)).next_due(late), Some(at(-60)));
    }

    proptest! {
        /// The key is processed each time it is due, always a little late.
        #[test]
        fn everything_that_happens_to_a_key_is_announced_once_and_in_its_order(
            life in prop::option::of(1..40 * DAY),
            overlap in prop::option::of(1..31 * DAY),
            retention in 0..31 * DAY,
        ) {
            let schedule = KeySchedule {
                expires_at: life.map(at),
                ttl: life.map(|life| at(life + retention)),
                previous_expires_at: overlap.map(at),
            };
            let (mut announced, mut since) = (Vec::new(), at(0));
            while let Some(due) = schedule.next_due(since) {
                prop_assert!(since < due && schedule.ttl.is_none_or(|ttl| due <= ttl));
                announced.extend(schedule.due(due, due).into_iter().map(|event| (due, event)));
                since = due;
            }
            let before = |days: u32| life.map(|life| life - i64::from(days) * DAY);
            let notices = NOTICES.into_iter().map(|days| (before(days), LifecycleEvent::Expiring(days)));
            let ends = [(life, LifecycleEvent::Expired), (overlap, LifecycleEvent::OverlapEnded)];
            let mut expected: Vec<_> = notices
                .chain(ends)
                .filter_map(|(seconds, event)| Some((at(seconds.filter(|seconds| *seconds > 0)?), event)))
                .filter(|(due, _)| schedule.ttl.is_none_or(|ttl| *due < ttl))
                .collect();
            expected.sort_by_key(|(due, _)| *due);
            prop_assert_eq!(announced, expected);
        }
    }
}

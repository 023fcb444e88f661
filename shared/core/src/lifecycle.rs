//! What happens to a key by the passing of time alone: notices before it expires, its expiry, the end of an overlap.
//!
//! Each key carries the instant at which something happens next. Everything before it has been announced, so whoever
//! changes a key's times goes on from there, and nothing is announced twice or left out.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::key::Key;

/// How many days before its expiry a key is announced to expire, the earlier notice first.
const NOTICES: [u32; 2] = [7, 1];

/// What decides when something happens to a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySchedule {
    /// When the key stops working.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// When it is gone.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<DateTime<Utc>>,
    /// Until when the secret before the last rotation works.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub previous_expires_at: Option<DateTime<Utc>>,
}

/// Something that happens to a key at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// As many days are left to the key.
    Expiring(u32),
    /// The key has stopped working.
    Expired,
    /// The secret before the last rotation has stopped working.
    OverlapEnded,
}

impl From<&Key> for KeySchedule {
    fn from(key: &Key) -> Self {
        Self { expires_at: key.expires_at, ttl: key.ttl, previous_expires_at: key.previous_expires_at }
    }
}

impl KeySchedule {
    /// When something happens next, later than `since`. The last thing is that the key is gone, which is nothing to
    /// announce: the instant only stays with the key, so that every key that has a ttl has one.
    #[must_use]
    pub fn next_due(&self, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let announced = self.events().map(|(at, _)| at);
        announced.chain(self.ttl).filter(|at| since < *at).min()
    }

    /// What is to be announced `now` of what was due at an instant. A notice that comes too late, because the next one
    /// or the expiry itself has come, is none.
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
        // What would come after a key is gone does not come.
        let lives = |at: DateTime<Utc>| self.ttl.is_none_or(|ttl| at < ttl);
        notices.chain(expiry).chain(overlap).filter(move |(at, _)| lives(*at))
    }
}

/// From when on a key's times count that are changed `now`: what is due and not yet announced is still to be.
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
    fn what_happens_next_is_a_notice_the_expiry_the_end_of_an_overlap_and_at_last_the_ttl() {
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
    fn what_is_due_is_announced_unless_it_is_a_notice_that_comes_too_late() {
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
    fn what_is_due_and_not_announced_stays_due_when_a_key_is_changed() {
        assert_eq!(announced_until(None, at(0)), at(0));
        assert_eq!(announced_until(Some(at(60)), at(0)), at(0));
        let late = announced_until(Some(at(-60)), at(0));
        assert_eq!(schedule(None, Some(-60)).next_due(late), Some(at(-60)));
    }

    proptest! {
        /// A key is looked at whenever it is due, each time a little late.
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
            let notices = NOTICES.into_iter().map(|days| (life.map(|life| life - i64::from(days) * DAY), LifecycleEvent::Expiring(days)));
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

//! Counts the calls of each key by hour before they are written to the table `usage`, so that a busy key costs few writes.
//!
//! The counts of a key are written when the interval has passed since its first call that is not yet written, with the work of a
//! later call of any key, or when the environment ends. An environment that ends without a signal loses its unwritten counts.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::CallOutcome;
use keygate_core::credential::KeyId;
use keygate_core::usage::{CallCounts, Per};

use crate::store::hourly_calls::HourlyCalls;

/// The maximum number of keys and hours that are counted at the same time; above it the oldest are written early.
const CAPACITY: usize = 1_000;

/// A key and the beginning of an hour.
type KeyHour = (KeyId, DateTime<Utc>);

/// The calls of an environment that are not yet written.
#[derive(Debug)]
pub struct UsageCounter {
    /// The minimum interval between two writes of a key.
    interval: TimeDelta,
    counted: HashMap<KeyHour, CallCounts>,
    /// The keys and hours that are counted, by the time at which they are due.
    due: VecDeque<(DateTime<Utc>, KeyHour)>,
}

impl UsageCounter {
    /// A counter whose counts of a key are written once in the interval.
    #[must_use]
    pub fn new(interval: TimeDelta) -> Self {
        Self { interval, counted: HashMap::new(), due: VecDeque::new() }
    }

    /// Counts a call.
    pub fn count(&mut self, key_id: KeyId, outcome: CallOutcome, at: DateTime<Utc>) {
        let group = (key_id, Per::Hour.start(at));
        let counts = self.counted.entry(group).or_insert_with(|| {
            self.due.push_back((at + self.interval, group));
            CallCounts::default()
        });
        match outcome {
            CallOutcome::Allowed => counts.allowed += 1,
            CallOutcome::Refused(_) => counts.refused += 1,
        }
    }

    /// Takes the counts that may be written `now`, at most `max`.
    pub fn due(&mut self, now: DateTime<Utc>, max: usize) -> Vec<HourlyCalls> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let is_full = self.counted.len() > CAPACITY;
            let Some((_, group)) = self.due.pop_front_if(|(due, _)| is_full || *due <= now) else { break };
            taken.extend(self.counted.remove(&group).map(|counts| hourly(group, counts)));
        }
        taken
    }

    /// Takes all counts.
    pub fn take(&mut self) -> Vec<HourlyCalls> {
        self.due.clear();
        self.counted.drain().map(|(group, counts)| hourly(group, counts)).collect()
    }
}

fn hourly((key_id, hour): KeyHour, counts: CallCounts) -> HourlyCalls {
    HourlyCalls { key_id, hour, counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: CallOutcome = CallOutcome::Allowed;
    const REFUSED: CallOutcome = CallOutcome::Refused("outside_endpoints");

    /// A time in seconds after the beginning of an hour.
    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000 + seconds, 0).unwrap()
    }

    fn key(number: usize) -> KeyId {
        format!("01JD3V6Y4N8Q2Z5X7W9B{number:06}").parse().unwrap()
    }

    fn counts(allowed: u64, refused: u64) -> CallCounts {
        CallCounts { allowed, refused }
    }

    #[test]
    fn the_calls_of_a_key_are_written_once_in_the_interval() {
        let mut counter = UsageCounter::new(TimeDelta::seconds(900));
        let mut written = Vec::new();
        for second in 0..3_000 {
            counter.count(key(1), if second % 3 == 0 { REFUSED } else { ALLOWED }, at(second));
            written.extend(counter.due(at(second), 2).iter().map(|calls| (second, calls.counts)));
        }
        let expected = [(900, counts(600, 301)), (1801, counts(601, 300)), (2702, counts(601, 300))];
        assert_eq!(written, expected);
        assert_eq!(counter.take()[0].counts, counts(198, 99));
        assert!(counter.take().is_empty() && counter.due(at(9_000), 9).is_empty());
    }

    #[test]
    fn each_hour_and_each_key_has_counts_of_its_own() {
        let mut counter = UsageCounter::new(TimeDelta::zero());
        for (number, second) in [(1, 3_599), (2, 3_599), (1, 3_600), (1, 3_600)] {
            counter.count(key(number), ALLOWED, at(second));
        }
        let hourly = |number, hour, allowed| HourlyCalls {
            key_id: key(number),
            hour: at(hour),
            counts: counts(allowed, 0),
        };
        assert_eq!(counter.due(at(3_600), 9), [hourly(1, 0, 1), hourly(2, 0, 1), hourly(1, 3_600, 2)]);
    }

    #[test]
    fn the_memory_is_bounded_and_loses_nothing() {
        let mut counter = UsageCounter::new(TimeDelta::seconds(900));
        let mut written = 0;
        for number in 0..3_000 {
            counter.count(key(number), ALLOWED, at(0));
            written += counter.due(at(0), 2).len();
            assert!(counter.counted.len() <= CAPACITY && counter.due.len() == counter.counted.len());
        }
        assert_eq!(written + counter.take().len(), 3_000);
    }
}

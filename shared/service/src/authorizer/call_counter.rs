//! Counts calls before they are written to the audit trail, so that a busy key does not fill the trail. Calls with a credential
//! that does not work, and calls beyond a limit, are counted by the minute even where every other call is an event.
//!
//! The first call of a key with a method to a route is an event at once. Further ones are counted; their event, with the
//! count, is written after the interval, with the work of a later call, or when the environment ends.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::{AuditEvent, CallOutcome};
use keygate_core::context::RequestOrigin;
use keygate_core::credential::KeyId;
use keygate_core::credential_class::CredentialKind;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::key::KeyOwner;

/// The minimum interval between two events of calls with a credential that does not work.
pub const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// The maximum number of call groups that are counted at the same time; above it the oldest are written early.
const CAPACITY: usize = 1_000;

/// One call with a key that exists.
#[derive(Clone, Debug)]
pub struct KeyCall {
    /// The owner of the key.
    pub owner: KeyOwner,
    /// The kind of credential that was presented.
    pub credential: Option<CredentialKind>,
    /// The method, path and address of the call.
    pub origin: RequestOrigin,
    /// Whether the call was allowed or refused.
    pub outcome: CallOutcome,
    /// Whether the credential works and its key has not used up its limits; the call may still be refused, by endpoint rules. Other
    /// calls are counted by the minute: their number is no reason for as many writes.
    pub works: bool,
    /// The time of the call.
    pub at: DateTime<Utc>,
}

/// The fields that calls share which are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CallGroup {
    key_id: KeyId,
    credential: Option<CredentialKind>,
    method: Option<String>,
    path: Option<String>,
    outcome: CallOutcome,
    works: bool,
}

/// The calls of an environment that are not yet written to the audit trail.
#[derive(Debug)]
pub struct CallCounter {
    /// The interval between two events of a group; `None` if no calls are written.
    interval: Option<TimeDelta>,
    /// The next event of each group; `None` for a group without a call since its last event.
    counted: HashMap<CallGroup, Option<AuditEvent>>,
    /// Each of these groups, by the time from which it may be written.
    due: VecDeque<(DateTime<Utc>, CallGroup)>,
}

/// `CALL_ACTIVITY`: how calls of one key with one method to one route are written to the audit trail: `minute` (the default) for one
/// event a minute with a count, `each` for one event for each call, `off` for none. Returns the interval between two events.
///
/// # Errors
///
/// [`InvalidVariable`] when it has another value.
pub fn interval(environment: &Environment) -> Result<Option<TimeDelta>, InvalidVariable> {
    match environment.text("CALL_ACTIVITY") {
        None | Some("minute") => Ok(Some(MINUTE)),
        Some("each") => Ok(Some(TimeDelta::zero())),
        Some("off") => Ok(None),
        Some(_) => Err(InvalidVariable::new("CALL_ACTIVITY", "must be minute, each or off")),
    }
}

impl CallCounter {
    /// A counter with an `interval` between two events: zero makes each call an event, `None` writes no calls. Calls with a
    /// credential that does not work have an interval of at least a [`MINUTE`].
    #[must_use]
    pub fn new(interval: Option<TimeDelta>) -> Self {
        Self { interval, counted: HashMap::new(), due: VecDeque::new() }
    }

    /// Counts a call.
    pub fn count(&mut self, call: KeyCall) {
        if self.interval.is_none() {
            return;
        }
        let KeyCall { owner, credential, origin, outcome, works, at } = call;
        let (method, path) = (origin.method.clone(), origin.path.clone());
        let group = CallGroup { key_id: owner.key_id, credential, method, path, outcome, works };
        let counted = self.counted.entry(group.clone()).or_insert_with(|| {
            // In front of the groups that wait for their interval to end.
            self.due.push_front((at, group));
            None
        });
        match counted {
            Some(event) => event.count = event.count.saturating_add(1),
            None => *counted = Some(AuditEvent::for_call(&owner, credential, outcome, &origin, at)),
        }
    }

    /// Takes the events that may be written `now`, at most `max`.
    pub fn due(&mut self, now: DateTime<Utc>, max: usize) -> Vec<AuditEvent> {
        let mut events = Vec::new();
        while events.len() < max {
            let is_full = self.counted.len() > CAPACITY;
            let Some((_, group)) = self.due.pop_front_if(|(due, _)| is_full || *due <= now) else { break };
            // A group without a call for the whole interval is dropped.
            let Some(event) = self.counted.remove(&group).flatten() else { continue };
            events.push(event);
            if !is_full {
                self.enqueue(now + self.interval_of(&group), group.clone());
                self.counted.insert(group, None);
            }
        }
        events
    }

    fn interval_of(&self, group: &CallGroup) -> TimeDelta {
        let interval = self.interval.unwrap_or_default();
        if group.works { interval } else { interval.max(MINUTE) }
    }

    /// Queues a group by the time at which it is due.
    fn enqueue(&mut self, due: DateTime<Utc>, group: CallGroup) {
        let index = self.due.partition_point(|(other, _)| *other <= due);
        self.due.insert(index, (due, group));
    }

    /// Takes all events.
    pub fn take(&mut self) -> Vec<AuditEvent> {
        self.due.clear();
        self.counted.drain().filter_map(|(_, event)| event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap()
    }

    fn call(path: &str, outcome: CallOutcome, seconds: i64) -> KeyCall {
        let owner = KeyOwner {
            workspace_id: "acme".parse().unwrap(),
            user_id: "alice".parse().unwrap(),
            key_id: "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap(),
        };
        let origin =
            RequestOrigin { method: Some("GET".to_owned()), path: Some(path.to_owned()), source: None };
        let works = !matches!(outcome, CallOutcome::Refused("expired"));
        KeyCall { owner, credential: None, origin, outcome, works, at: at(seconds) }
    }

    /// The events written for calls of one kind at these seconds, with one invocation for each call.
    fn written(interval: Option<TimeDelta>, seconds: impl IntoIterator<Item = i64>) -> Vec<(i64, u32)> {
        let mut calls = CallCounter::new(interval);
        let mut written = Vec::new();
        for second in seconds {
            calls.count(call("/orders", CallOutcome::Allowed, second));
            let due = calls.due(at(second), 2);
            written.extend(due.iter().map(|event| (second, event.count)));
        }
        written
    }

    #[test]
    fn a_busy_key_is_written_once_a_minute_with_the_number_of_its_calls() {
        let minute = Some(TimeDelta::minutes(1));
        assert_eq!(written(minute, 0..=120), [(0, 1), (60, 60), (120, 60)]);
        assert_eq!(written(minute, [0, 3, 300]), [(0, 1), (300, 2)]);
        assert_eq!(written(Some(TimeDelta::zero()), [0, 0, 1]), [(0, 1), (0, 1), (1, 1)]);
        assert_eq!(written(None, [0, 1]), []);
    }

    #[test]
    fn calls_of_other_routes_and_outcomes_are_counted_apart() {
        let mut calls = CallCounter::new(Some(TimeDelta::minutes(1)));
        for call in [
            call("/orders", CallOutcome::Allowed, 0),
            call("/users", CallOutcome::Allowed, 0),
            call("/orders", CallOutcome::Refused("expired"), 0),
            call("/orders", CallOutcome::Allowed, 1),
        ] {
            calls.count(call);
        }
        let mut counts: Vec<_> = calls.due(at(1), 9).iter().map(|event| event.count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 1, 2]);
    }

    #[test]
    fn refusals_of_credentials_that_do_not_work_are_counted_by_the_minute_even_with_each() {
        for interval in [TimeDelta::zero(), MINUTE] {
            let mut calls = CallCounter::new(Some(interval));
            let mut written = Vec::new();
            for number in 0..300 {
                // Of a key that works and of one that does not in turns.
                for outcome in [CallOutcome::Refused("expired"), CallOutcome::Allowed] {
                    calls.count(call("/orders", outcome, number / 2));
                    written.extend(calls.due(at(number / 2), 2));
                }
            }
            written.extend(calls.take());
            let counts = |outcome| -> Vec<u32> {
                let events = written.iter().filter(|event| event.outcome == Some(outcome));
                events.map(|event| event.count).collect()
            };
            let refused = counts(CallOutcome::Refused("expired"));
            assert_eq!((refused.len(), refused.iter().sum::<u32>()), (4, 300), "{interval}: {refused:?}");
            let allowed = counts(CallOutcome::Allowed);
            let events = if interval.is_zero() { 300 } else { 4 };
            assert_eq!((allowed.len(), allowed.iter().sum::<u32>()), (events, 300), "{interval}");
        }
    }

    #[test]
    fn counted_calls_are_written_by_later_invocations_of_any_kind() {
        let mut calls = CallCounter::new(Some(TimeDelta::minutes(1)));
        for second in [0, 1, 2] {
            calls.count(call("/orders", CallOutcome::Allowed, second));
            calls.due(at(second), 2);
        }
        calls.count(call("/users", CallOutcome::Allowed, 60));
        let counts: Vec<_> = calls.due(at(60), 2).iter().map(|event| event.count).collect();
        assert_eq!(counts, [1, 2], "the new kind and the two calls that waited");
        assert!(calls.take().is_empty());
    }

    #[test]
    fn counted_calls_are_written_at_the_end_and_quiet_kinds_are_forgotten() {
        let mut calls = CallCounter::new(Some(TimeDelta::minutes(1)));
        calls.count(call("/orders", CallOutcome::Allowed, 0));
        calls.due(at(0), 2);
        calls.count(call("/orders", CallOutcome::Allowed, 1));
        assert_eq!(calls.take().len(), 1);
        calls.count(call("/orders", CallOutcome::Allowed, 2));
        calls.due(at(2), 2);
        assert!(calls.due(at(62), 2).is_empty() && calls.counted.is_empty() && calls.due.is_empty());
    }

    #[test]
    fn the_memory_is_bounded_and_loses_nothing() {
        let mut calls = CallCounter::new(Some(TimeDelta::minutes(1)));
        let mut written = 0;
        for number in 0..3_000 {
            calls.count(call(&format!("/{number}"), CallOutcome::Allowed, 0));
            written += calls.due(at(0), 2).len();
            assert!(calls.counted.len() <= CAPACITY + 1 && calls.due.len() == calls.counted.len());
        }
        assert_eq!(written + calls.take().len(), 3_000);
    }
}

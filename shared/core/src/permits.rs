//! Permits: how several environments of the authorizer keep the limits of a key together.
//!
//! Each call takes one permit for each limit of its key. An environment reserves permits in batches, before it uses them, by
//! adding to stored counts. One stored item holds the counts of all limits of a key, so a reservation is one conditional write: of
//! permits for all limits that lack them, or for none. Nothing is ever returned. An environment that ends, or that does not get
//! the response to a reservation, wastes permits, and a window admits fewer calls then, never more.
//!
//! ```text
//! Counters     the stored counts of a key, as last seen: for each unit the last two windows
//! Ledger       what one environment knows about one key: counts, unused permits, and its pace
//! Reservation  the write that a ledger asks for
//! ```
//!
//! # Windows and clocks
//!
//! An environment determines windows by its own clock. For each unit there are two [slots](Slot), and the windows use them in
//! turns, so that environments on both sides of a boundary count in different slots. A slot never goes back to an earlier window:
//! its count would be lost. To an environment whose clock is behind by more than a window, the window has [passed](Count::Passed),
//! and counts as full.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::limit::{Limit, Limits, Period, Window};

/// A batch takes at most this fraction of what is left in a window. So the end of a window is exact, and the waste is small: an
/// environment that is killed wastes at most a batch.
const SHARE: u32 = 32;

/// How far ahead a batch looks: it has the calls that are expected in this time, at the environment's pace since the reservation
/// before.
const MAX_HORIZON: TimeDelta = TimeDelta::seconds(10);

/// The minimum of that time, so that a limit by the second takes one reservation a second.
const MIN_HORIZON: TimeDelta = TimeDelta::seconds(1);

/// How long the counts are stored after the end of the longest window.
const RETENTION: TimeDelta = TimeDelta::days(1);

/// The place of a stored count: a unit, and whether the number of the window is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The unit.
    pub per: Period,
    /// Whether it is for windows with an odd number.
    pub is_odd: bool,
}

impl Slot {
    /// The number of slots.
    pub const COUNT: usize = 2 * Period::ALL.len();

    /// All slots.
    pub fn all() -> impl Iterator<Item = Self> {
        Period::ALL.into_iter().flat_map(|per| [false, true].map(|is_odd| Self { per, is_odd }))
    }

    fn index(self) -> usize {
        2 * self.per as usize + usize::from(self.is_odd)
    }
}

impl From<Window> for Slot {
    fn from(window: Window) -> Self {
        Self { per: window.per, is_odd: window.is_odd }
    }
}

/// The stored count of one window: the permits that were reserved in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The start of the window.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub start: DateTime<Utc>,
    /// The number of permits that were reserved.
    pub used: u32,
}

/// The stored counts of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    slots: [Option<Counter>; Slot::COUNT],
    /// When the counts may be deleted. It never moves backwards.
    pub ttl: Option<DateTime<Utc>>,
}

/// What is stored about a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// No permit was reserved.
    None,
    /// So many permits were reserved, at least one.
    Used(u32),
    /// The count is not stored any more, because a later window has its slot.
    Passed,
}

impl Counters {
    /// Sets the count in a slot.
    pub fn set(&mut self, slot: Slot, counter: Counter) {
        self.slots[slot.index()] = Some(counter);
    }

    /// The count of a window.
    #[must_use]
    pub fn count(&self, window: Window) -> Count {
        match self.slots[Slot::from(window).index()] {
            Some(counter) if counter.start > window.start => Count::Passed,
            Some(counter) if counter.start == window.start => Count::Used(counter.used),
            Some(_) | None => Count::None,
        }
    }

    /// The permits that are left of a limit in a window.
    #[must_use]
    pub fn left(&self, limit: Limit, window: Window) -> u32 {
        match self.count(window) {
            Count::None => limit.calls(),
            Count::Used(used) => limit.calls().saturating_sub(used),
            Count::Passed => 0,
        }
    }
}

/// A conditional write that reserves permits, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The permits for each limit that lacks them, at least one.
    pub shares: Vec<Share>,
    /// The new `ttl` of the item, if it is later than the one that was seen. The condition is that it is later than the stored one.
    pub ttl: Option<DateTime<Utc>>,
}

/// The permits that a reservation has for one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The limit.
    pub limit: Limit,
    /// The window.
    pub window: Window,
    /// The number of permits: at least one, and at most what was left.
    pub permits: u32,
    /// Whether the window was not in its slot yet. The condition is that the slot is empty or has an earlier window; otherwise
    /// that it has this window, with a count that leaves the permits.
    pub begins: bool,
}

/// The result of asking a ledger for the permits of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// One permit for each limit was taken.
    Granted,
    /// The window of a limit is full. The next one begins at this time, or later where several are full.
    Full(DateTime<Utc>),
    /// Permits must be reserved first.
    Lacking(Reservation),
}

/// What an environment knows about a key with limits.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    held: Vec<HeldPermits>,
    seen: Counters,
    pace: Pace,
}

/// Reserved permits that were not used. They are for one limit in one window: a changed limit discards them.
#[derive(Clone, Copy, Debug)]
struct HeldPermits {
    limit: Limit,
    window: Window,
    permits: u32,
}

/// The calls since the last reservation.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    since: Option<DateTime<Utc>>,
    calls: u32,
}

impl Pace {
    /// The number of calls to expect within `time`, at least one.
    fn expected(self, time: TimeDelta, now: DateTime<Utc>) -> u32 {
        let Some(since) = self.since else { return 1 };
        let elapsed = (now - since).num_milliseconds().max(1);
        let expected =
            i64::from(self.calls).saturating_mul(time.num_milliseconds()).saturating_add(elapsed / 2)
                / elapsed;
        u32::try_from(expected).unwrap_or(u32::MAX).max(1)
    }
}

impl Ledger {
    /// Counts a call, whether or not it will be granted: batches follow the number of calls.
    pub fn see_call(&mut self) {
        self.pace.calls = self.pace.calls.saturating_add(1);
    }

    /// Takes one permit for each limit, or none. `limits` are those of the key as read.
    pub fn take(&mut self, limits: &Limits, now: DateTime<Utc>) -> Taken {
        self.keep_current(limits, now);
        let is_full = |held: &&HeldPermits| held.permits == 0 && self.seen.left(held.limit, held.window) == 0;
        if let Some(end) = self.held.iter().filter(is_full).map(|held| held.window.end).max() {
            return Taken::Full(end);
        }
        if self.held.iter().any(|held| held.permits == 0) {
            return Taken::Lacking(self.batches(now));
        }
        for held in &mut self.held {
            held.permits -= 1;
        }
        Taken::Granted
    }

    /// The smallest reservation that grants one call, for when others were refused because other environments reserve at the same
    /// time. `take` must have found permits to be lacking.
    #[must_use]
    pub fn minimum(&self) -> Reservation {
        self.reservation(|held| u32::from(held.permits == 0))
    }

    /// Adds the permits of a reservation that was made. `stored` are the counts after it.
    pub fn reserved(&mut self, reservation: &Reservation, stored: Counters, now: DateTime<Utc>) {
        self.seen = stored;
        self.pace = Pace { since: Some(now), calls: 0 };
        for share in &reservation.shares {
            let held =
                self.held.iter_mut().find(|held| (held.limit, held.window) == (share.limit, share.window));
            if let Some(held) = held {
                held.permits += share.permits;
            }
        }
    }

    /// Notes the counts that refused a reservation.
    pub fn refused(&mut self, stored: Counters) {
        self.seen = stored;
    }

    /// Discards permits of other limits and of other windows.
    fn keep_current(&mut self, limits: &Limits, now: DateTime<Utc>) {
        let current = limits.as_slice().iter().map(|limit| (*limit, limit.per().window(now)));
        let held = current.map(|(limit, window)| {
            let earlier = self.held.iter().find(|held| (held.limit, held.window) == (limit, window));
            earlier.copied().unwrap_or(HeldPermits { limit, window, permits: 0 })
        });
        self.held = held.collect();
    }

    /// A batch for each limit, less the permits that are held.
    fn batches(&self, now: DateTime<Utc>) -> Reservation {
        self.reservation(|held| {
            let horizon = (held.window.end - now).clamp(MIN_HORIZON, MAX_HORIZON);
            let left = self.seen.left(held.limit, held.window);
            // A second is too short for more than one batch.
            let most = if held.window.per == Period::Second { left } else { left / SHARE };
            let batch = self.pace.expected(horizon, now).min(most).max(1);
            batch.saturating_sub(held.permits).min(left)
        })
    }

    fn reservation(&self, permits_for: impl Fn(&HeldPermits) -> u32) -> Reservation {
        let share = |held: &HeldPermits| {
            let begins = self.seen.count(held.window) == Count::None;
            Share { limit: held.limit, window: held.window, permits: permits_for(held), begins }
        };
        let shares: Vec<_> = self.held.iter().map(share).filter(|share| share.permits > 0).collect();
        let ttl = shares.iter().map(|share| share.window.end + RETENTION).max();
        Reservation { ttl: ttl.filter(|ttl| self.seen.ttl.is_none_or(|seen| seen < *ttl)), shares }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn limits(texts: &[&str]) -> Limits {
        texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap()
    }

    /// A time in milliseconds after the beginning of a minute.
    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_800_000_000_000 + milliseconds).unwrap()
    }

    /// The stored item of a key, which evaluates a reservation as the database does.
    #[derive(Clone, Debug, Default)]
    struct Stored {
        counters: Counters,
        writes: usize,
    }

    impl Stored {
        fn slot_of(&self, window: Window) -> Option<Counter> {
            self.counters.slots[Slot::from(window).index()]
        }

        /// Whether the permits are reserved, and the counts then.
        fn reserve(&mut self, reservation: &Reservation) -> (bool, Counters) {
            self.writes += 1;
            let may = |share: &Share| match self.slot_of(share.window) {
                None => share.begins,
                Some(counter) if share.begins => counter.start < share.window.start,
                Some(counter) => {
                    counter.start == share.window.start
                        && counter.used <= share.limit.calls().saturating_sub(share.permits)
                        && share.permits <= share.limit.calls()
                }
            };
            let is_later = |ttl: DateTime<Utc>| self.counters.ttl.is_none_or(|stored| stored < ttl);
            if !reservation.shares.iter().all(may) || !reservation.ttl.is_none_or(is_later) {
                return (false, self.counters.clone());
            }
            for share in &reservation.shares {
                let earlier = if share.begins { 0 } else { self.slot_of(share.window).unwrap().used };
                let counter = Counter { start: share.window.start, used: earlier + share.permits };
                self.counters.slots[Slot::from(share.window).index()] = Some(counter);
            }
            self.counters.ttl = reservation.ttl.or(self.counters.ttl);
            (true, self.counters.clone())
        }
    }

    /// A call in one environment: whether it is allowed.
    fn call(ledger: &mut Ledger, stored: &mut Stored, limits: &Limits, now: DateTime<Utc>) -> bool {
        ledger.see_call();
        for attempt in 0..10 {
            let reservation = match ledger.take(limits, now) {
                Taken::Granted => return true,
                Taken::Full(_) => return false,
                Taken::Lacking(batches) => {
                    if attempt < 2 {
                        batches
                    } else {
                        ledger.minimum()
                    }
                }
            };
            assert!(reservation.shares.iter().any(|share| share.permits > 0));
            match stored.reserve(&reservation) {
                (true, counters) => ledger.reserved(&reservation, counters, now),
                (false, counters) => ledger.refused(counters),
            }
        }
        panic!("a single environment needs few attempts: {ledger:?} {stored:?}")
    }

    #[test]
    fn one_environment_gets_exactly_the_calls_of_each_window() {
        for limit in ["1/second", "7/second", "1/minute", "100/minute", "2500/minute"] {
            let (limits, mut ledger, mut stored) = (limits(&[limit]), Ledger::default(), Stored::default());
            let calls = limits.as_slice()[0].calls();
            for window in 0..4 {
                let start = if limit.ends_with("second") { window * 1_000 } else { window * 60_000 };
                let allowed = (0..3 * i64::from(calls)).filter(|index| {
                    call(&mut ledger, &mut stored, &limits, at(start + index * 900 / (3 * i64::from(calls))))
                });
                assert_eq!(allowed.count(), usize::try_from(calls).unwrap(), "{limit}, window {window}");
            }
        }
    }

    #[test]
    fn a_batch_has_at_least_20_calls_of_1000_and_50_of_2500_while_80_percent_is_left() {
        for (calls, per_write) in [(1_000_u32, 20), (2_500, 50)] {
            let limits = limits(&[&format!("{calls}/minute")]);
            let (mut ledger, mut stored) = (Ledger::default(), Stored::default());
            let a_fifth = i64::from(calls / 5);
            for index in 0..a_fifth {
                assert!(call(&mut ledger, &mut stored, &limits, at(index * 10)));
            }
            let writes = i64::try_from(stored.writes).unwrap();
            assert!(writes * per_write <= a_fifth, "{writes} writes for {a_fifth} of {calls} calls");
        }
    }

    #[test]
    fn a_limit_by_the_second_takes_one_reservation_a_second() {
        // Calls beyond the limit, and fewer calls than it.
        for (limit, gap) in [("10/second", 20), ("100/second", 20), ("10/second", 250)] {
            let (limits, mut ledger, mut stored) = (limits(&[limit]), Ledger::default(), Stored::default());
            for milliseconds in (0..2_000).step_by(gap) {
                call(&mut ledger, &mut stored, &limits, at(milliseconds));
            }
            stored.writes = 0;
            for milliseconds in (2_000..12_000).step_by(gap) {
                call(&mut ledger, &mut stored, &limits, at(milliseconds));
            }
            assert!(
                stored.writes <= 10,
                "{} writes in 10 s for {limit} with a call each {gap} ms",
                stored.writes
            );
        }
    }

    #[test]
    fn a_key_that_is_called_rarely_reserves_one_permit_at_a_time() {
        let (limits, mut ledger, mut stored) = (limits(&["1000/day"]), Ledger::default(), Stored::default());
        for minute in 0..10 {
            assert!(call(&mut ledger, &mut stored, &limits, at(minute * 60_000)));
        }
        assert_eq!(stored.counters.left(limits.as_slice()[0], Period::Day.window(at(0))), 990);
    }

    #[test]
    fn a_full_window_is_refused_without_a_write_until_it_ends() {
        let limits = limits(&["3/minute", "1000/hour"]);
        let (mut ledger, mut stored) = (Ledger::default(), Stored::default());
        assert_eq!((0..3).filter(|_| call(&mut ledger, &mut stored, &limits, at(0))).count(), 3);
        let writes = stored.writes;
        for milliseconds in [1, 59_999] {
            assert_eq!(ledger.take(&limits, at(milliseconds)), Taken::Full(at(60_000)));
        }
        assert_eq!(stored.writes, writes);
        assert!(call(&mut ledger, &mut stored, &limits, at(60_000)));
        let mut other = Ledger::default();
        while call(&mut other, &mut stored, &limits, at(60_001)) {}
        assert_eq!(other.take(&limits, at(119_999)), Taken::Full(at(120_000)));
    }

    #[test]
    fn where_several_windows_are_full_the_last_end_counts() {
        let limits = limits(&["1/second", "1/hour"]);
        let (mut ledger, mut stored) = (Ledger::default(), Stored::default());
        assert!(call(&mut ledger, &mut stored, &limits, at(0)));
        assert_eq!(ledger.take(&limits, at(1)), Taken::Full(Period::Hour.window(at(1)).end));
    }

    #[test]
    fn a_call_that_one_limit_refuses_takes_nothing_from_the_others() {
        let limits = limits(&["2/second", "100/hour"]);
        let (mut ledger, mut stored) = (Ledger::default(), Stored::default());
        for second in 0..10 {
            let allowed =
                (0..5).filter(|index| call(&mut ledger, &mut stored, &limits, at(second * 1_000 + index)));
            assert_eq!(allowed.count(), 2);
        }
        let used = 100 - stored.counters.left(limits.as_slice()[1], Period::Hour.window(at(0)));
        let held = ledger.held[1].permits;
        assert_eq!(used - held, 20);
    }

    #[test]
    fn a_changed_limit_discards_permits_and_full_windows_and_keeps_the_count() {
        let (mut ledger, mut stored) = (Ledger::default(), Stored::default());
        let (few, more) = (limits(&["10/minute"]), limits(&["20/minute"]));
        while call(&mut ledger, &mut stored, &few, at(0)) {}
        let allowed = (0..50).filter(|_| call(&mut ledger, &mut stored, &more, at(1))).count();
        assert_eq!(allowed, 10);
        assert!(!call(&mut ledger, &mut stored, &few, at(2)));
        assert!(!call(&mut ledger, &mut stored, &limits(&["1/minute"]), at(2)));
        // Permits of another limit are not used.
        let mut ledger = Ledger::default();
        for index in 0..5 {
            assert!(call(&mut ledger, &mut stored, &limits(&["1000/minute"]), at(60_000 + index)));
        }
        assert!(ledger.held[0].permits > 1);
        assert!(!call(&mut ledger, &mut stored, &limits(&["2/minute"]), at(60_010)), "the count is kept");
        assert_eq!(ledger.held[0].permits, 0);
    }

    #[test]
    fn a_clock_that_is_behind_counts_in_the_window_before_and_never_in_an_earlier_one() {
        let limits = limits(&["5/second"]);
        let (mut ahead, mut behind, mut stored) = (Ledger::default(), Ledger::default(), Stored::default());
        let mut allowed = 0;
        for second in 0..3 {
            allowed += (0..9).filter(|_| call(&mut behind, &mut stored, &limits, at(second * 1_000))).count();
            let next = at((second + 1) * 1_000);
            assert_eq!((0..9).filter(|_| call(&mut ahead, &mut stored, &limits, next)).count(), 5);
        }
        assert_eq!(allowed, 5, "the later windows of the one that is behind were full already");
        assert!(call(&mut ahead, &mut stored, &limits, at(7_000)));
        assert!(!call(&mut behind, &mut stored, &limits, at(5_000)), "its slot has a later window");
        assert_eq!(behind.take(&limits, at(5_999)), Taken::Full(at(6_000)));
    }

    #[test]
    fn counts_are_kept_for_a_day_after_the_longest_window_whichever_environment_writes_last() {
        let limits = limits(&["5/second", "5/month"]);
        let (mut ahead, mut behind, mut stored) = (Ledger::default(), Ledger::default(), Stored::default());
        let boundary = Period::Month.window(at(0)).end;
        let ends = |window: Window| Some(window.end + TimeDelta::days(1));
        assert!(call(&mut behind, &mut stored, &limits, boundary - TimeDelta::seconds(1)));
        assert_eq!(stored.counters.ttl, ends(Period::Month.window(at(0))));
        assert!(call(&mut ahead, &mut stored, &limits, boundary));
        assert_eq!(stored.counters.ttl, ends(Period::Month.window(boundary)));
        assert!(call(&mut behind, &mut stored, &limits, boundary - TimeDelta::milliseconds(1)));
        assert!(call(&mut Ledger::default(), &mut stored, &limits, boundary - TimeDelta::milliseconds(1)));
        assert_eq!(stored.counters.ttl, ends(Period::Month.window(boundary)));
    }

    /// What happens next in a simulation of several environments with a common database.
    #[derive(Clone, Debug)]
    enum Step {
        /// An environment gets a call.
        Call(usize),
        /// The reservation of an environment reaches the database.
        Write(usize),
        /// The response to it reaches the environment.
        Respond(usize),
        /// An environment ends, with its permits and whatever is on the way; another one begins.
        Kill(usize),
        /// The limits of the key change.
        Change(usize),
        /// Time passes for all.
        Pass(i64),
    }

    const ENVIRONMENTS: usize = 4;

    fn a_step() -> impl Strategy<Value = Step> {
        let one = || 0..ENVIRONMENTS;
        prop_oneof![
            12 => one().prop_map(Step::Call),
            12 => one().prop_map(Step::Write),
            12 => one().prop_map(Step::Respond),
            1 => one().prop_map(Step::Kill),
            1 => (0_usize..4).prop_map(Step::Change),
            4 => prop_oneof![4 => 0_i64..900, 1 => 900_i64..70_000, 1 => 70_000_i64..40 * 86_400_000].prop_map(Step::Pass),
        ]
    }

    /// One environment, which handles one call at a time.
    #[derive(Default)]
    struct Simulated {
        ledger: Ledger,
        /// The call that waits, with its limits and time.
        call: Option<(Limits, DateTime<Utc>, usize)>,
        sent: Option<Reservation>,
        response: Option<(Reservation, (bool, Counters))>,
        /// How far its clock is ahead, in milliseconds.
        skew: i64,
    }

    impl Simulated {
        /// Decides on the call, or sends a reservation. Returns the time of a call that is allowed, and its limits.
        fn go_on(&mut self) -> Option<(Limits, DateTime<Utc>)> {
            let (limits, now, attempt) = self.call.clone()?;
            match self.ledger.take(&limits, now) {
                Taken::Granted => {
                    self.call = None;
                    return Some((limits, now));
                }
                Taken::Full(_) => self.call = None,
                Taken::Lacking(batches) => {
                    self.sent = Some(if attempt < 2 { batches } else { self.ledger.minimum() });
                    self.call = Some((limits, now, attempt + 1));
                }
            }
            None
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn no_interleaving_admits_more_than_the_calls_of_a_window(
            steps in prop::collection::vec(a_step(), 1..400),
            skews in prop::collection::vec(prop_oneof![Just(0_i64), -1_500_i64..1_500, -100_000_i64..100_000], ENVIRONMENTS),
            start in 0_i64..2 * 366 * 86_400_000,
        ) {
            let sets = [&["2/second", "5/minute"][..], &["3/minute"], &["3/minute", "7/hour", "9/month"], &["4/day"]].map(limits);
            let mut environments: Vec<_> =
                skews.iter().map(|skew| Simulated { skew: *skew, ..Simulated::default() }).collect();
            let (mut stored, mut now, mut current) = (Stored::default(), start, 0);
            let mut admitted: HashMap<(Period, DateTime<Utc>), u32> = HashMap::new();
            let mut most: HashMap<(Period, DateTime<Utc>), u32> = HashMap::new();
            for step in steps {
                let mut allowed = None;
                match step {
                    Step::Call(index) if environments[index].call.is_none() => {
                        let environment = &mut environments[index];
                        environment.ledger.see_call();
                        environment.call = Some((sets[current].clone(), at(now + environment.skew), 0));
                        allowed = environment.go_on();
                    }
                    Step::Write(index) => {
                        if let Some(reservation) = environments[index].sent.take() {
                            let result = stored.reserve(&reservation);
                            environments[index].response = Some((reservation, result));
                        }
                    }
                    Step::Respond(index) => {
                        let environment = &mut environments[index];
                        if let Some((reservation, result)) = environment.response.take() {
                            match result {
                                (true, counters) => environment.ledger.reserved(&reservation, counters, at(now)),
                                (false, counters) => environment.ledger.refused(counters),
                            }
                            allowed = environment.go_on();
                        }
                    }
                    Step::Kill(index) => {
                        environments[index] = Simulated { skew: environments[index].skew, ..Simulated::default() };
                    }
                    Step::Change(to) => current = to,
                    Step::Pass(milliseconds) => now += milliseconds,
                    Step::Call(_) => {}
                }
                if let Some((limits, at)) = allowed {
                    for limit in limits.as_slice() {
                        let window = (limit.per(), limit.per().window(at).start);
                        *admitted.entry(window).or_default() += 1;
                        let most = most.entry(window).or_default();
                        *most = limit.calls().max(*most);
                    }
                }
            }
            for (window, admitted) in admitted {
                prop_assert!(admitted <= most[&window], "{admitted} in {window:?}");
            }
        }

        #[test]
        fn a_batch_is_never_more_than_is_left(
            used in 0_u32..1_100,
            calls in 1_u32..1_000,
            seen in 0_u32..10_000,
            elapsed in 0_i64..100_000,
        ) {
            let limits = limits(&[&format!("{calls}/minute")]);
            let window = Period::Minute.window(at(0));
            let mut ledger = Ledger::default();
            ledger.seen.set(window.into(), Counter { start: window.start, used });
            ledger.pace = Pace { since: Some(at(-elapsed)), calls: seen };
            match ledger.take(&limits, at(0)) {
                Taken::Full(_) => prop_assert!(used >= calls),
                Taken::Lacking(Reservation { shares, .. }) => {
                    prop_assert!((1..=calls - used).contains(&shares[0].permits) && !shares[0].begins);
                }
                Taken::Granted => prop_assert!(false, "nothing was reserved"),
            }
        }
    }
}

//! Rotations and handovers of a key: which of its secrets stays valid for an overlap.
//!
//! A key has one previous hash. A rotation makes the current secret the previous one. A handover does the same and leaves the key
//! *unclaimed*: its current hash matches no secret, so the only secret in use is that of the former user. The next rotation or
//! handover of an unclaimed key therefore keeps its previous secret, not its current one.

use chrono::{DateTime, TimeDelta, Utc};

use crate::identity::UserId;
use crate::key::Key;
use crate::leak;
use crate::lifecycle::{KeySchedule, announced_until};
use crate::time::whole_second;

/// A key after a rotation `now`. The secret in use works until the overlap ends, which is at once if it is zero. Without an
/// overlap, a key that is disabled for a leak is enabled.
#[must_use]
pub fn rotated(key: &Key, overlap: TimeDelta, now: DateTime<Utc>) -> Key {
    let has_secret_in_use = !key.unclaimed || key.in_overlap(now);
    let ends = (has_secret_in_use && !overlap.is_zero()).then(|| whole_second(now) + overlap);
    let previous_transferred = key.unclaimed && ends.is_some();
    let after = Key { unclaimed: false, previous_transferred, previous_expires_at: ends, ..key.clone() };
    // Without an overlap no reported secret works any more.
    with_another_hash(if overlap.is_zero() { leak::ended(after) } else { after }, now)
}

/// A key after a handover to `heir` `now`. The secret in use works until `ends`. If that is already the secret of a former user,
/// its end does not move to a later time.
#[must_use]
pub fn handed_over(key: &Key, heir: &UserId, ends: DateTime<Utc>, now: DateTime<Utc>) -> Key {
    let ends =
        if key.unclaimed { key.previous_expires_at.map(|promised| promised.min(ends)) } else { Some(ends) };
    let ends = ends.filter(|ends| now < *ends);
    let user_id = heir.clone();
    let previous_transferred = ends.is_some();
    let after =
        Key { user_id, unclaimed: true, previous_transferred, previous_expires_at: ends, ..key.clone() };
    with_another_hash(after, now)
}

fn with_another_hash(mut after: Key, now: DateTime<Utc>) -> Key {
    after.due_at = KeySchedule::from(&after).next_due(announced_until(after.due_at, now));
    after.revision += 1;
    after.rotation += 1;
    after
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{at, key};

    fn heir() -> UserId {
        "svc:heir".parse().unwrap()
    }

    #[test]
    fn a_rotation_with_an_overlap_keeps_the_secret_in_use() {
        let minute = TimeDelta::minutes(1);
        let once = rotated(&key(), minute, at(10));
        assert_eq!((once.previous_expires_at, once.previous_transferred), (Some(at(70)), false));
        assert_eq!((once.rotation, once.revision, once.due_at), (1, 2, Some(at(70))));
        let at_once = rotated(&once, TimeDelta::zero(), at(20));
        assert_eq!((at_once.previous_expires_at, at_once.due_at), (None, None));

        let taken_over = handed_over(&key(), &heir(), at(100), at(10));
        let claimed = rotated(&taken_over, minute, at(20));
        assert_eq!((claimed.previous_expires_at, claimed.previous_transferred), (Some(at(80)), true));
        assert!(!claimed.unclaimed);
        let again = rotated(&claimed, minute, at(30));
        assert_eq!((again.previous_expires_at, again.previous_transferred), (Some(at(90)), false));
    }

    #[test]
    fn a_rotation_without_an_overlap_enables_a_key_that_was_disabled_for_a_leak_and_no_other() {
        let disabled = Key { disabled_at: Some(at(5)), ..key() };
        let leaked = leak::disabled(&key(), at(5));
        let leaked_later = leak::disabled(&disabled, at(6));
        for (before, overlap, disabled_at, leaked_at) in [
            (&leaked, 0, None, None),
            (&leaked, 60, Some(at(5)), Some(at(5))),
            (&leaked_later, 0, Some(at(5)), None),
            (&disabled, 0, Some(at(5)), None),
        ] {
            let after = rotated(before, TimeDelta::seconds(overlap), at(10));
            assert_eq!((after.disabled_at, after.leaked_at), (disabled_at, leaked_at), "{before:?}");
        }
        let taken_over = handed_over(&leaked, &heir(), at(100), at(10));
        assert_eq!((taken_over.disabled_at, taken_over.leaked_at), (Some(at(5)), Some(at(5))));
    }

    #[test]
    fn no_rotation_brings_a_secret_back_that_has_ended() {
        let taken_over = handed_over(&key(), &heir(), at(100), at(10));
        let claimed = rotated(&taken_over, TimeDelta::minutes(1), at(100));
        assert_eq!((claimed.previous_expires_at, claimed.previous_transferred), (None, false));
        let at_once = handed_over(&key(), &heir(), at(10), at(10));
        assert_eq!((at_once.previous_expires_at, at_once.unclaimed), (None, true));
        assert_eq!(rotated(&at_once, TimeDelta::minutes(1), at(11)).previous_expires_at, None);
    }

    #[test]
    fn a_secret_that_goes_on_after_one_handover_goes_on_no_longer_after_the_next() {
        let once = handed_over(&key(), &heir(), at(100), at(10));
        assert_eq!((once.previous_expires_at, once.previous_transferred), (Some(at(100)), true));
        for (ends, expected) in [(at(50), Some(at(50))), (at(500), Some(at(100))), (at(20), None)] {
            let twice = handed_over(&once, &"bob".parse().unwrap(), ends, at(20));
            assert_eq!((twice.previous_expires_at, twice.unclaimed), (expected, true), "{ends}");
        }
        let claimed = rotated(&once, TimeDelta::minutes(1), at(20));
        let twice = handed_over(&claimed, &"bob".parse().unwrap(), at(500), at(30));
        assert_eq!(twice.previous_expires_at, Some(at(500)), "the heir's secret is the one in use by then");
    }

    proptest! {
        /// Rotations (`true`) and handovers, each some seconds after the one before and with an overlap of some seconds.
        #[test]
        fn only_a_secret_in_use_goes_on_whatever_happens_to_a_key(
            changes in prop::collection::vec((any::<bool>(), 0_i64..100, 0_i64..100), 1..20),
        ) {
            let (mut before, mut now) = (key(), at(0));
            for (is_rotation, pause, overlap) in changes {
                now += TimeDelta::seconds(pause);
                let overlap = TimeDelta::seconds(overlap);
                let in_use = !before.unclaimed || before.in_overlap(now);
                let after = if is_rotation {
                    rotated(&before, overlap, now)
                } else {
                    handed_over(&before, &heir(), now + overlap, now)
                };
                prop_assert_eq!(after.in_overlap(now), in_use && !overlap.is_zero());
                prop_assert_eq!(after.unclaimed, !is_rotation);
                let end = after.previous_expires_at;
                prop_assert!(end.is_none_or(|end| end <= now + overlap));
                if before.unclaimed && !is_rotation {
                    prop_assert!(end.is_none_or(|end| Some(end) <= before.previous_expires_at));
                }
                // The secret that goes on is a former user's after a handover, and after the rotation that claims the key.
                prop_assert_eq!(after.previous_transferred, end.is_some() && (before.unclaimed || !is_rotation));
                prop_assert_eq!((after.rotation, after.revision), (before.rotation + 1, before.revision + 1));
                prop_assert_eq!(after.due_at, end);
                before = after;
            }
        }
    }
}

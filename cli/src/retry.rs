//! Pauses before the next attempt of a call, bounded and told to the user.

use std::time::Duration;

use crate::output::note;

/// The maximum number of attempts of a call.
pub(crate) const MAX_ATTEMPTS: u32 = 5;
/// The maximum pause. A service that asks for a longer one has to be called again by the user.
const MAX_PAUSE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Waits after the attempt of that number, as long as the service asked for, and says why on standard error. Returns
/// false, without waiting, if the service asked for too long.
pub(crate) fn pause(attempt: u32, retry_after: Option<Duration>, reason: &str) -> bool {
    pause_of(attempt, MAX_ATTEMPTS, retry_after, reason)
}

/// As [`pause`], with a maximum number of attempts of its own.
pub(crate) fn pause_of(attempt: u32, max_attempts: u32, retry_after: Option<Duration>, reason: &str) -> bool {
    let Some(pause) = duration(attempt, retry_after, chance()) else { return false };
    note(&format!("{reason}: attempt {} of {max_attempts} in {:.1} s", attempt + 1, pause.as_secs_f64()));
    std::thread::sleep(pause);
    true
}

/// The asked pause and up to half a second more, else a random part of twice the pause before ("full jitter",
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
fn duration(attempt: u32, retry_after: Option<Duration>, chance: f64) -> Option<Duration> {
    match retry_after {
        Some(asked) if asked > MAX_PAUSE => None,
        Some(asked) => Some(asked + FIRST_PAUSE.mul_f64(chance)),
        None => Some((FIRST_PAUSE * 2_u32.pow(attempt)).min(MAX_PAUSE).mul_f64(chance)),
    }
}

/// A number between 0 and 1. Without random bytes it is 1, because a pause needs no secret.
fn chance() -> f64 {
    getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_as_long_as_the_service_asks_for_but_never_too_long() {
        let asked = |seconds| duration(1, Some(Duration::from_secs(seconds)), 0.0);
        assert_eq!(asked(3), Some(Duration::from_secs(3)));
        assert_eq!(asked(30), Some(Duration::from_secs(30)));
        assert_eq!(asked(31), None);
    }

    #[test]
    fn pauses_grow_and_are_spread() {
        let pauses: Vec<_> =
            (1..5).map(|attempt| duration(attempt, None, 1.0).unwrap().as_secs_f64()).collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(duration(20, None, 0.5), Some(Duration::from_secs(15)));
    }
}

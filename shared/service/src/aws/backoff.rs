//! Pauses between the attempts of one call: exponential backoff with full jitter, up to a deadline.
//!
//! The bound of a pause doubles with each attempt, and the pause is a random part of its bound, so that clients that failed
//! together do not retry together.
//! <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>

use std::time::Duration;

use keygate_core::random::fill_with_random_bytes;
use tokio::time::{Instant, sleep_until};

/// The pauses of one series of attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    bound: Duration,
    max_bound: Duration,
    deadline: Instant,
}

impl Backoff {
    /// The first pause is at most `first_bound`, every pause at most `max_bound`, and none ends after the deadline.
    pub(crate) fn new(first_bound: Duration, max_bound: Duration, deadline: Instant) -> Self {
        Self { bound: first_bound.min(max_bound), max_bound, deadline }
    }

    /// When the last attempt has to be over.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits before another attempt. Returns `false`, at once, if the pause would last until the deadline or longer.
    pub(crate) async fn pause(&mut self) -> bool {
        let end = Instant::now() + random_part(self.bound);
        self.bound = (self.bound * 2).min(self.max_bound);
        let is_in_time = end < self.deadline;
        if is_in_time {
            sleep_until(end).await;
        }
        is_in_time
    }
}

fn random_part(bound: Duration) -> Duration {
    let mut random = [0];
    fill_with_random_bytes(&mut random);
    bound * u32::from(random[0]) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn the_bounds_of_pauses_double_up_to_a_maximum() {
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut backoff = Backoff::new(Duration::from_micros(30), Duration::from_micros(100), deadline);
        for bound in [30, 60, 100, 100].map(Duration::from_micros) {
            assert_eq!(backoff.bound, bound);
            assert!(backoff.pause().await);
        }
        assert_eq!(Backoff::new(BOUND * 2, BOUND, deadline).bound, BOUND);
    }

    #[test]
    fn a_pause_is_a_random_part_of_its_bound() {
        let drawn = [(); 20].map(|()| random_part(BOUND));
        assert!(drawn.iter().all(|pause| *pause <= BOUND), "{drawn:?}");
        assert!(drawn.iter().any(|pause| *pause != drawn[0]), "{drawn:?}");
    }

    #[tokio::test]
    async fn no_pause_lasts_until_the_deadline() {
        let mut backoff = Backoff::new(BOUND, BOUND, Instant::now());
        let started = Instant::now();
        assert!(!backoff.pause().await);
        assert!(started.elapsed() < BOUND / 2);
    }
}

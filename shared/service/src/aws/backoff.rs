//! Pauses before another attempt: longer each time, and random, so that those who failed together do not come back
//! together.

use std::time::Duration;

use keygate_core::random::fill_with_random_bytes;

/// The longest bound that a pause grows to.
const MAX_BOUND: Duration = Duration::from_secs(1);

/// The pauses of one series of attempts. The bound of each is twice that of the one before.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    /// The first pause is at most that long.
    pub(crate) fn new(first: Duration) -> Self {
        Self(first)
    }

    /// How long to wait now.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = some_of(self.0);
        self.0 = (self.0 * 2).min(MAX_BOUND);
        pause
    }
}

/// A random part of a time.
pub(crate) fn some_of(time: Duration) -> Duration {
    let mut random = [0];
    fill_with_random_bytes(&mut random);
    time * u32::from(random[0]) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_random_and_their_bounds_grow_up_to_a_limit() {
        let mut backoff = Backoff::new(Duration::from_millis(300));
        for bound in [300, 600, 1_000, 1_000].map(Duration::from_millis) {
            assert_eq!(backoff.0, bound);
            assert!(backoff.pause() <= bound);
        }
        let drawn = [(); 20].map(|()| some_of(MAX_BOUND));
        assert!(drawn.iter().any(|time| *time != drawn[0]), "{drawn:?}");
    }
}

//! The keys whose last use an environment has written lately.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use lru::LruCache;

/// The maximum number of keys that an environment remembers: about a megabyte.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The keys whose last use this environment has written, with the times, the least recently used ones first to go.
///
/// The authorizer does not read the stored last use, so without this memory each call would cost a write whose condition fails.
/// A key that is forgotten costs one such write, and the stored last use stays right.
#[derive(Debug)]
pub struct WrittenUses(Mutex<LruCache<KeyId, DateTime<Utc>>>);

impl Default for WrittenUses {
    fn default() -> Self {
        Self(LruCache::new(CAPACITY).into())
    }
}

impl WrittenUses {
    /// Whether this environment has not written the last use of a key after `due`.
    #[must_use]
    pub fn is_due(&self, id: KeyId, due: DateTime<Utc>) -> bool {
        self.keys().get(&id).is_none_or(|written| *written <= due)
    }

    /// Remembers that the last use of a key was written, by this environment or shortly before by another one.
    pub fn remember(&self, id: KeyId, at: DateTime<Utc>) {
        self.keys().put(id, at);
    }

    /// A panic elsewhere leaves the map consistent: every change of it is a single call.
    fn keys(&self) -> MutexGuard<'_, LruCache<KeyId, DateTime<Utc>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap()
    }

    fn key(number: usize) -> KeyId {
        format!("01JD3V6Y4N8Q2Z5X7W9B{number:06}").parse().unwrap()
    }

    #[test]
    fn a_use_is_due_again_when_the_interval_has_passed() {
        let written = WrittenUses::default();
        assert!(written.is_due(key(1), at(0)));
        written.remember(key(1), at(900));
        assert!(!written.is_due(key(1), at(899)));
        assert!(written.is_due(key(1), at(900)));
        assert!(written.is_due(key(2), at(899)));
    }

    #[test]
    fn the_least_recently_used_key_is_forgotten_first() {
        let written = WrittenUses::default();
        for number in 0..CAPACITY.get() {
            written.remember(key(number), at(900));
        }
        assert!(!written.is_due(key(0), at(0)));
        written.remember(key(CAPACITY.get()), at(900));
        assert!(!written.is_due(key(0), at(0)));
        assert!(written.is_due(key(1), at(0)));
    }
}

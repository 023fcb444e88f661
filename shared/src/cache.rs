//! What came of the credentials that this environment has checked, for the seconds that an operator trades revocation
//! for speed. Off unless configured, so that a deleted key is refused at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use crate::credential::{Credential, TokenId};

/// The most credentials that are remembered: some megabytes at worst.
const CAPACITY: usize = 1_000;

/// A bounded memory by credential.
#[derive(Debug)]
pub struct Cache<Checked> {
    seconds: TimeDelta,
    stale_if_error: TimeDelta,
    /// By digest, so that no secret stays in memory for being remembered.
    entries: Mutex<HashMap<[u8; 32], Entry<Checked>>>,
}

#[derive(Debug)]
struct Entry<Checked> {
    checked: Checked,
    at: DateTime<Utc>,
}

impl<Checked: Clone> Cache<Checked> {
    /// Remembers for `seconds`; and for `stale_if_error`, counted from the same instant, while the store fails.
    #[must_use]
    pub fn new(seconds: TimeDelta, stale_if_error: TimeDelta) -> Self {
        Self { seconds, stale_if_error, entries: Mutex::default() }
    }

    /// What came of the credential within the cache's seconds.
    #[must_use]
    pub fn fresh(&self, credential: &Credential, now: DateTime<Utc>) -> Option<Checked> {
        self.within(self.seconds, credential, now)
    }

    /// What came of the credential recently enough to do without the store while that fails.
    #[must_use]
    pub fn stale(&self, credential: &Credential, now: DateTime<Utc>) -> Option<Checked> {
        self.within(self.stale_if_error, credential, now)
    }

    /// Remembers what came of a credential.
    pub fn remember(&self, credential: &Credential, checked: Checked, now: DateTime<Utc>) {
        let longest = self.seconds.max(self.stale_if_error);
        if longest.is_zero() {
            return;
        }
        let mut entries = self.entries();
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| now < entry.at + longest);
        }
        if entries.len() >= CAPACITY {
            // A flood of credentials costs the memory of all, and each of them a read again; nothing more.
            entries.clear();
        }
        entries.insert(digest(credential), Entry { checked, at: now });
    }

    fn within(&self, age: TimeDelta, credential: &Credential, now: DateTime<Utc>) -> Option<Checked> {
        if age.is_zero() {
            return None;
        }
        let entries = self.entries();
        entries
            .get(&digest(credential))
            .filter(|entry| now < entry.at + age)
            .map(|entry| entry.checked.clone())
    }

    /// A panic elsewhere leaves the map whole: every change of it is a single call.
    fn entries(&self) -> MutexGuard<'_, HashMap<[u8; 32], Entry<Checked>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(credential: &Credential) -> [u8; 32] {
    let Credential { key_id, kind, secret } = credential;
    let token_id = kind.token_id().map_or([0; 16], TokenId::to_bytes);
    Sha256::new()
        .chain_update(kind.word())
        .chain_update(key_id.to_bytes())
        .chain_update(token_id)
        .chain_update(secret.expose())
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Kind;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn cache(seconds: i64, stale_if_error: i64) -> Cache<&'static str> {
        Cache::new(TimeDelta::seconds(seconds), TimeDelta::seconds(stale_if_error))
    }

    #[test]
    fn nothing_is_remembered_unless_asked_for() {
        let (cache, credential) = (cache(0, 0), Credential::generate(at(0)));
        cache.remember(&credential, "checked", at(0));
        assert_eq!((cache.fresh(&credential, at(0)), cache.stale(&credential, at(0))), (None, None));
        assert!(cache.entries().is_empty());
    }

    #[test]
    fn what_is_remembered_is_forgotten_after_the_seconds() {
        let (cache, credential) = (cache(5, 60), Credential::generate(at(0)));
        cache.remember(&credential, "checked", at(10));
        for (second, fresh, stale) in
            [(14, true, true), (15, false, true), (69, false, true), (70, false, false)]
        {
            assert_eq!(cache.fresh(&credential, at(second)).is_some(), fresh, "{second}");
            assert_eq!(cache.stale(&credential, at(second)).is_some(), stale, "{second}");
        }
        let same_key = Credential::draw(credential.key_id, Kind::ApiKey);
        assert_eq!(cache.fresh(&same_key, at(11)), None, "another secret is another credential");
    }

    #[test]
    fn the_memory_is_bounded() {
        let cache = cache(60, 0);
        for second in 0..3 * i64::try_from(CAPACITY).unwrap() {
            cache.remember(&Credential::generate(at(0)), "checked", at(second / 100));
            assert!(cache.entries().len() <= CAPACITY);
        }
    }
}

//! Credentials that this environment has checked, for the seconds that an operator trades revocation for speed.
//!
//! Off unless configured, so that a deleted key is refused at once. An entry says what came of a credential and not for
//! how long: a key's expiry, the end of an overlap and being disabled are looked at whenever it is used.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use crate::authorize::Refusal;
use crate::credential::Credential;
use crate::record::Key;

/// The most credentials that are remembered: some megabytes at worst.
const CAPACITY: usize = 1_000;

/// What came of a credential.
#[derive(Clone, Debug)]
pub enum Checked {
    /// It is one of this key's.
    Known {
        /// The key as it was read.
        key: Box<Key>,
        /// Until when the secret works, if it is the one before a rotation.
        until: Option<DateTime<Utc>>,
    },
    /// It is none, whatever the time.
    Refused(Refusal),
}

/// A bounded memory of checked credentials.
#[derive(Debug)]
pub struct Cache {
    seconds: TimeDelta,
    stale_if_error: TimeDelta,
    /// By digest, so that no secret stays in memory for being remembered.
    entries: Mutex<HashMap<[u8; 32], Entry>>,
}

#[derive(Debug)]
struct Entry {
    checked: Checked,
    at: DateTime<Utc>,
}

impl Cache {
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

    /// The key of the credential, if it was accepted recently enough to do without the store while that fails.
    #[must_use]
    pub fn stale(&self, credential: &Credential, now: DateTime<Utc>) -> Option<Checked> {
        self.within(self.stale_if_error, credential, now)
            .filter(|checked| matches!(checked, Checked::Known { .. }))
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
        let entry = entries.get(&digest(credential)).filter(|entry| now < entry.at + age)?;
        match &entry.checked {
            Checked::Known { until: Some(until), .. } if *until <= now => None,
            checked => Some(checked.clone()),
        }
    }

    /// A panic elsewhere leaves the map whole: every change of it is a single call.
    fn entries(&self) -> MutexGuard<'_, HashMap<[u8; 32], Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(credential: &Credential) -> [u8; 32] {
    Sha256::new()
        .chain_update(credential.key_id.to_bytes())
        .chain_update(credential.secret.expose())
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn cache(seconds: i64, stale_if_error: i64) -> Cache {
        Cache::new(TimeDelta::seconds(seconds), TimeDelta::seconds(stale_if_error))
    }

    fn refused(credential: &Credential) -> Checked {
        Checked::Refused(Refusal::Unknown(credential.key_id))
    }

    #[test]
    fn nothing_is_remembered_unless_asked_for() {
        let (cache, credential) = (cache(0, 0), Credential::generate(at(0)));
        cache.remember(&credential, refused(&credential), at(0));
        assert!(cache.fresh(&credential, at(0)).is_none());
        assert!(cache.entries().is_empty());
    }

    #[test]
    fn what_is_remembered_is_forgotten_after_the_seconds() {
        let (cache, credential) = (cache(5, 0), Credential::generate(at(0)));
        cache.remember(&credential, refused(&credential), at(10));
        assert!(cache.fresh(&credential, at(14)).is_some());
        assert!(cache.fresh(&credential, at(15)).is_none());
        assert!(
            cache.fresh(&Credential::renew(credential.key_id), at(11)).is_none(),
            "another secret is another one"
        );
    }

    #[test]
    fn a_refusal_is_no_reason_to_do_without_the_store() {
        let (cache, credential) = (cache(0, 60), Credential::generate(at(0)));
        cache.remember(&credential, refused(&credential), at(0));
        assert!(cache.stale(&credential, at(1)).is_none());
    }

    #[test]
    fn the_memory_is_bounded() {
        let cache = cache(60, 0);
        for second in 0..3 * i64::try_from(CAPACITY).unwrap() {
            let credential = Credential::generate(at(0));
            cache.remember(&credential, refused(&credential), at(second / 100));
            assert!(cache.entries().len() <= CAPACITY);
        }
    }
}

//! The verification results that an environment may reuse for a configured time, which delays revocations by that time. By
//! default it reuses them only while the store fails, so that a deleted key is refused at once.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::credential::Credential;
use keygate_core::legacy_credential::LegacyCredential;
use lru::LruCache;
use sha2::{Digest, Sha256};

use crate::authorizer::settings::CacheSettings;

/// The maximum number of accepted credentials, and of refused ones, in the cache: some megabytes at most.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// A bounded cache by credential, which evicts the least recently used entry.
///
/// Accepted and refused credentials have separate capacities. Anyone who can compute a checksum can present any number of
/// unknown credentials; these must not evict the accepted credentials on which an environment relies while the store fails.
#[derive(Debug)]
pub struct Cache<T> {
    settings: CacheSettings,
    entries: Mutex<Entries<T>>,
}

#[derive(Debug)]
struct Entries<T> {
    accepted: LruCache<Fingerprint, Entry<T>>,
    refused: LruCache<Fingerprint, Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    result: T,
    at: DateTime<Utc>,
}

/// The decision about a credential when it was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was accepted.
    Accepted,
    /// It was refused.
    Refused,
}

impl<T: Clone> Cache<T> {
    /// A cache that returns every result for [`CacheSettings::fresh_for`], and, while the store fails, results of accepted
    /// credentials for [`CacheSettings::stale_for`]. Both times start when the result is stored.
    #[must_use]
    pub fn new(settings: CacheSettings) -> Self {
        let entries = Entries { accepted: LruCache::new(CAPACITY), refused: LruCache::new(CAPACITY) };
        Self { settings, entries: entries.into() }
    }

    /// The result for a credential, if it is fresh.
    #[must_use]
    pub fn fresh(&self, credential: &Fingerprint, now: DateTime<Utc>) -> Option<T> {
        let Entries { accepted, refused } = &mut *self.entries();
        within(self.settings.fresh_for, accepted, credential, now)
            .or_else(|| within(self.settings.fresh_for, refused, credential, now))
    }

    /// The result for an accepted credential, if it may be used while the store fails.
    #[must_use]
    pub fn stale(&self, credential: &Fingerprint, now: DateTime<Utc>) -> Option<T> {
        within(self.settings.stale_for, &mut self.entries().accepted, credential, now)
    }

    /// Stores the result for a credential, in place of an earlier one.
    pub fn remember(&self, credential: Fingerprint, verdict: Verdict, result: T, now: DateTime<Utc>) {
        let (entry, mut entries) = (Entry { result, at: now }, self.entries());
        match verdict {
            Verdict::Accepted if self.settings.fresh_for.max(self.settings.stale_for).is_zero() => {}
            Verdict::Accepted => {
                entries.refused.pop(&credential);
                entries.accepted.put(credential, entry);
            }
            Verdict::Refused => {
                entries.accepted.pop(&credential);
                // A stale refusal is never used.
                if !self.settings.fresh_for.is_zero() {
                    entries.refused.put(credential, entry);
                }
            }
        }
    }

    /// A panic elsewhere leaves the maps consistent: every change of one is a single call.
    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn within<T: Clone>(
    age: TimeDelta,
    entries: &mut LruCache<Fingerprint, Entry<T>>,
    credential: &Fingerprint,
    now: DateTime<Utc>,
) -> Option<T> {
    if age.is_zero() {
        return None;
    }
    entries.get(credential).filter(|entry| now < entry.at + age).map(|entry| entry.result.clone())
}

/// The cache key of a credential: a digest, so that the cache keeps no secret in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of an API key or a token.
    #[must_use]
    pub fn of(credential: &Credential) -> Self {
        let Credential { key_id, form, secret } = credential;
        let second_id = form.second_id().unwrap_or_default();
        let digest = Sha256::new()
            .chain_update(form.word())
            .chain_update(key_id.to_bytes())
            .chain_update(second_id)
            .chain_update(secret.expose());
        Self(digest.finalize().into())
    }

    /// The fingerprint of a legacy key.
    #[must_use]
    pub fn of_legacy(key: &LegacyCredential) -> Self {
        Self(Sha256::new().chain_update("legacy").chain_update(key.expose()).finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use keygate_core::credential::CredentialForm;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn cache(seconds: i64, stale_if_error: i64) -> Cache<&'static str> {
        Cache::new(CacheSettings {
            fresh_for: TimeDelta::seconds(seconds),
            stale_for: TimeDelta::seconds(stale_if_error),
        })
    }

    #[test]
    fn with_both_times_0_nothing_is_kept() {
        let (cache, credential) = (cache(0, 0), Fingerprint::of(&Credential::generate(at(0))));
        for verdict in [Verdict::Accepted, Verdict::Refused] {
            cache.remember(credential, verdict, "result", at(0));
            assert_eq!((cache.fresh(&credential, at(0)), cache.stale(&credential, at(0))), (None, None));
        }
        assert_eq!(sizes(&cache), (0, 0));
    }

    #[test]
    fn a_result_is_returned_until_its_time_is_over() {
        let (cache, key) = (cache(5, 60), Credential::generate(at(0)));
        let credential = Fingerprint::of(&key);
        cache.remember(credential, Verdict::Accepted, "result", at(10));
        for (second, fresh, stale) in
            [(14, true, true), (15, false, true), (69, false, true), (70, false, false)]
        {
            assert_eq!(cache.fresh(&credential, at(second)).is_some(), fresh, "{second}");
            assert_eq!(cache.stale(&credential, at(second)).is_some(), stale, "{second}");
        }
        let same_key = Fingerprint::of(&Credential::draw(key.key_id, CredentialForm::ApiKey));
        assert_eq!(cache.fresh(&same_key, at(11)), None, "another secret is another credential");
    }

    #[test]
    fn the_latest_verdict_on_a_credential_is_the_only_one() {
        let (cache, credential) = (cache(5, 60), Fingerprint::of(&Credential::generate(at(0))));
        cache.remember(credential, Verdict::Accepted, "accepted", at(0));
        cache.remember(credential, Verdict::Refused, "refused", at(1));
        assert_eq!(
            (cache.fresh(&credential, at(2)), cache.stale(&credential, at(2))),
            (Some("refused"), None)
        );
        cache.remember(credential, Verdict::Accepted, "accepted again", at(3));
        let again = Some("accepted again");
        assert_eq!((cache.fresh(&credential, at(4)), cache.stale(&credential, at(4))), (again, again));
        assert_eq!(sizes(&cache), (1, 0));
    }

    #[test]
    fn the_cache_is_bounded() {
        for verdict in [Verdict::Accepted, Verdict::Refused] {
            let cache = cache(60, 0);
            for second in 0..3 * i64::try_from(CAPACITY.get()).unwrap() {
                let credential = Fingerprint::of(&Credential::generate(at(0)));
                cache.remember(credential, verdict, "result", at(second / 100));
                let (accepted, refused) = sizes(&cache);
                assert!(accepted + refused <= CAPACITY.get());
            }
        }
    }

    #[test]
    fn a_flood_of_refused_credentials_evicts_no_accepted_one() {
        let (cache, credential) = (cache(60, 600), Fingerprint::of(&Credential::generate(at(0))));
        cache.remember(credential, Verdict::Accepted, "accepted", at(0));
        for _ in 0..3 * CAPACITY.get() {
            let unknown = Fingerprint::of(&Credential::generate(at(0)));
            cache.remember(unknown, Verdict::Refused, "unknown", at(1));
        }
        assert_eq!(cache.fresh(&credential, at(59)), Some("accepted"));
        assert_eq!(cache.stale(&credential, at(599)), Some("accepted"));
    }

    #[test]
    fn a_flood_of_accepted_credentials_evicts_none_that_is_in_use() {
        let (cache, in_use) = (cache(60, 0), Fingerprint::of(&Credential::generate(at(0))));
        cache.remember(in_use, Verdict::Accepted, "in use", at(0));
        for _ in 0..3 * CAPACITY.get() {
            let other = Fingerprint::of(&Credential::generate(at(0)));
            cache.remember(other, Verdict::Accepted, "other", at(1));
            assert_eq!(cache.fresh(&in_use, at(1)), Some("in use"));
        }
    }

    /// The numbers of accepted and of refused credentials in the cache.
    fn sizes(cache: &Cache<&'static str>) -> (usize, usize) {
        let entries = cache.entries();
        (entries.accepted.len(), entries.refused.len())
    }
}

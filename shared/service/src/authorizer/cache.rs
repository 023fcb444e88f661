//! The verification results that this execution environment reuses, for the seconds that an operator allows. Off unless
//! configured, so that a deleted key is refused at once.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::credential::{Credential, TokenId};
use keygate_core::legacy_credential::LegacyCredential;
use lru::LruCache;
use sha2::{Digest, Sha256};

use crate::authorizer::settings::CacheSettings;

/// The most accepted credentials, and the most refused ones, that are remembered: some megabytes at worst.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// A bounded memory by credential: of several, the least recently used goes first.
///
/// Accepted and refused credentials do not share their room. Whoever can compute a checksum can present as many unknown
/// credentials as they like, and must not thereby make an environment forget what it goes by while the store fails.
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
    verification: T,
    at: DateTime<Utc>,
}

/// The outcome of a credential when it was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It worked.
    Accepted,
    /// It did not.
    Refused,
}

impl<T: Clone> Cache<T> {
    /// Remembers every result for [`CacheSettings::fresh_for`]; and what was accepted for [`CacheSettings::stale_for`], counted from
    /// the same instant, while the store fails.
    #[must_use]
    pub fn new(settings: CacheSettings) -> Self {
        let entries = Entries { accepted: LruCache::new(CAPACITY), refused: LruCache::new(CAPACITY) };
        Self { settings, entries: entries.into() }
    }

    /// What came of the credential within the cache's seconds.
    #[must_use]
    pub fn fresh(&self, credential: &Fingerprint, now: DateTime<Utc>) -> Option<T> {
        let Entries { accepted, refused } = &mut *self.entries();
        within(self.settings.fresh_for, accepted, credential, now)
            .or_else(|| within(self.settings.fresh_for, refused, credential, now))
    }

    /// What came of the credential recently enough to do without the store while that fails, if it was accepted.
    #[must_use]
    pub fn stale(&self, credential: &Fingerprint, now: DateTime<Utc>) -> Option<T> {
        within(self.settings.stale_for, &mut self.entries().accepted, credential, now)
    }

    /// Remembers what came of a credential, in the place of what came of it before.
    pub fn remember(&self, credential: Fingerprint, verdict: Verdict, verification: T, now: DateTime<Utc>) {
        let (entry, mut entries) = (Entry { verification, at: now }, self.entries());
        match verdict {
            Verdict::Accepted if self.settings.fresh_for.max(self.settings.stale_for).is_zero() => {}
            Verdict::Accepted => {
                entries.refused.pop(&credential);
                entries.accepted.put(credential, entry);
            }
            Verdict::Refused => {
                entries.accepted.pop(&credential);
                // Nothing goes by a refusal while the store fails.
                if !self.settings.fresh_for.is_zero() {
                    entries.refused.put(credential, entry);
                }
            }
        }
    }

    /// A panic elsewhere leaves the maps whole: every change of one is a single call.
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
    entries.get(credential).filter(|entry| now < entry.at + age).map(|entry| entry.verification.clone())
}

/// What a credential is remembered by: a digest, so that no secret stays in memory for being remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a key or a token.
    #[must_use]
    pub fn of(credential: &Credential) -> Self {
        let Credential { key_id, form, secret } = credential;
        let token_id = form.token_id().map_or([0; 16], TokenId::to_bytes);
        let digest = Sha256::new()
            .chain_update(form.word())
            .chain_update(key_id.to_bytes())
            .chain_update(token_id)
            .chain_update(secret.expose());
        Self(digest.finalize().into())
    }

    /// That of a legacy key.
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
    fn nothing_is_remembered_unless_asked_for() {
        let (cache, credential) = (cache(0, 0), Fingerprint::of(&Credential::generate(at(0))));
        for verdict in [Verdict::Accepted, Verdict::Refused] {
            cache.remember(credential, verdict, "verification", at(0));
            assert_eq!((cache.fresh(&credential, at(0)), cache.stale(&credential, at(0))), (None, None));
        }
        assert_eq!(sizes(&cache), (0, 0));
    }

    #[test]
    fn what_is_remembered_is_forgotten_after_the_seconds() {
        let (cache, key) = (cache(5, 60), Credential::generate(at(0)));
        let credential = Fingerprint::of(&key);
        cache.remember(credential, Verdict::Accepted, "verification", at(10));
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
    fn the_memory_is_bounded() {
        for verdict in [Verdict::Accepted, Verdict::Refused] {
            let cache = cache(60, 0);
            for second in 0..3 * i64::try_from(CAPACITY.get()).unwrap() {
                let credential = Fingerprint::of(&Credential::generate(at(0)));
                cache.remember(credential, verdict, "verification", at(second / 100));
                let (accepted, refused) = sizes(&cache);
                assert!(accepted + refused <= CAPACITY.get());
            }
        }
    }

    #[test]
    fn a_flood_of_refused_credentials_makes_no_accepted_one_forgotten() {
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
    fn a_flood_of_accepted_credentials_leaves_those_that_are_in_use() {
        let (cache, in_use) = (cache(60, 0), Fingerprint::of(&Credential::generate(at(0))));
        cache.remember(in_use, Verdict::Accepted, "in use", at(0));
        for _ in 0..3 * CAPACITY.get() {
            let other = Fingerprint::of(&Credential::generate(at(0)));
            cache.remember(other, Verdict::Accepted, "other", at(1));
            assert_eq!(cache.fresh(&in_use, at(1)), Some("in use"));
        }
    }

    /// How many accepted and how many refused credentials are remembered.
    fn sizes(cache: &Cache<&'static str>) -> (usize, usize) {
        let entries = cache.entries();
        (entries.accepted.len(), entries.refused.len())
    }
}

//! From a presented credential to a decision.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use thiserror::Error as ThisError;

use crate::activity::Holder;
use crate::afterwards::{Rehash, Use};
use crate::cache::Cache;
use crate::credential::{Brand, Credential, KeyId, Malformed};
use crate::error::Error;
use crate::pepper::{Peppers, SecretHash};
use crate::record::{HashedKey, Key, Status};
use crate::store::reader::Reader;

/// What comes of a presented credential.
#[derive(Debug)]
pub enum Decision {
    /// It is the credential of this key, and the key works.
    Accepted(Box<Key>),
    /// It is not.
    Refused(Refusal),
}

/// Why a credential was refused. For the log: whoever presented it learns only that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Refusal {
    /// The request has no credential.
    #[error("no credential")]
    Missing,
    /// The request has more than one.
    #[error("more than one credential")]
    Ambiguous,
    /// The request has one in its query string.
    #[error("a credential in the query string")]
    InQuery,
    /// It is presented under another scheme than `Bearer`.
    #[error("not a bearer token")]
    NotBearer,
    /// It is not a credential of this deployment.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// No key has its id.
    #[error("unknown key {0}")]
    Unknown(KeyId),
    /// The key has another secret.
    #[error("wrong secret for key {0}")]
    WrongSecret(KeyId),
    /// The key's time is over.
    #[error("key {0} is expired")]
    Expired(KeyId),
    /// The key is switched off.
    #[error("key {0} is disabled")]
    Disabled(KeyId),
}

impl Refusal {
    /// The reason in one word, as metrics and the audit trail have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ambiguous => "ambiguous",
            Self::InQuery => "in_query",
            Self::NotBearer => "not_bearer",
            Self::Malformed(_) => "malformed",
            Self::Unknown(_) => "unknown",
            Self::WrongSecret(_) => "wrong_secret",
            Self::Expired(_) => "expired",
            Self::Disabled(_) => "disabled",
        }
    }
}

/// A decision, and what is remembered of how it was made.
#[derive(Debug)]
pub struct Decided {
    /// What comes of the credential.
    pub decision: Decision,
    /// The key that the credential names, if there is one.
    pub holder: Option<Holder>,
    /// Where the key was looked up.
    pub lookup: Lookup,
    /// What is to be written of an accepted key.
    pub used: Option<Use>,
}

/// Where a key was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Nowhere: there was nothing to look up.
    None,
    /// In this environment's memory.
    Cache,
    /// In this environment's memory, because the store failed.
    Stale,
    /// In the store, which took that long.
    Store(Duration),
}

impl Decided {
    /// The refusal of a request that names no key.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Self {
        Self { decision: Decision::Refused(refusal), holder: None, lookup: Lookup::None, used: None }
    }

    fn new(checked: Checked, lookup: Lookup, now: DateTime<Utc>) -> Self {
        let holder = checked.holder();
        Self { decision: decision(checked, now), holder, lookup, used: None }
    }
}

/// Checks credentials. It needs one read of one item for each, and none for what is malformed.
#[derive(Debug)]
pub struct Authorizer {
    /// The word credentials begin with.
    pub brand: Brand,
    /// What stored hashes were made under.
    pub peppers: Peppers,
    /// Where keys are.
    pub keys: Reader,
    /// What this environment has checked before.
    pub cache: Cache<Checked>,
}

/// What came of comparing a credential with what is stored, whatever the time.
#[derive(Clone, Debug)]
pub enum Checked {
    /// It is one of this key's.
    Known {
        /// The key as it was read.
        key: Box<Key>,
        /// Until when the secret works, if it is the one before a rotation.
        until: Option<DateTime<Utc>>,
    },
    /// The key has another secret.
    WrongSecret(Holder),
    /// There is no such key.
    Unknown(KeyId),
}

impl Checked {
    fn holder(&self) -> Option<Holder> {
        match self {
            Self::Known { key, .. } => Some(holder(key)),
            Self::WrongSecret(holder) => Some(holder.clone()),
            Self::Unknown(_) => None,
        }
    }

    /// Whether it still says something: the secret before a rotation may work no more.
    fn holds(&self, now: DateTime<Utc>) -> bool {
        !matches!(self, Self::Known { until: Some(until), .. } if *until <= now)
    }

    fn is_known(&self) -> bool {
        matches!(self, Self::Known { .. })
    }
}

impl Authorizer {
    /// Decides on the value of an `Authorization` header: `Bearer` in any case, then the key (RFC 6750, section 2.1;
    /// RFC 9110, section 11.1).
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the store did not answer in time, and the cache may not be used in its place.
    /// - [`Error::UnknownPepper`]: the key's hash was made under a version that is not listed.
    /// - [`Error::Broken`]: the stored item cannot be read.
    ///
    /// None of them says anything about the credential, and none of them lets it pass.
    pub async fn decide(&self, authorization: Option<&str>, now: DateTime<Utc>) -> Result<Decided, Error> {
        let credential = match parse(authorization, &self.brand) {
            Ok(credential) => credential,
            Err(refusal) => return Ok(Decided::refused(refusal)),
        };
        if let Some(checked) = self.cache.fresh(&credential, now).filter(|checked| checked.holds(now)) {
            return Ok(Decided::new(checked, Lookup::Cache, now));
        }
        let asked = Instant::now();
        let stored = match self.keys.hashed(credential.key_id).await {
            Ok(stored) => stored.filter(|stored| !stored.key.is_gone(now)),
            Err(failure @ Error::Unavailable { .. }) => {
                // Only what was accepted: a refusal is no reason to do without the store.
                let stale = self.cache.stale(&credential, now);
                let stale =
                    stale.filter(|checked| checked.is_known() && checked.holds(now)).ok_or(failure)?;
                tracing::warn!(key_id = %credential.key_id, "decided without the store, which fails");
                return Ok(Decided::new(stale, Lookup::Stale, now));
            }
            Err(failure) => return Err(failure),
        };
        let lookup = Lookup::Store(asked.elapsed());
        let (checked, matched) = self.check(&credential, stored, now)?;
        self.cache.remember(&credential, checked.clone(), now);
        let mut decided = Decided::new(checked, lookup, now);
        if let (Decision::Accepted(key), Some(matched)) = (&decided.decision, matched) {
            let rehash = self.rehash(&credential, matched);
            decided.used = Some(Use { key_id: key.key_id, last_used_at: key.last_used_at, rehash });
        }
        Ok(decided)
    }

    /// Compares a credential with what is stored under its id, and says which hash is its own.
    fn check(
        &self,
        credential: &Credential,
        stored: Option<HashedKey>,
        now: DateTime<Utc>,
    ) -> Result<(Checked, Option<Matched>), Error> {
        let Some(stored) = stored else {
            self.peppers.verify_nothing(credential);
            return Ok((Checked::Unknown(credential.key_id), None));
        };
        let mut matched = None;
        let mut unknown_pepper = None;
        for hash in stored.hashes(now) {
            // Every hash is compared, so that the time tells nothing of which one matched.
            match self.peppers.verify(credential, &hash) {
                Ok(equal) => matched = matched.or(equal.then_some(hash)),
                Err(unknown) => unknown_pepper = Some(unknown),
            }
        }
        match (matched, unknown_pepper) {
            (Some(hash), _) => {
                let is_current = hash == stored.hash;
                let until = stored.key.previous_expires_at.filter(|_| !is_current);
                let known = Checked::Known { key: Box::new(stored.key), until };
                Ok((known, Some(Matched { hash, is_current })))
            }
            (None, Some(unknown)) => Err(unknown.into()),
            (None, None) => Ok((Checked::WrongSecret(holder(&stored.key)), None)),
        }
    }

    /// The renewal of a hash that is not under the current pepper. A secret that works only until an overlap ends is
    /// not worth one.
    fn rehash(&self, credential: &Credential, matched: Matched) -> Option<Rehash> {
        let renewed = self.peppers.renew(credential, &matched.hash).filter(|_| matched.is_current)?;
        Some(Rehash { stored: matched.hash, renewed })
    }
}

/// The stored hash that a credential was found to be the one of.
#[derive(Debug)]
struct Matched {
    hash: SecretHash,
    /// Not that of the secret before a rotation.
    is_current: bool,
}

/// What comes of a checked credential at an instant.
fn decision(checked: Checked, now: DateTime<Utc>) -> Decision {
    match checked {
        Checked::Known { key, .. } => match key.status(now) {
            Status::Active => Decision::Accepted(key),
            Status::Expired => Decision::Refused(Refusal::Expired(key.key_id)),
            Status::Disabled => Decision::Refused(Refusal::Disabled(key.key_id)),
        },
        Checked::WrongSecret(holder) => Decision::Refused(Refusal::WrongSecret(holder.key_id)),
        Checked::Unknown(key_id) => Decision::Refused(Refusal::Unknown(key_id)),
    }
}

fn holder(key: &Key) -> Holder {
    Holder { workspace_id: key.workspace_id.clone(), user_id: key.user_id.clone(), key_id: key.key_id }
}

fn parse(authorization: Option<&str>, brand: &Brand) -> Result<Credential, Refusal> {
    let authorization =
        authorization.map(str::trim).filter(|value| !value.is_empty()).ok_or(Refusal::Missing)?;
    let (scheme, token) = authorization.split_once(' ').ok_or(Refusal::NotBearer)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::NotBearer);
    }
    Credential::parse(token.trim_start_matches(' '), brand).map_err(Refusal::Malformed)
}

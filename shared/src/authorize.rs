//! From a presented credential to a decision.

use std::time::Duration;

use chrono::{DateTime, Utc};
use thiserror::Error as ThisError;

use crate::activity::Holder;
use crate::afterwards::{Rehash, Use};
use crate::cache::Cache;
use crate::caller::Caller;
use crate::credential::{Brand, Credential, KeyId, Kind, Malformed};
use crate::error::Error;
use crate::verify::{Checked, Matched, Unfit, Verified, Verifier};

/// What comes of a presented credential.
#[derive(Debug)]
pub enum Decision {
    /// It works, and this is who calls with it.
    Accepted(Box<Caller>),
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
    /// No key has its id, or the key has no such token.
    #[error("unknown: {0}")]
    Unknown(KeyId),
    /// The key, or its token, has another secret.
    #[error("wrong secret for {0}")]
    WrongSecret(KeyId),
    /// It is this key or a token of it, and does not work.
    #[error("{word} key or token of {0}", word = .1.word())]
    Unfit(KeyId, Unfit),
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
            Self::Unfit(_, unfit) => unfit.word(),
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

    fn new(checked: &Checked, lookup: Lookup, now: DateTime<Utc>) -> Self {
        Self { decision: decision(checked, now), holder: checked.holder(), lookup, used: None }
    }
}

/// Checks credentials. It needs one read for each, and none for what is malformed.
#[derive(Debug)]
pub struct Authorizer {
    /// The word credentials begin with.
    pub brand: Brand,
    /// What compares them with what is stored.
    pub verifier: Verifier,
    /// What this environment has checked before.
    pub cache: Cache<Checked>,
}

impl Authorizer {
    /// Decides on the value of an `Authorization` header: `Bearer` in any case, then the credential (RFC 6750, section 2.1;
    /// RFC 9110, section 11.1).
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the store did not answer in time, and the cache may not be used in its place.
    /// - [`Error::UnknownPepper`]: the stored hash was made under a version that is not listed.
    /// - [`Error::Broken`]: the stored item cannot be read.
    ///
    /// None of them says anything about the credential, and none of them lets it pass.
    pub async fn decide(&self, authorization: Option<&str>, now: DateTime<Utc>) -> Result<Decided, Error> {
        let credential = match parse(authorization, &self.brand) {
            Ok(credential) => credential,
            Err(refusal) => return Ok(Decided::refused(refusal)),
        };
        if let Kind::RefreshToken(_) = credential.kind {
            return Ok(Decided::refused(Refusal::Unfit(credential.key_id, Unfit::RefreshToken)));
        }
        if let Some(checked) = self.cache.fresh(&credential, now).filter(|checked| checked.holds(now)) {
            return Ok(Decided::new(&checked, Lookup::Cache, now));
        }
        let verified = match self.verifier.verify(&credential, now).await {
            Ok(verified) => verified,
            Err(failure @ Error::Unavailable { .. }) => {
                // Only what was accepted: a refusal is no reason to do without the store.
                let stale = self.cache.stale(&credential, now);
                let was_accepted =
                    |checked: &Checked| matches!(checked, Checked::Known(_)) && checked.holds(now);
                let stale = stale.filter(was_accepted).ok_or(failure)?;
                tracing::warn!(key_id = %credential.key_id, "decided without the store, which fails");
                return Ok(Decided::new(&stale, Lookup::Stale, now));
            }
            Err(failure) => return Err(failure),
        };
        let Verified { checked, matched, took } = verified;
        let mut decided = Decided::new(&checked, Lookup::Store(took), now);
        if let (Decision::Accepted(_), Checked::Known(known)) = (&decided.decision, &checked) {
            let rehash = matched.and_then(|matched| self.rehash(&credential, matched));
            decided.used = Some(Use::of(known, rehash));
        }
        self.cache.remember(&credential, checked, now);
        Ok(decided)
    }

    /// The renewal of a key's hash that is not under the current pepper. A secret that works only until an overlap ends is
    /// not worth one.
    fn rehash(&self, credential: &Credential, matched: Matched) -> Option<Rehash> {
        let renewed =
            self.verifier.peppers.renew(credential, &matched.hash).filter(|_| matched.is_current)?;
        Some(Rehash { stored: matched.hash, renewed })
    }
}

/// What comes of a checked credential at an instant.
fn decision(checked: &Checked, now: DateTime<Utc>) -> Decision {
    match checked {
        Checked::Known(known) => match known.caller(now) {
            Ok(caller) => Decision::Accepted(Box::new(caller)),
            Err(unfit) => Decision::Refused(Refusal::Unfit(known.key.key_id, unfit)),
        },
        Checked::WrongSecret(holder) => Decision::Refused(Refusal::WrongSecret(holder.key_id)),
        Checked::Unknown(key_id) => Decision::Refused(Refusal::Unknown(*key_id)),
    }
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

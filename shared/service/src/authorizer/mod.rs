//! From a presented credential to a decision.

pub mod cache;
pub mod call_counter;
pub mod deferred;
pub mod metrics;
pub mod settings;
pub mod verifier;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use keygate_core::credential::{Brand, Credential, CredentialForm, Malformed};
use keygate_core::credential_class::CredentialKind;
use keygate_core::decision::{Decision, Refusal};
use keygate_core::error::Error;
use keygate_core::key::KeyOwner;
use keygate_core::legacy_credential::{LegacyCredential, LegacyRules};
use keygate_core::verification::{InactiveReason, MatchedHash, Verification};

use crate::authorizer::cache::{Cache, Fingerprint, Verdict};
use crate::authorizer::deferred::{KeyUsage, Rehash};
use crate::authorizer::verifier::{TimedVerification, Verifier};

/// A decision, and what is remembered of how it was made.
#[derive(Debug)]
pub struct AuthorizationResult {
    /// What comes of the credential.
    pub decision: Decision,
    /// The key that the credential names, if there is one.
    pub owner: Option<KeyOwner>,
    /// What was presented, if it is known.
    pub credential: Option<CredentialKind>,
    /// Where the key was looked up.
    pub lookup: LookupSource,
    /// What is to be written of an accepted key.
    pub used: Option<KeyUsage>,
}

/// Where a key was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupSource {
    /// Nowhere: there was nothing to look up.
    None,
    /// In this environment's memory.
    Cache,
    /// In this environment's memory, because the store failed.
    Stale,
    /// In the store, which took that long.
    Store(Duration),
}

impl AuthorizationResult {
    /// The refusal of a request that names no key.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Self {
        let decision = Decision::Refused(refusal);
        Self { decision, owner: None, credential: None, lookup: LookupSource::None, used: None }
    }

    fn new(
        presented: &ParsedCredential,
        verification: &Verification,
        lookup: LookupSource,
        now: DateTime<Utc>,
    ) -> Self {
        let credential = Some(presented.kind());
        Self {
            decision: Decision::new(verification, now),
            owner: verification.owner(),
            credential,
            lookup,
            used: None,
        }
    }
}

/// The one header of a request that has a credential. Its value is never shown by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CredentialHeader<'a> {
    /// The value of `Authorization`.
    Authorization(&'a str),
    /// The value of the header that is for legacy keys alone.
    Legacy(&'a str),
}

impl fmt::Debug for CredentialHeader<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Authorization(_) => "Authorization([REDACTED])",
            Self::Legacy(_) => "Legacy([REDACTED])",
        })
    }
}

/// What a request presents, once it is known to be of the right form.
#[derive(Debug)]
enum ParsedCredential {
    Credential(Credential),
    /// And when it stops working.
    LegacyKey(LegacyCredential, DateTime<Utc>),
}

impl ParsedCredential {
    fn kind(&self) -> CredentialKind {
        match self {
            Self::Credential(Credential { form: CredentialForm::ApiKey, .. }) => CredentialKind::ApiKey,
            Self::Credential(_) => CredentialKind::AccessToken,
            Self::LegacyKey(..) => CredentialKind::LegacyKey,
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Credential(credential) => Fingerprint::of(credential),
            Self::LegacyKey(key, _) => Fingerprint::of_legacy(key),
        }
    }
}

/// Checks credentials. It needs one read for each, and none for what is malformed.
#[derive(Debug)]
pub struct Authorizer {
    /// The word credentials begin with.
    pub brand: Brand,
    /// How legacy keys are recognised, if any are honoured.
    pub legacy: Option<LegacyRules>,
    /// What compares them with what is stored.
    pub verifier: Verifier,
    /// The verification results that this environment reuses.
    pub cache: Cache<Verification>,
}

impl Authorizer {
    /// Decides on what a request presents.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the store did not answer in time, and the cache may not be used in its place.
    /// - [`Error::UnknownPepper`]: the stored hash was made under a version that is not listed.
    /// - [`Error::Broken`]: the stored item cannot be read.
    ///
    /// None of them says anything about the credential, and none of them lets it pass.
    pub async fn decide(
        &self,
        header: Option<CredentialHeader<'_>>,
        now: DateTime<Utc>,
    ) -> Result<AuthorizationResult, Error> {
        let presented = match self.read(header, now) {
            Ok(presented) => presented,
            Err(refusal) => return Ok(AuthorizationResult::refused(refusal)),
        };
        let fingerprint = presented.fingerprint();
        if let Some(verification) =
            self.cache.fresh(&fingerprint, now).filter(|verification| verification.holds(now))
        {
            return Ok(AuthorizationResult::new(&presented, &verification, LookupSource::Cache, now));
        }
        let verified = match &presented {
            ParsedCredential::Credential(credential) => self.verifier.verify(credential, now).await,
            ParsedCredential::LegacyKey(key, sunset) => self.verifier.verify_legacy(key, *sunset).await,
        };
        let verified = match verified {
            Ok(verified) => verified,
            Err(failure @ Error::Unavailable { .. }) => {
                // Only what was accepted: a refusal is no reason to do without the store.
                let stale =
                    self.cache.stale(&fingerprint, now).filter(|verification| verification.holds(now));
                let stale = stale.ok_or(failure)?;
                let key_id = stale.owner().map(|owner| owner.key_id.to_string());
                tracing::warn!(key_id, "decided without the store, which fails");
                return Ok(AuthorizationResult::new(&presented, &stale, LookupSource::Stale, now));
            }
            Err(failure) => return Err(failure),
        };
        let TimedVerification { verification, matched, took } = verified;
        let mut decided = AuthorizationResult::new(&presented, &verification, LookupSource::Store(took), now);
        if let (Decision::Accepted(_), Verification::Verified(known)) = (&decided.decision, &verification) {
            let rehash = match (&presented, matched) {
                (ParsedCredential::Credential(credential), Some(matched)) => self.rehash(credential, matched),
                _ => None,
            };
            decided.used = Some(KeyUsage::of(known, rehash));
        }
        let verdict = match decided.decision {
            Decision::Accepted(_) => Verdict::Accepted,
            Decision::Refused(_) => Verdict::Refused,
        };
        self.cache.remember(fingerprint, verdict, verification, now);
        Ok(decided)
    }

    /// Takes a header apart: `Bearer` in any case, then the credential (RFC 6750, section 2.1; RFC 9110, section 11.1); or
    /// in the header that is for them, a legacy key as it is.
    fn read(
        &self,
        header: Option<CredentialHeader<'_>>,
        now: DateTime<Utc>,
    ) -> Result<ParsedCredential, Refusal> {
        let (text, malformed) = match header.ok_or(Refusal::Missing)? {
            CredentialHeader::Authorization(value) => {
                let value = value.trim();
                if value.is_empty() {
                    return Err(Refusal::Missing);
                }
                let (scheme, token) = value.split_once(' ').ok_or(Refusal::NotBearer)?;
                if !scheme.eq_ignore_ascii_case("bearer") {
                    return Err(Refusal::NotBearer);
                }
                let token = token.trim_start_matches(' ');
                match Credential::parse(token, &self.brand) {
                    Ok(Credential { key_id, form: CredentialForm::RefreshToken(_), .. }) => {
                        return Err(Refusal::Inactive(key_id, InactiveReason::RefreshToken));
                    }
                    Ok(credential) => return Ok(ParsedCredential::Credential(credential)),
                    Err(malformed) => (token, malformed),
                }
            }
            CredentialHeader::Legacy(value) => {
                let text = value.trim();
                (text, Credential::parse(text, &self.brand).err().unwrap_or(Malformed::Form))
            }
        };
        match &self.legacy {
            // What has this deployment's brand is none of an earlier mechanism.
            Some(legacy) if malformed == Malformed::Brand => {
                let key = legacy.recognise(text).ok_or(Refusal::Malformed(malformed))?;
                if legacy.sunset <= now {
                    Err(Refusal::Sunset)
                } else {
                    Ok(ParsedCredential::LegacyKey(key, legacy.sunset))
                }
            }
            _ => Err(Refusal::Malformed(malformed)),
        }
    }

    /// The renewal of a key's hash that is not under the current pepper. A secret that works only until an overlap ends is
    /// not worth one.
    fn rehash(&self, credential: &Credential, matched: MatchedHash) -> Option<Rehash> {
        let renewed =
            self.verifier.peppers.renew(credential, &matched.hash).filter(|_| matched.is_current)?;
        Some(Rehash { stored: matched.hash, renewed })
    }
}

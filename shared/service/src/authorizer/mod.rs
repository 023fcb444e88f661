//! The authorizer: from a presented credential to a decision and its deferred work.

pub mod cache;
pub mod call_counter;
pub mod decision_log;
pub mod deferred;
pub mod limits;
pub mod management;
pub mod metrics;
pub mod presented;
pub mod settings;
pub mod usage_counter;
pub mod verifier;
pub mod written_uses;

use std::fmt;

use chrono::{DateTime, Utc};
use keygate_core::audit_event::CallOutcome;
use keygate_core::authorization::Authorization;
use keygate_core::context::RequestOrigin;
use keygate_core::credential::{Brand, Credential, CredentialForm, Malformed};
use keygate_core::credential_class::CredentialKind;
use keygate_core::decision::{Decision, Refusal};
use keygate_core::error::Error;
use keygate_core::key::KeyOwner;
use keygate_core::legacy_credential::LegacyRules;
use keygate_core::pepper::Peppers;
use keygate_core::verification::{InactiveReason, MatchedHash, Verification};

use crate::authorizer::cache::{Cache, Verdict};
use crate::authorizer::call_counter::KeyCall;
use crate::authorizer::deferred::{DeferredWork, KeyUsage, Rehash};
use crate::authorizer::metrics::LookupSource;
use crate::authorizer::presented::PresentedCredential;
use crate::authorizer::verifier::{TimedVerification, Verifier};

/// A decision, and how it was made.
#[derive(Debug)]
pub struct AuthorizationResult {
    /// Whether the credential is accepted.
    pub decision: Decision,
    /// The owner of the key that the credential names, if the key exists.
    pub owner: Option<KeyOwner>,
    /// The kind of credential that was presented, if it could be parsed.
    pub credential: Option<CredentialKind>,
    /// The source of the verification.
    pub lookup: LookupSource,
    /// The use of an accepted key, to be written.
    pub usage: Option<KeyUsage>,
}

impl AuthorizationResult {
    /// The refusal of a request without a credential that could be verified.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Self {
        let decision = Decision::Refused(refusal);
        Self { decision, owner: None, credential: None, lookup: LookupSource::None, usage: None }
    }

    /// The deferred work for the decision. `origin` and `outcome` belong to the call, which was decided `at` that time;
    /// `is_limited` says whether the limits of the key refused it.
    #[must_use]
    pub fn deferred_work(
        self,
        origin: RequestOrigin,
        outcome: CallOutcome,
        is_limited: bool,
        at: DateTime<Utc>,
    ) -> DeferredWork {
        let Self { decision, owner, credential, lookup, usage } = self;
        let works = matches!(decision, Decision::Accepted(_)) && !is_limited;
        let usage = usage.map(|usage| KeyUsage { from: origin.source.clone(), ..usage });
        let call = owner.map(|owner| KeyCall { owner, credential, origin, outcome, works, at });
        DeferredWork { at, outcome: Some(outcome), lookup, call, usage }
    }

    fn new(
        presented: &PresentedCredential,
        verification: &Verification,
        lookup: LookupSource,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            decision: Decision::new(verification, now),
            owner: verification.owner(),
            credential: presented.kind(),
            lookup,
            usage: None,
        }
    }

    /// The decision on a credential that was compared with the stored one, and the use of its key if it is accepted.
    #[must_use]
    pub fn of_stored(
        presented: &PresentedCredential,
        verified: &TimedVerification,
        peppers: &Peppers,
        now: DateTime<Utc>,
    ) -> Self {
        let TimedVerification { verification, matched, took } = verified;
        let mut result = Self::new(presented, verification, LookupSource::Store(*took), now);
        if let (Decision::Accepted(_), Verification::Verified(known)) = (&result.decision, verification) {
            let rehash = match (presented, matched) {
                (PresentedCredential::Credential(credential), Some(matched)) => {
                    rehash(peppers, credential, matched)
                }
                _ => None,
            };
            result.usage = Some(KeyUsage::new(known, rehash));
        }
        result
    }
}

/// The header of a request that carries the credential. `Debug` redacts its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CredentialHeader<'a> {
    /// The value of `Authorization`.
    Authorization(&'a str),
    /// The credential alone, which AppSync passes without its scheme.
    Bare(&'a str),
    /// The value of the header for legacy keys.
    Legacy(&'a str),
}

impl fmt::Debug for CredentialHeader<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Authorization(_) => "Authorization([REDACTED])",
            Self::Bare(_) => "Bare([REDACTED])",
            Self::Legacy(_) => "Legacy([REDACTED])",
        })
    }
}

/// Decides on the credential of a call: the authorizer of the adopters' APIs, and that of the management API.
pub trait DecidesOnCalls {
    /// How legacy keys are recognised, if the deployment accepts any.
    fn legacy(&self) -> Option<&LegacyRules>;

    /// Decides on the credential in the header of a request to the API `api_id`.
    ///
    /// # Errors
    ///
    /// There is no decision, because something failed. An error says nothing about the credential, and never accepts it.
    fn decide(
        &self,
        api_id: &str,
        header: Option<CredentialHeader<'_>>,
        now: DateTime<Utc>,
    ) -> impl Future<Output = Result<AuthorizationResult, Error>>;
}

impl DecidesOnCalls for Authorizer {
    fn legacy(&self) -> Option<&LegacyRules> {
        self.legacy.as_ref()
    }

    async fn decide(
        &self,
        _api_id: &str,
        header: Option<CredentialHeader<'_>>,
        now: DateTime<Utc>,
    ) -> Result<AuthorizationResult, Error> {
        let mut result = self.decide(header, now).await?;
        // Only the management API needs to know it.
        if let Decision::Accepted(caller) = &mut result.decision
            && let Some(key) = &mut caller.key
        {
            key.state = None;
        }
        Ok(result)
    }
}

/// Decides on credentials. A decision takes one read, or none for a malformed or cached credential.
#[derive(Debug)]
pub struct Authorizer {
    /// The prefix of credentials.
    pub brand: Brand,
    /// How legacy keys are recognised, if the deployment accepts any.
    pub legacy: Option<LegacyRules>,
    /// Verifies credentials against the stored ones.
    pub verifier: Verifier,
    /// The verifications that this environment may reuse.
    pub cache: Cache<Verification>,
}

impl Authorizer {
    /// Decides on the credential in a request's header.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the store did not respond in time, and the cache may not be used in its place.
    /// - [`Error::UnknownPepper`]: the stored hash is under a pepper version that is not listed.
    /// - [`Error::Broken`]: the stored item cannot be read.
    ///
    /// An error says nothing about the credential, and never accepts it.
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
        let verified = match self.verifier.verify_presented(&presented, now).await {
            Ok(verified) => verified,
            Err(failure @ Error::Unavailable { .. }) => {
                // The cache has stale entries of accepted credentials only.
                let stale =
                    self.cache.stale(&fingerprint, now).filter(|verification| verification.holds(now));
                let stale = stale.ok_or(failure)?;
                let key_id = stale.owner().map(|owner| owner.key_id.to_string());
                tracing::warn!(key_id, "store unavailable: stale cached verification used");
                return Ok(AuthorizationResult::new(&presented, &stale, LookupSource::Stale, now));
            }
            Err(failure) => return Err(failure),
        };
        let result = AuthorizationResult::of_stored(&presented, &verified, &self.verifier.peppers, now);
        let verdict = match result.decision {
            Decision::Accepted(_) => Verdict::Accepted,
            Decision::Refused(_) => Verdict::Refused,
        };
        self.cache.remember(fingerprint, verdict, verified.verification, now);
        Ok(result)
    }

    /// Reads the credential in a header: a bearer token in `Authorization` (RFC 6750, section 2.1), or in the header that is
    /// for them, a legacy key as it is.
    fn read(
        &self,
        header: Option<CredentialHeader<'_>>,
        now: DateTime<Utc>,
    ) -> Result<PresentedCredential, Refusal> {
        let header = header.ok_or(Refusal::Missing)?;
        let text = match header {
            CredentialHeader::Authorization(value) => {
                match Authorization::parse(value).ok_or(Refusal::Missing)? {
                    // The scheme alone names no token.
                    Authorization::Bearer("") | Authorization::Basic(_) | Authorization::Other => {
                        return Err(Refusal::NotBearer);
                    }
                    Authorization::Bearer(token) => token,
                }
            }
            CredentialHeader::Bare(value) | CredentialHeader::Legacy(value) => value.trim(),
        };
        let presented = PresentedCredential::parse(text, &self.brand, self.legacy.as_ref(), now)?;
        let PresentedCredential::Credential(Credential { key_id, form, .. }) = &presented else {
            return Ok(presented);
        };
        match (header, form) {
            (CredentialHeader::Legacy(_), _) => Err(Refusal::Malformed(Malformed::Form)),
            (_, CredentialForm::ApiKey | CredentialForm::AccessToken(_)) => Ok(presented),
            (_, CredentialForm::RefreshToken(_)) => {
                Err(Refusal::Inactive(*key_id, InactiveReason::RefreshToken))
            }
            (_, CredentialForm::Session(_) | CredentialForm::PageCode(_)) => {
                Err(Refusal::Inactive(*key_id, InactiveReason::Session))
            }
        }
    }
}

/// The renewal of a key's hash that is not under the current pepper. The old secret of an overlap is not rehashed, because it
/// ends soon.
fn rehash(peppers: &Peppers, credential: &Credential, matched: &MatchedHash) -> Option<Rehash> {
    let renewed = peppers.renew(credential, &matched.hash).filter(|_| matched.is_current)?;
    Some(Rehash { stored: matched.hash.clone(), renewed })
}

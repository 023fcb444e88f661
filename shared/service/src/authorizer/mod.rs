//! The authorizer: from a presented credential to a decision and its deferred work.

pub mod cache;
pub mod call_counter;
pub mod deferred;
pub mod limits;
pub mod management;
pub mod metrics;
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
use keygate_core::legacy_credential::{LegacyCredential, LegacyRules};
use keygate_core::verification::{InactiveReason, MatchedHash, Verification};

use crate::authorizer::cache::{Cache, Fingerprint, Verdict};
use crate::authorizer::call_counter::KeyCall;
use crate::authorizer::deferred::{DeferredWork, KeyUsage, Rehash};
use crate::authorizer::metrics::LookupSource;
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

    /// Writes the decision to the log. `outcome` is that of the call, which may lie outside of the key's endpoint rules. The user
    /// of a person or a session is shown, because the key is not theirs.
    pub fn log(&self, request_id: &str, outcome: CallOutcome) {
        let key_id = self.owner.as_ref().map(|owner| owner.key_id.to_string());
        match (outcome, &self.decision) {
            (CallOutcome::Allowed, Decision::Accepted(caller))
                if caller.key.is_none() || caller.session.is_some() =>
            {
                let user_id = caller.user_id.as_str();
                tracing::info!(request_id, user_id, decision = "allowed");
            }
            (CallOutcome::Allowed, _) => tracing::info!(request_id, key_id, decision = "allowed"),
            (CallOutcome::Refused(reason), Decision::Refused(refusal)) => {
                tracing::info!(request_id, key_id, decision = "refused", reason, detail = %refusal);
            }
            (CallOutcome::Refused(reason), Decision::Accepted(_)) => {
                tracing::info!(request_id, key_id, decision = "refused", reason);
            }
        }
    }

    /// The deferred work for the decision. `origin` and `outcome` belong to the call, which was decided `at` that time.
    #[must_use]
    pub fn deferred_work(
        self,
        origin: RequestOrigin,
        outcome: CallOutcome,
        at: DateTime<Utc>,
    ) -> DeferredWork {
        let Self { decision, owner, credential, lookup, usage } = self;
        let works = matches!(decision, Decision::Accepted(_));
        let usage = usage.map(|usage| KeyUsage { from: origin.source.clone(), ..usage });
        let call = owner.map(|owner| KeyCall { owner, credential, origin, outcome, works, at });
        DeferredWork { at, outcome: Some(outcome), lookup, call, usage }
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
            usage: None,
        }
    }
}

/// The header of a request that carries the credential. `Debug` redacts its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CredentialHeader<'a> {
    /// The value of `Authorization`.
    Authorization(&'a str),
    /// The value of the header for legacy keys.
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

/// A credential that is well-formed, and not yet verified.
#[derive(Debug)]
enum ParsedCredential {
    Credential(Credential),
    /// A legacy key, and the sunset.
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
        let verified = match &presented {
            ParsedCredential::Credential(credential) => self.verifier.verify(credential, now).await,
            ParsedCredential::LegacyKey(key, sunset) => self.verifier.verify_legacy(key, *sunset).await,
        };
        let verified = match verified {
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
        let TimedVerification { verification, matched, took } = verified;
        let mut result = AuthorizationResult::new(&presented, &verification, LookupSource::Store(took), now);
        if let (Decision::Accepted(_), Verification::Verified(verified)) = (&result.decision, &verification) {
            let rehash = match (&presented, matched) {
                (ParsedCredential::Credential(credential), Some(matched)) => self.rehash(credential, matched),
                _ => None,
            };
            result.usage = Some(KeyUsage::new(verified, rehash));
        }
        let verdict = match result.decision {
            Decision::Accepted(_) => Verdict::Accepted,
            Decision::Refused(_) => Verdict::Refused,
        };
        self.cache.remember(fingerprint, verdict, verification, now);
        Ok(result)
    }

    /// Reads the credential in a header: a bearer token in `Authorization` (RFC 6750, section 2.1), or in the header that is
    /// for them, a legacy key as it is.
    fn read(
        &self,
        header: Option<CredentialHeader<'_>>,
        now: DateTime<Utc>,
    ) -> Result<ParsedCredential, Refusal> {
        let (text, malformed) = match header.ok_or(Refusal::Missing)? {
            CredentialHeader::Authorization(value) => {
                let token = match Authorization::parse(value).ok_or(Refusal::Missing)? {
                    // The scheme alone names no token.
                    Authorization::Bearer("") | Authorization::Basic(_) | Authorization::Other => {
                        return Err(Refusal::NotBearer);
                    }
                    Authorization::Bearer(token) => token,
                };
                match Credential::parse(token, &self.brand) {
                    Ok(Credential { key_id, form: CredentialForm::RefreshToken(_), .. }) => {
                        return Err(Refusal::Inactive(key_id, InactiveReason::RefreshToken));
                    }
                    Ok(Credential {
                        key_id,
                        form: CredentialForm::Session(_) | CredentialForm::PageCode(_),
                        ..
                    }) => return Err(Refusal::Inactive(key_id, InactiveReason::Session)),
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
            // A text with this deployment's brand is never a legacy key.
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

    /// The renewal of a key's hash that is not under the current pepper. The old secret of an overlap is not rehashed, because
    /// it ends soon.
    fn rehash(&self, credential: &Credential, matched: MatchedHash) -> Option<Rehash> {
        let renewed =
            self.verifier.peppers.renew(credential, &matched.hash).filter(|_| matched.is_current)?;
        Some(Rehash { stored: matched.hash, renewed })
    }
}

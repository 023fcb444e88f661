//! The credential that a request presents, parsed and not yet verified.

use chrono::{DateTime, Utc};
use keygate_core::credential::{Brand, Credential, CredentialForm, Malformed};
use keygate_core::credential_class::CredentialKind;
use keygate_core::decision::Refusal;
use keygate_core::legacy_credential::{LegacyCredential, LegacyRules};

use crate::authorizer::cache::Fingerprint;

/// A credential that is well-formed, and not yet verified.
#[derive(Debug)]
pub enum PresentedCredential {
    /// A credential of this deployment.
    Credential(Credential),
    /// A legacy key, and the sunset.
    LegacyKey(LegacyCredential, DateTime<Utc>),
}

impl PresentedCredential {
    /// Parses the text of a credential. `legacy` has the rules that recognize legacy keys, if the deployment accepts any.
    ///
    /// # Errors
    ///
    /// - [`Refusal::Malformed`]: the text is no credential of this deployment.
    /// - [`Refusal::Sunset`]: it has the shape of a legacy key, and the sunset has passed.
    pub fn parse(
        text: &str,
        brand: &Brand,
        legacy: Option<&LegacyRules>,
        now: DateTime<Utc>,
    ) -> Result<Self, Refusal> {
        let malformed = match Credential::parse(text, brand) {
            Ok(credential) => return Ok(Self::Credential(credential)),
            Err(malformed) => malformed,
        };
        // A text with this deployment's brand is never a legacy key.
        let legacy = legacy.filter(|_| malformed == Malformed::Brand).ok_or(Refusal::Malformed(malformed))?;
        let key = legacy.recognise(text).ok_or(Refusal::Malformed(malformed))?;
        if legacy.sunset <= now { Err(Refusal::Sunset) } else { Ok(Self::LegacyKey(key, legacy.sunset)) }
    }

    /// The kind of the credential, if it is one that calls the adopters' APIs.
    #[must_use]
    pub fn kind(&self) -> Option<CredentialKind> {
        match self {
            Self::Credential(credential) => match credential.form {
                CredentialForm::ApiKey => Some(CredentialKind::ApiKey),
                CredentialForm::AccessToken(_) => Some(CredentialKind::AccessToken),
                CredentialForm::RefreshToken(_)
                | CredentialForm::Session(_)
                | CredentialForm::PageCode(_) => None,
            },
            Self::LegacyKey(..) => Some(CredentialKind::LegacyKey),
        }
    }

    /// The name of the credential in a cache of verifications.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Credential(credential) => Fingerprint::of(credential),
            Self::LegacyKey(key, _) => Fingerprint::of_legacy(key),
        }
    }
}

//! Reads the stored items of a credential, and verifies the credential against them.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use keygate_core::credential::{Credential, CredentialForm};
use keygate_core::error::Error;
use keygate_core::legacy_credential::LegacyCredential;
use keygate_core::pepper::Peppers;
use keygate_core::verification::{self, MatchedHash, Verification};

use crate::authorizer::presented::PresentedCredential;
use crate::store::reader::CredentialReader;

/// Verifies credentials. Each verification takes one strongly consistent read: of a key; of a token, its family and its key;
/// or of a legacy key, by its hashes under all peppers.
#[derive(Debug)]
pub struct Verifier {
    /// The peppers of the stored hashes.
    pub peppers: Peppers,
    /// Reads keys, tokens and legacy keys.
    pub reader: CredentialReader,
}

/// The result of a verification, and how long the read took.
#[derive(Debug)]
pub struct TimedVerification {
    /// The result.
    pub verification: Verification,
    /// The stored hash that an API key matched.
    pub matched: Option<MatchedHash>,
    /// How long the read took.
    pub took: Duration,
}

impl Verifier {
    /// Verifies an API key or a token against the stored item with its id. A session or a page code is unknown here, and takes no
    /// read.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the store did not respond in time.
    /// - [`Error::UnknownPepper`]: the stored hash is under a pepper version that is not listed.
    /// - [`Error::Broken`]: the stored item cannot be read.
    ///
    /// An error says nothing about the credential, and never accepts it.
    pub async fn verify(
        &self,
        credential: &Credential,
        now: DateTime<Utc>,
    ) -> Result<TimedVerification, Error> {
        let started = Instant::now();
        match credential.form {
            CredentialForm::ApiKey => {
                let stored = self.reader.hashed(credential.key_id).await?;
                let took = started.elapsed();
                let (verification, matched) =
                    verification::verify_key(&self.peppers, credential, stored, now)?;
                Ok(TimedVerification { verification, matched, took })
            }
            CredentialForm::AccessToken(token_id) | CredentialForm::RefreshToken(token_id) => {
                let (key, token) = self.reader.with_key(credential.key_id, token_id, now).await?;
                let took = started.elapsed();
                let verification = verification::verify_token(&self.peppers, credential, key, token)?;
                Ok(TimedVerification { verification, matched: None, took })
            }
            // Only the authorizer of the management API knows sessions, and no API a page code.
            CredentialForm::Session(_) | CredentialForm::PageCode(_) => {
                let verification = Verification::Unknown(Some(credential.key_id));
                Ok(TimedVerification { verification, matched: None, took: Duration::ZERO })
            }
        }
    }

    /// Verifies a credential of any kind that the adopters' APIs accept, or a refresh token. A session or a page code is unknown.
    ///
    /// # Errors
    ///
    /// See [`Self::verify`].
    pub async fn verify_presented(
        &self,
        presented: &PresentedCredential,
        now: DateTime<Utc>,
    ) -> Result<TimedVerification, Error> {
        match presented {
            PresentedCredential::Credential(credential) => self.verify(credential, now).await,
            PresentedCredential::LegacyKey(key, sunset) => self.verify_legacy(key, *sunset).await,
        }
    }

    /// Verifies a legacy key, which works until the sunset. It is looked up by its hashes, so there is no hash to compare.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the store did not respond in time.
    /// - [`Error::Broken`]: the stored item cannot be read.
    pub async fn verify_legacy(
        &self,
        key: &LegacyCredential,
        sunset: DateTime<Utc>,
    ) -> Result<TimedVerification, Error> {
        let started = Instant::now();
        let stored = self.reader.legacy(&self.peppers.hashes_of_legacy(key)).await?;
        let took = started.elapsed();
        let verification = verification::verify_legacy_key(stored, sunset);
        Ok(TimedVerification { verification, matched: None, took })
    }
}

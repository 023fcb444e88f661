//! Reads what is stored of a credential, and compares the two.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use keygate_core::credential::{Credential, CredentialForm};
use keygate_core::error::Error;
use keygate_core::legacy_credential::LegacyCredential;
use keygate_core::pepper::Peppers;
use keygate_core::verification::{self, MatchedHash, Verification};

use crate::store::reader::CredentialReader;
/// Compares credentials with what is stored. Each takes one strongly consistent read: of a key, or at once of a token, its
/// family and its key; or of a legacy key, under every pepper.
#[derive(Debug)]
pub struct Verifier {
    /// What stored hashes were made under.
    pub peppers: Peppers,
    /// Where keys and tokens are.
    pub reader: CredentialReader,
}

/// What was found.
#[derive(Debug)]
pub struct TimedVerification {
    /// What came of the comparison.
    pub verification: Verification,
    /// The stored hash of a key that it matched.
    pub matched: Option<MatchedHash>,
    /// How long the store took.
    pub took: Duration,
}

impl Verifier {
    /// Compares a credential with what is stored under its id.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the store did not answer in time.
    /// - [`Error::UnknownPepper`]: the stored hash was made under a version that is not listed.
    /// - [`Error::Broken`]: the stored item cannot be read.
    ///
    /// None of them says anything about the credential, and none of them lets it pass.
    pub async fn verify(
        &self,
        credential: &Credential,
        now: DateTime<Utc>,
    ) -> Result<TimedVerification, Error> {
        let asked = Instant::now();
        match credential.form {
            CredentialForm::ApiKey => {
                let stored = self.reader.hashed(credential.key_id).await?;
                let took = asked.elapsed();
                let (verification, matched) =
                    verification::verify_key(&self.peppers, credential, stored, now)?;
                Ok(TimedVerification { verification, matched, took })
            }
            CredentialForm::AccessToken(token_id) | CredentialForm::RefreshToken(token_id) => {
                let (key, token) = self.reader.with_key(credential.key_id, token_id, now).await?;
                let took = asked.elapsed();
                let verification = verification::verify_token(&self.peppers, credential, key, token)?;
                Ok(TimedVerification { verification, matched: None, took })
            }
        }
    }

    /// Looks a legacy key up that works until the sunset. It is found by its hash, so that there is nothing to compare.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the store did not answer in time.
    /// - [`Error::Broken`]: the stored item cannot be read.
    pub async fn verify_legacy(
        &self,
        key: &LegacyCredential,
        sunset: DateTime<Utc>,
    ) -> Result<TimedVerification, Error> {
        let asked = Instant::now();
        let stored = self.reader.legacy(&self.peppers.hashes_of_legacy(key)).await?;
        let took = asked.elapsed();
        let verification = verification::verify_legacy_key(stored, sunset);
        Ok(TimedVerification { verification, matched: None, took })
    }
}

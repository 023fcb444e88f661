//! Signing JWT access tokens (RFC 9068) for the APIs that the deployment names.

use keygate_core::audience::Audience;
use keygate_core::error::Error;
use keygate_core::jwt::{Claims, compact};
use keygate_core::key::Key;
use keygate_core::token::Token;
use secrecy::SecretString;

use crate::aws::signing_key::SigningKey;
use crate::tokens::OAuthError;
use crate::tokens::settings::JwtSettings;

/// Signs JWTs.
#[derive(Debug)]
pub struct JwtSigner {
    /// The KMS key that signs.
    pub key: SigningKey,
    /// The audiences, and the maximum life.
    pub settings: JwtSettings,
}

impl JwtSigner {
    /// The audience that a client names as its resource (RFC 8707, section 2).
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidTarget`]: the deployment does not list it. A malformed one is never listed.
    pub fn audience(&self, resource: &str) -> Result<&Audience, OAuthError> {
        let mut listed = self.settings.audiences.iter();
        listed
            .find(|audience| audience.as_str() == resource)
            .ok_or(OAuthError::InvalidTarget("The resource is none for which this server issues tokens."))
    }

    /// The text of a token of `key` for an audience.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`], [`Error::Broken`]: see [`SigningKey::public`] and [`SigningKey::sign`].
    pub async fn sign(
        &self,
        issuer: &str,
        audience: &Audience,
        key: &Key,
        token: &Token,
    ) -> Result<SecretString, Error> {
        let kid = self.key.public().await?.kid();
        let input = Claims::new(issuer, audience, key, token).signing_input(kid);
        let signature = self.key.sign(&input).await?;
        Ok(compact(&input, &signature).into())
    }
}

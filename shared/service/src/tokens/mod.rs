//! What can be done with access and refresh tokens: one use case a file.
//!
//! A key's owner trades the key for tokens that work for a while, may carry fewer scopes, and can be revoked while the key
//! stays as it is. The interface is OAuth 2.0 (RFC 6749, sections 4.4 and 6; RFC 7009; RFC 7662; RFC 8414), in which a key
//! is a client: its id is the client's, its text the client's secret.

pub mod client;
pub mod introspect;
pub mod issue;
pub mod list;
pub mod metadata;
pub mod parameters;
pub mod revoke;
pub mod settings;

use keygate_core::credential_class::CredentialClass;
use keygate_core::credential_class::CredentialKind;
use keygate_core::error::Error;
use keygate_core::key::KeyOwner;
use keygate_core::verification::{InactiveReason, WRONG_SECRET};
use thiserror::Error as ThisError;

/// Why a request of an OAuth client was refused (RFC 6749, section 5.2; RFC 7009, section 2.2.1). Nothing was changed, unless
/// a variant says otherwise.
#[derive(Debug, ThisError)]
pub enum OAuthError {
    /// A parameter is missing, there twice, or not what it must be. The text is for the client.
    #[error("invalid request")]
    InvalidRequest(String),
    /// The client is not who it says. The reason is for the log.
    #[error("invalid client: {0}")]
    InvalidClient(&'static str, client::ClientAuthScheme),
    /// What the client presented may not do this, whatever its scopes.
    #[error("{0} may not do this")]
    UnauthorizedClient(CredentialClass),
    /// The client names a key that exists, and the key does not work or has another secret.
    #[error("invalid client: {}", .0.reason)]
    RefusedClient(Box<RefusedCredential>, client::ClientAuthScheme),
    /// The refresh token is of a key that exists, and does not work or has another secret.
    #[error("invalid grant: {}", .0.reason)]
    RefusedGrant(Box<RefusedCredential>),
    /// The refresh token does not work, or is another client's. The reason is for the log. Where it was used before, its
    /// family is revoked by now.
    #[error("invalid grant: {0}")]
    InvalidGrant(&'static str),
    /// There is no such grant.
    #[error("unsupported grant type")]
    UnsupportedGrantType,
    /// A scope is none, or more than the key or the refresh token has. The text is for the client.
    #[error("invalid scope")]
    InvalidScope(String),
    /// What is to be revoked is an API key.
    #[error("an API key, which is revoked over the management API alone")]
    UnsupportedTokenType,
    /// The store or something else failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A credential of a key that exists, which does not work: what the audit trail of the key has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCredential {
    /// Whose key it names.
    pub owner: KeyOwner,
    /// What it is, if it is one of those that open APIs.
    pub credential: Option<CredentialKind>,
    /// Why it does not work, in the authorizer's words.
    pub reason: &'static str,
}

impl RefusedCredential {
    /// One with another secret than the key or the token has.
    pub(crate) fn of_wrong_secret(owner: KeyOwner, credential: Option<CredentialKind>) -> Self {
        Self { owner, credential, reason: WRONG_SECRET }
    }

    /// One with the right secret.
    pub(crate) fn of_unfit(
        owner: KeyOwner,
        credential: Option<CredentialKind>,
        reason: InactiveReason,
    ) -> Self {
        Self { owner, credential, reason: reason.word() }
    }
}

impl OAuthError {
    /// The credential that was refused although its key exists, if it is that.
    #[must_use]
    pub fn refused(&self) -> Option<&RefusedCredential> {
        match self {
            Self::RefusedClient(refused, _) | Self::RefusedGrant(refused) => Some(refused),
            Self::InvalidRequest(_)
            | Self::InvalidClient(..)
            | Self::UnauthorizedClient(_)
            | Self::InvalidGrant(_)
            | Self::UnsupportedGrantType
            | Self::InvalidScope(_)
            | Self::UnsupportedTokenType
            | Self::Failed(_) => None,
        }
    }
}

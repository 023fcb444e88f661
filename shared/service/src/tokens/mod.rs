//! Use cases of access and refresh tokens, one per file.
//!
//! A client exchanges a key for tokens that expire soon, may carry fewer scopes, and can be revoked without changing the
//! key. Introspection also serves API keys and legacy keys. The interface is OAuth 2.0 (RFC 6749, sections 4.4 and 6; RFC 7009;
//! RFC 7662; RFC 8414), in which a key is a client: its id is the client id, and its text is the client secret. A client that
//! names an API (RFC 8707) gets a JWT for it (RFC 9068), which the API verifies by itself.

pub mod client;
pub mod introspect;
pub mod introspection;
pub mod issue;
pub mod jwt_signer;
pub mod list;
pub mod parameters;
pub mod revoke;
pub mod server_metadata;
pub mod settings;

use keygate_core::credential_class::CredentialClass;
use keygate_core::credential_class::CredentialKind;
use keygate_core::error::Error;
use keygate_core::key::KeyOwner;
use keygate_core::verification::{InactiveReason, WRONG_SECRET};
use thiserror::Error as ThisError;

/// Why a request of an OAuth client was refused (RFC 6749, section 5.2; RFC 7009, section 2.2.1; RFC 8707,
/// section 2). A refusal changes nothing,
/// unless the variant says otherwise.
#[derive(Debug, ThisError)]
pub enum OAuthError {
    /// A parameter is missing, repeated or invalid. The text is for the client.
    #[error("invalid request")]
    InvalidRequest(String),
    /// The client is not authenticated. The reason is for the log.
    #[error("invalid client: {0}")]
    InvalidClient(&'static str, client::ClientAuthScheme),
    /// The presented credential does not allow the operation, whatever its scopes.
    #[error("the operation is not permitted with {0}")]
    UnauthorizedClient(CredentialClass),
    /// The key of the client does not have the scope that the operation requires.
    #[error("the key does not have the scope {0}")]
    InsufficientScope(&'static str),
    /// The client presents an existing key, which does not work or has another secret.
    #[error("invalid client: {}", .0.reason)]
    RefusedClient(Box<RefusedCredential>, client::ClientAuthScheme),
    /// The refresh token belongs to an existing key, and does not work or has another secret.
    #[error("invalid grant: {}", .0.reason)]
    RefusedGrant(Box<RefusedCredential>),
    /// The refresh token does not work, or belongs to another client. The reason is for the log. If the token was used
    /// before, its family is revoked.
    #[error("invalid grant: {0}")]
    InvalidGrant(&'static str),
    /// The grant type is unknown.
    #[error("unsupported grant type")]
    UnsupportedGrantType,
    /// A scope is invalid, or the key or the refresh token does not have it. The text is for the client.
    #[error("invalid scope")]
    InvalidScope(String),
    /// The resource is malformed, repeated, or not one that the client may name. The text is for the client.
    #[error("invalid target: {0}")]
    InvalidTarget(&'static str),
    /// A JWT is requested, and the key has endpoint rules, networks or limits, which an API could not enforce.
    #[error("a JWT for a key with endpoint rules, networks or limits")]
    RestrictedKey,
    /// The token to revoke is an API key.
    #[error("an API key, which only the management API can end")]
    UnsupportedTokenType,
    /// The token to revoke is a JWT.
    #[error("a JWT, which ends by its expiry alone")]
    IrrevocableToken,
    /// The store or another service failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A refused credential whose key exists, for the audit trail of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCredential {
    /// The key and its owner.
    pub owner: KeyOwner,
    /// The kind of the credential, if it is a kind that APIs accept.
    pub credential: Option<CredentialKind>,
    /// The reason, in the authorizer's terms.
    pub reason: &'static str,
}

impl RefusedCredential {
    /// A credential whose secret is wrong.
    pub(crate) fn of_wrong_secret(owner: KeyOwner, credential: Option<CredentialKind>) -> Self {
        Self { owner, credential, reason: WRONG_SECRET }
    }

    /// A credential with the correct secret that does not work.
    pub(crate) fn of_unfit(
        owner: KeyOwner,
        credential: Option<CredentialKind>,
        reason: InactiveReason,
    ) -> Self {
        Self { owner, credential, reason: reason.word() }
    }
}

impl OAuthError {
    /// The refused credential, if its key exists.
    #[must_use]
    pub fn refused(&self) -> Option<&RefusedCredential> {
        match self {
            Self::RefusedClient(refused, _) | Self::RefusedGrant(refused) => Some(refused),
            Self::InvalidRequest(_)
            | Self::InvalidClient(..)
            | Self::UnauthorizedClient(_)
            | Self::InsufficientScope(_)
            | Self::InvalidGrant(_)
            | Self::UnsupportedGrantType
            | Self::InvalidScope(_)
            | Self::InvalidTarget(_)
            | Self::RestrictedKey
            | Self::UnsupportedTokenType
            | Self::IrrevocableToken
            | Self::Failed(_) => None,
        }
    }
}

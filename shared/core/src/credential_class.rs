//! Kinds of credentials, and the classes of them that have the same rights.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which kind of credential was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// The key itself.
    ApiKey,
    /// A token that was made with it.
    AccessToken,
    /// A key of the adopter's earlier mechanism, which works until its sunset.
    LegacyKey,
}

impl CredentialKind {
    /// The kind in one word, as everybody is told.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::AccessToken => "access_token",
            Self::LegacyKey => "legacy_key",
        }
    }

    /// The kind as a sentence begins with it.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::ApiKey => "An API key",
            Self::AccessToken => "An access token",
            Self::LegacyKey => "A legacy key",
        }
    }
}

/// Which secret of an API key was presented, if not its current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OldSecret {
    /// The secret before the last rotation, which works until the overlap ends.
    Previous,
    /// The secret of the user from whom the key was taken over, which works until that overlap ends.
    Transferred,
}

/// What is presented, as far as rights depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialClass {
    /// An API key with its current secret.
    CurrentSecret,
    /// An API key with the secret before its last rotation.
    PreviousSecret,
    /// An API key with the secret of the user from whom it was taken over.
    TransferredSecret,
    /// An access token.
    AccessToken,
    /// A legacy key.
    LegacyKey,
}

impl CredentialClass {
    /// What was presented, by its kind and by which secret it is.
    #[must_use]
    pub fn new(kind: CredentialKind, old_secret: Option<OldSecret>) -> Self {
        match (kind, old_secret) {
            (CredentialKind::ApiKey, None) => Self::CurrentSecret,
            (CredentialKind::ApiKey, Some(OldSecret::Previous)) => Self::PreviousSecret,
            (CredentialKind::ApiKey, Some(OldSecret::Transferred)) => Self::TransferredSecret,
            (CredentialKind::AccessToken, _) => Self::AccessToken,
            (CredentialKind::LegacyKey, _) => Self::LegacyKey,
        }
    }
}

/// What was presented, as a client is told.
impl fmt::Display for CredentialClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::CurrentSecret => "an API key",
            Self::PreviousSecret => "the previous secret of an API key",
            Self::TransferredSecret => "the former user's secret of an API key that was handed over",
            Self::AccessToken => "an access token",
            Self::LegacyKey => "a legacy key",
        })
    }
}

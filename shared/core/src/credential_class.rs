//! Kinds of credentials, and the classes that have the same rights.
//!
//! Three words tell credentials apart, each for one purpose:
//!
//! | word | type | tells apart | used for |
//! | --- | --- | --- | --- |
//! | form | [`CredentialForm`] | API key, access token, refresh token, session, page code | parsing and hashing; it carries the id of the token or session |
//! | kind | [`CredentialKind`] | API key, access token, legacy key, session, person | what backends and the audit trail are told |
//! | class | [`CredentialClass`] | the kinds, and API keys by [`OldSecret`] | [rights](crate::rights) |
//!
//! A legacy key and a token of the identity provider have no form, because their text is not Keygate's. A refresh token and a page
//! code are of no kind, because they never call an API.
//!
//! [`CredentialForm`]: crate::credential::CredentialForm

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of a credential that calls APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// An API key, with its current or an old secret.
    ApiKey,
    /// An access token that was issued for an API key.
    AccessToken,
    /// A key of the adopter's earlier mechanism, which works until the sunset.
    LegacyKey,
    /// A session, with which a user manages their own keys.
    Session,
    /// A token of the identity provider: a person manages keys.
    Person,
}

impl CredentialKind {
    /// The kind in one word, as it is stored and shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::AccessToken => "access_token",
            Self::LegacyKey => "legacy_key",
            Self::Session => "session",
            Self::Person => "person",
        }
    }
}

/// A secret of an API key that is not its current one and still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OldSecret {
    /// The secret before the last rotation, which works until the overlap ends.
    Previous,
    /// The secret of the former user of a key that was handed over, which works until that overlap ends.
    Transferred,
}

/// The class of a credential, on which its rights depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialClass {
    /// An API key with its current secret.
    CurrentSecret,
    /// An API key with the secret before its last rotation.
    PreviousSecret,
    /// An API key with the secret of its former user.
    TransferredSecret,
    /// An access token.
    AccessToken,
    /// A legacy key.
    LegacyKey,
    /// A session.
    Session,
    /// A token of the identity provider.
    Person,
}

impl CredentialClass {
    /// The class of a kind of credential. `old_secret` counts for API keys alone.
    #[must_use]
    pub fn new(kind: CredentialKind, old_secret: Option<OldSecret>) -> Self {
        match (kind, old_secret) {
            (CredentialKind::ApiKey, None) => Self::CurrentSecret,
            (CredentialKind::ApiKey, Some(OldSecret::Previous)) => Self::PreviousSecret,
            (CredentialKind::ApiKey, Some(OldSecret::Transferred)) => Self::TransferredSecret,
            (CredentialKind::AccessToken, _) => Self::AccessToken,
            (CredentialKind::LegacyKey, _) => Self::LegacyKey,
            (CredentialKind::Session, _) => Self::Session,
            (CredentialKind::Person, _) => Self::Person,
        }
    }
}

/// The class as a client is told.
impl fmt::Display for CredentialClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::CurrentSecret => "an API key",
            Self::PreviousSecret => "the previous secret of an API key",
            Self::TransferredSecret => "the former user's secret of an API key that was handed over",
            Self::AccessToken => "an access token",
            Self::LegacyKey => "a legacy key",
            Self::Session => "a session",
            Self::Person => "a token of the identity provider",
        })
    }
}

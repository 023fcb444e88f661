//! The decision on a request: who calls with its credential, or why it is refused.

use chrono::{DateTime, Utc};
use thiserror::Error as ThisError;

use crate::caller::Caller;
use crate::credential::{KeyId, Malformed};
use crate::verification::{InactiveReason, Verification, WRONG_SECRET};

/// What comes of a presented credential.
#[derive(Debug)]
pub enum Decision {
    /// It works, and this is who calls with it.
    Accepted(Box<Caller>),
    /// It is not.
    Refused(Refusal),
}

/// Why a credential was refused. For the log: whoever presented it learns only that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Refusal {
    /// The request has no credential.
    #[error("no credential")]
    Missing,
    /// The request has more than one.
    #[error("more than one credential")]
    Ambiguous,
    /// The request has one in its query string.
    #[error("a credential in the query string")]
    InQuery,
    /// It is presented under another scheme than `Bearer`.
    #[error("not a bearer token")]
    NotBearer,
    /// It is not a credential of this deployment.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// No key has its id, or the key has no such token; or there is no such legacy key, which has no id.
    #[error("unknown {}", .0.map_or("legacy key".to_owned(), |id| format!("key {id}, or token of it")))]
    Unknown(Option<KeyId>),
    /// It is, or could be, a legacy key, and the time of all of them is over.
    #[error("a legacy key after the sunset")]
    Sunset,
    /// The key, or its token, has another secret.
    #[error("wrong secret for {0}")]
    WrongSecret(KeyId),
    /// It is this key or a token of it, and does not work.
    #[error("{word} key or token of {0}", word = .1.word())]
    Inactive(KeyId, InactiveReason),
}

impl Refusal {
    /// The reason in one word, as metrics and the audit trail have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ambiguous => "ambiguous",
            Self::InQuery => "in_query",
            Self::NotBearer => "not_bearer",
            Self::Malformed(_) => "malformed",
            Self::Unknown(_) => "unknown",
            Self::WrongSecret(_) => WRONG_SECRET,
            Self::Sunset => InactiveReason::Sunset.word(),
            Self::Inactive(_, reason) => reason.word(),
        }
    }
}

impl Decision {
    /// The decision on a verification credential at an instant.
    #[must_use]
    pub fn new(verification: &Verification, now: DateTime<Utc>) -> Self {
        match verification {
            Verification::Verified(known) => match known.caller(now) {
                Ok(caller) => Self::Accepted(Box::new(caller)),
                Err(reason) => Self::Refused(Refusal::Inactive(known.key.key_id, reason)),
            },
            Verification::WrongSecret(owner) => Self::Refused(Refusal::WrongSecret(owner.key_id)),
            Verification::Unknown(key_id) => Self::Refused(Refusal::Unknown(*key_id)),
        }
    }
}

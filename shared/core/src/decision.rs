//! The decision on a request: its caller, or the reason of the refusal.

use chrono::{DateTime, Utc};
use thiserror::Error as ThisError;

use crate::caller::Caller;
use crate::credential::{KeyId, Malformed};
use crate::verification::{InactiveReason, Verification, WRONG_SECRET};

/// The reason, in one word, for refusing a call that the endpoint rules of its key do not allow. The credential is accepted.
pub const OUTSIDE_ENDPOINTS: &str = "outside_endpoints";

/// The decision on a presented credential.
#[derive(Debug)]
pub enum Decision {
    /// The credential works, and this is the caller.
    Accepted(Box<Caller>),
    /// The credential is refused.
    Refused(Refusal),
}

/// Why a credential is refused. It goes to the log, the metrics and the audit trail; the client learns only that it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Refusal {
    /// The request has no credential.
    #[error("no credential")]
    Missing,
    /// The request has more than one.
    #[error("more than one credential")]
    Ambiguous,
    /// The request has a credential in its query string.
    #[error("a credential in the query string")]
    InQuery,
    /// The scheme of `Authorization` is not `Bearer`.
    #[error("not a bearer token")]
    NotBearer,
    /// The text is not a credential of this deployment.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// No such key is stored, or no such token of the key. A legacy key (`None`) has no id in its text.
    #[error("unknown {}", .0.map_or("legacy key".to_owned(), |id| format!("key {id}, or token of it")))]
    Unknown(Option<KeyId>),
    /// The text has the shape of a legacy key, and the sunset has passed.
    #[error("a legacy key after the sunset")]
    Sunset,
    /// The key or token has another secret.
    #[error("wrong secret for {0}")]
    WrongSecret(KeyId),
    /// The secret is right, and the key or token does not work.
    #[error("{word} key or token of {0}", word = .1.word())]
    Inactive(KeyId, InactiveReason),
    /// The call came to an API that the authorizer is not for.
    #[error("a call to another API")]
    OtherApi,
    /// The token of the identity provider is refused.
    #[error("{0}")]
    Person(PersonRefusal),
}

/// Why a token of the identity provider is refused. No reason contains a part of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum PersonRefusal {
    /// The token is longer than tokens of people may be.
    #[error("the token of a person is too long")]
    TooLong,
    /// The header is not one of a signed JWT, or has critical parameters.
    #[error("the header of the token cannot be read, or has critical parameters")]
    BadHeader,
    /// The token is not signed with RS256 or ES256.
    #[error("the token is not signed with RS256 or ES256")]
    WrongAlgorithm,
    /// The identity provider publishes no key with the token's `kid` for its algorithm.
    #[error("the identity provider publishes no such signing key")]
    UnknownKey,
    /// The signature is not one of the published key.
    #[error("the signature does not match")]
    BadSignature,
    /// The token is another kind of token than the deployment accepts.
    #[error("another kind of token is accepted")]
    WrongUse,
    /// Another issuer issued the token.
    #[error("another issuer")]
    WrongIssuer,
    /// The token is for another audience.
    #[error("another audience")]
    WrongAudience,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet, or was issued in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// A claim is missing, or has a value that Keygate does not take: a reserved user, an address that was not verified.
    #[error("a claim is missing or has a value that is not accepted")]
    BadClaims,
    /// The workspace of the token does not exist.
    #[error("the workspace does not exist")]
    NoWorkspace,
    /// The user was removed from the workspace.
    #[error("the user was removed")]
    Removed,
}

impl PersonRefusal {
    /// The reason in one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::BadHeader => "bad_header",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::WrongUse => "wrong_use",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::Expired => InactiveReason::Expired.word(),
            Self::NotYetValid => "not_yet_valid",
            Self::BadClaims => "bad_claims",
            Self::NoWorkspace => "no_workspace",
            Self::Removed => "removed",
        }
    }
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
            Self::OtherApi => "other_api",
            Self::Person(refusal) => refusal.word(),
        }
    }
}

impl Decision {
    /// Decides at an instant on a credential that was verified.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{at, key, key_id};
    use crate::key::{Generation, Key};
    use crate::verification::{PresentedSecret, VerifiedCredential};

    fn verified(key: Key) -> Verification {
        let generation = Generation::default();
        let presented = PresentedSecret::Current;
        Verification::Verified(Box::new(VerifiedCredential { key, generation, presented }))
    }

    fn refusal(verification: &Verification) -> Refusal {
        match Decision::new(verification, at(1000)) {
            Decision::Refused(refusal) => refusal,
            Decision::Accepted(caller) => panic!("{caller:?}"),
        }
    }

    #[test]
    fn a_credential_that_works_is_accepted_and_every_other_one_refused_with_its_reason() {
        let Decision::Accepted(caller) = Decision::new(&verified(key()), at(1000)) else { panic!() };
        assert!(caller.is_of_key(key_id()));
        assert_eq!(caller.user_id.as_str(), "alice");

        let expired = Key { expires_at: Some(at(1000)), ..key() };
        assert_eq!(refusal(&verified(expired)), Refusal::Inactive(key_id(), InactiveReason::Expired));
        let disabled = Key { disabled_at: Some(at(0)), ..key() };
        assert_eq!(refusal(&verified(disabled)), Refusal::Inactive(key_id(), InactiveReason::Disabled));
        assert_eq!(refusal(&Verification::WrongSecret(key().owner())), Refusal::WrongSecret(key_id()));
        assert_eq!(refusal(&Verification::Unknown(Some(key_id()))), Refusal::Unknown(Some(key_id())));
        assert_eq!(refusal(&Verification::Unknown(None)), Refusal::Unknown(None));
    }

    #[test]
    fn every_refusal_has_one_word_for_metrics_and_a_sentence_for_the_log() {
        let id = key_id();
        for (refusal, word, logged) in [
            (Refusal::Missing, "missing", "no credential"),
            (Refusal::Ambiguous, "ambiguous", "more than one credential"),
            (Refusal::InQuery, "in_query", "a credential in the query string"),
            (Refusal::NotBearer, "not_bearer", "not a bearer token"),
            (Refusal::Malformed(Malformed::Checksum), "malformed", "malformed: wrong checksum"),
            (Refusal::Unknown(None), "unknown", "unknown legacy key"),
            (Refusal::Unknown(Some(id)), "unknown", "unknown key 01JD3V6Y4N8Q2Z5X7W9B0C1D2E, or token of it"),
            (Refusal::Sunset, "sunset", "a legacy key after the sunset"),
            (Refusal::WrongSecret(id), "wrong_secret", "wrong secret for 01JD3V6Y4N8Q2Z5X7W9B0C1D2E"),
            (
                Refusal::Inactive(id, InactiveReason::NowhereToUse),
                "nowhere_to_use",
                "nowhere_to_use key or token of 01JD3V6Y4N8Q2Z5X7W9B0C1D2E",
            ),
        ] {
            assert_eq!((refusal.word(), refusal.to_string().as_str()), (word, logged));
        }
    }
}

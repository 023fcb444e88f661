//! From a presented credential to a decision.

use chrono::{DateTime, Utc};
use thiserror::Error as ThisError;

use crate::credential::{Brand, Credential, KeyId, Malformed};
use crate::error::Error;
use crate::pepper::Peppers;
use crate::record::{Key, Status};
use crate::store::keys::Keys;

/// What comes of a presented credential.
#[derive(Debug)]
pub enum Decision {
    /// It is the credential of this key, and the key works.
    Accepted(Box<Key>),
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
    /// No key has its id.
    #[error("unknown key {0}")]
    Unknown(KeyId),
    /// The key has another secret.
    #[error("wrong secret for key {0}")]
    WrongSecret(KeyId),
    /// The key's time is over.
    #[error("key {0} is expired")]
    Expired(KeyId),
    /// The key is switched off.
    #[error("key {0} is disabled")]
    Disabled(KeyId),
}

/// Checks credentials. It needs one read of one item for each, and none for what is malformed.
#[derive(Debug)]
pub struct Authorizer {
    /// The word credentials begin with.
    pub brand: Brand,
    /// What stored hashes were made under.
    pub peppers: Peppers,
    /// Where keys are.
    pub keys: Keys,
}

impl Authorizer {
    /// Decides on the value of an `Authorization` header: `Bearer` in any case, then the key (RFC 6750, section 2.1;
    /// RFC 9110, section 11.1).
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the store did not answer in time.
    /// - [`Error::UnknownPepper`]: the key's hash was made under a version that is not listed.
    /// - [`Error::Broken`]: the stored item cannot be read.
    ///
    /// None of them says anything about the credential, and none of them lets it pass.
    pub async fn decide(&self, authorization: Option<&str>, now: DateTime<Utc>) -> Result<Decision, Error> {
        let credential = match parse(authorization, &self.brand) {
            Ok(credential) => credential,
            Err(refusal) => return Ok(Decision::Refused(refusal)),
        };
        let id = credential.key_id;
        let Some(stored) = self.keys.hashed(id).await?.filter(|stored| !stored.key.is_gone(now)) else {
            self.peppers.verify_nothing(&credential);
            return Ok(Decision::Refused(Refusal::Unknown(id)));
        };
        let mut matched = false;
        for hash in stored.hashes(now) {
            matched |= self.peppers.verify(&credential, &hash)?;
        }
        if !matched {
            return Ok(Decision::Refused(Refusal::WrongSecret(id)));
        }
        Ok(match stored.key.status(now) {
            Status::Active => Decision::Accepted(Box::new(stored.key)),
            Status::Expired => Decision::Refused(Refusal::Expired(id)),
            Status::Disabled => Decision::Refused(Refusal::Disabled(id)),
        })
    }
}

fn parse(authorization: Option<&str>, brand: &Brand) -> Result<Credential, Refusal> {
    let authorization =
        authorization.map(str::trim).filter(|value| !value.is_empty()).ok_or(Refusal::Missing)?;
    let (scheme, token) = authorization.split_once(' ').ok_or(Refusal::NotBearer)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::NotBearer);
    }
    Credential::parse(token.trim_start_matches(' '), brand).map_err(Refusal::Malformed)
}

//! People: tokens of the adopter's identity provider (`OpenID` Connect) as credentials of the management API.
//!
//! [`settings`] says which tokens are accepted and what their holders may do, [`signing_keys`] has the published keys,
//! [`provider`] fetches and keeps them, [`token`] verifies a signature with one of them, and [`claims`] decides on what was signed.
//! `docs/decisions/0039-management-authorizer-and-people.md` has the reasons.

pub mod claims;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod provider;
pub mod settings;
mod signatures;
pub mod signing_keys;
pub mod token;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use keygate_core::caller::Caller;
use keygate_core::credential_class::CredentialKind;
use keygate_core::decision::PersonRefusal;
use keygate_core::error::Error;
use keygate_core::limit::Limits;
use keygate_core::metadata::Metadata;

use crate::people::claims::Person;
use crate::people::provider::Provider;
use crate::people::settings::PeopleSettings;
use crate::people::token::PresentedToken;
use crate::store::user_reader::{UserReader, UserStanding};

/// Authenticates people by the tokens of one identity provider.
#[derive(Debug)]
pub struct People {
    settings: PeopleSettings,
    provider: Provider,
    users: UserReader,
}

/// The decision on a token, and how long the read of the store took, if there was one.
#[derive(Debug)]
pub struct TimedPerson {
    /// The caller, or the reason of the refusal.
    pub caller: Result<Box<Caller>, PersonRefusal>,
    /// How long the read took.
    pub took: Option<Duration>,
}

impl People {
    /// Authenticates people as `settings` say, with the keys of `provider`.
    #[must_use]
    pub fn new(settings: PeopleSettings, provider: Provider, users: UserReader) -> Self {
        signatures::install();
        Self { settings, provider, users }
    }

    /// Verifies a token, and reads whether its user may act.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the signing keys could not be fetched and no kept ones may be used, or the store did not respond.
    /// - [`Error::Broken`]: a stored item cannot be read.
    ///
    /// An error says nothing about the token, and never accepts it.
    pub async fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<TimedPerson, Error> {
        let person = match self.identify(token, now).await? {
            Ok(person) => person,
            Err(refusal) => return Ok(TimedPerson { caller: Err(refusal), took: None }),
        };
        let started = Instant::now();
        let standing = self.users.standing(&person.workspace_id, &[&person.user_id], None).await?;
        let took = Some(started.elapsed());
        let caller = match standing {
            UserStanding::Present => Ok(caller(person)),
            UserStanding::Removed => Err(PersonRefusal::Removed),
            UserStanding::NoWorkspace => Err(PersonRefusal::NoWorkspace),
        };
        Ok(TimedPerson { caller, took })
    }

    async fn identify(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Result<Person, PersonRefusal>, Error> {
        let presented = match PresentedToken::parse(token) {
            Ok(presented) => presented,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let keys = self.provider.keys(presented.key_id(), presented.algorithm(), now).await?;
        Ok(presented.verify(&keys).and_then(|verified| Person::of(&verified, &self.settings, now)))
    }
}

fn caller(person: Person) -> Box<Caller> {
    Box::new(Caller {
        workspace_id: person.workspace_id,
        user_id: person.user_id,
        key: None,
        session: None,
        scopes: person.scopes,
        endpoints: Vec::new(),
        networks: Vec::new(),
        metadata: Metadata::default(),
        limits: Limits::default(),
        credential: CredentialKind::Person,
        old_secret: None,
        expires_at: Some(person.expires_at),
    })
}

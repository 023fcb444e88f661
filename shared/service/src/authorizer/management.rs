//! The authorizer of the management API: decides on what the adopters' authorizer decides on, on sessions, and on tokens of people.
//!
//! It is a function of its own, so that the authorizer of the adopters' APIs stays small, and does nothing for them.

use std::time::Instant;

use chrono::{DateTime, Utc};
use keygate_core::authorization::Authorization;
use keygate_core::caller::Caller;
use keygate_core::credential::{Brand, Credential, CredentialForm, SessionId};
use keygate_core::credential_class::CredentialKind;
use keygate_core::decision::{Decision, Refusal};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::legacy_credential::LegacyRules;
use keygate_core::session;
use keygate_core::verification::InactiveReason;

use crate::authorizer::metrics::LookupSource;
use crate::authorizer::verifier::Verifier;
use crate::authorizer::{AuthorizationResult, Authorizer, CredentialHeader, DecidesOnCalls};
use crate::people::{People, TimedPerson, token};
use crate::store::user_reader::{UserReader, UserStanding};

/// Decides on credentials of one API.
#[derive(Debug)]
pub struct ManagementAuthorizer {
    /// Decides on API keys, access tokens and legacy keys. Its cache keeps nothing: a revoked key manages nothing.
    pub keys: Authorizer,
    /// Decides on tokens of people, if the deployment accepts any.
    pub people: Option<People>,
    /// Reads whether the users of a session were removed.
    pub users: UserReader,
    /// The id of the management API. Calls to every other API are refused.
    pub api_id: String,
}

/// What a bearer token is, by its form alone.
#[derive(Debug)]
enum BearerForm<'a> {
    /// A credential of Keygate or a legacy key, or a text that is refused as malformed.
    Key,
    /// A session.
    Session(Credential, SessionId),
    /// A token of the identity provider.
    Person(&'a str),
}

impl ManagementAuthorizer {
    /// `MANAGEMENT_API`: the id of the management API.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn api_id(environment: &Environment) -> Result<String, InvalidVariable> {
        environment.required("MANAGEMENT_API", "must be the id of the management API")
    }

    /// Decides on a session. Its use is neither one of the key that opened it nor a call in the trail.
    async fn decide_on_session(
        &self,
        credential: &Credential,
        id: SessionId,
        now: DateTime<Utc>,
    ) -> Result<AuthorizationResult, Error> {
        let Verifier { peppers, reader } = &self.keys.verifier;
        let started = Instant::now();
        let (key, stored) = reader.session_with_key(credential.key_id, id, now).await?;
        let took = started.elapsed();
        let caller = session::verify(peppers, credential, key, stored)?.and_then(|opened| {
            opened.caller(now).map_err(|reason| Refusal::Inactive(credential.key_id, reason))
        });
        let decision = match caller {
            Ok(caller) if self.has_removed_user(&caller).await? => {
                Decision::Refused(Refusal::Inactive(credential.key_id, InactiveReason::UserRemoved))
            }
            Ok(caller) => Decision::Accepted(Box::new(caller)),
            Err(refusal) => Decision::Refused(refusal),
        };
        let (credential, lookup) = (Some(CredentialKind::Session), LookupSource::Store(took));
        Ok(AuthorizationResult { decision, owner: None, credential, lookup, usage: None })
    }

    /// Whether the user of a session or the one who opened it was removed since it was opened. Who was reinstated has no part in
    /// sessions from before.
    async fn has_removed_user(&self, caller: &Caller) -> Result<bool, Error> {
        let session = caller.session.as_ref();
        let users: Vec<_> =
            std::iter::once(&caller.user_id).chain(session.map(|session| &session.opened_by)).collect();
        let since = session.map(|session| session.id.created_at());
        Ok(self.users.standing(&caller.workspace_id, &users, since).await? != UserStanding::Present)
    }

    async fn decide_on_person(
        &self,
        people: &People,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<AuthorizationResult, Error> {
        let TimedPerson { caller, took } = people.verify(token, now).await?;
        let decision = match caller {
            Ok(caller) => Decision::Accepted(caller),
            Err(refusal) => Decision::Refused(Refusal::Person(refusal)),
        };
        Ok(AuthorizationResult {
            decision,
            owner: None,
            credential: Some(CredentialKind::Person),
            lookup: took.map_or(LookupSource::None, LookupSource::Store),
            usage: None,
        })
    }
}

impl DecidesOnCalls for ManagementAuthorizer {
    fn legacy(&self) -> Option<&LegacyRules> {
        self.keys.legacy.as_ref()
    }

    async fn decide(
        &self,
        api_id: &str,
        header: Option<CredentialHeader<'_>>,
        now: DateTime<Utc>,
    ) -> Result<AuthorizationResult, Error> {
        if api_id != self.api_id {
            return Ok(AuthorizationResult::refused(Refusal::OtherApi));
        }
        match (bearer_form(header, &self.keys.brand), &self.people) {
            (BearerForm::Session(credential, id), _) => self.decide_on_session(&credential, id, now).await,
            (BearerForm::Person(token), Some(people)) => self.decide_on_person(people, token, now).await,
            // Without an identity provider, a JWT is malformed, unless it is recognized as a legacy key.
            (BearerForm::Key | BearerForm::Person(_), _) => {
                let mut result = self.keys.decide(header, now).await?;
                // The adopters' authorizer renews hashes. This function may not write the table of keys.
                if let Some(usage) = &mut result.usage {
                    usage.rehash = None;
                }
                Ok(result)
            }
        }
    }
}

fn bearer_form<'a>(header: Option<CredentialHeader<'a>>, brand: &Brand) -> BearerForm<'a> {
    let Some(CredentialHeader::Authorization(value)) = header else { return BearerForm::Key };
    let Some(Authorization::Bearer(text)) = Authorization::parse(value) else { return BearerForm::Key };
    match Credential::parse(text, brand) {
        Ok(credential) if let CredentialForm::Session(id) = credential.form => {
            BearerForm::Session(credential, id)
        }
        Err(_) if token::has_form_of_token(text) => BearerForm::Person(text),
        Ok(_) | Err(_) => BearerForm::Key,
    }
}

//! Who calls, and what they may do.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::credential::KeyId;
use crate::credential_class::{CredentialClass, CredentialKind, OldSecret};
use crate::endpoint_rule::{self, EndpointRule};
use crate::error::Error;
use crate::identity::{UserId, WorkspaceId};
use crate::rights::Operation;
use crate::scope::{Scope, WORKSPACE_ADMIN};
use crate::time;

/// On whose behalf a change is made.
#[derive(Clone, Copy, Debug)]
pub enum Actor<'a> {
    /// A user of the workspace, with whichever credential. A user who was removed changes nothing.
    User(&'a WorkspaceId, &'a UserId),
    /// Keygate itself: what time does, what an event asks for, and what is left of a removal that was accepted.
    Keygate,
}

/// The authenticated sender of a request: as the authorizer finds it, and as it tells the backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// The tenant of everything the caller can see.
    pub workspace_id: WorkspaceId,
    /// Whom the credential acts as.
    pub user_id: UserId,
    /// The key behind the credential.
    pub key_id: KeyId,
    /// That key's name.
    pub key_name: String,
    /// What the credential carries.
    pub scopes: Vec<Scope>,
    /// Where the credential may be used; everywhere, if there are none.
    pub endpoints: Vec<EndpointRule>,
    /// What was presented.
    pub credential: CredentialKind,
    /// Which secret of an API key it is, if not the current one.
    pub old_secret: Option<OldSecret>,
    /// When it stops working: what was presented, not the key behind it.
    #[serde(serialize_with = "time::serialize")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// The caller as `GET /me` shows it.
#[derive(Debug, Serialize)]
pub struct Me {
    #[serde(flatten)]
    caller: Caller,
    /// Whether what was presented is to be replaced by an API key.
    deprecated: bool,
    /// From when on no credential of this kind works.
    #[serde(serialize_with = "time::serialize")]
    sunset: Option<DateTime<Utc>>,
}

impl From<Caller> for Me {
    fn from(caller: Caller) -> Self {
        let sunset = caller.sunset();
        Self { caller, deprecated: sunset.is_some(), sunset }
    }
}

impl Caller {
    /// On whose behalf the caller changes something.
    #[must_use]
    pub fn actor(&self) -> Actor<'_> {
        Actor::User(&self.workspace_id, &self.user_id)
    }

    /// From when on no credential of this kind works: of a legacy key its sunset, which is when it expires.
    #[must_use]
    pub fn sunset(&self) -> Option<DateTime<Utc>> {
        self.expires_at.filter(|_| self.credential == CredentialKind::LegacyKey)
    }

    /// Whether the caller acts on everyone's keys.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.scopes.iter().any(|held| held.as_str() == WORKSPACE_ADMIN)
    }

    /// Demands one scope; an administrator holds every one.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`]: the caller does not hold it.
    pub fn require(&self, scope: &str) -> Result<(), Error> {
        if self.is_admin() || self.scopes.iter().any(|held| held.as_str() == scope) {
            Ok(())
        } else {
            Err(Error::InsufficientScope(scope.to_owned()))
        }
    }

    /// Demands what handing out a key takes: every scope and endpoint rule of the one that is handed out.
    ///
    /// Nobody hands out more than they have. A caller without rules holds every rule. Any other holds what its own cover, and
    /// so never a key without rules; that goes for administrators too, who would have no use for rules that they can get
    /// around. Which credentials may hand out keys at all, [`crate::rights`] says.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`]: names the first scope that the caller does not hold.
    /// - [`Error::InsufficientEndpoints`]: names the first rule that it does not hold.
    pub fn require_all(&self, scopes: &[Scope], endpoints: &[EndpointRule]) -> Result<(), Error> {
        scopes.iter().try_for_each(|scope| self.require(scope.as_str()))?;
        if self.endpoints.is_empty() {
            return Ok(());
        }
        if endpoints.is_empty() {
            return Err(Error::InsufficientEndpoints(None));
        }
        match endpoints.iter().find(|rule| !endpoint_rule::cover(&self.endpoints, rule)) {
            None => Ok(()),
            Some(rule) => Err(Error::InsufficientEndpoints(Some(rule.clone()))),
        }
    }

    /// Demands that the caller may act on the keys of `user`: its own, or anyone's as an administrator.
    ///
    /// # Errors
    ///
    /// - [`Error::NotYourKey`]: the user is another one and the caller no administrator.
    pub fn require_to_act_for(&self, user: &UserId) -> Result<(), Error> {
        if self.is_admin() || self.user_id == *user { Ok(()) } else { Err(Error::NotYourKey) }
    }

    /// What the caller presented.
    #[must_use]
    pub fn class(&self) -> CredentialClass {
        CredentialClass::new(self.credential, self.old_secret)
    }

    /// Demands that what the caller presented may do something that is about no key.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientCredential`]: it may not.
    pub fn may(&self, operation: Operation) -> Result<(), Error> {
        self.allowed(operation, false)
    }

    /// Demands that what the caller presented may do something to a key.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientCredential`]: it may not.
    pub fn may_to(&self, operation: Operation, key: KeyId) -> Result<(), Error> {
        self.allowed(operation, self.key_id == key)
    }

    fn allowed(&self, operation: Operation, own_key: bool) -> Result<(), Error> {
        let class = self.class();
        if class.may(operation, own_key) { Ok(()) } else { Err(Error::InsufficientCredential(class)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, at, key_id, rules};
    use crate::scope::{KEYS_READ, KEYS_WRITE};

    fn caller(scopes: &[&str]) -> Caller {
        Caller { scopes: fixtures::scopes(scopes), ..fixtures::caller() }
    }

    #[test]
    fn a_scope_is_held_word_for_word_or_by_an_administrator() {
        // held, demanded, granted
        let table: [(&[&str], &str, bool); 5] = [
            (&[], KEYS_READ, false),
            (&[KEYS_READ], KEYS_READ, true),
            (&[KEYS_READ], KEYS_WRITE, false),
            (&[WORKSPACE_ADMIN], "orders:refund", true),
            (&["workspace:admin.not"], KEYS_READ, false),
        ];
        for (held, demanded, granted) in table {
            assert_eq!(caller(held).require(demanded).is_ok(), granted, "{held:?} for {demanded}");
        }
    }

    #[test]
    fn nobody_hands_out_a_scope_they_do_not_hold() {
        let wanted: Vec<Scope> = ["keys:read", "orders:read"].map(|scope| scope.parse().unwrap()).into();
        assert!(caller(&["keys:read", "orders:read", "x"]).require_all(&wanted, &[]).is_ok());
        let refused = caller(&["keys:read"]).require_all(&wanted, &[]);
        assert!(matches!(refused, Err(Error::InsufficientScope(scope)) if scope == "orders:read"));
        assert!(caller(&[KEYS_WRITE]).require_all(&[Scope::workspace_admin()], &[]).is_err());
    }

    #[test]
    fn nobody_hands_out_an_endpoint_that_their_own_key_does_not_reach() {
        // held, demanded, granted
        let table: [(&[&str], &[&str], bool); 6] = [
            (&[], &[], true),
            (&[], &["* /*", "$connect"], true),
            (&["* /*", "$connect"], &[], false),
            (&["GET /orders/*"], &["GET /orders/7", "GET /orders/8/*"], true),
            (&["GET /orders/*"], &["GET /orders/7", "PUT /orders/7"], false),
            (&["GET /orders/*"], &["GET /orders"], false),
        ];
        for scopes in [&[][..], &[WORKSPACE_ADMIN]] {
            for (held, demanded, granted) in table {
                let caller = Caller { endpoints: rules(held), ..caller(scopes) };
                let answer = caller.require_all(&[], &rules(demanded));
                assert_eq!(answer.is_ok(), granted, "{held:?} for {demanded:?} with {scopes:?}");
            }
        }
    }

    #[test]
    fn only_administrators_act_for_others() {
        let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        assert!(caller(&[]).require_to_act_for(&alice).is_ok());
        assert!(matches!(caller(&[KEYS_WRITE]).require_to_act_for(&bob), Err(Error::NotYourKey)));
        assert!(caller(&[WORKSPACE_ADMIN]).require_to_act_for(&bob).is_ok());
    }

    #[test]
    fn rights_depend_on_what_was_presented_and_on_whether_the_key_is_its_own() {
        let other = "01JD3V6Y4N8Q2Z5X7W9B0C1D2F".parse().unwrap();
        let current = caller(&[]);
        assert!(current.may_to(Operation::RotateKey, key_id()).is_ok());
        let old = Caller { old_secret: Some(OldSecret::Previous), ..caller(&[WORKSPACE_ADMIN]) };
        assert!(old.may_to(Operation::RotateKey, other).is_ok());
        let refused = old.may_to(Operation::RotateKey, key_id());
        assert!(matches!(refused, Err(Error::InsufficientCredential(CredentialClass::PreviousSecret))));
        let token = Caller { credential: CredentialKind::AccessToken, ..caller(&[WORKSPACE_ADMIN]) };
        assert!(token.may(Operation::ReadKeys).is_ok());
        let refused = token.may(Operation::CreateKey);
        assert!(matches!(refused, Err(Error::InsufficientCredential(CredentialClass::AccessToken))));
    }

    #[test]
    fn only_a_legacy_key_is_deprecated_and_has_a_sunset() {
        for (credential, is_legacy) in [
            (CredentialKind::ApiKey, false),
            (CredentialKind::AccessToken, false),
            (CredentialKind::LegacyKey, true),
        ] {
            let caller = Caller { credential, expires_at: Some(at(60)), ..fixtures::caller() };
            assert_eq!(caller.sunset(), is_legacy.then(|| at(60)), "{credential:?}");
            let shown = serde_json::to_value(Me::from(caller)).unwrap();
            assert_eq!(shown["deprecated"], is_legacy);
            assert_eq!(shown["sunset"].is_string(), is_legacy);
            assert_eq!(shown["expires_at"], "2001-09-09T01:47:40Z");
        }
    }
}

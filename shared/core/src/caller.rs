//! The caller of a request, and the checks of its permissions and rights.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::credential::{KeyId, SessionId};
use crate::credential_class::{CredentialClass, CredentialKind, OldSecret};
use crate::endpoint_rule::{self, EndpointRule};
use crate::error::Error;
use crate::identity::{UserId, WorkspaceId};
use crate::key::KeyState;
use crate::limit::Limits;
use crate::metadata::Metadata;
use crate::network::Network;
use crate::permissions::Permissions;
use crate::response_size::ResponseParts;
use crate::rights::Operation;
use crate::scope::{self, KEYS_WRITE, SESSIONS_WRITE, Scope, WORKSPACE_ADMIN};
use crate::time;

/// The party on whose behalf a change is made.
#[derive(Clone, Copy, Debug)]
pub enum Actor<'a> {
    /// A user of the workspace. A removed user changes nothing.
    User(&'a WorkspaceId, &'a UserId),
    /// A user of the workspace in a session that another user opened. If one of both was removed, nothing is changed.
    Session {
        /// The workspace of both.
        workspace: &'a WorkspaceId,
        /// The user that the session acts as.
        user: &'a UserId,
        /// The user whose key opened the session.
        opened_by: &'a UserId,
    },
    /// Keygate itself: for lifecycle events, removals by event, the rest of an accepted removal, and leaked credentials.
    Keygate,
}

/// The authenticated sender of a request, as the authorizer tells the backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// The tenant. The caller sees nothing of other tenants.
    pub workspace_id: WorkspaceId,
    /// The user that the credential acts as.
    pub user_id: UserId,
    /// The key behind the credential: for a session, the one that opened it. A person has none.
    #[serde(flatten)]
    pub key: Option<CallerKey>,
    /// The session, if the credential is one.
    #[serde(flatten)]
    pub session: Option<CallerSession>,
    /// The scopes of the credential.
    pub scopes: Vec<Scope>,
    /// The endpoint rules of the credential. Without any it may be used everywhere.
    pub endpoints: Vec<EndpointRule>,
    /// The networks of the credential. Without any it may be used from every address. Those of a session bind the keys that are
    /// made through it, and not the session itself ([`Caller::source_networks`]).
    pub networks: Vec<Network>,
    /// The metadata of the key.
    pub metadata: Metadata,
    /// The limits of the key behind the credential. Its tokens share them.
    pub limits: Limits,
    /// The kind of the credential.
    pub credential: CredentialKind,
    /// The secret of an API key, if it is not the current one.
    pub old_secret: Option<OldSecret>,
    /// When the credential ends, which may be before its key does.
    #[serde(serialize_with = "time::serialize")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// The key behind a caller's credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallerKey {
    /// The key.
    #[serde(rename = "key_id")]
    pub id: KeyId,
    /// Its name.
    #[serde(rename = "key_name")]
    pub name: String,
    /// The state of its secrets when it was read. The authorizer of the adopters' APIs does not tell it.
    #[serde(skip)]
    pub state: Option<KeyState>,
}

/// The session that a caller presented.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallerSession {
    /// The session.
    #[serde(rename = "session_id")]
    pub id: SessionId,
    /// The user whose key opened it.
    pub opened_by: UserId,
}

/// The caller as `GET /me` shows it.
#[derive(Debug, Serialize)]
pub struct Me {
    #[serde(flatten)]
    caller: Caller,
    /// Whether an API key should replace the credential.
    deprecated: bool,
    /// When credentials of this kind stop working.
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
    /// The caller as the party of a change.
    #[must_use]
    pub fn actor(&self) -> Actor<'_> {
        let (workspace, user) = (&self.workspace_id, &self.user_id);
        match &self.session {
            Some(CallerSession { opened_by, .. }) => Actor::Session { workspace, user, opened_by },
            None => Actor::User(workspace, user),
        }
    }

    /// When credentials of this kind stop working. Only legacy keys have a sunset, at which they expire.
    #[must_use]
    pub fn sunset(&self) -> Option<DateTime<Utc>> {
        self.expires_at.filter(|_| self.credential == CredentialKind::LegacyKey)
    }

    /// Whether the caller holds `workspace:admin`, and so acts on the keys of every user.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.scopes.iter().any(|held| held.as_str() == WORKSPACE_ADMIN)
    }

    /// Requires a scope. An administrator holds every scope.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`]: the caller does not hold it.
    pub fn require(&self, scope: &str) -> Result<(), Error> {
        if scope::hold(&self.scopes, scope) {
            Ok(())
        } else {
            Err(Error::InsufficientScope(scope.to_owned()))
        }
    }

    /// The networks that the caller must call from. A session is used by the browser of a user, so it is not bound to the
    /// networks of the key that opened it.
    #[must_use]
    pub fn source_networks(&self) -> &[Network] {
        if self.session.is_some() { &[] } else { &self.networks }
    }

    /// Whether the credential belongs to this key. A session does not belong to the key that opened it.
    #[must_use]
    pub fn is_of_key(&self, key: KeyId) -> bool {
        self.session.is_none() && self.key.as_ref().is_some_and(|own| own.id == key)
    }

    /// What the caller may do, where, and from which addresses.
    #[must_use]
    pub fn permissions(&self) -> Permissions<'_> {
        Permissions { scopes: &self.scopes, endpoints: &self.endpoints, networks: &self.networks }
    }

    /// Its attributes that an authorizer's response contains.
    #[must_use]
    pub fn response_parts(&self) -> ResponseParts<'_> {
        let Self { scopes, endpoints, networks, metadata, .. } = self;
        ResponseParts { scopes, endpoints, networks, metadata }
    }

    /// Requires every permission of a key that the caller creates, rotates or widens.
    ///
    /// A caller without endpoint rules holds every rule. A caller with rules holds those that its own cover, and never a key
    /// without rules. The same is true of networks. This applies to administrators too: otherwise they could get around their
    /// own rules and networks. [`crate::rights`] decides which classes of credentials may do these operations at all.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`]: names the first scope that the caller does not hold.
    /// - [`Error::InsufficientEndpoints`], [`Error::InsufficientNetworks`]: names the first rule or network that it does not
    ///   hold.
    pub fn require_all(&self, demanded: Permissions<'_>) -> Result<(), Error> {
        demanded.scopes.iter().try_for_each(|scope| self.require(scope.as_str()))?;
        self.permissions().require_within(demanded)
    }

    /// Requires that the caller may grant a scope to a key that does not have it: it must hold the scope. `sessions:write`
    /// gives the access of every user of the workspace, so only an administrator grants it.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`]: names the scope that the caller does not hold.
    pub fn require_to_grant(&self, scope: &Scope) -> Result<(), Error> {
        let held = if scope.as_str() == SESSIONS_WRITE { WORKSPACE_ADMIN } else { scope.as_str() };
        self.require(held)
    }

    /// Requires what every creation of a key requires, whatever the key.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`]: the caller does not have `keys:write`.
    /// - [`Error::InsufficientCredential`]: the caller's credential may not create keys.
    /// - [`Error::LimitedCaller`]: the caller's key has limits.
    pub fn require_to_create_keys(&self) -> Result<(), Error> {
        self.require(KEYS_WRITE)?;
        self.may(Operation::CreateKey)?;
        self.require_unlimited()
    }

    /// Requires that the caller's key has no limits, for what gives calls beyond them: creating or widening a key, or a new
    /// secret of another key. With it, a key with limits would get around its own.
    ///
    /// # Errors
    ///
    /// - [`Error::LimitedCaller`]: the key has limits.
    pub fn require_unlimited(&self) -> Result<(), Error> {
        if self.limits.is_empty() { Ok(()) } else { Err(Error::LimitedCaller) }
    }

    /// Requires that the caller may act on the keys of `user`: their own keys, or those of every user as an administrator.
    ///
    /// # Errors
    ///
    /// - [`Error::NotYourKey`]: the user is another one and the caller is not an administrator.
    pub fn require_to_act_for(&self, user: &UserId) -> Result<(), Error> {
        if self.is_admin() || self.user_id == *user { Ok(()) } else { Err(Error::NotYourKey) }
    }

    /// The class of the credential, which its rights depend on.
    #[must_use]
    pub fn class(&self) -> CredentialClass {
        CredentialClass::new(self.credential, self.old_secret)
    }

    /// Whether the endpoint rules allow a route of the management API. A caller without rules may call every route.
    #[must_use]
    pub fn rules_allow(&self, method: &str, path: &str) -> bool {
        self.endpoints.is_empty() || endpoint_rule::allow(&self.endpoints, method, path)
    }

    /// Requires the right to an operation that is not about a key.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientCredential`]: the class of the caller's credential does not have the right.
    pub fn may(&self, operation: Operation) -> Result<(), Error> {
        self.allowed(operation, false)
    }

    /// Requires the right to an operation on a key.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientCredential`]: the class of the caller's credential does not have the right.
    pub fn may_to(&self, operation: Operation, key: KeyId) -> Result<(), Error> {
        self.allowed(operation, self.is_of_key(key))
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
    use crate::scope::KEYS_READ;

    fn caller(scopes: &[&str]) -> Caller {
        Caller { scopes: fixtures::scopes(scopes), ..fixtures::caller() }
    }

    /// A key with these scopes, for every endpoint and address.
    fn of_scopes(scopes: &[Scope]) -> Permissions<'_> {
        Permissions { scopes, endpoints: &[], networks: &[] }
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
    fn a_caller_cannot_grant_a_scope_that_it_does_not_hold() {
        let wanted: Vec<Scope> = ["keys:read", "orders:read"].map(|scope| scope.parse().unwrap()).into();
        assert!(caller(&["keys:read", "orders:read", "x"]).require_all(of_scopes(&wanted)).is_ok());
        let refused = caller(&["keys:read"]).require_all(of_scopes(&wanted));
        assert!(matches!(refused, Err(Error::InsufficientScope(scope)) if scope == "orders:read"));
        assert!(caller(&[KEYS_WRITE]).require_all(of_scopes(&[Scope::workspace_admin()])).is_err());
    }

    #[test]
    fn a_caller_cannot_grant_an_endpoint_that_its_own_key_does_not_reach() {
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
                let demanded_rules = rules(demanded);
                let result = caller.require_all(Permissions { endpoints: &demanded_rules, ..of_scopes(&[]) });
                assert_eq!(result.is_ok(), granted, "{held:?} for {demanded:?} with {scopes:?}");
            }
        }
    }

    #[test]
    fn a_caller_cannot_grant_an_address_that_its_own_key_does_not_work_from() {
        // held, demanded, granted
        let table: [(&[&str], &[&str], bool); 5] = [
            (&[], &[], true),
            (&[], &["203.0.113.0/24"], true),
            (&["0.0.0.0/0"], &[], false),
            (&["203.0.113.0/24", "2001:db8::/32"], &["203.0.113.7", "2001:db8:1::/48"], true),
            (&["203.0.113.0/24"], &["203.0.113.0/24", "203.0.0.0/16"], false),
        ];
        let networks =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Network>>();
        for scopes in [&[][..], &[WORKSPACE_ADMIN]] {
            for (held, demanded, granted) in table {
                let caller = Caller { networks: networks(held), ..caller(scopes) };
                let demanded_networks = networks(demanded);
                let result =
                    caller.require_all(Permissions { networks: &demanded_networks, ..of_scopes(&[]) });
                assert_eq!(result.is_ok(), granted, "{held:?} for {demanded:?} with {scopes:?}");
            }
        }
    }

    #[test]
    fn a_key_with_limits_gets_no_calls_beyond_them_even_as_an_administrator() {
        for scopes in [&[][..], &[WORKSPACE_ADMIN]] {
            assert!(caller(scopes).require_unlimited().is_ok());
            let limited = Caller { limits: fixtures::limits(&["1000000000/second"]), ..caller(scopes) };
            assert!(matches!(limited.require_unlimited(), Err(Error::LimitedCaller)));
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
    fn rights_depend_on_the_presented_credential_and_on_whether_the_key_is_its_own() {
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
            (CredentialKind::Session, false),
            (CredentialKind::Person, false),
        ] {
            let caller = Caller { credential, expires_at: Some(at(60)), ..fixtures::caller() };
            assert_eq!(caller.sunset(), is_legacy.then(|| at(60)), "{credential:?}");
            let shown = serde_json::to_value(Me::from(caller)).unwrap();
            assert_eq!(shown["deprecated"], is_legacy);
            assert_eq!(shown["sunset"].is_string(), is_legacy);
            assert_eq!(shown["expires_at"], "2001-09-09T01:47:40Z");
        }
    }

    fn session(opened_by: &str) -> Caller {
        let id = "01JD4A0000F9K3W7RT2M8Q0001".parse().unwrap();
        let session = Some(CallerSession { id, opened_by: opened_by.parse().unwrap() });
        Caller { credential: CredentialKind::Session, session, ..caller(&[KEYS_WRITE]) }
    }

    #[test]
    fn a_session_acts_for_its_user_and_its_opener_and_does_not_own_the_key_that_opened_it() {
        let session = session("backend");
        let Actor::Session { user, opened_by, .. } = session.actor() else { panic!("{:?}", session.actor()) };
        assert_eq!((user.as_str(), opened_by.as_str()), ("alice", "backend"));
        assert!(!session.is_of_key(key_id()) && caller(&[]).is_of_key(key_id()));
    }

    #[test]
    fn the_networks_of_its_opener_bind_the_keys_of_a_session_and_not_its_calls() {
        let networks = vec!["203.0.113.0/24".parse().unwrap()];
        let session = Caller { networks: networks.clone(), ..session("backend") };
        assert_eq!(session.source_networks(), []);
        assert!(matches!(session.require_all(of_scopes(&[])), Err(Error::InsufficientNetworks(None))));
        let key = Caller { networks: networks.clone(), ..caller(&[]) };
        assert_eq!(key.source_networks(), networks);
    }

    #[test]
    fn only_an_administrator_grants_the_right_to_open_sessions() {
        let scope = SESSIONS_WRITE.parse().unwrap();
        let refused = caller(&[KEYS_WRITE, SESSIONS_WRITE]).require_to_grant(&scope);
        assert!(matches!(refused, Err(Error::InsufficientScope(missing)) if missing == WORKSPACE_ADMIN));
        assert!(caller(&[WORKSPACE_ADMIN]).require_to_grant(&scope).is_ok());
        let held = "orders:read".parse().unwrap();
        assert!(caller(&["orders:read"]).require_to_grant(&held).is_ok());
        assert!(caller(&[KEYS_WRITE]).require_to_grant(&held).is_err());
    }

    #[test]
    fn a_person_has_no_key() {
        let person = Caller { key: None, credential: CredentialKind::Person, ..caller(&[KEYS_WRITE]) };
        let shown = serde_json::to_value(Me::from(person.clone())).unwrap();
        assert_eq!((&shown["credential"], shown.get("key_id")), (&"person".into(), None));
        assert!(!person.is_of_key(key_id()));
        let shown = serde_json::to_value(Me::from(session("backend"))).unwrap();
        assert_eq!(shown["session_id"], "01JD4A0000F9K3W7RT2M8Q0001");
        assert_eq!((&shown["opened_by"], &shown["key_id"]), (&"backend".into(), &json_key_id()));
    }

    fn json_key_id() -> serde_json::Value {
        key_id().to_string().into()
    }
}

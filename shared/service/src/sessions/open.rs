//! Opening a session for a user of the workspace.

use chrono::TimeDelta;
use keygate_core::audit_event::Action;
use keygate_core::context::RequestContext;
use keygate_core::credential::{Brand, Credential, CredentialForm, SessionId};
use keygate_core::error::Error;
use keygate_core::fields::{self, FieldError, Fields};
use keygate_core::identity::UserId;
use keygate_core::pepper::Peppers;
use keygate_core::rights::Operation;
use keygate_core::scope::{SESSIONS_WRITE, Scope};
use keygate_core::session::{
    DEFAULT_SESSION_SECONDS, HashedPageCode, HashedSession, PAGE_CODE_LIFE, SESSION_SECONDS, Session,
    may_have,
};
use keygate_core::time::{rfc3339, whole_second};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;

use crate::keys::create;
use crate::sessions::{event, expose};
use crate::store::token_transactions::TokenStore;

/// A request to open a session.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// The user that the session acts as.
    user_id: UserId,
    /// The scopes of the session.
    scopes: Vec<Scope>,
    /// The life of the session.
    life: TimeDelta,
}

impl OpenSession {
    /// Parses a request body.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid field with its requirement.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::parse(body)?;
        let user_id = fields.required("user_id", |value| {
            let user = fields::owner(value)?;
            if user.is_service_account() {
                return Err(FieldError::new(&"must not be a service account"));
            }
            Ok(user)
        });
        let scopes = fields.required("scopes", session_scopes);
        let life = fields.optional("ttl_seconds", seconds).unwrap_or(DEFAULT_SESSION_SECONDS);
        let made = user_id.zip(scopes);
        fields.finish(made.map(|(user_id, scopes)| Self { user_id, scopes, life: TimeDelta::seconds(life) }))
    }
}

fn session_scopes(value: &Value) -> Result<Vec<Scope>, FieldError> {
    let scopes = create::scopes(value)?;
    if scopes.is_empty() {
        return Err(FieldError::new(&"must have at least one scope"));
    }
    match scopes.iter().position(|scope| !may_have(scope)) {
        Some(index) => Err(FieldError::at(index, &"must not be a scope that acts for other users")),
        None => Ok(scopes),
    }
}

fn seconds(value: &Value) -> Result<i64, FieldError> {
    let (min, max) = (SESSION_SECONDS.start(), SESSION_SECONDS.end());
    let must_be = format!("must be a whole number from {min} to {max}");
    let seconds = value.as_i64().filter(|seconds| SESSION_SECONDS.contains(seconds));
    seconds.ok_or_else(|| FieldError::new(&fields::in_digits(value, must_be)))
}

/// Opens sessions.
#[derive(Debug)]
pub struct SessionOpener {
    /// The brand, the first part of every credential.
    pub brand: Brand,
    /// The peppers for the hashes of the secrets.
    pub peppers: Peppers,
    /// The store.
    pub store: TokenStore,
}

/// A session with its secret and its page code. Both are never shown again.
#[derive(Debug, Serialize)]
pub struct RevealedSession {
    id: SessionId,
    user_id: UserId,
    scopes: Vec<Scope>,
    expires_at: String,
    #[serde(serialize_with = "expose")]
    session: SecretString,
    #[serde(serialize_with = "expose")]
    page_url: SecretString,
    page_url_expires_at: String,
}

impl SessionOpener {
    /// Opens a session for a user of the caller's workspace. `console` returns the address of the keys page.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`]: the caller may not open sessions, or does not hold a scope of the session.
    /// - [`Error::InsufficientCredential`]: the caller did not present the current secret of an API key.
    /// - [`Error::LimitedCaller`]: the caller's key has limits.
    /// - [`Error::CallerRemoved`], [`Error::UserRemoved`]: the caller's user, or the user of the session, was removed.
    /// - [`Error::Conflict`]: the caller's key was rotated, disabled or deleted at the same time.
    /// - [`Error::Broken`]: the authorizer did not tell the state of the key, or the address of the page is not known.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn open(
        &self,
        context: &RequestContext,
        request: OpenSession,
        console: impl FnOnce() -> Result<String, Error>,
    ) -> Result<RevealedSession, Error> {
        let (caller, now) = (&context.caller, context.now);
        caller.require(SESSIONS_WRITE)?;
        caller.may(Operation::OpenSession)?;
        request.scopes.iter().try_for_each(|scope| caller.require(scope.as_str()))?;
        caller.require_unlimited()?;
        let unknown = || Error::Broken("the request has no state of its key".to_owned());
        let key = caller.key.as_ref().ok_or_else(unknown)?;
        let console = console()?;
        let session_id = SessionId::generate(now);
        let ends_at = whole_second(now) + request.life;
        let session = Session {
            key_id: key.id,
            session_id,
            workspace_id: caller.workspace_id.clone(),
            user_id: request.user_id,
            opened_by: caller.user_id.clone(),
            scopes: request.scopes,
            key_state: key.state.ok_or_else(unknown)?,
            created_at: whole_second(now),
            expires_at: caller.expires_at.map_or(ends_at, |end| end.min(ends_at)),
        };
        let credential = Credential::draw(key.id, CredentialForm::Session(session_id));
        let code = Credential::draw(key.id, CredentialForm::PageCode(session_id));
        let hashed_code = HashedPageCode {
            key_id: key.id,
            session_id,
            hash: self.peppers.hash(&code),
            expires_at: whole_second(now) + PAGE_CODE_LIFE,
        };
        let opened = event(Action::SessionOpened, context.event(), &session);
        let hashed = HashedSession { session, hash: self.peppers.hash(&credential), page: None };
        self.store.open_session(context.actor(), &hashed, &hashed_code, &opened).await?;
        let page_url = format!("{console}#code={}", code.to_text(&self.brand).expose_secret());
        let Session { user_id, scopes, expires_at, .. } = hashed.session;
        Ok(RevealedSession {
            id: session_id,
            user_id,
            scopes,
            expires_at: rfc3339(expires_at),
            session: credential.to_text(&self.brand),
            page_url: page_url.into(),
            page_url_expires_at: rfc3339(hashed_code.expires_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong_places(body: &Value) -> Vec<String> {
        let Err(Error::Invalid { fields }) = OpenSession::parse(body.to_string().as_bytes()) else {
            panic!("{body} is valid")
        };
        fields.iter().map(|field| field.place.to_string()).collect()
    }

    #[test]
    fn a_session_is_for_a_user_with_scopes_and_lasts_15_minutes_by_default() {
        let body = json!({"user_id": "alice", "scopes": ["keys:write"]}).to_string();
        let request = OpenSession::parse(body.as_bytes()).unwrap();
        assert_eq!((request.user_id.as_str(), request.life), ("alice", TimeDelta::seconds(900)));
        let body = json!({"user_id": "alice", "scopes": ["keys:write"], "ttl_seconds": 43_200}).to_string();
        assert_eq!(OpenSession::parse(body.as_bytes()).unwrap().life, TimeDelta::hours(12));
    }

    #[test]
    fn all_invalid_fields_are_reported_together() {
        let body = json!({"user_id": "svc:deploy", "scopes": [], "ttl_seconds": 59, "page": true});
        assert_eq!(wrong_places(&body), ["/user_id", "/scopes", "/ttl_seconds", "/page"]);
        assert_eq!(wrong_places(&json!({})), ["/user_id", "/scopes"]);
        for user in ["keygate:clock", "", "a b"] {
            assert_eq!(wrong_places(&json!({"user_id": user, "scopes": ["keys:write"]})), ["/user_id"]);
        }
        for life in [json!(43_201), json!(900.0), json!("900"), json!(0)] {
            let body = json!({"user_id": "alice", "scopes": ["keys:write"], "ttl_seconds": life});
            assert_eq!(wrong_places(&body), ["/ttl_seconds"], "{body}");
        }
        for scope in ["workspace:admin", "users:write", "sessions:write", "tokens:introspect"] {
            let body = json!({"user_id": "alice", "scopes": ["keys:write", scope]});
            assert_eq!(wrong_places(&body), ["/scopes/1"]);
        }
    }
}

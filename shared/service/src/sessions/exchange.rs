//! Exchanging the page code of a session for a secret of the session. The page has no other credential.

use chrono::{DateTime, Utc};
use keygate_core::audit_event::Action;
use keygate_core::context::{EventContext, RequestOrigin};
use keygate_core::credential::{Brand, Credential, CredentialForm, SessionId};
use keygate_core::error::Error;
use keygate_core::fields::{self, FieldError, Fields};
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::pepper::Peppers;
use keygate_core::session::{OpenedSession, verify_code};
use keygate_core::time::rfc3339;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::sessions::{event, expose};
use crate::store::token_transactions::TokenStore;

/// A request to exchange a page code. The text is not checked yet: every text that is not a working code gets the same response.
#[derive(Debug)]
pub struct ExchangePageCode {
    code: SecretString,
}

impl ExchangePageCode {
    /// Parses a request body.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: `code` is missing or not a string, or there are other fields.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::parse(body)?;
        let code =
            fields.required("code", |value| Ok::<_, FieldError>(SecretString::from(fields::string(value)?)));
        fields.finish(code.map(|code| Self { code }))
    }
}

/// Exchanges page codes.
#[derive(Debug)]
pub struct PageCodeExchanger {
    /// The brand, the first part of every credential.
    pub brand: Brand,
    /// The peppers of the hashes.
    pub peppers: Peppers,
    /// The store.
    pub store: TokenStore,
}

/// A session with the secret of its page, which is never shown again.
#[derive(Debug, Serialize)]
pub struct PageSession {
    id: SessionId,
    workspace_id: WorkspaceId,
    user_id: UserId,
    expires_at: String,
    #[serde(serialize_with = "expose")]
    session: SecretString,
}

impl PageCodeExchanger {
    /// Exchanges a page code, once, for the secret of its session.
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidPageCode`]: the text is not a page code that works, or its session does not.
    /// - [`Error::CallerRemoved`]: the user of the session, or the one who opened it, was removed.
    /// - [`Error::UnknownPepper`]: the code was hashed under a pepper version that is not listed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn exchange(
        &self,
        request: &ExchangePageCode,
        origin: &RequestOrigin,
        now: DateTime<Utc>,
    ) -> Result<PageSession, Error> {
        let code = Credential::parse(request.code.expose_secret(), &self.brand);
        let code = code.map_err(|_| Error::InvalidPageCode)?;
        let CredentialForm::PageCode(session_id) = code.form else { return Err(Error::InvalidPageCode) };
        // All three are always read, so that the calls do not tell which of them exist.
        let (stored, session, key) = tokio::try_join!(
            self.store.tokens.page_code(code.key_id, session_id),
            self.store.tokens.session(code.key_id, session_id),
            self.store.keys.of_tokens(code.key_id, now)
        )?;
        let is_right = verify_code(&self.peppers, &code, stored.as_ref(), now)?;
        let (Some(stored), Some(session), Some(key)) = (stored.filter(|_| is_right), session, key) else {
            return Err(Error::InvalidPageCode);
        };
        let opened = OpenedSession { session, key };
        let expires_at = opened.works(now).map_err(|_| Error::InvalidPageCode)?;
        let session = opened.session;
        let credential = Credential::draw(session.key_id, CredentialForm::Session(session_id));
        let context = EventContext {
            workspace_id: &session.workspace_id,
            actor: &session.user_id,
            session: None,
            origin,
            at: now,
        };
        let exchanged = event(Action::SessionExchanged, context, &session);
        let hash = self.peppers.hash(&credential);
        self.store.begin_page((&session, &stored), &hash, &exchanged).await?;
        Ok(PageSession {
            id: session_id,
            workspace_id: session.workspace_id,
            user_id: session.user_id,
            expires_at: rfc3339(expires_at),
            session: credential.to_text(&self.brand),
        })
    }
}

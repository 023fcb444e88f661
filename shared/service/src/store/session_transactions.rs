//! Transactions that open, begin and end a session.

use keygate_core::audit_event::AuditEvent;
use keygate_core::caller::Actor;
use keygate_core::credential::{KeyId, SessionId};
use keygate_core::error::Error;
use keygate_core::pepper::SecretHash;
use keygate_core::session::{HashedPageCode, HashedSession, Session};

use crate::store::conditional_write::WriteOutcome;
use crate::store::token_transactions::TokenStore;
use crate::store::transaction::{Transaction, TransactionResult};

impl TokenStore {
    /// Writes a new session, its page code and the event in one transaction. The key that opens it still has the secrets that
    /// the session belongs to, and its user is not removed.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::UserRemoved`]: the user of the session was removed.
    /// - [`Error::Conflict`]: the key was rotated, disabled or deleted, or its tokens were revoked.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn open_session(
        &self,
        actor: Actor<'_>,
        hashed: &HashedSession,
        code: &HashedPageCode,
        event: &AuditEvent,
    ) -> Result<(), Error> {
        let Session { key_id, workspace_id, user_id, key_state, .. } = &hashed.session;
        let mut transaction = Transaction::new(actor, &self.workspaces);
        transaction.add(self.tokens.put_session(hashed)?);
        transaction.add(self.tokens.put_page_code(code)?);
        transaction.add(self.activity.put(event)?);
        let key = transaction.add(self.keys.check_state(*key_id, *key_state));
        let user = self.workspaces.check_not_removed(workspace_id, user_id);
        let user = transaction.add_user(user_id, user);
        match transaction.commit(&self.client).await? {
            TransactionResult::Committed => Ok(()),
            TransactionResult::Cancelled(refused) if refused.failed(user) => Err(Error::UserRemoved),
            TransactionResult::Cancelled(refused) if refused.failed(key) => Err(Error::Conflict),
            TransactionResult::Cancelled(refused) => Err(refused.unexpected()),
        }
    }

    /// Uses a page code, gives its session the hash of the page's secret, and writes the event, in one transaction.
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidPageCode`]: the code was used, or the session has ended.
    /// - [`Error::CallerRemoved`]: the user of the session, or the one who opened it, was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn begin_page(
        &self,
        (session, code): (&Session, &HashedPageCode),
        hash: &SecretHash,
        event: &AuditEvent,
    ) -> Result<(), Error> {
        let actor = Actor::Session {
            workspace: &session.workspace_id,
            user: &session.user_id,
            opened_by: &session.opened_by,
        };
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let used = transaction.add(self.tokens.use_page_code(code));
        let begun = transaction.add(self.tokens.set_page_hash(session, hash));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.client).await? {
            TransactionResult::Committed => Ok(()),
            TransactionResult::Cancelled(refused) if refused.failed(used) || refused.failed(begun) => {
                Err(Error::InvalidPageCode)
            }
            TransactionResult::Cancelled(refused) => Err(refused.unexpected()),
        }
    }

    /// Deletes a session with its page code, and writes the event, in one transaction. The result is [`WriteOutcome::Stale`] if
    /// the session does not exist.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn end_session(
        &self,
        actor: Actor<'_>,
        (key_id, session_id): (KeyId, SessionId),
        event: &AuditEvent,
    ) -> Result<WriteOutcome, Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let ended = transaction.add(self.tokens.delete_session(key_id, session_id));
        transaction.add(self.tokens.delete_page_code(key_id, session_id));
        transaction.add(self.activity.put(event)?);
        transaction.commit(&self.client).await?.outcome(ended)
    }
}

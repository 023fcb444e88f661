//! Transactions that end a leaked credential, where no other use case ends it.

use keygate_core::audit_event::AuditEvent;
use keygate_core::caller::Actor;
use keygate_core::error::Error;
use keygate_core::key::Key;
use keygate_core::session::HashedPageCode;

use crate::store::WriteOutcome;
use crate::store::tables::Store;
use crate::store::token_transactions::TokenStore;
use crate::store::transaction::Transaction;

impl Store {
    /// Disables the key `before` as `after` says, revokes its tokens, and writes the event in one transaction. The result is
    /// [`WriteOutcome::Stale`] if the key was changed or deleted since it was read.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn disable_leaked_key(
        &self,
        before: &Key,
        after: &Key,
        event: &AuditEvent,
    ) -> Result<WriteOutcome, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let key = transaction.add(self.keys.disable_leaked(before, after));
        transaction.add(self.activity.put(event)?);
        transaction.commit(&self.client).await?.outcome(key)
    }

    /// Ends the overlap of the key `before` as `after` says, and writes the event in one transaction. The result is
    /// [`WriteOutcome::Stale`] if the key was changed or deleted since it was read.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn end_overlap(
        &self,
        before: &Key,
        after: &Key,
        event: &AuditEvent,
    ) -> Result<WriteOutcome, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let key = transaction.add(self.keys.end_overlap(before, after));
        transaction.add(self.activity.put(event)?);
        transaction.commit(&self.client).await?.outcome(key)
    }
}

impl TokenStore {
    /// Deletes a page code and writes the event in one transaction. The result is [`WriteOutcome::Stale`] if it was used.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn end_page_code(
        &self,
        code: &HashedPageCode,
        event: &AuditEvent,
    ) -> Result<WriteOutcome, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let ended = transaction.add(self.tokens.use_page_code(code));
        transaction.add(self.activity.put(event)?);
        transaction.commit(&self.client).await?.outcome(ended)
    }
}

//! Transactions that remove and reinstate a user.

use chrono::{DateTime, Utc};
use keygate_core::audit_event::AuditEvent;
use keygate_core::caller::Actor;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};

use crate::store::conditional_write::WriteOutcome;
use crate::store::item::broken;
use crate::store::tables::Store;
use crate::store::transaction::{Transaction, TransactionResult};
use crate::store::workspace_users::{EntryCondition, REMOVED_AT};

/// The maximum number of attempts of a removal whose user entry changed concurrently.
const ATTEMPTS: u32 = 6;

impl Store {
    /// Marks a user as removed at the time `at`, unless they already are, and writes the event in one transaction. `heir`,
    /// the user who gets the keys, must not be removed.
    ///
    /// The mark of a user whom the workspace does not know adds an entry that is never deleted. `limit` bounds the number of
    /// these entries. A user who is known, because they have had a key or were removed before, can always be marked.
    ///
    /// Returns the time of the removal; `None` if the user was reinstated or removed again after `at`, so that this removal
    /// has no effect.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::UserRemoved`]: the user who gets the keys was removed.
    /// - [`Error::RemovalLimit`]: the user is not known, and there are `limit` such entries.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn remove_user(
        &self,
        actor: Actor<'_>,
        (workspace, user): (&WorkspaceId, &UserId),
        heir: Option<&UserId>,
        limit: Option<u32>,
        event: &AuditEvent,
        at: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let mut is_known = true;
        for _ in 0..ATTEMPTS {
            let (condition, limit) = match limit {
                None => (EntryCondition::None, None),
                Some(_) if is_known => (EntryCondition::Present, None),
                Some(limit) => (EntryCondition::Absent, Some(limit)),
            };
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let mark =
                transaction.add_user(user, self.workspaces.mark_removed(workspace, user, condition, at));
            transaction.add(self.activity.put(event)?);
            let heir = heir.map(|heir| {
                let check = self.workspaces.check_not_removed(workspace, heir);
                transaction.add_user(heir, check)
            });
            let count =
                limit.map(|limit| (transaction.add(self.workspaces.count_removal(workspace, limit)), limit));
            let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
                return Ok(Some(at));
            };
            if heir.is_some_and(|heir| refused.failed(heir)) {
                return Err(Error::UserRemoved);
            }
            if !refused.failed(mark) {
                return Err(match count {
                    Some((count, limit)) if refused.failed(count) => Error::RemovalLimit(limit),
                    _ => refused.unexpected(),
                });
            }
            let Some(entry) = refused.existing_item(mark) else {
                is_known = false;
                continue;
            };
            if let Some(removed_at) = entry.get(REMOVED_AT) {
                let milliseconds = removed_at.as_n().ok().and_then(|number| number.parse().ok());
                let removed_at = milliseconds.and_then(DateTime::from_timestamp_millis);
                let removed_at = removed_at.ok_or_else(|| broken("user"))?;
                return Ok(Some(removed_at).filter(|removed_at| *removed_at <= at));
            }
            if is_known {
                // The user was reinstated after `at`.
                return Ok(None);
            }
            // The entry was created meanwhile.
            is_known = true;
        }
        Err(Error::Busy)
    }

    /// Clears the mark of a removed user and writes the event in one transaction. The result is [`WriteOutcome::Stale`] if
    /// the user has no mark.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn reinstate_user(
        &self,
        actor: Actor<'_>,
        (workspace, user): (&WorkspaceId, &UserId),
        event: &AuditEvent,
        now: DateTime<Utc>,
    ) -> Result<WriteOutcome, Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let mark = transaction.add(self.workspaces.unmark_removed(workspace, user, now));
        transaction.add(self.activity.put(event)?);
        transaction.commit(&self.client).await?.outcome(mark)
    }
}

//! Transactions that write the lifecycle events of keys.

use chrono::{DateTime, Utc};
use keygate_core::audit_event::AuditEvent;
use keygate_core::caller::Actor;
use keygate_core::error::Error;
use keygate_core::key::KeyOwner;

use crate::store::conditional_write::WriteOutcome;
use crate::store::due_keys::DueKey;
use crate::store::held_entries::HeldEntries;
use crate::store::tables::Store;
use crate::store::transaction::{Transaction, TransactionResult};
use crate::store::unused_keys::{UnusedAction, UnusedKey};
use crate::store::workspace_members::MemberCondition;

impl Store {
    /// Writes a lifecycle event of a key together with the time of its next one. The end of an overlap removes the previous
    /// hash. The revision stays the same, because no user changed the key. The result is [`WriteOutcome::Stale`] if the key
    /// has changed since it was read.
    ///
    /// If the event already exists, an earlier run wrote it, and a concurrent change of the key overwrote the schedule that
    /// the run had advanced. The schedule is advanced again.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn announce(
        &self,
        due: &DueKey,
        next: Option<DateTime<Utc>>,
        overlap_ended: bool,
        events: &[AuditEvent],
    ) -> Result<WriteOutcome, Error> {
        let mut missing: Vec<&AuditEvent> = events.iter().collect();
        loop {
            let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
            let key = transaction.add(self.keys.advance_schedule(due, next, overlap_ended));
            let mut written = Vec::with_capacity(missing.len());
            for event in missing {
                written.push((transaction.add(self.activity.put(event)?), event));
            }
            let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
                return Ok(WriteOutcome::Applied);
            };
            if refused.failed(key) {
                return Ok(WriteOutcome::Stale);
            }
            let before = written.len();
            written.retain(|(change, _)| !refused.failed(*change));
            if written.len() == before {
                return Err(refused.unexpected());
            }
            missing = written.into_iter().map(|(_, event)| event).collect();
        }
    }

    /// Performs the action on an unused key at the time of the event, and writes the event in one transaction. The result is
    /// [`WriteOutcome::Stale`] if the key was changed or used since it was read.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn act_on_unused(
        &self,
        key: &UnusedKey,
        action: UnusedAction,
        event: &AuditEvent,
    ) -> Result<WriteOutcome, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let change = transaction.add(self.keys.act_on_unused(key, action, event.at));
        let last_use = transaction.add(self.usage.check_last_use(key.key_id, key.last_used_at));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.client).await? {
            TransactionResult::Cancelled(refused) if refused.failed(last_use) => Ok(WriteOutcome::Stale),
            result => result.outcome(change),
        }
    }

    /// Removes the entries of a key that `DynamoDB` has removed, and writes the event in one transaction: its last use, its member
    /// entry, its name if no other key has taken it, and its place in the user's count if it is still counted. The result is
    /// [`WriteOutcome::Stale`] if the member entry is already gone, so repeating the call has no effect.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn purge_key(
        &self,
        owner: &KeyOwner,
        name_folded: Option<&str>,
        event: &AuditEvent,
    ) -> Result<WriteOutcome, Error> {
        let mut held = HeldEntries { name: name_folded.is_some(), counted: true };
        loop {
            let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
            let key = transaction.add(self.keys.check_absent(owner.key_id));
            transaction.add(self.usage.delete_last_use(owner.key_id));
            let condition = match held.member_condition() {
                MemberCondition::NotCounted => MemberCondition::PresentAndNotCounted,
                condition => condition,
            };
            let member = transaction.add(self.workspaces.delete_member(owner, condition));
            held.leave_user(&mut transaction, &self.workspaces, owner, None);
            transaction.add(self.activity.put(event)?);
            let name = name_folded.filter(|_| held.name).map(|name| {
                transaction.add(self.workspaces.delete_name(&owner.workspace_id, name, owner.key_id))
            });
            let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
                return Ok(WriteOutcome::Applied);
            };
            // An existing key was restored, and a key without a member entry was already purged.
            let is_no_member = refused.failed(member) && refused.existing_item(member).is_none();
            if refused.failed(key) || is_no_member {
                return Ok(WriteOutcome::Stale);
            }
            let before = held;
            held = held.without_lost(&refused, name, Some(member));
            if held == before {
                return Err(refused.unexpected());
            }
        }
    }
}

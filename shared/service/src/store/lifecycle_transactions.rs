//! Transactions that write what the passing of time does to keys.

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
    /// Writes what has happened to a key by the passing of time, and what is due next, together. The end of an overlap
    /// takes the previous hash away. That changes no revision: no user did it. It is [`WriteOutcome::Stale`] where the key is not as it was read.
    ///
    /// An event that is there already was written for the same: by a run whose changes somebody who changed the key at
    /// the same time has overwritten. The key moves on all the same.
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

    /// Writes what comes of a key's being unused at the time of the event, and the event: both or neither. Whether the key
    /// still was as it was read, and unused.
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
        transaction.add(self.activity.put(event)?);
        transaction.commit(&self.client).await?.outcome(change)
    }

    /// Takes away what is left of a key that `DynamoDB` has removed: its name, if it is still its own, its member entry
    /// and its place in its user's count, if it still has one; and writes the event. Whether anything was left: all of it happens
    /// once, with the member entry, however often it is asked for.
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
            // A key that is there has been restored, and one that is no member is purged.
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

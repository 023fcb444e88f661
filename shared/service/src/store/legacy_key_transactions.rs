//! Transactions that import and delete legacy keys.

use std::collections::HashSet;

use aws_sdk_dynamodb::Client;
use chrono::{DateTime, Utc};
use keygate_core::audit_event::AuditEvent;
use keygate_core::caller::Actor;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::legacy_key::HashedLegacyKey;

use crate::store::activity::ActivityTable;
use crate::store::conditional_write::WriteOutcome;
use crate::store::legacy_keys::{LegacyKeysTable, LocatedLegacyKey};
use crate::store::transaction::{Transaction, TransactionResult};
use crate::store::workspaces::WorkspacesTable;

/// The most keys that are imported in one transaction: of 100 items one is the event, and each key may have a user of its own
/// who must not be removed.
pub const MAX_PER_TRANSACTION: usize = 49;

/// The tables of a function that imports or deletes legacy keys.
#[derive(Debug)]
pub struct LegacyStore {
    /// Legacy keys.
    pub keys: LegacyKeysTable,
    /// Names, members and users.
    pub workspaces: WorkspacesTable,
    activity: ActivityTable,
}

impl LegacyStore {
    /// Takes the names of the tables and the audit trail's retention from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one of them is missing or wrong.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            keys: LegacyKeysTable::new(client.clone(), environment)?,
            workspaces: WorkspacesTable::new(client.clone(), environment)?,
            activity: ActivityTable::new(client, environment)?,
        })
    }

    /// Writes new keys, at most [`MAX_PER_TRANSACTION`], and the event: all of them, or none if there are users who were removed,
    /// which it returns.
    ///
    /// # Errors
    ///
    /// - [`Error::Conflict`]: one of the keys is there by now. Try again, and it is left alone.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn import<'a>(
        &self,
        keys: &[&'a HashedLegacyKey],
        event: &AuditEvent,
    ) -> Result<HashSet<&'a UserId>, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        transaction.add(self.activity.put(event)?);
        let mut new = Vec::with_capacity(keys.len());
        for key in keys {
            new.push(transaction.add(self.keys.put(key)?));
        }
        let users: HashSet<_> =
            keys.iter().map(|key| (&key.record.workspace_id, &key.record.user_id)).collect();
        let users: Vec<_> = users
            .into_iter()
            .map(|(workspace, user)| {
                (transaction.add_user(user, self.workspaces.check_not_removed(workspace, user)), user)
            })
            .collect();
        let TransactionResult::Cancelled(refused) = transaction.commit(&self.keys.client).await? else {
            return Ok(HashSet::new());
        };
        let removed: HashSet<_> =
            users.into_iter().filter(|(check, _)| refused.failed(*check)).map(|(_, user)| user).collect();
        if !removed.is_empty() {
            Ok(removed)
        } else if new.into_iter().any(|key| refused.failed(key)) {
            Err(Error::Conflict)
        } else {
            Err(refused.unexpected())
        }
    }

    /// Deletes a legacy key, and writes the event: both or neither.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::NoSuchLegacyKey`]: it was deleted meanwhile.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn delete(
        &self,
        actor: Actor<'_>,
        located: &LocatedLegacyKey,
        event: &AuditEvent,
    ) -> Result<(), Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let key = transaction.add(self.keys.delete(located));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.keys.client).await?.outcome(key)? {
            WriteOutcome::Applied => Ok(()),
            WriteOutcome::Stale => Err(Error::NoSuchLegacyKey),
        }
    }

    /// Deletes a key of a user who is `removed_at` that time, and writes the event: both or neither. It is [`WriteOutcome::Stale`]
    /// where the key was not there.
    ///
    /// # Errors
    ///
    /// - [`Error::UserReinstated`]: the user is not removed any more, or anew.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn delete_of_removed_user(
        &self,
        located: &LocatedLegacyKey,
        (workspace, user): (&WorkspaceId, &UserId),
        removed_at: DateTime<Utc>,
        event: &AuditEvent,
    ) -> Result<WriteOutcome, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let key = transaction.add(self.keys.delete(located));
        let user = transaction.add_user(user, self.workspaces.check_removed(workspace, user, removed_at));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.keys.client).await? {
            TransactionResult::Cancelled(refused) if refused.failed(user) => Err(Error::UserReinstated),
            result => result.outcome(key),
        }
    }
}

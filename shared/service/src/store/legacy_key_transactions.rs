//! Transactions that import and delete legacy keys.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use keygate_core::audit_event::AuditEvent;
use keygate_core::caller::Actor;
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::legacy_key::HashedLegacyKey;

use crate::aws::dynamodb::DynamoDb;
use crate::store::activity::ActivityTable;
use crate::store::conditional_write::WriteOutcome;
use crate::store::legacy_keys::{LegacyKeysTable, LocatedLegacyKey, TableKey};
use crate::store::transaction::{Transaction, TransactionResult};
use crate::store::workspaces::WorkspacesTable;

/// The maximum number of keys in one import transaction. A transaction has at most 100 items: one is the event, and each key
/// takes up to two: its own item, and the check that its user is not removed.
pub const MAX_PER_TRANSACTION: usize = 49;

/// The tables of a function that imports or deletes legacy keys.
#[derive(Debug)]
pub struct LegacyStore {
    /// The legacy keys.
    pub keys: LegacyKeysTable,
    /// The names, members and users.
    pub workspaces: WorkspacesTable,
    activity: ActivityTable,
}

impl LegacyStore {
    /// Reads the table names and the retention of the audit trail from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is missing or invalid.
    pub fn new(client: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            keys: LegacyKeysTable::new(client.clone(), environment)?,
            workspaces: WorkspacesTable::new(client.clone(), environment)?,
            activity: ActivityTable::new(client, environment)?,
        })
    }

    /// Writes at most [`MAX_PER_TRANSACTION`] new keys and the event in one transaction. If users of the keys were removed,
    /// it writes nothing and returns those users.
    ///
    /// # Errors
    ///
    /// - [`Error::Conflict`]: one of the keys was imported meanwhile. A second attempt skips that key.
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

    /// Deletes a legacy key and writes the event in one transaction.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::NoSuchLegacyKey`]: the key was deleted meanwhile.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn delete(
        &self,
        actor: Actor<'_>,
        (hash, id): (&TableKey, KeyId),
        event: &AuditEvent,
    ) -> Result<(), Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let key = transaction.add(self.keys.delete(hash, id));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.keys.client).await?.outcome(key)? {
            WriteOutcome::Applied => Ok(()),
            WriteOutcome::Stale => Err(Error::NoSuchLegacyKey),
        }
    }

    /// Deletes a legacy key of a user whose removal has the time `removed_at`, and writes the event in one transaction. The
    /// result is [`WriteOutcome::Stale`] if the key did not exist.
    ///
    /// # Errors
    ///
    /// - [`Error::UserReinstated`]: the user was reinstated, or removed again later.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn delete_of_removed_user(
        &self,
        located: &LocatedLegacyKey,
        (workspace, user): (&WorkspaceId, &UserId),
        removed_at: DateTime<Utc>,
        event: &AuditEvent,
    ) -> Result<WriteOutcome, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let key = transaction.add(self.keys.delete(&located.hash, located.key_id));
        let user = transaction.add_user(user, self.workspaces.check_removed(workspace, user, removed_at));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.keys.client).await? {
            TransactionResult::Cancelled(refused) if refused.failed(user) => Err(Error::UserReinstated),
            result => result.outcome(key),
        }
    }
}

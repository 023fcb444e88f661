//! Transactions that import and delete legacy keys.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::caller::Actor;
use keygate_core::context::EventContext;
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::legacy_key::HashedLegacyKey;

use crate::aws::dynamodb::DynamoDb;
use crate::store::activity::ActivityTable;
use crate::store::conditional_write::WriteOutcome;
use crate::store::legacy_keys::{LegacyKeysTable, LocatedLegacyKey, TableKey};
use crate::store::transaction::{Cancellation, ChangeHandle, Transaction, TransactionResult};
use crate::store::workspaces::WorkspacesTable;

/// The maximum number of keys in one import transaction. A transaction has at most 100 items: one is the event, and each key
/// takes up to two: its own item, and the check that its user is not removed.
pub const MAX_PER_TRANSACTION: usize = 49;
/// The maximum number of keys in one import transaction that replaces keys: each takes up to four items, because the end of
/// the replaced key has an event too, and its user must not be removed either.
pub const MAX_REPLACED: usize = 24;

/// A key that an import writes.
#[derive(Debug)]
pub struct ImportedKey {
    /// The key with its hash.
    pub new: HashedLegacyKey,
    /// The id and the user of the key that it takes the place of.
    pub replaced: Option<(KeyId, UserId)>,
}

impl ImportedKey {
    /// The users who must not be removed.
    pub fn users(&self) -> impl Iterator<Item = &UserId> {
        let replaced = self.replaced.as_ref().map(|(_, user)| user);
        std::iter::once(&self.new.record.user_id).chain(replaced)
    }
}

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

    /// Writes keys and their events in one transaction: one event for all of them, and one for each key that is replaced. At
    /// most [`MAX_PER_TRANSACTION`] keys, or [`MAX_REPLACED`] if one of them replaces another. If users of the keys were
    /// removed, it writes nothing and returns those users.
    ///
    /// # Errors
    ///
    /// - [`Error::Conflict`]: one of the keys was imported, replaced or deleted meanwhile. A second attempt reads it.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn import<'a>(
        &self,
        keys: &[&'a ImportedKey],
        importer: &UserId,
        context: &EventContext<'_>,
    ) -> Result<HashSet<&'a UserId>, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let event = AuditEvent::for_user(Action::LegacyImported, *context, importer);
        transaction.add(self.activity.put(&AuditEvent { count, ..event })?);
        let mut changes = Vec::with_capacity(keys.len());
        for ImportedKey { new, replaced } in keys {
            changes.push(transaction.add(self.keys.put(new, replaced.as_ref().map(|(id, _)| *id))?));
            if let Some((id, user)) = replaced {
                let event = AuditEvent::for_key(Action::LegacyDeleted, *context, *id, user);
                transaction.add(self.activity.put(&event)?);
            }
        }
        let users = self.check_users(&mut transaction, keys);
        let TransactionResult::Cancelled(refused) = transaction.commit(&self.keys.client).await? else {
            return Ok(HashSet::new());
        };
        let removed = removed(users, &refused);
        if !removed.is_empty() {
            Ok(removed)
        } else if changes.into_iter().any(|key| refused.failed(key)) {
            Err(Error::Conflict)
        } else {
            Err(refused.unexpected())
        }
    }

    /// The users of the keys who were removed. It writes nothing.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn removed_users<'a>(&self, keys: &[&'a ImportedKey]) -> Result<HashSet<&'a UserId>, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let users = self.check_users(&mut transaction, keys);
        match transaction.commit(&self.keys.client).await? {
            TransactionResult::Committed => Ok(HashSet::new()),
            TransactionResult::Cancelled(refused) => {
                let removed = removed(users, &refused);
                if removed.is_empty() { Err(refused.unexpected()) } else { Ok(removed) }
            }
        }
    }

    /// Adds the condition that no user of the keys is removed. A replaced key of a removed user is about to be deleted, and must not
    /// work on for another user.
    fn check_users<'a>(
        &self,
        transaction: &mut Transaction<'_>,
        keys: &[&'a ImportedKey],
    ) -> Vec<(ChangeHandle, &'a UserId)> {
        let users = keys.iter().flat_map(|key| {
            let workspace = &key.new.record.workspace_id;
            key.users().map(move |user| (workspace, user))
        });
        let users: HashSet<_> = users.collect();
        users
            .into_iter()
            .map(|(workspace, user)| {
                (transaction.add_user(user, self.workspaces.check_not_removed(workspace, user)), user)
            })
            .collect()
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

/// The users whose condition failed.
fn removed<'a>(users: Vec<(ChangeHandle, &'a UserId)>, refused: &Cancellation) -> HashSet<&'a UserId> {
    users.into_iter().filter(|(check, _)| refused.failed(*check)).map(|(_, user)| user).collect()
}

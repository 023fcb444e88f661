//! The tables of the functions that manage keys and users.

use keygate_core::caller::Actor;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;

use crate::aws::dynamodb::DynamoDb;
use crate::store::activity::ActivityTable;
use crate::store::keys::KeysTable;
use crate::store::transaction::{Transaction, TransactionResult};
use crate::store::usage::UsageTable;
use crate::store::workspaces::WorkspacesTable;

/// The tables of a function that changes keys or users.
#[derive(Debug)]
pub struct Store {
    /// The keys and their hashes.
    pub keys: KeysTable,
    /// The names, members and users.
    pub workspaces: WorkspacesTable,
    /// The audit trail.
    pub activity: ActivityTable,
    /// The use of keys.
    pub usage: UsageTable,
    pub(super) client: DynamoDb,
}

impl Store {
    /// Reads the table names and the retention of the audit trail from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is missing or invalid.
    pub fn new(client: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            keys: KeysTable::new(client.clone(), environment)?,
            workspaces: WorkspacesTable::new(client.clone(), environment)?,
            activity: ActivityTable::new(client.clone(), environment)?,
            usage: UsageTable::new(client.clone(), environment)?,
            client,
        })
    }

    /// Checks the conditions on the actor for a request that turns out to change nothing.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn change_nothing(&self, actor: Actor<'_>) -> Result<(), Error> {
        match Transaction::new(actor, &self.workspaces).commit(&self.client).await? {
            TransactionResult::Committed => Ok(()),
            TransactionResult::Cancelled(refused) => Err(refused.unexpected()),
        }
    }
}

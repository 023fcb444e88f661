//! The table `workspaces`: names, members and users of each workspace.
//!
//! | entry | attributes |
//! | --- | --- |
//! | `NAME#<folded name>` | `key_id`, `expires_at`?, `ttl`? |
//! | `MEMBER#<user>#<key id>` | `counted`?, `expires_at`?, `gone_at`?, the key's `ttl` |
//! | `USER#<user>` | `key_count`, `removed_at`?, `reinstated_at`?, both in milliseconds; `made_by_removal`? |
//! | `REMOVALS` | `user_count`: the number of user entries that are `made_by_removal` |
//! | `BOOTSTRAP` | none; the entry exists once the workspace has had an administrator |
//!
//! A user's count is the number of their member entries that are `counted`. No transaction changes one without the other,
//! and `DynamoDB` removes neither. So a member entry has no `ttl`, and is deleted after its key was removed.
//!
//! An expired key gives up its name and its place in the count without any write. A name is free once the `expires_at` in
//! its entry has passed. If a user's count is full, the transaction that counts a new key removes `counted` from the member
//! entries of expired keys. So the entry of a name belongs to the last key that took it, other expired keys may have the
//! same name, and the entry of an expired key may be counted or not.
//!
//! This file has the table itself. The operations on names, members, users, counters and idempotency records are in the
//! files with these names.
//!
//! Two kinds of partitions are not workspaces. In `#idempotency#<workspace>`, an entry is the digest of an idempotent
//! creation or rotation, see [`keygate_core::idempotency`]. In `#keygate`, Keygate's own scheduled functions save their
//! progress. The roles tell these partitions apart by the `#`.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::WorkspaceId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aws::dynamodb::DynamoDb;
use crate::store::expression::{self, Condition};
use crate::store::item::{Item, broken, text};

/// The attribute of a name and of a member entry with the expiry of their key.
pub(super) const EXPIRES_AT: &str = "expires_at";

/// The partition with the progress of scheduled functions. No workspace id contains a `#`.
const OWN_PARTITION: &str = "#keygate";
/// The attribute with the progress of a scheduled function.
const NOTE: &str = "note";
/// The entry that marks a workspace as bootstrapped.
pub(super) const BOOTSTRAP: &str = "BOOTSTRAP";

/// The table.
#[derive(Clone, Debug)]
pub struct WorkspacesTable {
    pub(super) client: DynamoDb,
    pub(super) table: String,
}

/// A condition of a bootstrap on its workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapMode {
    /// The workspace has never been bootstrapped.
    First,
    /// No condition.
    BreakGlass,
}

/// `WORKSPACES_TABLE`.
pub(super) fn table_name(environment: &Environment) -> Result<String, InvalidVariable> {
    environment.required("WORKSPACES_TABLE", "must be the name of the table of names and users")
}

impl WorkspacesTable {
    /// Reads the table name from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the variable is missing.
    pub fn new(client: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self { client, table: table_name(environment)? })
    }

    /// Whether a workspace exists, which means that it was bootstrapped. Workspaces are never deleted.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn exists(&self, workspace: &WorkspaceId) -> Result<bool, Error> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(entry_key(workspace, BOOTSTRAP)))
            .projection_expression("entry")
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        Ok(response.item.is_some())
    }

    /// Reads the progress that a scheduled function has saved under `word`; `None` before its first run.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the saved progress is not valid.
    pub async fn progress<T: DeserializeOwned>(&self, word: &str) -> Result<Option<T>, Error> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(own_entry_key(word)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let note = response.item.and_then(|mut item| item.remove(NOTE));
        note.map(serde_dynamo::from_attribute_value).transpose().map_err(|_| broken("note"))
    }

    /// Saves the progress of a scheduled function under `word`.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the progress cannot be serialized.
    pub async fn save_progress(&self, word: &str, progress: impl Serialize) -> Result<(), Error> {
        let mut item = own_entry_key(word);
        item.insert(NOTE.to_owned(), serde_dynamo::to_attribute_value(progress).map_err(|_| broken("note"))?);
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        Ok(())
    }

    /// Marks the workspace as bootstrapped. Creating a key takes a key, so a workspace without this mark has no users.
    /// Writing the mark in the same transaction makes the check atomic.
    pub(super) fn put_bootstrap(&self, workspace: &WorkspaceId, mode: BootstrapMode) -> TransactWriteItem {
        let condition = match mode {
            BootstrapMode::First => Condition::new("attribute_not_exists(entry)"),
            BootstrapMode::BreakGlass => Condition::none(),
        };
        expression::put(&self.table, entry_key(workspace, BOOTSTRAP), condition)
    }
}

/// The key of an entry of a workspace.
pub(super) fn entry_key(workspace: &WorkspaceId, entry: &str) -> Item {
    HashMap::from([("workspace_id".to_owned(), text(workspace)), ("entry".to_owned(), text(entry))])
}

fn own_entry_key(word: &str) -> Item {
    HashMap::from([
        ("workspace_id".to_owned(), AttributeValue::S(OWN_PARTITION.to_owned())),
        ("entry".to_owned(), AttributeValue::S(word.to_owned())),
    ])
}

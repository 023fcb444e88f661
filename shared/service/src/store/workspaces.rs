//! The table `workspaces`: names, members and users of each tenant.
//!
//! | entry | attributes |
//! | --- | --- |
//! | `NAME#<folded name>` | `key_id`, `expires_at`?, `ttl`? |
//! | `MEMBER#<user>#<key id>` | `counted`?, `expires_at`?, `gone_at`?, the key's `ttl` |
//! | `USER#<user>` | `key_count`, `removed_at`?, `reinstated_at`?, both in milliseconds; `made_by_removal`? |
//! | `REMOVALS` | `user_count`: how many users' entries are `made_by_removal` |
//! | `IDEMPOTENCY#<digest>` | of an idempotent create or rotation, see [`keygate_core::idempotency`]; `ttl` |
//! | `BOOTSTRAP` | none: that it exists says that the workspace has had an administrator |
//!
//! A user's count is the number of their member entries that are `counted`: no transaction changes one without the other, and
//! `DynamoDB` removes neither. That is why a member entry has no `ttl`; it goes when its key has gone.
//!
//! An expired key lets go of its name and of its place in the count, and nothing has to happen for that. A name is free when the
//! `expires_at` beside it is past. A key that finds its user's count full takes the places of expired keys: the transaction
//! that counts it takes `counted` from their member entries. So the entry of a name is that of the last key that took it, which need
//! not be the only one that is called so; and the entry of an expired key may be counted or not.
//!
//! This file has the table itself. What it does with names, members, users, counts and idempotency records is in the files that are called
//! so.
//!
//! Beside the tenants there is `#keygate`, which is none: where Keygate's own scheduled functions note how far they are.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::WorkspaceId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::expression::{self, Condition};
use crate::store::item::{Item, broken, text};

/// The attribute of a name and of a member entry that says when their key expires.
pub(super) const EXPIRES_AT: &str = "expires_at";

/// The partition of the progress of scheduled functions: no workspace has an id with a `#`.
const OWN_PARTITION: &str = "#keygate";
/// The attribute that holds the progress of a scheduled function.
const NOTE: &str = "note";
/// The entry that says that a workspace was bootstrapped.
const BOOTSTRAP: &str = "BOOTSTRAP";

/// The table.
#[derive(Clone, Debug)]
pub struct WorkspacesTable {
    pub(super) client: Client,
    pub(super) table: String,
}

/// The condition of a bootstrap on its workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapMode {
    /// The workspace has never been bootstrapped.
    First,
    /// None.
    BreakGlass,
}

/// `WORKSPACES_TABLE`.
fn table_name(environment: &Environment) -> Result<String, InvalidVariable> {
    environment.required("WORKSPACES_TABLE", "must be the name of the table of names and users")
}

impl WorkspacesTable {
    /// Takes the table's name from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self { client, table: table_name(environment)? })
    }

    /// Whether a workspace exists: whether it was ever bootstrapped. None ever ceases to.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn exists(&self, workspace: &WorkspaceId) -> Result<bool, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(entry_key(workspace, BOOTSTRAP)))
            .projection_expression("entry")
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        Ok(answer.item.is_some())
    }

    /// The progress of a scheduled function, which it has saved under a word; none before its first run.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: it is something else.
    pub async fn progress<T: DeserializeOwned>(&self, word: &str) -> Result<Option<T>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(own_entry_key(word)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let note = answer.item.and_then(|mut item| item.remove(NOTE));
        note.map(serde_dynamo::from_attribute_value).transpose().map_err(|_| broken("note"))
    }

    /// Saves the progress of a scheduled function under a word.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: it cannot be written.
    pub async fn save_progress(&self, word: &str, progress: impl Serialize) -> Result<(), Error> {
        let mut item = own_entry_key(word);
        item.insert(NOTE.to_owned(), serde_dynamo::to_attribute_value(progress).map_err(|_| broken("note"))?);
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        Ok(())
    }

    /// Marks the workspace as bootstrapped. Every user comes after the first bootstrap, because making a key for one
    /// takes a key; so the mark says that the workspace has users, and says it atomically.
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

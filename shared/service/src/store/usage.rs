//! The table `usage`: what calls write about keys, apart from the keys themselves, so that a busy key never slows down the
//! management of keys.
//!
//! | item | content |
//! | --- | --- |
//! | `LAST` | the last use of a key. It exists from the creation to the deletion of its key |
//! | `CALLS#<hour>` | the calls of a key in an hour, see [`hourly_calls`](super::hourly_calls) |
//! | `LIMITS` | the calls of a key with limits in its present windows, see [`limit_windows`](super::limit_windows) |
//!
//! The index `by_last_used_at` orders the keys of a workspace by last use. A key that was never used has the last use 0, so
//! that the index contains it. Lists read the index, see [`key_queries`](super::key_queries), and so does the function that
//! disables unused keys, see [`unused_keys`](super::unused_keys).

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::TransactWriteItem;
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::WorkspaceId;
use keygate_core::key::Key;
use keygate_core::time::zero_until_used;
use serde::Deserialize;

use crate::store::batch;
use crate::store::conditional_write;
use crate::store::expression::{self, Condition};
use crate::store::item::{Item, broken, number, seconds, text};

/// The entry that holds the last use of a key.
const LAST: &str = "LAST";

/// The index of the keys of a workspace by last use.
pub(super) const BY_LAST_USED_AT: &str = "by_last_used_at";

/// The table.
#[derive(Clone, Debug)]
pub struct UsageTable {
    pub(super) client: Client,
    pub(super) table: String,
}

/// The last use of a key.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct LastUse {
    /// The id of the key.
    pub key_id: KeyId,
    /// The time; `None` if the key was never used.
    #[serde(with = "zero_until_used")]
    pub last_used_at: Option<DateTime<Utc>>,
}

impl LastUse {
    /// Reads an item of the table or of its index.
    pub(super) fn read(item: Item) -> Result<Self, Error> {
        serde_dynamo::from_item(item).map_err(|_| broken("last use"))
    }
}

impl UsageTable {
    /// Reads the table name from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the variable is missing.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        let table = environment.required("USAGE_TABLE", "must be the name of the table of usage")?;
        Ok(Self { client, table })
    }

    /// Updates the last use of a key to `at`, unless it was updated after `due`. The last use never moves backwards. A
    /// deleted key has no such item, and the update does not create it.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn mark_used(&self, id: KeyId, at: DateTime<Utc>, due: DateTime<Utc>) -> Result<(), Error> {
        conditional_write::mark_used(&self.client, &self.table, last_use_key(id), at, due).await
    }

    /// Reads the last use of a key, strongly consistent; `None` if the key was never used or does not exist.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item is not a last use, or has the id of another key.
    pub async fn last_used_at(&self, id: KeyId) -> Result<Option<DateTime<Utc>>, Error> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(last_use_key(id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        match response.item.map(LastUse::read).transpose()? {
            Some(last) if last.key_id != id => Err(broken("last use")),
            last => Ok(last.and_then(|last| last.last_used_at)),
        }
    }

    /// Reads the last use of several keys, eventually consistent. The result has no entry for a key that does not exist.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an item is not a last use.
    pub(super) async fn last_used_at_of(
        &self,
        ids: impl IntoIterator<Item = KeyId>,
    ) -> Result<HashMap<KeyId, Option<DateTime<Utc>>>, Error> {
        // Pages of an index that changes meanwhile may have a key twice.
        let ids: HashSet<_> = ids.into_iter().collect();
        let keys = ids.into_iter().map(last_use_key).collect();
        let items = batch::get_all(&self.client, &self.table, keys, |wanted| wanted).await?;
        let last_uses = items.into_iter().map(LastUse::read);
        last_uses.map(|last| last.map(|last| (last.key_id, last.last_used_at))).collect()
    }

    /// A query of the keys of a workspace in the order of their last use.
    pub(super) fn by_last_use(&self, workspace: &WorkspaceId) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .index_name(BY_LAST_USED_AT)
            .key_condition_expression("workspace_id = :workspace")
            .expression_attribute_values(":workspace", text(workspace))
    }

    /// Writes that a new key was never used.
    pub(super) fn put_last_use(&self, key: &Key) -> TransactWriteItem {
        let mut item = last_use_key(key.key_id);
        item.insert("workspace_id".to_owned(), text(&key.workspace_id));
        item.insert("last_used_at".to_owned(), number(&0));
        expression::put(&self.table, item, Condition::none())
    }

    /// Requires that a key was not used after the last use that was read.
    pub(super) fn check_last_use(&self, id: KeyId, last_used_at: DateTime<Utc>) -> TransactWriteItem {
        let condition = Condition::equal("last_used_at", seconds(last_used_at));
        expression::check(&self.table, last_use_key(id), condition)
    }

    /// Deletes the last use of a key, if there is one.
    pub(super) fn delete_last_use(&self, id: KeyId) -> TransactWriteItem {
        expression::delete(&self.table, last_use_key(id), Condition::none())
    }
}

/// The position of the last use of a key in the index.
pub(super) fn index_position(workspace: &WorkspaceId, last_used_at: i64, id: KeyId) -> Item {
    let mut position = last_use_key(id);
    position.insert("workspace_id".to_owned(), text(workspace));
    position.insert("last_used_at".to_owned(), number(&last_used_at));
    position
}

fn last_use_key(id: KeyId) -> Item {
    HashMap::from([("key_id".to_owned(), text(&id)), ("entry".to_owned(), text(LAST))])
}

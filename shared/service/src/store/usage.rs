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

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::TransactWriteItem;
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::WorkspaceId;
use keygate_core::key::{Key, LastUse};
use keygate_core::time::zero_until_used;
use serde::Deserialize;

use crate::aws::dynamodb::DynamoDb;
use crate::store::batch;
use crate::store::conditional_write::outcome;
use crate::store::expression::{self, Condition};
use crate::store::item::{Item, broken, number, seconds, text};

/// The entry that holds the last use of a key.
const LAST: &str = "LAST";

/// The index of the keys of a workspace by last use.
pub(super) const BY_LAST_USED_AT: &str = "by_last_used_at";

/// The table.
#[derive(Clone, Debug)]
pub struct UsageTable {
    pub(super) client: DynamoDb,
    pub(super) table: String,
}

/// The last use of a key, as it is stored.
#[derive(Deserialize)]
struct StoredLastUse {
    key_id: KeyId,
    #[serde(with = "zero_until_used")]
    last_used_at: Option<DateTime<Utc>>,
    last_used_from: Option<String>,
}

/// Reads the last use of a key from an item of the table or of its index, with the id of the key; `None` if the key was never
/// used.
pub(super) fn read_last_use(item: Item) -> Result<(KeyId, Option<LastUse>), Error> {
    let stored: StoredLastUse = serde_dynamo::from_item(item).map_err(|_| broken("last use"))?;
    let StoredLastUse { key_id, last_used_at, last_used_from: from } = stored;
    Ok((key_id, last_used_at.map(|at| LastUse { at, from })))
}

impl UsageTable {
    /// Reads the table name from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the variable is missing.
    pub fn new(client: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        let table = environment.required("USAGE_TABLE", "must be the name of the table of usage")?;
        Ok(Self { client, table })
    }

    /// Updates the last use of a key, unless it was updated after `due`. The last use never moves backwards. A deleted key has no
    /// such item, and the update does not create it.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn mark_used(&self, id: KeyId, last_use: &LastUse, due: DateTime<Utc>) -> Result<(), Error> {
        let expression = match last_use.from {
            Some(_) => "SET last_used_at = :at, last_used_from = :from",
            None => "SET last_used_at = :at REMOVE last_used_from",
        };
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(last_use_key(id)))
            .update_expression(expression)
            .condition_expression("last_used_at <= :due")
            .expression_attribute_values(":at", seconds(last_use.at))
            .expression_attribute_values(":due", seconds(due));
        if let Some(from) = &last_use.from {
            update = update.expression_attribute_values(":from", text(from));
        }
        outcome(update.send().await).map(drop)
    }

    /// Reads the last use of a key, strongly consistent; `None` if the key was never used or does not exist.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item is not a last use, or has the id of another key.
    pub async fn last_use(&self, id: KeyId) -> Result<Option<LastUse>, Error> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(last_use_key(id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        match response.item.map(read_last_use).transpose()? {
            Some((key_id, _)) if key_id != id => Err(broken("last use")),
            last => Ok(last.and_then(|(_, last_use)| last_use)),
        }
    }

    /// Reads the last use of several keys, eventually consistent. The result has no entry for a key that does not exist.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an item is not a last use.
    pub(super) async fn last_uses(
        &self,
        ids: impl IntoIterator<Item = KeyId>,
    ) -> Result<HashMap<KeyId, Option<LastUse>>, Error> {
        // Pages of an index that changes meanwhile may have a key twice.
        let ids: HashSet<_> = ids.into_iter().collect();
        let keys = ids.into_iter().map(last_use_key).collect();
        let items = batch::get_all(&self.client, &self.table, keys, |wanted| wanted).await?;
        items.into_iter().map(read_last_use).collect()
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

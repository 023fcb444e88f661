//! The table `keys`: one item a key, found by its id; four indexes without hashes, found by workspace.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::caller::{UserId, WorkspaceId};
use crate::credential::KeyId;
use crate::error::Error;
use crate::record::{HashedKey, Key};
use crate::store::{broken, number, text};

/// Every key of a workspace in the order of creation: an id begins with its time, and is a total order where several
/// keys are made in one second.
const BY_CREATED_AT: &str = "by_created_at";
/// A page never reads more than this many times, however many of the items it finds are past their ttl.
const MOST_READS: usize = 4;

/// The table.
#[derive(Clone, Debug)]
pub struct Keys {
    client: Client,
    table: String,
}

/// What must be known of a key to delete it. It is read without the hashes, which the role may not see.
#[derive(Clone, Debug, Deserialize)]
pub struct Deletable {
    /// Its id.
    pub key_id: KeyId,
    /// Its tenant.
    pub workspace_id: WorkspaceId,
    /// Whose it is.
    pub user_id: UserId,
    /// The name as it is compared, and as its entry is called.
    pub name_folded: String,
    /// Which state of the key this is.
    pub revision: u64,
    #[serde(default, with = "chrono::serde::ts_seconds_option")]
    ttl: Option<DateTime<Utc>>,
}

/// Some keys, and where to go on.
#[derive(Debug)]
pub struct Page {
    /// At most as many as asked for.
    pub keys: Vec<Key>,
    /// The last key that was read, if there are more.
    pub next: Option<KeyId>,
}

impl Keys {
    /// Takes the table's name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Opens a connection to the table, so that the first read need not wait for one. It reads an item that cannot
    /// exist, because reading items is all that the authorizer's role may do.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn connect(&self) -> Result<(), Error> {
        let nothing = self.client.get_item().table_name(&self.table).key("key_id", text("connect"));
        nothing.send().await.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        Ok(())
    }

    /// Reads a key with its hash: one item, strongly consistent, so that a deleted key is refused at once.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: the item is not a key.
    pub async fn hashed(&self, id: KeyId) -> Result<Option<HashedKey>, Error> {
        let answer =
            self.client.get_item().table_name(&self.table).key("key_id", text(&id)).consistent_read(true);
        let answer = answer.send().await.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        answer.item.map(serde_dynamo::from_item).transpose().map_err(|cause| broken("key", &cause))
    }

    /// Reads what deleting a key takes. A key past its ttl is gone.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: the item is not a key.
    pub async fn deletable(&self, id: KeyId, now: DateTime<Utc>) -> Result<Option<Deletable>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("key_id", text(&id))
            .projection_expression("key_id, workspace_id, user_id, name_folded, revision, #ttl")
            .expression_attribute_names("#ttl", "ttl")
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let key: Option<Deletable> =
            answer.item.map(serde_dynamo::from_item).transpose().map_err(|cause| broken("key", &cause))?;
        Ok(key.filter(|key| key.ttl.is_none_or(|ttl| now < ttl)))
    }

    /// Reads the keys of a workspace, newest first, from the one made before `before`.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an item is not a key.
    pub async fn newest(
        &self,
        workspace: &WorkspaceId,
        before: Option<KeyId>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Page, Error> {
        // One more than asked for tells whether there is a next page.
        let wanted = limit + 1;
        let mut keys: Vec<Key> = Vec::with_capacity(wanted);
        let mut start = before.map(|id| index_position(workspace, id));
        for _ in 0..MOST_READS {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(BY_CREATED_AT)
                .key_condition_expression("workspace_id = :workspace")
                .filter_expression("attribute_not_exists(#ttl) OR #ttl > :now")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":workspace", text(workspace))
                .expression_attribute_values(":now", number(&now.timestamp()))
                .scan_index_forward(false)
                .limit(i32::try_from(wanted - keys.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
            let found: Vec<Key> = serde_dynamo::from_items(answer.items.unwrap_or_default())
                .map_err(|cause| broken("key", &cause))?;
            keys.extend(found);
            start = answer.last_evaluated_key;
            if start.is_none() || keys.len() == wanted {
                break;
            }
        }
        let next = if keys.len() == wanted {
            keys.truncate(limit);
            keys.last().map(|key| key.key_id)
        } else {
            start.map(position_in_index).transpose()?
        };
        Ok(Page { keys, next })
    }

    /// The change that writes a new key.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the key cannot be written as an item.
    pub(super) fn put(&self, new: &HashedKey) -> Result<TransactWriteItem, Error> {
        let mut item: HashMap<String, AttributeValue> =
            serde_dynamo::to_item(new).map_err(|cause| broken("key", &cause))?;
        item.insert("name_folded".to_owned(), text(&new.key.name.folded()));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(key_id)")
            .build()
            .expect("a table and an item");
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The change that deletes a key as it was read.
    pub(super) fn delete(&self, key: &Deletable) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(&self.table)
            .key("key_id", text(&key.key_id))
            .condition_expression("revision = :revision")
            .expression_attribute_values(":revision", number(&key.revision))
            .build()
            .expect("a table and a key");
        TransactWriteItem::builder().delete(delete).build()
    }
}

fn index_position(workspace: &WorkspaceId, id: KeyId) -> HashMap<String, AttributeValue> {
    HashMap::from([("workspace_id".to_owned(), text(workspace)), ("key_id".to_owned(), text(&id))])
}

fn position_in_index(position: HashMap<String, AttributeValue>) -> Result<KeyId, Error> {
    #[derive(Deserialize)]
    struct Position {
        key_id: KeyId,
    }
    let position: Position = serde_dynamo::from_item(position).map_err(|cause| broken("key", &cause))?;
    Ok(position.key_id)
}

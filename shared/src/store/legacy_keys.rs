//! The table `legacy-keys`: one item a key, found by its hash. It exists only while a sunset is configured.
//!
//! The index `by_user` (`workspace_id`, `user_id`) holds no hash but the one that is the table's key, which every index has; and
//! beside it what removing a user and the report of who still calls with legacy keys take.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, KeysAndAttributes, Put, TransactWriteItem};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::activity::Event;
use crate::caller::{UserId, WorkspaceId};
use crate::config::{Environment, InvalidVariable};
use crate::credential::KeyId;
use crate::error::Error;
use crate::pepper::SecretHash;
use crate::record::LegacyKey;
use crate::store::activity::Activity;
use crate::store::transaction::{self, Outcome};
use crate::store::workspaces::Workspaces;
use crate::store::{batch, broken, bytes, mark_used, text};

/// The most keys that are imported in one transaction: of 100 items one is the event, and each key may have a user of its own
/// who must not be removed.
pub const MOST_AT_ONCE: usize = 49;

/// The most items that one request reads.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>
const MOST_READ_AT_ONCE: usize = 100;

/// The table.
#[derive(Clone, Debug)]
pub struct LegacyKeys {
    client: Client,
    table: String,
}

/// What the index holds of a legacy key.
#[derive(Debug, Deserialize)]
pub struct IndexedLegacyKey {
    /// What it is found by.
    #[serde(flatten)]
    pub hash: SecretHash,
    /// Its id in the audit trail.
    pub key_id: KeyId,
}

/// The tables of a function that imports or removes legacy keys.
#[derive(Debug)]
pub struct LegacyStore {
    /// Legacy keys.
    pub keys: LegacyKeys,
    workspaces: Workspaces,
    activity: Activity,
}

impl LegacyKeys {
    /// Takes the table's name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Writes that a key was used, unless it was written since `due`, and never backwards.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn mark_used(
        &self,
        hash: &SecretHash,
        at: DateTime<Utc>,
        due: DateTime<Utc>,
    ) -> Result<(), Error> {
        mark_used(&self.client, &self.table, key(hash), at, due).await
    }

    /// A user's keys, as far as the index has them by now: what was imported a moment ago may be missing.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an item is not a key.
    pub async fn of_user(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
    ) -> Result<Vec<IndexedLegacyKey>, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by_user")
            .key_condition_expression("workspace_id = :workspace AND user_id = :user")
            .expression_attribute_values(":workspace", text(workspace))
            .expression_attribute_values(":user", text(user));
        let items = query.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let items = items.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        serde_dynamo::from_items(items).map_err(|_| broken("legacy key"))
    }
}

impl LegacyStore {
    /// Takes the names of the tables and the audit trail's retention from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one of them is missing or wrong.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            keys: LegacyKeys::new(client.clone(), environment.legacy_keys_table()?),
            workspaces: Workspaces::new(client.clone(), environment.workspaces_table()?),
            activity: Activity::new(client, environment.activity_table()?, environment.activity_retention()?),
        })
    }

    /// Those of the hashes under which a key is stored.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer, or left something unread.
    ///
    /// # Panics
    ///
    /// Never: a request has keys to read.
    pub async fn present(&self, hashes: &[&SecretHash]) -> Result<HashSet<Vec<u8>>, Error> {
        let LegacyKeys { client, table } = &self.keys;
        let mut present = HashSet::new();
        for hashes in hashes.chunks(MOST_READ_AT_ONCE) {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(hashes.iter().map(|hash| key(hash)).collect()))
                .projection_expression("#hash")
                .expression_attribute_names("#hash", "hash")
                .consistent_read(true)
                .build()
                .expect("keys to read");
            let mut read = batch::get(client, HashMap::from([(table.clone(), wanted)])).await?;
            let items = read.remove(table).unwrap_or_default();
            present.extend(
                items.into_iter().filter_map(|mut item| {
                    item.remove("hash")?.as_b().ok().map(|hash| hash.as_ref().to_vec())
                }),
            );
        }
        Ok(present)
    }

    /// Writes new keys, at most [`MOST_AT_ONCE`], and the event: all of them, or none if there are users who were removed,
    /// which it returns.
    ///
    /// # Errors
    ///
    /// - [`Error::Conflict`]: one of the keys is there by now. Try again, and it is left alone.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn import<'a>(
        &self,
        keys: &[&'a LegacyKey],
        event: &Event,
    ) -> Result<HashSet<&'a UserId>, Error> {
        let mut changes = vec![self.activity.put(event)?];
        for key in keys {
            changes.push(self.put(key)?);
        }
        let users: HashSet<_> = keys.iter().map(|key| (&key.workspace_id, &key.user_id)).collect();
        let users: Vec<_> = users.into_iter().collect();
        let first_user = changes.len();
        changes
            .extend(users.iter().map(|(workspace, user)| self.workspaces.check_not_removed(workspace, user)));
        let Outcome::Refused(refused) = transaction::commit(&self.keys.client, changes).await? else {
            return Ok(HashSet::new());
        };
        let removed =
            users.iter().enumerate().filter(|(index, _)| refused.condition_failed(first_user + index));
        let removed: HashSet<_> = removed.map(|(_, (_, user))| *user).collect();
        if !removed.is_empty() {
            Ok(removed)
        } else if (1..first_user).any(|index| refused.condition_failed(index)) {
            Err(Error::Conflict)
        } else {
            Err(refused.unexpected())
        }
    }

    /// Deletes a key of a user who is `removed_at` that time, and writes the event: both or neither. Whether it was there.
    ///
    /// # Errors
    ///
    /// - [`Error::UserReinstated`]: the user is not removed any more, or anew.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn delete(
        &self,
        hash: &SecretHash,
        (workspace, user): (&WorkspaceId, &UserId),
        removed_at: DateTime<Utc>,
        event: &Event,
    ) -> Result<bool, Error> {
        const KEY: usize = 0;
        const USER: usize = 1;
        let changes = vec![
            self.remove(hash),
            self.workspaces.check_removed(workspace, user, removed_at),
            self.activity.put(event)?,
        ];
        match transaction::commit(&self.keys.client, changes).await? {
            Outcome::Committed => Ok(true),
            Outcome::Refused(refused) if refused.condition_failed(USER) => Err(Error::UserReinstated),
            Outcome::Refused(refused) if refused.condition_failed(KEY) => Ok(false),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }

    fn remove(&self, hash: &SecretHash) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(&self.keys.table)
            .set_key(Some(key(hash)))
            .condition_expression("attribute_exists(#hash)")
            .expression_attribute_names("#hash", "hash")
            .build()
            .expect("a table and a key");
        TransactWriteItem::builder().delete(delete).build()
    }

    fn put(&self, new: &LegacyKey) -> Result<TransactWriteItem, Error> {
        let item: HashMap<String, AttributeValue> =
            serde_dynamo::to_item(new).map_err(|_| broken("legacy key"))?;
        let put = Put::builder()
            .table_name(&self.keys.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#hash)")
            .expression_attribute_names("#hash", "hash")
            .build()
            .expect("a table and an item");
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

fn key(hash: &SecretHash) -> HashMap<String, AttributeValue> {
    HashMap::from([("hash".to_owned(), bytes(hash.as_bytes()))])
}

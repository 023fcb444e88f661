//! The table `keys`: one item per key, found by the key id.
//!
//! The indexes contain no hashes. Lists read the indexes by workspace, see [`key_queries`](super::key_queries). A scheduled
//! function reads `by_due`, see [`due_keys`](super::due_keys). Calls write nothing here, except a hash under a newer pepper:
//! the last use of a key is in the table `usage`, see [`usage`](super::usage).

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::key::{HashedKey, Key};
use keygate_core::pepper::SecretHash;
use keygate_core::token::TokenKey;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::aws::dynamodb::DynamoDb;
use crate::store::conditional_write::outcome;
use crate::store::item::{Item, broken, bytes, number, text};

/// The attributes of a key without its hashes. The IAM roles list the same attributes and deny a request for any other.
pub(super) const UNHASHED: &str = "key_id, workspace_id, user_id, #name, name_folded, description, scopes, endpoints, networks, metadata, limits, created_at, \
     created_by, revision, expires_at, #ttl, disabled_at, leaked_at, previous_expires_at, previous_transferred, unclaimed, rotation, due_at";

/// The table.
#[derive(Clone, Debug)]
pub struct KeysTable {
    pub(super) client: DynamoDb,
    pub(super) table: String,
}

/// A stored key without its hashes, which most roles may not read.
#[derive(Clone, Debug, Deserialize)]
pub struct UnhashedKey {
    /// The key.
    #[serde(flatten)]
    pub record: Key,
    /// The folded name, which is also the name of its entry.
    pub name_folded: String,
}

/// `KEYS_TABLE`.
pub(super) fn table_name(environment: &Environment) -> Result<String, InvalidVariable> {
    environment.required("KEYS_TABLE", "must be the name of the table of keys")
}

impl KeysTable {
    /// Reads the table name from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the variable is missing.
    pub fn new(client: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self { client, table: table_name(environment)? })
    }

    /// Reads a key with its hash as one strongly consistent item, so that a deleted key is refused immediately.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item is not a valid key, or has another id.
    pub async fn hashed(&self, id: KeyId) -> Result<Option<HashedKey>, Error> {
        let response =
            self.client.get_item().table_name(&self.table).set_key(Some(item_key(id))).consistent_read(true);
        let response = response.send().await.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        response.item.map(|item| key_of(id, item)).transpose()
    }

    /// Reads a key without its hashes, strongly consistent. A key past its `ttl` is treated as deleted.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item is not a valid key, or has another id.
    pub async fn unhashed(&self, id: KeyId, now: DateTime<Utc>) -> Result<Option<UnhashedKey>, Error> {
        let stored: Option<UnhashedKey> = self.read(id, UNHASHED).await?;
        Ok(stored.filter(|stored| !stored.record.is_gone(now)))
    }

    /// Reads a key with the attributes that decide about its tokens, strongly consistent. A key past its `ttl` is treated as
    /// deleted.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item is not a valid key, or has another id.
    pub async fn of_tokens(&self, id: KeyId, now: DateTime<Utc>) -> Result<Option<TokenKey>, Error> {
        let stored: Option<TokenKey> = self.read(id, &format!("{UNHASHED}, token_generation")).await?;
        Ok(stored.filter(|stored| !stored.record.is_gone(now)))
    }

    async fn read<T: DeserializeOwned>(&self, id: KeyId, attributes: &str) -> Result<Option<T>, Error> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(item_key(id)))
            .projection_expression(attributes)
            .expression_attribute_names("#name", "name")
            .expression_attribute_names("#ttl", "ttl")
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        response.item.map(|item| key_of(id, item)).transpose()
    }

    /// Replaces a key's hash by the hash of the same secret under a newer pepper, if the stored hash is still the one that
    /// was read.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn rehash(&self, id: KeyId, stored: &SecretHash, renewed: &SecretHash) -> Result<(), Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item_key(id)))
            .update_expression("SET #hash = :renewed, pepper_version = :version")
            .condition_expression("#hash = :stored")
            .expression_attribute_names("#hash", "hash")
            .expression_attribute_values(":stored", bytes(stored.as_bytes()))
            .expression_attribute_values(":renewed", bytes(renewed.as_bytes()))
            .expression_attribute_values(":version", number(&renewed.pepper_version()));
        outcome(update.send().await).map(|_| ())
    }
}

/// Reads an item as the key with this id. It compares the id, because a layer between Keygate and the database could
/// return another request's item.
fn key_of<T: DeserializeOwned>(id: KeyId, item: Item) -> Result<T, Error> {
    if item.get("key_id") != Some(&text(&id)) {
        return Err(broken("key"));
    }
    serde_dynamo::from_item(item).map_err(|_| broken("key"))
}

/// The keys among the items of an index. An item that is not a valid key is skipped, so that it does not block all others.
pub(super) fn keys_of<T: DeserializeOwned>(items: Vec<Item>) -> Vec<T> {
    let mut keys = Vec::with_capacity(items.len());
    for item in items {
        let key_id = item.get("key_id").cloned();
        if let Ok(key) = serde_dynamo::from_item(item) {
            keys.push(key);
        } else {
            tracing::error!(?key_id, error = %broken("key"), "unreadable key skipped");
        }
    }
    keys
}

/// The key of an item.
pub(super) fn item_key(id: KeyId) -> Item {
    HashMap::from([("key_id".to_owned(), text(&id))])
}

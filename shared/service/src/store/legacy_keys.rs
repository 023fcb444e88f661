//! The table `legacy-keys`: one item per key, found by its hash. It exists only while a sunset is configured.
//!
//! | index | key | purpose |
//! | --- | --- | --- |
//! | `by_id` | `workspace_id`, `key_id` | showing, listing and deleting keys; reporting which keys are still in use |
//! | `by_user` | `owner` = `<workspace>#<user>`, `key_id` | listing, counting and deleting a user's keys |
//!
//! `DynamoDB` copies the table's key, which is the hash, into every index. Queries that do not need the hash do not request
//! it. That is also why a list continues from a key's id and not from `DynamoDB`'s own position: this position contains the
//! hash, and a cursor would pass it to the client.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Select, TransactWriteItem};
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::legacy_key::{HashedLegacyKey, LegacyKey};
use keygate_core::name::Name;
use keygate_core::pepper::SecretHash;
use keygate_core::scope::Scope;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::aws::dynamodb::DynamoDb;
use crate::store::expression::{self, Condition};
use crate::store::item::{Item, broken, bytes, text};
use crate::store::paged_query::PagedQuery;
use crate::store::pagination::{FoundItems, Section};
use crate::store::{batch, conditional_write};

/// The attributes of a legacy key without its hash. The IAM roles list the same attributes.
const UNHASHED: &str = "key_id, workspace_id, user_id, #name, scopes, imported_at, last_used_at, #ttl";

/// The attributes that deleting a legacy key needs.
const LOCATING: &str = "#hash, key_id, user_id, #ttl";

/// The table.
#[derive(Clone, Debug)]
pub struct LegacyKeysTable {
    pub(super) client: DynamoDb,
    pub(super) table: String,
}

/// The hash by which a legacy key is found, without the version of its pepper.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct TableKey(#[serde(with = "serde_bytes")] [u8; 32]);

impl fmt::Debug for TableKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TableKey([REDACTED])")
    }
}

impl From<&SecretHash> for TableKey {
    fn from(hash: &SecretHash) -> Self {
        Self(*hash.as_bytes())
    }
}

/// A legacy key with the attributes that deleting it needs.
#[derive(Clone, Debug, Deserialize)]
pub struct LocatedLegacyKey {
    /// The table key.
    pub hash: TableKey,
    /// The id of the key.
    pub key_id: KeyId,
    /// The owner of the key.
    pub user_id: UserId,
    /// The `ttl` of the key.
    #[serde(with = "chrono::serde::ts_seconds")]
    ttl: DateTime<Utc>,
}

/// The attributes of a stored key that an import compares with its own, and those that it needs to replace the key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StoredLegacyKey {
    /// The id of the key.
    pub key_id: KeyId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The owner of the key.
    pub user_id: UserId,
    /// The name of the key.
    pub name: Name,
    /// The scopes of the key.
    pub scopes: Vec<Scope>,
    /// When it was last used.
    #[serde(with = "keygate_core::time::zero_until_used")]
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A section of the legacy keys in the order of their ids, which is the order of their import.
#[derive(Clone, Copy, Debug)]
pub struct LegacyKeyQuery<'a> {
    /// The workspace.
    pub workspace: &'a WorkspaceId,
    /// The owner of the keys; `None` for all keys of the workspace.
    pub user: Option<&'a UserId>,
    /// The range of the keys.
    pub section: Section<KeyId>,
}

/// `LEGACY_KEYS_TABLE`.
pub(super) fn table_name(environment: &Environment) -> Result<String, InvalidVariable> {
    environment.required("LEGACY_KEYS_TABLE", "must be the name of the table of legacy keys")
}

impl LegacyKeysTable {
    /// Reads the table name from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the variable is missing.
    pub fn new(client: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self { client, table: table_name(environment)? })
    }

    /// Updates the last use of a key, unless it was updated after `due`. The last use never moves backwards.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn mark_used(
        &self,
        hash: &SecretHash,
        at: DateTime<Utc>,
        due: DateTime<Utc>,
    ) -> Result<(), Error> {
        conditional_write::mark_used(&self.client, &self.table, item_key(&hash.into()), at, due).await
    }

    /// Finds the legacy keys of a section. Keys past their `ttl` are skipped. The number of reads is bounded, so the result
    /// may have fewer keys than the limit, even none, and still a position to continue from. The indexes are eventually
    /// consistent.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an item is not a valid legacy key.
    pub async fn list(
        &self,
        query: LegacyKeyQuery<'_>,
        now: DateTime<Utc>,
    ) -> Result<FoundItems<KeyId, LegacyKey>, Error> {
        let LegacyKeyQuery { workspace, user, section } = query;
        let (index, partition, value) = match user {
            None => ("by_id", "workspace_id", text(workspace)),
            Some(user) => ("by_user", "owner", text(&owner(workspace, user))),
        };
        let beyond = match (section.after, section.ascending) {
            (None, _) => "",
            (Some(_), true) => " AND key_id > :after",
            (Some(_), false) => " AND key_id < :after",
        };
        let mut request = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(index)
            .key_condition_expression(format!("#partition = :partition{beyond}"))
            .expression_attribute_names("#partition", partition)
            .expression_attribute_values(":partition", value)
            .projection_expression(UNHASHED)
            .expression_attribute_names("#name", "name")
            .expression_attribute_names("#ttl", "ttl");
        if let Some(after) = section.after {
            request = request.expression_attribute_values(":after", text(&after));
        }
        let mut reads = PagedQuery::new(request, &section, None, true);
        while let Some(items) = reads.next().await? {
            for item in items {
                let key: LegacyKey = serde_dynamo::from_item(item).map_err(|_| broken("legacy key"))?;
                if !key.is_gone(now) {
                    reads.keep(key.key_id, key);
                }
            }
        }
        reads.finish(|item| {
            let id = item.get("key_id").and_then(|id| id.as_s().ok()?.parse().ok());
            id.ok_or_else(|| broken("legacy key"))
        })
    }

    /// Reads a legacy key of the workspace through an index, which is eventually consistent.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item is not a valid legacy key.
    pub async fn find(
        &self,
        workspace: &WorkspaceId,
        id: KeyId,
        now: DateTime<Utc>,
    ) -> Result<Option<LegacyKey>, Error> {
        let found: Option<LegacyKey> = self.by_id(workspace, id, UNHASHED, "name").await?;
        Ok(found.filter(|key| !key.is_gone(now)))
    }

    /// Reads the attributes that deleting a legacy key of the workspace needs, through an index, which is eventually
    /// consistent.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item is not a valid legacy key.
    pub async fn locate(
        &self,
        workspace: &WorkspaceId,
        id: KeyId,
        now: DateTime<Utc>,
    ) -> Result<Option<LocatedLegacyKey>, Error> {
        let found: Option<LocatedLegacyKey> = self.by_id(workspace, id, LOCATING, "hash").await?;
        Ok(found.filter(|key| now < key.ttl))
    }

    async fn by_id<T: DeserializeOwned>(
        &self,
        workspace: &WorkspaceId,
        id: KeyId,
        attributes: &str,
        reserved: &str,
    ) -> Result<Option<T>, Error> {
        let response = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by_id")
            .key_condition_expression("workspace_id = :workspace AND key_id = :id")
            .expression_attribute_values(":workspace", text(workspace))
            .expression_attribute_values(":id", text(&id))
            .projection_expression(attributes)
            .expression_attribute_names(format!("#{reserved}"), reserved)
            .expression_attribute_names("#ttl", "ttl")
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let item = response.items.unwrap_or_default().into_iter().next();
        item.map(serde_dynamo::from_item).transpose().map_err(|_| broken("legacy key"))
    }

    fn query_of_user(&self, workspace: &WorkspaceId, user: &UserId) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .index_name("by_user")
            .key_condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", text(&owner(workspace, user)))
    }

    /// Counts the legacy keys of a user through an index, which is eventually consistent.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn count_of_user(&self, workspace: &WorkspaceId, user: &UserId) -> Result<usize, Error> {
        let mut pages = self.query_of_user(workspace, user).select(Select::Count).into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
            count += usize::try_from(page.count).unwrap_or_default();
        }
        Ok(count)
    }

    /// Reads the legacy keys of a user through an index, which is eventually consistent: a key that was just imported may be
    /// missing.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an item is not a valid legacy key.
    pub async fn of_user(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
    ) -> Result<Vec<LocatedLegacyKey>, Error> {
        let query = self
            .query_of_user(workspace, user)
            .projection_expression(LOCATING)
            .expression_attribute_names("#hash", "hash")
            .expression_attribute_names("#ttl", "ttl");
        let items = query.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let items = items.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        serde_dynamo::from_items(items).map_err(|_| broken("legacy key"))
    }

    /// Reads the keys that are stored under these hashes, and returns them by hash.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond, or items were still unprocessed when the time was over.
    /// - [`Error::Broken`]: an item is not a valid legacy key.
    pub async fn stored(&self, hashes: &[&SecretHash]) -> Result<HashMap<TableKey, StoredLegacyKey>, Error> {
        #[derive(Deserialize)]
        struct Stored {
            hash: TableKey,
            #[serde(flatten)]
            values: StoredLegacyKey,
        }
        let keys = hashes.iter().map(|hash| item_key(&(*hash).into())).collect();
        let items = batch::get_all(&self.client, &self.table, keys, |wanted| {
            wanted
                .projection_expression("#hash, key_id, workspace_id, user_id, #name, scopes, last_used_at")
                .expression_attribute_names("#hash", "hash")
                .expression_attribute_names("#name", "name")
                .consistent_read(true)
        });
        let items: Vec<Stored> = serde_dynamo::from_items(items.await?).map_err(|_| broken("legacy key"))?;
        Ok(items.into_iter().map(|item| (item.hash, item.values)).collect())
    }

    /// Writes a new key, where none is, or in place of the key with the id `replaced`.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the key cannot be written as an item.
    pub(super) fn put(
        &self,
        new: &HashedLegacyKey,
        replaced: Option<KeyId>,
    ) -> Result<TransactWriteItem, Error> {
        let mut item: Item = serde_dynamo::to_item(new).map_err(|_| broken("legacy key"))?;
        let owner = owner(&new.record.workspace_id, &new.record.user_id);
        item.insert("owner".to_owned(), AttributeValue::S(owner));
        let condition = match replaced {
            None => Condition::new("attribute_not_exists(#hash)").name("hash"),
            Some(id) => Condition::equal("key_id", text(&id)),
        };
        Ok(expression::put(&self.table, item, condition))
    }

    /// Deletes a key if it is still the one that was read: a key that was deleted and imported again has another id.
    pub(super) fn delete(&self, hash: &TableKey, id: KeyId) -> TransactWriteItem {
        expression::delete(&self.table, item_key(hash), Condition::equal("key_id", text(&id)))
    }
}

fn item_key(hash: &TableKey) -> Item {
    HashMap::from([("hash".to_owned(), bytes(&hash.0))])
}

/// A user of a workspace in the form of the index by user. A workspace id contains no `#`.
fn owner(workspace: &WorkspaceId, user: &UserId) -> String {
    format!("{workspace}#{user}")
}

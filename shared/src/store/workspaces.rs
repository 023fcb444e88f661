//! The table `workspaces`: names, members and users of each tenant.
//!
//! | entry | attributes |
//! | --- | --- |
//! | `NAME#<folded name>` | `key_id`, `ttl`? |
//! | `MEMBER#<user>#<key id>` | `ttl`? |
//! | `USER#<user>` | `key_count`, `removed_at`? |
//! | `REPLAY#<digest>` | of an idempotent create, see [`crate::replay`]; `ttl` |
//! | `BOOTSTRAP` | none: that it exists says that the workspace has had an administrator |

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use chrono::{DateTime, Utc};

use crate::caller::{UserId, WorkspaceId};
use crate::credential::KeyId;
use crate::error::Error;
use crate::record::Key;
use crate::replay::Replay;
use crate::store::keys::UnhashedKey;
use crate::store::{Bootstrap, broken, number, text};

/// The attribute of a user that was removed.
pub(super) const REMOVED_AT: &str = "removed_at";

/// The table.
#[derive(Clone, Debug)]
pub struct Workspaces {
    table: String,
}

impl Workspaces {
    /// Takes the table's name.
    #[must_use]
    pub fn new(table: String) -> Self {
        Self { table }
    }

    /// Gives the name to the key, unless another one has it. An entry past its ttl is one that `DynamoDB` has not got
    /// to yet.
    pub(super) fn put_name(&self, key: &Key, now: DateTime<Utc>) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(name_item(key)))
            .condition_expression("attribute_not_exists(entry) OR #ttl <= :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", number(&now.timestamp()))
            .build()
            .expect("a table and an item");
        TransactWriteItem::builder().put(put).build()
    }

    /// Writes the entry of a name that is the key's already, for its new ttl.
    pub(super) fn renew_name(&self, key: &Key) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(name_item(key)))
            .condition_expression("key_id = :key")
            .expression_attribute_values(":key", text(&key.key_id))
            .build()
            .expect("a table and an item");
        TransactWriteItem::builder().put(put).build()
    }

    /// Takes the name from the key, if the entry is still the key's.
    pub(super) fn delete_name(&self, stored: &UnhashedKey) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(entry(&stored.key.workspace_id, &name_entry(&stored.name_folded))))
            .condition_expression("attribute_not_exists(entry) OR key_id = :key")
            .expression_attribute_values(":key", text(&stored.key.key_id))
            .build()
            .expect("a table and a key");
        TransactWriteItem::builder().delete(delete).build()
    }

    /// Lists the key among its user's.
    pub(super) fn put_member(&self, key: &Key) -> TransactWriteItem {
        let mut item = entry(&key.workspace_id, &member_entry(&key.user_id, key.key_id));
        item.extend(ttl(key));
        let put =
            Put::builder().table_name(&self.table).set_item(Some(item)).build().expect("a table and an item");
        TransactWriteItem::builder().put(put).build()
    }

    /// Takes the key from its user's list.
    pub(super) fn delete_member(&self, stored: &UnhashedKey) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(entry(
                &stored.key.workspace_id,
                &member_entry(&stored.key.user_id, stored.key.key_id),
            )))
            .build()
            .expect("a table and a key");
        TransactWriteItem::builder().delete(delete).build()
    }

    /// Counts one more key of the user, who must not be removed and must have fewer than `quota`.
    pub(super) fn count_one_more(&self, key: &Key, quota: u32) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(entry(&key.workspace_id, &user_entry(&key.user_id))))
            .update_expression("ADD key_count :one")
            // A condition sees the item as it was, and a user's first key finds none.
            .condition_expression(
                "attribute_not_exists(#removed_at) AND (attribute_not_exists(key_count) OR key_count < :quota)",
            )
            .expression_attribute_names("#removed_at", REMOVED_AT)
            .expression_attribute_values(":one", number(&1))
            .expression_attribute_values(":quota", number(&quota))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// Counts one key of the user less. It has no condition: a wrong count must never keep a key from being deleted.
    pub(super) fn count_one_less(&self, stored: &UnhashedKey) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(entry(&stored.key.workspace_id, &user_entry(&stored.key.user_id))))
            .update_expression("ADD key_count :minus_one")
            .expression_attribute_values(":minus_one", number(&-1))
            .build()
            .expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// Remembers an idempotent create, unless one with the same `Idempotency-Key` is remembered.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: it cannot be written as an item.
    pub(super) fn put_replay(
        &self,
        workspace: &WorkspaceId,
        replay: &Replay,
        now: DateTime<Utc>,
    ) -> Result<TransactWriteItem, Error> {
        let mut item = entry(workspace, &format!("REPLAY#{}", replay.digest));
        let memory: HashMap<String, AttributeValue> =
            serde_dynamo::to_item(&replay.memory).map_err(|_| broken("replay"))?;
        item.extend(memory);
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(entry) OR #ttl <= :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", number(&now.timestamp()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("a table and an item");
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Marks the workspace as bootstrapped. Every user comes after the first bootstrap, because making a key for one
    /// takes a key; so the mark says that the workspace has users, and says it atomically.
    pub(super) fn put_bootstrap(&self, workspace: &WorkspaceId, bootstrap: Bootstrap) -> TransactWriteItem {
        let condition = match bootstrap {
            Bootstrap::First => Some("attribute_not_exists(entry)".to_owned()),
            Bootstrap::BreakGlass => None,
        };
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(entry(workspace, "BOOTSTRAP")))
            .set_condition_expression(condition)
            .build()
            .expect("a table and an item");
        TransactWriteItem::builder().put(put).build()
    }
}

fn entry(workspace: &WorkspaceId, entry: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([("workspace_id".to_owned(), text(workspace)), ("entry".to_owned(), text(entry))])
}

fn name_item(key: &Key) -> HashMap<String, AttributeValue> {
    let mut item = entry(&key.workspace_id, &name_entry(&key.name.folded()));
    item.insert("key_id".to_owned(), text(&key.key_id));
    item.extend(ttl(key));
    item
}

fn name_entry(folded: &str) -> String {
    format!("NAME#{folded}")
}

fn member_entry(user: &UserId, key: KeyId) -> String {
    format!("MEMBER#{user}#{key}")
}

fn user_entry(user: &UserId) -> String {
    format!("USER#{user}")
}

fn ttl(key: &Key) -> Option<(String, AttributeValue)> {
    key.ttl.map(|ttl| ("ttl".to_owned(), number(&ttl.timestamp())))
}

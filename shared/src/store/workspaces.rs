//! The table `workspaces`: names, members and users of each tenant.
//!
//! | entry | attributes |
//! | --- | --- |
//! | `NAME#<folded name>` | `key_id`, `ttl`? |
//! | `MEMBER#<user>#<key id>` | `ttl`? |
//! | `USER#<user>` | `key_count`, `removed_at`?, `reinstated_at`?, both in milliseconds |
//! | `REPLAY#<digest>` | of an idempotent create, see [`crate::replay`]; `ttl` |
//! | `BOOTSTRAP` | none: that it exists says that the workspace has had an administrator |

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update,
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
    client: Client,
    table: String,
}

impl Workspaces {
    /// Takes the table's name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// The keys of a user, strongly consistent. A key past its ttl may be among them.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an entry names no key.
    pub async fn members(&self, workspace: &WorkspaceId, user: &UserId) -> Result<Vec<KeyId>, Error> {
        // No user's id has the character that ends it here.
        let prefix = format!("MEMBER#{user}#");
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("workspace_id = :workspace AND begins_with(entry, :prefix)")
            .expression_attribute_values(":workspace", text(workspace))
            .expression_attribute_values(":prefix", text(&prefix))
            .projection_expression("entry")
            .consistent_read(true);
        let entries: Vec<_> = query
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let key_id = |item: &HashMap<String, AttributeValue>| {
            item.get("entry")?.as_s().ok()?.strip_prefix(&prefix)?.parse().ok()
        };
        entries.iter().map(|item| key_id(item).ok_or_else(|| broken("member"))).collect()
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

    /// Counts one key of the user less. A wrong count must never keep a key from being deleted, so there is no condition on
    /// it; only on the user, where the key goes because they were `removed_at` that time.
    pub(super) fn count_one_less(
        &self,
        stored: &UnhashedKey,
        removed_at: Option<DateTime<Utc>>,
    ) -> TransactWriteItem {
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(entry(&stored.key.workspace_id, &user_entry(&stored.key.user_id))))
            .update_expression("ADD key_count :minus_one")
            .expression_attribute_values(":minus_one", number(&-1));
        if let Some(removed_at) = removed_at {
            update = update
                .condition_expression("#removed_at = :removed_at")
                .expression_attribute_names("#removed_at", REMOVED_AT)
                .expression_attribute_values(":removed_at", number(&removed_at.timestamp_millis()));
        }
        let update = update.build().expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// Marks a user as removed, unless they are, or have been reinstated since.
    pub(super) fn mark_removed(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        at: DateTime<Utc>,
    ) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(entry(workspace, &user_entry(user))))
            // Whoever never had a key has a count of none from now on.
            .update_expression("SET #removed_at = :at ADD key_count :zero")
            .condition_expression(
                "attribute_not_exists(#removed_at) AND (attribute_not_exists(reinstated_at) OR reinstated_at < :at)",
            )
            .expression_attribute_names("#removed_at", REMOVED_AT)
            .expression_attribute_values(":at", number(&at.timestamp_millis()))
            .expression_attribute_values(":zero", number(&0))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// Demands that a user is not removed.
    pub(super) fn check_not_removed(&self, workspace: &WorkspaceId, user: &UserId) -> TransactWriteItem {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(entry(workspace, &user_entry(user))))
            .condition_expression("attribute_not_exists(#removed_at)")
            .expression_attribute_names("#removed_at", REMOVED_AT)
            .build()
            .expect("a table, a key and a condition");
        TransactWriteItem::builder().condition_check(check).build()
    }

    /// Takes the mark from a removed user.
    pub(super) fn unmark_removed(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        now: DateTime<Utc>,
    ) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(entry(workspace, &user_entry(user))))
            .update_expression("SET reinstated_at = :now REMOVE #removed_at")
            .condition_expression("attribute_exists(#removed_at)")
            .expression_attribute_names("#removed_at", REMOVED_AT)
            .expression_attribute_values(":now", number(&now.timestamp_millis()))
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

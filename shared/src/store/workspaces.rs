//! The table `workspaces`: names, members and users of each tenant.
//!
//! | entry | attributes |
//! | --- | --- |
//! | `NAME#<folded name>` | `key_id`, `ttl`? |
//! | `MEMBER#<user>#<key id>` | `gone_at`?, the key's `ttl` |
//! | `USER#<user>` | `key_count`, `removed_at`?, `reinstated_at`?, both in milliseconds |
//! | `REPLAY#<digest>` | of an idempotent create, see [`crate::replay`]; `ttl` |
//! | `BOOTSTRAP` | none: that it exists says that the workspace has had an administrator |
//!
//! A user's count is the number of their member entries: no transaction changes one without the other, and `DynamoDB`
//! removes neither. That is why a member entry has no `ttl`; it goes when its key has gone.
//!
//! Beside the tenants there is `#keygate`, which is none: where Keygate's own scheduled functions note how far they are.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::activity::Holder;
use crate::caller::{UserId, WorkspaceId};
use crate::credential::KeyId;
use crate::error::Error;
use crate::record::Key;
use crate::replay::Replay;
use crate::store::{Bootstrap, broken, number, text};

/// The attribute of a user that was removed.
pub(super) const REMOVED_AT: &str = "removed_at";

/// Where scheduled functions note how far they are: no workspace has an id with a `#`.
const OWN: &str = "#keygate";
/// What is noted.
const NOTE: &str = "note";
/// How a user's entry begins.
const USER: &str = "USER#";
/// How a member entry begins.
const MEMBER: &str = "MEMBER#";
/// The entry that says that a workspace was bootstrapped.
const BOOTSTRAP: &str = "BOOTSTRAP";
/// The attribute of a member entry that says when its key is gone.
const GONE_AT: &str = "gone_at";
/// How many entries one page of a scan reads.
const PAGE: i32 = 500;

/// The table.
#[derive(Clone, Debug)]
pub struct Workspaces {
    client: Client,
    table: String,
}

/// A user's entry, as a recount reads it.
#[derive(Clone, Debug)]
pub struct CountedUser {
    /// The tenant.
    pub workspace_id: WorkspaceId,
    /// The user.
    pub user_id: UserId,
    /// How many keys the entry says they have.
    pub key_count: i64,
}

/// A key of a user, as its member entry says.
#[derive(Clone, Debug)]
pub struct Member {
    /// The key.
    pub key_id: KeyId,
    /// When it is gone.
    pub gone_at: Option<DateTime<Utc>>,
}

impl Workspaces {
    /// Takes the table's name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
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
            .set_key(Some(entry(workspace, BOOTSTRAP)))
            .projection_expression("entry")
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        Ok(answer.item.is_some())
    }

    /// What a scheduled function has noted under a word; nothing before its first run.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: it is something else.
    pub async fn noted<T: DeserializeOwned>(&self, word: &str) -> Result<Option<T>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(own_entry(word)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let noted = answer.item.and_then(|mut item| item.remove(NOTE));
        noted.map(serde_dynamo::from_attribute_value).transpose().map_err(|_| broken("note"))
    }

    /// Notes something under a word.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: it cannot be written.
    pub async fn note(&self, word: &str, note: impl Serialize) -> Result<(), Error> {
        let mut item = own_entry(word);
        item.insert(NOTE.to_owned(), serde_dynamo::to_attribute_value(note).map_err(|_| broken("note"))?);
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        Ok(())
    }

    /// A page of the users of all workspaces, and the place where the next one begins.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an entry is not a user's.
    pub async fn users(&self, place: Option<&str>) -> Result<(Vec<CountedUser>, Option<String>), Error> {
        // A workspace's id has no spaces.
        let start = place.and_then(|place| place.split_once(' ')).map(|(workspace, entry)| {
            let text = |text: &str| AttributeValue::S(text.to_owned());
            HashMap::from([("workspace_id".to_owned(), text(workspace)), ("entry".to_owned(), text(entry))])
        });
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .filter_expression("begins_with(entry, :user)")
            .projection_expression("workspace_id, entry, key_count")
            .expression_attribute_values(":user", AttributeValue::S(USER.to_owned()))
            .consistent_read(true)
            .limit(PAGE)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let text = |item: &HashMap<String, AttributeValue>, name: &str| item.get(name)?.as_s().ok().cloned();
        let user = |item: HashMap<String, AttributeValue>| {
            Some(CountedUser {
                workspace_id: text(&item, "workspace_id")?.parse().ok()?,
                user_id: text(&item, "entry")?.strip_prefix(USER)?.parse().ok()?,
                // A user may have an entry without a count.
                key_count: item.get("key_count").map_or(Some(0), |count| count.as_n().ok()?.parse().ok())?,
            })
        };
        let users = answer.items.unwrap_or_default().into_iter().map(user).collect::<Option<_>>();
        let rest = answer
            .last_evaluated_key
            .and_then(|item| Some(format!("{} {}", text(&item, "workspace_id")?, text(&item, "entry")?)));
        Ok((users.ok_or_else(|| broken("user"))?, rest))
    }

    /// The keys of a user, by their member entries: strongly consistent, page by page.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an entry is not a member's.
    pub async fn members(&self, workspace: &WorkspaceId, user: &UserId) -> Result<Vec<Member>, Error> {
        let prefix = format!("{MEMBER}{user}#");
        let items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("workspace_id = :workspace AND begins_with(entry, :prefix)")
            .expression_attribute_values(":workspace", text(workspace))
            .expression_attribute_values(":prefix", AttributeValue::S(prefix.clone()))
            .projection_expression("entry, gone_at")
            .consistent_read(true)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let member = |item: HashMap<String, AttributeValue>| {
            let seconds = |value: &AttributeValue| value.as_n().ok()?.parse().ok();
            let gone_at = item.get(GONE_AT).and_then(seconds);
            Some(Member {
                key_id: item.get("entry")?.as_s().ok()?.strip_prefix(&prefix)?.parse().ok()?,
                gone_at: gone_at.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
            })
        };
        items.into_iter().map(member).collect::<Option<_>>().ok_or_else(|| broken("member"))
    }

    /// Writes how many keys a user has, if the count is still the one that was read: whether it was.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn correct_count(&self, user: &CountedUser, key_count: i64) -> Result<bool, Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(entry(&user.workspace_id, &user_entry(&user.user_id))))
            .update_expression("SET key_count = :counted")
            .condition_expression(
                "key_count = :read OR attribute_not_exists(key_count) AND attribute_exists(entry)",
            )
            .expression_attribute_values(":counted", number(&key_count))
            .expression_attribute_values(":read", number(&user.key_count));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(failure)
                if failure
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(failure) => Err(Error::unavailable("DynamoDB", &failure)),
        }
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
    pub(super) fn delete_name(
        &self,
        workspace: &WorkspaceId,
        name_folded: &str,
        key: KeyId,
    ) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(entry(workspace, &name_entry(name_folded))))
            .condition_expression("attribute_not_exists(entry) OR key_id = :key")
            .expression_attribute_values(":key", text(&key))
            .build()
            .expect("a table and a key");
        TransactWriteItem::builder().delete(delete).build()
    }

    /// Lists the key among its user's.
    pub(super) fn put_member(&self, key: &Key) -> TransactWriteItem {
        let mut item = entry(&key.workspace_id, &member_entry(&key.user_id, key.key_id));
        item.extend(key.ttl.map(|ttl| (GONE_AT.to_owned(), number(&ttl.timestamp()))));
        let put =
            Put::builder().table_name(&self.table).set_item(Some(item)).build().expect("a table and an item");
        TransactWriteItem::builder().put(put).build()
    }

    /// Takes the key from its user's list.
    pub(super) fn delete_member(&self, holder: &Holder) -> TransactWriteItem {
        self.remove_member(holder, None)
    }

    /// Takes the key from its user's list, if it is in it.
    pub(super) fn delete_present_member(&self, holder: &Holder) -> TransactWriteItem {
        self.remove_member(holder, Some("attribute_exists(entry)".to_owned()))
    }

    fn remove_member(&self, holder: &Holder, condition: Option<String>) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(entry(&holder.workspace_id, &member_entry(&holder.user_id, holder.key_id))))
            .set_condition_expression(condition)
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
        holder: &Holder,
        removed_at: Option<DateTime<Utc>>,
    ) -> TransactWriteItem {
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(entry(&holder.workspace_id, &user_entry(&holder.user_id))))
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

    /// Demands that a user is `removed_at` that time.
    pub(super) fn check_removed(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        removed_at: DateTime<Utc>,
    ) -> TransactWriteItem {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(entry(workspace, &user_entry(user))))
            .condition_expression("#removed_at = :removed_at")
            .expression_attribute_names("#removed_at", REMOVED_AT)
            .expression_attribute_values(":removed_at", number(&removed_at.timestamp_millis()))
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
            .set_item(Some(entry(workspace, BOOTSTRAP)))
            .set_condition_expression(condition)
            .build()
            .expect("a table and an item");
        TransactWriteItem::builder().put(put).build()
    }
}

fn entry(workspace: &WorkspaceId, entry: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([("workspace_id".to_owned(), text(workspace)), ("entry".to_owned(), text(entry))])
}

fn own_entry(word: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("workspace_id".to_owned(), AttributeValue::S(OWN.to_owned())),
        ("entry".to_owned(), AttributeValue::S(word.to_owned())),
    ])
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
    format!("{MEMBER}{user}#{key}")
}

fn user_entry(user: &UserId) -> String {
    format!("{USER}{user}")
}

fn ttl(key: &Key) -> Option<(String, AttributeValue)> {
    key.ttl.map(|ttl| ("ttl".to_owned(), number(&ttl.timestamp())))
}

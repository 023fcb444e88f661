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
//! Beside the tenants there is `#keygate`, which is none: where Keygate's own scheduled functions note how far they are.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update,
};
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::idempotency::{IdempotencyEntry, IdempotencyRecord};
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::KeyOwner;
use keygate_core::key::{CLOCK_SKEW, Key};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::walk::Item;
use crate::store::{Bootstrap, broken, number, text};

/// The attribute of a user that was removed.
pub(super) const REMOVED_AT: &str = "removed_at";

/// The attribute of a user that says how many of their keys count.
pub(super) const KEY_COUNT: &str = "key_count";
/// The attribute of a member entry whose key counts.
const COUNTED: &str = "counted";
/// The attribute of a name and of a member entry that says when their key expires.
const EXPIRES_AT: &str = "expires_at";
/// The attribute of a user's entry that is there only because a request removed a user whom the workspace did not know.
const MADE_BY_REMOVAL: &str = "made_by_removal";
/// The entry that counts these.
const REMOVALS: &str = "REMOVALS";

/// How many expired keys give way at once at most. A transaction has at most 100 operations.
const MAX_GIVING_WAY: usize = 20;
/// How many member entries one page reads when room is looked for, and how many pages are read at most.
const MEMBERS_PAGE: i32 = 1_000;
const MAX_MEMBERS_PAGES: usize = 10;

/// The condition that a member entry's key counts.
const IS_COUNTED: &str = "attribute_exists(#counted)";
/// The condition that it does not.
const IS_NOT_COUNTED: &str = "attribute_not_exists(#counted)";
/// The condition that it counts and has let go.
const HAS_LAPSED: &str = "attribute_exists(#counted) AND #expires_at <= :let_go";

/// The condition that a user is not removed.
const NOT_REMOVED: &str = "attribute_not_exists(#removed_at)";

/// What the change of a user's entry demands of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserCondition {
    /// Nothing.
    None,
    /// They are not removed.
    NotRemoved,
    /// They were removed at that time, and not reinstated since.
    RemovedAt(DateTime<Utc>),
}

/// What the removal of a member entry demands of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberCondition {
    /// Its key counts.
    Counted,
    /// Its key does not count. It may be missing: a broken state must not keep a key from being deleted.
    NotCounted,
    /// It is there, and its key does not count.
    PresentAndNotCounted,
}

/// What the mark of a removed user demands of the user's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryCondition {
    /// Nothing.
    None,
    /// It is there: the workspace knows the user.
    Present,
    /// It is not there. It is made by this removal.
    Absent,
}

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
pub struct WorkspacesTable {
    client: Client,
    table: String,
}

/// An entry that counts others, as a recount reads it.
#[derive(Clone, Debug)]
pub enum CountingEntry {
    /// Of a user.
    User(CountedUser),
    /// Of a workspace's removals.
    Removals(CountedRemovals),
}

/// The count of the users' entries that are there because of a removal alone.
#[derive(Clone, Debug)]
pub struct CountedRemovals {
    /// The tenant.
    pub workspace_id: WorkspaceId,
    /// How many the entry says there are.
    pub user_count: i64,
}

/// A user's entry, as a recount reads it.
#[derive(Clone, Debug)]
pub struct CountedUser {
    /// The tenant.
    pub workspace_id: WorkspaceId,
    /// The user.
    pub user_id: UserId,
    /// How many of their keys the entry says count.
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

/// A key of a user, with what decides about their count.
#[derive(Clone, Debug)]
pub struct CountedMember {
    /// The key.
    pub member: Member,
    /// Whether it counts.
    pub is_counted: bool,
    /// When it expires.
    pub expires_at: Option<DateTime<Utc>>,
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

    /// A page of the entries of all workspaces that count others, and the place where the next one begins.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an entry is not as it should be.
    pub async fn counting_entries(
        &self,
        place: Option<&str>,
    ) -> Result<(Vec<CountingEntry>, Option<String>), Error> {
        // A workspace's id has no spaces.
        let start = place.and_then(|place| place.split_once(' ')).map(|(workspace, entry)| {
            let text = |text: &str| AttributeValue::S(text.to_owned());
            HashMap::from([("workspace_id".to_owned(), text(workspace)), ("entry".to_owned(), text(entry))])
        });
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .filter_expression("begins_with(entry, :user) OR entry = :removals")
            .projection_expression("workspace_id, entry, key_count, user_count")
            .expression_attribute_values(":user", text(USER))
            .expression_attribute_values(":removals", text(REMOVALS))
            .consistent_read(true)
            .limit(PAGE)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let text = |item: &HashMap<String, AttributeValue>, name: &str| item.get(name)?.as_s().ok().cloned();
        let counting = |item: HashMap<String, AttributeValue>| {
            let workspace_id = text(&item, "workspace_id")?.parse().ok()?;
            let entry = text(&item, "entry")?;
            // An entry may be without a count.
            let count = |name| item.get(name).map_or(Some(0), |count| count.as_n().ok()?.parse().ok());
            Some(if entry == REMOVALS {
                CountingEntry::Removals(CountedRemovals { workspace_id, user_count: count("user_count")? })
            } else {
                let user_id = entry.strip_prefix(USER)?.parse().ok()?;
                CountingEntry::User(CountedUser { workspace_id, user_id, key_count: count("key_count")? })
            })
        };
        let entries = answer.items.unwrap_or_default().into_iter().map(counting).collect::<Option<_>>();
        let rest = answer
            .last_evaluated_key
            .and_then(|item| Some(format!("{} {}", text(&item, "workspace_id")?, text(&item, "entry")?)));
        Ok((entries.ok_or_else(|| broken("count"))?, rest))
    }

    /// The keys of a user, by their member entries: strongly consistent, page by page.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an entry is not a member's.
    pub async fn members(&self, workspace: &WorkspaceId, user: &UserId) -> Result<Vec<Member>, Error> {
        let items = self.query_members(workspace, user, "entry, gone_at").await?;
        let members = items.iter().map(|item| member(user, item)).collect::<Option<_>>();
        members.ok_or_else(|| broken("member"))
    }

    /// The same, with what decides about the user's count.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an entry is not a member's.
    pub async fn counted_members(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
    ) -> Result<Vec<CountedMember>, Error> {
        let items = self.query_members(workspace, user, "entry, gone_at, counted, expires_at").await?;
        let counted = |item: &Item| {
            let is_counted = item.contains_key(COUNTED);
            Some(CountedMember {
                member: member(user, item)?,
                is_counted,
                expires_at: time(item, EXPIRES_AT),
            })
        };
        items.iter().map(counted).collect::<Option<_>>().ok_or_else(|| broken("member"))
    }

    async fn query_members(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        attributes: &str,
    ) -> Result<Vec<Item>, Error> {
        let query = self.members_query(workspace, user).projection_expression(attributes);
        let items = query.into_paginator().items().send().collect::<Result<_, _>>().await;
        items.map_err(|failure| Error::unavailable("DynamoDB", &failure))
    }

    fn members_query(&self, workspace: &WorkspaceId, user: &UserId) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("workspace_id = :workspace AND begins_with(entry, :prefix)")
            .expression_attribute_values(":workspace", text(workspace))
            .expression_attribute_values(":prefix", AttributeValue::S(members_prefix(user)))
            .consistent_read(true)
    }

    /// Keys of a user that have let go and still count, as many as give way at once. The newest come first: where keys come and go,
    /// those are the ones that still count. It looks at the newest 10,000 keys of the user, so that a user with a great many
    /// cannot make it expensive.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an entry is not a member's.
    pub(super) async fn giving_way(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        now: DateTime<Utc>,
    ) -> Result<Vec<KeyId>, Error> {
        let query = self
            .members_query(workspace, user)
            .filter_expression(HAS_LAPSED)
            .expression_attribute_names("#counted", COUNTED)
            .expression_attribute_names("#expires_at", EXPIRES_AT)
            .expression_attribute_values(":let_go", let_go(now))
            .projection_expression("entry")
            .scan_index_forward(false)
            .limit(MEMBERS_PAGE);
        let mut keys = Vec::new();
        let mut start = None;
        for _ in 0..MAX_MEMBERS_PAGES {
            let answer = query.clone().set_exclusive_start_key(start.take()).send().await;
            let answer = answer.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
            for item in answer.items.unwrap_or_default() {
                keys.push(member(user, &item).ok_or_else(|| broken("member"))?.key_id);
            }
            start = answer.last_evaluated_key;
            if start.is_none() || keys.len() >= MAX_GIVING_WAY {
                break;
            }
        }
        keys.truncate(MAX_GIVING_WAY);
        Ok(keys)
    }

    /// How many users' entries of a workspace are there because of a removal alone: strongly consistent, page by page.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn made_by_removal(&self, workspace: &WorkspaceId) -> Result<i64, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("workspace_id = :workspace AND begins_with(entry, :user)")
            .filter_expression("attribute_exists(#made_by_removal)")
            .projection_expression("entry")
            .expression_attribute_names("#made_by_removal", MADE_BY_REMOVAL)
            .expression_attribute_values(":workspace", text(workspace))
            .expression_attribute_values(":user", text(USER))
            .consistent_read(true);
        let mut pages = query.into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            count += i64::from(page.map_err(|failure| Error::unavailable("DynamoDB", &failure))?.count);
        }
        Ok(count)
    }

    /// Writes how many keys of a user count, if the count is still the one that was read: whether it was.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn correct_count(&self, user: &CountedUser, key_count: i64) -> Result<bool, Error> {
        let key = entry(&user.workspace_id, &user_entry(&user.user_id));
        self.correct(key, "key_count", user.key_count, key_count).await
    }

    /// Writes how many users' entries are there because of a removal alone, if the count is still the one that was read: whether
    /// it was.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn correct_removals(&self, removals: &CountedRemovals, user_count: i64) -> Result<bool, Error> {
        let key = entry(&removals.workspace_id, REMOVALS);
        self.correct(key, "user_count", removals.user_count, user_count).await
    }

    async fn correct(&self, key: Item, name: &str, read: i64, counted: i64) -> Result<bool, Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression("SET #count = :counted")
            .condition_expression(
                "#count = :read OR attribute_not_exists(#count) AND attribute_exists(entry)",
            )
            .expression_attribute_names("#count", name)
            .expression_attribute_values(":counted", number(&counted))
            .expression_attribute_values(":read", number(&read));
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

    /// Gives the name to the key, unless another one has it that has not let go of it. A name that is the key's already gets the
    /// key's times.
    pub(super) fn put_name(&self, key: &Key, now: DateTime<Utc>) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(name_item(key)))
            .condition_expression("attribute_not_exists(entry) OR key_id = :key OR #expires_at <= :let_go")
            .expression_attribute_names("#expires_at", EXPIRES_AT)
            .expression_attribute_values(":key", text(&key.key_id))
            .expression_attribute_values(":let_go", let_go(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
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
    pub(super) fn put_member(&self, key: &Key, counted: bool) -> TransactWriteItem {
        let mut item = entry(&key.workspace_id, &member_entry(&key.user_id, key.key_id));
        item.extend(counted.then(|| (COUNTED.to_owned(), AttributeValue::Bool(true))));
        item.extend(
            key.expires_at.map(|expires_at| (EXPIRES_AT.to_owned(), number(&expires_at.timestamp()))),
        );
        item.extend(key.ttl.map(|ttl| (GONE_AT.to_owned(), number(&ttl.timestamp()))));
        let put =
            Put::builder().table_name(&self.table).set_item(Some(item)).build().expect("a table and an item");
        TransactWriteItem::builder().put(put).build()
    }

    /// Gives the key's member entry the key's times, if it `was_counted` or was not. The key counts from now on.
    pub(super) fn renew_member(&self, key: &Key, was_counted: bool) -> TransactWriteItem {
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(entry(&key.workspace_id, &member_entry(&key.user_id, key.key_id))))
            .condition_expression(if was_counted { IS_COUNTED } else { IS_NOT_COUNTED })
            .expression_attribute_names("#counted", COUNTED)
            .expression_attribute_names("#expires_at", EXPIRES_AT)
            .expression_attribute_names("#gone_at", GONE_AT)
            .expression_attribute_values(":true", AttributeValue::Bool(true));
        update = match key.expires_at.zip(key.ttl) {
            Some((expires_at, ttl)) => update
                .update_expression("SET #counted = :true, #expires_at = :expires_at, #gone_at = :gone_at")
                .expression_attribute_values(":expires_at", number(&expires_at.timestamp()))
                .expression_attribute_values(":gone_at", number(&ttl.timestamp())),
            None => update.update_expression("SET #counted = :true REMOVE #expires_at, #gone_at"),
        };
        let update = update.build().expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// Takes its place in the user's count from a key that has let go.
    pub(super) fn uncount_member(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        key: KeyId,
        now: DateTime<Utc>,
    ) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(entry(workspace, &member_entry(user, key))))
            .update_expression("REMOVE #counted")
            .condition_expression(HAS_LAPSED)
            .expression_attribute_names("#counted", COUNTED)
            .expression_attribute_names("#expires_at", EXPIRES_AT)
            .expression_attribute_values(":let_go", let_go(now))
            .build()
            .expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// Takes the key from its user's list. Where it has to be counted, the entry comes along if it is not.
    pub(super) fn delete_member(&self, owner: &KeyOwner, condition: MemberCondition) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(entry(&owner.workspace_id, &member_entry(&owner.user_id, owner.key_id))))
            .expression_attribute_names("#counted", COUNTED);
        let delete = match condition {
            MemberCondition::Counted => delete
                .condition_expression(IS_COUNTED)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld),
            MemberCondition::NotCounted => delete.condition_expression(IS_NOT_COUNTED),
            MemberCondition::PresentAndNotCounted => {
                delete.condition_expression(format!("attribute_exists(entry) AND {IS_NOT_COUNTED}"))
            }
        };
        TransactWriteItem::builder().delete(delete.build().expect("a table and a key")).build()
    }

    /// Counts one more key of the user, who must not be removed and must have fewer than `quota` besides those that give way
    /// to it.
    pub(super) fn count_one_more(&self, key: &Key, quota: u32, giving_way: usize) -> TransactWriteItem {
        let giving_way = i64::try_from(giving_way).unwrap_or(i64::MAX);
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(entry(&key.workspace_id, &user_entry(&key.user_id))))
            .update_expression("ADD key_count :more")
            // A condition sees the item as it was, and a user's first key finds none.
            .condition_expression(
                "attribute_not_exists(#removed_at) AND (attribute_not_exists(key_count) OR key_count < :limit)",
            )
            .expression_attribute_names("#removed_at", REMOVED_AT)
            .expression_attribute_values(":more", number(&(1 - giving_way)))
            .expression_attribute_values(":limit", number(&(i64::from(quota) + giving_way)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// Counts one key of the user less. A wrong count must never keep a key from being deleted, so there is no condition on
    /// the count.
    pub(super) fn count_one_less(&self, owner: &KeyOwner, condition: UserCondition) -> TransactWriteItem {
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(entry(&owner.workspace_id, &user_entry(&owner.user_id))))
            .update_expression("ADD key_count :minus_one")
            .expression_attribute_values(":minus_one", number(&-1));
        match condition {
            UserCondition::None => {}
            UserCondition::NotRemoved => {
                update = update
                    .condition_expression(NOT_REMOVED)
                    .expression_attribute_names("#removed_at", REMOVED_AT);
            }
            UserCondition::RemovedAt(removed_at) => {
                update = update
                    .condition_expression("#removed_at = :removed_at")
                    .expression_attribute_names("#removed_at", REMOVED_AT)
                    .expression_attribute_values(":removed_at", number(&removed_at.timestamp_millis()));
            }
        }
        let update = update.build().expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// Marks a user as removed, unless they are, or have been reinstated since.
    pub(super) fn mark_removed(
        &self,
        (workspace, user): (&WorkspaceId, &UserId),
        entry_is: EntryCondition,
        at: DateTime<Utc>,
    ) -> TransactWriteItem {
        const UNMARKED: &str = "attribute_not_exists(#removed_at) AND (attribute_not_exists(reinstated_at) \
                                OR reinstated_at < :at)";
        // Whoever never had a key has a count of none from now on.
        const MARK: &str = "SET #removed_at = :at ADD key_count :zero";
        const MAKE: &str = "SET #removed_at = :at, #made_by_removal = :true ADD key_count :zero";
        let update =
            Update::builder().table_name(&self.table).set_key(Some(entry(workspace, &user_entry(user))));
        let update = match entry_is {
            EntryCondition::None => update.update_expression(MARK).condition_expression(UNMARKED),
            EntryCondition::Present => update
                .update_expression(MARK)
                .condition_expression(format!("attribute_exists(entry) AND {UNMARKED}")),
            EntryCondition::Absent => update
                .update_expression(MAKE)
                .condition_expression("attribute_not_exists(entry)")
                .expression_attribute_names("#made_by_removal", MADE_BY_REMOVAL)
                .expression_attribute_values(":true", AttributeValue::Bool(true)),
        };
        let update = update
            .expression_attribute_names("#removed_at", REMOVED_AT)
            .expression_attribute_values(":at", number(&at.timestamp_millis()))
            .expression_attribute_values(":zero", number(&0))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// Counts one more user whom the workspace did not know and who was removed, of whom there may be `limit`.
    pub(super) fn count_removal(&self, workspace: &WorkspaceId, limit: u32) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(entry(workspace, REMOVALS)))
            .update_expression("ADD user_count :one")
            .condition_expression("attribute_not_exists(user_count) OR user_count < :limit")
            .expression_attribute_values(":one", number(&1))
            .expression_attribute_values(":limit", number(&limit))
            .build()
            .expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// Demands that a user is not removed.
    pub(super) fn check_not_removed(&self, workspace: &WorkspaceId, user: &UserId) -> TransactWriteItem {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(entry(workspace, &user_entry(user))))
            .condition_expression(NOT_REMOVED)
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

    /// What is remembered of a request that is found by `digest`, strongly consistent.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: the entry is not what it should be.
    pub async fn remembered(
        &self,
        workspace: &WorkspaceId,
        digest: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<IdempotencyRecord>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(entry(workspace, &idempotency_entry(digest))))
            .projection_expression("key_id, #revision, #nonce, #request, #version, #ttl")
            .expression_attribute_names("#revision", "revision")
            .expression_attribute_names("#nonce", "nonce")
            .expression_attribute_names("#request", "request")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#ttl", "ttl")
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let record = answer.item.map(idempotency_record).transpose()?;
        Ok(record.filter(|record| !record.is_over(now)))
    }

    /// Remembers an idempotent create or rotation, unless one with the same `Idempotency-Key` is remembered.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: it cannot be written as an item.
    pub(super) fn put_idempotency_record(
        &self,
        workspace: &WorkspaceId,
        record: &IdempotencyEntry,
        now: DateTime<Utc>,
    ) -> Result<TransactWriteItem, Error> {
        let mut item = entry(workspace, &idempotency_entry(&record.digest));
        let record: HashMap<String, AttributeValue> =
            serde_dynamo::to_item(&record.record).map_err(|_| broken("idempotency record"))?;
        item.extend(record);
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

fn idempotency_entry(digest: &str) -> String {
    format!("IDEMPOTENCY#{digest}")
}

/// Reads an entry as what is remembered of a request.
pub(super) fn idempotency_record(item: HashMap<String, AttributeValue>) -> Result<IdempotencyRecord, Error> {
    serde_dynamo::from_item(item).map_err(|_| broken("idempotency record"))
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
    item.extend(key.expires_at.map(|expires_at| (EXPIRES_AT.to_owned(), number(&expires_at.timestamp()))));
    item.extend(key.ttl.map(|ttl| ("ttl".to_owned(), number(&ttl.timestamp()))));
    item
}

fn name_entry(folded: &str) -> String {
    format!("NAME#{folded}")
}

fn members_prefix(user: &UserId) -> String {
    format!("{MEMBER}{user}#")
}

fn member_entry(user: &UserId, key: KeyId) -> String {
    format!("{}{key}", members_prefix(user))
}

/// Reads an entry as that of a key of `user`.
fn member(user: &UserId, item: &Item) -> Option<Member> {
    let key_id = item.get("entry")?.as_s().ok()?.strip_prefix(&members_prefix(user))?.parse().ok()?;
    Some(Member { key_id, gone_at: time(item, GONE_AT) })
}

fn time(item: &Item, name: &str) -> Option<DateTime<Utc>> {
    let seconds = item.get(name)?.as_n().ok()?.parse().ok()?;
    DateTime::from_timestamp(seconds, 0)
}

fn user_entry(user: &UserId) -> String {
    format!("{USER}{user}")
}

/// The latest expiry of a key that has let go by `now`; as [`Key::has_lapsed`].
fn let_go(now: DateTime<Utc>) -> AttributeValue {
    number(&(now - CLOCK_SKEW).timestamp())
}

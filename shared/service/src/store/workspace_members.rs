//! Members in the table `workspaces`: one entry for each key of a user, which says whether the key is counted.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::{CLOCK_SKEW, Key, KeyOwner};

use crate::store::expression::{self, Condition, UpdateExpression};
use crate::store::item::{Item, broken, flag, seconds, text};
use crate::store::workspaces::{EXPIRES_AT, WorkspacesTable, entry_key};

/// The attribute of a member entry whose key is counted.
const COUNTED: &str = "counted";
/// The attribute of a member entry with the time at which its key may be removed from the database.
const GONE_AT: &str = "gone_at";

/// The condition that the key of a member entry is counted.
const IS_COUNTED: &str = "attribute_exists(#counted)";
/// The condition that the key is not counted.
const IS_NOT_COUNTED: &str = "attribute_not_exists(#counted)";
/// The condition that the key is counted and has expired.
const HAS_LAPSED: &str = "attribute_exists(#counted) AND #expires_at <= :lapsed_at";

/// The condition that the key is counted and has not expired: the opposite of [`HAS_LAPSED`] among counted keys.
const IS_COUNTED_AND_UNEXPIRED: &str =
    "attribute_exists(#counted) AND (attribute_not_exists(#expires_at) OR #expires_at > :lapsed_at)";

/// The maximum number of expired keys that one transaction takes out of the count. A transaction has at most 100 operations.
const MAX_UNCOUNTED: usize = 20;
/// The page size of a search for expired keys, and the maximum number of pages.
const MEMBERS_PAGE: i32 = 1_000;
const MAX_MEMBERS_PAGES: usize = 10;

/// A condition of the removal of a member entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberCondition {
    /// The key is counted.
    Counted,
    /// The key is not counted. The entry may be missing, because inconsistent data must not prevent the deletion of a key.
    NotCounted,
    /// The entry exists, and its key is not counted.
    PresentAndNotCounted,
}

/// A member entry.
#[derive(Clone, Debug)]
pub struct Member {
    /// The id of the key.
    pub key_id: KeyId,
    /// The time at which the key may be removed from the database.
    pub gone_at: Option<DateTime<Utc>>,
}

/// A member entry with the attributes that decide about the count.
#[derive(Clone, Debug)]
pub struct CountedMember {
    /// The key.
    pub member: Member,
    /// Whether the key is counted.
    pub is_counted: bool,
    /// The expiry of the key.
    pub expires_at: Option<DateTime<Utc>>,
}

impl WorkspacesTable {
    /// Reads the member entries of a user: strongly consistent, page by page.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an entry is not a valid member entry.
    pub async fn members(&self, workspace: &WorkspaceId, user: &UserId) -> Result<Vec<Member>, Error> {
        let items = self.query_members(workspace, user, "entry, gone_at").await?;
        let members = items.iter().map(|item| member(user, item)).collect::<Option<_>>();
        members.ok_or_else(|| broken("member"))
    }

    /// Reads the member entries of a user with the attributes that decide about the count.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an entry is not a valid member entry.
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

    /// A query of the member entries of a user whose count and expiry fit a condition, from the newest key on, page by page.
    fn counted_query(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        condition: &str,
        now: DateTime<Utc>,
    ) -> QueryFluentBuilder {
        self.members_query(workspace, user)
            .filter_expression(condition)
            .expression_attribute_names("#counted", COUNTED)
            .expression_attribute_names("#expires_at", EXPIRES_AT)
            .expression_attribute_values(":lapsed_at", lapsed_at(now))
            .projection_expression("entry")
            .scan_index_forward(false)
            .limit(MEMBERS_PAGE)
    }

    /// Finds counted keys of a user that have expired, up to the number that one transaction can take out of the count. It
    /// begins with the newest key: where a user often creates keys that expire, the older ones are no longer counted. It
    /// reads at most the newest 10,000 keys of the user, which bounds the cost for a user with very many keys.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an entry is not a valid member entry.
    pub(super) async fn lapsed_keys(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        now: DateTime<Utc>,
    ) -> Result<Vec<KeyId>, Error> {
        let query = self.counted_query(workspace, user, HAS_LAPSED, now);
        let mut keys = Vec::new();
        let mut start = None;
        for _ in 0..MAX_MEMBERS_PAGES {
            let response = query.clone().set_exclusive_start_key(start.take()).send().await;
            let response = response.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
            for item in response.items.unwrap_or_default() {
                keys.push(member(user, &item).ok_or_else(|| broken("member"))?.key_id);
            }
            start = response.last_evaluated_key;
            if start.is_none() || keys.len() >= MAX_UNCOUNTED {
                break;
            }
        }
        keys.truncate(MAX_UNCOUNTED);
        Ok(keys)
    }

    /// The number of keys of a user that a new key finds in the count: the counted ones that have not expired. Like
    /// [`Self::lapsed_keys`] it reads at most the newest 10,000 keys, so it misses older ones of a user with more.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub(crate) async fn counted_unexpired(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        now: DateTime<Utc>,
    ) -> Result<u32, Error> {
        let query = self.counted_query(workspace, user, IS_COUNTED_AND_UNEXPIRED, now);
        let mut counted = 0;
        let mut start = None;
        for _ in 0..MAX_MEMBERS_PAGES {
            let response = query.clone().set_exclusive_start_key(start.take()).send().await;
            let response = response.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
            counted += response.items().len();
            start = response.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(u32::try_from(counted).unwrap_or(u32::MAX))
    }

    /// Creates the member entry of a key.
    pub(super) fn put_member(&self, key: &Key, counted: bool) -> TransactWriteItem {
        let mut item = member_key(&key.workspace_id, &key.user_id, key.key_id);
        item.extend(counted.then(|| (COUNTED.to_owned(), flag())));
        item.extend(key.expires_at.map(|expires_at| (EXPIRES_AT.to_owned(), seconds(expires_at))));
        item.extend(key.ttl.map(|ttl| (GONE_AT.to_owned(), seconds(ttl))));
        expression::put(&self.table, item, Condition::none())
    }

    /// Writes the key's times to its member entry, and marks the key as counted. `was_counted` is a condition.
    pub(super) fn renew_member(&self, key: &Key, was_counted: bool) -> TransactWriteItem {
        let (expires_at, ttl) = key.expires_at.zip(key.ttl).unzip();
        let update = UpdateExpression::new()
            .set(COUNTED, flag())
            .set_or_remove(EXPIRES_AT, expires_at.map(seconds))
            .set_or_remove(GONE_AT, ttl.map(seconds));
        let condition = Condition::new(if was_counted { IS_COUNTED } else { IS_NOT_COUNTED }).name(COUNTED);
        let key = member_key(&key.workspace_id, &key.user_id, key.key_id);
        expression::update(&self.table, key, update, condition)
    }

    /// Takes an expired key out of the user's count.
    pub(super) fn uncount_lapsed(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        key: KeyId,
        now: DateTime<Utc>,
    ) -> TransactWriteItem {
        let condition =
            Condition::new(HAS_LAPSED).name(COUNTED).name(EXPIRES_AT).value(":lapsed_at", lapsed_at(now));
        let update = UpdateExpression::new().remove(COUNTED);
        expression::update(&self.table, member_key(workspace, user, key), update, condition)
    }

    /// Deletes the member entry of a key. If the condition is that the key is counted, a refusal returns the entry.
    pub(super) fn delete_member(&self, owner: &KeyOwner, condition: MemberCondition) -> TransactWriteItem {
        let condition = match condition {
            MemberCondition::Counted => Condition::new(IS_COUNTED).returning_item(),
            MemberCondition::NotCounted => Condition::new(IS_NOT_COUNTED),
            MemberCondition::PresentAndNotCounted => {
                Condition::new("attribute_exists(entry)").and(IS_NOT_COUNTED)
            }
        };
        let key = member_key(&owner.workspace_id, &owner.user_id, owner.key_id);
        expression::delete(&self.table, key, condition.name(COUNTED))
    }
}

fn member_key(workspace: &WorkspaceId, user: &UserId, key: KeyId) -> Item {
    entry_key(workspace, &format!("{}{key}", members_prefix(user)))
}

fn members_prefix(user: &UserId) -> String {
    format!("MEMBER#{user}#")
}

/// Reads an entry as the member entry of a key of `user`.
fn member(user: &UserId, item: &Item) -> Option<Member> {
    let key_id = item.get("entry")?.as_s().ok()?.strip_prefix(&members_prefix(user))?.parse().ok()?;
    Some(Member { key_id, gone_at: time(item, GONE_AT) })
}

fn time(item: &Item, name: &str) -> Option<DateTime<Utc>> {
    let seconds = item.get(name)?.as_n().ok()?.parse().ok()?;
    DateTime::from_timestamp(seconds, 0)
}

/// The latest expiry of a key that has expired by `now`, as in [`Key::has_lapsed`].
pub(super) fn lapsed_at(now: DateTime<Utc>) -> AttributeValue {
    seconds(now - CLOCK_SKEW)
}

//! Counters in the table `workspaces`, as a recount reads and corrects them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};

use crate::store::conditional_write::{WriteOutcome, outcome};
use crate::store::item::{Item, broken, number, text};
use crate::store::workspace_users::{
    KEY_COUNT, MADE_BY_REMOVAL, REMOVALS, USER_COUNT, USER_PREFIX, user_key,
};
use crate::store::workspaces::{WorkspacesTable, entry_key};

/// The number of entries that one page of a scan reads.
const PAGE: i32 = 500;

/// An entry with a counter, as a recount reads it.
#[derive(Clone, Debug)]
pub enum CountingEntry {
    /// The entry of a user.
    User(CountedUser),
    /// The entry of a workspace's removals.
    Removals(CountedRemovals),
}

/// The counter of the user entries that exist only because of a removal.
#[derive(Clone, Debug)]
pub struct CountedRemovals {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The stored count.
    pub user_count: i64,
}

/// A user's entry, as a recount reads it.
#[derive(Clone, Debug)]
pub struct CountedUser {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The user.
    pub user_id: UserId,
    /// The stored number of their counted keys.
    pub key_count: i64,
}

impl WorkspacesTable {
    /// Reads a page of the entries with a counter of all workspaces, and the cursor of the next page.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an entry is not valid.
    pub async fn counters(
        &self,
        cursor: Option<&str>,
    ) -> Result<(Vec<CountingEntry>, Option<String>), Error> {
        // A workspace's id has no spaces.
        let start = cursor.and_then(|cursor| cursor.split_once(' ')).map(|(workspace, entry)| {
            let text = |text: &str| AttributeValue::S(text.to_owned());
            HashMap::from([("workspace_id".to_owned(), text(workspace)), ("entry".to_owned(), text(entry))])
        });
        let response = self
            .client
            .scan()
            .table_name(&self.table)
            .filter_expression("begins_with(entry, :user) OR entry = :removals")
            .projection_expression("workspace_id, entry, key_count, user_count")
            .expression_attribute_values(":user", text(USER_PREFIX))
            .expression_attribute_values(":removals", text(REMOVALS))
            .consistent_read(true)
            .limit(PAGE)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let text = |item: &Item, name: &str| item.get(name)?.as_s().ok().cloned();
        let counting = |item: Item| {
            let workspace_id = text(&item, "workspace_id")?.parse().ok()?;
            let entry = text(&item, "entry")?;
            // An entry may have no count.
            let count = |name| item.get(name).map_or(Some(0), |count| count.as_n().ok()?.parse().ok());
            Some(if entry == REMOVALS {
                CountingEntry::Removals(CountedRemovals { workspace_id, user_count: count("user_count")? })
            } else {
                let user_id = entry.strip_prefix(USER_PREFIX)?.parse().ok()?;
                CountingEntry::User(CountedUser { workspace_id, user_id, key_count: count("key_count")? })
            })
        };
        let entries = response.items.unwrap_or_default().into_iter().map(counting).collect::<Option<_>>();
        let rest = response
            .last_evaluated_key
            .and_then(|item| Some(format!("{} {}", text(&item, "workspace_id")?, text(&item, "entry")?)));
        Ok((entries.ok_or_else(|| broken("count"))?, rest))
    }

    /// Counts the user entries of a workspace that exist only because of a removal: strongly consistent, page by page.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn count_made_by_removal(&self, workspace: &WorkspaceId) -> Result<i64, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("workspace_id = :workspace AND begins_with(entry, :user)")
            .filter_expression("attribute_exists(#made_by_removal)")
            .projection_expression("entry")
            .expression_attribute_names("#made_by_removal", MADE_BY_REMOVAL)
            .expression_attribute_values(":workspace", text(workspace))
            .expression_attribute_values(":user", text(USER_PREFIX))
            .consistent_read(true);
        let mut pages = query.into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            count += i64::from(page.map_err(|failure| Error::unavailable("DynamoDB", &failure))?.count);
        }
        Ok(count)
    }

    /// Corrects the number of a user's counted keys, if the stored count has not changed since it was read.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn correct_count(&self, user: &CountedUser, key_count: i64) -> Result<WriteOutcome, Error> {
        let key = user_key(&user.workspace_id, &user.user_id);
        self.correct(key, KEY_COUNT, user.key_count, key_count).await
    }

    /// Corrects the number of user entries that exist only because of a removal, if the stored count has not changed since
    /// it was read.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn correct_removals(
        &self,
        removals: &CountedRemovals,
        user_count: i64,
    ) -> Result<WriteOutcome, Error> {
        let key = entry_key(&removals.workspace_id, REMOVALS);
        self.correct(key, USER_COUNT, removals.user_count, user_count).await
    }

    async fn correct(&self, key: Item, name: &str, read: i64, counted: i64) -> Result<WriteOutcome, Error> {
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
        outcome(update.send().await)
    }
}

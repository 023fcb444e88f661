//! Unused keys, found through the index of the table `keys` by last use.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use serde::Deserialize;

use crate::store::item::{Item, seconds, text};
use crate::store::key_queries::Sort;
use crate::store::keys::{KeysTable, keys_of};

/// The number of keys that one page of a scan reads.
const PAGE: i32 = 500;

/// The attributes of an unused key that the index has.
#[derive(Clone, Debug, Deserialize)]
pub struct UnusedKey {
    /// The id of the key.
    pub key_id: KeyId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The owner of the key.
    pub user_id: UserId,
    /// The revision of the key.
    pub revision: u64,
    /// The time of creation.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub created_at: DateTime<Utc>,
    /// The last use; 1970 for a key that was never used.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub last_used_at: DateTime<Utc>,
    /// The time of the last notice that the key will be disabled.
    #[serde(default, with = "chrono::serde::ts_seconds_option")]
    pub unused_notice_at: Option<DateTime<Utc>>,
    /// The revision of the key at the last notice.
    pub unused_notice_revision: Option<u64>,
}

impl UnusedKey {
    /// The start of the period without use: the last use, or the creation of a key that was never used.
    #[must_use]
    pub fn unused_since(&self) -> DateTime<Utc> {
        self.created_at.max(self.last_used_at)
    }

    /// The time of the notice that the key will be disabled. Using or changing the key cancels the notice, so a key that is
    /// enabled again gets a full notice period.
    #[must_use]
    pub fn noticed_at(&self) -> Option<DateTime<Utc>> {
        let is_of_this_state = self.unused_notice_revision == Some(self.revision);
        self.unused_notice_at.filter(|at| is_of_this_state && self.last_used_at < *at)
    }
}

/// The action on an unused key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnusedAction {
    /// An event gives notice that the key will be disabled.
    Notify,
    /// The key is disabled.
    Disable,
}

impl KeysTable {
    /// Reads a page of the active keys of all workspaces that have not been used after `since`, and the cursor of the next
    /// page. The index is eventually consistent. Items that are not keys are logged and skipped.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn unused(
        &self,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
        cursor: Option<&str>,
    ) -> Result<(Vec<UnusedKey>, Option<String>), Error> {
        let response = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name(Sort::LastUsedAt.index())
            .filter_expression(
                "last_used_at <= :since AND created_at <= :since AND attribute_not_exists(disabled_at) \
                 AND (attribute_not_exists(expires_at) OR expires_at > :now)",
            )
            .projection_expression(
                "key_id, workspace_id, user_id, revision, created_at, last_used_at, unused_notice_at, unused_notice_revision",
            )
            .expression_attribute_values(":since", seconds(since))
            .expression_attribute_values(":now", seconds(now))
            .limit(PAGE)
            .set_exclusive_start_key(cursor.and_then(start_at))
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let keys = keys_of(response.items.unwrap_or_default());
        Ok((keys, response.last_evaluated_key.as_ref().and_then(cursor_at)))
    }
}

/// The cursor of a page that begins after an item of the index. Its parts are separated by spaces and contain none.
fn cursor_at(item: &Item) -> Option<String> {
    let text = |name: &str| item.get(name)?.as_s().ok();
    let last_used_at = item.get("last_used_at")?.as_n().ok()?;
    Some(format!("{} {last_used_at} {}", text("workspace_id")?, text("key_id")?))
}

fn start_at(cursor: &str) -> Option<Item> {
    let [workspace, last_used_at, key_id] = cursor.splitn(3, ' ').collect::<Vec<_>>().try_into().ok()?;
    Some(HashMap::from([
        ("workspace_id".to_owned(), text(workspace)),
        ("last_used_at".to_owned(), AttributeValue::N(last_used_at.to_owned())),
        ("key_id".to_owned(), text(key_id)),
    ]))
}

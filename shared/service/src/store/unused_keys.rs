//! Unused keys, found through the index of the table `usage` by last use.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use serde::Deserialize;

use crate::store::batch;
use crate::store::item::{Item, seconds};
use crate::store::keys::{item_key, keys_of};
use crate::store::tables::Store;
use crate::store::usage::{self, BY_LAST_USED_AT, read_last_use};

/// The number of last uses that one page of a scan reads.
const PAGE: i32 = 500;

/// The attributes that [`UnusedKey`] and the choice of unused keys need. The role of `disable-unused-keys` lists the same.
const ATTRIBUTES: &str = "key_id, workspace_id, user_id, revision, created_at, expires_at, disabled_at, unused_notice_at, \
     unused_notice_revision";

/// A key that has not been used for some time.
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
    #[serde(skip)]
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

/// A key as the table has it, before the choice.
#[derive(Deserialize)]
struct StoredKey {
    #[serde(flatten)]
    key: UnusedKey,
    #[serde(default, with = "chrono::serde::ts_seconds_option")]
    expires_at: Option<DateTime<Utc>>,
    #[serde(default, with = "chrono::serde::ts_seconds_option")]
    disabled_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Reads a page of the active keys of all workspaces that have not been used after `since`, and the cursor of the next
    /// page. The reads are eventually consistent. Items that are not keys are logged and skipped.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn unused_keys(
        &self,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
        cursor: Option<&str>,
    ) -> Result<(Vec<UnusedKey>, Option<String>), Error> {
        let response = self
            .client
            .scan()
            .table_name(&self.usage.table)
            .index_name(BY_LAST_USED_AT)
            .filter_expression("last_used_at <= :since")
            .expression_attribute_values(":since", seconds(since))
            .limit(PAGE)
            .set_exclusive_start_key(cursor.and_then(start_at))
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let mut last_uses = HashMap::new();
        for item in response.items.unwrap_or_default() {
            let key_id = item.get("key_id").cloned();
            match read_last_use(item) {
                Ok((key_id, last_use)) => drop(last_uses.insert(key_id, last_use)),
                Err(error) => tracing::error!(?key_id, %error, "unreadable last use skipped"),
            }
        }
        let keys = last_uses.keys().map(|id| item_key(*id)).collect();
        let items = batch::get_all(&self.client, &self.keys.table, keys, |wanted| {
            wanted.projection_expression(ATTRIBUTES)
        });
        let keys = keys_of::<StoredKey>(items.await?).into_iter().filter(|stored| {
            stored.key.created_at <= since
                && stored.disabled_at.is_none()
                && stored.expires_at.is_none_or(|expires_at| now < expires_at)
        });
        let keys = keys.map(|StoredKey { key, .. }| {
            let last_use = last_uses.get(&key.key_id).and_then(Option::as_ref);
            UnusedKey { last_used_at: last_use.map_or_else(DateTime::default, |last| last.at), ..key }
        });
        Ok((keys.collect(), response.last_evaluated_key.as_ref().and_then(cursor_at)))
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
    Some(usage::index_position(&workspace.parse().ok()?, last_used_at.parse().ok()?, key_id.parse().ok()?))
}

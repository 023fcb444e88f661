//! The index `by_due` of the table `keys`: keys by the hour of their next lifecycle event.
//!
//! | `due_bucket` | keys |
//! | --- | --- |
//! | `<hour>#<shard>` | keys with a lifecycle event in this hour |
//! | `ttl#<hour>#<shard>` | keys whose last event was announced, and whose `ttl` is in this hour; no function reads them |

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::KeyOwner;
use keygate_core::lifecycle::KeySchedule;
use keygate_core::metadata::Metadata;
use serde::Deserialize;

use crate::store::item::{Item, seconds};
use crate::store::keys::{KeysTable, keys_of};

/// The number of shards of the index. The keys of one hour are spread over them, so that many keys which expire in the same
/// hour can be written at the same time. Changing the number would leave keys in shards that no function reads.
const DUE_SHARDS: u8 = 4;

/// The number of due keys on one page. All of them are processed before the next page is read.
const DUE_PAGE: i32 = 100;

/// The attributes of a key that the index has.
#[derive(Clone, Debug, Deserialize)]
pub struct DueKey {
    /// The id of the key.
    pub key_id: KeyId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The owner of the key.
    pub user_id: UserId,
    /// The revision of the key.
    pub revision: u64,
    /// The time of its next lifecycle event.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub due_at: DateTime<Utc>,
    /// Its metadata, which its events publish.
    #[serde(default)]
    pub metadata: Metadata,
    /// The attributes from which the next lifecycle event is computed.
    #[serde(flatten)]
    pub schedule: KeySchedule,
}

impl DueKey {
    /// The key and its owner.
    #[must_use]
    pub fn owner(&self) -> KeyOwner {
        KeyOwner {
            workspace_id: self.workspace_id.clone(),
            user_id: self.user_id.clone(),
            key_id: self.key_id,
        }
    }
}

/// The start of a page of the keys that are due in one hour, in one of its shards.
#[derive(Clone, Debug)]
pub struct DueCursor {
    shard: u8,
    after: Option<Item>,
}

impl DueCursor {
    /// The starts of all shards. An hour is read completely when every shard is.
    pub fn all_shards() -> impl Iterator<Item = Self> {
        (0..DUE_SHARDS).map(|shard| Self { shard, after: None })
    }
}

impl KeysTable {
    /// Reads a page of the keys that are due within the hour of `hour`, up to `now`, and the cursor of the next page of the
    /// same shard, because any number of keys may be due in one hour. The index is eventually consistent. Items that are not
    /// keys are logged and skipped.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn due(
        &self,
        hour: DateTime<Utc>,
        now: DateTime<Utc>,
        cursor: DueCursor,
    ) -> Result<(Vec<DueKey>, Option<DueCursor>), Error> {
        let DueCursor { shard, after } = cursor;
        let response = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by_due")
            .key_condition_expression("due_bucket = :bucket AND due_at <= :now")
            .expression_attribute_values(":bucket", AttributeValue::S(due_bucket(hour, shard)))
            .expression_attribute_values(":now", seconds(now))
            .limit(DUE_PAGE)
            .set_exclusive_start_key(after)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let next = response.last_evaluated_key.map(|after| DueCursor { shard, after: Some(after) });
        Ok((keys_of(response.items.unwrap_or_default()), next))
    }
}

/// The value of `due_bucket` for a key that is due at `due_at` and removed at its `ttl`. The `ttl` is no event: a key that only
/// waits for it is kept apart, because DynamoDB may take days to remove it, and an hour would be read with all of these keys.
pub(super) fn bucket_of(id: KeyId, due_at: DateTime<Utc>, ttl: Option<DateTime<Utc>>) -> AttributeValue {
    let bucket = due_bucket(due_at, id.to_bytes()[15] % DUE_SHARDS);
    AttributeValue::S(if ttl == Some(due_at) { format!("ttl#{bucket}") } else { bucket })
}

fn due_bucket(hour: DateTime<Utc>, shard: u8) -> String {
    format!("{}#{shard}", hour.format("%Y-%m-%dT%H"))
}

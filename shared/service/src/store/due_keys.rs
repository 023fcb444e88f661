//! The index `by_due` of the table `keys`: keys by the hour in which time does something to them next.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::KeyOwner;
use keygate_core::lifecycle::KeySchedule;
use serde::Deserialize;

use crate::store::item::{Item, seconds};
use crate::store::keys::{KeysTable, keys_of};

/// The number of parts of the index over which the keys of an hour are spread, so that many keys which expire in the same hour can be
/// written at the same time. A change would leave keys in parts that no function reads.
const DUE_SHARDS: u8 = 4;

/// The number of due keys on one page. Each is handled before the next page is read.
const DUE_PAGE: i32 = 100;

/// What the index of what is due has of a key.
#[derive(Clone, Debug, Deserialize)]
pub struct DueKey {
    /// The key.
    pub key_id: KeyId,
    /// Its tenant.
    pub workspace_id: WorkspaceId,
    /// Whose it is.
    pub user_id: UserId,
    /// Which state of the key this is.
    pub revision: u64,
    /// When time does something to it next.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub due_at: DateTime<Utc>,
    /// What decides that.
    #[serde(flatten)]
    pub schedule: KeySchedule,
}

impl DueKey {
    /// The key, and whose it is.
    #[must_use]
    pub fn owner(&self) -> KeyOwner {
        KeyOwner {
            workspace_id: self.workspace_id.clone(),
            user_id: self.user_id.clone(),
            key_id: self.key_id,
        }
    }
}

/// Where a page of an hour's due keys begins.
#[derive(Clone, Debug, Default)]
pub struct DueCursor {
    shard: u8,
    after: Option<Item>,
}

impl DueCursor {
    fn first_of(shard: u8) -> Self {
        Self { shard, after: None }
    }
}

impl KeysTable {
    /// A page of the keys that are due within the hour of `hour`, up to `now`, and the cursor of the next one: any
    /// number of keys may be due in the same hour. The index is a little behind the table. What is not a key is logged and
    /// left out.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn due(
        &self,
        hour: DateTime<Utc>,
        now: DateTime<Utc>,
        cursor: DueCursor,
    ) -> Result<(Vec<DueKey>, Option<DueCursor>), Error> {
        let DueCursor { shard, after } = cursor;
        let answer = self
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
        let next = match answer.last_evaluated_key {
            Some(after) => Some(DueCursor { shard, after: Some(after) }),
            None => Some(shard + 1).filter(|shard| *shard < DUE_SHARDS).map(DueCursor::first_of),
        };
        Ok((keys_of(answer.items.unwrap_or_default()), next))
    }
}

/// The attribute `due_bucket` of a key that is due at a time.
pub(super) fn bucket_of(id: KeyId, due_at: DateTime<Utc>) -> AttributeValue {
    AttributeValue::S(due_bucket(due_at, id.to_bytes()[15] % DUE_SHARDS))
}

fn due_bucket(hour: DateTime<Utc>, shard: u8) -> String {
    format!("{}#{shard}", hour.format("%Y-%m-%dT%H"))
}

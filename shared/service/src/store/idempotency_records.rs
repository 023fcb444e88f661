//! Idempotency records in the table `workspaces`, in a partition of their own for each workspace.
//!
//! A condition that fails can return the stored item, and a role cannot limit which entries of a partition that concerns. It
//! can limit the partitions. So the nonces in idempotency records can be read only by the roles that create and rotate keys.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::TransactWriteItem;
use chrono::{DateTime, Utc};
use keygate_core::error::Error;
use keygate_core::idempotency::{IdempotencyEntry, IdempotencyRecord};
use keygate_core::identity::WorkspaceId;

use crate::store::expression::{self, Condition};
use crate::store::item::{Item, broken, seconds, text};
use crate::store::workspaces::WorkspacesTable;

/// The prefix of the partition with the idempotency records of a workspace. No workspace id contains a `#`.
const PARTITION_PREFIX: &str = "#idempotency#";

impl WorkspacesTable {
    /// Reads the idempotency record with this `digest`, strongly consistent.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the entry is not valid.
    pub async fn idempotency_record(
        &self,
        workspace: &WorkspaceId,
        digest: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<IdempotencyRecord>, Error> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(record_key(workspace, digest)))
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
        let record = response.item.map(read_record).transpose()?;
        Ok(record.filter(|record| !record.has_expired(now)))
    }

    /// Records an idempotent creation or rotation, unless a request with the same `Idempotency-Key` is recorded.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the record cannot be written as an item.
    pub(super) fn put_idempotency_record(
        &self,
        workspace: &WorkspaceId,
        entry: &IdempotencyEntry,
        now: DateTime<Utc>,
    ) -> Result<TransactWriteItem, Error> {
        let mut item = record_key(workspace, &entry.digest);
        let record: Item = serde_dynamo::to_item(&entry.record).map_err(|_| broken("idempotency record"))?;
        item.extend(record);
        let is_free = Condition::new("attribute_not_exists(entry) OR #ttl <= :now")
            .name("ttl")
            .value(":now", seconds(now))
            .returning_item();
        Ok(expression::put(&self.table, item, is_free))
    }
}

fn record_key(workspace: &WorkspaceId, digest: &str) -> Item {
    HashMap::from([
        ("workspace_id".to_owned(), text(&format!("{PARTITION_PREFIX}{workspace}"))),
        ("entry".to_owned(), text(digest)),
    ])
}

/// Reads an entry as an idempotency record.
pub(super) fn read_record(item: Item) -> Result<IdempotencyRecord, Error> {
    serde_dynamo::from_item(item).map_err(|_| broken("idempotency record"))
}

//! The table `activity`: the audit trail, to which events are only ever added.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use chrono::TimeDelta;
use serde::Serialize;

use crate::activity::{Action, Event};
use crate::caller::{UserId, WorkspaceId};
use crate::credential::KeyId;
use crate::error::Error;
use crate::store::broken;

/// The table.
#[derive(Clone, Debug)]
pub struct Activity {
    table: String,
    retention: TimeDelta,
}

#[derive(Serialize)]
struct Item<'a> {
    actor: String,
    event: String,
    workspace_id: &'a WorkspaceId,
    action: Action,
    key_id: KeyId,
    target: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    outcome: &'a str,
    count: u32,
    ttl: i64,
}

impl Activity {
    /// Takes the table's name and how long an event is kept.
    #[must_use]
    pub fn new(table: String, retention: TimeDelta) -> Self {
        Self { table, retention }
    }

    /// The change that adds an event.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the event cannot be written as an item.
    pub(super) fn put(&self, event: &Event) -> Result<TransactWriteItem, Error> {
        let item: HashMap<String, AttributeValue> = serde_dynamo::to_item(Item {
            actor: format!("{}#{}", event.workspace_id, event.actor),
            event: event.position(),
            workspace_id: &event.workspace_id,
            action: event.action,
            key_id: event.key_id,
            target: &event.target,
            method: event.origin.method.as_deref(),
            path: event.origin.path.as_deref(),
            source: event.origin.source.as_deref(),
            outcome: "done",
            count: 1,
            ttl: (event.at + self.retention).timestamp(),
        })
        .map_err(|_| broken("event"))?;
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(event)")
            .build()
            .expect("a table and an item");
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

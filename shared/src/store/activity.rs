//! The table `activity`: the audit trail, to which events are only ever added.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use chrono::TimeDelta;
use serde::Serialize;

use crate::activity::{Action, Event, Outcome};
use crate::caller::{UserId, WorkspaceId};
use crate::credential::{KeyId, TokenId};
use crate::error::Error;
use crate::store::broken;

/// Events are added and never changed.
const NOTHING_THERE: &str = "attribute_not_exists(event)";

/// The table.
#[derive(Clone, Debug)]
pub struct Activity {
    client: Client,
    table: String,
    retention: TimeDelta,
}

#[derive(Serialize)]
struct Item<'a> {
    actor: String,
    event: String,
    /// Not of use: the index by workspace is of what was changed, and would else be of nothing but use.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<&'a WorkspaceId>,
    action: Action,
    key_id: KeyId,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<TokenId>,
    target: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    count: u32,
    ttl: i64,
}

impl Activity {
    /// Takes the table's name and how long an event is kept.
    #[must_use]
    pub fn new(client: Client, table: String, retention: TimeDelta) -> Self {
        Self { client, table, retention }
    }

    /// Adds an event of calls, once: an event that is there already is the same, written by an attempt whose answer was
    /// lost.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer. The event may or may not be written.
    /// - [`Error::Broken`]: the event cannot be written as an item.
    pub async fn append(&self, event: &Event) -> Result<(), Error> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(self.item(event)?))
            .condition_expression(NOTHING_THERE);
        match put.send().await {
            Err(failure)
                if !failure
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Err(Error::unavailable("DynamoDB", &failure))
            }
            _ => Ok(()),
        }
    }

    /// The change that adds an event.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the event cannot be written as an item.
    pub(super) fn put(&self, event: &Event) -> Result<TransactWriteItem, Error> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(self.item(event)?))
            .condition_expression(NOTHING_THERE)
            .build()
            .expect("a table and an item");
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn item(&self, event: &Event) -> Result<HashMap<String, AttributeValue>, Error> {
        let (outcome, reason) = match event.outcome {
            None => ("done", None),
            Some(Outcome::Allowed) => ("allowed", None),
            Some(Outcome::Refused(reason)) => ("refused", Some(reason)),
        };
        serde_dynamo::to_item(Item {
            actor: format!("{}#{}", event.workspace_id, event.actor),
            event: event.position(),
            workspace_id: event.action.is_management().then_some(&event.workspace_id),
            action: event.action,
            key_id: event.key_id,
            token_id: event.token_id,
            target: &event.target,
            method: event.origin.method.as_deref(),
            path: event.origin.path.as_deref(),
            source: event.origin.source.as_deref(),
            outcome,
            reason,
            count: event.count,
            ttl: (event.at + self.retention).timestamp(),
        })
        .map_err(|_| broken("event"))
    }
}

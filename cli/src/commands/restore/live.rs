//! The live tables: reads of items and of the audit trail, and conditional writes.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, KeysAndAttributes, Put, TableDescription, TableStatus, TransactWriteItem,
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use keygate_core::audit_event::Action;

use super::judge::Write;
use super::table::{Item, Table, identity, text};
use crate::aws::{AwsAccount, Stack};
use crate::failure::{Failure, Status};

/// The number of items that each segment writes at the same time.
pub(super) const WRITES: usize = 8;
/// The number of items that are read at once: as many as one request takes.
const PAGE: i32 = 100;
/// The maximum number of requests for items that were not processed.
const MAX_ATTEMPTS: u32 = 10;

/// The tables of a stack.
#[derive(Debug)]
pub(super) struct Live<'a> {
    aws: &'a AwsAccount,
    client: Client,
    pub(super) kind: Table,
    /// The name of the table that is written.
    pub(super) table: String,
    keys: String,
    workspaces: String,
    activity: String,
}

/// What `DynamoDB` says about a table.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) is_active: bool,
    /// The attributes of the key, with their types.
    pub(super) key: String,
    /// The approximate number of items; none if it is not known yet.
    pub(super) items: Option<u64>,
    /// The table that it was restored from, and the time.
    pub(super) source: Option<String>,
    pub(super) restored_at: Option<DateTime<Utc>>,
}

impl<'a> Live<'a> {
    /// Reads the names of the tables from the outputs of the stack.
    ///
    /// # Errors
    ///
    /// The stack has no such table.
    pub(super) fn new(aws: &'a AwsAccount, stack: &Stack, kind: Table) -> Result<Self, Failure> {
        Ok(Self {
            aws,
            client: aws.dynamodb(),
            kind,
            table: stack.output(kind.output())?,
            keys: stack.output(Table::Keys.output())?,
            workspaces: stack.output(Table::Workspaces.output())?,
            activity: stack.output(Table::Activity.output())?,
        })
    }

    pub(super) async fn describe(&self, table: &str) -> Result<Description, Failure> {
        let response = self.client.describe_table().table_name(table).send().await;
        let response = response.map_err(|error| {
            let failure = self.failed(&error);
            if failure.status == Status::NotFound {
                Failure::new(Status::NotFound, format!("there is no table {table}")).advise("check its name")
            } else {
                failure
            }
        })?;
        let described =
            response.table.ok_or_else(|| Failure::new(Status::Failed, "DynamoDB described nothing"))?;
        let key = key(&described);
        let TableDescription { table_status, item_count, restore_summary, .. } = described;
        let restored_at = restore_summary.as_ref().and_then(|restored| {
            let at = restored.restore_date_time();
            DateTime::from_timestamp(at.secs(), 0)
        });
        let source = restore_summary.and_then(|restored| {
            let arn = restored.source_table_arn?;
            Some(arn.rsplit_once('/').map_or(arn.clone(), |(_, name)| name.to_owned()))
        });
        Ok(Description {
            name: table.to_owned(),
            is_active: table_status == Some(TableStatus::Active),
            key,
            items: item_count.and_then(|count| u64::try_from(count).ok()).filter(|count| *count > 0),
            source,
            restored_at,
        })
    }

    /// A page of a segment of a table, and the key after which the next one begins.
    pub(super) async fn page(
        &self,
        table: &str,
        (segment, segments): (usize, usize),
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), Failure> {
        let count = |number| i32::try_from(number).unwrap_or(i32::MAX);
        let scan = self
            .client
            .scan()
            .table_name(table)
            .segment(count(segment))
            .total_segments(count(segments))
            .set_exclusive_start_key(start)
            .consistent_read(true)
            .limit(PAGE);
        let page = scan.send().await.map_err(|error| self.failed(&error))?;
        Ok((page.items.unwrap_or_default(), page.last_evaluated_key))
    }

    /// The live items with the keys of restored ones, by their [`identity`].
    pub(super) async fn items(&self, restored: &[Item]) -> Result<HashMap<String, Item>, Failure> {
        let keys = restored.iter().map(|item| self.kind.key_of(item));
        self.get(&self.table, keys, None, self.kind).await
    }

    /// The live keys with these ids, without their hashes.
    pub(super) async fn keys(
        &self,
        ids: impl Iterator<Item = &str>,
    ) -> Result<HashMap<String, Item>, Failure> {
        let attributes = "key_id, workspace_id, user_id, name_folded, token_generation";
        let keys = ids.map(|id| Item::from([("key_id".to_owned(), AttributeValue::S(id.to_owned()))]));
        self.get(&self.keys, keys, Some(attributes), Table::Keys).await
    }

    /// The live entries of users, given as workspace and user.
    pub(super) async fn users(
        &self,
        users: impl Iterator<Item = (&str, &str)>,
    ) -> Result<HashMap<String, Item>, Failure> {
        let keys = users.map(|(workspace, user)| user_key(workspace, user));
        self.get(&self.workspaces, keys, Some("workspace_id, entry, removed_at"), Table::Workspaces).await
    }

    async fn get(
        &self,
        table: &str,
        keys: impl Iterator<Item = Item>,
        attributes: Option<&str>,
        kind: Table,
    ) -> Result<HashMap<String, Item>, Failure> {
        // A request must not name an item twice.
        let keys: HashMap<_, _> = keys.map(|key| (identity(&key), key)).collect();
        let keys: Vec<_> = keys.into_values().collect();
        let mut found = HashMap::new();
        for some in keys.chunks(usize::try_from(PAGE).unwrap_or(1)) {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(some.to_vec()))
                .set_projection_expression(attributes.map(str::to_owned))
                .consistent_read(true)
                .build()
                .map_err(|error| Failure::new(Status::Failed, error.to_string()))?;
            let mut wanted = Some(HashMap::from([(table.to_owned(), wanted)]));
            let mut attempt = 0;
            while let Some(request) = wanted.filter(|request| !request.is_empty()) {
                if attempt == MAX_ATTEMPTS {
                    return Err(Failure::new(Status::Unavailable, "DynamoDB leaves items unread")
                        .advise("run the same command again later"));
                }
                if attempt > 0 {
                    tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
                }
                attempt += 1;
                let response = self.client.batch_get_item().set_request_items(Some(request)).send().await;
                let response = response.map_err(|error| self.failed(&error))?;
                for item in response.responses.unwrap_or_default().into_values().flatten() {
                    found.insert(identity(&kind.key_of(&item)), item);
                }
                wanted = response.unprocessed_keys;
            }
        }
        Ok(found)
    }

    /// The last event since `since` that revokes or changes something of a key, as its action and time; with tokens also the
    /// use of a refresh token and the end of a session.
    pub(super) async fn changed_since(
        &self,
        workspace: &str,
        key_id: &str,
        since: DateTime<Utc>,
    ) -> Result<Option<(String, String)>, Failure> {
        let mut events = self
            .client
            .query()
            .table_name(&self.activity)
            .index_name("by_key")
            .key_condition_expression("workspace_key = :key AND event >= :since")
            .expression_attribute_values(":key", AttributeValue::S(format!("{workspace}#{key_id}")))
            .expression_attribute_values(":since", AttributeValue::S(event_time(since)))
            .filter_expression("#action <> :used")
            .expression_attribute_names("#action", "action")
            .expression_attribute_values(":used", AttributeValue::S("key.used".to_owned()))
            .projection_expression("event, #action")
            .scan_index_forward(false)
            .into_paginator()
            .items()
            .send();
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| self.failed(&error))?;
            let action = text(&event, "action").unwrap_or_default();
            if is_change(action, self.kind) {
                let at = text(&event, "event").and_then(|event| event.split('#').next()).unwrap_or_default();
                return Ok(Some((action.to_owned(), at.to_owned())));
            }
        }
        Ok(None)
    }

    /// Whether a workspace has an event up to the end of the second `time`.
    pub(super) async fn has_events_until(
        &self,
        workspace: &str,
        time: DateTime<Utc>,
    ) -> Result<bool, Failure> {
        let end = event_time(time + TimeDelta::seconds(1));
        let event = self
            .client
            .query()
            .table_name(&self.activity)
            .index_name("by_workspace")
            .key_condition_expression("workspace_id = :workspace AND event < :end")
            .expression_attribute_values(":workspace", AttributeValue::S(workspace.to_owned()))
            .expression_attribute_values(":end", AttributeValue::S(end))
            .scan_index_forward(false)
            .limit(1);
        let found = event.send().await.map_err(|error| self.failed(&error))?;
        Ok(!found.items().is_empty())
    }

    /// The users of a workspace who were removed since `since` and not reinstated, with the times of their removal.
    pub(super) async fn removals(
        &self,
        workspace: &str,
        since: DateTime<Utc>,
    ) -> Result<HashMap<String, DateTime<Utc>>, Failure> {
        let mut events = self
            .client
            .query()
            .table_name(&self.activity)
            .index_name("by_workspace")
            .key_condition_expression("workspace_id = :workspace AND event >= :since")
            .expression_attribute_values(":workspace", AttributeValue::S(workspace.to_owned()))
            .expression_attribute_values(":since", AttributeValue::S(event_time(since)))
            .filter_expression("#action IN (:removed, :reinstated)")
            .expression_attribute_names("#action", "action")
            .expression_attribute_values(":removed", AttributeValue::S("user.removed".to_owned()))
            .expression_attribute_values(":reinstated", AttributeValue::S("user.reinstated".to_owned()))
            .projection_expression("event, #action, target")
            .into_paginator()
            .items()
            .send();
        let mut removals = HashMap::new();
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| self.failed(&error))?;
            let user = text(&event, "target").unwrap_or_default().to_owned();
            let at = text(&event, "event").and_then(|event| event.split('#').next()?.parse().ok());
            match (text(&event, "action"), at) {
                (Some("user.removed"), Some(at)) => removals.insert(user, at),
                _ => removals.remove(&user),
            };
        }
        Ok(removals)
    }

    /// Writes an item, unless the live one has changed since it was read. Returns whether it was written.
    pub(super) async fn write(&self, write: Write) -> Result<bool, Failure> {
        if self.kind.has_credentials() {
            return self.write_credential(write).await;
        }
        let Write { item, live } = write;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = match live {
            None => {
                let part = self.kind.key()[0];
                put.condition_expression("attribute_not_exists(#key)")
                    .expression_attribute_names("#key", part)
            }
            Some((attribute, value)) => put
                .condition_expression("#attribute = :read")
                .expression_attribute_names("#attribute", attribute)
                .expression_attribute_values(":read", value),
        };
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(
                    aws_sdk_dynamodb::operation::put_item::PutItemError::is_conditional_check_failed_exception,
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// As [`write`](Self::write), on condition that the user is not removed meanwhile.
    async fn write_credential(&self, Write { item, live }: Write) -> Result<bool, Failure> {
        let invalid = |error: &dyn std::error::Error| Failure::new(Status::Failed, error.to_string());
        let user = user_key(
            text(&item, "workspace_id").unwrap_or_default(),
            text(&item, "user_id").unwrap_or_default(),
        );
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        let put = match live {
            None => put
                .condition_expression("attribute_not_exists(#key)")
                .expression_attribute_names("#key", self.kind.key()[0]),
            Some((attribute, value)) => put
                .condition_expression("#attribute = :read")
                .expression_attribute_names("#attribute", attribute)
                .expression_attribute_values(":read", value),
        };
        let is_there = ConditionCheck::builder()
            .table_name(&self.workspaces)
            .set_key(Some(user))
            .condition_expression("attribute_not_exists(removed_at)");
        let write = self
            .client
            .transact_write_items()
            .transact_items(
                TransactWriteItem::builder().put(put.build().map_err(|error| invalid(&error))?).build(),
            )
            .transact_items(
                TransactWriteItem::builder()
                    .condition_check(is_there.build().map_err(|error| invalid(&error))?)
                    .build(),
            );
        let mut attempt = 0;
        loop {
            let Err(error) = write.clone().send().await else { return Ok(true) };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
                error.as_service_error()
            else {
                return Err(self.failed(&error));
            };
            let mut codes = cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
            if codes.any(|code| code == "ConditionalCheckFailed") {
                return Ok(false);
            }
            attempt += 1;
            if attempt == MAX_ATTEMPTS {
                return Err(self.failed(&error));
            }
            // Another transaction had one of the items.
            tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
        }
    }

    fn failed<E, R>(&self, error: &SdkError<E, R>) -> Failure
    where
        SdkError<E, R>: ProvideErrorMetadata + std::error::Error,
    {
        self.aws.failure_of_sdk("DynamoDB", error)
    }
}

/// Whether an action makes a restored item of the table wrong.
fn is_change(action: &str, table: Table) -> bool {
    let Ok(action) = Action::parse(action) else { return true };
    match action {
        // The time of an overlap is in the item.
        Action::KeyOverlapEnded => false,
        Action::KeyPurged => true,
        Action::TokenRefreshed | Action::SessionEnded | Action::SessionExchanged => table == Table::Tokens,
        // They end tokens, and the key has the generation of its tokens.
        other => other.revokes(),
    }
}

/// The key of a user's entry.
pub(super) fn user_key(workspace: &str, user: &str) -> Item {
    Item::from([
        ("workspace_id".to_owned(), AttributeValue::S(workspace.to_owned())),
        ("entry".to_owned(), AttributeValue::S(format!("USER#{user}"))),
    ])
}

/// The beginning of the events at a time.
fn event_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn key(described: &TableDescription) -> String {
    let of = |name: &str| {
        let mut attributes = described.attribute_definitions().iter();
        let found = attributes.find(|attribute| attribute.attribute_name() == name);
        found.map_or("?", |attribute| attribute.attribute_type().as_str()).to_owned()
    };
    let parts = described.key_schema().iter().map(|part| {
        format!("{} ({}, {})", part.attribute_name(), part.key_type().as_str(), of(part.attribute_name()))
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_a_restored_item_wrong_depends_on_the_table() {
        for (action, of_keys, of_tokens) in [
            ("key.deleted", true, true),
            ("key.rotated", true, true),
            ("key.updated", true, true),
            ("key.purged", true, true),
            ("legacy.deleted", true, true),
            ("token.revoked", true, true),
            ("token.refreshed", false, true),
            ("session.ended", false, true),
            ("key.overlap_ended", false, false),
            ("key.expiring", false, false),
            ("token.issued", false, false),
            ("an.action of a later version", true, true),
        ] {
            assert_eq!(is_change(action, Table::Keys), of_keys, "{action}");
            assert_eq!(is_change(action, Table::Tokens), of_tokens, "{action}");
        }
    }
}

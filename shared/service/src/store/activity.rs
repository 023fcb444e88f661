//! The table `activity`: the audit trail. Events are added and never changed.

use std::collections::HashMap;
use std::fmt::Display;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use keygate_core::audit_event::{Action, AuditEvent, CallOutcome, ShownEvent, TimeRange};
use keygate_core::credential::{KeyId, SessionId, TokenId};
use keygate_core::credential_class::CredentialKind;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::leak::Ended;
use keygate_core::metadata::Metadata;
use serde::{Deserialize, Serialize};

use crate::aws::dynamodb::DynamoDb;
use crate::store::conditional_write::{WriteOutcome, outcome};
use crate::store::expression::{self, Condition};
use crate::store::item::{Item, broken, text};
use crate::store::paged_query::PagedQuery;
use crate::store::pagination::{FoundItems, Section};

/// A table to which events are only added.
const NOTHING_THERE: &str = "attribute_not_exists(event)";

/// The table.
#[derive(Clone, Debug)]
pub struct ActivityTable {
    client: DynamoDb,
    table: String,
    retention: TimeDelta,
}

#[derive(Serialize)]
struct NewEventItem<'a> {
    actor: String,
    event: String,
    /// The index by workspace has changes only; events of use do not have this attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<&'a WorkspaceId>,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<KeyId>,
    /// The workspace and the key, the partition key of the index by key, so that a query of one workspace cannot read
    /// another's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<TokenId>,
    target: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened_by: Option<&'a UserId>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    changed: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: &'a Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<CredentialKind>,
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

/// A stored event.
#[derive(Deserialize)]
struct EventItem {
    event: String,
    action: String,
    key_id: Option<KeyId>,
    token_id: Option<String>,
    target: UserId,
    session_id: Option<String>,
    opened_by: Option<UserId>,
    #[serde(default)]
    changed: Vec<String>,
    ended: Option<String>,
    credential: Option<String>,
    method: Option<String>,
    path: Option<String>,
    source: Option<String>,
    outcome: String,
    reason: Option<String>,
    count: u32,
    ttl: i64,
}

/// The events that are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trail<'a> {
    /// All changes in the workspace, without calls and tokens.
    Workspace,
    /// The actions of a user, including the calls with their keys.
    Actor(&'a UserId),
    /// The changes and the uses of a key.
    Key(KeyId),
}

/// The position of an event in each of these lists. The event may have been deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPosition {
    /// The actor.
    pub actor: UserId,
    /// The position among this actor's events, see [`AuditEvent::position`].
    pub event: String,
}

/// A section of a list of events.
#[derive(Clone, Copy, Debug)]
pub struct EventQuery<'a> {
    /// The workspace.
    pub workspace: &'a WorkspaceId,
    /// The list.
    pub trail: Trail<'a>,
    /// The period.
    pub period: &'a TimeRange,
    /// The range of the events.
    pub section: Section<&'a EventPosition>,
}

/// `ACTIVITY_TABLE`.
fn table_name(environment: &Environment) -> Result<String, InvalidVariable> {
    environment.required("ACTIVITY_TABLE", "must be the name of the table of activity")
}

impl ActivityTable {
    /// Reads the table name from the environment, and the retention of events in days: `ACTIVITY_RETENTION_DAYS`, 365 by
    /// default.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is missing or invalid.
    pub fn new(client: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            client,
            table: table_name(environment)?,
            retention: environment.days("ACTIVITY_RETENTION_DAYS", 365, 1..=3650)?,
        })
    }

    /// Finds the events of a section that `wanted` accepts; `None` accepts every event. Events past their `ttl` are skipped.
    /// The number of reads is bounded, so the result may have fewer events than the limit, even none, and still a position
    /// to continue from.
    ///
    /// Each of the three indexes begins with the workspace, so a query never reads or pays for events of another workspace.
    /// A key of another workspace is like one that does not exist.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an item is not a valid event.
    pub async fn list(
        &self,
        query: EventQuery<'_>,
        wanted: Option<&(dyn Fn(&ShownEvent) -> bool + Send + Sync)>,
        now: DateTime<Utc>,
    ) -> Result<FoundItems<EventPosition, ShownEvent>, Error> {
        let (index, attribute, value) = query.partition();
        let start = query.section.after.map(|position| {
            HashMap::from([
                (attribute.to_owned(), text(&value)),
                ("actor".to_owned(), text(&of_workspace(query.workspace, &position.actor))),
                ("event".to_owned(), text(&position.event)),
            ])
        });
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .set_index_name(index.map(str::to_owned))
            .key_condition_expression("#partition = :partition AND event BETWEEN :from AND :to")
            .expression_attribute_names("#partition", attribute)
            .expression_attribute_values(":partition", text(&value))
            .expression_attribute_values(":from", text(&query.period.from))
            .expression_attribute_values(":to", text(&query.period.to));
        let mut reads = PagedQuery::new(request, &query.section, start, wanted.is_none());
        while let Some(items) = reads.next().await? {
            for item in items {
                let position = query.position(&item)?;
                let stored: EventItem = serde_dynamo::from_item(item).map_err(|_| broken("event"))?;
                if stored.ttl <= now.timestamp() {
                    continue;
                }
                let event = stored.shown(&position)?;
                if wanted.is_none_or(|wanted| wanted(&event)) {
                    reads.keep(position, event);
                }
            }
        }
        reads.finish(|item| query.position(item))
    }

    /// Adds an event of calls. If the event already exists ([`WriteOutcome::Stale`]), an earlier attempt wrote it.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond. The event may or may not be written.
    /// - [`Error::Broken`]: the event cannot be written as an item.
    pub async fn append(&self, event: &AuditEvent) -> Result<WriteOutcome, Error> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(self.item(event)?))
            .condition_expression(NOTHING_THERE);
        outcome(put.send().await)
    }

    /// The change that adds an event.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the event cannot be written as an item.
    pub(super) fn put(&self, event: &AuditEvent) -> Result<TransactWriteItem, Error> {
        Ok(expression::put(&self.table, self.item(event)?, Condition::new(NOTHING_THERE)))
    }

    fn item(&self, event: &AuditEvent) -> Result<Item, Error> {
        let (outcome, reason) = match event.outcome {
            None => ("done", None),
            Some(CallOutcome::Allowed) => ("allowed", None),
            Some(CallOutcome::Refused(reason)) => ("refused", Some(reason)),
        };
        serde_dynamo::to_item(NewEventItem {
            actor: of_workspace(&event.workspace_id, &event.actor),
            event: event.position(),
            workspace_id: event.action.is_management().then_some(&event.workspace_id),
            action: event.action,
            key_id: event.key_id,
            workspace_key: event.key_id.map(|key_id| of_workspace(&event.workspace_id, &key_id)),
            token_id: event.token_id,
            target: &event.target,
            session_id: event.session.as_ref().map(|session| session.id),
            opened_by: event.session.as_ref().map(|session| &session.opened_by),
            changed: &event.details.changed,
            ended: event.details.ended,
            metadata: &event.details.metadata,
            expires_at: event.details.expires_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            days_left: event.details.days_left,
            credential: event.details.credential,
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

impl EventQuery<'_> {
    /// The index, or `None` for the table itself, with its partition attribute and value.
    fn partition(&self) -> (Option<&'static str>, &'static str, String) {
        match self.trail {
            Trail::Workspace => (Some("by_workspace"), "workspace_id", self.workspace.to_string()),
            Trail::Actor(user) => (None, "actor", of_workspace(self.workspace, user)),
            Trail::Key(id) => (Some("by_key"), "workspace_key", of_workspace(self.workspace, &id)),
        }
    }

    /// The position of an item.
    fn position(&self, item: &Item) -> Result<EventPosition, Error> {
        let value = |attribute: &str| match item.get(attribute) {
            Some(AttributeValue::S(value)) => Ok(value),
            _ => Err(broken("event")),
        };
        let (workspace, actor) = value("actor")?.split_once('#').ok_or_else(|| broken("event"))?;
        if workspace != self.workspace.as_str() {
            return Err(Error::Broken("an event of another workspace".to_owned()));
        }
        let actor = actor.parse().map_err(|_| broken("event"))?;
        Ok(EventPosition { actor, event: value("event")?.clone() })
    }
}

impl EventItem {
    fn shown(self, position: &EventPosition) -> Result<ShownEvent, Error> {
        let (at, id) = self.event.split_once('#').ok_or_else(|| broken("event"))?;
        Ok(ShownEvent {
            id: id.to_owned(),
            at: at.to_owned(),
            actor: position.actor.clone(),
            action: self.action,
            key_id: self.key_id,
            token_id: self.token_id,
            target: self.target,
            session_id: self.session_id,
            opened_by: self.opened_by,
            changed: self.changed,
            ended: self.ended,
            credential: self.credential,
            method: self.method,
            path: self.path,
            source: self.source,
            outcome: self.outcome,
            reason: self.reason,
            count: self.count,
        })
    }
}

/// The id of a user or key, prefixed with the workspace. Workspace ids and key ids contain no `#`, so the text is unique to
/// the workspace.
fn of_workspace(workspace: &WorkspaceId, id: &impl Display) -> String {
    format!("{workspace}#{id}")
}

//! The table `activity`: the audit trail, to which events are only ever added.

use std::collections::HashMap;
use std::fmt::Display;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use keygate_core::audit_event::{Action, AuditEvent, CallOutcome, ShownEvent, TimeRange};
use keygate_core::credential::{KeyId, TokenId};
use keygate_core::credential_class::CredentialKind;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use serde::{Deserialize, Serialize};

use crate::store::conditional_write::outcome;
use crate::store::expression::{self, Condition};
use crate::store::item::{Item, broken, text};
use crate::store::paged_query::PagedQuery;
use crate::store::pagination::{FoundItems, Section};

/// Events are added and never changed.
const NOTHING_THERE: &str = "attribute_not_exists(event)";

/// The table.
#[derive(Clone, Debug)]
pub struct ActivityTable {
    client: Client,
    table: String,
    retention: TimeDelta,
}

#[derive(Serialize)]
struct NewEventItem<'a> {
    actor: String,
    event: String,
    /// Not of use: the index by workspace is of what was changed, and would else be of nothing but use.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<&'a WorkspaceId>,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<KeyId>,
    /// The workspace and the key, which the index by key begins with: a query of one workspace reads nothing of another's.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<TokenId>,
    target: &'a UserId,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    changed: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<u32>,
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

/// An event in the form in which it is stored, to be read.
#[derive(Deserialize)]
struct EventItem {
    event: String,
    action: String,
    key_id: Option<KeyId>,
    token_id: Option<String>,
    target: UserId,
    #[serde(default)]
    changed: Vec<String>,
    credential: Option<String>,
    method: Option<String>,
    path: Option<String>,
    source: Option<String>,
    outcome: String,
    reason: Option<String>,
    count: u32,
    ttl: i64,
}

/// Whose events are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trail<'a> {
    /// All changes in the workspace. What is only use, calls and tokens, is not among them.
    Workspace,
    /// What a user did, calls with their keys included.
    Actor(&'a UserId),
    /// What was done to a key and with it.
    Key(KeyId),
}

/// Where an event stands in every one of these, whether or not it is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPosition {
    /// Who did it.
    pub actor: UserId,
    /// Where it stands among this actor's events, see [`AuditEvent::position`].
    pub event: String,
}

/// A section of a part of the audit trail.
#[derive(Clone, Copy, Debug)]
pub struct EventQuery<'a> {
    /// The tenant.
    pub workspace: &'a WorkspaceId,
    /// Whose events of it.
    pub trail: Trail<'a>,
    /// Of what time.
    pub period: &'a TimeRange,
    /// Which events of these.
    pub section: Section<&'a EventPosition>,
}

/// `ACTIVITY_TABLE`.
fn table_name(environment: &Environment) -> Result<String, InvalidVariable> {
    environment.required("ACTIVITY_TABLE", "must be the name of the table of activity")
}

impl ActivityTable {
    /// Takes the table's name from the environment, and how long an event is kept: `ACTIVITY_RETENTION_DAYS`, 365 unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is missing or wrong.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            client,
            table: table_name(environment)?,
            retention: environment.days("ACTIVITY_RETENTION_DAYS", 365, 1..=3650)?,
        })
    }

    /// Finds the events of a section that are `wanted`; `None` wants every one. Events
    /// past their ttl are gone. What it reads is bounded, so it may come back with fewer events, even none, and a place to
    /// go on.
    ///
    /// Nothing of another workspace is read, and so neither shown nor paid for: each of the three ways in begins with the
    /// workspace. A key of another workspace is like one that does not exist.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an item is not an event.
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

    /// Adds an event of calls, once: an event that is there already is the same, written by an attempt whose answer was
    /// lost.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer. The event may or may not be written.
    /// - [`Error::Broken`]: the event cannot be written as an item.
    pub async fn append(&self, event: &AuditEvent) -> Result<(), Error> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(self.item(event)?))
            .condition_expression(NOTHING_THERE);
        outcome(put.send().await).map(|_| ())
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
            changed: &event.details.changed,
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
    /// The index, if not the table itself, with the attribute that it begins with and the value of it.
    fn partition(&self) -> (Option<&'static str>, &'static str, String) {
        match self.trail {
            Trail::Workspace => (Some("by_workspace"), "workspace_id", self.workspace.to_string()),
            Trail::Actor(user) => (None, "actor", of_workspace(self.workspace, user)),
            Trail::Key(id) => (Some("by_key"), "workspace_key", of_workspace(self.workspace, &id)),
        }
    }

    /// Where an item stands.
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
            changed: self.changed,
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

/// A user or a key as an id that is no other workspace's: neither a workspace's id nor a key's has a `#`.
fn of_workspace(workspace: &WorkspaceId, id: &impl Display) -> String {
    format!("{workspace}#{id}")
}

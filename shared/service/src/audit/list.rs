//! Listing the audit trail: newest first, filtered, page by page, in both directions.

use keygate_core::audit_event::{Action, ShownEvent, TimeRange};
use keygate_core::context::RequestContext;
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::query_parameters::{QueryParameters, time, word};
use keygate_core::rights::Operation;
use keygate_core::scope::ACTIVITY_READ;

use crate::store::activity::{ActivityTable, EventPosition, EventQuery, Trail};
use crate::store::pagination::{self, Cursor, Page, Section};

/// The length of an event's position: its time to the millisecond, and a ULID.
const POSITION_LENGTH: usize = "2026-11-22T10:00:00.000Z#01JD3V6Y4N8Q2Z5X7W9B0C1D2E".len();

/// A list request.
#[derive(Debug, PartialEq, Eq)]
pub struct ListActivity {
    actor: Option<UserId>,
    key_id: Option<KeyId>,
    /// The value as requested.
    action: Option<String>,
    /// The value as requested.
    outcome: Option<String>,
    period: TimeRange,
    limit: usize,
    cursor: Option<String>,
}

impl ListActivity {
    /// Parses query parameters.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid, unknown or repeated parameter.
    pub fn parse<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let mut parameters = QueryParameters::new(parameters);
        // The list of all changes has no calls and no tokens, so a filter for them would suggest that there are none.
        let has_use = parameters.has("actor") || parameters.has("key_id");
        let demand = "requires actor or key_id, because it selects events of use";
        let action = parameters.optional("action", |value| match Action::parse(value) {
            Ok(action) if !action.is_management() && !has_use => Err(demand.to_owned()),
            Ok(_) => Ok(value.to_owned()),
            Err(invalid) => Err(invalid.to_string()),
        });
        let outcome = parameters.optional("outcome", |value| match value {
            "allowed" | "refused" if !has_use => Err(demand.to_owned()),
            "done" | "allowed" | "refused" => Ok(value.to_owned()),
            _ => Err("must be done, allowed or refused".to_owned()),
        });
        let (from, to) = (parameters.optional("from", time), parameters.optional("to", time));
        if let (Some(from), Some(to)) = (from, to)
            && to < from
        {
            parameters.refuse("to", "must not be before from");
        }
        let actor = parameters.optional("actor", word);
        let key_id = parameters.optional("key_id", word);
        let limit = parameters.optional("limit", pagination::limit).unwrap_or(pagination::DEFAULT_LIMIT);
        let cursor = parameters.optional("cursor", |value| Ok(value.to_owned()));
        let period = TimeRange::new(from, to);
        parameters.finish(Self { actor, key_id, action, outcome, period, limit, cursor })
    }

    /// A checksum of the query in its workspace. The limit is not part of it, because it may change from page to page.
    fn checksum(&self, workspace: &WorkspaceId, own: Option<&UserId>) -> u32 {
        let Self { actor, key_id, action, outcome, period, .. } = self;
        crc32fast::hash(
            format!("activity {workspace} {own:?} {actor:?} {key_id:?} {action:?} {outcome:?} {period:?}")
                .as_bytes(),
        )
    }

    /// The narrowest list that contains every requested event.
    fn trail(&self) -> Trail<'_> {
        match (self.key_id, &self.actor) {
            (Some(id), _) => Trail::Key(id),
            (None, Some(actor)) => Trail::Actor(actor),
            (None, None) => Trail::Workspace,
        }
    }

    fn wants_all(&self) -> bool {
        let is_of_trail = self.actor.is_none() || self.key_id.is_none();
        is_of_trail && self.action.is_none() && self.outcome.is_none()
    }

    fn wants(&self, event: &ShownEvent) -> bool {
        self.actor.as_ref().is_none_or(|actor| event.actor == *actor)
            && self.action.as_ref().is_none_or(|action| event.action == *action)
            && self.outcome.as_ref().is_none_or(|outcome| event.outcome == *outcome)
    }
}

/// Lists the audit trail of the caller's workspace, newest first: all changes, the actions of one user, or the changes and
/// uses of one key. The last two include calls.
///
/// The number of reads is bounded: a page of a filtered list may have fewer events than requested, even none, and still a
/// cursor to continue from. A key or a user of another workspace has no events here.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not read the audit trail.
/// - [`Error::Invalid`]: the cursor does not belong to this query.
/// - [`Error::Unavailable`]: try again later.
pub async fn list(
    activity: &ActivityTable,
    context: &RequestContext,
    request: &ListActivity,
) -> Result<Page<ShownEvent>, Error> {
    let caller = &context.caller;
    caller.require(ACTIVITY_READ)?;
    caller.may(Operation::ReadActivity)?;
    let workspace = &caller.workspace_id;
    // A session sees what its user did, and what was done to their keys.
    let own = caller.session.as_ref().map(|_| &caller.user_id);
    let query = request.checksum(workspace, own);
    // The database rejects a position outside of the queried range.
    let fits = |position: &EventPosition| {
        let is_of_trail = match request.trail() {
            Trail::Actor(actor) => position.actor == *actor,
            Trail::Workspace | Trail::Key(_) => true,
        };
        is_of_trail && position.event.len() == POSITION_LENGTH && request.period.contains(&position.event)
    };
    let from = request.cursor.as_ref().map(|cursor| Cursor::read(cursor, query, fits)).transpose()?;
    let backward = from.as_ref().is_some_and(|cursor| cursor.backward);
    let after = from.as_ref().and_then(|cursor| cursor.after.as_ref());

    let is_own = |event: &ShownEvent| own.is_none_or(|own| event.actor == *own || event.target == *own);
    let wanted = |event: &ShownEvent| is_own(event) && request.wants(event);
    let wanted: Option<&(dyn Fn(&ShownEvent) -> bool + Send + Sync)> =
        if own.is_none() && request.wants_all() { None } else { Some(&wanted) };
    let trail = request.trail();
    let section = Section { ascending: backward, after, limit: request.limit };
    let events = EventQuery { workspace, trail, period: &request.period, section };
    let found = activity.list(events, wanted, context.now).await?;
    Ok(found.page(from.as_ref(), query, |(_, event)| event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_parameters(parameters: &[(&str, &str)]) -> Vec<String> {
        let Err(Error::Invalid { fields }) = ListActivity::parse(parameters.iter().copied()) else {
            panic!("{parameters:?} is valid")
        };
        fields.iter().map(|field| field.place.to_string()).collect()
    }

    const KEY: &str = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E";

    #[test]
    fn invalid_parameters_are_reported() {
        let parameters = [
            ("actor", "a b"),
            ("key_id", "x"),
            ("action", "key.lost"),
            ("outcome", "maybe"),
            ("from", "yesterday"),
            ("to", "2026-11-22"),
            ("limit", "0"),
            ("user", "alice"),
        ];
        assert_eq!(wrong_parameters(&parameters).len(), parameters.len());
        let turned = [("from", "2026-11-22T10:00:01Z"), ("to", "2026-11-22T10:00:00Z")];
        assert_eq!(wrong_parameters(&turned), ["?to"]);
    }

    #[test]
    fn calls_are_listed_only_by_actor_or_key() {
        for (name, value) in [
            ("action", "key.used"),
            ("action", "token.issued"),
            ("outcome", "allowed"),
            ("outcome", "refused"),
        ] {
            assert_eq!(wrong_parameters(&[(name, value)]), [format!("?{name}")]);
            assert!(ListActivity::parse([(name, value), ("actor", "alice")]).is_ok());
            assert!(ListActivity::parse([(name, value), ("key_id", KEY)]).is_ok());
        }
        assert!(ListActivity::parse([("action", "key.created"), ("outcome", "done")]).is_ok());
    }

    #[test]
    fn a_cursor_is_valid_only_for_its_query() {
        let (acme, other): (WorkspaceId, WorkspaceId) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let checksum = |parameters: &[(&'static str, &'static str)], workspace| {
            ListActivity::parse(parameters.iter().copied()).unwrap().checksum(workspace, None)
        };
        assert_eq!(checksum(&[("limit", "7")], &acme), checksum(&[], &acme));
        assert_ne!(checksum(&[], &other), checksum(&[], &acme));
        let alice = "alice".parse().unwrap();
        let of_session = ListActivity::parse([]).unwrap().checksum(&acme, Some(&alice));
        assert_ne!(of_session, checksum(&[], &acme));
        for parameter in [
            ("actor", "alice"),
            ("key_id", KEY),
            ("action", "key.created"),
            ("outcome", "done"),
            ("from", "2026-11-22T10:00:00Z"),
            ("to", "2026-11-22T10:00:00Z"),
        ] {
            assert_ne!(checksum(&[parameter], &acme), checksum(&[], &acme), "{parameter:?}");
        }
    }
}

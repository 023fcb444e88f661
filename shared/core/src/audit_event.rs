//! Events of the audit trail: the actor, the action, the key or user it concerns, the request, and the outcome.

use chrono::{DateTime, Datelike, SecondsFormat, TimeDelta, Utc};
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use ulid::Ulid;

use crate::caller::CallerSession;
use crate::context::{EventContext, RequestOrigin};
use crate::credential::{KeyId, TokenId};
use crate::credential_class::CredentialKind;
use crate::identity::{UserId, WorkspaceId};
use crate::key::KeyOwner;
use crate::leak::Ended;
use crate::metadata::Metadata;
use crate::random::generate_ulid;

/// The action that an event records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// A key was created over the management API.
    #[serde(rename = "key.created")]
    KeyCreated,
    /// A key was changed: its name, description, scopes, endpoint rules or expiry, or it was disabled or enabled.
    #[serde(rename = "key.updated")]
    KeyUpdated,
    /// A key was rotated.
    #[serde(rename = "key.rotated")]
    KeyRotated,
    /// A key was deleted for good.
    #[serde(rename = "key.deleted")]
    KeyDeleted,
    /// The first administrator's key was created by a direct invocation.
    #[serde(rename = "key.bootstrapped")]
    KeyBootstrapped,
    /// An administrator's key was created by a direct invocation in a workspace that has users.
    #[serde(rename = "key.break_glass")]
    KeyBreakGlass,
    /// A key was used for calls, which were allowed or refused.
    #[serde(rename = "key.used")]
    KeyUsed,
    /// Tokens were issued for a key.
    #[serde(rename = "token.issued")]
    TokenIssued,
    /// A refresh token was exchanged for new tokens.
    #[serde(rename = "token.refreshed")]
    TokenRefreshed,
    /// A token was revoked, with its family if it is a refresh token. Without a token id: all tokens of the key.
    #[serde(rename = "token.revoked")]
    TokenRevoked,
    /// A refresh token was reused, and its family revoked.
    #[serde(rename = "token.reused")]
    TokenReused,
    /// A user was removed. They get no new keys, and their keys are deleted or handed over.
    #[serde(rename = "user.removed")]
    UserRemoved,
    /// A session was opened for a user.
    #[serde(rename = "session.opened")]
    SessionOpened,
    /// A page exchanged its code for the secret of its session.
    #[serde(rename = "session.exchanged")]
    SessionExchanged,
    /// A session was ended before its time.
    #[serde(rename = "session.ended")]
    SessionEnded,
    /// A removed user may have keys again.
    #[serde(rename = "user.reinstated")]
    UserReinstated,
    /// A key of a removed user was handed over to another user.
    #[serde(rename = "key.transferred")]
    KeyTransferred,
    /// Legacy keys were imported; `count` says how many.
    #[serde(rename = "legacy.imported")]
    LegacyImported,
    /// A legacy key was deleted for good.
    #[serde(rename = "legacy.deleted")]
    LegacyDeleted,
    /// A key expires in a few days.
    #[serde(rename = "key.expiring")]
    KeyExpiring,
    /// A key has expired.
    #[serde(rename = "key.expired")]
    KeyExpired,
    /// A credential was reported as leaked, and ended. The details say what ended.
    #[serde(rename = "key.leaked")]
    KeyLeaked,
    /// The overlap of a key's last rotation has ended.
    #[serde(rename = "key.overlap_ended")]
    KeyOverlapEnded,
    /// A key is unused, and will be disabled in a few days unless it is used.
    #[serde(rename = "key.unused")]
    KeyUnused,
    /// An expired key was removed at the end of its retention.
    #[serde(rename = "key.purged")]
    KeyPurged,
}

impl Action {
    /// Whether the action is one of management, and not the frequent use of keys and tokens.
    #[must_use]
    pub fn is_management(self) -> bool {
        !matches!(self, Self::KeyUsed | Self::TokenIssued | Self::TokenRefreshed)
    }

    /// Whether the action may end or narrow a credential, so that cached responses of the authorizer may be wrong. For
    /// [`Self::KeyUpdated`] it depends on the changed fields.
    #[must_use]
    pub fn revokes(self) -> bool {
        match self {
            Self::KeyUpdated
            | Self::KeyRotated
            | Self::KeyDeleted
            | Self::KeyTransferred
            | Self::KeyLeaked
            | Self::KeyOverlapEnded
            | Self::TokenRevoked
            | Self::TokenReused
            | Self::UserRemoved
            | Self::LegacyDeleted => true,
            // No response of the authorizer was valid past the expiry of the key.
            Self::KeyCreated
            | Self::KeyBootstrapped
            | Self::KeyBreakGlass
            | Self::KeyUsed
            | Self::KeyExpiring
            | Self::KeyExpired
            | Self::KeyUnused
            | Self::KeyPurged
            | Self::TokenIssued
            | Self::TokenRefreshed
            | Self::UserReinstated
            | Self::LegacyImported
            // No response of an authorizer is cached for a session.
            | Self::SessionOpened
            | Self::SessionExchanged
            | Self::SessionEnded => false,
        }
    }

    /// Parses the name of an action, as it is stored and shown.
    ///
    /// # Errors
    ///
    /// - [`InvalidAction`]: no action has the name.
    pub fn parse(name: &str) -> Result<Self, InvalidAction> {
        Self::deserialize(name.into_deserializer()).map_err(|_: ValueError| InvalidAction)
    }
}

/// The error of a text that is not the name of an [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be an action of the audit trail, such as key.created")]
pub struct InvalidAction;

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// The call may reach the backend.
    Allowed,
    /// The call is refused, for this one-word reason.
    Refused(&'static str),
}

/// The details of an event, each for some actions only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventDetails {
    /// For a call: the kind of the credential.
    pub credential: Option<CredentialKind>,
    /// For an update: the names of the fields that have a new value.
    pub changed: Vec<&'static str>,
    /// When the key expires or has expired.
    pub expires_at: Option<DateTime<Utc>>,
    /// For a notice: the days left until the expiry.
    pub days_left: Option<u32>,
    /// For a leaked credential: what ended.
    pub ended: Option<Ended>,
    /// The metadata of the key after the change. It is published, and the audit trail does not show it.
    pub metadata: Metadata,
}

/// One event. It is immutable once written: for a change, in the transaction of the change; for calls, after them.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Distinguishes two events of one actor at one instant.
    pub id: Ulid,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The tenant.
    pub workspace_id: WorkspaceId,
    /// The user who acted, or Keygate itself.
    pub actor: UserId,
    /// The action.
    pub action: Action,
    /// The key that it concerns; `None` if it concerns a user.
    pub key_id: Option<KeyId>,
    /// The token that it concerns, if it does.
    pub token_id: Option<TokenId>,
    /// The user of that key, or the user that it concerns.
    pub target: UserId,
    /// The session in which the user acted, or that the event concerns.
    pub session: Option<CallerSession>,
    /// The details.
    pub details: EventDetails,
    /// The request; for several calls, the first one.
    pub origin: RequestOrigin,
    /// The outcome of a call. A change has none: it is recorded only if it was made.
    pub outcome: Option<CallOutcome>,
    /// The number of calls or imported keys that it stands for; 1 for every other action.
    pub count: u32,
}

impl AuditEvent {
    /// The event of a change of a key of `owner`, or of one that becomes theirs.
    #[must_use]
    pub fn for_key(action: Action, context: EventContext<'_>, key_id: KeyId, owner: &UserId) -> Self {
        Self { key_id: Some(key_id), ..Self::for_user(action, context, owner) }
    }

    /// The event of a change of a user.
    #[must_use]
    pub fn for_user(action: Action, context: EventContext<'_>, target: &UserId) -> Self {
        let EventContext { workspace_id, actor, session, origin, at } = context;
        Self {
            id: generate_ulid(at),
            at,
            workspace_id: workspace_id.clone(),
            actor: actor.clone(),
            action,
            key_id: None,
            token_id: None,
            target: target.clone(),
            session: session.cloned(),
            details: EventDetails::default(),
            origin: origin.clone(),
            outcome: None,
            count: 1,
        }
    }

    /// Adds the metadata of the key that the event concerns.
    #[must_use]
    pub fn with_metadata(mut self, metadata: &Metadata) -> Self {
        self.details.metadata.clone_from(metadata);
        self
    }

    /// Adds what ended with a leaked credential.
    #[must_use]
    pub fn with_end(mut self, ended: Ended) -> Self {
        self.details.ended = Some(ended);
        self
    }

    /// Adds the token of the key that the event concerns.
    #[must_use]
    pub fn with_token(self, token_id: TokenId) -> Self {
        Self { token_id: Some(token_id), ..self }
    }

    /// The event of what time did to a key `at` an instant. Its id is derived from its content, so that repeated attempts
    /// write it once.
    ///
    /// # Panics
    ///
    /// When `at` is before 1970.
    #[must_use]
    pub fn for_lifecycle(action: Action, owner: &KeyOwner, details: EventDetails, at: DateTime<Utc>) -> Self {
        let KeyOwner { workspace_id, user_id, key_id } = owner;
        let clock = UserId::of_clock();
        let context = EventContext::without_request(workspace_id, &clock, at);
        let of_change = Self::for_key(action, context, *key_id, user_id);
        let digest =
            Sha256::new().chain_update(key_id.to_bytes()).chain_update(format!("{action:?}")).finalize();
        let mut unique = [0; 16];
        unique.copy_from_slice(&digest[..16]);
        let id = Ulid::from_parts(of_change.id.timestamp_ms(), u128::from_be_bytes(unique));
        Self { id, details, ..of_change }
    }

    /// The event of a call with a key or with a token of it.
    #[must_use]
    pub fn for_call(
        owner: &KeyOwner,
        credential: Option<CredentialKind>,
        outcome: CallOutcome,
        origin: &RequestOrigin,
        at: DateTime<Utc>,
    ) -> Self {
        let KeyOwner { workspace_id, user_id, key_id } = owner;
        let context = EventContext { workspace_id, actor: user_id, session: None, origin, at };
        let of_change = Self::for_key(Action::KeyUsed, context, *key_id, user_id);
        let details = EventDetails { credential, ..EventDetails::default() };
        Self { outcome: Some(outcome), details, ..of_change }
    }

    /// The sort key among the events of its actor: ordered by time, to the millisecond.
    #[must_use]
    pub fn position(&self) -> String {
        format!("{}#{}", millisecond(self.at), self.id)
    }
}

/// A time in the form by which events are ordered.
fn millisecond(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An event as it is read and shown. Its words are those that were stored, because the trail outlives the versions that wrote it.
#[derive(Clone, Debug, Serialize)]
pub struct ShownEvent {
    /// Its unique id.
    pub id: String,
    /// When it happened, to the millisecond.
    pub at: String,
    /// The user who acted, or Keygate itself.
    pub actor: UserId,
    /// The name of the action.
    pub action: String,
    /// The key that it concerns.
    pub key_id: Option<KeyId>,
    /// The token that it concerns, if it does.
    pub token_id: Option<String>,
    /// The user of that key, or the user that it concerns.
    pub target: UserId,
    /// The session in which the user acted, or that the event concerns.
    pub session_id: Option<String>,
    /// The user whose key opened that session.
    pub opened_by: Option<UserId>,
    /// For an update: the names of the fields that got a new value.
    pub changed: Vec<String>,
    /// For a leaked credential: what ended.
    pub ended: Option<String>,
    /// For a call: the kind of the credential.
    pub credential: Option<String>,
    /// HTTP method of the request.
    pub method: Option<String>,
    /// Path; for a call, the route.
    pub path: Option<String>,
    /// IP address of the sender.
    pub source: Option<String>,
    /// `done` for a change; `allowed` or `refused` for a call.
    pub outcome: String,
    /// The reason of a refused call.
    pub reason: Option<String>,
    /// The number of calls or imported keys that it stands for.
    pub count: u32,
}

/// A range of time in the form by which events are ordered: it includes its beginning and excludes its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The inclusive lower bound.
    pub from: String,
    /// The exclusive upper bound.
    pub to: String,
}

impl TimeRange {
    /// The range from an instant up to another one, exclusive. A missing bound leaves that side open.
    #[must_use]
    pub fn new(from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Self {
        // A `0` sorts before every year, and a `:` after.
        Self { from: from.map_or_else(|| "0".to_owned(), edge), to: to.map_or_else(|| ":".to_owned(), edge) }
    }

    /// Whether an event with this position is in the range.
    #[must_use]
    pub fn contains(&self, position: &str) -> bool {
        self.from.as_str() <= position && position < self.to.as_str()
    }
}

/// The first millisecond that is not before an instant, limited to the years with four digits.
fn edge(time: DateTime<Utc>) -> String {
    let begun = time.timestamp_subsec_nanos() % 1_000_000;
    let rest = if begun == 0 { 0 } else { i64::from(1_000_000 - begun) };
    let whole = time.checked_add_signed(TimeDelta::nanoseconds(rest)).unwrap_or(time);
    match whole.year() {
        ..0 => "0".to_owned(),
        0..10_000 => millisecond(whole),
        _ => ":".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().into()
    }

    #[test]
    fn a_range_begins_at_its_first_instant_and_ends_before_its_last() {
        let event = |time: &str| format!("{}#01JD3V6Y4N8Q2Z5X7W9B0C1D2E", millisecond(at(time)));
        let period = |from, to| TimeRange::new(Some(at(from)), Some(at(to)));
        let second = period("2026-11-25T10:00:00Z", "2026-11-25T11:00:01+01:00");
        for (time, within) in [
            ("2026-11-25T09:59:59.999Z", false),
            ("2026-11-25T10:00:00.000Z", true),
            ("2026-11-25T10:00:00.999Z", true),
            ("2026-11-25T10:00:01.000Z", false),
        ] {
            assert_eq!(second.contains(&event(time)), within, "{time}");
        }
        // Events are written to the millisecond: what happened within one happened when it began.
        let finer = period("2026-11-25T10:00:00.0005Z", "2026-11-25T10:00:00.0015Z");
        assert!(!finer.contains(&event("2026-11-25T10:00:00.000Z")));
        assert!(finer.contains(&event("2026-11-25T10:00:00.001Z")));
        assert!(!finer.contains(&event("2026-11-25T10:00:00.002Z")));
    }

    #[test]
    fn a_range_without_a_bound_has_all_events_there_are() {
        let event = format!("{}#01JD3V6Y4N8Q2Z5X7W9B0C1D2E", millisecond(at("2026-11-25T10:00:00Z")));
        assert!(TimeRange::new(None, None).contains(&event));
        let (first, last) = (at("0000-01-01T00:00:00+23:59"), at("9999-12-31T23:59:59.9999-23:59"));
        assert!(TimeRange::new(Some(first), Some(last)).contains(&event));
        assert!(!TimeRange::new(None, Some(first)).contains(&event));
        assert!(!TimeRange::new(Some(last), None).contains(&event));
    }

    #[test]
    fn actions_are_called_as_they_are_written() {
        for action in [Action::KeyCreated, Action::UserRemoved] {
            let name = serde_json::to_value(action).unwrap();
            assert_eq!(Action::parse(name.as_str().unwrap()), Ok(action));
        }
        for wrong in ["", "KeyCreated", "key.create", "key.created "] {
            assert_eq!(Action::parse(wrong), Err(InvalidAction), "{wrong}");
        }
    }
}

//! Events of the audit trail: who did what to which key or user, from where, and what came of it.

use std::borrow::Cow;

use chrono::{DateTime, Datelike, SecondsFormat, TimeDelta, Utc};
use percent_encoding::percent_decode_str;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use ulid::Ulid;

use crate::credential::{self, KeyId, TokenId};
use crate::credential_class::CredentialKind;
use crate::identity::{UserId, WorkspaceId};
use crate::key::KeyOwner;
use crate::random::generate_ulid;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// A key was made over the management API.
    #[serde(rename = "key.created")]
    KeyCreated,
    /// A key's name, description, scopes, expiry or being disabled was changed.
    #[serde(rename = "key.updated")]
    KeyUpdated,
    /// A key got a new secret.
    #[serde(rename = "key.rotated")]
    KeyRotated,
    /// A key was deleted for good.
    #[serde(rename = "key.deleted")]
    KeyDeleted,
    /// The first administrator's key was made by a direct invocation.
    #[serde(rename = "key.bootstrapped")]
    KeyBootstrapped,
    /// An administrator's key was made by a direct invocation although the workspace had users.
    #[serde(rename = "key.break_glass")]
    KeyBreakGlass,
    /// A call came with a key: allowed or refused.
    #[serde(rename = "key.used")]
    KeyUsed,
    /// A key was traded for tokens.
    #[serde(rename = "token.issued")]
    TokenIssued,
    /// A refresh token was traded for others.
    #[serde(rename = "token.refreshed")]
    TokenRefreshed,
    /// A token was revoked, with its family if it is a refresh token; or without an id, every token of the key.
    #[serde(rename = "token.revoked")]
    TokenRevoked,
    /// A refresh token was used again, and its family revoked.
    #[serde(rename = "token.reused")]
    TokenReused,
    /// A user was removed: no key can be made for them from then on, and those that there are go.
    #[serde(rename = "user.removed")]
    UserRemoved,
    /// A removed user may have keys again.
    #[serde(rename = "user.reinstated")]
    UserReinstated,
    /// A key of a removed user became another user's, and its secret ends.
    #[serde(rename = "key.transferred")]
    KeyTransferred,
    /// Legacy keys were imported, so many.
    #[serde(rename = "legacy.imported")]
    LegacyImported,
    /// A legacy key was deleted for good.
    #[serde(rename = "legacy.deleted")]
    LegacyDeleted,
    /// A key will stop working in a few days.
    #[serde(rename = "key.expiring")]
    KeyExpiring,
    /// A key has stopped working, because its time is over.
    #[serde(rename = "key.expired")]
    KeyExpired,
    /// The secret before a key's last rotation has stopped working.
    #[serde(rename = "key.overlap_ended")]
    KeyOverlapEnded,
    /// Nobody uses a key: it will be disabled in a few days, unless somebody does.
    #[serde(rename = "key.unused")]
    KeyUnused,
    /// An expired key was removed at the end of its retention.
    #[serde(rename = "key.purged")]
    KeyPurged,
}

impl Action {
    /// Whether it changes what a key or a user may do. What is only use, and as frequent as that, is none.
    #[must_use]
    pub fn is_management(self) -> bool {
        !matches!(self, Self::KeyUsed | Self::TokenIssued | Self::TokenRefreshed)
    }

    /// Whether it may end a credential, or make one do less or something else, so that what the authorizer answered before it
    /// may be wrong now. Of [`Self::KeyUpdated`] it depends on what was changed.
    #[must_use]
    pub fn revokes(self) -> bool {
        match self {
            Self::KeyUpdated
            | Self::KeyRotated
            | Self::KeyDeleted
            | Self::KeyTransferred
            | Self::KeyOverlapEnded
            | Self::TokenRevoked
            | Self::TokenReused
            | Self::UserRemoved
            | Self::LegacyDeleted => true,
            // A key that has expired or is gone was answered for until its expiry and no longer.
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
            | Self::LegacyImported => false,
        }
    }

    /// The action's name, as it is written and shown.
    ///
    /// # Errors
    ///
    /// [`InvalidAction`] when there is none of that name.
    pub fn parse(name: &str) -> Result<Self, InvalidAction> {
        Self::deserialize(name.into_deserializer()).map_err(|_: ValueError| InvalidAction)
    }
}

/// A text that is no [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be an action of the audit trail, such as key.created")]
pub struct InvalidAction;

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// The call may reach the backend.
    Allowed,
    /// The call may not, for this reason, in one word.
    Refused(&'static str),
}

/// The request that made something happen. A direct invocation has neither method, path nor source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestOrigin {
    /// HTTP method.
    pub method: Option<String>,
    /// Path as sent, without the stage; of a call the route, where it is known.
    pub path: Option<String>,
    /// IP address of the sender.
    pub source: Option<String>,
}

/// The longest text of a request that is kept, in bytes.
const MAX_KEPT_TEXT_BYTES: usize = 512;

impl RequestOrigin {
    /// Whether a text of a request may be kept: it is not endless, and no credential that somebody put in the wrong place,
    /// as it stands or however often percent-encoded.
    #[must_use]
    pub fn may_keep(text: &str) -> bool {
        let mut text = Cow::Borrowed(text);
        loop {
            if text.len() > MAX_KEPT_TEXT_BYTES || credential::contains_credential(&text) {
                return false;
            }
            // Each time there is less to decode, or nothing.
            let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
            if decoded == *text {
                return true;
            }
            text = Cow::Owned(decoded);
        }
    }
}

/// What an event says beyond who did what to which key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventDetails {
    /// Of a call: what was presented.
    pub credential: Option<CredentialKind>,
    /// Of an update: the fields that have another value now.
    pub changed: Vec<&'static str>,
    /// When the key stops working, or has stopped.
    pub expires_at: Option<DateTime<Utc>>,
    /// Of a notice: how many days before.
    pub days_left: Option<u32>,
}

/// One event, never changed once it is written: of a change, in the transaction that makes it; of calls, after them.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Makes two events of one actor at one instant distinct.
    pub id: Ulid,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The tenant.
    pub workspace_id: WorkspaceId,
    /// Who did it.
    pub actor: UserId,
    /// What was done.
    pub action: Action,
    /// The key it was done to; none, if it was done to a user.
    pub key_id: Option<KeyId>,
    /// The token of the key, if it is about one.
    pub token_id: Option<TokenId>,
    /// Whose key that is, or which user it was done to.
    pub target: UserId,
    /// What else there is to say.
    pub details: EventDetails,
    /// By which request; of several calls, by the first.
    pub origin: RequestOrigin,
    /// What came of a call. A change is an event only if it was made.
    pub outcome: Option<CallOutcome>,
    /// How many calls or imported keys it stands for; any other change is one event.
    pub count: u32,
}

impl AuditEvent {
    /// The event of a change of a key made `now`.
    #[must_use]
    pub fn new(
        action: Action,
        author: (&WorkspaceId, &UserId),
        (key_id, target): (KeyId, &UserId),
        origin: RequestOrigin,
        now: DateTime<Utc>,
    ) -> Self {
        Self { key_id: Some(key_id), ..Self::for_user(action, author, target, origin, now) }
    }

    /// The event of a change of a user made `now`.
    #[must_use]
    pub fn for_user(
        action: Action,
        (workspace_id, actor): (&WorkspaceId, &UserId),
        target: &UserId,
        origin: RequestOrigin,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id: generate_ulid(now),
            at: now,
            workspace_id: workspace_id.clone(),
            actor: actor.clone(),
            action,
            key_id: None,
            token_id: None,
            target: target.clone(),
            details: EventDetails::default(),
            origin,
            outcome: None,
            count: 1,
        }
    }

    /// The same event, about a token of the key.
    #[must_use]
    pub fn with_token(self, token_id: TokenId) -> Self {
        Self { token_id: Some(token_id), ..self }
    }

    /// The event of what happened to a key `at` an instant by the passing of time alone. It is the same, its id included,
    /// however often it is made, so that it is in the trail once.
    ///
    /// # Panics
    ///
    /// Before 1970.
    #[must_use]
    pub fn for_lifecycle(action: Action, owner: &KeyOwner, details: EventDetails, at: DateTime<Utc>) -> Self {
        let KeyOwner { workspace_id, user_id, key_id } = owner;
        let clock = UserId::of_clock();
        let of_change =
            Self::new(action, (workspace_id, &clock), (*key_id, user_id), RequestOrigin::default(), at);
        let digest =
            Sha256::new().chain_update(key_id.to_bytes()).chain_update(format!("{action:?}")).finalize();
        let mut unique = [0; 16];
        unique.copy_from_slice(&digest[..16]);
        let id = Ulid::from_parts(of_change.id.timestamp_ms(), u128::from_be_bytes(unique));
        Self { id, details, ..of_change }
    }

    /// The event of a call with a key, or with what was made with it.
    #[must_use]
    pub fn for_call(
        (owner, credential): (&KeyOwner, Option<CredentialKind>),
        outcome: CallOutcome,
        origin: RequestOrigin,
        now: DateTime<Utc>,
    ) -> Self {
        let KeyOwner { workspace_id, user_id, key_id } = owner;
        let of_change = Self::new(Action::KeyUsed, (workspace_id, user_id), (*key_id, user_id), origin, now);
        let details = EventDetails { credential, ..EventDetails::default() };
        Self { outcome: Some(outcome), details, ..of_change }
    }

    /// Where it stands among its actor's events: in order of time, down to the millisecond.
    #[must_use]
    pub fn position(&self) -> String {
        format!("{}#{}", millisecond(self.at), self.id)
    }
}

/// A time as events are ordered by it.
fn millisecond(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An event as it is read and shown. Its words are as they were written: the trail outlives the versions that wrote it.
#[derive(Clone, Debug, Serialize)]
pub struct ShownEvent {
    /// Tells it from every other event.
    pub id: String,
    /// When it happened, to the millisecond.
    pub at: String,
    /// Who did it.
    pub actor: UserId,
    /// What was done.
    pub action: String,
    /// The key it was done to.
    pub key_id: Option<KeyId>,
    /// The token of the key, if it is about one.
    pub token_id: Option<String>,
    /// Whose key that is, or which user it was done to.
    pub target: UserId,
    /// Of an update: the fields that had another value from then on.
    pub changed: Vec<String>,
    /// Of a call: what was presented.
    pub credential: Option<String>,
    /// HTTP method of the request.
    pub method: Option<String>,
    /// Path, or of a call the route.
    pub path: Option<String>,
    /// IP address of the sender.
    pub source: Option<String>,
    /// `done` of a change; `allowed` or `refused` of a call.
    pub outcome: String,
    /// Why a call was refused.
    pub reason: Option<String>,
    /// How many calls it stands for.
    pub count: u32,
}

/// A part of the time, from its begin and up to its end, in the form in which events are ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// Not after the first event of it.
    pub from: String,
    /// After the last one.
    pub to: String,
}

impl TimeRange {
    /// From an instant on, up to another one and not at it. What is not said is without end.
    #[must_use]
    pub fn new(from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Self {
        // A digit is before, and a colon after every year.
        Self { from: from.map_or_else(|| "0".to_owned(), edge), to: to.map_or_else(|| ":".to_owned(), edge) }
    }

    /// Whether an event can be in it that stands there.
    #[must_use]
    pub fn contains(&self, position: &str) -> bool {
        self.from.as_str() <= position && position < self.to.as_str()
    }
}

/// The first millisecond that is not before an instant, within the years that have four digits.
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
    use crate::fixtures::KEY_TEXT;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().into()
    }

    #[test]
    fn a_period_begins_at_its_first_instant_and_ends_before_its_last() {
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
    fn a_period_without_an_edge_has_all_events_there_are() {
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

    #[test]
    fn a_text_is_kept_unless_it_is_long_or_a_credential_however_it_is_encoded() {
        let key = KEY_TEXT;
        let encoded = key.replace('_', "%5F");
        for text in [
            format!("/users/{key}"),
            format!("/users/{encoded}"),
            format!("/users/{}", encoded.replace('%', "%25")),
            format!("/users/{}", key.replace('k', "%6b").replace('G', "%2547")),
            "a".repeat(MAX_KEPT_TEXT_BYTES + 1),
        ] {
            assert!(!RequestOrigin::may_keep(&text), "{text}");
        }
        for text in
            ["", "/users/bob%40example.com", "/100%", "/%ff%25", &"%25".repeat(MAX_KEPT_TEXT_BYTES / 3)]
        {
            assert!(RequestOrigin::may_keep(text), "{text}");
        }
    }
}

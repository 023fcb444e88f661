//! Events of the audit trail: who did what to which key, from where, and what came of it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use ulid::Ulid;

use crate::caller::{UserId, WorkspaceId};
use crate::credential::{KeyId, TokenId, generate_ulid};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
}

impl Action {
    /// Whether it changes what a key or a user may do. What is only use, and as frequent as that, is none.
    #[must_use]
    pub fn is_management(self) -> bool {
        !matches!(self, Self::KeyUsed | Self::TokenIssued | Self::TokenRefreshed)
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The call may reach the backend.
    Allowed,
    /// The call may not, for this reason, in one word.
    Refused(&'static str),
}

/// A key, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The tenant.
    pub workspace_id: WorkspaceId,
    /// Whose key it is.
    pub user_id: UserId,
    /// The key.
    pub key_id: KeyId,
}

/// The request that made something happen. A direct invocation has neither method, path nor source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// HTTP method.
    pub method: Option<String>,
    /// Path as sent, without the stage; of a call the route, where it is known.
    pub path: Option<String>,
    /// IP address of the sender.
    pub source: Option<String>,
}

/// One event, never changed once it is written: of a change, in the transaction that makes it; of calls, after them.
#[derive(Clone, Debug)]
pub struct Event {
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
    /// The key it was done to.
    pub key_id: KeyId,
    /// The token of the key, if it is about one.
    pub token_id: Option<TokenId>,
    /// Whose key that is.
    pub target: UserId,
    /// By which request; of several calls, by the first.
    pub origin: Origin,
    /// What came of a call. A change is an event only if it was made.
    pub outcome: Option<Outcome>,
    /// How many calls it stands for; one change is one event.
    pub count: u32,
}

impl Event {
    /// The event of a change made `now`.
    #[must_use]
    pub fn new(
        action: Action,
        (workspace_id, actor): (&WorkspaceId, &UserId),
        (key_id, target): (KeyId, &UserId),
        origin: Origin,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id: generate_ulid(now),
            at: now,
            workspace_id: workspace_id.clone(),
            actor: actor.clone(),
            action,
            key_id,
            token_id: None,
            target: target.clone(),
            origin,
            outcome: None,
            count: 1,
        }
    }

    /// The same event, about a token of the key.
    #[must_use]
    pub fn about_token(self, token_id: TokenId) -> Self {
        Self { token_id: Some(token_id), ..self }
    }

    /// The event of a call with a key.
    #[must_use]
    pub fn of_call(holder: &Holder, outcome: Outcome, origin: Origin, now: DateTime<Utc>) -> Self {
        let Holder { workspace_id, user_id, key_id } = holder;
        let of_change = Self::new(Action::KeyUsed, (workspace_id, user_id), (*key_id, user_id), origin, now);
        Self { outcome: Some(outcome), ..of_change }
    }

    /// Where it stands among its actor's events: in order of time, down to the millisecond.
    #[must_use]
    pub fn position(&self) -> String {
        format!("{}#{}", self.at.to_rfc3339_opts(SecondsFormat::Millis, true), self.id)
    }
}

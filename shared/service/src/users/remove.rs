//! Removing a user: the first step, which marks the user as removed.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::context::{EventContext, RequestContext};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::fields::{self, FieldError, Fields};
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::permissions::Permissions;
use keygate_core::query_parameters::{self, QueryParameters};
use keygate_core::rights::Operation;
use keygate_core::scope::{Scope, USERS_WRITE};
use keygate_core::time::whole_millisecond;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keys::rotate::{self, MAX_OVERLAP};
use crate::store::Store;
use crate::store::legacy_keys::LegacyKeysTable;

/// The default overlap of a transferred key in seconds: a week.
const DEFAULT_OVERLAP: i64 = 7 * 24 * 60 * 60;

/// The removal's effect on the user's keys: deletion or transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDisposition {
    /// The user who gets the keys; `None` if they are deleted.
    pub transfer_to: Option<UserId>,
    /// How long the current secrets of transferred keys keep working after the removal, in seconds.
    pub overlap_seconds: i64,
}

impl KeyDisposition {
    /// Parses the query parameters of a request about `user`.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid, unknown or repeated parameter.
    pub fn parse<'a>(
        user: &UserId,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let mut parameters = QueryParameters::new(parameters);
        let transfer_to = parameters.optional("transfer_to", query_parameters::user);
        if transfer_to.as_ref() == Some(user) {
            parameters.refuse("transfer_to", ANOTHER_USER);
        }
        let overlap = parameters.optional("overlap_seconds", |value| {
            let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
            let seconds = digits.and_then(|digits| digits.parse().ok());
            seconds.filter(|seconds| *seconds <= MAX_OVERLAP).ok_or_else(rotate::must_be_an_overlap)
        });
        let overlap_seconds = overlap.unwrap_or(DEFAULT_OVERLAP);
        parameters.finish(Self { transfer_to, overlap_seconds })
    }
}

const ANOTHER_USER: &str = "must be another user";

/// A removal, as a request or an event describes it and as the second step gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The removed user.
    pub user_id: UserId,
    /// The user who gets the keys; `None` if they are deleted.
    pub transfer_to: Option<UserId>,
    /// How long the current secrets of transferred keys keep working after the removal, in seconds.
    pub overlap_seconds: i64,
    /// The time of the request, to the millisecond. It shows whether a reinstatement was earlier or later than the removal.
    pub time: DateTime<Utc>,
    /// The user who requested the removal.
    pub actor: UserId,
}

impl Removal {
    /// Parses an event: `{"workspace_id", "user_id", "transfer_to"?, "overlap_seconds"?, "time"?, "actor"?}`.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid field with its requirement.
    pub fn parse(event: &[u8], now: DateTime<Utc>) -> Result<Self, Error> {
        let mut fields = Fields::parse(event)?;
        let workspace_id = fields.required("workspace_id", fields::parsed);
        let user_id: Option<UserId> = fields.required("user_id", fields::owner);
        let transfer_to = fields.optional("transfer_to", |value| {
            let transfer_to = fields::owner(value)?;
            if Some(&transfer_to) == user_id.as_ref() {
                Err(FieldError::new(&ANOTHER_USER))
            } else {
                Ok(transfer_to)
            }
        });
        let overlap_seconds = fields.optional("overlap_seconds", rotate::overlap).unwrap_or(DEFAULT_OVERLAP);
        let time = fields.optional("time", time);
        let actor = fields.optional("actor", fields::parsed);
        fields.finish(workspace_id.zip(user_id).map(|(workspace_id, user_id)| Self {
            workspace_id,
            user_id,
            transfer_to,
            overlap_seconds,
            // A time in the future would make this removal later than changes that follow it.
            time: whole_millisecond(time.unwrap_or(now).min(now)),
            actor: actor.unwrap_or_else(UserId::of_user_events),
        }))
    }

    pub(super) fn workspace_and_user(&self) -> (&WorkspaceId, &UserId) {
        (&self.workspace_id, &self.user_id)
    }

    /// The context of the audit events of the second step, which runs without a request.
    pub(super) fn context(&self, now: DateTime<Utc>) -> EventContext<'_> {
        EventContext::without_request(&self.workspace_id, &self.actor, now)
    }

    /// The audit event of the removal.
    pub(super) fn event(&self, context: EventContext<'_>) -> AuditEvent {
        AuditEvent::for_user(Action::UserRemoved, context, &self.user_id)
    }

    /// The end of the overlap of keys that are transferred by the removal at `removed_at`.
    pub(super) fn overlap_ends(&self, removed_at: DateTime<Utc>) -> DateTime<Utc> {
        removed_at + TimeDelta::seconds(self.overlap_seconds)
    }
}

fn time(value: &Value) -> Result<DateTime<Utc>, FieldError> {
    let time = DateTime::parse_from_rfc3339(fields::string(value)?);
    Ok(time.map_err(|_| FieldError::new(&query_parameters::MUST_BE_A_TIME))?.into())
}

/// `MAX_REMOVED_USERS`: the maximum number of unknown users that requests may remove from a workspace; 10,000 by default.
///
/// # Errors
///
/// [`InvalidVariable`] when the value is not in `1..=1000000`.
pub fn max_removed_users(environment: &Environment) -> Result<u32, InvalidVariable> {
    environment.number("MAX_REMOVED_USERS", 10_000, 1..=1_000_000)
}

/// Removes users.
#[derive(Debug)]
pub struct UserRemover {
    /// The store.
    pub store: Store,
    /// The legacy keys, if the deployment accepts any.
    pub legacy: Option<LegacyKeysTable>,
    /// The maximum number of removed users whom the workspace did not know.
    pub max_unknown: u32,
}

impl UserRemover {
    /// Marks a user of the caller's workspace as removed, whether or not they ever had a key. The returned [`Removal`] is
    /// the input of the second step. Removing a user again returns another one, so that a client may repeat the request.
    ///
    /// Users cannot remove themselves, so that a workspace does not lose its last administrator by accident. Transferred
    /// keys act for another user, so a transfer requires everything that a key may have: the scope of an administrator, no
    /// endpoint rules and no limits.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`], [`Error::InsufficientEndpoints`], [`Error::InsufficientNetworks`]: the caller may not remove users, or may not
    ///   transfer keys.
    /// - [`Error::InsufficientCredential`]: the caller presented an access token, a legacy key or the secret of a former
    ///   user.
    /// - [`Error::LimitedCaller`]: the keys would be transferred, and the caller's key has limits.
    /// - [`Error::OwnUser`]: the user is the caller.
    /// - [`Error::CallerRemoved`]: the caller's user was removed.
    /// - [`Error::UserRemoved`]: the user who would get the keys was removed.
    /// - [`Error::RemovalLimit`]: the user is not known, and the maximum number of such removals is reached.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn remove(
        &self,
        context: &RequestContext,
        user_id: UserId,
        keys: KeyDisposition,
    ) -> Result<Removal, Error> {
        let caller = &context.caller;
        caller.require(USERS_WRITE)?;
        caller.may(Operation::RemoveUser)?;
        if user_id == caller.user_id {
            return Err(Error::OwnUser);
        }
        if keys.transfer_to.is_some() {
            let of_administrator =
                Permissions { scopes: &[Scope::workspace_admin()], endpoints: &[], networks: &[] };
            caller.require_all(of_administrator)?;
            caller.require_unlimited()?;
        }
        let removal = Removal {
            workspace_id: caller.workspace_id.clone(),
            user_id,
            transfer_to: keys.transfer_to,
            overlap_seconds: keys.overlap_seconds,
            time: whole_millisecond(context.now),
            actor: caller.user_id.clone(),
        };
        let event = removal.event(context.event());
        let mark = async |limit| {
            let (user, heir) = (removal.workspace_and_user(), removal.transfer_to.as_ref());
            self.store.remove_user(caller.actor(), user, heir, limit, &event, removal.time).await
        };
        let marked = match mark(Some(self.max_unknown)).await {
            // A user with only legacy keys has no entry, but is a known user.
            Err(Error::RemovalLimit(_)) if self.has_legacy_keys(&removal).await? => mark(None).await?,
            marked => marked?,
        };
        // The removal can only be outdated already if clocks differ.
        marked.ok_or(Error::Busy)?;
        Ok(removal)
    }

    async fn has_legacy_keys(&self, removal: &Removal) -> Result<bool, Error> {
        let Some(legacy) = &self.legacy else { return Ok(false) };
        let (workspace, user) = removal.workspace_and_user();
        Ok(legacy.count_of_user(workspace, user).await? > 0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-11-22T10:00:00.9Z").unwrap().into()
    }

    fn wrong_places(event: &Value) -> Vec<String> {
        let Err(Error::Invalid { fields }) = Removal::parse(event.to_string().as_bytes(), now()) else {
            panic!("{event} is valid")
        };
        fields.iter().map(|field| field.place.to_string()).collect()
    }

    #[test]
    fn a_workspace_and_a_user_are_sufficient() {
        let event = json!({"workspace_id": "acme", "user_id": "alice"}).to_string();
        let removal = Removal::parse(event.as_bytes(), now()).unwrap();
        assert_eq!((removal.actor.as_str(), &removal.transfer_to), ("keygate:users", &None));
        assert_eq!(removal.time, now());
        let handed_on = serde_json::to_vec(&removal).unwrap();
        assert_eq!(Removal::parse(&handed_on, now() + TimeDelta::seconds(1)).unwrap(), removal);
        let too_early = Removal::parse(&handed_on, DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(too_early.time, DateTime::UNIX_EPOCH, "nobody is removed in the future");
    }

    #[test]
    fn all_invalid_fields_of_an_event_are_reported_together() {
        let event = json!({"workspace_id": "Acme", "user_id": "a b", "transfer_to": 1, "overlap_seconds": -1, "time": "now",
            "actor": "", "detail": {}});
        let expected =
            ["/workspace_id", "/user_id", "/transfer_to", "/overlap_seconds", "/time", "/actor", "/detail"];
        assert_eq!(wrong_places(&event), expected);
        assert_eq!(wrong_places(&json!({})), ["/workspace_id", "/user_id"]);
        for reserved in ["keygate:users", "Keygate:x", ".."] {
            let event = json!({"workspace_id": "acme", "user_id": reserved, "transfer_to": reserved});
            assert_eq!(wrong_places(&event), ["/user_id", "/transfer_to"], "{reserved}");
        }
        let to_oneself = json!({"workspace_id": "acme", "user_id": "alice", "transfer_to": "alice"});
        assert_eq!(wrong_places(&to_oneself), ["/transfer_to"]);
    }

    #[test]
    fn all_invalid_parameters_are_reported_together() {
        let alice: UserId = "alice".parse().unwrap();
        let parse = |parameters: &[(&'static str, &'static str)]| {
            KeyDisposition::parse(&alice, parameters.iter().copied())
        };
        let deleted = KeyDisposition { transfer_to: None, overlap_seconds: DEFAULT_OVERLAP };
        assert_eq!(parse(&[]).unwrap(), deleted);
        for (name, value) in [
            ("transfer_to", "alice"),
            ("transfer_to", ""),
            ("transfer_to", "keygate:users"),
            ("overlap_seconds", "2592001"),
            ("overlap_seconds", "-1"),
            ("overlap_seconds", "+1"),
            ("overlap_seconds", ""),
            ("force", "true"),
        ] {
            let Err(Error::Invalid { fields }) = parse(&[(name, value)]) else { panic!("{name}={value}") };
            assert_eq!(fields[0].place.to_string(), format!("?{name}"));
        }
        let handed_over = parse(&[("transfer_to", "svc:a"), ("overlap_seconds", "0")]).unwrap();
        assert_eq!((handed_over.overlap_seconds, handed_over.transfer_to.unwrap().as_str()), (0, "svc:a"));
    }
}

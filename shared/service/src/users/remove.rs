//! Removing a user: the first step, which marks them.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::context::{EventContext, RequestContext};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::fields::{self, FieldError, Fields};
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::query_parameters::{self, QueryParameters};
use keygate_core::rights::Operation;
use keygate_core::scope::{Scope, USERS_WRITE};
use keygate_core::time::whole_millisecond;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keys::rotate::{self, MAX_OVERLAP};
use crate::store::Store;
use crate::store::legacy_keys::LegacyKeysTable;

/// How long the secret of a key that is handed over goes on unless said, in seconds: a week.
const DEFAULT_OVERLAP: i64 = 7 * 24 * 60 * 60;

/// What becomes of the keys of a removed user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDisposition {
    /// Who gets them; they are deleted, if not said.
    pub transfer_to: Option<UserId>,
    /// How long the secrets of those that are handed over go on from the removal.
    pub overlap_seconds: i64,
}

impl KeyDisposition {
    /// Reads the parameters of a query about `user`.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every parameter that is wrong, unknown or there twice.
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

/// A removal, as it is asked for by a request or an event, and as the second step gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The tenant.
    pub workspace_id: WorkspaceId,
    /// Who is removed.
    pub user_id: UserId,
    /// Who gets the keys; they are deleted, if not said.
    pub transfer_to: Option<UserId>,
    /// How long the secrets of those that are handed over go on from the removal.
    pub overlap_seconds: i64,
    /// When it was asked for, to the millisecond. It tells a removal from one before or after a reinstatement.
    pub time: DateTime<Utc>,
    /// Who asked for it.
    pub actor: UserId,
}

impl Removal {
    /// Reads an event: `{"workspace_id", "user_id", "transfer_to"?, "overlap_seconds"?, "time"?, "actor"?}`.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every field that is wrong, and what it must be.
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
            // One that is still to come would be after whatever is done now.
            time: whole_millisecond(time.unwrap_or(now).min(now)),
            actor: actor.unwrap_or_else(UserId::of_user_events),
        }))
    }

    pub(super) fn whom(&self) -> (&WorkspaceId, &UserId) {
        (&self.workspace_id, &self.user_id)
    }

    /// The context of the audit events of the second step, which no request waits for.
    pub(super) fn context(&self, now: DateTime<Utc>) -> EventContext<'_> {
        EventContext::without_request(&self.workspace_id, &self.actor, now)
    }

    /// The audit event of the removal.
    pub(super) fn event(&self, context: EventContext<'_>) -> AuditEvent {
        AuditEvent::for_user(Action::UserRemoved, context, &self.user_id)
    }

    /// Until when the secrets go on of keys that are handed over by the removal of `removed_at`.
    pub(super) fn overlap_ends(&self, removed_at: DateTime<Utc>) -> DateTime<Utc> {
        removed_at + TimeDelta::seconds(self.overlap_seconds)
    }
}

fn time(value: &Value) -> Result<DateTime<Utc>, FieldError> {
    let time = DateTime::parse_from_rfc3339(fields::string(value)?);
    Ok(time.map_err(|_| FieldError::new(&query_parameters::MUST_BE_A_TIME))?.into())
}

/// `MAX_REMOVED_USERS`: how many users whom a workspace does not know requests may remove from it; 10,000 unless set.
///
/// # Errors
///
/// [`InvalidVariable`] when it is no number from 1 to 1000000.
pub fn max_removed_users(environment: &Environment) -> Result<u32, InvalidVariable> {
    environment.number("MAX_REMOVED_USERS", 10_000, 1..=1_000_000)
}

/// What removing users takes.
#[derive(Debug)]
pub struct UserRemover {
    /// Where users are.
    pub store: Store,
    /// Where legacy keys are, if any are honoured.
    pub legacy: Option<LegacyKeysTable>,
    /// How many users whom a workspace does not know may be removed from it.
    pub max_unknown: u32,
}

impl UserRemover {
    /// Marks a user of the caller's workspace as removed, whether or not they ever had a key. What is left to do is in the
    /// [`Removal`]; a user who is marked already gets another one, so that whoever is not sure asks again.
    ///
    /// Nobody removes themself, so that who may do it does not run out by accident. Handing keys over makes them act for
    /// somebody else, and takes what every key could have: the scope of an administrator and no endpoint rules.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`], [`Error::InsufficientEndpoints`]: the caller may not remove users, or not hand keys over.
    /// - [`Error::InsufficientCredential`]: the caller came with an access token, a legacy key or the secret of a former user.
    /// - [`Error::OwnUser`]: the user is the caller.
    /// - [`Error::CallerRemoved`]: the caller's user was removed.
    /// - [`Error::UserRemoved`]: the user who is to get the keys was removed.
    /// - [`Error::RemovalLimit`]: the user is not known, and no more such users may be removed.
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
            caller.require_all(&[Scope::workspace_admin()], &[])?;
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
            let (whom, heir) = (removal.whom(), removal.transfer_to.as_ref());
            self.store.remove_user(caller.actor(), whom, heir, limit, &event, removal.time).await
        };
        let marked = match mark(Some(self.max_unknown)).await {
            // A user with legacy keys alone has no entry, and is as real as any other.
            Err(Error::RemovalLimit(_)) if self.has_legacy_keys(&removal).await? => mark(None).await?,
            marked => marked?,
        };
        // Only where clocks differ has it been undone after now.
        marked.ok_or(Error::Busy)?;
        Ok(removal)
    }

    async fn has_legacy_keys(&self, removal: &Removal) -> Result<bool, Error> {
        let Some(legacy) = &self.legacy else { return Ok(false) };
        let (workspace, user) = removal.whom();
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
    fn a_workspace_and_a_user_are_all_it_takes() {
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
    fn every_wrong_field_of_an_event_is_named_at_once() {
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
    fn every_wrong_parameter_is_named_at_once() {
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

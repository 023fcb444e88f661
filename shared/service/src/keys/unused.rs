//! Unused keys: Keygate gives notice for them first, and disables them if they are still unused when the notice period has
//! passed.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::{Action, AuditEvent, EventDetails};
use keygate_core::context::EventContext;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::UserId;
use tokio::time::Instant;

use crate::concurrency::work_on_page;
use crate::store::Store;
use crate::store::unused_keys::{UnusedAction, UnusedKey};

/// The name of the saved progress: the cursor of the next page of keys.
const LOOKED_THROUGH: &str = "UNUSED";

/// The rules for disabling unused keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnusedRules {
    /// The days without use after which a key is disabled.
    pub days: u32,
    /// The length of the notice period in days: at least one, and less than the days without use.
    pub notice_days: u32,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnusedSummary {
    /// The number of notices given.
    pub announced: usize,
    /// The number of keys disabled.
    pub disabled: usize,
    /// Whether all keys were checked. Otherwise the next run continues.
    pub finished: bool,
}

impl UnusedRules {
    /// Reads `DISABLE_UNUSED_DAYS`, which is required, and `UNUSED_NOTICE_DAYS`, 14 by default.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the first is not in `2..=3650`, or the second not in `1..DISABLE_UNUSED_DAYS`.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        let must_be = "must be a whole number from 2 to 3650";
        environment.required("DISABLE_UNUSED_DAYS", must_be)?;
        let days = environment.number("DISABLE_UNUSED_DAYS", 2, 2..=3650)?;
        let notice_days = environment.number("UNUSED_NOTICE_DAYS", 14, 1..=days - 1)?;
        Ok(Self { days, notice_days })
    }
}

/// Checks the active keys of all workspaces, from where the last run stopped: gives notice for each unused key, and disables
/// keys whose notice period has passed. After `stop_at` it starts no further page.
///
/// # Errors
///
/// - [`Error::Busy`], [`Error::Unavailable`]: the next run continues.
/// - [`Error::Broken`]: the saved progress cannot be read, or some keys cannot be changed. All others were checked, and the next run
///   continues.
pub async fn disable_unused(
    store: &Store,
    rules: UnusedRules,
    now: DateTime<Utc>,
    stop_at: Instant,
) -> Result<UnusedSummary, Error> {
    let (mut run, mut broken) = (UnusedSummary::default(), 0);
    let since = now - TimeDelta::days((rules.days - rules.notice_days).into());
    let mut place =
        store.workspaces.progress(LOOKED_THROUGH).await?.filter(|place: &String| !place.is_empty());
    while !run.finished {
        let (keys, rest) = store.unused_keys(since, now, place.as_deref()).await?;
        let acted = work_on_page(keys, stop_at, |key| act(store, rules, key, now)).await?;
        let count = |wanted| acted.results.iter().filter(|action| **action == Some(wanted)).count();
        run.announced += count(UnusedAction::Notify);
        run.disabled += count(UnusedAction::Disable);
        broken += acted.broken;
        if !acted.is_complete {
            break;
        }
        store.workspaces.save_progress(LOOKED_THROUGH, rest.clone().unwrap_or_default()).await?;
        run.finished = rest.is_none();
        place = rest;
    }
    match broken {
        0 => Ok(run),
        _ => Err(Error::Broken(format!(
            "unused keys that cannot be changed: {broken}; announced: {}; disabled: {}",
            run.announced, run.disabled
        ))),
    }
}

/// Does what is due on a key, and returns what was done. A key that was used or changed since the page was read is skipped. A failure
/// that does not pass by itself is logged with the key.
async fn act(
    store: &Store,
    rules: UnusedRules,
    key: UnusedKey,
    now: DateTime<Utc>,
) -> Result<Option<UnusedAction>, Error> {
    let Some(action) = rules.action(&key, now) else { return Ok(None) };
    let event = rules.event(&key, action, now);
    let acted = store.act_on_unused(&key, action, &event).await;
    if let Err(error @ Error::Broken(_)) = &acted {
        tracing::error!(key_id = %key.key_id, %error, "unused key not changed");
    }
    Ok(acted?.is_applied().then_some(action))
}

impl UnusedRules {
    /// The action that is due at `now` on a key that has been unused long enough for a notice.
    fn action(self, key: &UnusedKey, now: DateTime<Utc>) -> Option<UnusedAction> {
        let Some(noticed_at) = key.noticed_at() else { return Some(UnusedAction::Notify) };
        // Both conditions are needed, because the rules may have changed since the notice.
        let notice_is_over = noticed_at + TimeDelta::days(self.notice_days.into()) <= now
            && key.unused_since() + TimeDelta::days(self.days.into()) <= now;
        notice_is_over.then_some(UnusedAction::Disable)
    }

    fn event(self, key: &UnusedKey, action: UnusedAction, now: DateTime<Utc>) -> AuditEvent {
        let (audited, details) = match action {
            UnusedAction::Notify => (
                Action::KeyUnused,
                EventDetails { days_left: Some(self.notice_days), ..EventDetails::default() },
            ),
            UnusedAction::Disable => {
                (Action::KeyUpdated, EventDetails { changed: vec!["disabled"], ..EventDetails::default() })
            }
        };
        let actor = UserId::of_unused_keys();
        let context = EventContext::without_request(&key.workspace_id, &actor, now);
        AuditEvent { details, ..AuditEvent::for_key(audited, context, key.key_id, &key.user_id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const RULES: UnusedRules = UnusedRules { days: 90, notice_days: 14 };

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000_000 + seconds, 0).unwrap()
    }

    fn key(used: Option<i64>, notice: Option<(i64, u64)>) -> UnusedKey {
        UnusedKey {
            key_id: "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap(),
            workspace_id: "acme".parse().unwrap(),
            user_id: "alice".parse().unwrap(),
            revision: 3,
            created_at: at(0),
            last_used_at: used.map_or(DateTime::UNIX_EPOCH, at),
            unused_notice_at: notice.map(|(noticed, _)| at(noticed)),
            unused_notice_revision: notice.map(|(_, revision)| revision),
        }
    }

    #[test]
    fn a_key_is_disabled_only_after_its_notice_period_and_its_days_without_use() {
        for (used, notice, now, action) in [
            (None, None, 76 * DAY, Some(UnusedAction::Notify)),
            (None, Some((76 * DAY, 3)), 90 * DAY - 1, None),
            (None, Some((76 * DAY, 3)), 90 * DAY, Some(UnusedAction::Disable)),
            // The notice came late, like the first one after the deployment enables the rules.
            (None, Some((200 * DAY, 3)), 214 * DAY - 1, None),
            (None, Some((200 * DAY, 3)), 214 * DAY, Some(UnusedAction::Disable)),
            // The notice came early, because it was given under other rules.
            (None, Some((10 * DAY, 3)), 90 * DAY - 1, None),
            (Some(5 * DAY), Some((81 * DAY, 3)), 95 * DAY, Some(UnusedAction::Disable)),
            // The key was used after the notice.
            (Some(77 * DAY), Some((76 * DAY, 3)), 167 * DAY, Some(UnusedAction::Notify)),
            (Some(76 * DAY), Some((76 * DAY, 3)), 166 * DAY, Some(UnusedAction::Notify)),
            // The key was changed after the notice, for example enabled again.
            (None, Some((76 * DAY, 2)), 200 * DAY, Some(UnusedAction::Notify)),
        ] {
            let key = key(used, notice);
            assert_eq!(RULES.action(&key, at(now)), action, "{used:?} {notice:?} {now}");
        }
    }

    #[test]
    fn the_notice_period_must_be_shorter_than_the_days_without_use() {
        let rules = |days, notice_days| {
            let variables = [("DISABLE_UNUSED_DAYS", days), ("UNUSED_NOTICE_DAYS", notice_days)];
            UnusedRules::from_environment(&Environment::from_iter(variables))
        };
        assert_eq!(rules("90", ""), Ok(UnusedRules { days: 90, notice_days: 14 }));
        assert_eq!(rules("2", "1"), Ok(UnusedRules { days: 2, notice_days: 1 }));
        for (days, notice_days, wrong) in [
            ("", "", "DISABLE_UNUSED_DAYS"),
            ("0", "1", "DISABLE_UNUSED_DAYS"),
            ("1", "1", "DISABLE_UNUSED_DAYS"),
            ("3651", "14", "DISABLE_UNUSED_DAYS"),
            ("14", "", "UNUSED_NOTICE_DAYS"),
            ("90", "0", "UNUSED_NOTICE_DAYS"),
        ] {
            assert_eq!(rules(days, notice_days).unwrap_err().name, wrong, "{days} {notice_days}");
        }
    }
}

//! The authorizer's settings.

use std::time::Duration;

use chrono::TimeDelta;
use keygate_core::environment::{Environment, InvalidVariable};

/// `AUTHORIZER_BUDGET_MS`: how long the authorizer waits for the store, retries included; 2000 ms by default.
///
/// # Errors
///
/// [`InvalidVariable`] when it is not a number from 100 to 4000.
pub fn budget(environment: &Environment) -> Result<Duration, InvalidVariable> {
    milliseconds(environment, "AUTHORIZER_BUDGET_MS", 2000)
}

/// `DEFERRED_BUDGET_MS`: how long the deferred work of one invocation may take; 1000 ms by default.
///
/// # Errors
///
/// [`InvalidVariable`] when it is not a number from 100 to 4000.
pub fn deferred_budget(environment: &Environment) -> Result<Duration, InvalidVariable> {
    milliseconds(environment, "DEFERRED_BUDGET_MS", 1000)
}

/// Who counts the calls of keys. Only one may, so that no call is counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageSource {
    /// The authorizer. It does not see calls that API Gateway serves from an authorizer cache.
    #[default]
    Authorizer,
    /// The access logs of APIs. They do not name the key of a credential that does not work.
    AccessLogs,
}

impl UsageSource {
    /// `USAGE_SOURCE`: `authorizer` by default.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the value is not `authorizer` or `access-logs`.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        match environment.text("USAGE_SOURCE") {
            None | Some("authorizer") => Ok(Self::Authorizer),
            Some("access-logs") => Ok(Self::AccessLogs),
            Some(_) => Err(InvalidVariable::new("USAGE_SOURCE", "must be authorizer or access-logs")),
        }
    }
}

/// `USAGE_RETENTION_DAYS`: how long the calls of an hour are kept; 90 days by default.
///
/// # Errors
///
/// [`InvalidVariable`] when it is not a number from 1 to 3650.
pub fn usage_retention(environment: &Environment) -> Result<TimeDelta, InvalidVariable> {
    environment.days("USAGE_RETENTION_DAYS", 90, 1..=3650)
}

fn milliseconds(
    environment: &Environment,
    name: &'static str,
    default: u32,
) -> Result<Duration, InvalidVariable> {
    environment.number(name, default, 100..=4000).map(|budget| Duration::from_millis(budget.into()))
}

/// How long an environment of the authorizer may reuse the result of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// `CACHE_SECONDS`: how long it reuses every result; 0 by default, so that a deleted key is refused at once.
    pub fresh_for: TimeDelta,
    /// `STALE_IF_ERROR_SECONDS`: how long it reuses the verification of an accepted credential while the store fails; 60 by
    /// default, so that a key whose reads are throttled still works (`docs/decisions/0045-hot-keys.md`).
    pub stale_for: TimeDelta,
}

impl CacheSettings {
    /// The settings of the authorizer of the management API: no result is used twice.
    pub const NONE: Self = Self { fresh_for: TimeDelta::zero(), stale_for: TimeDelta::zero() };

    /// Reads the settings from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one of the variables is out of its range.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            fresh_for: environment.seconds("CACHE_SECONDS", 0, 0..=300)?,
            stale_for: environment.seconds("STALE_IF_ERROR_SECONDS", 60, 0..=3600)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_every_call_is_read_and_the_store_has_two_seconds() {
        let environment = Environment::default();
        let settings = CacheSettings::from_environment(&environment).unwrap();
        assert_eq!((settings.fresh_for, settings.stale_for), (TimeDelta::zero(), TimeDelta::seconds(60)));
        assert_eq!(budget(&environment), Ok(Duration::from_secs(2)));
        assert_eq!(deferred_budget(&environment), Ok(Duration::from_secs(1)));
    }
}

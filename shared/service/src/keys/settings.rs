//! The settings for users' keys.

use chrono::TimeDelta;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::limit::{self, Limits};

use crate::keys::expiry::MaxLifetime;

/// The settings for users' keys.
#[derive(Clone, Copy, Debug)]
pub struct KeySettings {
    /// `KEYS_PER_USER`: the maximum number of unexpired keys of a user in a workspace; 100 by default.
    pub per_user: u32,
    /// `EXPIRED_KEY_RETENTION_DAYS`: how long an expired key remains visible; 30 days by default.
    pub retention: TimeDelta,
    /// `MAX_LIFETIME_DAYS`.
    pub max_lifetime: MaxLifetime,
    /// `AUTHORIZER_UNCACHED`: whether keys may have limits.
    pub enforces_limits: bool,
}

impl KeySettings {
    /// Reads the settings from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is out of its range.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            per_user: per_user(environment)?,
            retention: environment.days("EXPIRED_KEY_RETENTION_DAYS", 30, 1..=3650)?,
            max_lifetime: MaxLifetime::from_environment(environment)?,
            enforces_limits: limit::are_enforced(environment)?,
        })
    }

    /// Requires that the deployment enforces the limits that a key would get.
    ///
    /// # Errors
    ///
    /// - [`Error::LimitsNotEnforced`]: it does not, and there are some.
    pub(super) fn require_enforced(&self, limits: &Limits) -> Result<(), Error> {
        if self.enforces_limits || limits.is_empty() { Ok(()) } else { Err(Error::LimitsNotEnforced) }
    }
}

/// `KEYS_PER_USER`, for a function that needs no other setting of [`KeySettings`].
///
/// # Errors
///
/// [`InvalidVariable`] when the value is not in `1..=1000`.
pub fn per_user(environment: &Environment) -> Result<u32, InvalidVariable> {
    environment.number("KEYS_PER_USER", 100, 1..=1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_100_keys_without_a_maximum_lifetime_by_default() {
        let settings = KeySettings::from_environment(&Environment::default()).unwrap();
        assert_eq!((settings.per_user, settings.retention), (100, TimeDelta::days(30)));
        assert_eq!((settings.max_lifetime.0, settings.enforces_limits), (None, false));
        let days = Environment::from_iter([("MAX_LIFETIME_DAYS", "90")]);
        assert_eq!(KeySettings::from_environment(&days).unwrap().max_lifetime.0, Some(TimeDelta::days(90)));
    }
}

//! The expiry of a key, absolute or relative, within the limits of the deployment.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::fields::{self, FieldError};
use keygate_core::time::{rfc3339, whole_second};
use serde_json::Value;

/// The maximum life of a key if the deployment sets none: a hundred years, so that every time can be represented.
const MAX_LIFETIME: TimeDelta = TimeDelta::days(36_525);

/// The maximum life of a key in this deployment; `None` if a key may live without an expiry.
#[derive(Clone, Copy, Debug)]
pub struct MaxLifetime(pub Option<TimeDelta>);

impl MaxLifetime {
    /// `MAX_LIFETIME_DAYS`: the maximum life of a key, counted from when its expiry is set; 0 (the default) means no
    /// maximum.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the value is not in `0..=36500`.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        let longest = environment.days("MAX_LIFETIME_DAYS", 0, 0..=36_500)?;
        Ok(Self(Some(longest).filter(|longest| !longest.is_zero())))
    }

    /// Parses an absolute expiry.
    ///
    /// # Errors
    ///
    /// A message that the value must be a time in the future, with the maximum.
    pub fn until(self, value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, FieldError> {
        let latest = self.latest(now);
        let wrong = || {
            let must_be = "must be a time in the future in the form of RFC 3339, at the latest";
            FieldError::new(&format!("{must_be} {}", rfc3339(latest)))
        };
        let time: DateTime<Utc> =
            DateTime::parse_from_rfc3339(fields::string(value)?).map_err(|_| wrong())?.into();
        // The fraction is dropped, so that a key never works longer than requested.
        let time = whole_second(time);
        if now < time && time <= latest { Ok(time) } else { Err(wrong()) }
    }

    /// Parses a relative expiry in seconds.
    ///
    /// # Errors
    ///
    /// A message that the value must be a number of seconds, with the maximum.
    pub fn from_now(self, value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, FieldError> {
        let longest = self.0.unwrap_or(MAX_LIFETIME).num_seconds();
        let seconds = value.as_i64().filter(|seconds| (1..=longest).contains(seconds)).ok_or_else(|| {
            let must_be = format!("must be a whole number of seconds from 1 to {longest}");
            FieldError::new(&fields::in_digits(value, must_be))
        })?;
        Ok(whole_second(now) + TimeDelta::seconds(seconds))
    }

    /// The message for a key without an expiry, if the deployment requires one.
    #[must_use]
    pub fn demand(self) -> Option<String> {
        self.0.map(|longest| format!("is required: keys live at most {} days", longest.num_days()))
    }

    /// The latest expiry of a key whose expiry is set at `now`.
    #[must_use]
    pub fn latest(self, now: DateTime<Utc>) -> DateTime<Utc> {
        whole_second(now) + self.0.unwrap_or(MAX_LIFETIME)
    }
}

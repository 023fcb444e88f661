//! The expiry of a key, as an instant or from now on, within what the deployment allows.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::fields::{self, FieldError};
use keygate_core::time::{rfc3339, whole_second};
use serde_json::Value;

/// The longest life of a key where the deployment sets none, so that every time fits everywhere: a hundred years.
const MAX_LIFETIME: TimeDelta = TimeDelta::days(36_525);

/// The longest life that a deployment gives a key; `None` if a key may live without end.
#[derive(Clone, Copy, Debug)]
pub struct MaxLifetime(pub Option<TimeDelta>);

impl MaxLifetime {
    /// `MAX_LIFETIME_DAYS`: the longest life of a key, counted from when its expiry is set; without end where it is 0 or not set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no number from 0 to 36500.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        let longest = environment.days("MAX_LIFETIME_DAYS", 0, 0..=36_500)?;
        Ok(Self(Some(longest).filter(|longest| !longest.is_zero())))
    }

    /// Checks an instant.
    ///
    /// # Errors
    ///
    /// That it must be a time in the future, and how far away at most.
    pub fn until(self, value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, FieldError> {
        let latest = self.latest(now);
        let wrong = || {
            let must_be = "must be a time in the future in the form of RFC 3339, at the latest";
            FieldError::new(&format!("{must_be} {}", rfc3339(latest)))
        };
        let time: DateTime<Utc> =
            DateTime::parse_from_rfc3339(fields::string(value)?).map_err(|_| wrong())?.into();
        // A fraction is dropped, so that nothing works longer than was asked for.
        let time = whole_second(time);
        if now < time && time <= latest { Ok(time) } else { Err(wrong()) }
    }

    /// Checks a number of seconds.
    ///
    /// # Errors
    ///
    /// That it must be one, and how large at most.
    pub fn from_now(self, value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, FieldError> {
        let longest = self.0.unwrap_or(MAX_LIFETIME).num_seconds();
        let seconds = value.as_i64().filter(|seconds| (1..=longest).contains(seconds)).ok_or_else(|| {
            let must_be = format!("must be a whole number of seconds from 1 to {longest}");
            FieldError::new(&fields::in_digits(value, must_be))
        })?;
        Ok(whole_second(now) + TimeDelta::seconds(seconds))
    }

    /// What a key without an expiry is told where it must have one.
    #[must_use]
    pub fn demand(self) -> Option<String> {
        self.0.map(|longest| format!("is required: keys live at most {} days", longest.num_days()))
    }

    /// The latest instant at which a key may expire whose expiry is set now.
    #[must_use]
    pub fn latest(self, now: DateTime<Utc>) -> DateTime<Utc> {
        whole_second(now) + self.0.unwrap_or(MAX_LIFETIME)
    }
}

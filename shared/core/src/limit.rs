//! Limits: how many calls a key may make in a second, a minute, an hour, a day or a month.
//!
//! The windows of a limit follow each other without a gap and are the same for all keys: they begin with the seconds, minutes,
//! hours, days and months of UTC. [`permits`](crate::permits) says how several environments keep a limit together.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Months, NaiveTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error as ThisError;

use crate::environment::{Environment, InvalidVariable};
use crate::fields::{self, FieldError};
use crate::time::whole_second;

/// The maximum number of limits of a key.
pub const MAX_LIMITS: usize = 3;

/// The maximum number of calls of a limit. A larger one would limit little, and counts up to this one fit into 32 bits.
pub const MAX_CALLS: u32 = 1_000_000_000;

/// The unit of a limit: the length of its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day of UTC.
    Day,
    /// A calendar month of UTC.
    Month,
}

impl Period {
    /// All periods, the shortest first.
    pub const ALL: [Self; 5] = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Month];

    /// The word for it in requests, responses and stored items.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The window that contains an instant.
    #[must_use]
    pub fn window(self, now: DateTime<Utc>) -> Window {
        let of_length = |seconds: i64| {
            let start = whole_second(now) - TimeDelta::seconds(now.timestamp().rem_euclid(seconds));
            let number = start.timestamp().div_euclid(seconds);
            Window {
                per: self,
                start,
                end: start + TimeDelta::seconds(seconds),
                is_odd: number.rem_euclid(2) == 1,
            }
        };
        match self {
            Self::Second => of_length(1),
            Self::Minute => of_length(60),
            Self::Hour => of_length(60 * 60),
            Self::Day => of_length(24 * 60 * 60),
            Self::Month => {
                let today = now.date_naive();
                let first = today.with_day(1).unwrap_or(today);
                let start = first.and_time(NaiveTime::MIN).and_utc();
                let end = start.checked_add_months(Months::new(1)).unwrap_or(DateTime::<Utc>::MAX_UTC);
                // The number of a month: a year has an even number of them.
                Window { per: self, start, end, is_odd: first.month0() % 2 == 1 }
            }
        }
    }
}

/// One window of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The unit of the limit.
    pub per: Period,
    /// Its first second.
    pub start: DateTime<Utc>,
    /// The first second after it.
    pub end: DateTime<Utc>,
    /// Whether its number is odd. Two windows that follow each other differ in it.
    pub is_odd: bool,
}

/// How many calls a key may make in each window of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawLimit")]
pub struct Limit {
    calls: u32,
    per: Period,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    calls: u32,
    per: Period,
}

impl TryFrom<RawLimit> for Limit {
    type Error = InvalidLimit;

    fn try_from(raw: RawLimit) -> Result<Self, InvalidLimit> {
        Self::new(raw.calls, raw.per)
    }
}

/// The error of a number of calls, or a text, that is not a [`Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error(
    "must have calls, a whole number from 1 to {MAX_CALLS}, and per, one of second, minute, hour, day and month"
)]
pub struct InvalidLimit;

impl Limit {
    /// A limit of `calls` in each window.
    ///
    /// # Errors
    ///
    /// - [`InvalidLimit`]: the number is not in `1..=MAX_CALLS`.
    pub fn new(calls: u32, per: Period) -> Result<Self, InvalidLimit> {
        if (1..=MAX_CALLS).contains(&calls) { Ok(Self { calls, per }) } else { Err(InvalidLimit) }
    }

    /// The number of calls.
    #[must_use]
    pub fn calls(self) -> u32 {
        self.calls
    }

    /// The unit.
    #[must_use]
    pub fn per(self) -> Period {
        self.per
    }
}

impl fmt::Display for Limit {
    /// Writes `1000/minute`, the form in the authorizer's context.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.calls, self.per.word())
    }
}

impl FromStr for Limit {
    type Err = InvalidLimit;

    /// Reads `1000/minute`.
    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let (calls, per) = text.split_once('/').ok_or(InvalidLimit)?;
        let per = Period::ALL.into_iter().find(|period| period.word() == per).ok_or(InvalidLimit)?;
        Self::new(calls.parse().map_err(|_| InvalidLimit)?, per)
    }
}

/// The limits of a key: at most [`MAX_LIMITS`], one for a unit, the shortest unit first. Without any, a key makes any number of
/// calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Limit>")]
pub struct Limits(Vec<Limit>);

/// The error of limits that a key cannot have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum InvalidLimits {
    /// There are too many.
    #[error("must be an array of at most {MAX_LIMITS} limits")]
    TooMany,
    /// The limit at this index has the unit of an earlier one.
    #[error("must have another unit than the limits before it")]
    Repeated(usize),
}

impl TryFrom<Vec<Limit>> for Limits {
    type Error = InvalidLimits;

    fn try_from(mut limits: Vec<Limit>) -> Result<Self, InvalidLimits> {
        if limits.len() > MAX_LIMITS {
            return Err(InvalidLimits::TooMany);
        }
        let is_repeated =
            |index: &usize| limits[..*index].iter().any(|earlier| earlier.per == limits[*index].per);
        if let Some(index) = (0..limits.len()).find(is_repeated) {
            return Err(InvalidLimits::Repeated(index));
        }
        limits.sort_by_key(|limit| limit.per);
        Ok(Self(limits))
    }
}

impl Limits {
    /// Parses the value of a request's field.
    ///
    /// # Errors
    ///
    /// [`FieldError`]: the value is not an array or too long, or the element at an index is not a limit, or has the unit of an
    /// earlier one.
    pub fn parse(value: &Value) -> Result<Self, FieldError> {
        let values = value.as_array().ok_or_else(|| FieldError::new(&InvalidLimits::TooMany))?;
        if values.len() > MAX_LIMITS {
            return Err(FieldError::new(&InvalidLimits::TooMany));
        }
        let limit = |(index, value): (usize, &Value)| {
            Limit::deserialize(value).map_err(|_| {
                FieldError::at(index, &fields::in_digits(&value["calls"], InvalidLimit.to_string()))
            })
        };
        let limits: Vec<_> = values.iter().enumerate().map(limit).collect::<Result<_, _>>()?;
        Self::try_from(limits).map_err(|invalid| match invalid {
            InvalidLimits::TooMany => FieldError::new(&invalid),
            InvalidLimits::Repeated(index) => FieldError::at(index, &invalid),
        })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The limits, the shortest unit first.
    #[must_use]
    pub fn as_slice(&self) -> &[Limit] {
        &self.0
    }

    /// Whether a change from `before` to these limits allows more calls in a window: it raises or removes a limit.
    ///
    /// A limit that is replaced by one of another unit is removed: ten calls a minute are more than 600 an hour in the first
    /// minute, and fewer in others.
    #[must_use]
    pub fn exceed(&self, before: &Self) -> bool {
        let is_kept =
            |limit: &Limit| self.0.iter().any(|kept| kept.per == limit.per && kept.calls <= limit.calls);
        !before.0.iter().all(is_kept)
    }
}

/// `AUTHORIZER_UNCACHED`: whether the deployment says that no authorizer cache stands before its APIs, so that every call reaches
/// the authorizer and limits can be kept; `false` by default.
///
/// # Errors
///
/// [`InvalidVariable`] when the value is not `true` or `false`.
pub fn are_enforced(environment: &Environment) -> Result<bool, InvalidVariable> {
    environment.parsed("AUTHORIZER_UNCACHED", "false", "must be true or false")
}

/// Why a call with a working credential, which everything else allows, is refused by the limits of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitRefusal {
    /// A window is full.
    Exceeded {
        /// The seconds until a call may be allowed again, at least one.
        retry_after: u32,
    },
    /// The deployment does not say that no authorizer cache stands before its APIs, so limits cannot be kept.
    NotEnforced,
}

impl LimitRefusal {
    /// The refusal of a call `now`, while windows are full until `end`.
    #[must_use]
    pub fn until(end: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        let milliseconds = (end - now).num_milliseconds();
        let seconds = milliseconds.div_euclid(1_000) + i64::from(milliseconds.rem_euclid(1_000) > 0);
        Self::Exceeded { retry_after: u32::try_from(seconds).unwrap_or_default().max(1) }
    }

    /// The reason in one word, as metrics, the audit trail and the authorizer's context have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Exceeded { .. } => "limit_exceeded",
            Self::NotEnforced => "limits_not_enforced",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn limits(texts: &[&str]) -> Limits {
        texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap()
    }

    #[test]
    fn windows_are_the_seconds_minutes_hours_days_and_months_of_utc() {
        for (now, per, start, end) in [
            ("2026-11-26T21:15:09.999Z", Period::Second, "2026-11-26T21:15:09Z", "2026-11-26T21:15:10Z"),
            ("2026-11-26T21:15:09.999Z", Period::Minute, "2026-11-26T21:15:00Z", "2026-11-26T21:16:00Z"),
            ("2026-11-26T23:59:59Z", Period::Hour, "2026-11-26T23:00:00Z", "2026-11-27T00:00:00Z"),
            ("2026-12-31T23:59:59Z", Period::Day, "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2026-12-31T23:59:59Z", Period::Month, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2026-02-28T12:00:00Z", Period::Month, "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
            ("2028-02-29T23:59:59Z", Period::Month, "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            ("2028-02-29T23:59:59Z", Period::Day, "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
            ("2100-02-28T23:59:59Z", Period::Day, "2100-02-28T00:00:00Z", "2100-03-01T00:00:00Z"),
        ] {
            let window = per.window(utc(now));
            assert_eq!((window.start, window.end), (utc(start), utc(end)), "{now} {per:?}");
        }
    }

    #[test]
    fn a_limit_has_one_form_in_requests_items_and_the_context() {
        let limit: Limit = "1000/minute".parse().unwrap();
        assert_eq!(
            (limit.calls(), limit.per(), limit.to_string().as_str()),
            (1000, Period::Minute, "1000/minute")
        );
        assert_eq!(serde_json::to_value(limit).unwrap(), json!({"calls": 1000, "per": "minute"}));
        for text in [
            "",
            "1000",
            "1000/",
            "/minute",
            "0/minute",
            "1000000001/minute",
            "1000/week",
            "1/Minute",
            "-1/day",
        ] {
            assert_eq!(text.parse::<Limit>(), Err(InvalidLimit), "{text}");
        }
    }

    #[test]
    fn limits_are_ordered_by_their_unit() {
        let value = json!([{"calls": 5, "per": "month"}, {"per": "second", "calls": 1}, {"calls": MAX_CALLS, "per": "day"}]);
        let parsed = Limits::parse(&value).unwrap();
        let texts: Vec<_> = parsed.as_slice().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["1/second", "1000000000/day", "5/month"]);
        assert!(Limits::parse(&json!([])).unwrap().is_empty());
    }

    #[test]
    fn an_invalid_limit_is_named_with_what_it_must_be() {
        let error = |value: &Value| format!("{:?}", Limits::parse(value).unwrap_err());
        let limit = |calls: u32, per: &str| json!({"calls": calls, "per": per});
        for (value, place, must_be) in [
            (json!({}), "None", "at most 3 limits"),
            (json!("10/second"), "None", "at most 3 limits"),
            (
                json!([limit(1, "second"), limit(1, "minute"), limit(1, "hour"), limit(1, "day")]),
                "None",
                "at most 3",
            ),
            (json!([limit(1, "day"), "1/second"]), "Some(\"1\")", "must have calls"),
            (json!([limit(0, "day")]), "Some(\"0\")", "from 1 to 1000000000"),
            (json!([limit(MAX_CALLS + 1, "day")]), "Some(\"0\")", "from 1 to 1000000000"),
            (json!([{"calls": -1, "per": "day"}]), "Some(\"0\")", "from 1"),
            (json!([{"calls": 10.0, "per": "day"}]), "Some(\"0\")", "in digits"),
            (json!([{"calls": "10", "per": "day"}]), "Some(\"0\")", "a whole number"),
            (json!([{"calls": 10}]), "Some(\"0\")", "and per"),
            (json!([limit(1, "week")]), "Some(\"0\")", "one of second, minute, hour, day and month"),
            (json!([{"calls": 1, "per": "day", "burst": 2}]), "Some(\"0\")", "must have calls"),
            (json!([null]), "Some(\"0\")", "must have calls"),
            (json!([limit(1, "day"), limit(2, "day")]), "Some(\"1\")", "another unit"),
        ] {
            let error = error(&value);
            assert!(error.contains(place) && error.contains(must_be), "{value}: {error}");
        }
    }

    #[test]
    fn stored_limits_that_no_request_could_make_are_an_error() {
        for broken in [
            json!([{"calls": 0, "per": "day"}]),
            json!([{"calls": 1, "per": "day"}, {"calls": 1, "per": "day"}]),
            json!([{"calls": 1}]),
            json!("none"),
            json!(null),
        ] {
            assert!(serde_json::from_value::<Limits>(broken.clone()).is_err(), "{broken}");
        }
    }

    #[test]
    fn limits_are_enforced_only_where_the_deployment_says_that_nothing_is_cached() {
        for (value, expected) in
            [("", Some(false)), ("false", Some(false)), ("true", Some(true)), ("yes", None)]
        {
            let environment = Environment::from_iter([("AUTHORIZER_UNCACHED", value)]);
            assert_eq!(are_enforced(&environment).ok(), expected, "{value}");
        }
    }

    #[test]
    fn a_refused_call_may_be_repeated_when_the_window_has_ended() {
        let end = utc("2026-11-26T21:16:00Z");
        for (now, seconds) in [
            ("2026-11-26T21:15:00Z", 60),
            ("2026-11-26T21:15:58.001Z", 2),
            ("2026-11-26T21:15:59Z", 1),
            ("2026-11-26T21:15:59.9999Z", 1),
        ] {
            assert_eq!(
                LimitRefusal::until(end, utc(now)),
                LimitRefusal::Exceeded { retry_after: seconds },
                "{now}"
            );
        }
    }

    #[test]
    fn only_a_raised_or_removed_limit_allows_more() {
        for (before, after, more) in [
            (&[][..], &[][..], false),
            (&[], &["1/day"], false),
            (&["10/minute"], &["10/minute", "100/day"], false),
            (&["10/minute"], &["9/minute"], false),
            (&["10/minute"], &["11/minute"], true),
            (&["10/minute"], &[], true),
            (&["10/minute", "100/day"], &["5/minute"], true),
            (&["600/hour"], &["10/minute"], true),
        ] {
            assert_eq!(limits(after).exceed(&limits(before)), more, "{before:?} to {after:?}");
        }
    }

    proptest! {
        #[test]
        fn windows_are_without_gaps_and_neighbours_differ(
            second in 0_i64..7_258_118_400,
            nanosecond in 0_u32..1_000_000_000,
            index in 0..Period::ALL.len(),
        ) {
            let (per, now) = (Period::ALL[index], DateTime::from_timestamp(second, nanosecond).unwrap());
            let window = per.window(now);
            prop_assert!(window.start <= now && now < window.end);
            prop_assert_eq!(per.window(window.start), window);
            let next = per.window(window.end);
            prop_assert_eq!(next.start, window.end);
            prop_assert_ne!(next.is_odd, window.is_odd);
        }
    }
}

//! The calls of a key as a series by hour or day.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::context::RequestContext;
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::query_parameters::{QueryParameters, time};
use keygate_core::time::rfc3339;
use keygate_core::usage::{CallCounts, Per};
use serde::Serialize;

use crate::keys::{ReadableKeys, find};
use crate::store::keys::KeysTable;
use crate::store::usage::UsageTable;

/// The maximum length of a series by hour, in days.
const MAX_DAYS_BY_HOUR: i64 = 31;

/// The maximum length of a series by day, in days.
const MAX_DAYS_BY_DAY: i64 = 366;

/// How far back a series begins if the request does not say it, in days.
const DEFAULT_DAYS: i64 = 7;

/// A request for a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    from: DateTime<Utc>,
    /// The end, which is excluded.
    to: DateTime<Utc>,
    per: Per,
}

impl UsageQuery {
    /// Parses query parameters: `from` and `to`, by default the last 7 days, and `per`, by default `hour`.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid, unknown or repeated parameter.
    pub fn parse<'a>(
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let mut parameters = QueryParameters::new(parameters);
        let per = parameters.optional("per", per).unwrap_or(Per::Hour);
        let to = parameters.optional("to", time).unwrap_or(now);
        let from = parameters.optional("from", time).unwrap_or(to - TimeDelta::days(DEFAULT_DAYS));
        let max_days = match per {
            Per::Hour => MAX_DAYS_BY_HOUR,
            Per::Day => MAX_DAYS_BY_DAY,
        };
        if to < from {
            parameters.refuse("to", "must not be before from");
        } else if to - from > TimeDelta::days(max_days) {
            parameters.refuse("from", &format!("must be at most {max_days} days before to"));
        }
        parameters.finish(Self { from, to, per })
    }
}

fn per(value: &str) -> Result<Per, String> {
    match value {
        "hour" => Ok(Per::Hour),
        "day" => Ok(Per::Day),
        _ => Err("must be hour or day".to_owned()),
    }
}

/// The calls of a key as the management API shows them.
#[derive(Debug, Serialize)]
pub struct UsageSeries {
    per: &'static str,
    /// Every interval of the range, in the order of time.
    items: Vec<ShownInterval>,
}

#[derive(Debug, Serialize)]
struct ShownInterval {
    start: String,
    allowed: u64,
    refused: u64,
}

/// Reads the calls of a key of the caller's workspace. A caller with `keys:write` only reads those of their own keys.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not read keys, or not those of other users.
/// - [`Error::InsufficientCredential`]: the caller presented the secret of a former user.
/// - [`Error::NotFound`]: the workspace has no such key.
/// - [`Error::Unavailable`]: try again later.
pub async fn series(
    keys: &KeysTable,
    usage: &UsageTable,
    context: &RequestContext,
    id: KeyId,
    query: UsageQuery,
) -> Result<UsageSeries, Error> {
    let readable = ReadableKeys::of(&context.caller)?;
    // The calls of another workspace's key are not read: their number would show in the units that the read consumes.
    readable.require(&find(keys, context, id).await?.record.user_id)?;
    let range = (query.from, query.to);
    let hours = usage.calls_by_hour(id, range, context.now).await?;
    let shown = |(start, counts): (DateTime<Utc>, _)| {
        let CallCounts { allowed, refused } = counts;
        ShownInterval { start: rfc3339(start), allowed, refused }
    };
    let per = match query.per {
        Per::Hour => "hour",
        Per::Day => "day",
    };
    Ok(UsageSeries { per, items: query.per.series(range, hours).into_iter().map(shown).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().into()
    }

    fn parse(parameters: &[(&str, &str)]) -> Result<UsageQuery, Vec<String>> {
        let query = UsageQuery::parse(parameters.iter().copied(), at("2026-11-26T12:30:00Z"));
        query.map_err(|error| match error {
            Error::Invalid { fields } => fields.iter().map(|field| field.place.to_string()).collect(),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn a_series_covers_the_last_7_days_by_hour_by_default() {
        let expected =
            UsageQuery { from: at("2026-11-19T12:30:00Z"), to: at("2026-11-26T12:30:00Z"), per: Per::Hour };
        assert_eq!(parse(&[]), Ok(expected));
        let to = parse(&[("to", "2026-11-01T00:00:00Z"), ("per", "day")]).unwrap();
        assert_eq!((to.from, to.per), (at("2026-10-25T00:00:00Z"), Per::Day));
    }

    #[test]
    fn a_series_is_bounded_and_begins_before_it_ends() {
        for (parameters, expected) in [
            (&[("from", "2026-10-26T12:30:00Z")][..], Ok(())),
            (&[("from", "2026-10-26T12:29:59Z")], Err(vec!["?from".to_owned()])),
            (&[("from", "2025-11-25T12:30:00Z"), ("per", "day")], Ok(())),
            (&[("from", "2025-11-25T12:29:59Z"), ("per", "day")], Err(vec!["?from".to_owned()])),
            (&[("from", "2026-11-26T12:30:01Z")], Err(vec!["?to".to_owned()])),
            (&[("per", "minute"), ("from", "yesterday")], Err(vec!["?per".to_owned(), "?from".to_owned()])),
            (&[("limit", "1")], Err(vec!["?limit".to_owned()])),
        ] {
            assert_eq!(parse(parameters).map(drop), expected, "{parameters:?}");
        }
    }
}

//! The calls of a key by hour: what authorizers count, and the series that `GET /api-keys/{id}/usage` shows.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// The calls of a key in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCounts {
    /// The calls that could reach the backend.
    #[serde(default)]
    pub allowed: u64,
    /// The calls that were refused.
    #[serde(default)]
    pub refused: u64,
}

impl CallCounts {
    /// Adds the calls of `other`.
    pub fn add(&mut self, other: Self) {
        self.allowed = self.allowed.saturating_add(other.allowed);
        self.refused = self.refused.saturating_add(other.refused);
    }
}

/// The length of the intervals of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// An hour of UTC.
    Hour,
    /// A day of UTC.
    Day,
}

impl Per {
    /// The length of an interval.
    #[must_use]
    pub fn length(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
        }
    }

    /// The beginning of the interval that contains an instant.
    #[must_use]
    pub fn start(self, at: DateTime<Utc>) -> DateTime<Utc> {
        at.duration_trunc(self.length()).unwrap_or(at)
    }

    /// The series of intervals that contain the instants from `from` until `to`, which is excluded: each with its beginning and
    /// the calls of the hours in it. Intervals without calls have the counts 0.
    #[must_use]
    pub fn series(
        self,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        hours: impl IntoIterator<Item = (DateTime<Utc>, CallCounts)>,
    ) -> Vec<(DateTime<Utc>, CallCounts)> {
        let mut series = Vec::new();
        let mut start = self.start(from);
        while start < to {
            series.push((start, CallCounts::default()));
            start += self.length();
        }
        for (hour, counts) in hours {
            if let Ok(index) = series.binary_search_by_key(&self.start(hour), |(start, _)| *start) {
                series[index].1.add(counts);
            }
        }
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().into()
    }

    fn counts(allowed: u64, refused: u64) -> CallCounts {
        CallCounts { allowed, refused }
    }

    #[test]
    fn a_series_has_every_interval_of_its_range_and_the_calls_of_their_hours() {
        let hours = [
            (at("2026-11-26T22:00:00Z"), counts(1, 0)),
            (at("2026-11-26T23:00:00Z"), counts(2, 1)),
            (at("2026-11-27T01:00:00Z"), counts(4, 0)),
            (at("2026-12-01T00:00:00Z"), counts(8, 8)),
        ];
        let range = (at("2026-11-26T22:30:00Z"), at("2026-11-27T02:00:00Z"));
        let by_hour = Per::Hour.series(range, hours);
        let expected = [
            (at("2026-11-26T22:00:00Z"), counts(1, 0)),
            (at("2026-11-26T23:00:00Z"), counts(2, 1)),
            (at("2026-11-27T00:00:00Z"), counts(0, 0)),
            (at("2026-11-27T01:00:00Z"), counts(4, 0)),
        ];
        assert_eq!(by_hour, expected);
        let by_day = Per::Day.series(range, hours);
        let expected =
            [(at("2026-11-26T00:00:00Z"), counts(3, 1)), (at("2026-11-27T00:00:00Z"), counts(4, 0))];
        assert_eq!(by_day, expected);
    }

    #[test]
    fn the_end_of_a_range_is_excluded() {
        let midnight = at("2026-11-27T00:00:00Z");
        assert_eq!(Per::Hour.series((midnight - TimeDelta::hours(1), midnight), []).len(), 1);
        assert_eq!(Per::Day.series((midnight, midnight), []), []);
    }
}

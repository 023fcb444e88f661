//! Counters and latencies of the authorizer, in `CloudWatch`'s embedded metric format: lines of the log that `CloudWatch`
//! makes metrics of, without a call of an API or a right to make one
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
//!
//! A line is some hundred bytes, and a log is paid for by size. So what is counted within ten seconds makes one line.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use keygate_core::environment::{Environment, InvalidVariable};
use serde_json::{Map, Value, json};

use crate::logging;

/// The shortest time between two lines of an environment. The first call after a pause makes one at once.
const INTERVAL: TimeDelta = TimeDelta::seconds(10);

/// The most values of one metric in a line, as the format has it.
const MAX_VALUES: usize = 100;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Calls that were allowed.
    Allowed,
    /// Calls that were not decided upon, because something failed.
    Errors,
    /// Decisions without a read of the store, from what this environment remembers.
    CacheHits,
    /// The same because the store failed.
    StaleHits,
    /// Writes after an answer that were not made.
    NotWritten,
}

impl Counter {
    fn name(self) -> &'static str {
        match self {
            Self::Allowed => "Allowed",
            Self::Errors => "Errors",
            Self::CacheHits => "CacheHits",
            Self::StaleHits => "StaleHits",
            Self::NotWritten => "NotWritten",
        }
    }
}

/// What is measured, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Latency {
    /// Of the one read of an authorization.
    Store,
    /// Of deriving the peppers, once when an environment starts.
    Kms,
}

impl Latency {
    fn name(self) -> &'static str {
        match self {
            Self::Store => "StoreLatency",
            Self::Kms => "KmsLatency",
        }
    }
}

/// What an environment has counted since it last wrote a line.
#[derive(Debug)]
pub struct Metrics {
    stack: String,
    /// What the lines call their level: the least severe one that Lambda lets through.
    level: &'static str,
    counters: BTreeMap<Counter, u32>,
    denied: BTreeMap<&'static str, u32>,
    latencies: BTreeMap<Latency, Vec<f64>>,
    written_at: Option<DateTime<Utc>>,
}

impl Metrics {
    /// `METRICS_STACK`: the deployment that metrics are of; `keygate` unless set. The level of their lines is `LOG_LEVEL`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the level is wrong.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        let stack = environment.text("METRICS_STACK").unwrap_or("keygate").to_owned();
        Ok(Self::new(stack, logging::level(environment)?))
    }

    /// Counts for the deployment named `stack`. Lambda drops lines below the `level` that it was told, metrics or not.
    #[must_use]
    pub fn new(stack: String, level: tracing::Level) -> Self {
        Self {
            stack,
            level: level.as_str(),
            counters: BTreeMap::new(),
            denied: BTreeMap::new(),
            latencies: BTreeMap::new(),
            written_at: None,
        }
    }

    /// Counts one.
    pub fn count(&mut self, counter: Counter) {
        *self.counters.entry(counter).or_default() += 1;
    }

    /// Counts a call that was refused for `reason`.
    pub fn denied(&mut self, reason: &'static str) {
        *self.denied.entry(reason).or_default() += 1;
    }

    /// Notes how long something took.
    pub fn took(&mut self, latency: Latency, time: Duration) {
        let values = self.latencies.entry(latency).or_default();
        // As many as a line can have say enough.
        if values.len() < MAX_VALUES {
            values.push((time.as_secs_f64() * 1e6).round() / 1e3);
        }
    }

    /// The lines that are due `now`, if any.
    pub fn due(&mut self, now: DateTime<Utc>) -> Vec<Value> {
        if self.written_at.is_some_and(|written_at| now < written_at + INTERVAL) {
            return Vec::new();
        }
        self.written_at = Some(now);
        self.take(now)
    }

    /// Everything there is, as lines: one for the deployment, and one for each reason why calls were denied.
    pub fn take(&mut self, now: DateTime<Utc>) -> Vec<Value> {
        let denied = std::mem::take(&mut self.denied);
        let mut values = Map::new();
        let counters = std::mem::take(&mut self.counters);
        values.extend(counters.into_iter().map(|(counter, count)| (counter.name().to_owned(), json!(count))));
        if !denied.is_empty() {
            values.insert("Denied".to_owned(), json!(denied.values().sum::<u32>()));
        }
        let latencies = std::mem::take(&mut self.latencies);
        values.extend(
            latencies.into_iter().map(|(latency, values)| (latency.name().to_owned(), json!(values))),
        );
        let total = (!values.is_empty()).then(|| self.line(&[], values, now));
        let by_reason = denied.into_iter().map(|(reason, count)| {
            let values = Map::from_iter([("Denied".to_owned(), json!(count))]);
            self.line(&[("Reason", reason)], values, now)
        });
        total.into_iter().chain(by_reason).collect()
    }

    fn line(&self, dimensions: &[(&str, &str)], values: Map<String, Value>, now: DateTime<Utc>) -> Value {
        let metrics: Vec<_> = values
            .iter()
            .map(|(name, value)| {
                json!({"Name": name, "Unit": if value.is_array() { "Milliseconds" } else { "Count" }})
            })
            .collect();
        let names: Vec<_> =
            std::iter::once("Stack").chain(dimensions.iter().map(|(name, _)| *name)).collect();
        let mut line = json!({
            "_aws": {
                "Timestamp": now.timestamp_millis(),
                "CloudWatchMetrics": [{"Namespace": "Keygate", "Dimensions": [names], "Metrics": metrics}],
            },
            "timestamp": now.to_rfc3339_opts(SecondsFormat::Millis, true),
            "level": self.level,
            "Stack": self.stack,
        });
        for (name, value) in dimensions {
            line[name] = json!(value);
        }
        for (name, value) in values {
            line[name] = value;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn what_was_counted_makes_one_line_and_one_more_for_each_reason() {
        let mut metrics = Metrics::new("keygate".to_owned(), tracing::Level::WARN);
        metrics.count(Counter::Allowed);
        metrics.count(Counter::Allowed);
        metrics.denied("expired");
        metrics.denied("malformed");
        metrics.denied("malformed");
        metrics.took(Latency::Store, Duration::from_micros(2_345));
        let lines = metrics.take(at(1_767_225_600));
        assert_eq!(
            lines[0],
            json!({
                "_aws": {
                    "Timestamp": 1_767_225_600_000_i64,
                    "CloudWatchMetrics": [{
                        "Namespace": "Keygate",
                        "Dimensions": [["Stack"]],
                        "Metrics": [
                            {"Name": "Allowed", "Unit": "Count"},
                            {"Name": "Denied", "Unit": "Count"},
                            {"Name": "StoreLatency", "Unit": "Milliseconds"},
                        ],
                    }],
                },
                "timestamp": "2026-01-01T00:00:00.000Z", "level": "WARN", "Stack": "keygate",
                "Allowed": 2, "Denied": 3, "StoreLatency": [2.345],
            })
        );
        let reasons: Vec<_> = lines[1..].iter().map(|line| (&line["Reason"], &line["Denied"])).collect();
        assert_eq!(reasons, [(&json!("expired"), &json!(1)), (&json!("malformed"), &json!(2))]);
        let dimensions = &lines[1]["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
        assert_eq!(dimensions, &json!([["Stack", "Reason"]]));
        assert!(metrics.take(at(1_767_225_601)).is_empty(), "nothing is counted twice");
    }

    #[test]
    fn the_first_call_makes_a_line_and_those_within_the_interval_one_together() {
        let mut metrics = Metrics::new("keygate".to_owned(), tracing::Level::INFO);
        let mut written = Vec::new();
        for second in 0..=20 {
            metrics.count(Counter::Allowed);
            written.extend(metrics.due(at(second)).iter().map(|line| (second, line["Allowed"].clone())));
        }
        assert_eq!(written, [(0, json!(1)), (10, json!(10)), (20, json!(10))]);
    }

    #[test]
    fn a_line_has_as_many_values_as_the_format_allows() {
        let mut metrics = Metrics::new("keygate".to_owned(), tracing::Level::INFO);
        for _ in 0..1_000 {
            metrics.took(Latency::Store, Duration::from_millis(1));
        }
        assert_eq!(metrics.take(at(0))[0]["StoreLatency"].as_array().unwrap().len(), 100);
    }
}

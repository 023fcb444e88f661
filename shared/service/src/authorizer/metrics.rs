//! The authorizer's metrics, in `CloudWatch`'s embedded metric format: `CloudWatch` extracts them from lines of the log,
//! which requires no call and no permission
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
//!
//! Keygate does not use the `metrics` crate with an exporter of the format, for two reasons. Exporters for Lambda flush after
//! each invocation; logs are priced by size, so an environment of Keygate writes at most one line in ten seconds. And each line
//! must carry the function's log level, because Lambda drops lines below it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use keygate_core::environment::{Environment, InvalidVariable};
use serde_json::{Map, Value, json};

use crate::logging;

/// The minimum time between two lines of an environment. The first call after a pause writes a line at once.
const INTERVAL: TimeDelta = TimeDelta::seconds(10);

/// The maximum number of values of one metric in a line, as the format specifies.
const MAX_VALUES: usize = 100;

/// A metric that is a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Calls that were allowed.
    Allowed,
    /// Calls without a decision, because something failed.
    Errors,
    /// Decisions from a cached verification, without a read of the store.
    CacheHits,
    /// Decisions from a stale cached verification, because the store failed.
    StaleHits,
    /// Writes of deferred work that failed.
    DeferredWriteFailures,
}

impl Counter {
    fn name(self) -> &'static str {
        match self {
            Self::Allowed => "Allowed",
            Self::Errors => "Errors",
            Self::CacheHits => "CacheHits",
            Self::StaleHits => "StaleHits",
            Self::DeferredWriteFailures => "DeferredWriteFailures",
        }
    }
}

/// A metric that is a time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Latency {
    /// The duration of an authorization's read.
    Store,
    /// The duration of deriving the peppers, once when an environment starts.
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

/// The source of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupSource {
    /// None, because the request has no credential to verify.
    None,
    /// The environment's cache.
    Cache,
    /// A stale entry of the environment's cache, because the store failed.
    Stale,
    /// A read of the store, with its duration.
    Store(Duration),
}

/// The counts and measurements of an environment since its last line.
#[derive(Debug)]
pub struct Metrics {
    stack: String,
    /// The value of the dimension `Authorizer`, if the metrics have it.
    authorizer: Option<String>,
    /// The level that the lines carry: the function's log level.
    level: &'static str,
    counters: BTreeMap<Counter, u32>,
    refused: BTreeMap<&'static str, u32>,
    latencies: BTreeMap<Latency, Vec<f64>>,
    written_at: Option<DateTime<Utc>>,
}

impl Metrics {
    /// `METRICS_STACK`: the value of the dimension `Stack`; `keygate` by default. `METRICS_AUTHORIZER`: the value of a dimension
    /// `Authorizer`, which an authorizer beside the one of the adopters' APIs has. The level of the lines is `LOG_LEVEL`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the level is invalid.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        let stack = environment.text("METRICS_STACK").unwrap_or("keygate").to_owned();
        let authorizer = environment.text("METRICS_AUTHORIZER").map(str::to_owned);
        Ok(Self { authorizer, ..Self::new(stack, logging::level(environment)?) })
    }

    /// Metrics with the dimension `stack`. Lambda drops lines below `level`, the function's log level, metrics included.
    #[must_use]
    pub fn new(stack: String, level: tracing::Level) -> Self {
        Self {
            stack,
            authorizer: None,
            level: level.as_str(),
            counters: BTreeMap::new(),
            refused: BTreeMap::new(),
            latencies: BTreeMap::new(),
            written_at: None,
        }
    }

    /// Counts one.
    pub fn count(&mut self, counter: Counter) {
        *self.counters.entry(counter).or_default() += 1;
    }

    /// Counts a call that was refused for `reason`.
    pub fn refused(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_default() += 1;
    }

    /// Records a latency.
    pub fn record(&mut self, latency: Latency, time: Duration) {
        let values = self.latencies.entry(latency).or_default();
        // Further values until the next line are dropped.
        if values.len() < MAX_VALUES {
            values.push((time.as_secs_f64() * 1e6).round() / 1e3);
        }
    }

    /// Takes the lines that are due `now`: none within the interval after the last ones.
    pub fn due(&mut self, now: DateTime<Utc>) -> Vec<Value> {
        if self.written_at.is_some_and(|written_at| now < written_at + INTERVAL) {
            return Vec::new();
        }
        self.written_at = Some(now);
        self.take(now)
    }

    /// Takes all metrics as lines: one for counts and times, and one for each reason of refusals.
    pub fn take(&mut self, now: DateTime<Utc>) -> Vec<Value> {
        let refused = std::mem::take(&mut self.refused);
        let mut values = Map::new();
        let counters = std::mem::take(&mut self.counters);
        values.extend(counters.into_iter().map(|(counter, count)| (counter.name().to_owned(), json!(count))));
        if !refused.is_empty() {
            values.insert("Refused".to_owned(), json!(refused.values().sum::<u32>()));
        }
        let latencies = std::mem::take(&mut self.latencies);
        values.extend(
            latencies.into_iter().map(|(latency, values)| (latency.name().to_owned(), json!(values))),
        );
        let total = (!values.is_empty()).then(|| self.line(&[], values, now));
        let by_reason = refused.into_iter().map(|(reason, count)| {
            let values = Map::from_iter([("Refused".to_owned(), json!(count))]);
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
        let authorizer = self.authorizer.as_deref().map(|authorizer| ("Authorizer", authorizer));
        let dimensions: Vec<_> = authorizer.into_iter().chain(dimensions.iter().copied()).collect();
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
    fn all_counts_are_one_line_and_refusals_one_more_for_each_reason() {
        let mut metrics = Metrics::new("keygate".to_owned(), tracing::Level::WARN);
        metrics.count(Counter::Allowed);
        metrics.count(Counter::Allowed);
        metrics.refused("expired");
        metrics.refused("malformed");
        metrics.refused("malformed");
        metrics.record(Latency::Store, Duration::from_micros(2_345));
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
                            {"Name": "Refused", "Unit": "Count"},
                            {"Name": "StoreLatency", "Unit": "Milliseconds"},
                        ],
                    }],
                },
                "timestamp": "2026-01-01T00:00:00.000Z", "level": "WARN", "Stack": "keygate",
                "Allowed": 2, "Refused": 3, "StoreLatency": [2.345],
            })
        );
        let reasons: Vec<_> = lines[1..].iter().map(|line| (&line["Reason"], &line["Refused"])).collect();
        assert_eq!(reasons, [(&json!("expired"), &json!(1)), (&json!("malformed"), &json!(2))]);
        let dimensions = &lines[1]["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
        assert_eq!(dimensions, &json!([["Stack", "Reason"]]));
        assert!(metrics.take(at(1_767_225_601)).is_empty(), "nothing is counted twice");
    }

    #[test]
    fn the_first_call_is_a_line_and_the_calls_within_an_interval_are_one_line() {
        let mut metrics = Metrics::new("keygate".to_owned(), tracing::Level::INFO);
        let mut written = Vec::new();
        for second in 0..=20 {
            metrics.count(Counter::Allowed);
            written.extend(metrics.due(at(second)).iter().map(|line| (second, line["Allowed"].clone())));
        }
        assert_eq!(written, [(0, json!(1)), (10, json!(10)), (20, json!(10))]);
    }

    #[test]
    fn a_line_has_at_most_as_many_values_as_the_format_allows() {
        let mut metrics = Metrics::new("keygate".to_owned(), tracing::Level::INFO);
        for _ in 0..1_000 {
            metrics.record(Latency::Store, Duration::from_millis(1));
        }
        assert_eq!(metrics.take(at(0))[0]["StoreLatency"].as_array().unwrap().len(), 100);
    }
}

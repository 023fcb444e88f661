//! The alarms and metric filters of the merged template, and what they see in a function's log.

use serde_json::Value;

/// The text of a resource in the merged template, which the start of the stack has written.
fn resource(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/infra/template.yaml");
    let template = std::fs::read_to_string(path).expect("the merged template");
    let (_, rest) = template.split_once(&format!("\n  {name}:\n")).expect(name);
    let is_inside = |line: &&str| line.is_empty() || line.starts_with("   ");
    rest.lines().take_while(is_inside).flat_map(|line| [line, "\n"]).collect()
}

/// The value of a field of a resource: a plain or quoted text, or one that is folded over the lines below it.
fn field(resource: &str, name: &str) -> Option<String> {
    let mut lines = resource.lines();
    let prefix = format!("{name}: ");
    let found = lines.find(|line| line.trim_start_matches([' ', '-']).starts_with(&prefix))?;
    let indentation = found.len() - found.trim_start_matches([' ', '-']).len();
    let value = found.trim_start_matches([' ', '-']).strip_prefix(&prefix)?;
    if value != ">-" {
        return Some(value.trim_matches(['\'', '"']).to_owned());
    }
    let is_folded = |line: &&str| line.len() - line.trim_start().len() > indentation;
    Some(lines.take_while(is_folded).map(str::trim).collect::<Vec<_>>().join(" "))
}

/// A metric filter: which lines of which log it counts.
pub(crate) struct MetricFilter {
    /// The logical name of the log group.
    pub(crate) log_group: String,
    /// One of these has to hold, with all of its comparisons.
    alternatives: Vec<Vec<Comparison>>,
}

struct Comparison {
    path: String,
    is_equal: bool,
    value: String,
}

impl MetricFilter {
    /// A filter of the template, by its logical name.
    ///
    /// # Panics
    ///
    /// If its pattern has another form than alternatives of comparisons
    /// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>).
    pub(crate) fn named(name: &str) -> Self {
        let resource = resource(name);
        let log_group = field(&resource, "LogGroupName").expect("a log group").replace("!Ref ", "");
        let pattern = field(&resource, "FilterPattern").expect("a pattern");
        let inner =
            pattern.strip_prefix("{ ").and_then(|rest| rest.strip_suffix(" }")).expect("a JSON pattern");
        let comparison = |text: &str| {
            let (path, rest) = text.split_once(' ').expect("an operator");
            let (operator, value) = rest.split_once(' ').expect("a value");
            Comparison {
                path: path.strip_prefix("$.").expect("a path").replace('.', "/"),
                is_equal: match operator {
                    "=" => true,
                    "!=" => false,
                    other => panic!("{other} is not known here"),
                },
                value: value
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'))
                    .expect("a text")
                    .to_owned(),
            }
        };
        let alternatives = inner.split(" || ").map(|alternative| {
            let alternative = alternative.trim_start_matches('(').trim_end_matches(')');
            alternative.split(" && ").map(comparison).collect()
        });
        Self { log_group, alternatives: alternatives.collect() }
    }

    /// The number of lines that the filter counts.
    pub(crate) fn counted(&self, lines: &[Value]) -> usize {
        let holds = |line: &Value, comparison: &Comparison| {
            line.pointer(&format!("/{}", comparison.path))
                .is_some_and(|value| (value == comparison.value.as_str()) == comparison.is_equal)
        };
        let is_counted = |line: &&Value| {
            self.alternatives.iter().any(|all| all.iter().all(|comparison| holds(line, comparison)))
        };
        lines.iter().filter(is_counted).count()
    }
}

/// An alarm on one metric that the authorizer writes into its log.
pub(crate) struct MetricAlarm {
    namespace: String,
    metric: String,
    dimension: String,
    threshold: f64,
}

impl MetricAlarm {
    /// An alarm of the template, by its logical name.
    pub(crate) fn named(name: &str) -> Self {
        let resource = resource(name);
        let get = |name| field(&resource, name).unwrap_or_else(|| panic!("{name}: {resource}"));
        let dimension = resource.lines().find_map(|line| line.trim().strip_prefix("- { Name: "));
        let dimension = dimension.and_then(|rest| rest.split_once(',')).expect("a dimension").0.to_owned();
        let threshold = get("Threshold").parse().expect("a number");
        Self { namespace: get("Namespace"), metric: get("MetricName"), dimension, threshold }
    }

    /// The values above the threshold that `CloudWatch` takes out of the lines, for the dimension of that value
    /// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
    pub(crate) fn bad_values(&self, lines: &[Value], dimension_value: &str) -> Vec<f64> {
        let mut values = Vec::new();
        for line in lines.iter().filter(|line| line[&self.dimension] == dimension_value) {
            for directive in line["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten() {
                let has_dimension = directive["Dimensions"]
                    .as_array()
                    .is_some_and(|sets| sets.contains(&serde_json::json!([self.dimension])));
                let has_metric = directive["Metrics"].as_array().is_some_and(|metrics| {
                    metrics.iter().any(|metric| metric["Name"] == self.metric.as_str())
                });
                if directive["Namespace"] == self.namespace.as_str() && has_dimension && has_metric {
                    match &line[&self.metric] {
                        Value::Array(all) => values.extend(all.iter().filter_map(Value::as_f64)),
                        one => values.extend(one.as_f64()),
                    }
                }
            }
        }
        values.retain(|value| *value > self.threshold);
        values
    }
}

/// Whether an alarm is about the metric `Errors` of a function, which counts invocations that end with an error.
pub(crate) fn counts_errors_of(alarm: &str, function: &str) -> bool {
    let resource = resource(alarm);
    field(&resource, "MetricName").as_deref() == Some("Errors")
        && resource.contains(&format!("{{ Name: FunctionName, Value: !Ref {function} }}"))
}

/// Whether an alarm adds up the metric of that filter.
pub(crate) fn has_metric_of(alarm: &str, filter: &str) -> bool {
    let metric = field(&resource(filter), "MetricName").expect("a metric");
    resource(alarm).contains(&format!("MetricName: {metric}\n"))
}

/// A line of an API's access log with that status, in the format of the template: `Format` of the resource.
pub(crate) fn access_log_line(stage: &str, status: u16) -> Value {
    let format = field(&resource(stage), "Format").expect("a format");
    let mut parts = format.split("$context.");
    let mut line = parts.next().expect("a beginning").to_owned();
    for part in parts {
        let end = part.find('"').expect("the end of a text");
        line += if &part[..end] == "status" { status.to_string() } else { "-".to_owned() }.as_str();
        line += &part[end..];
    }
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("a line of JSON: {line}"))
}

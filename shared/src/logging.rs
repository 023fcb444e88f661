//! What reaches the log: one JSON object a line, and never what an event or an answer holds.

use std::io::Write;

use serde_json::Value;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends the log to standard output, from where Lambda takes it.
///
/// `function` is the binary's name as its lines have it (`module_path!()`), `level` that of Keygate's own lines. Libraries get no further than warnings, whatever the level: the Lambda
/// runtime prints events, and the SDK prints requests and responses, at levels below. The one library line that is
/// silenced repeats every error a handler returns, and returning an error is how an authorizer says `Unauthorized`.
pub fn init(function: &'static str, level: Level) {
    let levels = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF)
        .with_target("keygate", level)
        .with_target(function, level);
    let json = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false);
    tracing_subscriber::registry().with(levels).with(json).init();
}

/// Writes lines that are no messages: metrics.
pub fn write(lines: &[Value]) {
    let mut log = std::io::stdout().lock();
    for line in lines {
        // There is nowhere else to say that the log cannot be written.
        let _ = writeln!(log, "{line}");
    }
}

//! What reaches the log: one JSON object a line, and never what an event or an answer holds.

use std::io::Write;

use keygate_core::environment::{Environment, InvalidVariable};
use serde_json::Value;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends the log to standard output, from where Lambda takes it.
///
/// `function` is the binary's name as its lines have it (`module_path!()`), `level` that of Keygate's own lines. Libraries
/// get no further than warnings, whatever the level: the Lambda runtime prints events, and the SDK prints requests and
/// responses, at levels below. The one library line that is silenced repeats every error a handler returns, and returning
/// an error is how an authorizer says `Unauthorized`.
///
/// From then on a panic, wherever it is, is one line and the end of the process, which Lambda reports at once. To catch it
/// would be to answer with what a panic has left behind, and to let Lambda wait for an extension that has none.
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
    std::panic::set_hook(Box::new(|panic| {
        // What it says may quote a value, so where it was has to do.
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "panic: this environment ends");
        std::process::abort();
    }));
}

/// `LOG_LEVEL`: `info` unless set.
///
/// # Errors
///
/// [`InvalidVariable`] when it is none of `error`, `warn`, `info` and `debug`. There is no `trace`: at that level the Lambda runtime
/// prints events, and events hold credentials.
pub fn level(environment: &Environment) -> Result<Level, InvalidVariable> {
    match environment.text("LOG_LEVEL") {
        Some("error") => Ok(Level::ERROR),
        Some("warn") => Ok(Level::WARN),
        None | Some("info") => Ok(Level::INFO),
        Some("debug") => Ok(Level::DEBUG),
        Some(_) => Err(InvalidVariable::new("LOG_LEVEL", "must be error, warn, info or debug")),
    }
}

/// Writes lines that are no messages: metrics.
pub fn write(lines: &[Value]) {
    let mut log = std::io::stdout().lock();
    for line in lines {
        // There is nowhere else to say that the log cannot be written.
        let _ = writeln!(log, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Says in the environment that the test is to be its own child, which panics.
    const CHILD: &str = "KEYGATE_TEST_PANICS";

    /// In a task too, whose panic its runtime would catch, and in a build whose panics unwind.
    #[test]
    fn a_panic_anywhere_ends_the_process_and_the_log_says_where_and_not_what() {
        if std::env::var_os(CHILD).is_some() {
            init("somewhere", Level::INFO);
            let caught = std::thread::spawn(|| panic!("something secret")).join();
            unreachable!("the process goes on after {caught:?}");
        }
        let test = "logging::tests::a_panic_anywhere_ends_the_process_and_the_log_says_where_and_not_what";
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("the test runs again");
        let log = String::from_utf8([child.stdout, child.stderr].concat()).expect("UTF-8");
        let line = log.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = line.unwrap_or_else(|| panic!("a line: {log}"));
        assert_eq!(line["message"], "panic: this environment ends");
        assert!(
            line["at"].as_str().is_some_and(|at| at.starts_with("shared/service/src/logging.rs:")),
            "{line}"
        );
        assert!(!child.status.success() && !log.contains("secret") && !log.contains("unreachable"), "{log}");
    }
}

//! The log: one JSON object a line, which never contains an event or a response.

use std::io::Write;

use keygate_core::environment::{Environment, InvalidVariable};
use serde_json::Value;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends the log to standard output, which Lambda collects.
///
/// `module` is the module path of the binary (`module_path!()`), `level` the level of Keygate's own lines. Libraries log
/// warnings and errors only: below those levels the Lambda runtime prints events, and the SDK prints requests and responses.
/// One library line is silenced: it repeats every error that a handler returns, and an authorizer returns an error to say
/// `Unauthorized`.
///
/// From then on a panic anywhere logs one line and ends the process, which Lambda reports at once. Catching it would mean to
/// respond from the state that the panic left behind, and Lambda would wait for an extension task that has ended.
pub fn init(module: &'static str, level: Level) {
    let levels = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF)
        .with_target("keygate", level)
        .with_target(module, level);
    let json = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false);
    tracing_subscriber::registry().with(levels).with(json).init();
    std::panic::set_hook(Box::new(|panic| {
        // The message is left out, because it may quote a value.
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panic: this environment ends");
        std::process::abort();
    }));
}

/// `LOG_LEVEL`: the minimum level of Keygate's own lines; `info` by default.
///
/// # Errors
///
/// [`InvalidVariable`] when it is not `error`, `warn`, `info` or `debug`. `trace` is not allowed: at that level the Lambda runtime
/// prints events, which contain credentials.
pub fn level(environment: &Environment) -> Result<Level, InvalidVariable> {
    match environment.text("LOG_LEVEL") {
        Some("error") => Ok(Level::ERROR),
        Some("warn") => Ok(Level::WARN),
        None | Some("info") => Ok(Level::INFO),
        Some("debug") => Ok(Level::DEBUG),
        Some(_) => Err(InvalidVariable::new("LOG_LEVEL", "must be error, warn, info or debug")),
    }
}

/// Writes JSON lines as they are: metrics.
pub fn write(lines: &[Value]) {
    let mut log = std::io::stdout().lock();
    for line in lines {
        // There is no other place to report that the log cannot be written.
        let _ = writeln!(log, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The environment variable that makes the test the child process, which panics.
    const CHILD: &str = "KEYGATE_TEST_PANICS";

    /// Even in a thread, whose panic would otherwise be caught, and in a build whose panics unwind.
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
            line["location"]
                .as_str()
                .is_some_and(|location| location.starts_with("shared/service/src/logging.rs:")),
            "{line}"
        );
        assert!(!child.status.success() && !log.contains("secret") && !log.contains("unreachable"), "{log}");
    }
}

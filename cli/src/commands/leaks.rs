//! `keygate leaks`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::api::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::secret;

/// The most texts and bytes of a report, which leave room for the JSON around them in the 256 KiB that the route takes.
const MAX_TEXTS: usize = 100;
const MAX_LEN: usize = 200_000;

/// Report credentials that were found where they do not belong
#[derive(Subcommand)]
pub(crate) enum Leaks {
    Report(Report),
}

/// End leaked credentials, each by its kind; it needs no key of your own
#[derive(Args)]
#[command(after_help = "Examples:\n  keygate leaks report found.txt\n  \
    gitleaks git --report-format json --report-path - | jq -r '.[].Secret' | keygate leaks report\n\n\
    The answer does not tell whether a text is a credential. A report can be repeated.")]
pub(crate) struct Report {
    /// A file with one credential a line [default: standard input]
    file: Option<PathBuf>,
}

impl Leaks {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// As [`ManagementApi::send`](crate::api::ManagementApi::send), and for a file that cannot be read.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let Self::Report(Report { file }) = self;
        let api = context.public_api()?;
        let text: SecretString = match &file {
            None => secret::read_stdin()?,
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?
                .into(),
        };
        let reports = reports(text.expose_secret())?;
        for report in &reports {
            api.send(&Call::new(Method::POST, &["leaks"]).body(json!({"credentials": report})))?;
        }
        let count: usize = reports.iter().map(Vec::len).sum();
        context.output.done(&json!({"reported": count}), &format!("{count} texts are reported."))
    }
}

/// The lines with something in them, in as many reports as they need.
fn reports(text: &str) -> Result<Vec<Vec<&str>>, Failure> {
    let mut reports: Vec<Vec<&str>> = Vec::new();
    let mut len = 0;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.len() > MAX_LEN {
            return Err(Failure::usage(format!("line {} is too long for a credential", number + 1)));
        }
        if line.is_empty() {
            continue;
        }
        len += line.len();
        if let Some(report) = reports.last_mut().filter(|report| report.len() < MAX_TEXTS && len <= MAX_LEN) {
            report.push(line);
        } else {
            reports.push(vec![line]);
            len = line.len();
        }
    }
    if reports.is_empty() {
        return Err(Failure::usage("there is nothing to report: give one credential a line"));
    }
    Ok(reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_reported_in_parts_that_the_route_takes() {
        let lens = |text: &str| reports(text).unwrap().iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lens(&"a\n\n".repeat(201)), [100, 100, 1]);
        assert_eq!(lens(&format!("{}\n", "a".repeat(MAX_LEN / 2)).repeat(5)), [2, 2, 1]);
        assert!(reports(" \n\n").is_err());
        assert!(reports(&"a".repeat(MAX_LEN + 1)).is_err());
    }
}

//! The results of a run: a line for each check as it ends and a sum for people, a list for programs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::run::Incomplete;
use crate::failure::{Failure, Status};
use crate::output::Output;

/// What a check did.
pub(super) struct CheckResult {
    pub(super) name: &'static str,
    pub(super) outcome: Result<(), Incomplete>,
    pub(super) calls: u64,
    pub(super) elapsed: Duration,
    /// The routes that had a success in this check.
    pub(super) routes: BTreeSet<String>,
}

impl CheckResult {
    /// The word of the result in JSON and for people, and its detail.
    fn parts(&self) -> (&'static str, &'static str, Option<&str>) {
        match &self.outcome {
            Ok(()) => ("passed", "ok", None),
            Err(Incomplete::Failed(detail)) => ("failed", "FAILED", Some(detail)),
            Err(Incomplete::NotChecked(reason)) => ("not_checked", "not checked", Some(reason)),
        }
    }

    fn to_json(&self) -> Value {
        let (result, _, detail) = self.parts();
        let seconds = (self.elapsed.as_secs_f64() * 10.0).round() / 10.0;
        json!({
            "check": self.name,
            "result": result,
            "detail": detail,
            "calls": self.calls,
            "seconds": seconds,
            "routes": self.routes,
        })
    }

    fn line(&self) -> String {
        let (_, word, detail) = self.parts();
        let detail = detail.map_or_else(String::new, |detail| format!("  {detail}"));
        let seconds = self.elapsed.as_secs_f64();
        format!("{word:11}  {:11}  {:4} calls  {seconds:5.1} s{detail}", self.name, self.calls)
    }
}

/// The results so far.
pub(super) struct Report {
    output: Output,
    results: Vec<CheckResult>,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        Self { output, results: Vec::new() }
    }

    /// Adds a result, and shows it to people.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(super) fn add(&mut self, result: CheckResult) -> Result<(), Failure> {
        let line = result.line();
        self.results.push(result);
        if self.output.json { Ok(()) } else { self.output.sentence(&line) }
    }

    /// Shows the sum to people, and all results to programs.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(super) fn end(&self) -> Result<(), Failure> {
        if self.output.json {
            let items: Vec<_> = self.results.iter().map(CheckResult::to_json).collect();
            self.output.list(&[], &items, false)
        } else {
            self.output.sentence(&self.sum())
        }
    }

    /// Whether the stack passed.
    ///
    /// # Errors
    ///
    /// A check failed.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let failed = self.named("failed");
        if failed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(Status::Failed, format!("the smoke test failed: {}", failed.join(", "))))
    }

    fn sum(&self) -> String {
        let calls: u64 = self.results.iter().map(|result| result.calls).sum();
        let elapsed: Duration = self.results.iter().map(|result| result.elapsed).sum();
        let [passed, failed, not_checked] =
            ["passed", "failed", "not_checked"].map(|word| self.named(word).len());
        format!(
            "{calls} calls in {:.1} s: {passed} passed, {failed} failed, {not_checked} not checked.",
            elapsed.as_secs_f64()
        )
    }

    /// The names of the checks with a result.
    fn named(&self, word: &str) -> Vec<&'static str> {
        self.results.iter().filter(|result| result.parts().0 == word).map(|result| result.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &'static str, outcome: Result<(), Incomplete>) -> CheckResult {
        let routes = BTreeSet::from(["GET /me".to_owned()]);
        CheckResult { name, outcome, calls: 12, elapsed: Duration::from_millis(1_234), routes }
    }

    #[test]
    fn each_result_has_a_line_and_a_document() {
        let failed = result("keys", Err(Incomplete::failed("GET /me: 500, expected 200: {}")));
        assert_eq!(
            failed.line(),
            "FAILED       keys           12 calls    1.2 s  GET /me: 500, expected 200: {}"
        );
        let passed = result("page", Ok(()));
        assert_eq!(passed.line(), "ok           page           12 calls    1.2 s");
        let expected = json!({
            "check": "page", "result": "passed", "detail": null, "calls": 12, "seconds": 1.2, "routes": ["GET /me"]
        });
        assert_eq!(passed.to_json(), expected);
    }

    #[test]
    fn a_failed_check_fails_the_command_and_one_that_was_not_made_does_not() {
        let mut report = Report::new(Output::new(true));
        report.add(result("legacy keys", Err(Incomplete::not_checked("LegacySunset is empty")))).unwrap();
        report.add(result("page", Ok(()))).unwrap();
        assert_eq!(report.sum(), "24 calls in 2.5 s: 1 passed, 0 failed, 1 not checked.");
        report.verdict().unwrap();
        let mut report = Report::new(Output::new(true));
        report.add(result("keys", Err(Incomplete::failed("no")))).unwrap();
        let failure = report.verdict().unwrap_err();
        assert_eq!(
            (failure.status, failure.message.as_str()),
            (Status::Failed, "the smoke test failed: keys")
        );
    }
}

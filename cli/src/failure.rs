//! Why a command failed: the exit status, and what its user is told.

use std::fmt;
use std::io;

use serde_json::{Value, json};

/// The class of a failure. Its number is the exit status, which programs rely on: it never changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    /// The reader of the output is gone, as in `keygate keys list | head -1`. That is no failure.
    OutputClosed = 0,
    /// Anything that has no class of its own, such as a conflict.
    Failed = 1,
    /// The arguments, the configuration or the values of a request are wrong.
    Usage = 2,
    /// A key, token, session or stack does not exist.
    NotFound = 3,
    /// Credentials are missing, do not work, or do not suffice.
    Refused = 4,
    /// The service is throttling, unavailable or unreachable. The command can be repeated.
    Unavailable = 5,
    /// The user ended the command, by Ctrl-C. What was done stays done.
    Interrupted = 130,
}

impl Status {
    /// The word of the status in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::OutputClosed => "output_closed",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A command that failed. It never has a credential in it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) message: String,
    /// The fields that were wrong, one a line.
    pub(crate) details: Vec<String>,
    /// What to do about it.
    pub(crate) advice: Option<String>,
    /// The code of the service's error, such as `name_taken`.
    pub(crate) code: Option<Box<str>>,
    /// By which the request is found in the logs.
    pub(crate) request_id: Option<Box<str>>,
}

impl Failure {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message, details: Vec::new(), advice: None, code: None, request_id: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Status::Usage, message)
    }

    /// The same failure with what to do about it.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// A failure to write the output.
    pub(crate) fn output(error: &io::Error) -> Self {
        let status =
            if error.kind() == io::ErrorKind::BrokenPipe { Status::OutputClosed } else { Status::Failed };
        Self::new(status, format!("the output cannot be written: {error}"))
    }

    /// The failure as programs read it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "status": self.status.word(),
            "message": self.message,
            "details": self.details,
            "advice": self.advice,
            "code": self.code,
            "request_id": self.request_id,
        })
    }
}

impl fmt::Display for Failure {
    /// The message, then a line for each detail, for the advice, and for the request's id.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        for detail in &self.details {
            write!(formatter, "\n  {detail}")?;
        }
        if let Some(advice) = &self.advice {
            write!(formatter, "\n{advice}")?;
        }
        if let Some(id) = &self.request_id {
            write!(formatter, "\nrequest id: {id}")?;
        }
        Ok(())
    }
}

/// The invalid fields of a problem document, one a line.
pub(crate) fn details(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let detail = |error: &Value| {
        let place = error["pointer"].as_str().or(error["parameter"].as_str()).unwrap_or_default();
        format!("{place}: {}", error["detail"].as_str().unwrap_or_default())
    };
    errors.iter().map(detail).collect()
}

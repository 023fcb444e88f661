//! `keygate`, the command of an operator.
//!
//! [`run`] parses the arguments and hands over to a command:
//!
//! - `configuration`, `context`: which deployment is meant: options, variables, a profile
//! - `secret`: how credentials come in and go out
//! - `api`: the management API, with a key
//! - `aws`: the stack and its functions, with AWS credentials
//! - `commands`: each command in a file of its own, with its arguments
//! - `output`, `failure`: tables, JSON, errors and exit statuses
//! - `progress`, `interruption`: of commands that take long
//!
//! `docs/cli.md` is for its users, and `docs/decisions/0049-command-line.md` has the reasons.

mod api;
mod arguments;
mod aws;
mod commands;
mod configuration;
mod context;
mod failure;
mod http;
mod interruption;
mod output;
mod progress;
mod retry;
mod secret;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use keygate_core::credential::contains_credential;

use crate::arguments::Arguments;
use crate::context::Context;
use crate::failure::{Failure, Status};
use crate::output::{failure_document, note};

/// Runs the command that the arguments of the process name, and returns its exit status.
#[must_use]
pub fn run() -> ExitCode {
    if std::env::args_os().any(|argument| contains_credential(&argument.to_string_lossy())) {
        let failure = Failure::usage("an argument has a credential, which every user of this machine can read")
            .advise("rotate it if it is in use. A key is given by KEYGATE_KEY or --key-stdin, and elsewhere by its id");
        return end(&failure, false);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help is an error too for clap, with the status 0.
        Err(error) => {
            return match error.print() {
                Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Status::Usage as u8)),
                Err(error) => end(&Failure::output(&error), false),
            };
        }
    };
    let json = arguments.options.json;
    let done = Context::new(arguments.options).and_then(|context| arguments.command.run(&context));
    done.map_or_else(|failure| end(&failure, json), |()| ExitCode::SUCCESS)
}

/// Reports a failure on standard error, and returns its exit status.
fn end(failure: &Failure, json: bool) -> ExitCode {
    report(failure, json);
    ExitCode::from(failure.status as u8)
}

/// Reports a failure on standard error.
fn report(failure: &Failure, json: bool) {
    if failure.status == Status::OutputClosed {
        return;
    }
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let heading = if colour { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
    if json {
        note(&failure_document(failure));
    } else {
        note(&format!("{heading} {failure}"));
    }
}

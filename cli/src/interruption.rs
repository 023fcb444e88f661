//! The end of a command by its user.

use std::io::IsTerminal;

use crate::failure::{Failure, Status};
use crate::output::note;
use crate::report;

/// From now on, an interruption (Ctrl-C) ends the process with a message that says what to do. It may come at any instant: a
/// command that calls this notes its progress in whole steps.
///
/// # Errors
///
/// Signals cannot be received.
pub(crate) fn advise(advice: &'static str, json: bool) -> Result<(), Failure> {
    let failed = |error| Failure::new(Status::Failed, format!("signals cannot be received: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let entered = runtime.enter();
    let mut interrupted =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(failed)?;
    drop(entered);
    std::thread::spawn(move || {
        if runtime.block_on(interrupted.recv()).is_some() {
            if std::io::stderr().is_terminal() {
                // The bar may be in this line.
                note("");
            }
            report(&Failure::new(Status::Interrupted, "interrupted").advise(advice), json);
            std::process::exit(Status::Interrupted as i32);
        }
    });
    Ok(())
}

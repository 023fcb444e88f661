//! The command `keygate`.

use std::process::ExitCode;

fn main() -> ExitCode {
    keygate_cli::run()
}

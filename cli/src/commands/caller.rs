//! `keygate whoami`.

use clap::Args;
use http::Method;

use crate::api::Call;
use crate::context::Context;
use crate::failure::Failure;

/// Show whose key you use, and what it may do
#[derive(Args)]
#[command(after_help = "Example:\n  keygate whoami")]
pub(crate) struct Whoami {}

impl Whoami {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// As [`ManagementApi::send`](crate::api::ManagementApi::send), and for output that cannot be written.
    #[expect(clippy::unused_self, reason = "a command without arguments is run like the others")]
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        context.output.item(&context.api()?.send(&Call::new(Method::GET, &["me"]))?)
    }
}

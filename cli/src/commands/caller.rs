//! `keygate whoami`.

use clap::Args;
use http::Method;

use crate::api::Call;
use crate::context::Context;
use crate::failure::Failure;

/// The members in the order of the API's documentation.
const MEMBERS: [&str; 16] = [
    "user_id",
    "workspace_id",
    "key_id",
    "key_name",
    "session_id",
    "opened_by",
    "scopes",
    "endpoints",
    "networks",
    "metadata",
    "limits",
    "credential",
    "old_secret",
    "expires_at",
    "deprecated",
    "sunset",
];

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
        context.output.item(&context.api()?.send(&Call::new(Method::GET, &["me"]))?, &MEMBERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::tests::documented;

    #[test]
    fn members_are_in_the_order_of_the_documentation() {
        assert_eq!(documented("Caller"), MEMBERS);
    }
}

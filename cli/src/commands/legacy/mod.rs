//! `keygate legacy`.

mod file;
mod import;
mod report;
mod resumption;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use crate::api::Call;
use crate::commands::Extent;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Column;

const COLUMNS: [Column; 7] = [
    ("ID", "id"),
    ("NAME", "name"),
    ("USER", "user_id"),
    ("STATUS", "status"),
    ("SCOPES", "scopes"),
    ("IMPORTED", "imported_at"),
    ("LAST USED", "last_used_at"),
];

/// Import, list and delete keys of an earlier mechanism
#[derive(Subcommand)]
pub(crate) enum Legacy {
    Import(import::Import),
    Report(report::Report),
    List(List),
    Delete(Delete),
}

/// List legacy keys
#[derive(Args)]
#[command(after_help = "Example:\n  keygate legacy list --user-id bob@example.com")]
pub(crate) struct List {
    /// Legacy keys of a user
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    #[command(flatten)]
    extent: Extent,
}

/// Delete a legacy key; this cannot be undone
#[derive(Args)]
#[command(after_help = "Example:\n  keygate legacy delete 01M8G3V5Z5K8T3Q1W7X2Y9B4CD --yes")]
pub(crate) struct Delete {
    /// The legacy key's id
    id: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Legacy {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// As [`ManagementApi::send`](crate::api::ManagementApi::send), those of the commands, and for output that cannot be
    /// written.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Import(command) => command.run(context),
            Self::Report(command) => command.run(context),
            Self::List(List { user_id, extent }) => {
                let call = Call::new(Method::GET, &["legacy-keys"]).query("user_id", user_id);
                let (items, more) = context.api()?.list(&call, extent.limit())?;
                context.output.list(&COLUMNS, &items, more)
            }
            Self::Delete(Delete { id, yes }) => {
                context.confirm(yes, &format!("Delete legacy key {id} for good?"))?;
                context.api()?.send(&Call::new(Method::DELETE, &["legacy-keys", &id]))?;
                let item = json!({"id": id, "result": "deleted"});
                context.output.done(&item, &format!("Legacy key {id} is deleted."))
            }
        }
    }
}

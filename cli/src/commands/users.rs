//! `keygate users`.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use crate::api::Call;
use crate::commands::keys::seconds;
use crate::context::Context;
use crate::failure::Failure;

/// Remove users with all their keys, and reinstate them
#[derive(Subcommand)]
pub(crate) enum Users {
    Remove(Remove),
    Reinstate(Reinstate),
}

/// Remove a user: no credential of theirs works any more
#[derive(Args)]
#[command(after_help = "Examples:\n  keygate users remove bob@example.com\n  \
    keygate users remove bob@example.com --transfer-to svc:reports --overlap 7d --yes")]
pub(crate) struct Remove {
    /// The user's id
    user_id: String,
    /// Hand the keys over to this user, instead of deleting them
    #[arg(long, value_name = "USER")]
    transfer_to: Option<String>,
    /// For how long the old secrets of the keys that are handed over still work [default: 7d]
    #[arg(long, value_name = "DURATION", value_parser = seconds, requires = "transfer_to")]
    overlap: Option<u64>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Let a removed user have keys again
#[derive(Args)]
#[command(after_help = "Example:\n  keygate users reinstate bob@example.com")]
pub(crate) struct Reinstate {
    /// The user's id
    user_id: String,
}

impl Users {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// As [`ManagementApi::send`](crate::api::ManagementApi::send), and for output that cannot be written.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Remove(Remove { user_id, transfer_to, overlap, yes }) => {
                let what = transfer_to.as_ref().map_or_else(
                    || "delete all their keys".to_owned(),
                    |heir| format!("hand their keys over to {heir}"),
                );
                context.confirm(yes, &format!("Remove {user_id} and {what}?"))?;
                let call = Call::new(Method::DELETE, &["users", &user_id])
                    .query("transfer_to", transfer_to)
                    .query("overlap_seconds", overlap);
                let removal = context.api()?.send(&call)?;
                let found = |kind: &str| removal["found"][kind].as_u64().unwrap_or_default();
                let (keys, legacy) = (found("api_keys"), found("legacy_keys"));
                let mut sentence = format!(
                    "{user_id} is being removed: {keys} API keys and {legacy} legacy keys were found."
                );
                if let Some(hint) = removal["hint"].as_str() {
                    sentence = format!("{sentence} {hint}");
                }
                context.output.done(&removal, &sentence)
            }
            Self::Reinstate(Reinstate { user_id }) => {
                context.api()?.send(&Call::new(Method::PUT, &["users", &user_id]))?;
                let item = json!({"user_id": user_id, "result": "reinstated"});
                context.output.done(&item, &format!("{user_id} is reinstated."))
            }
        }
    }
}

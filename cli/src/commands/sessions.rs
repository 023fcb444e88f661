//! `keygate sessions`.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use crate::api::Call;
use crate::commands::keys::seconds;
use crate::commands::{OutputFile, deliver};
use crate::context::Context;
use crate::failure::Failure;

/// Open and end sessions, with which a user manages their own keys
#[derive(Subcommand)]
pub(crate) enum Sessions {
    Open(Open),
    End(End),
}

/// Open a session for a user, and print its credential or the address of the keys page: shown only once
#[derive(Args)]
#[command(after_help = "Example:\n  keygate sessions open bob@example.com --scope keys:write --page-url")]
pub(crate) struct Open {
    /// The user's id
    user_id: String,
    /// What the session may do; several are separated by commas
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', required = true)]
    scopes: Vec<String>,
    /// How long it lasts [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    ttl: Option<u64>,
    /// Print the address of the keys page, which works once, instead of the credential
    #[arg(long)]
    page_url: bool,
    #[command(flatten)]
    file: OutputFile,
}

/// End a session
#[derive(Args)]
#[command(after_help = "Example:\n  keygate sessions end 01M8G3VAQ2P5N6R7S8T9V0W1XY")]
pub(crate) struct End {
    /// The session's id, or `current` if the credential is a session's
    session_id: String,
}

impl Sessions {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// As [`ManagementApi::send`](crate::api::ManagementApi::send), and for output that cannot be written.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Open(open) => {
                let api = context.api()?;
                let destination = open.file.open()?;
                let body = json!({"user_id": open.user_id, "scopes": open.scopes, "ttl_seconds": open.ttl});
                // The route has no Idempotency-Key. A lost session ends by itself.
                let session = api.send(&Call::new(Method::POST, &["sessions"]).body(body).once())?;
                let (id, end) = (session["id"].as_str(), session["expires_at"].as_str());
                let sentence = format!(
                    "Session {} of {} is open until {}.",
                    id.unwrap_or_default(),
                    open.user_id,
                    end.unwrap_or_default()
                );
                let member = if open.page_url { "page_url" } else { "session" };
                deliver(context.output, session, member, &["session", "page_url"], destination, &sentence)
            }
            Self::End(End { session_id }) => {
                context.api()?.send(&Call::new(Method::DELETE, &["sessions", &session_id]))?;
                let item = json!({"id": session_id, "result": "ended"});
                context.output.done(&item, &format!("Session {session_id} is ended."))
            }
        }
    }
}

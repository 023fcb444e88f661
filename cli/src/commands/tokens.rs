//! `keygate tokens`.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use crate::api::Call;
use crate::commands::Extent;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Column;

const COLUMNS: [Column; 6] = [
    ("ID", "id"),
    ("KIND", "kind"),
    ("SCOPES", "scopes"),
    ("CREATED", "created_at"),
    ("EXPIRES", "expires_at"),
    ("LAST USED", "last_used_at"),
];

/// List and revoke the access tokens and refresh tokens of a key
#[derive(Subcommand)]
pub(crate) enum Tokens {
    List(List),
    Revoke(Revoke),
}

/// List the tokens of a key
#[derive(Args)]
#[command(after_help = "Example:\n  keygate tokens list 01M8G3V5Z5K8T3Q1W7X2Y9B4CD")]
pub(crate) struct List {
    /// The key's id
    key_id: String,
    #[command(flatten)]
    extent: Extent,
}

/// Revoke one token of a key, or all
#[derive(Args)]
#[command(
    after_help = "Examples:\n  keygate tokens revoke 01M8G3V5Z5K8T3Q1W7X2Y9B4CD 01M8G3VAQ2P5N6R7S8T9V0W1XY\n  \
    keygate tokens revoke 01M8G3V5Z5K8T3Q1W7X2Y9B4CD --all"
)]
pub(crate) struct Revoke {
    /// The key's id
    key_id: String,
    /// The token's id
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    token_id: Option<String>,
    /// All tokens of the key
    #[arg(long)]
    all: bool,
}

impl Tokens {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// As [`ManagementApi::send`](crate::api::ManagementApi::send), and for output that cannot be written.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(List { key_id, extent }) => {
                let call = Call::new(Method::GET, &["api-keys", &key_id, "tokens"]);
                let (items, more) = context.api()?.list(&call, extent.limit())?;
                context.output.list(&COLUMNS, &items, more)
            }
            Self::Revoke(Revoke { key_id, token_id, .. }) => {
                let mut segments = vec!["api-keys", &key_id, "tokens"];
                segments.extend(token_id.as_deref());
                context.api()?.send(&Call::new(Method::DELETE, &segments))?;
                let sentence = token_id.as_ref().map_or_else(
                    || format!("All tokens of key {key_id} are revoked."),
                    |id| format!("Token {id} is revoked."),
                );
                let item = json!({"key_id": key_id, "token_id": token_id, "result": "revoked"});
                context.output.done(&item, &sentence)
            }
        }
    }
}

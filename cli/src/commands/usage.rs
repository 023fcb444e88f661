//! `keygate usage`.

use clap::{Args, ValueEnum};
use http::Method;

use crate::api::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Column;

const COLUMNS: [Column; 3] = [("START", "start"), ("ALLOWED", "allowed"), ("REFUSED", "refused")];

/// Count the calls of a key, by hour or day
#[derive(Args)]
#[command(
    after_help = "Example:\n  keygate usage 01M8G3V5Z5K8T3Q1W7X2Y9B4CD --per day --from 2026-11-01T00:00:00Z"
)]
pub(crate) struct Usage {
    /// The key's id
    key_id: String,
    /// Begin (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// End (RFC 3339)
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Rows for each
    #[arg(long, default_value = "hour")]
    per: Unit,
}

/// The units of the counts.
#[derive(Clone, Copy, ValueEnum)]
enum Unit {
    Hour,
    Day,
}

impl Usage {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// As [`ManagementApi::send`](crate::api::ManagementApi::send), and for output that cannot be written.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let per = match self.per {
            Unit::Hour => "hour",
            Unit::Day => "day",
        };
        let call = Call::new(Method::GET, &["api-keys", &self.key_id, "usage"])
            .query("from", self.from)
            .query("to", self.to)
            .query("per", Some(per));
        let usage = context.api()?.send(&call)?;
        let items = usage["items"].as_array().map_or(&[][..], Vec::as_slice);
        context.output.list(&COLUMNS, items, false)
    }
}

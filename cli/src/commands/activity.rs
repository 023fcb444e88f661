//! `keygate activity`.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::Args;
use http::Method;
use serde_json::Value;

use crate::api::Call;
use crate::commands::Extent;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Column;

const COLUMNS: [Column; 7] = [
    ("AT", "at"),
    ("ACTOR", "actor"),
    ("ACTION", "action"),
    ("OUTCOME", "outcome"),
    ("KEY", "key_id"),
    ("TARGET", "target"),
    ("REASON", "reason"),
];
const POLL: Duration = Duration::from_secs(2);
/// How long after its time an event may still be written: those of calls are, after the response.
const LATE: TimeDelta = TimeDelta::minutes(2);

/// Read the audit trail, the latest event first
#[derive(Args)]
#[command(
    after_help = "Examples:\n  keygate activity --actor alice@example.com --from 2026-11-01T00:00:00Z\n  \
    keygate activity --outcome refused --follow"
)]
pub(crate) struct Activity {
    /// Events of a user
    #[arg(long, value_name = "USER")]
    actor: Option<String>,
    /// Events of a key
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// Events of a kind, such as key.created
    #[arg(long)]
    action: Option<String>,
    /// Events with an outcome: done, allowed or refused
    #[arg(long)]
    outcome: Option<String>,
    /// Begin (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<DateTime<Utc>>,
    /// End (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    to: Option<DateTime<Utc>>,
    /// Wait for new events, and print each as it arrives, until you end the command
    #[arg(long, short, conflicts_with_all = ["limit", "all"])]
    follow: bool,
    #[command(flatten)]
    extent: Extent,
}

impl Activity {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// As [`ManagementApi::send`](crate::api::ManagementApi::send), and for output that cannot be written.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let call = Call::new(Method::GET, &["activity"])
            .query("actor", self.actor)
            .query("key_id", self.key_id)
            .query("action", self.action)
            .query("outcome", self.outcome);
        if !self.follow {
            let call = call.query("from", self.from.map(in_rfc_3339)).query("to", self.to.map(in_rfc_3339));
            let (items, more) = api.list(&call, self.extent.limit())?;
            return context.output.list(&COLUMNS, &items, more);
        }
        let mut from = self.from.unwrap_or_else(Utc::now);
        let mut seen = HashSet::new();
        loop {
            let polled_at = Utc::now();
            let (items, _) = api.list(&call.clone().query("from", Some(in_rfc_3339(from))), None)?;
            for event in unseen(&mut seen, items) {
                context.output.next(&COLUMNS, &event)?;
            }
            from = from.max(polled_at - LATE);
            std::thread::sleep(POLL);
        }
    }
}

/// The events that were not in the response before, the oldest first. The next response is compared with this one, which
/// has all events that the two can share.
fn unseen(seen: &mut HashSet<String>, mut events: Vec<Value>) -> Vec<Value> {
    let id = |event: &Value| event["id"].as_str().unwrap_or_default().to_owned();
    let before = std::mem::replace(seen, events.iter().map(id).collect());
    events.retain(|event| !before.contains(&id(event)));
    events.sort_by_key(|event| (event["at"].as_str().unwrap_or_default().to_owned(), id(event)));
    events
}

fn in_rfc_3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_shown_once_and_in_the_order_of_time() {
        let event = |id: &str, at: &str| json!({"id": id, "at": at});
        let ids = |events: Vec<Value>| -> Vec<_> { events.iter().map(|event| event["id"].clone()).collect() };
        let mut seen = HashSet::new();
        let (first, second, late) = (event("b", "2"), event("c", "3"), event("a", "1"));
        assert_eq!(ids(unseen(&mut seen, vec![second.clone(), first.clone()])), ["b", "c"]);
        assert_eq!(ids(unseen(&mut seen, vec![second.clone(), first, late])), ["a"]);
        assert_eq!(ids(unseen(&mut seen, vec![second])), Vec::<Value>::new());
    }
}

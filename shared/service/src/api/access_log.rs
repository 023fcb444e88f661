//! Events of `CloudWatch` Logs subscriptions.

use aws_lambda_events::cloudwatch_logs::{LogData, LogsEvent};

use crate::audit::access_log::{AccessLogLine, LogSource};

/// The log data of an event; `None` for the test message with which `CloudWatch` Logs checks that it may invoke the
/// function.
#[must_use]
pub fn data(event: LogsEvent) -> Option<LogData> {
    Some(event.aws_logs.data).filter(|data| data.message_type == "DATA_MESSAGE")
}

/// The source of the lines.
#[must_use]
pub fn source(data: &LogData) -> LogSource<'_> {
    LogSource { owner: &data.owner, group: &data.log_group, stream: &data.log_stream }
}

/// The lines.
pub fn lines(data: &LogData) -> impl Iterator<Item = AccessLogLine<'_>> {
    let entries = data.log_events.iter();
    entries.map(|entry| AccessLogLine { id: &entry.id, at: entry.timestamp, text: &entry.message })
}

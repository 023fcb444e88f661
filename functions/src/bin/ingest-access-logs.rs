//! Subscribed to a log group of access logs: writes their calls to the audit trail.
//!
//! It is invoked asynchronously. When it fails, Lambda invokes it again, and it does not write an event twice.

use aws_lambda_events::cloudwatch_logs::LogsEvent;
use keygate::audit::access_log::{self, AccessLogLine, LogSource};
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::store::activity::ActivityTable;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let activity = ActivityTable::new(aws.dynamodb(), &environment)?;
    lambda_runtime::run(service_fn(|event| record(&activity, event))).await
}

async fn record(activity: &ActivityTable, event: LambdaEvent<LogsEvent>) -> Result<(), Error> {
    let data = event.payload.aws_logs.data;
    // CloudWatch Logs tries out whether it may invoke the function, with a line of its own.
    if data.message_type != "DATA_MESSAGE" {
        return Ok(());
    }
    let source = LogSource { owner: &data.owner, group: &data.log_group, stream: &data.log_stream };
    let entries = data.log_events.iter();
    let lines =
        entries.map(|entry| AccessLogLine { id: &entry.id, at: entry.timestamp, text: &entry.message });
    let recorded = access_log::record(activity, source, lines)
        .await
        .inspect_err(|error| tracing::error!(%error, "access log batch incomplete"))?;
    let access_log::AccessLogSummary { calls, anonymous, invalid } = recorded;
    tracing::info!(calls, anonymous, invalid, "access log batch ingested");
    Ok(())
}

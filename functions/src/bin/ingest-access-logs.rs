//! Receives the lines of a log group of access logs, and writes their calls to the audit trail.
//!
//! It is invoked asynchronously. When it fails, Lambda invokes it again, and it does not write an event twice.

use aws_lambda_events::cloudwatch_logs::LogsEvent;
use keygate::api::access_log::{data, lines, source};
use keygate::audit::access_log::{AccessLogSummary, record};
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::startup;
use keygate::store::activity::ActivityTable;
use lambda_http::{Error, LambdaEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let activity = ActivityTable::new(aws.dynamodb(), &environment)?;
    startup::run(async |event: LambdaEvent<LogsEvent>| {
        let Some(data) = data(event.payload) else { return Ok(()) };
        let AccessLogSummary { calls, anonymous, invalid } = record(&activity, source(&data), lines(&data))
            .await
            .inspect_err(|error| tracing::error!(%error, "access log batch incomplete"))?;
        tracing::info!(calls, anonymous, invalid, "access log batch ingested");
        Ok(())
    })
    .await
}

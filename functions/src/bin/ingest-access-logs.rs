//! Receives the lines of a log group of access logs, writes their calls to the audit trail, and counts them.
//!
//! It is invoked asynchronously. When it fails, Lambda invokes it again, and it does not write an event twice.

use aws_lambda_events::cloudwatch_logs::LogsEvent;
use keygate::api::access_log::{data, lines, source};
use keygate::audit::access_log::{AccessLogRecorder, AccessLogSummary};
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::startup;
use lambda_http::{Error, LambdaEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let recorder = AccessLogRecorder::new(&aws.dynamodb(), &environment)?;
    startup::run(async |event: LambdaEvent<LogsEvent>| {
        let Some(data) = data(event.payload) else { return Ok(()) };
        let AccessLogSummary { calls, anonymous, invalid } = recorder
            .record(source(&data), lines(&data))
            .await
            .inspect_err(|error| tracing::error!(%error, "access log batch incomplete"))?;
        tracing::info!(calls, anonymous, invalid, "access log batch ingested");
        Ok(())
    })
    .await
}

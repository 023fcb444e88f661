//! From the stream of `keys`: cleans up after keys that `DynamoDB` has removed at the end of their time.

use aws_lambda_events::event::dynamodb::Event;
use chrono::{DateTime, Utc};
use keygate::aws::{Aws, BACKGROUND_BUDGET};
use keygate::background::{self, Handled};
use keygate::config::Environment;
use keygate::keys::purge::{RemovedKey, purge};
use keygate::logging;
use keygate::store::Store;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), BACKGROUND_BUDGET)?;
    let store = Store::new(aws.dynamodb(), &environment)?;
    lambda_runtime::run(service_fn(|event| respond(&store, event))).await
}

async fn respond(store: &Store, event: LambdaEvent<Event>) -> Result<Handled, Error> {
    let handle = async |removed: &[(RemovedKey, DateTime<Utc>)]| {
        for (key, at) in removed {
            purge(store, key, *at).await?;
        }
        Ok(vec![true; removed.len()])
    };
    Ok(background::each_part(event.payload, 1, background::removed_by_time, handle).await)
}

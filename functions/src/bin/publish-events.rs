//! From the stream of `activity`: publishes what was changed, and what time has done, on `EventBridge`.

use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use keygate::aws::{Aws, BACKGROUND_BUDGET};
use keygate::background::{self, Handled};
use keygate::config::Environment;
use keygate::logging;
use keygate::publish::{MAX_EVENTS, PublicEvent, Publisher, StoredEvent};
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), environment.log_level()?);
    let aws = Aws::new(&environment.aws()?, env!("CARGO_BIN_NAME"), BACKGROUND_BUDGET)?;
    let publisher = Publisher::new(&aws, environment.event_bus());
    lambda_runtime::run(service_fn(|event| respond(&publisher, event))).await
}

async fn respond(publisher: &Publisher, event: LambdaEvent<Event>) -> Result<Handled, Error> {
    let parse = |record: &EventRecord| {
        let stored = background::new_image::<StoredEvent>(record)?;
        Some(stored.and_then(PublicEvent::try_from))
    };
    let publish = async |events: &[PublicEvent]| publisher.publish(events).await;
    Ok(background::each_part(event.payload, MAX_EVENTS, parse, publish).await)
}

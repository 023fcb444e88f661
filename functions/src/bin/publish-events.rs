//! Reads the stream of `activity`, and publishes changes and lifecycle events on `EventBridge`.

use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use keygate::api::streams;
use keygate::aws::BACKGROUND_BUDGET;
use keygate::events::publish::{MAX_EVENTS, OutboxEvent, PublicEvent, Publisher};
use keygate::startup;
use lambda_http::{Error, LambdaEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(BACKGROUND_BUDGET)?;
    let publisher = Publisher::new(&aws, &environment);
    startup::run(async |event: LambdaEvent<Event>| {
        let parse = |record: &EventRecord| {
            let stored = streams::new_image::<OutboxEvent>(record)?;
            Some(stored.and_then(PublicEvent::try_from))
        };
        let publish = async |events: &[PublicEvent]| publisher.publish(events).await;
        Ok(streams::process_batch(event.payload, MAX_EVENTS, parse, publish).await)
    })
    .await
}

//! The start of every function, and the loop of those that no API is in front of.

use std::time::Duration;

use keygate_core::environment::{Environment, InvalidVariable};
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aws::Aws;
use crate::aws::settings::AwsSettings;
use crate::logging;

/// Starts the log, and returns the function's [`Environment`] and its [`Aws`], whose calls take at most the given budget.
///
/// ```ignore
/// let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
/// ```
#[macro_export]
macro_rules! start {
    ($budget:expr) => {
        $crate::startup::start(module_path!(), env!("CARGO_BIN_NAME"), $budget)
    };
}

/// The implementation of [`start!`](crate::start): `name` is the function's name, `module` the module path of its log lines.
///
/// # Errors
///
/// [`InvalidVariable`] when a variable that every function needs is missing or invalid.
pub fn start(
    module: &'static str,
    name: &str,
    budget: Duration,
) -> Result<(Environment, Aws), InvalidVariable> {
    let environment = Environment::of_process();
    logging::init(module, logging::level(&environment)?);
    let aws = Aws::new(&AwsSettings::from_environment(&environment)?, name, budget)?;
    Ok((environment, aws))
}

/// Hands every event to `handler` until Lambda ends the function. The clock is read in the handler.
///
/// # Errors
///
/// The Runtime API cannot be reached.
pub async fn run<T: DeserializeOwned, R: Serialize>(
    handler: impl AsyncFn(LambdaEvent<T>) -> Result<R, Error>,
) -> Result<(), Error> {
    let handler = &handler;
    // In a box, because the compiler gives up on the layout of what is nested any deeper.
    lambda_runtime::run(service_fn(async move |event| Box::pin(handler(event)).await)).await
}

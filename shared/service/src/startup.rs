//! What every function does first.

use std::time::Duration;

use keygate_core::environment::{Environment, InvalidVariable};

use crate::aws::Aws;
use crate::aws::settings::AwsSettings;
use crate::logging;

/// Starts the log, and reads what the function needs of AWS: its [`Environment`] and its [`Aws`], whose calls take no longer than a
/// budget.
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

/// What [`start!`](crate::start) does for the function `name`, whose log lines are those of `module`.
///
/// # Errors
///
/// [`InvalidVariable`] when a variable that all functions have is missing or wrong.
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

//! The start that all functions share.

use std::time::Duration;

use keygate_core::environment::{Environment, InvalidVariable};

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

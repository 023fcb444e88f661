//! Work that takes longer than a request may: handed over to another function, which Lambda runs until it has succeeded.

use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use keygate_core::error::Error;
use serde::Serialize;

/// A function that is invoked asynchronously.
#[derive(Debug)]
pub struct Handover {
    client: Client,
    function: String,
}

impl Handover {
    /// Takes the function's name.
    #[must_use]
    pub fn new(client: Client, function: String) -> Self {
        Self { client, function }
    }

    /// Hands an event over. Once this returns, Lambda has it: it tries again where the function fails, and keeps what
    /// fails for good.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: Lambda did not take it, or its answer was lost. Handing it over once more does no harm.
    /// - [`Error::Broken`]: it cannot be written as JSON.
    pub async fn hand_over(&self, event: &impl Serialize) -> Result<(), Error> {
        let event = serde_json::to_vec(event)
            .map_err(|_| Error::Broken("an event cannot be written as JSON".to_owned()))?;
        let invoke = self.client.invoke().function_name(&self.function);
        let invoke = invoke.invocation_type(InvocationType::Event).payload(Blob::new(event));
        invoke.send().await.map_err(|failure| Error::unavailable("Lambda", &failure))?;
        Ok(())
    }
}

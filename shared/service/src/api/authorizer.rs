//! The custom authorizer: receives an event of API Gateway, responds to it, and defers the remaining work until after the
//! response.

use chrono::{DateTime, Utc};
use lambda_http::Error;
use lambda_http::lambda_runtime::LambdaEvent;

use crate::api::authorizer_event::{AuthorizerEvent, AuthorizerPayload};
use crate::api::authorizer_response::{AuthorizerResponse, AuthorizerResponseFormat};
use crate::authorizer::deferred::{DeferredWork, DeferredWorker};
use crate::authorizer::{AuthorizationResult, Authorizer};

/// Handles the events of an authorizer.
#[derive(Debug)]
pub struct AuthorizerHandler {
    /// The authorizer, which decides on the credential.
    pub authorizer: Authorizer,
    /// The queue of deferred work.
    pub deferred: DeferredWorker,
    /// The format of the response to an HTTP API.
    pub format: AuthorizerResponseFormat,
}

impl AuthorizerHandler {
    /// Responds to an event and submits its deferred work exactly once, because the extension waits for it.
    ///
    /// # Errors
    ///
    /// The refusal of a REST or WebSocket API, or a failure without a decision. API Gateway rejects the call on every error.
    pub async fn respond(&self, event: LambdaEvent<AuthorizerPayload>) -> Result<AuthorizerResponse, Error> {
        let now = Utc::now();
        let (response, work) = self.decide(&event, now).await.unwrap_or_else(|error| {
            let request_id = &event.context.request_id;
            tracing::error!(request_id, %error, "no decision");
            (Err(error), DeferredWork::of_call(None, now))
        });
        self.deferred.submit(work).await;
        response
    }

    /// # Errors
    ///
    /// There was no decision. A refusal that is an error for API Gateway is not an error here.
    async fn decide(
        &self,
        event: &LambdaEvent<AuthorizerPayload>,
        now: DateTime<Utc>,
    ) -> Result<(Result<AuthorizerResponse, Error>, DeferredWork), Error> {
        let request_id = &event.context.request_id;
        let event = AuthorizerEvent::parse(event.payload.expose(), self.authorizer.legacy.as_ref())?;
        let result = match event.header() {
            Ok(header) => self.authorizer.decide(header, now).await?,
            Err(refusal) => AuthorizationResult::refused(refusal),
        };
        let outcome = event.outcome(&result.decision, self.format);
        result.log(request_id, outcome);
        let response = event.response(&result.decision, self.format).map_err(Error::from);
        let origin = event.origin(&result.decision);
        Ok((response, result.deferred_work(origin, outcome, now)))
    }
}

//! The custom authorizer: receives an event of API Gateway, responds to it, and defers the remaining work until after the
//! response.

use chrono::{DateTime, Utc};
use keygate_core::audit_event::CallOutcome;
use keygate_core::decision::Decision;
use lambda_http::Error;
use lambda_http::lambda_runtime::LambdaEvent;
use tokio::time::Instant;

use crate::api::authorizer_event::{AuthorizerEvent, AuthorizerPayload};
use crate::api::authorizer_response::{AuthorizerResponse, AuthorizerResponseFormat};
use crate::authorizer::decision_log::DecisionLog;
use crate::authorizer::deferred::{DeferredWork, DeferredWorker};
use crate::authorizer::limits::LimitEnforcer;
use crate::authorizer::{AuthorizationResult, DecidesOnCalls};

/// Handles the events of an authorizer.
#[derive(Debug)]
pub struct AuthorizerHandler<Authorizer> {
    /// The authorizer, which decides on the credential.
    pub authorizer: Authorizer,
    /// The limits of keys, which are checked last.
    pub limits: LimitEnforcer,
    /// The log of its decisions.
    pub log: DecisionLog,
    /// The queue of deferred work.
    pub deferred: DeferredWorker,
    /// The format of the response to an HTTP API.
    pub format: AuthorizerResponseFormat,
}

impl<Authorizer: DecidesOnCalls> AuthorizerHandler<Authorizer> {
    /// Responds to an event and submits its deferred work exactly once, because the extension waits for it.
    ///
    /// # Errors
    ///
    /// The refusal of a REST or WebSocket API, or a failure without a decision. API Gateway rejects the call on every error.
    pub async fn respond(&self, event: LambdaEvent<AuthorizerPayload>) -> Result<AuthorizerResponse, Error> {
        let (now, started) = (Utc::now(), Instant::now());
        let (response, work) = self.decide(&event, now, started).await.unwrap_or_else(|error| {
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
        started: Instant,
    ) -> Result<(Result<AuthorizerResponse, Error>, DeferredWork), Error> {
        let request_id = &event.context.request_id;
        let event = AuthorizerEvent::parse(event.payload.expose(), self.authorizer.legacy())?;
        let result = match event.header() {
            Ok(header) => self.authorizer.decide(event.api_id(), header, now).await?,
            Err(refusal) => AuthorizationResult::refused(refusal),
        };
        let mut outcome = event.outcome(&result.decision, self.format);
        let mut response = event.response(&result.decision, self.format).map_err(Error::from);
        let mut is_limited = false;
        // Only a call that everything else allows takes permits.
        if let (CallOutcome::Allowed, Decision::Accepted(caller)) = (outcome, &result.decision)
            && let Some(key) = &caller.key
            && let Err(refusal) = self.limits.take(key.id, &caller.limits, now, started).await?
        {
            outcome = CallOutcome::Refused(refusal.word());
            response = Ok(event.limited(caller, refusal, self.format));
            is_limited = true;
        }
        self.log.write(request_id, &result, outcome);
        let origin = event.origin(&result.decision);
        Ok((response, result.deferred_work(origin, outcome, is_limited, now)))
    }
}

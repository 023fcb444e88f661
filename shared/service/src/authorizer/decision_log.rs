//! The log of decisions: every refusal, and as many allowed calls as the deployment asks for.

use std::sync::atomic::{AtomicU32, Ordering};

use keygate_core::audit_event::CallOutcome;
use keygate_core::decision::Decision;
use keygate_core::environment::{Environment, InvalidVariable};

use crate::authorizer::AuthorizationResult;

/// With [`AllowedCalls::Sampled`], one allowed call in this many is logged.
const SAMPLE: u32 = 100;

/// The allowed calls that are logged. The audit trail and the access logs of the APIs have them anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllowedCalls {
    /// None.
    #[default]
    Off,
    /// The first of an environment, and every hundredth after it.
    Sampled,
    /// All.
    All,
}

impl AllowedCalls {
    /// `ALLOWED_CALL_LOG`: `off` by default.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the value is not `off`, `sampled` or `all`.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        match environment.text("ALLOWED_CALL_LOG") {
            None | Some("off") => Ok(Self::Off),
            Some("sampled") => Ok(Self::Sampled),
            Some("all") => Ok(Self::All),
            Some(_) => Err(InvalidVariable::new("ALLOWED_CALL_LOG", "must be off, sampled or all")),
        }
    }
}

/// Writes the decisions of an environment to the log.
#[derive(Debug, Default)]
pub struct DecisionLog {
    allowed: AllowedCalls,
    /// The number of allowed calls so far. It wraps around.
    calls: AtomicU32,
}

impl DecisionLog {
    /// Logs these allowed calls, and every refusal.
    #[must_use]
    pub fn new(allowed: AllowedCalls) -> Self {
        Self { allowed, calls: AtomicU32::new(0) }
    }

    /// Writes a decision. `outcome` is that of the call, which may lie outside of the key's endpoint rules. The user of a person or a
    /// session is shown, because the key is not theirs.
    pub fn write(&self, request_id: &str, result: &AuthorizationResult, outcome: CallOutcome) {
        let reason = match outcome {
            CallOutcome::Allowed if !self.takes_allowed_call() => return,
            CallOutcome::Allowed => None,
            CallOutcome::Refused(reason) => Some(reason),
        };
        let key_id = result.owner.as_ref().map(|owner| owner.key_id.to_string());
        match (reason, &result.decision) {
            (None, Decision::Accepted(caller)) if caller.key.is_none() || caller.session.is_some() => {
                let user_id = caller.user_id.as_str();
                tracing::info!(request_id, user_id, decision = "allowed");
            }
            (None, _) => tracing::info!(request_id, key_id, decision = "allowed"),
            (Some(reason), Decision::Refused(refusal)) => {
                tracing::info!(request_id, key_id, decision = "refused", reason, detail = %refusal);
            }
            (Some(reason), Decision::Accepted(_)) => {
                tracing::info!(request_id, key_id, decision = "refused", reason);
            }
        }
    }

    fn takes_allowed_call(&self) -> bool {
        match self.allowed {
            AllowedCalls::Off => false,
            AllowedCalls::Sampled => self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE),
            AllowedCalls::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_calls_are_logged_as_the_deployment_asks() {
        for (value, expected) in [("", 0), ("off", 0), ("sampled", 3), ("all", 201)] {
            let environment = [("ALLOWED_CALL_LOG".to_owned(), value.to_owned())].into_iter().collect();
            let log = DecisionLog::new(AllowedCalls::from_environment(&environment).unwrap());
            assert_eq!((0..201).filter(|_| log.takes_allowed_call()).count(), expected, "{value:?}");
        }
        let environment: Environment =
            [("ALLOWED_CALL_LOG".to_owned(), "some".to_owned())].into_iter().collect();
        assert!(AllowedCalls::from_environment(&environment).is_err());
    }
}

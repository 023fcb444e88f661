//! One `TransactWriteItems`, repeated while others are in its way.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, TransactWriteItem};
use chrono::Utc;

use crate::aws::backoff::some_of;
use crate::credential::generate_ulid;
use crate::error::Error;

const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Every item is written.
    Committed,
    /// None is, because of what the table holds.
    Refused(Refused),
}

/// Why a transaction was refused: a reason for each of its items, in their order.
#[derive(Debug)]
pub(super) struct Refused(Vec<CancellationReason>);

impl Refused {
    /// Whether the condition of the item at `index` did not hold.
    pub(super) fn condition_failed(&self, index: usize) -> bool {
        self.0.get(index).and_then(CancellationReason::code) == Some("ConditionalCheckFailed")
    }

    /// The item at `index` as it stands, where the condition asked for it.
    pub(super) fn item_before(&self, index: usize) -> Option<&HashMap<String, AttributeValue>> {
        self.0.get(index).and_then(CancellationReason::item)
    }

    /// The error for reasons that nobody expects. It repeats codes alone: messages and items hold what is stored.
    pub(super) fn unexpected(&self) -> Error {
        let codes: Vec<_> = self.0.iter().map(|reason| reason.code().unwrap_or("None")).collect();
        Error::Broken(format!("a transaction was refused: {}", codes.join(", ")))
    }

    /// Whether it may succeed as it is, a little later.
    fn is_passing(&self) -> bool {
        let mut codes =
            self.0.iter().filter_map(CancellationReason::code).filter(|code| *code != "None").peekable();
        codes.peek().is_some()
            && codes.all(|code| {
                matches!(code, "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
            })
    }
}

/// Writes all `changes` or none.
///
/// A conflict with another transaction is tried again under the same token, so that a transaction whose answer was
/// lost is not made twice; the pauses grow, and are random within their bound so that rivals do not meet again.
///
/// # Errors
///
/// - [`Error::Busy`]: the conflict did not end.
/// - [`Error::Unavailable`]: the database did not answer, or refused for another reason than the items' conditions.
pub(super) async fn commit(client: &Client, changes: Vec<TransactWriteItem>) -> Result<Outcome, Error> {
    let request = client
        .transact_write_items()
        .set_transact_items(Some(changes))
        .client_request_token(generate_ulid(Utc::now()).to_string());
    for attempt in 0..ATTEMPTS {
        let Err(failure) = request.clone().send().await else {
            return Ok(Outcome::Committed);
        };
        match failure.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                let refused = Refused(canceled.cancellation_reasons().to_vec());
                if !refused.is_passing() {
                    return Ok(Outcome::Refused(refused));
                }
            }
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => {}
            _ => return Err(Error::unavailable("DynamoDB", &failure)),
        }
        tracing::debug!(attempt, "transaction conflict");
        if attempt + 1 < ATTEMPTS {
            tokio::time::sleep(random_pause(attempt)).await;
        }
    }
    Err(Error::Busy)
}

fn random_pause(attempt: u32) -> Duration {
    some_of(FIRST_PAUSE * 2_u32.pow(attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(codes: &[&str]) -> Refused {
        Refused(codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect())
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_and_what_does_not_is_not() {
        for (codes, passing) in [
            (&["None", "TransactionConflict", "None"][..], true),
            (&["ThrottlingError", "ProvisionedThroughputExceeded"], true),
            (&["TransactionConflict", "ConditionalCheckFailed"], false),
            (&["ValidationError"], false),
            (&["None", "None"], false),
            (&[], false),
        ] {
            assert_eq!(refused(codes).is_passing(), passing, "{codes:?}");
        }
    }

    #[test]
    fn pauses_grow_within_their_bounds() {
        for attempt in 0..ATTEMPTS {
            assert!(random_pause(attempt) <= FIRST_PAUSE * 2_u32.pow(attempt));
        }
    }
}

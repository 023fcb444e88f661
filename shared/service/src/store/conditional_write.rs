//! Writes with a condition.

use std::error::Error as StdError;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use chrono::{DateTime, Utc};
use keygate_core::error::Error;

use crate::store::item::{Item, seconds};

/// Whether a conditional write happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a stale write has changed nothing"]
pub enum WriteOutcome {
    /// The item is written.
    Applied,
    /// Nothing is written: the condition failed, because the item has changed.
    Stale,
}

impl WriteOutcome {
    /// Whether the item is written.
    #[must_use]
    pub fn is_applied(self) -> bool {
        self == Self::Applied
    }
}

/// The outcome of a single conditional write.
pub(super) fn outcome<T, E>(written: Result<T, SdkError<E, HttpResponse>>) -> Result<WriteOutcome, Error>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match written {
        Ok(_) => Ok(WriteOutcome::Applied),
        Err(failure) if failure.code() == Some("ConditionalCheckFailedException") => Ok(WriteOutcome::Stale),
        Err(failure) => Err(Error::unavailable("DynamoDB", &failure)),
    }
}

/// Updates the last use of an item, unless it was updated after `due`. The last use never moves backwards. A deleted item
/// has no such attribute, so the update does not recreate it.
pub(super) async fn mark_used(
    client: &Client,
    table: &str,
    key: Item,
    at: DateTime<Utc>,
    due: DateTime<Utc>,
) -> Result<(), Error> {
    let update = client
        .update_item()
        .table_name(table)
        .set_key(Some(key))
        .update_expression("SET last_used_at = :at")
        .condition_expression("last_used_at <= :due")
        .expression_attribute_values(":at", seconds(at))
        .expression_attribute_values(":due", seconds(due));
    outcome(update.send().await).map(|_| ())
}

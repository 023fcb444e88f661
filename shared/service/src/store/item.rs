//! Items and attribute values in `DynamoDB`'s form.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use keygate_core::error::Error;

/// An item, or the key of one.
pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn text(value: &(impl ToString + ?Sized)) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

pub(super) fn number(value: &impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn bytes(value: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

pub(super) fn flag() -> AttributeValue {
    AttributeValue::Bool(true)
}

/// A time in seconds since 1970.
pub(super) fn seconds(time: DateTime<Utc>) -> AttributeValue {
    number(&time.timestamp())
}

/// A time in milliseconds since 1970.
pub(super) fn milliseconds(time: DateTime<Utc>) -> AttributeValue {
    number(&time.timestamp_millis())
}

/// The error for an item that cannot be read or written. It has no details, because serde's messages can quote values.
pub(super) fn broken(what: &str) -> Error {
    Error::Broken(format!("a stored {what} is malformed"))
}

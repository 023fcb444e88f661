//! The precision and the form in which times are stored and shown.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

/// A time without fractions of a second, as records store it.
#[must_use]
pub fn whole_second(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}

/// A time without fractions of a millisecond. Milliseconds distinguish two changes of one user.
#[must_use]
pub fn whole_millisecond(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}

/// The form for responses: RFC 3339, UTC, whole seconds.
#[must_use]
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Serializes an optional time with [`rfc3339`], for `#[serde(serialize_with)]`.
///
/// # Errors
///
/// The errors of the serializer.
pub fn serialize<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(rfc3339).serialize(serializer)
}

/// A missing last use is stored as 0, because an index holds only items that have its attribute.
pub mod zero_until_used {
    use chrono::{DateTime, Utc};
    use serde::{Deserializer, Serializer};

    /// Writes a time, or 0.
    ///
    /// # Errors
    ///
    /// The errors of the serializer.
    pub fn serialize<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.map_or(0, |time| time.timestamp()))
    }

    /// Reads a time, or 0.
    ///
    /// # Errors
    ///
    /// The value is not a number, or not a time.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        let time = chrono::serde::ts_seconds::deserialize(deserializer)?;
        Ok((time.timestamp() != 0).then_some(time))
    }
}

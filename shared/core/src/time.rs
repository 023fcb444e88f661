//! Times as they are kept and shown: whole seconds, in UTC.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

/// A time to the second, as it is kept.
#[must_use]
pub fn whole_second(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}

/// A time to the millisecond: as fine as two changes of one user are told apart.
#[must_use]
pub fn whole_millisecond(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}

/// A time as it is shown everywhere: RFC 3339, in UTC, to the second.
#[must_use]
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Writes a time that may be missing as [`rfc3339`] has it: for `#[serde(serialize_with)]`.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(rfc3339).serialize(serializer)
}

/// The last use of what was never used is stored as 0, because an index holds only items that have its attribute.
pub mod zero_until_used {
    use chrono::{DateTime, Utc};
    use serde::{Deserializer, Serializer};

    /// Writes a time, or 0.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.map_or(0, |time| time.timestamp()))
    }

    /// Reads a time, or 0.
    ///
    /// # Errors
    ///
    /// The number is no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        let time = chrono::serde::ts_seconds::deserialize(deserializer)?;
        Ok((time.timestamp() != 0).then_some(time))
    }
}

//! Times as they are kept and shown: whole seconds, in UTC.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

/// A time to the second, as it is kept.
pub(crate) fn whole_second(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}

/// A time to the millisecond: as fine as two changes of one user are told apart.
pub(crate) fn whole_millisecond(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}

/// A time as it is shown everywhere: RFC 3339, in UTC, to the second.
pub(crate) fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Writes a time that may be missing as [`rfc3339`] has it: for `#[serde(serialize_with)]`.
#[expect(clippy::ref_option, reason = "the signature that serde's `serialize_with` calls")]
pub(crate) fn serialize<S: Serializer>(
    time: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(rfc3339).serialize(serializer)
}

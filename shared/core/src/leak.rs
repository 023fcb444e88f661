//! Leaked credentials: what a report of one ends, and how it changes a key.
//!
//! A report ends exactly what it names, by the kind of the credential. A key whose current secret leaked is disabled or deleted.
//! A disabled one cannot be enabled with the same secret: a rotation without an overlap enables it.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::environment::{Environment, InvalidVariable};
use crate::key::Key;
use crate::lifecycle::{KeySchedule, announced_until};
use crate::time::whole_second;

/// What happens to a key whose current secret leaked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeakPolicy {
    /// It is disabled, until it is rotated without an overlap.
    Disable,
    /// It is deleted.
    Delete,
}

impl LeakPolicy {
    /// Reads `LEAK_POLICY`: `disable`, the default, or `delete`.
    ///
    /// # Errors
    ///
    /// - [`InvalidVariable`]: the value is another text.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        match environment.text("LEAK_POLICY") {
            None | Some("disable") => Ok(Self::Disable),
            Some("delete") => Ok(Self::Delete),
            Some(_) => Err(InvalidVariable::new("LEAK_POLICY", "must be disable or delete")),
        }
    }
}

/// What a report of a leaked credential ended, named as in its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// A key, which is disabled.
    KeyDisabled,
    /// A key, which is deleted.
    KeyDeleted,
    /// The overlap of a rotation or a handover, with its old secret.
    Overlap,
    /// An access token.
    AccessToken,
    /// The family of a refresh token.
    TokenFamily,
    /// A session.
    Session,
    /// A page code.
    PageCode,
    /// A legacy key, which is deleted.
    LegacyKey,
}

/// A key after its current secret was reported `now`.
#[must_use]
pub fn disabled(key: &Key, now: DateTime<Utc>) -> Key {
    let now = whole_second(now);
    Key {
        disabled_at: Some(key.disabled_at.unwrap_or(now)),
        leaked_at: Some(now),
        revision: key.revision + 1,
        ..key.clone()
    }
}

/// A key after its old secret was reported `now`: its overlap has ended.
#[must_use]
pub fn without_overlap(key: &Key, now: DateTime<Utc>) -> Key {
    let mut after = Key {
        previous_expires_at: None,
        previous_transferred: false,
        revision: key.revision + 1,
        ..key.clone()
    };
    after.due_at = KeySchedule::from(&after).next_due(announced_until(key.due_at, now));
    after
}

/// A key whose reported secret works no more. It is enabled, unless it was disabled before the report.
pub(crate) fn ended(key: Key) -> Key {
    let disabled_at =
        key.disabled_at.filter(|disabled| key.leaked_at.is_none_or(|leaked| *disabled < leaked));
    Key { disabled_at, leaked_at: None, ..key }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{at, key};

    #[test]
    fn a_leaked_key_is_disabled_unless_the_policy_is_to_delete_it() {
        let policy = |values: &[(&str, &str)]| {
            LeakPolicy::from_environment(&values.iter().map(|(name, value)| (*name, *value)).collect())
        };
        assert_eq!(policy(&[]).unwrap(), LeakPolicy::Disable);
        assert_eq!(policy(&[("LEAK_POLICY", "disable")]).unwrap(), LeakPolicy::Disable);
        assert_eq!(policy(&[("LEAK_POLICY", "delete")]).unwrap(), LeakPolicy::Delete);
        assert!(policy(&[("LEAK_POLICY", "Delete")]).is_err());
    }

    #[test]
    fn a_report_disables_a_key_and_keeps_the_time_of_an_earlier_disabling() {
        let after = disabled(&key(), at(5));
        assert_eq!((after.disabled_at, after.leaked_at, after.revision), (Some(at(5)), Some(at(5)), 2));
        let before = Key { disabled_at: Some(at(3)), ..key() };
        let after = disabled(&before, at(5));
        assert_eq!((after.disabled_at, after.leaked_at), (Some(at(3)), Some(at(5))));
    }

    #[test]
    fn a_report_of_the_old_secret_ends_the_overlap_and_announces_no_other_end_of_it() {
        let end = Some(at(60));
        let before =
            Key { previous_expires_at: end, previous_transferred: true, due_at: end, rotation: 1, ..key() };
        let after = without_overlap(&before, at(10));
        assert_eq!(
            (after.previous_expires_at, after.previous_transferred, after.due_at),
            (None, false, None)
        );
        assert_eq!((after.rotation, after.revision, after.disabled_at), (1, 2, None));
    }
}

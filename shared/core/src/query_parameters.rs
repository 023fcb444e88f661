//! The parameters of a query. All of them are checked before the request is refused, as the [fields](crate::fields) of a
//! body are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::credential;
use crate::error::{Error, InvalidField, Place};
use crate::fields::MAX_UNKNOWN_FIELDS;
use crate::identity::UserId;
use crate::strict_json;

/// The parameters of a query that were not taken yet, and the errors of those that were. A query may contain a credential, so
/// `Debug` shows neither.
pub struct QueryParameters<'a> {
    untaken: BTreeMap<&'a str, &'a str>,
    invalid: Vec<InvalidField>,
}

impl fmt::Debug for QueryParameters<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("QueryParameters").finish_non_exhaustive()
    }
}

impl<'a> QueryParameters<'a> {
    /// Takes decoded names and values. A repeated parameter is invalid, because it is ambiguous. So is one that contains a
    /// credential, because queries are written to logs and browser histories.
    pub fn new(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut read = Self { untaken: BTreeMap::new(), invalid: Vec::new() };
        let (mut twice, mut leaking) = (BTreeSet::new(), BTreeSet::new());
        for (name, value) in parameters {
            if credential::contains_credential(name) || credential::contains_credential(value) {
                leaking.insert(name);
            } else if leaking.contains(name) || read.untaken.contains_key(name) {
                twice.insert(name);
            } else {
                read.untaken.insert(name, value);
            }
        }
        for name in leaking.into_iter().take(MAX_UNKNOWN_FIELDS) {
            read.untaken.remove(name);
            read.refuse(name, credential::MUST_NOT_BE);
        }
        for name in twice.into_iter().take(MAX_UNKNOWN_FIELDS) {
            read.refuse(name, "must not be repeated");
        }
        read
    }

    /// Whether a parameter is present and was not taken yet.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.untaken.contains_key(name)
    }

    /// Takes a parameter that may be absent. If `check` refuses the value, the parameter is recorded as invalid, and `None` is
    /// returned.
    pub fn optional<T>(&mut self, name: &str, check: impl FnOnce(&'a str) -> Result<T, String>) -> Option<T> {
        let value = self.untaken.remove(name)?;
        check(value).map_err(|must_be| self.refuse(name, &must_be)).ok()
    }

    /// Takes every parameter whose name begins with `prefix`. `check` gets the rest of the name and the value. If it refuses
    /// them, the parameter is recorded as invalid.
    pub fn with_prefix<T>(
        &mut self,
        prefix: &str,
        check: impl Fn(&'a str, &'a str) -> Result<T, String>,
    ) -> Vec<T> {
        let all = std::mem::take(&mut self.untaken);
        let (of_prefix, others) = all.into_iter().partition(|(name, _)| name.starts_with(prefix));
        self.untaken = others;
        let of_prefix: BTreeMap<&str, &str> = of_prefix;
        let mut taken = Vec::with_capacity(of_prefix.len());
        for (name, value) in of_prefix {
            match check(&name[prefix.len()..], value) {
                Ok(value) => taken.push(value),
                Err(must_be) => self.refuse(name, &must_be),
            }
        }
        taken
    }

    /// Records a parameter as invalid.
    pub fn refuse(&mut self, name: &str, must_be: &str) {
        let place = Place::Parameter(strict_json::shown(name));
        self.invalid.push(InvalidField { place, detail: must_be.to_owned() });
    }

    /// Returns `made`, the value parsed from the parameters, or the errors. A parameter that was not taken is unknown.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: a parameter is invalid, repeated or unknown. It names every invalid one, and at most 20 of each
    ///   other sort.
    pub fn finish<T>(mut self, made: T) -> Result<T, Error> {
        for name in std::mem::take(&mut self.untaken).into_keys().take(MAX_UNKNOWN_FIELDS) {
            self.refuse(name, "is not a parameter of this request");
        }
        if self.invalid.is_empty() { Ok(made) } else { Err(Error::Invalid { fields: self.invalid }) }
    }
}

/// Checks that a parameter parses as `T`.
///
/// # Errors
///
/// The message of the parser.
pub fn word<T: FromStr<Err: ToString>>(value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|invalid: T::Err| with_plus(value, invalid.to_string(), |value| value.parse::<T>().is_ok()))
}

/// Checks that a parameter is the id of a user who can own keys.
///
/// # Errors
///
/// The message of [`crate::identity::InvalidUserId`].
pub fn user(value: &str) -> Result<UserId, String> {
    word::<UserId>(value)?.reject_reserved().map_err(|reserved| reserved.to_string())
}

/// The message for a text that is not a time.
pub const MUST_BE_A_TIME: &str = "must be a time in the form of RFC 3339, such as 2026-11-22T10:00:00Z";

/// Checks that a parameter is a time.
///
/// # Errors
///
/// The message [`MUST_BE_A_TIME`].
pub fn time(value: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(value).map_err(|_| {
        with_plus(value, MUST_BE_A_TIME.to_owned(), |value| DateTime::parse_from_rfc3339(value).is_ok())
    })?;
    Ok(time.into())
}

/// The message for an invalid parameter. It adds a hint if the value is right with a `+` for each space: in a query, a `+` is
/// decoded as a space (URL Standard, section 5.1).
fn with_plus(value: &str, must_be: String, is_right: impl FnOnce(&str) -> bool) -> String {
    if value.contains(' ') && is_right(&value.replace(' ', "+")) {
        format!("{must_be}; a + is a space in a query: write it as %2B")
    } else {
        must_be
    }
}

/// Checks that a parameter is a whole number within a range, written with digits alone.
///
/// # Errors
///
/// A message that names the range.
pub fn number<T: FromStr + PartialOrd + Display>(value: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| range.contains(number));
    number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::KEY_TEXT;

    #[test]
    fn values_of_a_client_reach_no_log() {
        let parameters = QueryParameters::new([("secret", "secret"), ("secret", "secret")]);
        let shown = format!("{parameters:?}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_number_is_written_with_digits_alone_and_within_its_range() {
        assert_eq!(number("25", 1..=100), Ok(25));
        for wrong in ["", "0", "101", "+25", "-1", "2.5", "99999999999"] {
            let must_be = "must be a whole number from 1 to 100".to_owned();
            assert_eq!(number::<u32>(wrong, 1..=100), Err(must_be), "{wrong}");
        }
    }

    fn invalid_parameters(parameters: &[(&str, &str)]) -> Vec<(String, String)> {
        match QueryParameters::new(parameters.iter().copied()).finish(()) {
            Ok(()) => Vec::new(),
            Err(Error::Invalid { fields }) => {
                fields.into_iter().map(|field| (field.place.to_string(), field.detail)).collect()
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_query_of_nothing_but_repetitions_makes_no_large_response() {
        let repeated = vec![("a", ""); 2500];
        assert_eq!(invalid_parameters(&repeated).len(), 2, "it is repeated, and unknown");
        let names: Vec<String> = (0..2500).map(|index| format!("{index}{}", "n".repeat(500))).collect();
        let all: Vec<_> = names.iter().chain(&names).map(|name| (name.as_str(), "")).collect();
        let said = invalid_parameters(&all);
        assert_eq!(said.len(), 2 * MAX_UNKNOWN_FIELDS);
        assert!(said.iter().map(|(place, detail)| place.len() + detail.len()).sum::<usize>() < 8_000);
    }

    #[test]
    fn a_credential_in_a_query_is_refused_and_not_repeated() {
        let key = KEY_TEXT;
        let long = format!("a,{key}");
        for parameters in
            [&[("name", key)][..], &[("name", "a"), ("name", &long)], &[(key, "")], &[(key, key)]]
        {
            let said = invalid_parameters(parameters);
            assert!(said.iter().any(|(_, detail)| detail == credential::MUST_NOT_BE), "{said:?}");
            assert!(
                said.iter().all(|(place, detail)| !format!("{place}{detail}").contains("GekMi")),
                "{said:?}"
            );
        }
    }

    #[test]
    fn a_plus_that_became_a_space_is_explained() {
        let explained = |said: &str| said.ends_with("; a + is a space in a query: write it as %2B");
        assert!(explained(&time("2026-11-01T00:00:00 00:00").unwrap_err()));
        assert!(explained(&user("bob ci@example.com").unwrap_err()));
        assert!(time("2026-11-01T00:00:00+00:00").is_ok() && user("bob+ci@example.com").is_ok());
        for other in ["2026-11-01  00:00:00Z", "yesterday noon", ""] {
            assert!(!explained(&time(other).unwrap_err()), "{other}");
        }
        assert!(!explained(&user("bob/ci @example.com").unwrap_err()));
    }
}

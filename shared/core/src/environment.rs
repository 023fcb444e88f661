//! The environment variables of a function, read once when it starts. Each area of Keygate builds its own settings from them.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::TimeDelta;
use thiserror::Error;

/// The environment variables of a function. A variable that is set to an empty text counts as not set.
///
/// The credentials of the function's role are among them, so `Debug` shows none.
#[derive(Default)]
pub struct Environment(HashMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// A variable that is missing or has a value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("environment variable {name} {must_be}")]
pub struct InvalidVariable {
    /// The name of the variable.
    pub name: &'static str,
    /// The required form of the value. The value itself is not repeated, because it may be a secret in the wrong variable.
    pub must_be: String,
}

impl InvalidVariable {
    /// Says what the variable `name` must be.
    #[must_use]
    pub fn new(name: &'static str, must_be: &str) -> Self {
        Self { name, must_be: must_be.to_owned() }
    }
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars().collect()
    }

    /// The value of a variable, if it is set.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of a variable.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn required(&self, name: &'static str, must_be: &str) -> Result<String, InvalidVariable> {
        self.text(name).map(str::to_owned).ok_or_else(|| InvalidVariable::new(name, must_be))
    }

    /// The address in a variable, if it is set: one that a browser can be sent to, and that has no query and no fragment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not an `https` address, or an `http` address of this machine, without a query and a fragment.
    pub fn address(&self, name: &'static str) -> Result<Option<String>, InvalidVariable> {
        let Some(url) = self.text(name) else { return Ok(None) };
        let is_local = |url: &str| {
            let host =
                url.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
            matches!(host, Some("localhost" | "127.0.0.1"))
        };
        let is_safe = url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()) || is_local(url);
        let is_plain =
            url.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"'<>\\^`{|},;".contains(&byte));
        if is_safe && is_plain {
            Ok(Some(url.to_owned()))
        } else {
            Err(InvalidVariable::new(name, "must be an https address without a query and a fragment"))
        }
    }

    /// The value of a variable, or of `default`, as `T`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it cannot be parsed as `T`.
    pub fn parsed<T: FromStr>(
        &self,
        name: &'static str,
        default: &str,
        must_be: &str,
    ) -> Result<T, InvalidVariable> {
        self.text(name).unwrap_or(default).parse().map_err(|_| InvalidVariable::new(name, must_be))
    }

    /// The whole number that a variable has; `default` if it is not set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not a whole number within `range`.
    pub fn number(
        &self,
        name: &'static str,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Result<u32, InvalidVariable> {
        let must_be = format!("must be a whole number from {} to {}", range.start(), range.end());
        let number = self.parsed(name, &default.to_string(), &must_be)?;
        if range.contains(&number) { Ok(number) } else { Err(InvalidVariable { name, must_be }) }
    }

    /// The time that a variable has in seconds; `default` seconds if it is not set.
    ///
    /// # Errors
    ///
    /// As [`Self::number`].
    pub fn seconds(
        &self,
        name: &'static str,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Result<TimeDelta, InvalidVariable> {
        self.number(name, default, range).map(|seconds| TimeDelta::seconds(seconds.into()))
    }

    /// The time that a variable has in days; `default` days if it is not set.
    ///
    /// # Errors
    ///
    /// As [`Self::number`].
    pub fn days(
        &self,
        name: &'static str,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Result<TimeDelta, InvalidVariable> {
        self.number(name, default, range).map(|days| TimeDelta::days(days.into()))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(variables: I) -> Self {
        variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_not_set_has_its_default() {
        let environment = Environment::from_iter([("EMPTY", ""), ("SET", "7")]);
        assert_eq!(environment.number("EMPTY", 100, 1..=1000), Ok(100));
        assert_eq!(environment.number("MISSING", 100, 1..=1000), Ok(100));
        assert_eq!(environment.number("SET", 100, 1..=1000), Ok(7));
        assert_eq!(environment.seconds("SET", 100, 1..=1000), Ok(TimeDelta::seconds(7)));
        assert_eq!(environment.days("SET", 100, 1..=1000), Ok(TimeDelta::days(7)));
    }

    #[test]
    fn an_address_is_one_of_https_or_of_this_machine() {
        let address = |value| Environment::from_iter([("ADDRESS", value)]).address("ADDRESS");
        assert_eq!(address(""), Ok(None));
        for valid in [
            "https://keys.example.com",
            "https://example.com/keys/",
            "http://localhost:5173/console",
            "http://127.0.0.1:1",
        ] {
            assert_eq!(address(valid), Ok(Some(valid.to_owned())));
        }
        for wrong in [
            "https://",
            "http://keys.example.com",
            "http://localhost.example.com",
            "https://keys.example.com?a=b",
            "https://keys.example.com#a",
            "https://keys.example.com; script-src *",
            "https://keys.example.com;script-src",
            "https://keys.example.com,https://other.example.com",
            "javascript:alert(1)",
            "keys.example.com",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_error_names_the_variable_and_its_form_but_not_its_value() {
        let environment = Environment::from_iter([("KEYS_PER_USER", "kg_key_secret")]);
        assert_eq!(
            environment.number("KEYS_PER_USER", 100, 1..=1000).unwrap_err().to_string(),
            "environment variable KEYS_PER_USER must be a whole number from 1 to 1000"
        );
        let missing =
            environment.required("KEYS_TABLE", "must be the name of the table of keys").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "environment variable KEYS_TABLE must be the name of the table of keys"
        );
    }

    #[test]
    fn a_number_outside_of_its_range_is_an_error() {
        for value in ["0", "1001", "-1", "1.5", "x"] {
            let environment = Environment::from_iter([("N", value)]);
            assert!(environment.number("N", 100, 1..=1000).is_err(), "{value}");
        }
    }
}

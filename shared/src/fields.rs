//! The fields of a JSON body and the parameters of a query, checked all at once: whoever sends three wrong ones learns of
//! three.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::error::{Error, InvalidField, Place};

/// How many unknown fields are named at most: a small body of nothing else must not make a large answer.
const MOST_UNKNOWN: usize = 20;

/// What is left of a body to be taken, and what was wrong with what has been. A body may hold a credential, so `Debug` shows
/// nothing of it.
pub struct Fields {
    untaken: Map<String, Value>,
    invalid: Vec<InvalidField>,
}

impl fmt::Debug for Fields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fields").finish_non_exhaustive()
    }
}

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] at the empty pointer: it is not a JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let untaken = serde_json::from_slice(body).map_err(|_| {
            Error::invalid(InvalidField { place: pointer(&[]), detail: "must be a JSON object".to_owned() })
        })?;
        Ok(Self { untaken, invalid: Vec::new() })
    }

    /// Takes a field that may be absent or null. One that `check` refuses counts as absent, and as invalid.
    pub fn optional<T>(&mut self, name: &str, check: impl FnOnce(&Value) -> Result<T, Wrong>) -> Option<T> {
        let value = self.untaken.remove(name).filter(|value| !value.is_null())?;
        match check(&value) {
            Ok(taken) => Some(taken),
            Err(Wrong { within, must_be }) => {
                let place = match within {
                    None => pointer(&[name]),
                    Some(index) => pointer(&[name, &index.to_string()]),
                };
                self.invalid.push(InvalidField { place, detail: must_be });
                None
            }
        }
    }

    /// Whether a field is there and not null.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.untaken.get(name).is_some_and(|value| !value.is_null())
    }

    /// Takes a field of a merge patch.
    pub fn patched<T>(&mut self, name: &str, check: impl FnOnce(&Value) -> Result<T, Wrong>) -> Patch<T> {
        let is_null = self.untaken.get(name).is_some_and(Value::is_null);
        match self.optional(name, check) {
            Some(value) => Patch::Set(value),
            None if is_null => Patch::Clear,
            None => Patch::Keep,
        }
    }

    /// Takes a field that must be there.
    pub fn required<T>(&mut self, name: &str, check: impl FnOnce(&Value) -> Result<T, Wrong>) -> Option<T> {
        if self.untaken.get(name).is_none_or(Value::is_null) {
            self.untaken.remove(name);
            self.refuse(name, "is required");
            return None;
        }
        self.optional(name, check)
    }

    /// Names a field as invalid.
    pub fn refuse(&mut self, name: &str, must_be: &str) {
        self.invalid.push(InvalidField { place: pointer(&[name]), detail: must_be.to_owned() });
    }

    /// Ends the reading: whatever was not taken is unknown. `made` is what was made of the fields, `None` where one
    /// that is required was not there.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid field, and the unknown ones up to a limit.
    pub fn finish<T>(mut self, made: Option<T>) -> Result<T, Error> {
        for name in self.untaken.keys().take(MOST_UNKNOWN) {
            let detail = "is not a field of this request".to_owned();
            self.invalid.push(InvalidField { place: pointer(&[name]), detail });
        }
        match made {
            Some(made) if self.invalid.is_empty() => Ok(made),
            _ => Err(Error::Invalid { fields: self.invalid }),
        }
    }
}

/// What a merge patch says of a field (RFC 7396).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Nothing: it is absent.
    #[default]
    Keep,
    /// It is null.
    Clear,
    /// It has this value.
    Set(T),
}

impl<T> Patch<T> {
    /// What the patch makes of a value that can be without.
    pub fn apply(self, value: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *value = None,
            Self::Set(new) => *value = Some(new),
        }
    }

    /// What the patch makes of a value that is `default` where it is cleared.
    pub fn apply_or(self, default: T, value: &mut T) {
        match self {
            Self::Keep => {}
            Self::Clear => *value = default,
            Self::Set(new) => *value = new,
        }
    }
}

/// What is wrong with a value.
#[derive(Debug)]
pub struct Wrong {
    /// The element of an array that is wrong, if not the whole value.
    within: Option<usize>,
    must_be: String,
}

impl Wrong {
    /// The value must be something else.
    pub fn new(must_be: &impl ToString) -> Self {
        Self { within: None, must_be: must_be.to_string() }
    }

    /// The element at `index` must be something else.
    pub fn at(index: usize, must_be: &impl ToString) -> Self {
        Self { within: Some(index), must_be: must_be.to_string() }
    }
}

/// Checks that a value is a string that parses.
///
/// # Errors
///
/// What the parser says it must be.
pub fn parsed<T: FromStr<Err: ToString>>(value: &Value) -> Result<T, Wrong> {
    string(value)?.parse().map_err(|invalid| Wrong::new(&invalid))
}

/// Checks that a value is a string.
///
/// # Errors
///
/// That it must be one.
pub fn string(value: &Value) -> Result<&str, Wrong> {
    value.as_str().ok_or_else(|| Wrong::new(&"must be a string"))
}

/// Checks that a value is an array of at most `most` strings that parse, none of them twice. `what` they are is part of
/// what is said of a wrong one.
///
/// # Errors
///
/// That it must be such an array; or which element is wrong, and what the parser says it must be.
pub fn distinct<T>(value: &Value, most: usize, what: &str) -> Result<Vec<T>, Wrong>
where
    T: FromStr<Err: ToString> + PartialEq,
{
    let must_be = || Wrong::new(&format!("must be an array of at most {most} {what}"));
    let values = value.as_array().filter(|values| values.len() <= most).ok_or_else(must_be)?;
    let mut taken: Vec<T> = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let text = value.as_str().ok_or_else(|| Wrong::at(index, &"must be a string"))?;
        let element = text.parse().map_err(|invalid: T::Err| Wrong::at(index, &invalid))?;
        if taken.contains(&element) {
            return Err(Wrong::at(index, &"must not be there twice"));
        }
        taken.push(element);
    }
    Ok(taken)
}

/// The parameters of a query, checked all at once as the fields of a body are. Somebody may put a credential there, so
/// `Debug` shows nothing of them.
pub struct Parameters<'a> {
    untaken: Vec<(&'a str, &'a str)>,
    invalid: Vec<InvalidField>,
}

impl fmt::Debug for Parameters<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Parameters").finish_non_exhaustive()
    }
}

impl<'a> Parameters<'a> {
    /// Reads the parameters. One that is there twice could mean either, and so is invalid.
    pub fn new(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut read = Self { untaken: Vec::new(), invalid: Vec::new() };
        for (name, value) in parameters {
            if read.has(name) {
                read.refuse(name, "must be there once");
            } else {
                read.untaken.push((name, value));
            }
        }
        read
    }

    /// Whether a parameter is there that was not taken yet.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.untaken.iter().any(|(untaken, _)| *untaken == name)
    }

    /// Takes a parameter that may be absent. One that `check` refuses counts as absent, and as invalid.
    pub fn optional<T>(&mut self, name: &str, check: impl FnOnce(&'a str) -> Result<T, String>) -> Option<T> {
        let index = self.untaken.iter().position(|(untaken, _)| *untaken == name)?;
        let (_, value) = self.untaken.remove(index);
        check(value).map_err(|must_be| self.refuse(name, &must_be)).ok()
    }

    /// Adds that a parameter is invalid.
    pub fn refuse(&mut self, name: &str, must_be: &str) {
        let place = Place::Parameter(name.to_owned());
        self.invalid.push(InvalidField { place, detail: must_be.to_owned() });
    }

    /// Ends the reading: whatever was not taken is unknown. `made` is what was made of the parameters.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid parameter, and the unknown ones up to a limit.
    pub fn finish<T>(mut self, made: T) -> Result<T, Error> {
        for (name, _) in std::mem::take(&mut self.untaken).into_iter().take(MOST_UNKNOWN) {
            self.refuse(name, "is not a parameter of this request");
        }
        if self.invalid.is_empty() { Ok(made) } else { Err(Error::Invalid { fields: self.invalid }) }
    }
}

/// Checks that a parameter is a word.
///
/// # Errors
///
/// What the parser says it must be.
pub fn word<T: FromStr<Err: ToString>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|invalid: T::Err| invalid.to_string())
}

/// Checks that a parameter is a time.
///
/// # Errors
///
/// That it must be one.
pub fn time(value: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(value).map_err(|_| "must be a time in the form of RFC 3339")?;
    Ok(time.into())
}

/// Checks that a parameter is a whole number within a range, written with digits alone.
///
/// # Errors
///
/// That it must be one.
pub fn number<T: FromStr + PartialOrd + Display>(value: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| range.contains(number));
    number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
}

fn pointer(path: &[&str]) -> Place {
    let escaped = path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1")));
    Place::Pointer(escaped.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_of_unknown_fields_makes_no_large_answer() {
        let body: Map<String, Value> = (0..1000).map(|index| (format!("f{index}"), json!(1))).collect();
        let body = Value::Object(body).to_string();
        let Err(Error::Invalid { fields }) = Fields::parse(body.as_bytes()).unwrap().finish(Some(())) else {
            panic!("nothing of it is known")
        };
        assert_eq!(fields.len(), MOST_UNKNOWN);
    }

    #[test]
    fn what_a_client_sends_reaches_no_log() {
        let body = r#"{"kg_key_secret": "secret"}"#;
        let fields = Fields::parse(body.as_bytes()).unwrap();
        let parameters = Parameters::new([("secret", "secret"), ("secret", "secret")]);
        let shown = format!("{fields:?} {parameters:?}");
        assert!(!shown.contains("secret"), "{shown}");
        let error = fields.finish(Some(())).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

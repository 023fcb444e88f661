//! The fields of a JSON body and the parameters of a query, checked all at once: whoever sends three wrong ones learns of
//! three.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::credential;
use crate::error::{Error, InvalidField, Place};
use crate::identity::UserId;
use crate::json;

/// How many unknown fields, and how many repeated ones, are named at most: a small request of nothing else must not make a
/// large answer.
const MAX_UNKNOWN_FIELDS: usize = 20;

/// What is said of something that could mean either of two values.
const TWICE: &str = "is there twice";

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
    /// - [`Error::Invalid`] at the empty pointer: it is not a JSON object. It says what is wrong, and where.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let not_an_object =
            |detail: String| Error::invalid(InvalidField { place: Place::Pointer(String::new()), detail });
        let json::Document { value, twice } = json::parse(body).map_err(not_an_object)?;
        let Value::Object(untaken) = value else {
            return Err(not_an_object("must be a JSON object".to_owned()));
        };
        let twice = twice
            .into_iter()
            .map(|pointer| InvalidField { place: Place::Pointer(pointer), detail: TWICE.to_owned() });
        Ok(Self { untaken, invalid: twice.collect() })
    }

    /// Ends the reading of an object whose one field is an object too, and begins that of the inner one. What is wrong with
    /// a field of it is named by a pointer from there.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names the field, if it is missing, there twice or no object, and every other one.
    pub fn inner(mut self, name: &str) -> Result<Self, Error> {
        let within = json::step(name) + "/";
        let mut inner = Vec::new();
        self.invalid.retain_mut(|field| match &mut field.place {
            Place::Pointer(pointer) if pointer.starts_with(&within) => {
                let place = Place::Pointer(pointer.split_off(within.len() - 1));
                inner.push(InvalidField { place, detail: field.detail.clone() });
                false
            }
            _ => true,
        });
        let untaken = self.required(name, |value| {
            value.as_object().cloned().ok_or_else(|| FieldError::new(&"must be an object"))
        });
        Ok(Self { untaken: self.finish(untaken)?, invalid: inner })
    }

    /// Takes a field that may be absent or null. One that `check` refuses counts as absent, and as invalid.
    pub fn optional<T>(
        &mut self,
        name: &str,
        check: impl FnOnce(&Value) -> Result<T, FieldError>,
    ) -> Option<T> {
        let value = self.untaken.remove(name).filter(|value| !value.is_null())?;
        match check(&value) {
            Ok(taken) => Some(taken),
            Err(FieldError { within, must_be }) => {
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
    pub fn patched<T>(
        &mut self,
        name: &str,
        check: impl FnOnce(&Value) -> Result<T, FieldError>,
    ) -> Patch<T> {
        let is_null = self.untaken.get(name).is_some_and(Value::is_null);
        match self.optional(name, check) {
            Some(value) => Patch::Set(value),
            None if is_null => Patch::Clear,
            None => Patch::Unchanged,
        }
    }

    /// Takes a field that must be there.
    pub fn required<T>(
        &mut self,
        name: &str,
        check: impl FnOnce(&Value) -> Result<T, FieldError>,
    ) -> Option<T> {
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
        for name in self.untaken.keys().take(MAX_UNKNOWN_FIELDS) {
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
    Unchanged,
    /// It is null.
    Clear,
    /// It has this value.
    Set(T),
}

impl<T> Patch<T> {
    /// What the patch makes of a value that can be without.
    pub fn apply(self, value: &mut Option<T>) {
        match self {
            Self::Unchanged => {}
            Self::Clear => *value = None,
            Self::Set(new) => *value = Some(new),
        }
    }

    /// What the patch makes of a value that is `default` where it is cleared.
    pub fn apply_or(self, default: T, value: &mut T) {
        match self {
            Self::Unchanged => {}
            Self::Clear => *value = default,
            Self::Set(new) => *value = new,
        }
    }
}

/// What is wrong with a value.
#[derive(Debug)]
pub struct FieldError {
    /// The element of an array that is wrong, if not the whole value.
    within: Option<usize>,
    must_be: String,
}

impl FieldError {
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
pub fn parsed<T: FromStr<Err: ToString>>(value: &Value) -> Result<T, FieldError> {
    string(value)?.parse().map_err(|invalid| FieldError::new(&invalid))
}

/// Checks that a value is a user who can have keys.
///
/// # Errors
///
/// What it must be.
pub fn owner(value: &Value) -> Result<UserId, FieldError> {
    parsed::<UserId>(value)?.reject_reserved().map_err(|reserved| FieldError::new(&reserved))
}

/// What a value must be that is no whole number; and how it must be written, if it is a number such as `3600.0` or `36e2`,
/// which is a whole one to people.
#[must_use]
pub fn in_digits(value: &Value, must_be: String) -> String {
    if value.is_f64() {
        format!("{must_be}, in digits, without a decimal point or an exponent")
    } else {
        must_be
    }
}

/// Checks that a value is a string.
///
/// # Errors
///
/// That it must be one.
pub fn string(value: &Value) -> Result<&str, FieldError> {
    value.as_str().ok_or_else(|| FieldError::new(&"must be a string"))
}

/// Checks that a value is an array of at most `most` strings that parse, none of them twice. `what` they are is part of
/// what is said of a wrong one.
///
/// # Errors
///
/// That it must be such an array; or which element is wrong, and what the parser says it must be.
pub fn distinct<T>(value: &Value, most: usize, what: &str) -> Result<Vec<T>, FieldError>
where
    T: FromStr<Err: ToString> + PartialEq,
{
    let must_be = || FieldError::new(&format!("must be an array of at most {most} {what}"));
    let values = value.as_array().filter(|values| values.len() <= most).ok_or_else(must_be)?;
    let mut taken: Vec<T> = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let text = value.as_str().ok_or_else(|| FieldError::at(index, &"must be a string"))?;
        let element = text.parse().map_err(|invalid: T::Err| FieldError::at(index, &invalid))?;
        if taken.contains(&element) {
            return Err(FieldError::at(index, &"must not be there twice"));
        }
        taken.push(element);
    }
    Ok(taken)
}

/// The parameters of a query, checked all at once as the fields of a body are. Somebody may put a credential there, so
/// `Debug` shows nothing of them.
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
    /// Reads the parameters. One that is there twice could mean either, and so is invalid. One that holds a credential is
    /// too: a query is written to logs and histories.
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
            read.refuse(name, "must be there once");
        }
        read
    }

    /// Whether a parameter is there that was not taken yet.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.untaken.contains_key(name)
    }

    /// Takes a parameter that may be absent. One that `check` refuses counts as absent, and as invalid.
    pub fn optional<T>(&mut self, name: &str, check: impl FnOnce(&'a str) -> Result<T, String>) -> Option<T> {
        let value = self.untaken.remove(name)?;
        check(value).map_err(|must_be| self.refuse(name, &must_be)).ok()
    }

    /// Adds that a parameter is invalid.
    pub fn refuse(&mut self, name: &str, must_be: &str) {
        let place = Place::Parameter(json::shown(name));
        self.invalid.push(InvalidField { place, detail: must_be.to_owned() });
    }

    /// Ends the reading: whatever was not taken is unknown. `made` is what was made of the parameters.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid parameter, and the repeated and the unknown ones up to a limit.
    pub fn finish<T>(mut self, made: T) -> Result<T, Error> {
        for name in std::mem::take(&mut self.untaken).into_keys().take(MAX_UNKNOWN_FIELDS) {
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
    value
        .parse()
        .map_err(|invalid: T::Err| with_plus(value, invalid.to_string(), |value| value.parse::<T>().is_ok()))
}

/// Checks that a parameter is a user who can have keys.
///
/// # Errors
///
/// What it must be.
pub fn user(value: &str) -> Result<UserId, String> {
    word::<UserId>(value)?.reject_reserved().map_err(|reserved| reserved.to_string())
}

/// What is said of a text that is no time.
pub const MUST_BE_A_TIME: &str = "must be a time in the form of RFC 3339, such as 2026-11-22T10:00:00Z";

/// Checks that a parameter is a time.
///
/// # Errors
///
/// That it must be one.
pub fn time(value: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(value).map_err(|_| {
        with_plus(value, MUST_BE_A_TIME.to_owned(), |value| DateTime::parse_from_rfc3339(value).is_ok())
    })?;
    Ok(time.into())
}

/// What a wrong parameter must be, and, if it would be that with a `+` for each space, why it is not: in a query a `+` is a
/// space (URL Standard, section 5.1).
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
/// That it must be one.
pub fn number<T: FromStr + PartialOrd + Display>(value: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| range.contains(number));
    number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
}

fn pointer(path: &[&str]) -> Place {
    Place::Pointer(path.iter().map(|name| json::step(name)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::KEY_TEXT;

    #[test]
    fn a_body_of_unknown_fields_makes_no_large_answer() {
        let body: Map<String, Value> = (0..1000).map(|index| (format!("f{index}"), json!(1))).collect();
        let body = Value::Object(body).to_string();
        let Err(Error::Invalid { fields }) = Fields::parse(body.as_bytes()).unwrap().finish(Some(())) else {
            panic!("nothing of it is known")
        };
        assert_eq!(fields.len(), MAX_UNKNOWN_FIELDS);
    }

    #[test]
    fn what_a_client_sends_reaches_no_log() {
        let body = r#"{"kg_key_secret": "secret"}"#;
        let fields = Fields::parse(body.as_bytes()).unwrap();
        let parameters = QueryParameters::new([("secret", "secret"), ("secret", "secret")]);
        let shown = format!("{fields:?} {parameters:?}");
        assert!(!shown.contains("secret"), "{shown}");
        let error = fields.finish(Some(())).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_field_that_is_there_twice_is_named_and_none_of_its_values_taken_for_the_right_one() {
        let body =
            br#"{"name":"a","expires_in":3600,"scopes":[],"expires_in":null,"scopes":["workspace:admin"]}"#;
        let mut fields = Fields::parse(body).unwrap();
        for name in ["name", "expires_in", "scopes"] {
            fields.optional(name, |_| Ok(()));
        }
        let Err(Error::Invalid { fields }) = fields.finish(Some(())) else { panic!("it is ambiguous") };
        let said: Vec<_> = fields.iter().map(|field| format!("{} {}", field.place, field.detail)).collect();
        assert_eq!(said, ["/expires_in is there twice", "/scopes is there twice"]);
    }

    #[test]
    fn an_inner_object_is_named_from_its_beginning() {
        let inner =
            |body: &str| match Fields::parse(body.as_bytes()).and_then(|fields| fields.inner("import")) {
                Ok(mut fields) => {
                    fields.optional("a", |_| Ok(()));
                    match fields.finish(Some(())) {
                        Ok(()) => Vec::new(),
                        Err(Error::Invalid { fields }) => fields,
                        Err(error) => panic!("{error}"),
                    }
                }
                Err(Error::Invalid { fields }) => fields,
                Err(error) => panic!("{error}"),
            };
        for (body, places) in [
            (r#"{"import":{"a":1}}"#, &[][..]),
            (r#"{"import":{"a":1,"a":2,"b":3}}"#, &["/a", "/b"]),
            (r#"{"import":{"a":[{"c":1,"c":1}]}}"#, &["/a/0/c"]),
            (r#"{"import":{"a":1},"import":{}}"#, &["/import"]),
            (r#"{"import":[]}"#, &["/import"]),
            (r#"{"bootstrap":{}}"#, &["/import", "/bootstrap"]),
        ] {
            let found: Vec<_> = inner(body).iter().map(|field| field.place.to_string()).collect();
            assert_eq!(found, places, "{body}");
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
    fn a_query_of_nothing_but_repetitions_makes_no_large_answer() {
        let repeated = vec![("a", ""); 2500];
        assert_eq!(invalid_parameters(&repeated).len(), 2, "it is there twice, and unknown");
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

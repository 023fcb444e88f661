//! The fields of a JSON body. All of them are checked before the request is refused, so that one response names every
//! invalid field.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::error::{Error, InvalidField, Place};
use crate::identity::UserId;
use crate::strict_json;

/// The maximum number of unknown fields, and of repeated ones, that are named: it bounds the response to a request that
/// consists of them.
pub(crate) const MAX_UNKNOWN_FIELDS: usize = 20;

/// The message for a field that has two values.
const TWICE: &str = "is repeated";

/// The fields of a body that were not taken yet, and the errors of those that were. A body may contain a credential, so `Debug`
/// shows neither.
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
    /// Parses a body.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the body is not a JSON object. The pointer is empty; the detail has line and column.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let not_an_object =
            |detail: String| Error::invalid(InvalidField { place: Place::Pointer(String::new()), detail });
        let strict_json::Document { value, twice } = strict_json::parse(body).map_err(not_an_object)?;
        let Value::Object(untaken) = value else {
            return Err(not_an_object("must be a JSON object".to_owned()));
        };
        let twice = twice
            .into_iter()
            .map(|pointer| InvalidField { place: Place::Pointer(pointer), detail: TWICE.to_owned() });
        Ok(Self { untaken, invalid: twice.collect() })
    }

    /// Replaces an object that has one field, `name`, by the object in that field. Pointers to invalid fields begin at the inner
    /// object.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the field is missing, repeated or not an object, or there are other fields. It names each of them.
    pub fn inner(mut self, name: &str) -> Result<Self, Error> {
        let within = strict_json::step(name) + "/";
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

    /// Takes a field that may be absent or null. If `check` refuses the value, the field is recorded as invalid, and `None` is
    /// returned.
    pub fn optional<T>(
        &mut self,
        name: &str,
        check: impl FnOnce(&Value) -> Result<T, FieldError>,
    ) -> Option<T> {
        let value = self.untaken.remove(name).filter(|value| !value.is_null())?;
        match check(&value) {
            Ok(taken) => Some(taken),
            Err(error) => {
                self.invalid.push(error.of(name));
                None
            }
        }
    }

    /// Whether a field is present and not null.
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

    /// Takes a field that must be present and not null; otherwise it is recorded as invalid.
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

    /// Records a field as invalid.
    pub fn refuse(&mut self, name: &str, must_be: &str) {
        self.invalid.push(InvalidField { place: pointer(&[name]), detail: must_be.to_owned() });
    }

    /// Returns `made`, the value parsed from the fields, or the errors. A field that was not taken is unknown. `made` is `None`
    /// where a required field is missing.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: a field is invalid or unknown. It names every invalid field and at most 20 unknown ones.
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

/// The change of one field by a merge patch (RFC 7396).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field is absent.
    #[default]
    Unchanged,
    /// The field is null.
    Clear,
    /// The field has this value.
    Set(T),
}

impl<T> Patch<T> {
    /// Applies the patch to an optional value.
    pub fn apply(self, value: &mut Option<T>) {
        match self {
            Self::Unchanged => {}
            Self::Clear => *value = None,
            Self::Set(new) => *value = Some(new),
        }
    }

    /// Applies the patch to a value that is `default` when it is cleared.
    pub fn apply_or(self, default: T, value: &mut T) {
        match self {
            Self::Unchanged => {}
            Self::Clear => *value = default,
            Self::Set(new) => *value = new,
        }
    }
}

/// The error of a value.
#[derive(Debug)]
pub struct FieldError {
    /// The index or name of the invalid element, if the value is an array or an object that is otherwise valid.
    within: Option<String>,
    must_be: String,
}

impl FieldError {
    /// An error of the whole value. `must_be` says what it must be.
    pub fn new(must_be: &impl ToString) -> Self {
        Self { within: None, must_be: must_be.to_string() }
    }

    /// An error of the element at `index`. `must_be` says what it must be.
    pub fn at(index: usize, must_be: &impl ToString) -> Self {
        Self::new(must_be).within(&index.to_string())
    }

    /// The error as that of the field `name` of a body.
    #[must_use]
    pub fn of(self, name: &str) -> InvalidField {
        let place = match self.within {
            None => pointer(&[name]),
            Some(member) => pointer(&[name, &member]),
        };
        InvalidField { place, detail: self.must_be }
    }

    /// The same error, of the member of an object with this name.
    #[must_use]
    pub fn within(self, name: &str) -> Self {
        Self { within: Some(name.to_owned()), ..self }
    }
}

/// Checks that a value is a string that parses.
///
/// # Errors
///
/// [`FieldError`]: the value is not a string, or the parser refuses it. The message is the parser's.
pub fn parsed<T: FromStr<Err: ToString>>(value: &Value) -> Result<T, FieldError> {
    string(value)?.parse().map_err(|invalid| FieldError::new(&invalid))
}

/// Checks that a value is the id of a user who can own keys.
///
/// # Errors
///
/// [`FieldError`]: the value is not a [`UserId`], or a reserved one.
pub fn owner(value: &Value) -> Result<UserId, FieldError> {
    parsed::<UserId>(value)?.reject_reserved().map_err(|reserved| FieldError::new(&reserved))
}

/// The message for a value that is not a whole number. It adds how to write one if the value is a number such as `3600.0` or
/// `36e2`.
#[must_use]
pub fn in_digits(value: &Value, must_be: String) -> String {
    if value.is_f64() {
        format!("{must_be}, in digits, without a decimal point or an exponent")
    } else {
        must_be
    }
}

/// Checks that a value is true or false.
///
/// # Errors
///
/// [`FieldError`]: the value is neither.
pub fn boolean(value: &Value) -> Result<bool, FieldError> {
    value.as_bool().ok_or_else(|| FieldError::new(&"must be true or false"))
}

/// Checks that a value is a string.
///
/// # Errors
///
/// [`FieldError`]: the value is not a string.
pub fn string(value: &Value) -> Result<&str, FieldError> {
    value.as_str().ok_or_else(|| FieldError::new(&"must be a string"))
}

/// Checks that a value is an array of at most `most` distinct strings that parse. `what` names the elements in the message.
///
/// # Errors
///
/// [`FieldError`]: the value is not an array or too long, or the element at an index is not a string, repeated, or refused by
/// the parser.
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
            return Err(FieldError::at(index, &"must not be repeated"));
        }
        taken.push(element);
    }
    Ok(taken)
}

fn pointer(path: &[&str]) -> Place {
    Place::Pointer(path.iter().map(|name| strict_json::step(name)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_of_unknown_fields_makes_no_large_response() {
        let body: Map<String, Value> = (0..1000).map(|index| (format!("f{index}"), json!(1))).collect();
        let body = Value::Object(body).to_string();
        let Err(Error::Invalid { fields }) = Fields::parse(body.as_bytes()).unwrap().finish(Some(())) else {
            panic!("nothing of it is known")
        };
        assert_eq!(fields.len(), MAX_UNKNOWN_FIELDS);
    }

    #[test]
    fn values_of_a_client_reach_no_log() {
        let body = r#"{"kg_key_secret": "secret"}"#;
        let fields = Fields::parse(body.as_bytes()).unwrap();
        let shown = format!("{fields:?}");
        assert!(!shown.contains("secret"), "{shown}");
        let error = fields.finish(Some(())).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_repeated_field_is_an_error_that_names_it() {
        let body =
            br#"{"name":"a","expires_in":3600,"scopes":[],"expires_in":null,"scopes":["workspace:admin"]}"#;
        let mut fields = Fields::parse(body).unwrap();
        for name in ["name", "expires_in", "scopes"] {
            fields.optional(name, |_| Ok(()));
        }
        let Err(Error::Invalid { fields }) = fields.finish(Some(())) else { panic!("it is ambiguous") };
        let said: Vec<_> = fields.iter().map(|field| format!("{} {}", field.place, field.detail)).collect();
        assert_eq!(said, ["/expires_in is repeated", "/scopes is repeated"]);
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
}

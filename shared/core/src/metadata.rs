//! Metadata: strings that an adopter attaches to a key, such as a customer's id.
//!
//! Keygate stores metadata, filters lists by it, and passes it to the backend. It has no meaning in Keygate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::credential;
use crate::fields::{self, FieldError};
use crate::newtype::consists_of;
use crate::unicode;

/// The maximum number of entries of a key.
pub const MAX_ENTRIES: usize = 20;

/// The maximum length of a name, in characters.
const MAX_NAME_LEN: usize = 40;

/// The maximum length of a value, in characters.
const MAX_VALUE_LEN: usize = 200;

/// The maximum length of all names and values together, in bytes.
const MAX_BYTES: usize = 1_024;

/// The metadata of a key, ordered by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata(BTreeMap<String, String>);

/// The change of the metadata of a key by a merge patch (RFC 7396): null removes an entry, a string sets it, and other entries
/// stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataPatch(BTreeMap<String, Option<String>>);

impl Metadata {
    /// Parses an object of strings.
    ///
    /// # Errors
    ///
    /// [`FieldError`]: the value is not an object, is too large, or has an invalid entry, which the error names.
    pub fn parse(value: &Value) -> Result<Self, FieldError> {
        let entries = object(value)?.iter().map(|(name, value)| {
            check_name(name)?;
            Ok((name.clone(), check_value(value).map_err(|error| error.within(name))?))
        });
        Self(entries.collect::<Result<_, FieldError>>()?).within_limits()
    }

    /// The value of an entry.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The metadata as one JSON object in text form, as the backend gets it.
    ///
    /// # Panics
    ///
    /// Never: strings can always be written as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("strings can be written as JSON")
    }

    /// The metadata after a patch.
    ///
    /// # Errors
    ///
    /// [`FieldError`]: it would be too large.
    pub fn patched(mut self, patch: MetadataPatch) -> Result<Self, FieldError> {
        for (name, value) in patch.0 {
            match value {
                Some(value) => self.0.insert(name, value),
                None => self.0.remove(&name),
            };
        }
        self.within_limits()
    }

    fn within_limits(self) -> Result<Self, FieldError> {
        let bytes: usize = self.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.0.len() > MAX_ENTRIES {
            Err(FieldError::new(&format!("must have at most {MAX_ENTRIES} entries")))
        } else if bytes > MAX_BYTES {
            Err(FieldError::new(&format!("must have names and values of at most {MAX_BYTES} bytes together")))
        } else {
            Ok(self)
        }
    }
}

impl MetadataPatch {
    /// Parses an object whose members are strings or null.
    ///
    /// # Errors
    ///
    /// [`FieldError`]: the value is not such an object, or has an invalid entry, which the error names.
    pub fn parse(value: &Value) -> Result<Self, FieldError> {
        let entries = object(value)?.iter().map(|(name, value)| {
            check_name(name)?;
            let value = Some(value).filter(|value| !value.is_null()).map(check_value).transpose();
            Ok((name.clone(), value.map_err(|error| error.within(name))?))
        });
        entries.collect::<Result<_, FieldError>>().map(Self)
    }
}

/// The message for a text that is not the name of an entry.
#[must_use]
pub fn must_be_a_name() -> String {
    format!("must have names of 1 to {MAX_NAME_LEN} letters A-Z and a-z, digits, '_', '-' and '.'")
}

/// Whether a text can be the name of an entry. Every name can be written in a query as it is.
#[must_use]
pub fn is_name(name: &str) -> bool {
    consists_of(name, 1..=MAX_NAME_LEN, |byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn object(value: &Value) -> Result<&serde_json::Map<String, Value>, FieldError> {
    value.as_object().ok_or_else(|| FieldError::new(&"must be an object of strings"))
}

/// The error is of the whole object, because the name may be long or a credential.
fn check_name(name: &str) -> Result<(), FieldError> {
    if is_name(name) { Ok(()) } else { Err(FieldError::new(&must_be_a_name())) }
}

fn check_value(value: &Value) -> Result<String, FieldError> {
    let text = fields::string(value)?;
    if !(1..=MAX_VALUE_LEN).contains(&text.chars().count()) {
        return Err(FieldError::new(&format!("must have 1 to {MAX_VALUE_LEN} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(FieldError::new(&"must not have control characters"));
    }
    if text.chars().any(unicode::is_layout_control) {
        return Err(FieldError::new(&unicode::NO_LAYOUT_CONTROLS));
    }
    if credential::contains_credential(text) {
        return Err(FieldError::new(&credential::MUST_NOT_BE));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::{Error, InvalidField};
    use crate::fields::Fields;
    use crate::fixtures::KEY_TEXT;

    /// The invalid fields of a body with this metadata, each with its pointer.
    fn errors<T>(value: &Value, parse: fn(&Value) -> Result<T, FieldError>) -> Vec<String> {
        let mut fields = Fields::parse(json!({"metadata": value}).to_string().as_bytes()).unwrap();
        let parsed = fields.optional("metadata", parse);
        let Err(Error::Invalid { fields }) = fields.finish(parsed) else { panic!("{value} is valid") };
        fields.iter().map(|InvalidField { place, detail }| format!("{place} {detail}")).collect()
    }

    #[test]
    fn metadata_is_an_object_of_strings() {
        let value = json!({"env": "live", "customer.id": "cus_7", "Team-A": "naïve 👩‍💻 \"quoted\""});
        let metadata = Metadata::parse(&value).unwrap();
        assert_eq!(metadata.get("env"), Some("live"));
        assert_eq!(serde_json::from_str::<Value>(&metadata.to_json()).unwrap(), value);
        assert_eq!(serde_json::to_value(&metadata).unwrap(), value);
        assert!(Metadata::parse(&json!({})).unwrap().is_empty());
        for not_an_object in [json!([]), json!("env=live"), json!(7)] {
            assert_eq!(errors(&not_an_object, Metadata::parse), ["/metadata must be an object of strings"]);
        }
    }

    #[test]
    fn an_invalid_value_is_named_and_an_invalid_name_is_not_repeated() {
        for (value, detail) in [
            (json!(7), "must be a string"),
            (json!({}), "must be a string"),
            (json!(""), "must have 1 to 200 characters"),
            (json!("v".repeat(201)), "must have 1 to 200 characters"),
            (json!("a\nb"), "must not have control characters"),
            (json!("a\u{202E}b"), unicode::NO_LAYOUT_CONTROLS),
            (json!(KEY_TEXT), credential::MUST_NOT_BE),
        ] {
            let said = format!("/metadata/env {detail}");
            let entry = json!({"env": value});
            let errors = [errors(&entry, Metadata::parse), errors(&entry, MetadataPatch::parse)].concat();
            assert_eq!(errors, [said.as_str(); 2]);
        }
        assert_eq!(errors(&json!({"env": null}), Metadata::parse), ["/metadata/env must be a string"]);
        for name in ["", "a b", "a=b", "ü", KEY_TEXT, &"n".repeat(41)] {
            let said = format!("/metadata {}", must_be_a_name());
            let errors = [
                errors(&json!({name: "x"}), Metadata::parse),
                errors(&json!({name: null}), MetadataPatch::parse),
            ];
            assert_eq!(errors.concat(), [said.as_str(); 2]);
        }
    }

    #[test]
    fn metadata_is_bounded_in_entries_and_bytes() {
        let entries = |count: usize, value: &str| -> Value {
            (0..count)
                .map(|index| (format!("n{index:02}"), json!(value)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        assert!(Metadata::parse(&entries(20, "v")).is_ok());
        assert_eq!(errors(&entries(21, "v"), Metadata::parse), ["/metadata must have at most 20 entries"]);
        // 8 × (3 + 125) bytes
        assert!(Metadata::parse(&entries(8, &"v".repeat(125))).is_ok());
        let too_large = ["/metadata must have names and values of at most 1024 bytes together"];
        assert_eq!(errors(&entries(8, &"v".repeat(126)), Metadata::parse), too_large);
        assert_eq!(errors(&entries(8, &"é".repeat(63)), Metadata::parse), too_large);
    }

    #[test]
    fn a_patch_sets_and_removes_entries_and_keeps_the_others() {
        let before = Metadata::parse(&json!({"env": "live", "team": "a"})).unwrap();
        let patch = MetadataPatch::parse(&json!({"env": null, "plan": "pro", "absent": null})).unwrap();
        let after = before.clone().patched(patch).unwrap();
        assert_eq!(after, Metadata::parse(&json!({"team": "a", "plan": "pro"})).unwrap());
        let many: Value =
            (0..19).map(|n| (format!("n{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
        assert!(before.patched(MetadataPatch::parse(&many).unwrap()).is_err(), "21 entries");
    }
}

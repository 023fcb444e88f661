//! String types that exist only in their valid form, so that the code that holds one need not check it again.

/// Declares a string type and the error of an invalid text.
///
/// The type parses (`FromStr`), prints (`Display`) and travels through serde; its error says what the text must be. Where
/// there is more than one reason, the error is declared elsewhere and a function chooses the variant.
macro_rules! string_newtype {
    (
        $(#[$about:meta])*
        $name:ident is $valid:expr,
        or else $(#[$about_error:meta])* $error:ident: $message:literal
    ) => {
        string_newtype! {
            $(#[$about])*
            $name or $error, by |text| {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(()) } else { Err($error) }
            }
        }

        $(#[$about_error])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        #[error($message)]
        pub struct $error;
    };
    ($(#[$about:meta])* $name:ident or $error:ident, by $check:expr) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The word itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                let check: fn(&str) -> Result<(), $error> = $check;
                check(&text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

/// Whether `text` has a length within `lengths` and only ASCII bytes that are `allowed`.
pub(crate) fn consists_of(
    text: &str,
    lengths: std::ops::RangeInclusive<usize>,
    allowed: fn(u8) -> bool,
) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(allowed)
}

/// Declares how an id is stored in the attribute `entry`: after a prefix for the kind of item.
macro_rules! entry {
    ($module:ident, $id:ident, $prefix:literal) => {
        #[doc = concat!("How the id is stored in the attribute `entry`: after `", $prefix, "`.")]
        pub mod $module {
            use serde::de::Error;
            use serde::{Deserialize, Deserializer, Serializer};

            use crate::credential::$id;

            /// The prefix of such an entry.
            pub const PREFIX: &str = $prefix;

            /// The entry of an id.
            #[must_use]
            pub fn text(id: $id) -> String {
                format!("{PREFIX}{id}")
            }

            /// Writes the entry of an id.
            ///
            /// # Errors
            ///
            /// The errors of the serializer.
            pub fn serialize<S: Serializer>(id: &$id, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&text(*id))
            }

            /// Reads the id of an entry.
            ///
            /// # Errors
            ///
            /// The text is not a string, or another kind of entry.
            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$id, D::Error> {
                let entry = String::deserialize(deserializer)?;
                let id = entry.strip_prefix(PREFIX).and_then(|id| id.parse().ok());
                id.ok_or_else(|| D::Error::custom("another kind of entry"))
            }
        }
    };
}

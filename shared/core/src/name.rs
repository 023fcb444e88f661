//! The name of a key.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::credential::{self};
use crate::unicode;

/// The maximum length of a name, in characters.
pub const MAX_NAME_LEN: usize = 100;

/// The maximum length of a folded name, in bytes: it is part of a sort key, which `DynamoDB` limits to 1,024 bytes.
const MAX_FOLDED_NAME_BYTES: usize = 512;

/// The name of a key: 1 to 100 characters without control characters, one of them visible, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(String);

/// The error of a text that is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// It has no visible character.
    #[error("must have at least one visible character")]
    Invisible,
    /// It has more than [`MAX_NAME_LEN`] characters, or its folded form would be too long to store.
    #[error("must have at most 100 characters")]
    TooLong,
    /// It has a control character.
    #[error("must have no control characters")]
    ControlCharacter,
    /// It has a character that makes it look like another name.
    #[error("{}", unicode::NO_LAYOUT_CONTROLS)]
    LayoutControl,
    /// It is a credential, or contains one.
    #[error("{}", credential::MUST_NOT_BE)]
    Credential,
}

impl Name {
    /// Trims and checks a name as it was sent.
    ///
    /// # Errors
    ///
    /// The variant of [`InvalidName`] that applies.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        // The limit in bytes comes first, so that a long text is never folded.
        if text.len() > 4 * MAX_NAME_LEN || text.chars().count() > MAX_NAME_LEN {
            return Err(InvalidName::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidName::ControlCharacter);
        }
        if text.chars().any(unicode::is_layout_control) {
            return Err(InvalidName::LayoutControl);
        }
        if !unicode::is_visible(text) {
            return Err(InvalidName::Invisible);
        }
        if credential::contains_credential(text) {
            return Err(InvalidName::Credential);
        }
        let name = Self(text.to_owned());
        if name.folded().len() > MAX_FOLDED_NAME_BYTES {
            return Err(InvalidName::TooLong);
        }
        Ok(name)
    }

    /// The form in which names are compared: [`unicode::fold`]ed, and without white space around it.
    #[must_use]
    pub fn folded(&self) -> String {
        unicode::fold(&self.0).trim().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::KEY_TEXT;

    #[test]
    fn names_are_trimmed_and_bounded_and_have_no_control_characters() {
        assert_eq!(Name::parse("  build server\t").unwrap().to_string(), "build server");
        assert_eq!(Name::parse(&"é".repeat(100)).unwrap().to_string().chars().count(), 100);
        for invisible in ["", " \n ", "\u{200B}", "\u{3164}", "\u{2800} \u{FEFF}"] {
            assert_eq!(Name::parse(invisible), Err(InvalidName::Invisible), "{invisible:?}");
        }
        assert_eq!(Name::parse(&"n".repeat(101)), Err(InvalidName::TooLong));
        assert_eq!(Name::parse(&"n".repeat(10_000)), Err(InvalidName::TooLong));
        assert_eq!(Name::parse("a\u{0}b"), Err(InvalidName::ControlCharacter));
        assert_eq!(Name::parse("a\nb"), Err(InvalidName::ControlCharacter));
    }

    #[test]
    fn a_name_cannot_be_made_to_look_like_another_one_by_its_layout() {
        for control in
            ['\u{202A}', '\u{202E}', '\u{2066}', '\u{2069}', '\u{200E}', '\u{61C}', '\u{2028}', '\u{2029}']
        {
            assert_eq!(Name::parse(&format!("a{control}b")), Err(InvalidName::LayoutControl), "{control:?}");
        }
        for emoji in ["👩‍💻", "🏳️‍🌈", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"] {
            assert_eq!(Name::parse(emoji).unwrap().to_string(), emoji);
        }
    }

    #[test]
    fn a_credential_is_no_name() {
        let key = KEY_TEXT;
        for text in [key.to_owned(), format!("my {key}")] {
            assert_eq!(Name::parse(&text), Err(InvalidName::Credential));
        }
        assert!(Name::parse(&key[..33]).is_ok(), "the beginning of a key, up to its id, is public");
    }

    #[test]
    fn a_name_whose_folded_form_cannot_be_stored_is_too_long() {
        // Eighteen characters each in compatibility form (U+FDFA).
        assert_eq!(Name::parse(&"\u{FDFA}".repeat(100)), Err(InvalidName::TooLong));
    }

    #[test]
    fn names_that_look_the_same_fold_to_the_same() {
        let folded = |name| Name::parse(name).unwrap().folded();
        for (one, other) in [
            ("CI", "ci"),
            ("ＣＩ", "ci"),
            ("Straße", "STRASSE"),
            ("e\u{301}", "É"),
            ("ﬁx", "FIX"),
            ("Nightly  export", "nightly\u{A0}EXPORT"),
            ("\u{FEFF}ci", "c\u{200B}i"),
            ("\u{200B} ci", "ci \u{2060}"),
            ("❤\u{FE0F}", "❤"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} and {other}");
        }
        assert_ne!(folded("ci-1"), folded("ci-2"));
    }
}

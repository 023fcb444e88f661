//! Legacy keys: what an adopter's earlier mechanism gave out, honoured until a sunset.
//!
//! Nobody needs to have them in plain text: their SHA-256 is enough to import them, and that is hashed again under the
//! pepper. They are found by that hash, since they have no id, and are of the shape that they always had; so a pattern says
//! which texts are worth a read.

pub mod import;

use std::fmt;

use chrono::{DateTime, Utc};
use regex_lite::Regex;
use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest, Sha256};

/// How legacy keys are told from everything else, and for how long.
#[derive(Debug)]
pub struct LegacyRules {
    /// From when on none of them works.
    pub sunset: DateTime<Utc>,
    /// What they look like from the first character to the last.
    pub pattern: Regex,
    /// The header that they may be sent in beside `Authorization`, in lower case.
    pub header: Option<String>,
}

impl LegacyRules {
    /// The pattern for texts that match `pattern` as a whole; `None` if it is no regular expression.
    #[must_use]
    pub fn pattern(pattern: &str) -> Option<Regex> {
        // By itself first: one that closes our group would match a part of a text.
        Regex::new(pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$"))).ok()
    }

    /// The legacy key that a text may be.
    #[must_use]
    pub fn recognise(&self, text: &str) -> Option<LegacyCredential> {
        self.pattern.is_match(text).then(|| LegacyCredential::of(text))
    }
}

/// The SHA-256 of a legacy key: all that is ever kept of one in memory, and zeroed on drop.
pub struct LegacyCredential(SecretBox<[u8; 32]>);

impl LegacyCredential {
    /// That of a key in plain text.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self::from_digest(&Sha256::digest(key).into())
    }

    /// Takes a digest that somebody else has made.
    #[must_use]
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        Self(SecretBox::init_with_mut(|bytes: &mut [u8; 32]| bytes.copy_from_slice(digest)))
    }

    /// The one way to read the digest: to hash it.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for LegacyCredential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LegacyCredential([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_matched_from_the_first_character_to_the_last() {
        let rules = LegacyRules {
            sunset: Utc::now(),
            pattern: LegacyRules::pattern("old-[a-f0-9]{8}|x").unwrap(),
            header: None,
        };
        for (text, matches) in [
            ("old-0123abcd", true),
            ("x", true),
            ("old-0123abcde", false),
            (" old-0123abcd", false),
            ("old-0123abcd\n", false),
            ("xx", false),
            ("", false),
        ] {
            assert_eq!(rules.recognise(text).is_some(), matches, "{text:?}");
        }
        for wrong in ["(", "a)|(?:b"] {
            assert!(LegacyRules::pattern(wrong).is_none(), "{wrong}");
        }
    }

    /// FIPS 180-4 has this digest of `abc`.
    #[test]
    fn a_key_in_plain_text_and_its_digest_are_the_same_key() {
        let digest = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
            0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ];
        assert_eq!(LegacyCredential::of("abc").expose(), LegacyCredential::from_digest(&digest).expose());
        assert_eq!(format!("{:?}", LegacyCredential::of("abc")), "LegacyCredential([REDACTED])");
    }
}

//! Legacy keys: the credentials of an adopter's earlier mechanism, which work until a sunset.
//!
//! An import takes their SHA-256 and not their text, and stores the hash of that under the pepper. The text of a legacy key has
//! no id, so it is found by its hash; a pattern tells which texts are worth a read. The id that an import gives a legacy key
//! serves to show and to delete it.

use std::fmt;

use chrono::{DateTime, Utc};
use regex_lite::Regex;
use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest, Sha256};
use thiserror::Error as ThisError;

use crate::credential::{Brand, Credential, Malformed};
use crate::environment::{Environment, InvalidVariable};
use crate::time::whole_second;

/// Reads `LEGACY_SUNSET`, the instant (RFC 3339) from which no legacy key works. Without it legacy keys are not accepted.
///
/// # Errors
///
/// - [`InvalidVariable`]: the value is not a time.
pub fn sunset(environment: &Environment) -> Result<Option<DateTime<Utc>>, InvalidVariable> {
    let Some(text) = environment.text("LEGACY_SUNSET") else { return Ok(None) };
    let sunset = DateTime::parse_from_rfc3339(text)
        .map_err(|_| InvalidVariable::new("LEGACY_SUNSET", "must be a time in the form of RFC 3339"))?;
    Ok(Some(whole_second(sunset.into())))
}

/// How legacy keys are recognised, and until when they work.
#[derive(Debug)]
pub struct LegacyRules {
    /// The instant from which no legacy key works.
    pub sunset: DateTime<Utc>,
    /// A pattern that matches the whole text of a legacy key.
    pub pattern: Regex,
    /// A header that legacy keys may be sent in, besides `Authorization`, in lower case.
    pub header: Option<String>,
}

impl LegacyRules {
    /// Reads `LEGACY_SUNSET`, `LEGACY_PATTERN` (a regular expression that matches the whole of a legacy key) and `LEGACY_HEADER`
    /// (a header that legacy keys may be sent in, besides `Authorization`). Without a sunset legacy keys are not accepted.
    ///
    /// # Errors
    ///
    /// - [`InvalidVariable`]: the sunset is not a time; or it is set, and the pattern is not a regular expression or the header
    ///   is not the name of a header.
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, InvalidVariable> {
        let Some(sunset) = sunset(environment)? else { return Ok(None) };
        let pattern = environment.text("LEGACY_PATTERN").and_then(Self::pattern).ok_or_else(|| {
            InvalidVariable::new(
                "LEGACY_PATTERN",
                "must be a regular expression that matches the whole of a legacy key",
            )
        })?;
        let header = environment.text("LEGACY_HEADER").map(str::to_ascii_lowercase);
        let is_name = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if header.as_ref().is_some_and(|name| !is_name(name) || name == "authorization") {
            let must_be = "must be the name of a header, other than Authorization";
            return Err(InvalidVariable::new("LEGACY_HEADER", must_be));
        }
        Ok(Some(Self { sunset, pattern, header }))
    }

    /// Compiles a regular expression that must match the whole text; `None` if it is not one.
    #[must_use]
    pub fn pattern(pattern: &str) -> Option<Regex> {
        // By itself first: an expression that closes the group below would match a part of a text.
        Regex::new(pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$"))).ok()
    }

    /// The legacy key that a text may be; `None` if it does not match the pattern.
    #[must_use]
    pub fn recognise(&self, text: &str) -> Option<LegacyCredential> {
        self.pattern.is_match(text).then(|| LegacyCredential::of(text))
    }

    /// Checks that an authorizer of this deployment would look up a key, given in plain text. A key that fails could be imported
    /// and would never work.
    ///
    /// # Errors
    ///
    /// The first variant of [`UnusableLegacyKey`], in the order of their declaration, that applies.
    pub fn check(&self, key: &str, brand: &Brand) -> Result<(), UnusableLegacyKey> {
        if key.trim() != key {
            return Err(UnusableLegacyKey::WhiteSpace);
        }
        if key.chars().any(char::is_control) {
            return Err(UnusableLegacyKey::ControlCharacter);
        }
        if !matches!(Credential::parse(key, brand), Err(Malformed::Brand)) {
            return Err(UnusableLegacyKey::OwnForm);
        }
        if self.pattern.is_match(key) { Ok(()) } else { Err(UnusableLegacyKey::OtherPattern) }
    }
}

/// Why the authorizers of this deployment would not look up a legacy key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum UnusableLegacyKey {
    /// It begins or ends with white space, which is not part of a header's value.
    #[error("can never work: it begins or ends with white space, which no header can transport")]
    WhiteSpace,
    /// It has a control character, which is not part of a header's value.
    #[error("can never work: it has a control character, which no header can transport")]
    ControlCharacter,
    /// It begins with the brand of this deployment and `_`.
    #[error("can never work: it begins with this deployment's brand, as its own credentials do")]
    OwnForm,
    /// It does not match the pattern from end to end.
    #[error("can never work: it does not match LegacyPattern")]
    OtherPattern,
}

/// The SHA-256 of a legacy key, zeroed on drop. The text itself is not kept in memory.
pub struct LegacyCredential(SecretBox<[u8; 32]>);

impl LegacyCredential {
    /// The digest of a key in plain text.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self::from_digest(&Sha256::digest(key).into())
    }

    /// Takes a digest that was computed elsewhere.
    #[must_use]
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        Self(SecretBox::init_with_mut(|bytes: &mut [u8; 32]| bytes.copy_from_slice(digest)))
    }

    /// Returns the digest. Only hashing may read it.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
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

    #[test]
    fn a_key_that_no_authorizer_would_look_up_is_told_with_its_reason() {
        let pattern = LegacyRules::pattern(r"[a-z_-]+[0-9]*|with space").unwrap();
        let rules = LegacyRules { sunset: Utc::now(), pattern, header: None };
        let brand = "kg".parse().unwrap();
        for (text, expected) in [
            ("old-1", Ok(())),
            ("with space", Ok(())),
            ("kg", Ok(())),
            ("kgb_key", Ok(())),
            ("old-1 ", Err(UnusableLegacyKey::WhiteSpace)),
            ("\told-1", Err(UnusableLegacyKey::WhiteSpace)),
            ("old-1\u{a0}", Err(UnusableLegacyKey::WhiteSpace)),
            ("old\u{0}1", Err(UnusableLegacyKey::ControlCharacter)),
            ("kg_key", Err(UnusableLegacyKey::OwnForm)),
            ("sk_live_X", Err(UnusableLegacyKey::OtherPattern)),
            ("OLD-1", Err(UnusableLegacyKey::OtherPattern)),
        ] {
            assert_eq!(rules.check(text, &brand), expected, "{text:?}");
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

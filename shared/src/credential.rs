//! Anatomy of a credential.
//!
//! ```text
//! kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_<43 characters of secret><6 of checksum>
//! │  │   │                          │                          └ CRC-32 (IEEE) of all before it, base62
//! │  │   │                          └ 32 random bytes, base62 (0-9A-Za-z), fixed width
//! │  │   └ id: ULID, the key's public id
//! │  └ kind
//! └ brand
//! ```
//!
//! Shape and checksum are checked before anything else: garbage never costs a database read, and secret scanners can
//! tell a real key from a look-alike without asking anyone. Only the canonical form parses, so a key has exactly one
//! text.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use ulid::Ulid;
use zeroize::Zeroizing;

use crate::word::{consists_of, word};

/// The kind of an API key.
///
/// NEVER change this value: every key that was ever issued carries it, in its text and in its hash.
pub const API_KEY_KIND: &str = "key";

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_LENGTH: usize = ulid::ULID_LEN;
/// 62⁴³ is the first power of 62 above 2²⁵⁶.
const SECRET_LENGTH: usize = 43;
/// 62⁶ is the first power of 62 above 2³².
const CHECKSUM_LENGTH: usize = 6;

word! {
    /// The word a deployment's credentials begin with: `[a-z][a-z0-9]{1,9}`, by default `kg`.
    ///
    /// It makes a leaked credential traceable to whoever issued it.
    Brand is |text| {
        text.starts_with(|first: char| first.is_ascii_lowercase())
            && consists_of(text, 2..=10, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    },
    or else
    /// A text that is no [`Brand`].
    InvalidBrand: "must be 2 to 10 lower-case letters and digits and begin with a letter"
}

/// The public id of a key: a ULID, whose first ten characters are its time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyId(Ulid);

impl KeyId {
    /// A new id for a key made `now`.
    #[must_use]
    pub fn generate(now: DateTime<Utc>) -> Self {
        Self(generate_ulid(now))
    }

    /// How the key is shown where its secret must not be: brand, kind and id.
    #[must_use]
    pub fn prefix(&self, brand: &Brand) -> String {
        format!("{brand}_{API_KEY_KIND}_{self}")
    }

    /// The id as the 16 bytes that are hashed.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.array_to_str(&mut [0; ID_LENGTH]))
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    /// Takes the canonical form alone: the decoder would also take lower case and look-alikes such as `O` for `0`.
    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        let id = Ulid::from_string(text).map_err(|_| InvalidKeyId)?;
        if id.array_to_str(&mut [0; ID_LENGTH]) == text { Ok(Self(id)) } else { Err(InvalidKeyId) }
    }
}

impl TryFrom<String> for KeyId {
    type Error = InvalidKeyId;

    fn try_from(text: String) -> Result<Self, InvalidKeyId> {
        text.parse()
    }
}

/// A text that is no [`KeyId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be the id of a key: a ULID of 26 upper-case characters")]
pub struct InvalidKeyId;

/// A ULID of `now` and 80 random bits.
///
/// # Panics
///
/// When the clock is before 1970 or the operating system has no random bytes: neither can be worked around.
#[must_use]
pub fn generate_ulid(now: DateTime<Utc>) -> Ulid {
    let mut random = [0; 16];
    fill_with_random_bytes(&mut random);
    let milliseconds = u64::try_from(now.timestamp_millis()).expect("the clock is past 1970");
    Ulid::from_parts(milliseconds, u128::from_be_bytes(random))
}

/// Fills `bytes` from the operating system's random numbers.
///
/// # Panics
///
/// When there are none, which cannot be worked around.
pub fn fill_with_random_bytes(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

/// The random part of a credential: 32 bytes, zeroed on drop, never shown by `Debug`.
pub struct Secret(SecretBox<[u8; 32]>);

impl Secret {
    /// Takes 32 bytes that nobody can guess.
    #[must_use]
    pub fn from_bytes(bytes: &Zeroizing<[u8; 32]>) -> Self {
        Self(SecretBox::init_with_mut(|secret: &mut [u8; 32]| secret.copy_from_slice(&**bytes)))
    }

    fn generate() -> Self {
        Self(SecretBox::init_with_mut(|bytes: &mut [u8; 32]| fill_with_random_bytes(bytes)))
    }

    /// The one way to read the bytes: to hash them, or to write them into the answer that shows a key once.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret([REDACTED])")
    }
}

/// An API key as its holder has it: the public id and the secret.
#[derive(Debug)]
pub struct Credential {
    /// Which key it claims to be.
    pub key_id: KeyId,
    /// What proves it.
    pub secret: Secret,
}

impl Credential {
    /// Draws a new credential for a key made `now`.
    #[must_use]
    pub fn generate(now: DateTime<Utc>) -> Self {
        Self { key_id: KeyId::generate(now), secret: Secret::generate() }
    }

    /// Draws a new secret for a key that exists.
    #[must_use]
    pub fn renew(key_id: KeyId) -> Self {
        Self { key_id, secret: Secret::generate() }
    }

    /// The text the holder is given, once.
    #[must_use]
    pub fn to_text(&self, brand: &Brand) -> SecretString {
        let mut text = Zeroizing::new(self.key_id.prefix(brand));
        // Growing later would leave copies of the secret behind.
        text.reserve_exact(1 + SECRET_LENGTH + CHECKSUM_LENGTH);
        text.push('_');
        text.extend(encode_secret(self.secret.expose()).iter().copied().map(char::from));
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.iter().copied().map(char::from));
        SecretString::from(text.as_str())
    }

    /// Takes a presented text apart.
    ///
    /// # Errors
    ///
    /// One variant of [`Malformed`] for each way not to be a key of this deployment, checked in their order.
    ///
    /// # Example
    ///
    /// ```
    /// use keygate::credential::{Brand, Credential, Malformed};
    ///
    /// let brand: Brand = "kg".parse().unwrap();
    /// let text = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000101gsDZR";
    /// let credential = Credential::parse(text, &brand).unwrap();
    /// assert_eq!(credential.key_id.to_string(), "01JD3V6Y4N8Q2Z5X7W9B0C1D2E");
    /// assert!(matches!(Credential::parse(&text.replace('3', "4"), &brand), Err(Malformed::Checksum)));
    /// ```
    pub fn parse(text: &str, brand: &Brand) -> Result<Self, Malformed> {
        let rest = text.strip_prefix(brand.as_str()).ok_or(Malformed::Brand)?;
        let rest = rest.strip_prefix('_').ok_or(Malformed::Brand)?;
        let rest = rest.strip_prefix(API_KEY_KIND).ok_or(Malformed::Kind)?;
        let rest = rest.strip_prefix('_').ok_or(Malformed::Kind)?;
        if rest.len() != ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH || !rest.is_ascii() {
            return Err(Malformed::Length);
        }
        let (checksummed, presented_checksum) = text.split_at(text.len() - CHECKSUM_LENGTH);
        if checksum(checksummed.as_bytes()) != presented_checksum.as_bytes() {
            return Err(Malformed::Checksum);
        }
        let (id, rest) = rest.split_at(ID_LENGTH);
        let key_id = id.parse().map_err(|InvalidKeyId| Malformed::Id)?;
        let rest = rest.strip_prefix('_').ok_or(Malformed::Secret)?;
        let secret = decode_secret(&rest.as_bytes()[..SECRET_LENGTH]).ok_or(Malformed::Secret)?;
        Ok(Self { key_id, secret })
    }
}

/// Whether something of a credential's shape, of any brand and whether or not it is one, stands anywhere in `text`.
#[must_use]
pub fn is_within(text: &str) -> bool {
    text.match_indices(API_KEY_KIND).any(|(index, kind)| {
        let mut parts = text[index + kind.len()..].split('_');
        let mut has = |length: usize| {
            let part = parts.next().and_then(|part| part.as_bytes().get(..length));
            part.is_some_and(|part| part.iter().all(u8::is_ascii_alphanumeric))
        };
        has(0) && has(ID_LENGTH) && has(SECRET_LENGTH + CHECKSUM_LENGTH)
    })
}

/// How a presented text is not a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It begins with another word than this deployment's brand and `_`.
    #[error("another brand")]
    Brand,
    /// After the brand comes no kind that this deployment accepts.
    #[error("another kind")]
    Kind,
    /// It is too short or too long, or has a character outside ASCII.
    #[error("another length")]
    Length,
    /// The checksum is not that of what precedes it: mistyped, cut, or made up.
    #[error("wrong checksum")]
    Checksum,
    /// The id is not a ULID in its canonical form.
    #[error("id is not canonical")]
    Id,
    /// The secret is not base62, or at or above 2²⁵⁶.
    #[error("secret is not canonical")]
    Secret,
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(bytes);
    let mut digits = [0; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// Writes a 256-bit big-endian number in base 62 by long division, a byte at a time.
fn encode_secret(bytes: &[u8; 32]) -> Zeroizing<[u8; SECRET_LENGTH]> {
    let mut number = Zeroizing::new(*bytes);
    let mut digits = Zeroizing::new([0; SECRET_LENGTH]);
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u16;
        for byte in number.iter_mut() {
            let dividend = remainder << 8 | u16::from(*byte);
            [_, *byte] = (dividend / 62).to_be_bytes();
            remainder = dividend % 62;
        }
        *digit = BASE62[usize::from(remainder)];
    }
    digits
}

/// The reverse of [`encode_secret`]; `None` for a foreign character or a number of more than 256 bits.
fn decode_secret(digits: &[u8]) -> Option<Secret> {
    let mut number = Zeroizing::new([0_u8; 32]);
    for &digit in digits {
        let mut carry = u16::from(base62_value(digit)?);
        for byte in number.iter_mut().rev() {
            let product = u16::from(*byte) * 62 + carry;
            [_, *byte] = product.to_be_bytes();
            carry = product >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(Secret::from_bytes(&number))
}

fn base62_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'Z' => Some(digit - b'A' + 10),
        b'a'..=b'z' => Some(digit - b'a' + 36),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The texts come from an independent implementation of the format.
    const KNOWN: [(&str, [u8; 32]); 3] = [
        ("kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi", [0; 32]),
        ("kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp14N7cBk", [255; 32]),
        ("kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1uQGQy", ZERO_TO_31),
    ];

    const ZERO_TO_31: [u8; 32] = [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
        28, 29, 30, 31,
    ];

    fn brand() -> Brand {
        "kg".parse().unwrap()
    }

    #[test]
    fn a_credential_is_recognised_wherever_it_stands_and_whatever_its_brand() {
        let (key, _) = KNOWN[0];
        for text in
            [key.to_owned(), format!("a key,{key}&b"), key.replace("kg_", "other_"), format!("key_{key}")]
        {
            assert!(is_within(&text), "{text}");
        }
        for text in
            ["", "key", "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E", &key[..key.len() - 1], &key.replace('E', "é")]
        {
            assert!(!is_within(text), "{text}");
        }
    }

    fn credential(secret: [u8; 32]) -> Credential {
        let key_id = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        Credential { key_id, secret: Secret::from_bytes(&Zeroizing::new(secret)) }
    }

    fn malformed(text: &str) -> Malformed {
        Credential::parse(text, &brand()).expect_err(text)
    }

    #[test]
    fn known_credentials_are_written_and_read_as_published() {
        for (text, secret) in KNOWN {
            assert_eq!(credential(secret).to_text(&brand()).expose_secret(), text);
            let parsed = Credential::parse(text, &brand()).unwrap();
            assert_eq!(parsed.key_id.to_string(), "01JD3V6Y4N8Q2Z5X7W9B0C1D2E");
            assert_eq!(parsed.secret.expose(), &secret);
        }
    }

    #[test]
    fn another_brand_is_malformed() {
        assert_eq!(malformed(""), Malformed::Brand);
        assert_eq!(malformed(&KNOWN[0].0.replace("kg_", "gk_")), Malformed::Brand);
        assert_eq!(malformed(&KNOWN[0].0.replace("kg_", "kgg_")), Malformed::Brand);
    }

    #[test]
    fn another_kind_is_malformed() {
        assert_eq!(malformed(&KNOWN[0].0.replace("_key_", "_tok_")), Malformed::Kind);
        assert_eq!(malformed("kg_keys_"), Malformed::Kind);
    }

    #[test]
    fn another_length_is_malformed() {
        assert_eq!(malformed("kg_key_"), Malformed::Length);
        assert_eq!(malformed(&KNOWN[0].0[..82]), Malformed::Length);
        assert_eq!(malformed(&format!("{}0", KNOWN[0].0)), Malformed::Length);
        assert_eq!(malformed(&KNOWN[0].0.replacen("00", "é", 1)), Malformed::Length);
    }

    #[test]
    fn a_wrong_checksum_is_malformed() {
        assert_eq!(malformed(&KNOWN[0].0.replace("kMi", "kMj")), Malformed::Checksum);
        assert_eq!(malformed(&KNOWN[0].0.replace("2E_0", "2E_1")), Malformed::Checksum);
    }

    #[test]
    fn an_id_in_another_form_is_malformed() {
        for text in [
            "kg_key_01jd3v6y4n8q2z5x7w9b0c1d2e_00000000000000000000000000000000000000000053GzgzW",
            "kg_key_0IJD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000052mayhA",
            "kg_key_81JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000052hXSOa",
        ] {
            assert_eq!(malformed(text), Malformed::Id);
        }
    }

    #[test]
    fn a_secret_above_256_bits_or_outside_base62_is_malformed() {
        for text in [
            "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp22By1b8",
            "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz0hPoNt",
            "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E-00000000000000000000000000000000000000000051mpVoP",
            "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_000000000000000000000000000000000000000005-1fZD76",
        ] {
            assert_eq!(malformed(text), Malformed::Secret);
        }
    }

    #[test]
    fn nothing_shows_a_secret_but_the_one_way_to_read_it() {
        let credential = credential(ZERO_TO_31);
        assert!(!format!("{credential:?}{:?}", credential.to_text(&brand())).contains("003aUl"));
        assert_eq!(format!("{:?}", credential.secret), "Secret([REDACTED])");
    }

    #[test]
    fn two_credentials_differ_in_id_and_secret() {
        let now = Utc::now();
        let (one, other) = (Credential::generate(now), Credential::generate(now));
        assert_ne!(one.key_id, other.key_id);
        assert_ne!(one.secret.expose(), other.secret.expose());
    }

    #[test]
    fn a_brand_is_a_short_lower_case_word() {
        for valid in ["kg", "a1", "acme", "abcdefghij"] {
            assert!(valid.parse::<Brand>().is_ok(), "{valid}");
        }
        for invalid in ["", "k", "1k", "Kg", "k_g", "abcdefghijk", "ké"] {
            assert_eq!(invalid.parse::<Brand>(), Err(InvalidBrand), "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn every_secret_survives_being_written_and_read(secret: [u8; 32]) {
            let text = credential(secret).to_text(&brand());
            prop_assert_eq!(text.expose_secret().len(), 83);
            let parsed = Credential::parse(text.expose_secret(), &brand()).unwrap();
            prop_assert_eq!(parsed.secret.expose(), &secret);
        }

        #[test]
        fn no_credential_with_one_character_changed_parses(
            secret: [u8; 32],
            index in 0_usize..83,
            replacement in "[ -~]",
        ) {
            let text = credential(secret).to_text(&brand());
            let mut changed = text.expose_secret().to_owned();
            changed.replace_range(index..=index, &replacement);
            prop_assume!(changed != text.expose_secret());
            prop_assert!(Credential::parse(&changed, &brand()).is_err());
        }

        #[test]
        fn whatever_is_presented_is_parsed_or_refused(text: String) {
            let _ = Credential::parse(&text, &brand());
            let _ = Credential::parse(&format!("kg_key_{text}"), &brand());
        }
    }
}

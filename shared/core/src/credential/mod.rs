//! Anatomy of a credential.
//!
//! ```text
//! kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_<43 characters of secret><6 of checksum>
//! │  │   │                          │                          └ CRC-32 (IEEE) of all before it, base62
//! │  │   │                          └ 32 random bytes, base62 (0-9A-Za-z), fixed width
//! │  │   └ id: ULID, the key's public id
//! │  └ kind: an API key
//! └ brand
//!
//! kg_tok_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_01JD4A0000F9K3W7RT2M8Q0001_<secret><checksum>
//!    │   │                          └ id of the token, in which its family's id stands ([`TokenId`])
//!    │   └ id of the key that it was made with
//!    └ kind: `tok` is an access token, `ref` a refresh token
//! ```
//!
//! Shape and checksum are checked before anything else: garbage never costs a database read, and secret scanners can
//! tell a real key from a look-alike without asking anyone. Only the canonical form parses, so a key has exactly one
//! text.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use ulid::Ulid;
use zeroize::Zeroizing;

use crate::environment::{Environment, InvalidVariable};
use crate::newtype::consists_of;
use crate::random::{fill_with_random_bytes, generate_ulid};

/// What a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialForm {
    /// The key itself.
    ApiKey,
    /// A token that opens APIs for a while.
    AccessToken(TokenId),
    /// A token that gets others, once.
    RefreshToken(TokenId),
}

// NEVER change these values: every credential that was ever issued carries its own, in its text and in its hash.
const API_KEY: &str = "key";
const ACCESS_TOKEN: &str = "tok";
const REFRESH_TOKEN: &str = "ref";

impl CredentialForm {
    /// The word that a credential of this kind has behind the brand.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ApiKey => API_KEY,
            Self::AccessToken(_) => ACCESS_TOKEN,
            Self::RefreshToken(_) => REFRESH_TOKEN,
        }
    }

    /// Which of its key's tokens it is.
    #[must_use]
    pub fn token_id(self) -> Option<TokenId> {
        match self {
            Self::ApiKey => None,
            Self::AccessToken(id) | Self::RefreshToken(id) => Some(id),
        }
    }
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_LENGTH: usize = ulid::ULID_LEN;
/// 62⁴³ is the first power of 62 above 2²⁵⁶.
const SECRET_LENGTH: usize = 43;
/// 62⁶ is the first power of 62 above 2³².
const CHECKSUM_LENGTH: usize = 6;

string_newtype! {
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

impl Brand {
    /// `BRAND`; `kg` unless set.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is no brand.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        environment.parsed(
            "BRAND",
            "kg",
            "must be 2 to 10 lower-case letters and digits and begin with a letter",
        )
    }
}

/// Declares an id that is a ULID in its canonical form: the decoder would also take lower case and look-alikes such as `O`
/// for `0`.
macro_rules! ulid_id {
    ($(#[$about:meta])* $name:ident, $(#[$about_error:meta])* $error:ident: $message:literal) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(Ulid);

        impl $name {
            /// The id as the 16 bytes that are hashed.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.0.array_to_str(&mut [0; ID_LENGTH]))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                let id = Ulid::from_string(text).map_err(|_| $error)?;
                if id.array_to_str(&mut [0; ID_LENGTH]) == text { Ok(Self(id)) } else { Err($error) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        $(#[$about_error])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
        #[error($message)]
        pub struct $error;
    };
}

ulid_id! {
    /// The public id of a key: a ULID, whose first ten characters are its time of creation.
    KeyId,
    /// A text that is no [`KeyId`].
    InvalidKeyId: "must be the id of a key: a ULID of 26 upper-case characters"
}

ulid_id! {
    /// The public id of a token: a ULID whose last 16 bits are a number.
    ///
    /// Tokens of a family have its id but for the number, so whoever holds a token knows its family without reading
    /// anything: what the authorizer needs of a token is read at once. The number 0 is that of a token without a family.
    TokenId,
    /// A text that is no [`TokenId`].
    InvalidTokenId: "must be the id of a token: a ULID of 26 upper-case characters"
}

ulid_id! {
    /// The id of a family: of a refresh token, those that come after it, and the access tokens of all of them.
    FamilyId,
    /// A text that is no [`FamilyId`].
    InvalidFamilyId: "must be the id of a family: a ULID of 26 upper-case characters"
}

/// The bits of a token's id that are its number.
const NUMBER: u128 = 0xFFFF;

impl KeyId {
    /// A new id for a key made `now`.
    #[must_use]
    pub fn generate(now: DateTime<Utc>) -> Self {
        Self(generate_ulid(now))
    }

    /// How the key is shown where its secret must not be: brand, kind and id.
    #[must_use]
    pub fn prefix(&self, brand: &Brand) -> String {
        format!("{brand}_{API_KEY}_{self}")
    }
}

impl TokenId {
    /// A new id for a token without a family, made `now`.
    #[must_use]
    pub fn generate(now: DateTime<Utc>) -> Self {
        Self(Ulid(generate_ulid(now).0 & !NUMBER))
    }

    /// Its number in its family; 0 without one.
    #[must_use]
    pub fn number(self) -> u16 {
        let [.., high, low] = self.to_bytes();
        u16::from_be_bytes([high, low])
    }

    /// The family of the token, if it is in one.
    #[must_use]
    pub fn family(self) -> Option<FamilyId> {
        (self.number() != 0).then_some(FamilyId(Ulid(self.0.0 & !NUMBER)))
    }
}

impl FamilyId {
    /// A new id for a family that begins `now`.
    #[must_use]
    pub fn generate(now: DateTime<Utc>) -> Self {
        Self(Ulid(generate_ulid(now).0 & !NUMBER))
    }

    /// When the family began, to the second: a ULID begins with its time.
    #[must_use]
    pub fn created_at(self) -> DateTime<Utc> {
        let seconds = i64::try_from(self.0.timestamp_ms() / 1000).unwrap_or(0);
        DateTime::from_timestamp(seconds, 0).unwrap_or_default()
    }

    /// The token of that number, which is not 0.
    #[must_use]
    pub fn token(self, number: NonZeroU16) -> TokenId {
        TokenId(Ulid(self.0.0 | u128::from(number.get())))
    }
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

/// A credential as its owner has it: what it names, and the secret.
#[derive(Debug)]
pub struct Credential {
    /// Which key it claims to be, or to be made with.
    pub key_id: KeyId,
    /// What it claims to be.
    pub kind: CredentialForm,
    /// What proves it.
    pub secret: Secret,
}

impl Credential {
    /// Draws a new credential for a key made `now`.
    #[must_use]
    pub fn generate(now: DateTime<Utc>) -> Self {
        Self::draw(KeyId::generate(now), CredentialForm::ApiKey)
    }

    /// Draws a new secret for a key that exists, or for a token of it.
    #[must_use]
    pub fn draw(key_id: KeyId, kind: CredentialForm) -> Self {
        Self { key_id, kind, secret: Secret::generate() }
    }

    /// The text the owner is given, once.
    #[must_use]
    pub fn to_text(&self, brand: &Brand) -> SecretString {
        let mut text = Zeroizing::new(format!("{brand}_{}_{}_", self.kind.word(), self.key_id));
        // Growing later would leave copies of the secret behind.
        text.reserve_exact(ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH);
        if let Some(token_id) = self.kind.token_id() {
            text.push_str(token_id.0.array_to_str(&mut [0; ID_LENGTH]));
            text.push('_');
        }
        text.extend(encode_secret(self.secret.expose()).iter().copied().map(char::from));
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.iter().copied().map(char::from));
        SecretString::from(text.as_str())
    }

    /// Takes a presented text apart.
    ///
    /// # Errors
    ///
    /// One variant of [`Malformed`] for each way not to be a credential of this deployment, checked in their order.
    ///
    /// # Example
    ///
    /// ```
    /// use keygate_core::credential::{Brand, Credential, CredentialForm, Malformed};
    ///
    /// let brand: Brand = "kg".parse().unwrap();
    /// let text = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000101gsDZR";
    /// let credential = Credential::parse(text, &brand).unwrap();
    /// assert_eq!(credential.kind, CredentialForm::ApiKey);
    /// assert_eq!(credential.key_id.to_string(), "01JD3V6Y4N8Q2Z5X7W9B0C1D2E");
    /// assert!(matches!(Credential::parse(&text.replace('3', "4"), &brand), Err(Malformed::Checksum)));
    /// ```
    pub fn parse(text: &str, brand: &Brand) -> Result<Self, Malformed> {
        let rest = text.strip_prefix(brand.as_str()).ok_or(Malformed::Brand)?;
        let rest = rest.strip_prefix('_').ok_or(Malformed::Brand)?;
        let (kind, rest) = rest.split_once('_').ok_or(Malformed::Kind)?;
        let ids = match kind {
            API_KEY => 1,
            ACCESS_TOKEN | REFRESH_TOKEN => 2,
            _ => return Err(Malformed::Kind),
        };
        if rest.len() != ids * (ID_LENGTH + 1) + SECRET_LENGTH + CHECKSUM_LENGTH || !rest.is_ascii() {
            return Err(Malformed::Length);
        }
        let (checksummed, presented_checksum) = text.split_at(text.len() - CHECKSUM_LENGTH);
        if checksum(checksummed.as_bytes()) != presented_checksum.as_bytes() {
            return Err(Malformed::Checksum);
        }
        let (key_id, rest) = rest.split_at(ID_LENGTH);
        let key_id = key_id.parse().map_err(|InvalidKeyId| Malformed::Id)?;
        let mut rest = rest.strip_prefix('_').ok_or(Malformed::Id)?;
        let mut token_id = || {
            let (id, secret) = rest.split_at(ID_LENGTH);
            rest = secret.strip_prefix('_').ok_or(Malformed::Id)?;
            id.parse().map_err(|InvalidTokenId| Malformed::Id)
        };
        let kind = match kind {
            ACCESS_TOKEN => CredentialForm::AccessToken(token_id()?),
            REFRESH_TOKEN => CredentialForm::RefreshToken(token_id()?),
            _ => CredentialForm::ApiKey,
        };
        let secret = decode_secret(&rest.as_bytes()[..SECRET_LENGTH]).ok_or(Malformed::Secret)?;
        Ok(Self { key_id, kind, secret })
    }
}

/// Whether something of a credential's shape, of any brand and whether or not it is one, stands anywhere in `text`.
#[must_use]
pub fn contains_credential(text: &str) -> bool {
    let has_shape = |(index, kind): (usize, &str), ids: usize| {
        let rest = &text[index + kind.len()..];
        // Before anything is looked for behind it, so that a text of nothing but kinds is read once.
        if !rest.starts_with('_') {
            return false;
        }
        let mut parts = rest.split('_');
        let mut has = |length: usize| {
            let part = parts.next().and_then(|part| part.as_bytes().get(..length));
            part.is_some_and(|part| part.iter().all(u8::is_ascii_alphanumeric))
        };
        has(0) && (0..ids).all(|_| has(ID_LENGTH)) && has(SECRET_LENGTH + CHECKSUM_LENGTH)
    };
    text.match_indices(API_KEY).any(|found| has_shape(found, 1))
        || [ACCESS_TOKEN, REFRESH_TOKEN]
            .iter()
            .any(|kind| text.match_indices(kind).any(|found| has_shape(found, 2)))
}

/// What is said of a text that [`contains_credential`] finds a credential in. It never repeats the text.
pub const MUST_NOT_BE: &str = "must not be a credential, nor contain one";

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
    /// An id is not a ULID in its canonical form, or not followed by `_`.
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
    use crate::fixtures::KEY_TEXT;

    /// The texts come from an independent implementation of the format.
    const KNOWN: [(&str, [u8; 32]); 3] = [
        (KEY_TEXT, [0; 32]),
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
            assert!(contains_credential(&text), "{text}");
        }
        for text in
            ["", "key", "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E", &key[..key.len() - 1], &key.replace('E', "é")]
        {
            assert!(!contains_credential(text), "{text}");
        }
    }

    fn credential(secret: [u8; 32]) -> Credential {
        let key_id = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        Credential {
            key_id,
            kind: CredentialForm::ApiKey,
            secret: Secret::from_bytes(&Zeroizing::new(secret)),
        }
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

    /// From an independent implementation, too.
    #[test]
    fn known_tokens_are_written_and_read_as_published() {
        let token_id: TokenId = "01JD4A0000F9K3W7RT2M8Q0001".parse().unwrap();
        for (text, kind) in [
            (
                "kg_tok_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_01JD4A0000F9K3W7RT2M8Q0001_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1ROC8W",
                CredentialForm::AccessToken(token_id),
            ),
            (
                "kg_ref_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_01JD4A0000F9K3W7RT2M8Q0001_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf2KTcMO",
                CredentialForm::RefreshToken(token_id),
            ),
        ] {
            let written = Credential { kind, ..credential(ZERO_TO_31) };
            assert_eq!(written.to_text(&brand()).expose_secret(), text);
            let parsed = Credential::parse(text, &brand()).unwrap();
            assert_eq!((parsed.key_id, parsed.kind), (written.key_id, kind));
            assert_eq!(parsed.secret.expose(), &ZERO_TO_31);
            assert!(contains_credential(&format!("a token: {text}.")));
            assert!(!contains_credential(&text[..text.len() - 1]));
            let other_kind = text.replace("_tok_", "_key_").replace("_ref_", "_tok_");
            assert!(Credential::parse(&other_kind, &brand()).is_err());
        }
    }

    #[test]
    fn a_token_knows_its_family() {
        let id = |text: &str| text.parse::<TokenId>().unwrap();
        let family = id("01JD4A0000F9K3W7RT2M8Q0001").family().unwrap();
        assert_eq!(family.to_string(), "01JD4A0000F9K3W7RT2M8Q0000");
        assert_eq!(family.token(NonZeroU16::MIN).to_string(), "01JD4A0000F9K3W7RT2M8Q0001");
        assert_eq!(id("01JD4A0000F9K3W7RT2M8Q0000").family(), None);
        assert_eq!(family.token(NonZeroU16::MAX).number(), u16::MAX);
        let now = DateTime::from_timestamp(1_800_000_000, 999_000_000).unwrap();
        assert_eq!(FamilyId::generate(now).created_at().timestamp(), 1_800_000_000);
    }

    #[test]
    fn another_brand_is_malformed() {
        assert_eq!(malformed(""), Malformed::Brand);
        assert_eq!(malformed(&KNOWN[0].0.replace("kg_", "gk_")), Malformed::Brand);
        assert_eq!(malformed(&KNOWN[0].0.replace("kg_", "kgg_")), Malformed::Brand);
    }

    #[test]
    fn another_kind_is_malformed() {
        assert_eq!(malformed(&KNOWN[0].0.replace("_key_", "_kex_")), Malformed::Kind);
        assert_eq!(malformed("kg_keys_"), Malformed::Kind);
    }

    #[test]
    fn another_length_is_malformed() {
        assert_eq!(malformed("kg_key_"), Malformed::Length);
        assert_eq!(malformed(&KNOWN[0].0.replace("_key_", "_tok_")), Malformed::Length);
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
            "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E-00000000000000000000000000000000000000000051mpVoP",
        ] {
            assert_eq!(malformed(text), Malformed::Id);
        }
    }

    #[test]
    fn a_secret_above_256_bits_or_outside_base62_is_malformed() {
        for text in [
            "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp22By1b8",
            "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz0hPoNt",
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

//! The text of a credential: its parts, how it is written, and how it is parsed.
//!
//! ```text
//! kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_<43 characters of secret><6 of checksum>
//! │  │   │                          │                          └ CRC-32 (IEEE) of all before it, base62
//! │  │   │                          └ 32 random bytes, base62 (0-9A-Za-z), fixed width
//! │  │   └ id: ULID, the key's public id
//! │  └ form: an API key
//! └ brand
//!
//! kg_tok_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_01JD4A0000F9K3W7RT2M8Q0001_<secret><checksum>
//!    │   │                          └ id of the token, which contains the id of its family ([`TokenId`])
//!    │   └ id of the key that it was issued for
//!    └ form: `tok` is an access token, `ref` a refresh token
//!
//! kg_ses_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_01JD4A0000F9K3W7RT2M8Q0001_<secret><checksum>
//!    │   │                          └ id of the session
//!    │   └ id of the key that opened it
//!    └ form: `ses` is a session, `cod` the code with which a page begins one
//! ```
//!
//! The parser checks length and checksum first, so garbage never costs a database read, and a secret scanner can tell a real
//! key from a look-alike offline. It accepts the canonical text alone, so every credential has exactly one text.

mod base62;
mod id;

use std::fmt;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use thiserror::Error;
use ulid::Ulid;
use zeroize::Zeroizing;

use self::base62::{CHECKSUM_LENGTH, SECRET_LENGTH, checksum, decode_secret, encode_secret};
use self::id::ID_LENGTH;
pub use self::id::{
    FamilyId, InvalidFamilyId, InvalidKeyId, InvalidSessionId, InvalidTokenId, KeyId, SessionId, TokenId,
};
use crate::environment::{Environment, InvalidVariable};
use crate::newtype::consists_of;
use crate::random::fill_with_random_bytes;

/// The form of a credential's text. [`crate::credential_class`] says how it differs from a kind and a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialForm {
    /// `kg_key_…`: an API key.
    ApiKey,
    /// `kg_tok_…`: an access token, which calls APIs for a limited time.
    AccessToken(TokenId),
    /// `kg_ref_…`: a refresh token, which is exchanged once for new tokens.
    RefreshToken(TokenId),
    /// `kg_ses_…`: a session, with which a user manages their keys for a limited time.
    Session(SessionId),
    /// `kg_cod_…`: a page code, which a page exchanges once for the secret of its session.
    PageCode(SessionId),
}

// NEVER change these values: every credential that was ever issued carries its own, in its text and in its hash.
const API_KEY: &str = "key";
const ACCESS_TOKEN: &str = "tok";
const REFRESH_TOKEN: &str = "ref";
const SESSION: &str = "ses";
const PAGE_CODE: &str = "cod";

impl CredentialForm {
    /// The word behind the brand.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ApiKey => API_KEY,
            Self::AccessToken(_) => ACCESS_TOKEN,
            Self::RefreshToken(_) => REFRESH_TOKEN,
            Self::Session(_) => SESSION,
            Self::PageCode(_) => PAGE_CODE,
        }
    }

    /// The id behind the id of the key, as 16 bytes: of the token or the session. An API key has none.
    #[must_use]
    pub fn second_id(self) -> Option<[u8; 16]> {
        match self {
            Self::ApiKey => None,
            Self::AccessToken(id) | Self::RefreshToken(id) => Some(id.to_bytes()),
            Self::Session(id) | Self::PageCode(id) => Some(id.to_bytes()),
        }
    }
}

string_newtype! {
    /// The word that the credentials of a deployment begin with: `[a-z][a-z0-9]{1,9}`, by default `kg`.
    ///
    /// It tells from a leaked credential which deployment issued it.
    Brand is |text| {
        text.starts_with(|first: char| first.is_ascii_lowercase())
            && consists_of(text, 2..=10, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    },
    or else
    /// The error of a text that is not a [`Brand`].
    InvalidBrand: "must be 2 to 10 lower-case letters and digits and begin with a letter"
}

impl Brand {
    /// Reads the variable `BRAND`. The default is `kg`.
    ///
    /// # Errors
    ///
    /// - [`InvalidVariable`]: the value is not a brand.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        environment.parsed(
            "BRAND",
            "kg",
            "must be 2 to 10 lower-case letters and digits and begin with a letter",
        )
    }
}

/// The random part of a credential: 32 bytes, zeroed on drop, never shown by `Debug`.
pub struct Secret(SecretBox<[u8; 32]>);

impl Secret {
    /// Takes 32 bytes. They must be unpredictable: random, or derived under a secret key.
    #[must_use]
    pub fn from_bytes(bytes: &Zeroizing<[u8; 32]>) -> Self {
        Self(SecretBox::init_with_mut(|secret: &mut [u8; 32]| secret.copy_from_slice(&**bytes)))
    }

    fn generate() -> Self {
        Self(SecretBox::init_with_mut(|bytes: &mut [u8; 32]| fill_with_random_bytes(bytes)))
    }

    /// Returns the bytes. Only hashing and the one response that shows a key may read them.
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

impl KeyId {
    /// The public beginning of the key: brand, form and id, without the secret.
    #[must_use]
    pub fn prefix(&self, brand: &Brand) -> String {
        format!("{brand}_{API_KEY}_{self}")
    }
}

/// A credential in its parts. The parts are claims until the secret is compared with the stored hash.
#[derive(Debug)]
pub struct Credential {
    /// The key that it claims to be, or to be issued for.
    pub key_id: KeyId,
    /// The form that it claims.
    pub form: CredentialForm,
    /// The proof of the claim.
    pub secret: Secret,
}

impl Credential {
    /// Draws an id and a secret for a key that is created `now`.
    #[must_use]
    pub fn generate(now: DateTime<Utc>) -> Self {
        Self::draw(KeyId::generate(now), CredentialForm::ApiKey)
    }

    /// Draws a secret for an existing key, or for a token of it.
    #[must_use]
    pub fn draw(key_id: KeyId, form: CredentialForm) -> Self {
        Self { key_id, form, secret: Secret::generate() }
    }

    /// Writes the credential as its owner receives it.
    #[must_use]
    pub fn to_text(&self, brand: &Brand) -> SecretString {
        let mut text = Zeroizing::new(format!("{brand}_{}_{}_", self.form.word(), self.key_id));
        // Growing later would leave copies of the secret behind.
        text.reserve_exact(ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH);
        if let Some(second_id) = self.form.second_id() {
            text.push_str(&Ulid::from_bytes(second_id).to_string());
            text.push('_');
        }
        text.extend(encode_secret(self.secret.expose()).iter().copied().map(char::from));
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.iter().copied().map(char::from));
        SecretString::from(text.as_str())
    }

    /// Parses the text of a credential of this deployment.
    ///
    /// # Errors
    ///
    /// The first variant of [`Malformed`], in the order of their declaration, that applies.
    ///
    /// # Example
    ///
    /// ```
    /// use keygate_core::credential::{Brand, Credential, CredentialForm, Malformed};
    ///
    /// let brand: Brand = "kg".parse().unwrap();
    /// let text = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000101gsDZR";
    /// let credential = Credential::parse(text, &brand).unwrap();
    /// assert_eq!(credential.form, CredentialForm::ApiKey);
    /// assert_eq!(credential.key_id.to_string(), "01JD3V6Y4N8Q2Z5X7W9B0C1D2E");
    /// assert!(matches!(Credential::parse(&text.replace('3', "4"), &brand), Err(Malformed::Checksum)));
    /// ```
    pub fn parse(text: &str, brand: &Brand) -> Result<Self, Malformed> {
        let rest = text.strip_prefix(brand.as_str()).ok_or(Malformed::Brand)?;
        let rest = rest.strip_prefix('_').ok_or(Malformed::Brand)?;
        let (word, rest) = rest.split_once('_').ok_or(Malformed::Form)?;
        let ids = match word {
            API_KEY => 1,
            ACCESS_TOKEN | REFRESH_TOKEN | SESSION | PAGE_CODE => 2,
            _ => return Err(Malformed::Form),
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
        let mut second_id = || {
            let (id, secret) = rest.split_at(ID_LENGTH);
            rest = secret.strip_prefix('_').ok_or(Malformed::Id)?;
            Ok(id)
        };
        let token_id = |id: &str| id.parse().map_err(|InvalidTokenId| Malformed::Id);
        let session_id = |id: &str| id.parse().map_err(|InvalidSessionId| Malformed::Id);
        let form = match word {
            ACCESS_TOKEN => CredentialForm::AccessToken(token_id(second_id()?)?),
            REFRESH_TOKEN => CredentialForm::RefreshToken(token_id(second_id()?)?),
            SESSION => CredentialForm::Session(session_id(second_id()?)?),
            PAGE_CODE => CredentialForm::PageCode(session_id(second_id()?)?),
            _ => CredentialForm::ApiKey,
        };
        let secret = decode_secret(&rest.as_bytes()[..SECRET_LENGTH]).ok_or(Malformed::Secret)?;
        Ok(Self { key_id, form, secret: Secret::from_bytes(&secret) })
    }
}

/// The length of the shortest text of a credential's shape: an API key without its brand.
const SHORTEST: usize = API_KEY.len() + 1 + ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH;

/// Whether `text` contains anything of a credential's shape, of any brand, with a valid checksum or not.
#[must_use]
pub fn contains_credential(text: &str) -> bool {
    if text.len() < SHORTEST {
        return false;
    }
    let has_shape = |(index, kind): (usize, &str), ids: usize| {
        let rest = &text[index + kind.len()..];
        // The cheap check first: a text that repeats the words of the forms is then read only once.
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
        || [ACCESS_TOKEN, REFRESH_TOKEN, SESSION, PAGE_CODE]
            .iter()
            .any(|kind| text.match_indices(kind).any(|found| has_shape(found, 2)))
}

/// The message for a text in which [`contains_credential`] finds a credential. It does not repeat the text.
pub const MUST_NOT_BE: &str = "must not contain a credential";

/// Why a text is not a credential of this deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It does not begin with the brand of this deployment and `_`.
    #[error("another brand")]
    Brand,
    /// The word behind the brand is not that of a [`CredentialForm`].
    #[error("another kind")]
    Form,
    /// It is too short, too long, or not ASCII.
    #[error("another length")]
    Length,
    /// The checksum does not match the text before it: the text is mistyped, cut or invented.
    #[error("wrong checksum")]
    Checksum,
    /// An id is not a ULID in its canonical form, or not followed by `_`.
    #[error("id is not canonical")]
    Id,
    /// The secret is not base 62, or is not below 2²⁵⁶.
    #[error("secret is not canonical")]
    Secret,
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
            form: CredentialForm::ApiKey,
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
        for (text, form) in [
            (
                "kg_tok_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_01JD4A0000F9K3W7RT2M8Q0001_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1ROC8W",
                CredentialForm::AccessToken(token_id),
            ),
            (
                "kg_ref_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_01JD4A0000F9K3W7RT2M8Q0001_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf2KTcMO",
                CredentialForm::RefreshToken(token_id),
            ),
        ] {
            let written = Credential { form, ..credential(ZERO_TO_31) };
            assert_eq!(written.to_text(&brand()).expose_secret(), text);
            let parsed = Credential::parse(text, &brand()).unwrap();
            assert_eq!((parsed.key_id, parsed.form), (written.key_id, form));
            assert_eq!(parsed.secret.expose(), &ZERO_TO_31);
            assert!(contains_credential(&format!("a token: {text}.")));
            assert!(!contains_credential(&text[..text.len() - 1]));
            let other_form = text.replace("_tok_", "_key_").replace("_ref_", "_tok_");
            assert!(Credential::parse(&other_form, &brand()).is_err());
        }
    }

    #[test]
    fn sessions_and_page_codes_are_written_and_read() {
        let session_id: SessionId = "01JD4A0000F9K3W7RT2M8Q0001".parse().unwrap();
        for form in [CredentialForm::Session(session_id), CredentialForm::PageCode(session_id)] {
            let text = Credential { form, ..credential(ZERO_TO_31) }.to_text(&brand());
            let parsed = Credential::parse(text.expose_secret(), &brand()).unwrap();
            assert_eq!((parsed.form, parsed.secret.expose()), (form, &ZERO_TO_31));
            assert!(contains_credential(text.expose_secret()));
            let of_other_form = text.expose_secret().replace("_ses_", "_tok_").replace("_cod_", "_ses_");
            assert!(Credential::parse(&of_other_form, &brand()).is_err());
        }
    }

    #[test]
    fn another_brand_is_malformed() {
        assert_eq!(malformed(""), Malformed::Brand);
        assert_eq!(malformed(&KNOWN[0].0.replace("kg_", "gk_")), Malformed::Brand);
        assert_eq!(malformed(&KNOWN[0].0.replace("kg_", "kgg_")), Malformed::Brand);
    }

    #[test]
    fn another_form_is_malformed() {
        assert_eq!(malformed(&KNOWN[0].0.replace("_key_", "_kex_")), Malformed::Form);
        assert_eq!(malformed("kg_keys_"), Malformed::Form);
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

//! The public ids of keys, tokens and token families.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use ulid::Ulid;

use crate::random::generate_ulid;

/// The length of every id in its text form.
pub(super) const ID_LENGTH: usize = ulid::ULID_LEN;

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
    /// The error of a text that is not a [`KeyId`].
    InvalidKeyId: "must be the id of a key: a ULID of 26 upper-case characters"
}

ulid_id! {
    /// The public id of a token: a ULID whose last 16 bits are a number.
    ///
    /// The tokens of a family differ from its id only in the number. The id of a token therefore names its family, and the
    /// authorizer reads key, token and family at once. The number 0 marks a token without a family.
    TokenId,
    /// The error of a text that is not a [`TokenId`].
    InvalidTokenId: "must be the id of a token: a ULID of 26 upper-case characters"
}

ulid_id! {
    /// The id of a family: a refresh token, its successors, and the access tokens of all of them.
    FamilyId,
    /// The error of a text that is not a [`FamilyId`].
    InvalidFamilyId: "must be the id of a family: a ULID of 26 upper-case characters"
}

ulid_id! {
    /// The public id of a session: a ULID.
    SessionId,
    /// The error of a text that is not a [`SessionId`].
    InvalidSessionId: "must be the id of a session: a ULID of 26 upper-case characters"
}

/// The bits of a token's id that hold its number.
const NUMBER: u128 = 0xFFFF;

impl KeyId {
    /// Draws an id for a key that is created `now`.
    #[must_use]
    pub fn generate(now: DateTime<Utc>) -> Self {
        Self(generate_ulid(now))
    }
}

impl SessionId {
    /// The millisecond in which the session was opened: a ULID begins with its time of creation.
    #[must_use]
    pub fn created_at(self) -> DateTime<Utc> {
        let milliseconds = i64::try_from(self.0.timestamp_ms()).unwrap_or(0);
        DateTime::from_timestamp_millis(milliseconds).unwrap_or_default()
    }

    /// Draws an id for a session that is opened `now`.
    #[must_use]
    pub fn generate(now: DateTime<Utc>) -> Self {
        Self(generate_ulid(now))
    }
}

impl TokenId {
    /// Draws an id for a token without a family that is issued `now`.
    #[must_use]
    pub fn generate(now: DateTime<Utc>) -> Self {
        Self(Ulid(generate_ulid(now).0 & !NUMBER))
    }

    /// The number of the token in its family; 0 if it has no family.
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
    /// Draws an id for a family that begins `now`.
    #[must_use]
    pub fn generate(now: DateTime<Utc>) -> Self {
        Self(Ulid(generate_ulid(now).0 & !NUMBER))
    }

    /// The second in which the family began: a ULID begins with its time of creation.
    #[must_use]
    pub fn created_at(self) -> DateTime<Utc> {
        let seconds = i64::try_from(self.0.timestamp_ms() / 1000).unwrap_or(0);
        DateTime::from_timestamp(seconds, 0).unwrap_or_default()
    }

    /// The id of the token with `number`.
    #[must_use]
    pub fn token(self, number: NonZeroU16) -> TokenId {
        TokenId(Ulid(self.0.0 | u128::from(number.get())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

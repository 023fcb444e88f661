//! The ids of workspaces and users.

use thiserror::Error as ThisError;

use crate::credential;
use crate::newtype::consists_of;

string_newtype! {
    /// The tenant that a key, a user or an event belongs to: `[a-z0-9-]{1,64}`. One workspace never sees another.
    WorkspaceId is |text| consists_of(text, 1..=64, |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')),
    or else
    /// The error of a text that is not a [`WorkspaceId`].
    InvalidWorkspaceId: "must be 1 to 64 characters of a-z, 0-9 and '-'"
}

string_newtype! {
    /// The user that a key belongs to and acts as: an opaque id that the adopter chooses, `[A-Za-z0-9._:@|+='!~-]{1,128}`.
    ///
    /// The id is part of paths and of the audit trail. So it must not be `.` or `..`, which clients resolve in a path, and must
    /// not contain a credential, which would be stored and published with it.
    UserId or InvalidUserId, by check_user_id
}

fn check_user_id(text: &str) -> Result<(), InvalidUserId> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@|+='!~-".contains(&byte);
    if !consists_of(text, 1..=128, allowed) {
        Err(InvalidUserId::Characters)
    } else if matches!(text, "." | "..") {
        Err(InvalidUserId::Dots)
    } else if is_reserved(text) && !text.starts_with(RESERVED) {
        Err(InvalidUserId::Reserved)
    } else if credential::contains_credential(text) {
        Err(InvalidUserId::Credential)
    } else {
        Ok(())
    }
}

/// The error of a text that is not a [`UserId`], or not one that a user can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum InvalidUserId {
    /// It is empty, too long, or has other characters.
    #[error("must be 1 to 128 characters of A-Z, a-z, 0-9 and . _ : @ | + = - ' ! ~")]
    Characters,
    /// It is `.` or `..`, which clients resolve in a path.
    #[error("must not be . or ..")]
    Dots,
    /// It begins with the prefix of Keygate's own ids.
    #[error("must not begin with {RESERVED}, in any case")]
    Reserved,
    /// It is a credential, or contains one.
    #[error("{}", credential::MUST_NOT_BE)]
    Credential,
}

/// The prefix of the ids under which Keygate itself appears in the audit trail. With other capitals it begins no id at all, so
/// that no user looks like Keygate.
const RESERVED: &str = "keygate:";

/// The prefix of the ids of service accounts.
const SERVICE_ACCOUNT: &str = "svc:";

fn is_reserved(text: &str) -> bool {
    text.get(..RESERVED.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(RESERVED))
}

impl UserId {
    /// The actor of a removal that an event of another system asked for.
    #[must_use]
    pub fn of_user_events() -> Self {
        Self(format!("{RESERVED}users"))
    }

    /// The actor of what time alone causes: an expiry, the end of an overlap.
    #[must_use]
    pub fn of_clock() -> Self {
        Self(format!("{RESERVED}clock"))
    }

    /// The actor of what happens to unused keys.
    #[must_use]
    pub fn of_unused_keys() -> Self {
        Self(format!("{RESERVED}unused"))
    }

    /// The actor of a report of leaked credentials.
    #[must_use]
    pub fn of_leaks() -> Self {
        Self(format!("{RESERVED}leaks"))
    }

    /// The actor of an import.
    #[must_use]
    pub fn of_import() -> Self {
        Self(format!("{RESERVED}import"))
    }

    /// Whether the id is one of a service account, or looks like one: it begins with `svc:`, in any case.
    #[must_use]
    pub fn is_service_account(&self) -> bool {
        self.0.get(..SERVICE_ACCOUNT.len()).is_some_and(|start| start.eq_ignore_ascii_case(SERVICE_ACCOUNT))
    }

    /// Returns the id if a user can have it: it does not belong to Keygate itself.
    ///
    /// # Errors
    ///
    /// - [`InvalidUserId::Reserved`]: the id belongs to Keygate.
    pub fn reject_reserved(self) -> Result<Self, InvalidUserId> {
        if is_reserved(&self.0) { Err(InvalidUserId::Reserved) } else { Ok(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::KEY_TEXT;
    use crate::scope::Scope;

    #[test]
    fn ids_are_words_of_their_alphabets() {
        for valid in [
            "auth0|5f7c",
            "alice@example.com",
            "svc:deploy+1=a-b_c",
            "o'brien@example.com",
            "!a~",
            "...",
            ".a",
        ] {
            assert!(valid.parse::<UserId>().is_ok(), "{valid}");
        }
        for invalid in ["", "a b", "a#b", "a/b", "a%b", "ü", &"u".repeat(129)] {
            assert_eq!(invalid.parse::<UserId>(), Err(InvalidUserId::Characters), "{invalid}");
        }
        for invalid in ["", "Acme", "a_b", "a#b", &"w".repeat(65)] {
            assert!(invalid.parse::<WorkspaceId>().is_err(), "{invalid}");
        }
    }

    #[test]
    fn no_user_has_an_id_that_a_path_cannot_have() {
        for dots in [".", ".."] {
            assert_eq!(dots.parse::<UserId>(), Err(InvalidUserId::Dots));
        }
    }

    #[test]
    fn keygates_own_ids_are_no_users_in_any_case_and_actors_of_the_trail_in_one() {
        for own in
            [UserId::of_clock(), UserId::of_user_events(), UserId::of_import(), UserId::of_unused_keys()]
        {
            assert_eq!(own.as_str().parse::<UserId>().as_ref(), Ok(&own));
            assert_eq!(own.reject_reserved(), Err(InvalidUserId::Reserved));
        }
        for look_alike in ["KEYGATE:clock", "Keygate:users", "keygatE:"] {
            assert_eq!(look_alike.parse::<UserId>(), Err(InvalidUserId::Reserved), "{look_alike}");
        }
        assert!("keygate".parse::<UserId>().and_then(UserId::reject_reserved).is_ok());
    }

    #[test]
    fn a_credential_is_no_id_and_no_scope() {
        let key = KEY_TEXT;
        for text in [key.to_owned(), key.replace("kg_", "other_"), format!("svc:{key}")] {
            assert_eq!(text.parse::<UserId>(), Err(InvalidUserId::Credential), "{text}");
            assert!(!InvalidUserId::Credential.to_string().contains(&text));
            assert!(text.parse::<Scope>().is_err() && text.parse::<WorkspaceId>().is_err());
        }
    }
}

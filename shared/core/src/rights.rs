//! The operations that each class of credential may perform, with sufficient scopes.
//!
//! A token, a legacy key or an old secret must not gain what it lacks: a token could create a key that outlives it, and an old
//! secret could make itself permanent. So every operation of the management and OAuth APIs is decided here for every class, in
//! one `match` without a default. A new operation or a new class does not compile until it is decided.

use crate::credential_class::CredentialClass;

/// An operation of the management or OAuth API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// See who the caller is.
    ReadSelf,
    /// List and show keys, and their tokens.
    ReadKeys,
    /// Read the audit trail.
    ReadActivity,
    /// Create a key.
    CreateKey,
    /// Rotate the secret of a key.
    RotateKey,
    /// Repeat a rotation with its `Idempotency-Key`, and get the same response.
    RepeatRotation,
    /// Change a key without widening it: its name, its description, an earlier expiry, disabling.
    ChangeKey,
    /// Widen a key: other scopes or endpoint rules, a later expiry, enabling.
    WidenKey,
    /// Delete a key.
    DeleteKey,
    /// Revoke tokens of a key.
    RevokeTokens,
    /// Remove a user, with or without a handover of their keys.
    RemoveUser,
    /// Reinstate a user.
    ReinstateUser,
    /// Obtain an access token.
    ObtainAccessToken,
    /// Obtain a refresh token with it.
    ObtainRefreshToken,
    /// Be the client that exchanges its refresh token for new tokens.
    RenewTokens,
    /// Be the client that revokes a token it presents.
    RevokePresentedToken,
    /// Introspect a credential (RFC 7662).
    Introspect,
    /// Open a session, and end one that the caller's key opened.
    OpenSession,
    /// End the session that is presented.
    EndOwnSession,
}

/// The right of a class to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Granted,
    /// Granted for every key except the credential's own.
    NotToOwnKey,
    Denied,
}

impl CredentialClass {
    /// Whether a credential of this class may perform an operation. `own_key` says whether the operation is about the key that
    /// the credential belongs to.
    #[must_use]
    pub fn may(self, operation: Operation, own_key: bool) -> bool {
        match self.right(operation) {
            Right::Granted => true,
            Right::NotToOwnKey => !own_key,
            Right::Denied => false,
        }
    }

    #[expect(
        clippy::match_same_arms,
        reason = "one arm for each kind and right, so that the table can be read"
    )]
    fn right(self, operation: Operation) -> Right {
        use Operation::{
            ChangeKey, CreateKey, DeleteKey, EndOwnSession, Introspect, ObtainAccessToken,
            ObtainRefreshToken, OpenSession, ReadActivity, ReadKeys, ReadSelf, ReinstateUser, RemoveUser,
            RenewTokens, RepeatRotation, RevokePresentedToken, RevokeTokens, RotateKey, WidenKey,
        };
        match (self, operation) {
            (Self::CurrentSecret, EndOwnSession) => Right::Denied,
            (Self::CurrentSecret, _) => Right::Granted,

            // They call APIs, read, and take rights away.
            (
                Self::AccessToken | Self::LegacyKey,
                ReadSelf | ReadKeys | ReadActivity | ChangeKey | DeleteKey | RevokeTokens,
            ) => Right::Granted,
            (
                Self::AccessToken | Self::LegacyKey,
                CreateKey | RotateKey | RepeatRotation | WidenKey | RemoveUser | ReinstateUser
                | ObtainAccessToken | ObtainRefreshToken | RenewTokens | RevokePresentedToken | Introspect
                | OpenSession | EndOwnSession,
            ) => Right::Denied,

            // It may do what its key may, but not change its own key. It may repeat a rotation: a key that rotates itself has no
            // other secret until the response arrives.
            (
                Self::PreviousSecret,
                ReadSelf | ReadKeys | ReadActivity | CreateKey | RemoveUser | ReinstateUser
                | ObtainAccessToken | RenewTokens | RepeatRotation | RevokePresentedToken | Introspect,
            ) => Right::Granted,
            (Self::PreviousSecret, RotateKey | ChangeKey | WidenKey | DeleteKey | RevokeTokens) => {
                Right::NotToOwnKey
            }
            (Self::PreviousSecret, ObtainRefreshToken | OpenSession | EndOwnSession) => Right::Denied,

            // Its user was removed. It keeps calls to the adopter's APIs working until the new owner has rotated the key.
            (Self::TransferredSecret, ReadSelf) => Right::Granted,
            (
                Self::TransferredSecret,
                ReadKeys | ReadActivity | CreateKey | RotateKey | RepeatRotation | ChangeKey | WidenKey
                | DeleteKey | RevokeTokens | RemoveUser | ReinstateUser | ObtainAccessToken
                | ObtainRefreshToken | RenewTokens | RevokePresentedToken | Introspect | OpenSession
                | EndOwnSession,
            ) => Right::Denied,

            // A user manages their own keys with it. The scopes that act for other users are never among its scopes.
            (
                Self::Session,
                ReadSelf | ReadKeys | ReadActivity | CreateKey | RotateKey | RepeatRotation | ChangeKey
                | WidenKey | DeleteKey | RevokeTokens | EndOwnSession,
            ) => Right::Granted,
            (
                Self::Session,
                RemoveUser | ReinstateUser | ObtainAccessToken | ObtainRefreshToken | RenewTokens
                | RevokePresentedToken | Introspect | OpenSession,
            ) => Right::Denied,

            // A person manages keys and users as the mapping of their claims says. They are no client of the OAuth API, and only a
            // key opens sessions.
            (
                Self::Person,
                ReadSelf | ReadKeys | ReadActivity | CreateKey | RotateKey | RepeatRotation | ChangeKey
                | WidenKey | DeleteKey | RevokeTokens | RemoveUser | ReinstateUser,
            ) => Right::Granted,
            (
                Self::Person,
                ObtainAccessToken | ObtainRefreshToken | RenewTokens | RevokePresentedToken | Introspect
                | OpenSession | EndOwnSession,
            ) => Right::Denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATIONS: [Operation; 19] = [
        Operation::ReadSelf,
        Operation::ReadKeys,
        Operation::ReadActivity,
        Operation::CreateKey,
        Operation::RotateKey,
        Operation::RepeatRotation,
        Operation::ChangeKey,
        Operation::WidenKey,
        Operation::DeleteKey,
        Operation::RevokeTokens,
        Operation::RemoveUser,
        Operation::ReinstateUser,
        Operation::ObtainAccessToken,
        Operation::ObtainRefreshToken,
        Operation::RenewTokens,
        Operation::RevokePresentedToken,
        Operation::Introspect,
        Operation::OpenSession,
        Operation::EndOwnSession,
    ];

    #[test]
    fn a_key_with_its_current_secret_may_do_everything_that_its_scopes_allow() {
        for operation in OPERATIONS.into_iter().filter(|operation| *operation != Operation::EndOwnSession) {
            assert!(CredentialClass::CurrentSecret.may(operation, true), "{operation:?}");
            assert!(CredentialClass::CurrentSecret.may(operation, false), "{operation:?}");
        }
    }

    #[test]
    fn no_lesser_credential_makes_anything_that_outlives_it() {
        for presented in
            [CredentialClass::AccessToken, CredentialClass::LegacyKey, CredentialClass::TransferredSecret]
        {
            for operation in [
                Operation::CreateKey,
                Operation::RotateKey,
                Operation::RepeatRotation,
                Operation::WidenKey,
                Operation::RemoveUser,
                Operation::ReinstateUser,
                Operation::ObtainAccessToken,
                Operation::ObtainRefreshToken,
            ] {
                assert!(!presented.may(operation, false), "{presented:?} {operation:?}");
                assert!(!presented.may(operation, true), "{presented:?} {operation:?}");
            }
        }
        assert!(!CredentialClass::PreviousSecret.may(Operation::ObtainRefreshToken, false));
    }

    #[test]
    fn a_previous_secret_has_no_say_in_the_life_of_its_own_key() {
        for operation in [
            Operation::RotateKey,
            Operation::ChangeKey,
            Operation::WidenKey,
            Operation::DeleteKey,
            Operation::RevokeTokens,
        ] {
            assert!(!CredentialClass::PreviousSecret.may(operation, true), "{operation:?}");
            assert!(CredentialClass::PreviousSecret.may(operation, false), "{operation:?}");
        }
        assert!(
            CredentialClass::PreviousSecret.may(Operation::RepeatRotation, true),
            "it has no other secret yet"
        );
    }

    #[test]
    fn only_a_current_secret_opens_sessions_and_only_a_session_ends_itself() {
        for class in [
            CredentialClass::PreviousSecret,
            CredentialClass::TransferredSecret,
            CredentialClass::AccessToken,
            CredentialClass::LegacyKey,
            CredentialClass::Session,
            CredentialClass::Person,
        ] {
            assert!(!class.may(Operation::OpenSession, false), "{class:?}");
            let ends = class.may(Operation::EndOwnSession, false);
            assert_eq!(ends, class == CredentialClass::Session, "{class:?}");
        }
        assert!(CredentialClass::CurrentSecret.may(Operation::OpenSession, false));
    }

    #[test]
    fn a_session_and_a_person_obtain_no_tokens() {
        for class in [CredentialClass::Session, CredentialClass::Person] {
            for operation in [
                Operation::ObtainAccessToken,
                Operation::ObtainRefreshToken,
                Operation::RenewTokens,
                Operation::RevokePresentedToken,
                Operation::Introspect,
            ] {
                assert!(!class.may(operation, false), "{class:?} {operation:?}");
            }
        }
        assert!(!CredentialClass::Session.may(Operation::RemoveUser, false));
        assert!(CredentialClass::Person.may(Operation::RemoveUser, false));
    }

    #[test]
    fn the_secret_of_a_former_user_sees_who_it_is_and_nothing_else() {
        let granted = OPERATIONS.into_iter().filter(|operation| {
            CredentialClass::TransferredSecret.may(*operation, false)
                || CredentialClass::TransferredSecret.may(*operation, true)
        });
        assert_eq!(granted.collect::<Vec<_>>(), [Operation::ReadSelf]);
    }
}

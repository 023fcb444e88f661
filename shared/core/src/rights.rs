//! What each kind of credential may do, whatever its scopes.
//!
//! A credential that is less than a key with its current secret must not become more: a token would outlive itself in a key that
//! it made, and a secret that is on its way out would make itself permanent. So every operation of the management and OAuth APIs
//! is decided here for every kind of credential, in one `match` without a default: a new operation, or a new kind, does not
//! compile until somebody has decided it.

use crate::credential_class::CredentialClass;

/// What a request is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// See who the caller is.
    ReadSelf,
    /// List and show keys, and their tokens.
    ReadKeys,
    /// Read the audit trail.
    ReadActivity,
    /// Make a key.
    CreateKey,
    /// Give a key another secret.
    RotateKey,
    /// Be told again what a rotation that was made was answered with.
    RepeatRotation,
    /// Change a key so that it can do no more than before: rename it, describe it, let it end sooner, switch it off.
    ChangeKey,
    /// Change a key so that it can do more, or for longer: other scopes or endpoint rules, a later expiry, switched on again.
    WidenKey,
    /// Delete a key.
    DeleteKey,
    /// Revoke tokens of a key.
    RevokeTokens,
    /// Remove a user, with or without handing their keys over.
    RemoveUser,
    /// Reinstate a user.
    ReinstateUser,
    /// Get an access token.
    ObtainAccessToken,
    /// Get a refresh token beside it.
    ObtainRefreshToken,
    /// Be the client that trades its refresh token for the next one.
    RenewTokens,
    /// Be the client that revokes a token which it presents.
    RevokePresentedToken,
    /// Ask what a credential is worth.
    Introspect,
}

/// Whether a credential may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Granted,
    /// To every key but the credential's own.
    NotToOwnKey,
    Denied,
}

impl CredentialClass {
    /// Whether it may do something to a key, or, where that is about no key, at all. `own_key` says that the key is the one that
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
            ChangeKey, CreateKey, DeleteKey, Introspect, ObtainAccessToken, ObtainRefreshToken, ReadActivity,
            ReadKeys, ReadSelf, ReinstateUser, RemoveUser, RenewTokens, RepeatRotation, RevokePresentedToken,
            RevokeTokens, RotateKey, WidenKey,
        };
        match (self, operation) {
            (Self::CurrentSecret, _) => Right::Granted,

            // They call, read, and take away.
            (
                Self::AccessToken | Self::LegacyKey,
                ReadSelf | ReadKeys | ReadActivity | ChangeKey | DeleteKey | RevokeTokens,
            ) => Right::Granted,
            (
                Self::AccessToken | Self::LegacyKey,
                CreateKey | RotateKey | RepeatRotation | WidenKey | RemoveUser | ReinstateUser
                | ObtainAccessToken | ObtainRefreshToken | RenewTokens | RevokePresentedToken | Introspect,
            ) => Right::Denied,

            // It does what its key does, until it ends; its own end is none of its business. A key that rotates itself has no
            // other secret than this one until it has the answer, so a repeat is granted.
            (
                Self::PreviousSecret,
                ReadSelf | ReadKeys | ReadActivity | CreateKey | RemoveUser | ReinstateUser
                | ObtainAccessToken | RenewTokens | RepeatRotation | RevokePresentedToken | Introspect,
            ) => Right::Granted,
            (Self::PreviousSecret, RotateKey | ChangeKey | WidenKey | DeleteKey | RevokeTokens) => {
                Right::NotToOwnKey
            }
            (Self::PreviousSecret, ObtainRefreshToken) => Right::Denied,

            // Its user has left. It keeps the adopter's APIs working until somebody has rotated the key.
            (Self::TransferredSecret, ReadSelf) => Right::Granted,
            (
                Self::TransferredSecret,
                ReadKeys | ReadActivity | CreateKey | RotateKey | RepeatRotation | ChangeKey | WidenKey
                | DeleteKey | RevokeTokens | RemoveUser | ReinstateUser | ObtainAccessToken
                | ObtainRefreshToken | RenewTokens | RevokePresentedToken | Introspect,
            ) => Right::Denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATIONS: [Operation; 17] = [
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
    ];

    #[test]
    fn a_key_with_its_current_secret_may_do_everything_that_its_scopes_allow() {
        for operation in OPERATIONS {
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
    fn the_secret_of_a_former_user_sees_who_it_is_and_nothing_else() {
        let granted = OPERATIONS.into_iter().filter(|operation| {
            CredentialClass::TransferredSecret.may(*operation, false)
                || CredentialClass::TransferredSecret.may(*operation, true)
        });
        assert_eq!(granted.collect::<Vec<_>>(), [Operation::ReadSelf]);
    }
}

//! The actions on a key, and what a caller needs for them. The use cases require an action here, and the views of a key list the
//! actions that the caller may take, so that the two cannot differ.

use serde::Serialize;

use crate::caller::Caller;
use crate::credential::KeyId;
use crate::error::Error;
use crate::key::Key;
use crate::rights::Operation;
use crate::scope::KEYS_WRITE;

/// An action on a key, named as in `can`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyAction {
    /// Change it without widening it: its name, its description, its metadata, an earlier expiry, stricter limits.
    Update,
    /// Change what it may do (other scopes, endpoint rules or networks), or let it live longer or make more calls.
    Widen,
    /// Disable it.
    Disable,
    /// Enable it.
    Enable,
    /// Rotate its secret.
    Rotate,
    /// Delete it permanently.
    Delete,
    /// Revoke its tokens.
    RevokeTokens,
}

impl KeyAction {
    /// All actions, in the order of `can`.
    pub const ALL: [Self; 7] = [
        Self::Update,
        Self::Widen,
        Self::Disable,
        Self::Enable,
        Self::Rotate,
        Self::Delete,
        Self::RevokeTokens,
    ];

    /// Requires what can be decided before the key is read: the scope `keys:write`, and the right of the caller's credential.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`]: the caller may not write keys.
    /// - [`Error::InsufficientCredential`]: the credential may not take this action, or not on its own key.
    pub fn require_right(self, caller: &Caller, key: KeyId) -> Result<(), Error> {
        caller.require(KEYS_WRITE)?;
        caller.may_to(self.operation(), key)
    }

    /// Requires what depends on the key as it is: that it is the caller's own unless they are an administrator, and every
    /// permission of the key for an action that gives its holder more.
    ///
    /// # Errors
    ///
    /// - [`Error::NotYourKey`]: the key is another user's, and the caller is not an administrator.
    /// - [`Error::InsufficientScope`], [`Error::InsufficientEndpoints`], [`Error::InsufficientNetworks`]: the caller lacks a
    ///   permission of the key.
    /// - [`Error::LimitedCaller`]: the caller's key has limits.
    pub fn require_permissions(self, caller: &Caller, key: &Key) -> Result<(), Error> {
        caller.require_to_act_for(&key.user_id)?;
        match self {
            Self::Update | Self::Disable | Self::Delete | Self::RevokeTokens => Ok(()),
            Self::Widen | Self::Enable => {
                caller.require_all(key.permissions())?;
                caller.require_unlimited()
            }
            Self::Rotate => {
                caller.require_all(key.permissions())?;
                // A key that rotates itself keeps its limits and their counts.
                if caller.is_of_key(key.key_id) { Ok(()) } else { caller.require_unlimited() }
            }
        }
    }

    /// The actions that a caller may take on a key. A request for one of them may still be refused for its values, for
    /// example a name that is taken, and for what only the transaction sees, for example a user who was just removed.
    #[must_use]
    pub fn of(caller: &Caller, key: &Key) -> Vec<Self> {
        let may_take = |action: &Self| {
            let (method, path) = action.route(key.key_id);
            action.fits_state(key)
                && caller.rules_allow(method, &path)
                && action.require_right(caller, key.key_id).is_ok()
                && action.require_permissions(caller, key).is_ok()
        };
        Self::ALL.into_iter().filter(may_take).collect()
    }

    fn operation(self) -> Operation {
        match self {
            Self::Update | Self::Disable => Operation::ChangeKey,
            Self::Widen | Self::Enable => Operation::WidenKey,
            Self::Rotate => Operation::RotateKey,
            Self::Delete => Operation::DeleteKey,
            Self::RevokeTokens => Operation::RevokeTokens,
        }
    }

    /// Whether the action would change a key in this state.
    fn fits_state(self, key: &Key) -> bool {
        match self {
            Self::Disable => key.disabled_at.is_none(),
            // The secret of a leaked key is known to others. A rotation enables the key.
            Self::Enable => key.disabled_at.is_some() && key.leaked_at.is_none(),
            Self::Update | Self::Widen | Self::Rotate | Self::Delete | Self::RevokeTokens => true,
        }
    }

    /// The route of the action.
    fn route(self, key: KeyId) -> (&'static str, String) {
        match self {
            Self::Update | Self::Widen | Self::Disable | Self::Enable => {
                ("PATCH", format!("/api-keys/{key}"))
            }
            Self::Rotate => ("POST", format!("/api-keys/{key}/rotate")),
            Self::Delete => ("DELETE", format!("/api-keys/{key}")),
            Self::RevokeTokens => ("DELETE", format!("/api-keys/{key}/tokens")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential_class::{CredentialKind, OldSecret};
    use crate::fixtures::{self, at, rules, scopes};
    use crate::scope::{KEYS_READ, WORKSPACE_ADMIN};
    use KeyAction::{Delete, Disable, Enable, RevokeTokens, Rotate, Update, Widen};

    /// A caller who has a key of their own that is not [`fixtures::key`].
    fn writer(held: &[&str]) -> Caller {
        let mut caller = Caller { scopes: scopes(held), ..fixtures::caller() };
        caller.key.as_mut().unwrap().id = "01JD3V6Y4N8Q2Z5X7W9B0C1D2F".parse().unwrap();
        caller
    }

    #[test]
    fn the_owner_of_a_key_may_take_every_action_that_changes_it() {
        let owner = writer(&[KEYS_WRITE]);
        assert_eq!(
            KeyAction::of(&owner, &fixtures::key()),
            [Update, Widen, Disable, Rotate, Delete, RevokeTokens]
        );
        let disabled = Key { disabled_at: Some(at(1)), ..fixtures::key() };
        assert_eq!(KeyAction::of(&owner, &disabled), [Update, Widen, Enable, Rotate, Delete, RevokeTokens]);
        let leaked = Key { leaked_at: Some(at(1)), ..disabled };
        assert_eq!(KeyAction::of(&owner, &leaked), [Update, Widen, Rotate, Delete, RevokeTokens]);
    }

    #[test]
    fn a_key_that_may_do_more_than_the_caller_is_not_widened_or_rotated() {
        let wider = Key { scopes: scopes(&["orders:read"]), ..fixtures::key() };
        let narrows = [Update, Disable, Delete, RevokeTokens];
        assert_eq!(KeyAction::of(&writer(&[KEYS_WRITE]), &wider), narrows);
        assert_eq!(KeyAction::of(&writer(&[KEYS_WRITE, "orders:read"]), &wider).len(), 6);
        let limited = Caller { limits: fixtures::limits(&["10/second"]), ..writer(&[KEYS_WRITE]) };
        assert_eq!(KeyAction::of(&limited, &fixtures::key()), narrows);
    }

    #[test]
    fn a_key_with_limits_rotates_itself_and_no_other_key() {
        let limited = Caller { limits: fixtures::limits(&["10/second"]), ..fixtures::caller() };
        let limited = Caller { scopes: scopes(&[KEYS_WRITE]), ..limited };
        let own = Key { scopes: scopes(&[KEYS_WRITE]), ..fixtures::key() };
        assert_eq!(KeyAction::of(&limited, &own), [Update, Disable, Rotate, Delete, RevokeTokens]);
    }

    #[test]
    fn keys_of_other_users_and_callers_who_do_not_write_keys_have_no_action() {
        let of_bob = Key { user_id: "bob".parse().unwrap(), ..fixtures::key() };
        assert_eq!(KeyAction::of(&writer(&[KEYS_WRITE]), &of_bob), []);
        assert_eq!(KeyAction::of(&writer(&[WORKSPACE_ADMIN]), &of_bob).len(), 6);
        assert_eq!(KeyAction::of(&writer(&[KEYS_READ]), &fixtures::key()), []);
    }

    #[test]
    fn lesser_credentials_take_the_actions_of_their_class() {
        let owner = writer(&[KEYS_WRITE]);
        let token = Caller { credential: CredentialKind::AccessToken, ..owner.clone() };
        assert_eq!(KeyAction::of(&token, &fixtures::key()), [Update, Disable, Delete, RevokeTokens]);
        let own =
            Caller { old_secret: Some(OldSecret::Previous), scopes: owner.scopes, ..fixtures::caller() };
        assert_eq!(KeyAction::of(&own, &fixtures::key()), []);
        let other = Key { key_id: "01JD3V6Y4N8Q2Z5X7W9B0C1D2F".parse().unwrap(), ..fixtures::key() };
        assert_eq!(KeyAction::of(&own, &other).len(), 6);
    }

    #[test]
    fn an_action_is_left_out_when_the_callers_rules_do_not_allow_its_route() {
        let ruled = |endpoints: &[&str]| {
            let caller = Caller { endpoints: rules(endpoints), ..writer(&[KEYS_WRITE]) };
            KeyAction::of(&caller, &Key { endpoints: rules(endpoints), ..fixtures::key() })
        };
        assert_eq!(ruled(&["DELETE /api-keys/*"]), [Delete, RevokeTokens]);
        assert_eq!(ruled(&["PATCH /api-keys/*"]), [Update, Widen, Disable]);
        assert_eq!(ruled(&["GET /orders"]), []);
    }
}

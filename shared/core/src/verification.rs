//! The verification of a credential: its secret compared with the stored hash, and what it may do at an instant.
//!
//! The two are separate because only the first can be cached: [`Verification`] holds for some seconds at any time, and
//! [`VerifiedCredential::caller`] decides at each request.

use chrono::{DateTime, Utc};

use crate::caller::{Caller, CallerKey};
use crate::credential::{Credential, KeyId};
use crate::credential_class::CredentialKind;
use crate::credential_class::{CredentialClass, OldSecret};
use crate::endpoint_rule;
use crate::key::{Generation, HashedKey, Key, KeyOwner, KeyState, Status};
use crate::legacy_key::HashedLegacyKey;
use crate::network;
use crate::pepper::{Peppers, SecretHash, UnknownPepper};
use crate::token::{Family, StoredToken, Token, TokenKey, TokenKind};

/// The result of comparing a credential with the stored hash. It does not depend on the time, but for [`Self::holds`].
#[derive(Clone, Debug)]
pub enum Verification {
    /// The secret is that of a stored key or token.
    Verified(Box<VerifiedCredential>),
    /// The key or token has another secret.
    WrongSecret(KeyOwner),
    /// No such key is stored, or no such token of the key. A legacy key (`None`) has no id in its text.
    Unknown(Option<KeyId>),
}

/// A credential whose secret is the right one.
#[derive(Clone, Debug)]
pub struct VerifiedCredential {
    /// The key that was presented, or that the token was issued for.
    pub key: Key,
    /// The present generation of the tokens of the key.
    pub generation: Generation,
    /// The secret that was presented.
    pub presented: PresentedSecret,
}

/// The secret that was presented for a key.
#[derive(Clone, Debug)]
pub enum PresentedSecret {
    /// The current secret of the key.
    Current,
    /// The secret before the last rotation or handover, and the end of its overlap.
    Previous(OldSecret, DateTime<Utc>),
    /// The secret of a token.
    Token(Box<VerifiedToken>),
    /// A legacy key.
    LegacyKey {
        /// The hash under which it is stored.
        hash: SecretHash,
        /// Its last use before this one.
        last_used_at: Option<DateTime<Utc>>,
    },
}

/// A token whose secret is the right one.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    /// The token.
    pub token: Token,
    /// Its family, if it belongs to one and that is stored.
    pub family: Option<Family>,
    /// Whether it was revoked: by itself, with its family or with all tokens of its key.
    pub is_revoked: bool,
}

/// Why a credential whose secret is the right one does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InactiveReason {
    /// It has expired, or its key has.
    Expired,
    /// Its key is disabled.
    Disabled,
    /// It is a legacy key, and the sunset has passed.
    Sunset,
    /// It was revoked: by itself, with its family or with all tokens of its key.
    Revoked,
    /// It is a refresh token, which does not call APIs.
    RefreshToken,
    /// It is a session, which calls the management API alone, or a page code, which calls no API.
    Session,
    /// The endpoint rules of the token and of its key have nothing in common, or do not fit into an authorizer's response.
    NowhereToUse,
    /// The networks of its key do not contain the address of the sender.
    OutsideNetworks,
    /// It is a session, and its user or the one who opened it was removed.
    UserRemoved,
}

/// The one-word reason for a wrong secret, as [`InactiveReason::word`] has one for each other reason.
pub const WRONG_SECRET: &str = "wrong_secret";

/// The stored hash that matched the credential.
#[derive(Debug)]
pub struct MatchedHash {
    /// The hash.
    pub hash: SecretHash,
    /// Whether it is the hash of the current secret.
    pub is_current: bool,
}

impl InactiveReason {
    /// The reason in one word, as metrics and the audit trail have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Sunset => "sunset",
            Self::Revoked => "revoked",
            Self::RefreshToken => "refresh_token",
            Self::Session => "session",
            Self::NowhereToUse => "nowhere_to_use",
            Self::OutsideNetworks => "outside_networks",
            Self::UserRemoved => "removed",
        }
    }
}

/// How many hashes a key can have: those of its current and of its previous secret.
const MAX_HASHES: usize = 2;

/// Compares an API key with the stored key of its id, in constant time, and returns the hash that matched, if any. `stored` is
/// `None` if no such key is stored. The work is the same for a key with one hash, a key with two, and no key.
///
/// # Errors
///
/// - [`UnknownPepper`]: no hash matched, and one was made under a pepper that the deployment does not list. The credential may
///   be right.
pub fn verify_key(
    peppers: &Peppers,
    credential: &Credential,
    stored: Option<HashedKey>,
    now: DateTime<Utc>,
) -> Result<(Verification, Option<MatchedHash>), UnknownPepper> {
    let stored = stored.filter(|stored| !stored.record.is_gone(now));
    let (mut matched, mut unknown_pepper, mut compared) = (None, None, 0);
    for hash in stored.iter().flat_map(|stored| stored.hashes(now)) {
        // Every hash is compared, so that the time does not tell which one matched.
        match peppers.verify(credential, &hash) {
            Ok(equal) => matched = matched.or(equal.then_some(hash)),
            Err(unknown) => unknown_pepper = Some(unknown),
        }
        compared += 1;
    }
    // Nor does it tell whether the key exists or is in an overlap.
    (compared..MAX_HASHES).for_each(|_| peppers.verify_nothing(credential));
    let Some(stored) = stored else { return Ok((Verification::Unknown(Some(credential.key_id)), None)) };
    match (matched, unknown_pepper) {
        (Some(hash), _) => {
            let is_current = hash == stored.hash;
            let presented = match stored.record.previous_expires_at {
                Some(end) if !is_current => {
                    let transferred = stored.record.previous_transferred;
                    let old = if transferred { OldSecret::Transferred } else { OldSecret::Previous };
                    PresentedSecret::Previous(old, end)
                }
                _ => PresentedSecret::Current,
            };
            let known = VerifiedCredential { key: stored.record, generation: stored.generation, presented };
            Ok((Verification::Verified(Box::new(known)), Some(MatchedHash { hash, is_current })))
        }
        (None, Some(unknown)) => Err(unknown),
        (None, None) => Ok((Verification::WrongSecret(stored.record.owner()), None)),
    }
}

/// Compares an access token or a refresh token with the stored token, in constant time. A token whose key is not stored is
/// unknown, and takes the work of a wrong secret.
///
/// # Errors
///
/// - [`UnknownPepper`]: the stored hash was made under a pepper that the deployment does not list. The credential may be right.
pub fn verify_token(
    peppers: &Peppers,
    credential: &Credential,
    key: Option<TokenKey>,
    token: Option<StoredToken>,
) -> Result<Verification, UnknownPepper> {
    let (Some(key), Some(StoredToken { hashed, family })) = (key, token) else {
        peppers.verify_nothing(credential);
        return Ok(Verification::Unknown(Some(credential.key_id)));
    };
    // The form is part of the hash, so an access token never matches as a refresh token.
    if !peppers.verify(credential, &hashed.hash)? {
        return Ok(Verification::WrongSecret(key.record.owner()));
    }
    let token = hashed.token;
    let family_works = || family.as_ref().is_some_and(|family| family.revoked_at.is_none());
    let is_revoked = token.has_ended_with(&key) || token.token_id.family().is_some() && !family_works();
    let TokenKey { record: key, generation } = key;
    let presented = PresentedSecret::Token(Box::new(VerifiedToken { token, family, is_revoked }));
    Ok(Verification::Verified(Box::new(VerifiedCredential { key, generation, presented })))
}

/// The verification of a legacy key, which works until `sunset`. It was found by its hash, so there is nothing to compare.
#[must_use]
pub fn verify_legacy_key(stored: Option<HashedLegacyKey>, sunset: DateTime<Utc>) -> Verification {
    stored.map_or(Verification::Unknown(None), |stored| {
        let HashedLegacyKey { record, hash } = stored;
        let presented = PresentedSecret::LegacyKey { hash, last_used_at: record.last_used_at };
        let known =
            VerifiedCredential { key: record.until(sunset), generation: Generation::default(), presented };
        Verification::Verified(Box::new(known))
    })
}

impl Verification {
    /// The stored key that the credential names, if there is one.
    #[must_use]
    pub fn owner(&self) -> Option<KeyOwner> {
        match self {
            Self::Verified(known) => Some(known.key.owner()),
            Self::WrongSecret(owner) => Some(owner.clone()),
            Self::Unknown(_) => None,
        }
    }

    /// Whether the result still holds at an instant. It ends with the overlap of an old secret.
    #[must_use]
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        match self {
            Self::Verified(known) => {
                !matches!(known.presented, PresentedSecret::Previous(_, end) if end <= now)
            }
            Self::WrongSecret(_) | Self::Unknown(_) => true,
        }
    }
}

impl VerifiedCredential {
    /// The caller at an instant.
    ///
    /// A token never carries more than its key does now: its scopes and endpoint rules are those that both have, its networks are
    /// those of the key, and it ends when its key expires or is disabled.
    ///
    /// # Errors
    ///
    /// - [`InactiveReason::RefreshToken`]: it is a refresh token.
    /// - [`InactiveReason::NowhereToUse`]: the rules of the token and of its key have nothing in common, or do not fit.
    /// - Every other variant: as [`Self::works`].
    pub fn caller(&self, now: DateTime<Utc>) -> Result<Caller, InactiveReason> {
        self.works(now)?;
        let key = &self.key;
        let mut caller = Caller {
            workspace_id: key.workspace_id.clone(),
            user_id: key.user_id.clone(),
            key: Some(CallerKey {
                id: key.key_id,
                name: key.name.to_string(),
                state: Some(KeyState::of(key, self.generation)),
            }),
            session: None,
            scopes: key.scopes.clone(),
            endpoints: key.endpoints.clone(),
            networks: key.networks.clone(),
            metadata: key.metadata.clone(),
            limits: key.limits.clone(),
            credential: CredentialKind::ApiKey,
            old_secret: None,
            expires_at: self.ends_at(),
        };
        if let PresentedSecret::LegacyKey { .. } = self.presented {
            caller.credential = CredentialKind::LegacyKey;
        }
        if let PresentedSecret::Previous(old_secret, _) = self.presented {
            caller.old_secret = Some(old_secret);
        }
        if let PresentedSecret::Token(known) = &self.presented {
            let token = &known.token;
            if token.kind == TokenKind::RefreshToken {
                return Err(InactiveReason::RefreshToken);
            }
            let is_admin = caller.is_admin();
            caller.scopes.clone_from(&token.scopes);
            caller.scopes.retain(|scope| is_admin || key.scopes.contains(scope));
            let endpoints = endpoint_rule::common(&token.endpoints, &key.endpoints);
            caller.endpoints = endpoints.ok_or(InactiveReason::NowhereToUse)?;
            if !caller.response_parts().fit() {
                return Err(InactiveReason::NowhereToUse);
            }
            caller.credential = CredentialKind::AccessToken;
        }
        Ok(caller)
    }

    /// The class of the credential, which its rights depend on.
    #[must_use]
    pub fn class(&self) -> CredentialClass {
        match &self.presented {
            PresentedSecret::Current => CredentialClass::CurrentSecret,
            PresentedSecret::Previous(old, _) => CredentialClass::new(CredentialKind::ApiKey, Some(*old)),
            PresentedSecret::Token(_) => CredentialClass::AccessToken,
            PresentedSecret::LegacyKey { .. } => CredentialClass::LegacyKey,
        }
    }

    /// The end of the credential: the earliest of the expiry of its key, the end of the overlap, and the expiry of the token.
    #[must_use]
    pub fn ends_at(&self) -> Option<DateTime<Utc>> {
        let own = match &self.presented {
            PresentedSecret::Previous(_, end) => Some(*end),
            PresentedSecret::Token(known) => Some(known.token.expires_at),
            PresentedSecret::Current | PresentedSecret::LegacyKey { .. } => None,
        };
        self.key.expires_at.into_iter().chain(own).min()
    }

    /// Checks that the credential works at an instant for a sender with this address. A refresh token passes.
    ///
    /// # Errors
    ///
    /// - [`InactiveReason::OutsideNetworks`]: the networks of the key do not contain the address, or it is not known.
    /// - Every other variant: as [`Self::works`].
    pub fn works_from(&self, address: Option<&str>, now: DateTime<Utc>) -> Result<(), InactiveReason> {
        self.works(now)?;
        if network::allow(&self.key.networks, address.unwrap_or_default()) {
            Ok(())
        } else {
            Err(InactiveReason::OutsideNetworks)
        }
    }

    /// Checks that the credential works at an instant. A refresh token passes.
    ///
    /// # Errors
    ///
    /// - [`InactiveReason::Expired`], [`InactiveReason::Sunset`]: its end has passed.
    /// - [`InactiveReason::Disabled`]: its key is disabled.
    /// - [`InactiveReason::Revoked`]: the token was revoked.
    pub fn works(&self, now: DateTime<Utc>) -> Result<(), InactiveReason> {
        match self.key.status(now) {
            Status::Active => {}
            Status::Expired if matches!(self.presented, PresentedSecret::LegacyKey { .. }) => {
                return Err(InactiveReason::Sunset);
            }
            Status::Expired => return Err(InactiveReason::Expired),
            Status::Disabled => return Err(InactiveReason::Disabled),
        }
        match &self.presented {
            PresentedSecret::Token(known) if known.is_revoked => Err(InactiveReason::Revoked),
            PresentedSecret::Token(known) if known.token.expires_at <= now => Err(InactiveReason::Expired),
            PresentedSecret::Previous(_, end) if *end <= now => Err(InactiveReason::Expired),
            PresentedSecret::Token(_)
            | PresentedSecret::Current
            | PresentedSecret::Previous(..)
            | PresentedSecret::LegacyKey { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::credential::{CredentialForm, TokenId};
    use crate::endpoint_rule::EndpointRule;
    use crate::fixtures::{at, credential, key, key_id, peppers, rules, scopes, token};
    use crate::legacy_credential::LegacyCredential;
    use crate::legacy_key::LegacyKey;
    use crate::pepper::MACS_BEGUN;
    use crate::scope::Scope;
    use crate::token::HashedToken;

    const CURRENT: u8 = 1;
    const OLD: u8 = 2;
    const WRONG: u8 = 3;

    fn api_key(secret: u8) -> Credential {
        credential(CredentialForm::ApiKey, secret)
    }

    /// A stored key with the secret [`CURRENT`], and the secret [`OLD`] where the key says when that ends.
    fn stored(key: Key, peppers: &Peppers) -> HashedKey {
        let previous = key.previous_expires_at.map(|_| peppers.hash(&api_key(OLD)).into());
        HashedKey {
            record: key,
            hash: peppers.hash(&api_key(CURRENT)),
            previous,
            generation: Generation::default(),
        }
    }

    fn verify(secret: u8, key: Key, now: DateTime<Utc>) -> Verification {
        let peppers = peppers(&[1]);
        let stored = stored(key, &peppers);
        verify_key(&peppers, &api_key(secret), Some(stored), now).unwrap().0
    }

    fn verified(verification: Verification) -> VerifiedCredential {
        match verification {
            Verification::Verified(known) => *known,
            other => panic!("{other:?}"),
        }
    }

    fn key_in_overlap() -> Key {
        Key { previous_expires_at: Some(at(60)), ..key() }
    }

    /// Verifies a token of a key, in a family.
    fn verify_stored_token(token: Token, of_key: TokenKey, family: Option<Family>) -> VerifiedCredential {
        let peppers = peppers(&[1]);
        let presented = credential(form(&token), CURRENT);
        let hashed = HashedToken { hash: peppers.hash(&presented), token };
        verified(
            verify_token(&peppers, &presented, Some(of_key), Some(StoredToken { hashed, family })).unwrap(),
        )
    }

    fn form(token: &Token) -> CredentialForm {
        match token.kind {
            TokenKind::AccessToken => CredentialForm::AccessToken(token.token_id),
            TokenKind::RefreshToken => CredentialForm::RefreshToken(token.token_id),
        }
    }

    fn token_key(key: Key) -> TokenKey {
        TokenKey { record: key, generation: Generation::default() }
    }

    /// Verifies a token without a family.
    fn verify_token_of(key: Key, token: Token) -> VerifiedCredential {
        verify_stored_token(token, token_key(key), None)
    }

    fn family_token() -> Token {
        Token { token_id: "01JD4A0000F9K3W7RT2M8Q0003".parse().unwrap(), ..token() }
    }

    fn family() -> Family {
        let current: TokenId = "01JD4A0000F9K3W7RT2M8Q0002".parse().unwrap();
        Family::new(key_id(), current.family().unwrap(), current, at(9000))
    }

    #[test]
    fn a_key_works_with_all_that_it_carries_to_the_second_before_it_expires() {
        let key = Key {
            scopes: scopes(&["orders:read", "keys:read"]),
            endpoints: rules(&["GET /orders"]),
            expires_at: Some(at(100)),
            ..key()
        };
        let known = verified(verify(CURRENT, key.clone(), at(0)));
        assert_eq!(known.class(), CredentialClass::CurrentSecret);
        let caller = known.caller(at(99)).unwrap();
        assert_eq!((&caller.scopes, &caller.endpoints), (&key.scopes, &key.endpoints));
        assert_eq!((&caller.workspace_id, &caller.user_id), (&key.workspace_id, &key.user_id));
        assert_eq!((caller.credential, caller.old_secret), (CredentialKind::ApiKey, None));
        assert_eq!(caller.expires_at, Some(at(100)));
        assert_eq!(known.caller(at(100)), Err(InactiveReason::Expired));
    }

    #[test]
    fn a_disabled_key_is_refused_with_every_secret_and_for_every_token_of_it() {
        let disabled = Key { disabled_at: Some(at(0)), ..key_in_overlap() };
        for known in [
            verified(verify(CURRENT, disabled.clone(), at(1))),
            verified(verify(OLD, disabled.clone(), at(1))),
            verify_token_of(disabled.clone(), token()),
            verify_token_of(disabled, Token { kind: TokenKind::RefreshToken, ..token() }),
        ] {
            assert_eq!(known.works(at(1)), Err(InactiveReason::Disabled));
            assert_eq!(known.caller(at(1)), Err(InactiveReason::Disabled));
        }
    }

    #[test]
    fn a_wrong_secret_names_the_key_and_an_unknown_id_names_none() {
        let wrong = verify(WRONG, key(), at(0));
        assert!(matches!(&wrong, Verification::WrongSecret(owner) if *owner == key().owner()));
        assert_eq!(wrong.owner(), Some(key().owner()));
        let (unknown, matched) = verify_key(&peppers(&[1]), &api_key(CURRENT), None, at(0)).unwrap();
        assert!(matches!(unknown, Verification::Unknown(Some(id)) if id == key_id()));
        assert!(unknown.owner().is_none() && matched.is_none());
    }

    #[test]
    fn a_key_past_its_ttl_is_unknown_although_it_is_still_stored() {
        let key = Key { expires_at: Some(at(10)), ttl: Some(at(100)), ..key() };
        let known = verified(verify(CURRENT, key.clone(), at(99)));
        assert_eq!(known.works(at(99)), Err(InactiveReason::Expired));
        assert!(matches!(verify(CURRENT, key, at(100)), Verification::Unknown(Some(_))));
    }

    #[test]
    fn an_unknown_id_takes_the_work_of_a_wrong_secret_whether_or_not_its_key_is_in_an_overlap() {
        let peppers = peppers(&[1, 2]);
        let work = |verification: &dyn Fn()| {
            let before = MACS_BEGUN.get();
            verification();
            MACS_BEGUN.get() - before
        };
        let verify = |secret, stored| {
            verify_key(&peppers, &api_key(secret), stored, at(200)).unwrap();
        };
        let gone = Key { ttl: Some(at(100)), ..key() };
        let in_overlap = Key { previous_expires_at: Some(at(300)), ..key() };
        // Making a stored hash takes one MAC itself.
        assert_eq!(work(&|| verify(WRONG, Some(stored(in_overlap.clone(), &peppers)))) - 2, 2);
        assert_eq!(work(&|| verify(WRONG, Some(stored(key(), &peppers)))) - 1, 2);
        assert_eq!(work(&|| verify(CURRENT, Some(stored(key(), &peppers)))) - 1, 2);
        assert_eq!(work(&|| verify(WRONG, Some(stored(gone.clone(), &peppers)))) - 1, 2);
        assert_eq!(work(&|| verify(WRONG, None)), 2);

        let presented = credential(form(&token()), WRONG);
        let hashed = || HashedToken { token: token(), hash: peppers.hash(&presented) };
        let verify = |key, token| {
            verify_token(&peppers, &presented, key, token).unwrap();
        };
        let stored_token = || Some(StoredToken { hashed: hashed(), family: None });
        assert_eq!(work(&|| verify(Some(token_key(key())), stored_token())), 2);
        assert_eq!(work(&|| verify(None, stored_token())), 2);
        assert_eq!(work(&|| verify(Some(token_key(key())), None)), 1);
    }

    #[test]
    fn a_hash_under_an_unlisted_pepper_is_an_error_unless_another_hash_matches() {
        let (all, only_second) = (peppers(&[1, 2]), peppers(&[2]));
        let under_first =
            |key| HashedKey { hash: peppers(&[1]).hash(&api_key(CURRENT)), ..stored(key, &all) };
        let unknown = UnknownPepper { version: 1 };
        for secret in [CURRENT, WRONG] {
            let result =
                verify_key(&only_second, &api_key(secret), Some(under_first(key_in_overlap())), at(0));
            assert_eq!(result.unwrap_err(), unknown);
        }
        let result = verify_key(&only_second, &api_key(OLD), Some(under_first(key_in_overlap())), at(0));
        let (verification, matched) = result.unwrap();
        assert_eq!(verified(verification).class(), CredentialClass::PreviousSecret);
        assert!(!matched.unwrap().is_current);

        let presented = credential(form(&token()), CURRENT);
        let hashed = HashedToken { token: token(), hash: peppers(&[1]).hash(&presented) };
        let stored = StoredToken { hashed, family: None };
        let result = verify_token(&only_second, &presented, Some(token_key(key())), Some(stored));
        assert_eq!(result.unwrap_err(), unknown);
    }

    #[test]
    fn an_old_secret_works_until_its_overlap_ends_or_its_key_does() {
        for (key_expires, ends) in [(None, 60), (Some(90), 60), (Some(30), 30)] {
            let key = Key { expires_at: key_expires.map(at), ..key_in_overlap() };
            let known = verified(verify(OLD, key, at(0)));
            assert_eq!(known.class(), CredentialClass::PreviousSecret);
            assert_eq!(known.ends_at(), Some(at(ends)));
            let caller = known.caller(at(ends - 1)).unwrap();
            assert_eq!(caller.expires_at, Some(at(ends)));
            assert_eq!(caller.old_secret, Some(OldSecret::Previous));
            assert_eq!(known.caller(at(ends)), Err(InactiveReason::Expired));
        }
        assert!(matches!(verify(OLD, key_in_overlap(), at(60)), Verification::WrongSecret(_)));
    }

    #[test]
    fn after_a_handover_the_old_secret_is_that_of_the_former_user() {
        let key = Key { previous_transferred: true, ..key_in_overlap() };
        let known = verified(verify(OLD, key.clone(), at(0)));
        assert_eq!(known.class(), CredentialClass::TransferredSecret);
        assert_eq!(known.caller(at(0)).unwrap().old_secret, Some(OldSecret::Transferred));
        assert_eq!(verified(verify(CURRENT, key, at(0))).class(), CredentialClass::CurrentSecret);
    }

    #[test]
    fn a_cached_verification_of_an_old_secret_ends_with_its_overlap() {
        let old = verify(OLD, key_in_overlap(), at(0));
        assert!(old.holds(at(59)) && !old.holds(at(60)));
        for lasting in [
            verify(CURRENT, key_in_overlap(), at(0)),
            verify(WRONG, key(), at(0)),
            Verification::Unknown(None),
        ] {
            assert!(lasting.holds(at(1_000_000)), "{lasting:?}");
        }
    }

    #[test]
    fn a_token_has_the_scopes_that_its_key_still_has() {
        let of = |held: &[&str], granted: &[&str]| {
            let key = Key { scopes: scopes(held), ..key() };
            verify_token_of(key, Token { scopes: scopes(granted), ..token() }).caller(at(0)).unwrap()
        };
        assert_eq!(of(&["a", "b"], &["a"]).scopes, scopes(&["a"]));
        assert_eq!(of(&["b"], &["a", "b"]).scopes, scopes(&["b"]), "the key lost one since");
        assert_eq!(of(&[], &["a", "b"]).scopes, []);
        assert_eq!(
            of(&["workspace:admin"], &["a"]).scopes,
            scopes(&["a"]),
            "an administrator holds every scope"
        );
        assert_eq!(of(&["a"], &["a", "workspace:admin"]).scopes, scopes(&["a"]));
        assert_eq!(of(&["a"], &["a"]).credential, CredentialKind::AccessToken);
    }

    #[test]
    fn a_token_is_accepted_where_both_its_rules_and_its_keys_rules_allow() {
        let of = |held: &[&str], granted: &[&str]| {
            let key = Key { endpoints: rules(held), ..key() };
            let token = Token { endpoints: rules(granted), ..token() };
            verify_token_of(key, token).caller(at(0)).map(|caller| caller.endpoints)
        };
        assert_eq!(of(&[], &[]), Ok(rules(&[])));
        assert_eq!(of(&["GET /a"], &[]), Ok(rules(&["GET /a"])));
        assert_eq!(of(&[], &["GET /a"]), Ok(rules(&["GET /a"])));
        assert_eq!(of(&["GET /a/*"], &["* /a/b"]), Ok(rules(&["GET /a/b"])));
        assert_eq!(of(&["GET /a"], &["GET /b"]), Err(InactiveReason::NowhereToUse));
    }

    #[test]
    fn a_token_whose_rules_do_not_fit_into_a_response_is_refused() {
        let name = |index: usize| format!("* /{index}{}", "a".repeat(190));
        let many: Vec<EndpointRule> = (0..5).map(|index| name(index).parse().unwrap()).collect();
        assert!(!Key { endpoints: many.clone(), ..key() }.response_parts().fit());
        let known = verify_token_of(key(), Token { endpoints: many, ..token() });
        assert_eq!(known.works(at(0)), Ok(()));
        assert_eq!(known.caller(at(0)), Err(InactiveReason::NowhereToUse));
    }

    #[test]
    fn a_token_ends_with_itself_or_with_its_key() {
        for (key_expires, ends) in [(None, 900), (Some(1000), 900), (Some(30), 30)] {
            let known = verify_token_of(Key { expires_at: key_expires.map(at), ..key() }, token());
            assert_eq!(known.caller(at(ends - 1)).unwrap().expires_at, Some(at(ends)));
            assert_eq!(known.caller(at(ends)), Err(InactiveReason::Expired));
        }
    }

    #[test]
    fn a_token_is_revoked_with_its_generation_its_family_or_the_old_secret_that_made_it() {
        let generation = Generation::from_number(1);
        let revoked = Family { revoked_at: Some(at(1)), ..family() };
        let of_old_secret = || Token { made_in_overlap: Some(0), ..token() };
        let in_overlap = || Key { previous_expires_at: Some(at(60)), ..key() };
        for (known, is_revoked) in [
            (verify_token_of(key(), token()), false),
            (verify_stored_token(token(), TokenKey { record: key(), generation }, None), true),
            (verify_token_of(in_overlap(), of_old_secret()), false),
            (verify_token_of(key(), of_old_secret()), true),
            (verify_token_of(Key { rotation: 1, ..in_overlap() }, of_old_secret()), true),
            (verify_stored_token(family_token(), token_key(key()), Some(family())), false),
            (verify_stored_token(family_token(), token_key(key()), Some(revoked)), true),
            (verify_stored_token(family_token(), token_key(key()), None), true),
        ] {
            let expected = if is_revoked { Err(InactiveReason::Revoked) } else { Ok(()) };
            assert_eq!(known.works(at(2)), expected, "{known:?}");
            assert_eq!(known.caller(at(2)).map(|_| ()), expected, "{known:?}");
        }
    }

    #[test]
    fn a_refresh_token_works_and_opens_no_api() {
        let refresh = Token { kind: TokenKind::RefreshToken, ..family_token() };
        let known = verify_stored_token(refresh, token_key(key()), Some(family()));
        assert_eq!(known.works(at(0)), Ok(()));
        assert_eq!(known.caller(at(0)), Err(InactiveReason::RefreshToken));
        assert_eq!(known.works(at(900)), Err(InactiveReason::Expired));
    }

    #[test]
    fn one_kind_of_token_is_never_taken_for_the_other() {
        let peppers = peppers(&[1]);
        let access = token();
        let refresh = Token { kind: TokenKind::RefreshToken, ..token() };
        for (issued, claimed) in [(&access, &refresh), (&refresh, &access)] {
            let hash = peppers.hash(&credential(form(issued), CURRENT));
            let stored = StoredToken { hashed: HashedToken { token: issued.clone(), hash }, family: None };
            let presented = credential(form(claimed), CURRENT);
            let verification =
                verify_token(&peppers, &presented, Some(token_key(key())), Some(stored)).unwrap();
            assert!(matches!(verification, Verification::WrongSecret(_)), "{:?}", claimed.kind);
        }
    }

    #[test]
    fn a_token_that_is_not_stored_or_whose_key_is_not_is_unknown() {
        let peppers = peppers(&[1]);
        let presented = credential(form(&token()), CURRENT);
        let hashed = HashedToken { token: token(), hash: peppers.hash(&presented) };
        let stored = StoredToken { hashed, family: None };
        for (of_key, token) in [(None, Some(stored)), (Some(token_key(key())), None), (None, None)] {
            let verification = verify_token(&peppers, &presented, of_key, token).unwrap();
            assert!(matches!(verification, Verification::Unknown(Some(id)) if id == key_id()));
        }
    }

    #[test]
    fn a_legacy_key_works_to_the_second_before_the_sunset() {
        let legacy = LegacyKey {
            key_id: key_id(),
            workspace_id: key().workspace_id,
            user_id: key().user_id,
            name: key().name,
            scopes: scopes(&["orders:read"]),
            imported_at: at(0),
            last_used_at: None,
            ttl: at(9000),
        };
        let hash = peppers(&[1]).hash_legacy(&LegacyCredential::of("old-1"));
        let stored = HashedLegacyKey { record: legacy, hash };
        let known = verified(verify_legacy_key(Some(stored), at(100)));
        assert_eq!(known.class(), CredentialClass::LegacyKey);
        let caller = known.caller(at(99)).unwrap();
        assert_eq!((caller.credential, caller.sunset()), (CredentialKind::LegacyKey, Some(at(100))));
        assert_eq!(caller.scopes, scopes(&["orders:read"]));
        assert_eq!(known.caller(at(100)), Err(InactiveReason::Sunset));
        assert!(matches!(verify_legacy_key(None, at(100)), Verification::Unknown(None)));
    }

    fn some_scopes() -> impl Strategy<Value = Vec<Scope>> {
        let all = vec!["a", "b", "c", "workspace:admin"];
        prop::sample::subsequence(all, 0..=4).prop_map(|texts| scopes(&texts))
    }

    fn some_rules() -> impl Strategy<Value = Vec<EndpointRule>> {
        prop::collection::vec("(\\*|GET|PUT) /(\\*|a(/b)?(/\\*)?)", 0..4)
            .prop_map(|texts| texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    /// Whether a caller with these rules may make a call: with none it may make every call.
    fn opens(endpoints: &[EndpointRule], method: &str, path: &str) -> bool {
        endpoints.is_empty() || endpoint_rule::allow(endpoints, method, path)
    }

    fn an_instant() -> impl Strategy<Value = Option<DateTime<Utc>>> {
        prop::option::of((0_i64..20).prop_map(at))
    }

    proptest! {
        #[test]
        fn a_token_never_carries_more_than_its_key(
            (held, granted) in (some_scopes(), some_scopes()),
            (key_rules, token_rules) in (some_rules(), some_rules()),
            method in "GET|PUT|POST",
            path in "(/[abc]){1,3}",
        ) {
            let key = Key { scopes: held, endpoints: key_rules, ..key() };
            let token = Token { scopes: granted, endpoints: token_rules, ..token() };
            let with_token = verify_token_of(key.clone(), token.clone()).caller(at(0));
            let with_key = verified(verify(CURRENT, key.clone(), at(0))).caller(at(0)).unwrap();
            if let Ok(with_token) = with_token {
                prop_assert!(with_token.scopes.iter().all(|scope| with_key.require(scope.as_str()).is_ok()));
                prop_assert!(with_token.scopes.iter().all(|scope| token.scopes.contains(scope)));
                let both = opens(&key.endpoints, &method, &path) && opens(&token.endpoints, &method, &path);
                prop_assert_eq!(opens(&with_token.endpoints, &method, &path), both);
            } else {
                prop_assert!(endpoint_rule::common(&key.endpoints, &token.endpoints).is_none());
            }
        }

        #[test]
        fn no_credential_works_past_its_own_end_or_that_of_its_key(
            (key_expires, overlap_ends, disabled_at) in (an_instant(), an_instant(), an_instant()),
            token_expires in (0_i64..20).prop_map(at),
            (verified_at, now) in (0_i64..20, 0_i64..20),
        ) {
            let key = Key { expires_at: key_expires, previous_expires_at: overlap_ends, disabled_at, ..key() };
            let of_token = verify_token_of(key.clone(), Token { expires_at: token_expires, ..token() });
            let mut presented = vec![(of_token, Some(token_expires))];
            for (secret, end) in [(CURRENT, None), (OLD, overlap_ends)] {
                if let Verification::Verified(known) = verify(secret, key.clone(), at(verified_at)) {
                    presented.push((*known, end));
                }
            }
            for (known, own_end) in presented {
                let end = key_expires.into_iter().chain(own_end).min();
                prop_assert_eq!(known.ends_at(), end);
                let works = end.is_none_or(|end| at(now) < end) && disabled_at.is_none();
                prop_assert_eq!(known.works(at(now)).is_ok(), works);
                let caller = known.caller(at(now));
                prop_assert_eq!(caller.is_ok(), works);
                prop_assert!(caller.is_err() || caller.is_ok_and(|caller| caller.expires_at == end));
            }
        }
    }
}

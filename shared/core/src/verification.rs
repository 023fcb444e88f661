//! What a credential is worth: compared with what is stored under its id, whatever the time.

use chrono::{DateTime, Utc};

use crate::caller::Caller;
use crate::credential::{Credential, KeyId};
use crate::credential_class::CredentialKind;
use crate::credential_class::{CredentialClass, OldSecret};
use crate::endpoint_rule;
use crate::key::{Generation, HashedKey, Key, KeyOwner, Status};
use crate::legacy_key::HashedLegacyKey;
use crate::pepper::{Peppers, SecretHash, UnknownPepper};
use crate::token::{Family, StoredToken, Token, TokenKey, TokenKind};

/// What came of comparing a credential with what is stored, whatever the time.
#[derive(Clone, Debug)]
pub enum Verification {
    /// It is a key, or a token of one, that there is.
    Verified(Box<VerifiedCredential>),
    /// The key, or its token, has another secret.
    WrongSecret(KeyOwner),
    /// There is no such key, or it has no such token. A legacy key has no id.
    Unknown(Option<KeyId>),
}

/// A credential whose secret is the right one.
#[derive(Clone, Debug)]
pub struct VerifiedCredential {
    /// The key that it is, or was made with.
    pub key: Key,
    /// Which tokens of the key work.
    pub generation: Generation,
    /// What it is.
    pub presented: PresentedSecret,
}

/// With which secret a key is known.
#[derive(Clone, Debug)]
pub enum PresentedSecret {
    /// Its own.
    Current,
    /// The one before the last rotation or handover, which works until then.
    Previous(OldSecret, DateTime<Utc>),
    /// That of a token.
    Token(Box<VerifiedToken>),
    /// It is a legacy key, stored under this hash.
    LegacyKey(SecretHash),
}

/// A token whose secret is the right one.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    /// The token.
    pub token: Token,
    /// Its family, if it is in one and that is there.
    pub family: Option<Family>,
    /// Whether it was revoked, alone or with others.
    pub is_revoked: bool,
}

/// Why a credential whose secret is the right one does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InactiveReason {
    /// Its time, or that of its key, is over.
    Expired,
    /// Its key is switched off.
    Disabled,
    /// It is a legacy key, and the time of all of them is over.
    Sunset,
    /// It was revoked, alone or with others.
    Revoked,
    /// It is a refresh token, and this takes what opens APIs.
    RefreshToken,
    /// Its own endpoint rules and its key's have nothing in common, or more than an answer has room for.
    NowhereToUse,
}

/// The reason in one word, where a credential has another secret than the key or the token that it names.
pub const WRONG_SECRET: &str = "wrong_secret";

/// The stored hash that a credential was found to be the one of.
#[derive(Debug)]
pub struct MatchedHash {
    /// The hash.
    pub hash: SecretHash,
    /// Not that of the secret before a rotation.
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
            Self::NowhereToUse => "nowhere_to_use",
        }
    }
}

/// Compares an API key with what is stored under its id, in constant time; `stored` is `None` if no such key is stored. Also
/// says which stored hash matched.
///
/// # Errors
///
/// - [`UnknownPepper`]: no hash matched, and one was made under a version that is not listed. It says nothing about the
///   credential.
pub fn verify_key(
    peppers: &Peppers,
    credential: &Credential,
    stored: Option<HashedKey>,
    now: DateTime<Utc>,
) -> Result<(Verification, Option<MatchedHash>), UnknownPepper> {
    let Some(stored) = stored.filter(|stored| !stored.key.is_gone(now)) else {
        peppers.verify_nothing(credential);
        return Ok((Verification::Unknown(Some(credential.key_id)), None));
    };
    let mut matched = None;
    let mut unknown_pepper = None;
    for hash in stored.hashes(now) {
        // Every hash is compared, so that the time tells nothing of which one matched.
        match peppers.verify(credential, &hash) {
            Ok(equal) => matched = matched.or(equal.then_some(hash)),
            Err(unknown) => unknown_pepper = Some(unknown),
        }
    }
    match (matched, unknown_pepper) {
        (Some(hash), _) => {
            let is_current = hash == stored.hash;
            let presented = match stored.key.previous_expires_at {
                Some(end) if !is_current => {
                    let transferred = stored.key.previous_transferred;
                    let old = if transferred { OldSecret::Transferred } else { OldSecret::Previous };
                    PresentedSecret::Previous(old, end)
                }
                _ => PresentedSecret::Current,
            };
            let known = VerifiedCredential { key: stored.key, generation: stored.generation, presented };
            Ok((Verification::Verified(Box::new(known)), Some(MatchedHash { hash, is_current })))
        }
        (None, Some(unknown)) => Err(unknown),
        (None, None) => Ok((Verification::WrongSecret(stored.key.owner()), None)),
    }
}

/// Compares an access token or a refresh token with what is stored of it and of its key, in constant time. A token whose key is
/// not stored is unknown.
///
/// # Errors
///
/// - [`UnknownPepper`]: the stored hash was made under a version that is not listed. It says nothing about the credential.
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
    // The kind is part of what is hashed: one kind of token is never taken for the other.
    if !peppers.verify(credential, &hashed.hash)? {
        return Ok(Verification::WrongSecret(key.key.owner()));
    }
    let token = hashed.token;
    let family_works = || family.as_ref().is_some_and(|family| family.revoked_at.is_none());
    let is_revoked = token.has_ended_with(&key) || token.token_id.family().is_some() && !family_works();
    let TokenKey { key, generation } = key;
    let presented = PresentedSecret::Token(Box::new(VerifiedToken { token, family, is_revoked }));
    Ok(Verification::Verified(Box::new(VerifiedCredential { key, generation, presented })))
}

/// What a legacy key is that works until `sunset`. It is found by its hash, so there is nothing to compare.
#[must_use]
pub fn verify_legacy_key(stored: Option<HashedLegacyKey>, sunset: DateTime<Utc>) -> Verification {
    stored.map_or(Verification::Unknown(None), |stored| {
        let presented = PresentedSecret::LegacyKey(stored.hash);
        let known = VerifiedCredential {
            key: stored.key.until(sunset),
            generation: Generation::default(),
            presented,
        };
        Verification::Verified(Box::new(known))
    })
}

impl Verification {
    /// The key that the credential names, if there is one.
    #[must_use]
    pub fn owner(&self) -> Option<KeyOwner> {
        match self {
            Self::Verified(known) => Some(known.key.owner()),
            Self::WrongSecret(owner) => Some(owner.clone()),
            Self::Unknown(_) => None,
        }
    }

    /// Whether it still says something: the secret before a rotation may work no more.
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
    /// Who calls with it at an instant, and with what.
    ///
    /// A token has no more than its key has by now: the scopes and endpoints are those that both have, and the key's being
    /// switched off or expired goes for it too.
    ///
    /// # Errors
    ///
    /// The credential does not work, for the reason that [`InactiveReason`] says.
    pub fn caller(&self, now: DateTime<Utc>) -> Result<Caller, InactiveReason> {
        self.works(now)?;
        let key = &self.key;
        let mut caller = Caller {
            workspace_id: key.workspace_id.clone(),
            user_id: key.user_id.clone(),
            key_id: key.key_id,
            key_name: key.name.to_string(),
            scopes: key.scopes.clone(),
            endpoints: key.endpoints.clone(),
            credential: CredentialKind::ApiKey,
            old_secret: None,
            expires_at: self.ends_at(),
        };
        if let PresentedSecret::LegacyKey(_) = self.presented {
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
            caller.endpoints = endpoints
                .filter(|endpoints| endpoint_rule::fit(endpoints, &caller.scopes))
                .ok_or(InactiveReason::NowhereToUse)?;
            caller.credential = CredentialKind::AccessToken;
        }
        Ok(caller)
    }

    /// What was presented, as far as rights depend on it.
    #[must_use]
    pub fn class(&self) -> CredentialClass {
        match &self.presented {
            PresentedSecret::Current => CredentialClass::CurrentSecret,
            PresentedSecret::Previous(old, _) => CredentialClass::new(CredentialKind::ApiKey, Some(*old)),
            PresentedSecret::Token(_) => CredentialClass::AccessToken,
            PresentedSecret::LegacyKey(_) => CredentialClass::LegacyKey,
        }
    }

    /// When what was presented stops working: with its key, or before, with the overlap or the token that it is of.
    #[must_use]
    pub fn ends_at(&self) -> Option<DateTime<Utc>> {
        let own = match &self.presented {
            PresentedSecret::Previous(_, end) => Some(*end),
            PresentedSecret::Token(known) => Some(known.token.expires_at),
            PresentedSecret::Current | PresentedSecret::LegacyKey(_) => None,
        };
        self.key.expires_at.into_iter().chain(own).min()
    }

    /// Whether it works at an instant, as whatever it is.
    ///
    /// # Errors
    ///
    /// As [`Self::caller`], but for what concerns only those that open APIs.
    pub fn works(&self, now: DateTime<Utc>) -> Result<(), InactiveReason> {
        match self.key.status(now) {
            Status::Active => {}
            Status::Expired if matches!(self.presented, PresentedSecret::LegacyKey(_)) => {
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
            | PresentedSecret::LegacyKey(_) => Ok(()),
        }
    }
}

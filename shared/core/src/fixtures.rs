//! Values that the unit tests of this crate start from.

use chrono::{DateTime, Utc};
use zeroize::Zeroizing;

use crate::caller::{Caller, CallerKey};
use crate::credential::{Credential, CredentialForm, KeyId, Secret};
use crate::credential_class::CredentialKind;
use crate::endpoint_rule::EndpointRule;
use crate::key::{Generation, Key};
use crate::limit::Limits;
use crate::metadata::Metadata;
use crate::name::Name;
use crate::pepper::{MacKey, Peppers};
use crate::scope::Scope;
use crate::token::{Token, TokenKind};

/// An API key in plain text, from an independent implementation of the format. Its secret is 32 zero bytes.
pub(crate) const KEY_TEXT: &str =
    "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi";

/// A time, in seconds after the reference time of all fixtures.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_000_000_000 + seconds, 0).unwrap()
}

pub(crate) fn key_id() -> KeyId {
    "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap()
}

pub(crate) fn scopes(texts: &[&str]) -> Vec<Scope> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn limits(texts: &[&str]) -> Limits {
    texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap()
}

pub(crate) fn rules(texts: &[&str]) -> Vec<EndpointRule> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// An active key of the user `alice` without scopes, rules, limits and expiry.
pub(crate) fn key() -> Key {
    Key {
        key_id: key_id(),
        workspace_id: "acme".parse().unwrap(),
        user_id: "alice".parse().unwrap(),
        name: Name::parse("ci").unwrap(),
        description: None,
        scopes: Vec::new(),
        endpoints: Vec::new(),
        networks: Vec::new(),
        metadata: Metadata::default(),
        limits: Limits::default(),
        created_at: at(0),
        created_by: "alice".parse().unwrap(),
        revision: 1,
        expires_at: None,
        ttl: None,
        disabled_at: None,
        leaked_at: None,
        previous_expires_at: None,
        previous_transferred: false,
        unclaimed: false,
        rotation: 0,
        due_at: None,
    }
}

/// An access token of [`key`] without a family, scopes and rules. It expires at second 900.
pub(crate) fn token() -> Token {
    Token {
        key_id: key_id(),
        token_id: "01JD4A0000F9K3W7RT2M8Q0000".parse().unwrap(),
        kind: TokenKind::AccessToken,
        scopes: Vec::new(),
        endpoints: Vec::new(),
        generation: Generation::default(),
        made_in_overlap: None,
        created_at: at(0),
        expires_at: at(900),
        last_used_at: None,
    }
}

/// The user `alice`, calling with the current secret of [`key`].
pub(crate) fn caller() -> Caller {
    Caller {
        workspace_id: "acme".parse().unwrap(),
        user_id: "alice".parse().unwrap(),
        key: Some(CallerKey { id: key_id(), name: "ci".to_owned(), state: None }),
        session: None,
        scopes: Vec::new(),
        endpoints: Vec::new(),
        networks: Vec::new(),
        metadata: Metadata::default(),
        limits: Limits::default(),
        credential: CredentialKind::ApiKey,
        old_secret: None,
        expires_at: None,
    }
}

/// A credential of [`key`] whose secret is 32 times `byte`.
pub(crate) fn credential(form: CredentialForm, byte: u8) -> Credential {
    Credential { key_id: key_id(), form, secret: Secret::from_bytes(&Zeroizing::new([byte; 32])) }
}

/// A MAC key of 32 bytes that count up from `first_byte`.
pub(crate) fn mac_key(version: u32, first_byte: u8) -> MacKey {
    let mut key = Zeroizing::new([0; 32]);
    key.iter_mut().zip(first_byte..).for_each(|(byte, value)| *byte = value);
    MacKey::new(version, &key)
}

/// Peppers of these versions. The last one is the current one.
pub(crate) fn peppers(versions: &[u8]) -> Peppers {
    let current = versions.last().copied().unwrap();
    Peppers::new(
        versions.iter().map(|version| mac_key((*version).into(), *version)).collect(),
        current.into(),
    )
}

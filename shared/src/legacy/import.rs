//! Importing legacy keys, a batch at a time.
//!
//! A batch is written in transactions of at most as many keys as one takes, each with an event that says how many. Keys that
//! are there already, under whichever pepper, are left as they are, so a batch can be sent again.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::activity::{Action, Event, Origin};
use crate::caller::{UserId, WorkspaceId};
use crate::credential::KeyId;
use crate::error::{Error, InvalidField, Place};
use crate::fields::{self, Fields, Wrong};
use crate::legacy::LegacyCredential;
use crate::pepper::{Peppers, SecretHash};
use crate::record::{LegacyKey, Name};
use crate::scope::{MOST_SCOPES, Scope};
use crate::store::legacy_keys::{LegacyStore, MOST_AT_ONCE};
use crate::time::whole_second;

/// How long after the sunset a key is kept: whoever postpones the sunset, even after it has passed, finds every key.
const KEPT_AFTER_SUNSET: TimeDelta = TimeDelta::days(365);

/// The most keys of one batch.
pub const LARGEST_BATCH: usize = 1_000;

/// A direct invocation: `{"import": {"workspace_id", "keys": [{"key" or "sha256", "user_id", "name", "scopes"?}]}}`.
#[derive(Debug)]
pub struct ImportLegacyKeys {
    workspace_id: WorkspaceId,
    keys: Vec<NewLegacyKey>,
}

/// One key to import.
#[derive(Debug)]
struct NewLegacyKey {
    credential: LegacyCredential,
    user_id: UserId,
    name: Name,
    scopes: Vec<Scope>,
}

/// What came of an import.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// How many keys are new.
    pub imported: usize,
    /// How many were there already, or twice in the batch.
    pub present: usize,
}

impl ImportLegacyKeys {
    /// Reads an event.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the event is no import, or names every field of it that is wrong. No value is repeated: it may be
    ///   a key in the wrong place.
    pub fn parse(event: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::parse(event)?.inner("import")?;
        let workspace_id = fields.required("workspace_id", fields::parsed);
        let keys = fields.required("keys", |value| {
            let must_be = || Wrong::new(&format!("must be an array of 1 to {LARGEST_BATCH} keys"));
            let keys = value.as_array().filter(|keys| (1..=LARGEST_BATCH).contains(&keys.len()));
            keys.cloned().ok_or_else(must_be)
        });
        let mut invalid = Vec::new();
        let keys = keys.map(|keys| {
            let parsed = keys.iter().enumerate().filter_map(|(index, key)| match NewLegacyKey::parse(key) {
                Ok(key) => Some(key),
                Err(wrong) => {
                    invalid.extend(wrong.into_iter().map(|field| within_keys(index, field)));
                    None
                }
            });
            parsed.collect()
        });
        let made = workspace_id.zip(keys).map(|(workspace_id, keys)| Self { workspace_id, keys });
        let made = fields.finish(made)?;
        if invalid.is_empty() { Ok(made) } else { Err(Error::Invalid { fields: invalid }) }
    }
}

impl NewLegacyKey {
    fn parse(key: &Value) -> Result<Self, Vec<InvalidField>> {
        let read = || {
            let mut fields = Fields::parse(key.to_string().as_bytes())?;
            let plain = fields.optional("key", |value| {
                let text = fields::string(value)?;
                if text.is_empty() {
                    Err(Wrong::new(&"must not be empty"))
                } else {
                    Ok(LegacyCredential::of(text))
                }
            });
            let digest = fields.optional("sha256", |value| {
                let digest = hex(fields::string(value)?);
                digest.ok_or_else(|| Wrong::new(&"must be 64 hexadecimal digits"))
            });
            if plain.is_some() == digest.is_some() {
                fields.refuse("key", "must be there, or sha256, and not both");
            }
            let user_id = fields.required("user_id", fields::owner);
            let name = fields.required("name", |value| {
                Name::parse(fields::string(value)?).map_err(|invalid| Wrong::new(&invalid))
            });
            let scopes = fields.optional("scopes", |value| fields::distinct(value, MOST_SCOPES, "scopes"));
            let credential = plain.or(digest.map(|digest| LegacyCredential::from_digest(&digest)));
            let made = credential.zip(user_id).zip(name).map(|((credential, user_id), name)| Self {
                credential,
                user_id,
                name,
                scopes: scopes.unwrap_or_default(),
            });
            fields.finish(made)
        };
        read().map_err(|error| match error {
            Error::Invalid { fields } => fields,
            other => vec![InvalidField { place: Place::Pointer(String::new()), detail: other.to_string() }],
        })
    }
}

fn within_keys(index: usize, field: InvalidField) -> InvalidField {
    let place = match field.place {
        Place::Pointer(pointer) => Place::Pointer(format!("/keys/{index}{pointer}")),
        other => other,
    };
    InvalidField { place, ..field }
}

fn hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// What importing legacy keys takes.
#[derive(Debug)]
pub struct LegacyImporter {
    /// What they are hashed under.
    pub peppers: Peppers,
    /// Where they are.
    pub store: LegacyStore,
    /// When they stop working.
    pub sunset: DateTime<Utc>,
}

impl LegacyImporter {
    /// Imports what is not there yet. After a failure it can be repeated as it is.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names the keys whose users were removed from the workspace. Some of the others may be imported.
    /// - [`Error::Conflict`]: somebody else imports one of the keys at the same time.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later. Some may be imported.
    pub async fn import(&self, request: ImportLegacyKeys, now: DateTime<Utc>) -> Result<Imported, Error> {
        let nobody = UserId::of_import();
        let author = (&request.workspace_id, &nobody);
        let total = request.keys.len();
        let mut keys: Vec<Candidate> = Vec::with_capacity(total);
        for (index, new) in request.keys.into_iter().enumerate() {
            let hashes = self.peppers.hashes_of_legacy(&new.credential);
            let key = LegacyKey {
                hash: self.peppers.hash_legacy(&new.credential),
                key_id: KeyId::generate(now),
                workspace_id: request.workspace_id.clone(),
                user_id: new.user_id,
                name: new.name,
                scopes: new.scopes,
                imported_at: whole_second(now),
                last_used_at: None,
                ttl: whole_second(self.sunset) + KEPT_AFTER_SUNSET,
            };
            keys.push(Candidate { key, hashes, index });
        }
        // The first of those that are there twice stays.
        keys.sort_by(|one, other| one.key.hash.as_bytes().cmp(other.key.hash.as_bytes()));
        keys.dedup_by(|one, other| one.key.hash == other.key.hash);
        let mut imported = 0;
        for keys in keys.chunks(MOST_AT_ONCE) {
            let hashes: Vec<_> = keys.iter().flat_map(|candidate| &candidate.hashes).collect();
            let present = self.store.present(&hashes).await?;
            let is_present = |hash: &SecretHash| present.contains(hash.as_bytes().as_slice());
            let new = keys.iter().filter(|candidate| !candidate.hashes.iter().any(is_present));
            let new: Vec<_> = new.map(|candidate| &candidate.key).collect();
            if new.is_empty() {
                continue;
            }
            let count = u32::try_from(new.len()).unwrap_or(u32::MAX);
            let event = Event {
                count,
                ..Event::of_user(Action::LegacyImported, author, &nobody, Origin::default(), now)
            };
            let removed = self.store.import(&new, &event).await?;
            if !removed.is_empty() {
                let theirs = keys.iter().filter(|candidate| removed.contains(&candidate.key.user_id));
                return Err(Error::Invalid { fields: theirs.map(Candidate::of_removed_user).collect() });
            }
            imported += new.len();
        }
        Ok(Imported { imported, present: total - imported })
    }
}

/// A key that may be there already.
struct Candidate {
    key: LegacyKey,
    /// What it may be stored under, one for each pepper.
    hashes: Vec<SecretHash>,
    /// Its place in the batch.
    index: usize,
}

impl Candidate {
    fn of_removed_user(&self) -> InvalidField {
        let place = Place::Pointer(format!("/keys/{}/user_id", self.index));
        InvalidField { place, detail: "must not be a user who was removed".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong_places(event: &Value) -> Vec<String> {
        let Err(Error::Invalid { fields }) = ImportLegacyKeys::parse(event.to_string().as_bytes()) else {
            panic!("{event} is valid")
        };
        fields.iter().map(|field| field.place.to_string()).collect()
    }

    #[test]
    fn a_key_comes_in_plain_text_or_as_its_digest() {
        let digest = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        let event = json!({"import": {"workspace_id": "acme", "keys": [
            {"key": "abc", "user_id": "bob", "name": "one"},
            {"sha256": digest, "user_id": "bob", "name": "two", "scopes": ["orders:read"]},
        ]}});
        let import = ImportLegacyKeys::parse(event.to_string().as_bytes()).unwrap();
        assert_eq!(import.keys[0].credential.expose(), import.keys[1].credential.expose());
    }

    #[test]
    fn every_wrong_field_of_every_key_is_named_and_no_value() {
        let secret = "not-to-be-repeated";
        let event = json!({"import": {"workspace_id": "acme", "keys": [
            {"key": secret, "sha256": secret, "user_id": "b b", "name": ""},
            {"user_id": "bob", "name": "two", "colour": secret},
            {"key": "x", "user_id": "bob", "name": "three"},
        ]}});
        let expected = ["/keys/0/sha256", "/keys/0/user_id", "/keys/0/name", "/keys/1/key", "/keys/1/colour"];
        assert_eq!(wrong_places(&event), expected);
        let Err(error) = ImportLegacyKeys::parse(event.to_string().as_bytes()) else { panic!("it is valid") };
        assert!(!format!("{error:?}").contains(secret));
        assert_eq!(wrong_places(&json!({"bootstrap": {}})), ["/import", "/bootstrap"]);
        let twice = br#"{"import":{"workspace_id":"acme","keys":[{"key":"x","user_id":"bob","user_id":"eve","name":"n"}]}}"#;
        let Err(Error::Invalid { fields }) = ImportLegacyKeys::parse(twice) else {
            panic!("it is ambiguous")
        };
        assert_eq!((fields.len(), fields[0].place.to_string()), (1, "/keys/0/user_id".to_owned()));
        assert_eq!(
            wrong_places(&json!({"import": {"workspace_id": "A", "keys": []}})),
            ["/workspace_id", "/keys"]
        );
    }
}

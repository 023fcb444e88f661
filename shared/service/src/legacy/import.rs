//! Importing legacy keys in batches.
//!
//! Each key of a batch has its own result, so an invalid key does not prevent the import of others. New keys are written in
//! transactions, each with one event that has their number. Keys that already exist, under any pepper, are compared and left
//! unchanged, so a batch can be sent again.
//!
//! With `update`, a key that exists with other values is replaced: the old one is deleted, with its event, and the new one
//! imported under a new id, in one transaction. With `dry_run` nothing is written, and the results are those that the import
//! would have.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::context::EventContext;
use keygate_core::credential::{Brand, KeyId};
use keygate_core::error::{Error, InvalidField, Place};
use keygate_core::fields::{self, FieldError, Fields};
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::legacy_credential::{LegacyCredential, LegacyRules};
use keygate_core::legacy_key::{HashedLegacyKey, LegacyKey};
use keygate_core::name::Name;
use keygate_core::pepper::{Peppers, SecretHash};
use keygate_core::scope::{MAX_SCOPES, Scope};
use keygate_core::time::whole_second;
use serde::Serialize;
use serde_json::Value;

use crate::store::legacy_key_transactions::{ImportedKey, LegacyStore, MAX_PER_TRANSACTION, MAX_REPLACED};
use crate::store::legacy_keys::{StoredLegacyKey, TableKey};

/// How long a key is kept after the sunset, so that a deployment can still postpone a sunset that has passed.
const KEPT_AFTER_SUNSET: TimeDelta = TimeDelta::days(365);

/// The maximum number of keys in one batch.
pub const MAX_IMPORT_BATCH: usize = 1_000;

/// The maximum number of attempts when another import writes the same keys concurrently.
const MAX_ATTEMPTS: usize = 5;

/// A direct invocation: `{"import": {"workspace_id", "keys": [{"key" or "sha256", "user_id", "name", "scopes"?}], "update"?,
/// "dry_run"?}}`.
#[derive(Debug)]
pub struct ImportLegacyKeys {
    workspace_id: WorkspaceId,
    /// Whether keys that exist with other values are replaced.
    update: bool,
    /// Whether nothing is written.
    dry_run: bool,
    /// Each key of the batch, or its invalid fields.
    keys: Vec<Result<NewLegacyKey, Vec<InvalidField>>>,
}

/// One key to import.
#[derive(Debug)]
struct NewLegacyKey {
    credential: LegacyCredential,
    user_id: UserId,
    name: Name,
    scopes: Vec<Scope>,
}

/// The result of a batch.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ImportSummary {
    /// The number of imported keys.
    pub imported: usize,
    /// The number of keys that existed with other values and were replaced.
    pub updated: usize,
    /// The number of keys that already exist with the same values.
    pub present: usize,
    /// The number of keys that were not imported and do not exist with these values.
    pub refused: usize,
    /// The result of each key, in the order of the batch.
    keys: Vec<KeyResult>,
}

/// The result of one key. It repeats no text of the batch, which may be a misplaced key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum KeyResult {
    /// The key was imported.
    Imported,
    /// The key existed with other values, and was replaced by one with these values and a new id.
    Updated,
    /// The key already exists with the same values.
    Present {
        /// The index of an earlier copy of the key in the batch, if that copy was imported.
        #[serde(skip_serializing_if = "Option::is_none")]
        same_as: Option<usize>,
    },
    /// The key already exists with other values, and is left unchanged.
    OtherValues {
        /// The fields that differ: `user_id`, `name`, `scopes`.
        fields: Vec<&'static str>,
        /// The index of an earlier copy of the key in the batch, if that copy was imported.
        #[serde(skip_serializing_if = "Option::is_none")]
        same_as: Option<usize>,
    },
    /// The key already exists in another workspace, and is left unchanged.
    OtherWorkspace,
    /// The user was removed from the workspace, or the user whose key would have been replaced.
    UserRemoved,
    /// The key existed with other values, and was deleted while the import replaced it. It is not imported again.
    Deleted,
    /// An earlier copy of the key is in the batch and was not imported.
    Duplicate {
        /// The index of that copy in the batch.
        same_as: usize,
    },
    /// Fields are invalid, or the authorizer would never recognize the key.
    Invalid {
        /// The invalid fields.
        errors: Vec<InvalidField>,
    },
}

impl ImportSummary {
    fn of(keys: Vec<KeyResult>) -> Self {
        let imported = keys.iter().filter(|result| matches!(result, KeyResult::Imported)).count();
        let updated = keys.iter().filter(|result| matches!(result, KeyResult::Updated)).count();
        let present = keys.iter().filter(|result| matches!(result, KeyResult::Present { .. })).count();
        Self { imported, updated, present, refused: keys.len() - imported - updated - present, keys }
    }
}

impl ImportLegacyKeys {
    /// Whether nothing is written.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Parses an event. An invalid key is a result of that key, not an error.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the event is not an import, or names its invalid fields other than those of the keys. No value
    ///   is repeated, because it may be a misplaced key.
    pub fn parse(event: &[u8], rules: &LegacyRules, brand: &Brand) -> Result<Self, Error> {
        let mut fields = Fields::parse(event)?.inner("import")?;
        let workspace_id = fields.required("workspace_id", fields::parsed);
        let keys = fields.required("keys", |value| {
            let must_be = || FieldError::new(&format!("must be an array of 1 to {MAX_IMPORT_BATCH} keys"));
            let keys = value.as_array().filter(|keys| (1..=MAX_IMPORT_BATCH).contains(&keys.len()));
            keys.cloned().ok_or_else(must_be)
        });
        let keys = keys.map(|keys| {
            let keys = keys.iter().enumerate().map(|(index, key)| {
                let within = |errors: Vec<InvalidField>| {
                    errors.into_iter().map(|error| within_keys(index, error)).collect()
                };
                NewLegacyKey::parse(key, rules, brand).map_err(within)
            });
            keys.collect()
        });
        let update = fields.optional("update", fields::boolean).unwrap_or_default();
        let dry_run = fields.optional("dry_run", fields::boolean).unwrap_or_default();
        let import = workspace_id.zip(keys);
        fields.finish(import.map(|(workspace_id, keys)| Self { workspace_id, update, dry_run, keys }))
    }
}

impl NewLegacyKey {
    fn parse(key: &Value, rules: &LegacyRules, brand: &Brand) -> Result<Self, Vec<InvalidField>> {
        let read = || {
            let mut fields = Fields::parse(key.to_string().as_bytes())?;
            let (has_key, has_digest) = (fields.has("key"), fields.has("sha256"));
            let plain = fields.optional("key", |value| {
                let text = fields::string(value)?;
                if text.is_empty() {
                    return Err(FieldError::new(&"must not be empty"));
                }
                rules.check(text, brand).map_err(|never_works| FieldError::new(&never_works))?;
                Ok(LegacyCredential::of(text))
            });
            let digest = fields.optional("sha256", |value| {
                let digest = read_digest(fields::string(value)?);
                digest.ok_or_else(|| FieldError::new(&"must be 64 hexadecimal digits"))
            });
            if has_key == has_digest {
                fields.refuse("key", "must be present unless sha256 is, and not both");
            }
            let user_id = fields.required("user_id", fields::owner);
            let name = fields.required("name", |value| {
                Name::parse(fields::string(value)?).map_err(|invalid| FieldError::new(&invalid))
            });
            let scopes = fields.optional("scopes", |value| fields::distinct(value, MAX_SCOPES, "scopes"));
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

fn read_digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).is_ok().then_some(digest)
}

/// Imports legacy keys.
#[derive(Debug)]
pub struct LegacyImporter {
    /// The peppers for the hashes.
    pub peppers: Peppers,
    /// The store.
    pub store: LegacyStore,
    /// The rules that recognize legacy keys, and the sunset.
    pub rules: LegacyRules,
    /// The brand of this deployment's own credentials.
    pub brand: Brand,
}

impl LegacyImporter {
    /// Imports the keys that do not exist yet, and returns a result for each key. After a failure the same batch can be sent
    /// again.
    ///
    /// # Errors
    ///
    /// - [`Error::NoSuchWorkspace`]: the workspace does not exist. Nothing was imported.
    /// - [`Error::Conflict`]: other imports kept writing the same keys. Some keys may be imported.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later. Some may be imported.
    pub async fn import(
        &self,
        request: ImportLegacyKeys,
        now: DateTime<Utc>,
    ) -> Result<ImportSummary, Error> {
        let ImportLegacyKeys { workspace_id, update, dry_run, keys } = request;
        if !self.store.workspaces.exists(&workspace_id).await? {
            return Err(Error::NoSuchWorkspace);
        }
        let mut batch = Batch { update, dry_run, results: HashMap::new(), stored: HashMap::new() };
        let total = keys.len();
        let mut first: HashMap<TableKey, usize> = HashMap::new();
        let (mut candidates, mut repeated) = (Vec::new(), Vec::new());
        for (index, new) in keys.into_iter().enumerate() {
            match new {
                Err(errors) => batch.report(index, KeyResult::Invalid { errors }),
                Ok(new) => {
                    let candidate = self.candidate(index, new, &workspace_id, now);
                    let same_as = *first.entry(candidate.table_key()).or_insert(index);
                    if same_as == index {
                        candidates.push(candidate);
                    } else {
                        repeated.push((candidate, same_as));
                    }
                }
            }
        }
        while !candidates.is_empty() {
            let most = if update { MAX_REPLACED } else { MAX_PER_TRANSACTION };
            let rest = candidates.split_off(candidates.len().min(most));
            self.import_some(std::mem::replace(&mut candidates, rest), &workspace_id, &mut batch, now)
                .await?;
        }
        for (candidate, same_as) in &repeated {
            batch.report_repeated(candidate, *same_as);
        }
        let results = (0..total).map(|index| batch.results.remove(&index));
        let results: Option<Vec<_>> = results.collect();
        Ok(ImportSummary::of(
            results.ok_or_else(|| Error::Broken("a key of an import has no result".to_owned()))?,
        ))
    }

    fn candidate(
        &self,
        index: usize,
        new: NewLegacyKey,
        workspace: &WorkspaceId,
        now: DateTime<Utc>,
    ) -> Candidate {
        let hashes = self.peppers.hashes_of_legacy(&new.credential);
        let key = LegacyKey {
            key_id: KeyId::generate(now),
            workspace_id: workspace.clone(),
            user_id: new.user_id,
            name: new.name,
            scopes: new.scopes,
            imported_at: whole_second(now),
            last_used_at: None,
            ttl: whole_second(self.rules.sunset) + KEPT_AFTER_SUNSET,
        };
        let new = HashedLegacyKey { record: key, hash: self.peppers.hash_legacy(&new.credential) };
        Candidate { index, imported: ImportedKey { new, replaced: None }, hashes }
    }

    /// Imports the keys of one transaction, all of them different.
    async fn import_some(
        &self,
        mut keys: Vec<Candidate>,
        workspace: &WorkspaceId,
        batch: &mut Batch,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let importer = UserId::of_import();
        for _ in 0..MAX_ATTEMPTS {
            let hashes: Vec<_> = keys.iter().flat_map(|candidate| &candidate.hashes).collect();
            let stored = self.store.keys.stored(&hashes).await?;
            keys.retain_mut(|candidate| {
                let was_stored = candidate.imported.replaced.is_some();
                candidate.make_new();
                let found = candidate.hashes.iter().find_map(|hash| Some((hash, stored.get(&hash.into())?)));
                let Some((hash, found)) = found else {
                    if was_stored {
                        batch.report(candidate.index, KeyResult::Deleted);
                    }
                    return !was_stored;
                };
                let result = candidate.compared(found, None);
                if batch.update && matches!(result, KeyResult::OtherValues { .. }) {
                    candidate.replace(hash.clone(), found);
                    return true;
                }
                batch.report(candidate.index, result);
                batch.stored.insert(candidate.table_key(), found.clone());
                false
            });
            if keys.is_empty() {
                return Ok(());
            }
            let context = EventContext::without_request(workspace, &importer, now);
            let written: Vec<_> = keys.iter().map(|candidate| &candidate.imported).collect();
            let removed = if batch.dry_run {
                self.store.removed_users(&written).await
            } else {
                self.store.import(&written, &importer, &context).await
            };
            let removed = match removed {
                Ok(removed) => removed.into_iter().cloned().collect::<Vec<_>>(),
                // Another import wrote the key first. The next read shows its values.
                Err(Error::Conflict) => continue,
                Err(error) => return Err(error),
            };
            if removed.is_empty() {
                for candidate in keys {
                    let is_new = candidate.imported.replaced.is_none();
                    batch.report(
                        candidate.index,
                        if is_new { KeyResult::Imported } else { KeyResult::Updated },
                    );
                    batch.stored.insert(candidate.table_key(), candidate.values());
                }
                return Ok(());
            }
            keys.retain(|candidate| {
                let is_removed = candidate.imported.users().any(|user| removed.contains(user));
                if is_removed {
                    batch.report(candidate.index, KeyResult::UserRemoved);
                }
                !is_removed
            });
            if keys.is_empty() {
                return Ok(());
            }
        }
        Err(Error::Conflict)
    }
}

/// The results of a batch so far.
struct Batch {
    update: bool,
    dry_run: bool,
    /// The results by index in the batch.
    results: HashMap<usize, KeyResult>,
    /// The stored values of the keys that exist.
    stored: HashMap<TableKey, StoredLegacyKey>,
}

impl Batch {
    fn report(&mut self, index: usize, result: KeyResult) {
        self.results.insert(index, result);
    }

    /// Reports a copy of a key whose first occurrence, at the index `same_as`, has its result.
    fn report_repeated(&mut self, candidate: &Candidate, same_as: usize) {
        let result = match self.stored.get(&candidate.table_key()) {
            Some(stored) => candidate.compared(stored, Some(same_as)),
            None => KeyResult::Duplicate { same_as },
        };
        self.report(candidate.index, result);
    }
}

/// A key that may already exist.
struct Candidate {
    /// Its index in the batch.
    index: usize,
    /// The item to store if the key is new or replaces another.
    imported: ImportedKey,
    /// The hashes under which the key may be stored, one for each pepper.
    hashes: Vec<SecretHash>,
}

impl Candidate {
    fn table_key(&self) -> TableKey {
        // The same for every copy of the key, whichever pepper the stored key is under.
        self.hashes.first().map_or_else(|| (&self.imported.new.hash).into(), Into::into)
    }

    /// Lets the key be a new one, under the current pepper.
    fn make_new(&mut self) {
        if let Some(hash) = self.hashes.first() {
            self.imported.new.hash = hash.clone();
        }
        self.imported.new.record.last_used_at = None;
        self.imported.replaced = None;
    }

    /// Lets the key take the place of the stored one, under the same hash. Its last use remains, which shows whether the key
    /// is still in use.
    fn replace(&mut self, hash: SecretHash, stored: &StoredLegacyKey) {
        self.imported.new.hash = hash;
        self.imported.new.record.last_used_at = stored.last_used_at;
        self.imported.replaced = Some((stored.key_id, stored.user_id.clone()));
    }

    fn values(&self) -> StoredLegacyKey {
        let LegacyKey { key_id, workspace_id, user_id, name, scopes, last_used_at, .. } =
            self.imported.new.record.clone();
        StoredLegacyKey { key_id, workspace_id, user_id, name, scopes, last_used_at }
    }

    /// The result for a key whose values are already stored. The order of scopes does not matter.
    fn compared(&self, stored: &StoredLegacyKey, same_as: Option<usize>) -> KeyResult {
        let key = &self.imported.new.record;
        if key.workspace_id != stored.workspace_id {
            return KeyResult::OtherWorkspace;
        }
        let has_same_scopes = key.scopes.len() == stored.scopes.len()
            && key.scopes.iter().all(|scope| stored.scopes.contains(scope));
        let differences = [
            ("user_id", key.user_id != stored.user_id),
            ("name", key.name != stored.name),
            ("scopes", !has_same_scopes),
        ];
        let fields: Vec<_> =
            differences.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect();
        if fields.is_empty() {
            KeyResult::Present { same_as }
        } else {
            KeyResult::OtherValues { fields, same_as }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(event: &Value) -> Result<ImportLegacyKeys, Error> {
        parse_text(event.to_string().as_bytes())
    }

    fn parse_text(event: &[u8]) -> Result<ImportLegacyKeys, Error> {
        let pattern = LegacyRules::pattern("[a-z-]+").unwrap();
        let rules = LegacyRules { sunset: Utc::now(), pattern, header: None };
        ImportLegacyKeys::parse(event, &rules, &"kg".parse().unwrap())
    }

    fn wrong_places(event: &Value) -> Vec<String> {
        let Err(Error::Invalid { fields }) = parse(event) else { panic!("{event} is valid") };
        fields.iter().map(|field| field.place.to_string()).collect()
    }

    #[test]
    fn a_key_is_given_in_plain_text_or_as_its_digest() {
        let digest = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        let event = json!({"import": {"workspace_id": "acme", "keys": [
            {"key": "abc", "user_id": "bob", "name": "one"},
            {"sha256": digest, "user_id": "bob", "name": "two", "scopes": ["orders:read"]},
        ]}});
        let import = parse(&event).unwrap();
        let credential = |index: usize| import.keys[index].as_ref().unwrap().credential.expose();
        assert_eq!(credential(0), credential(1));
    }

    #[test]
    fn all_invalid_fields_are_reported_without_values() {
        let secret = "not-to-be-repeated";
        let event = json!({"import": {"workspace_id": "acme", "keys": [
            {"key": secret, "sha256": secret, "user_id": "b b", "name": ""},
            {"user_id": "bob", "name": "two", "colour": secret},
            {"key": "x", "user_id": "bob", "name": "three"},
            {"key": format!("{secret} "), "user_id": "bob", "name": "four"},
            {"key": format!("kg_{secret}"), "user_id": "bob", "name": "five"},
            {"key": format!("{secret}7"), "user_id": "bob", "name": "six"},
            {"key": "", "user_id": "bob", "name": "seven"},
            secret,
        ]}});
        let keys = parse(&event).unwrap().keys;
        let places: Vec<Vec<_>> = keys
            .iter()
            .map(|key| {
                key.as_ref().err().into_iter().flatten().map(|error| error.place.to_string()).collect()
            })
            .collect();
        let expected: [&[&str]; 8] = [
            &["/keys/0/sha256", "/keys/0/key", "/keys/0/user_id", "/keys/0/name"],
            &["/keys/1/key", "/keys/1/colour"],
            &[],
            &["/keys/3/key"],
            &["/keys/4/key"],
            &["/keys/5/key"],
            &["/keys/6/key"],
            &["/keys/7"],
        ];
        assert_eq!(places, expected);
        assert!(!format!("{keys:?}").contains(secret));
    }

    #[test]
    fn an_event_that_is_not_an_import_is_rejected() {
        assert_eq!(wrong_places(&json!({"bootstrap": {}})), ["/import", "/bootstrap"]);
        let twice = br#"{"import":{"workspace_id":"acme","keys":[{"key":"x","user_id":"bob","user_id":"eve","name":"n"}]}}"#;
        let Err(Error::Invalid { fields }) = parse_text(twice) else { panic!("it is ambiguous") };
        assert_eq!((fields.len(), fields[0].place.to_string()), (1, "/keys/0/user_id".to_owned()));
        assert_eq!(
            wrong_places(&json!({"import": {"workspace_id": "A", "keys": []}})),
            ["/workspace_id", "/keys"]
        );
    }
}

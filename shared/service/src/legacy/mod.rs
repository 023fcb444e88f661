//! Legacy keys: import, list, show, delete.

pub mod delete;
pub mod get;
pub mod import;
pub mod list;

use aws_sdk_dynamodb::Client;
use chrono::{DateTime, Utc};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::legacy_credential;
use keygate_core::legacy_key::LegacyKey;
use keygate_core::time::rfc3339;
use serde::Serialize;

use crate::store::legacy_keys::LegacyKeysTable;

/// What showing legacy keys takes.
#[derive(Debug)]
pub struct LegacyReader {
    /// Where they are.
    pub keys: LegacyKeysTable,
    /// From when on none of them works.
    pub sunset: DateTime<Utc>,
}

impl LegacyReader {
    /// Takes the table's name and the sunset from the environment; nothing, if no legacy keys are honoured.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one of them is wrong, or the table is missing.
    pub fn new(client: Client, environment: &Environment) -> Result<Option<Self>, InvalidVariable> {
        let Some(sunset) = legacy_credential::sunset(environment)? else { return Ok(None) };
        Ok(Some(Self { keys: LegacyKeysTable::new(client, environment)?, sunset }))
    }
}

/// A legacy key as the management API shows it: everything but the hash that it is found by.
#[derive(Debug, Serialize)]
pub struct ShownLegacyKey {
    id: String,
    name: String,
    user_id: String,
    scopes: Vec<String>,
    imported_at: String,
    last_used_at: Option<String>,
    status: LegacyStatus,
    sunset: String,
    deprecated: bool,
}

/// Whether a legacy key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum LegacyStatus {
    /// It works.
    Active,
    /// The time of all legacy keys is over.
    Sunset,
}

impl ShownLegacyKey {
    /// How `key` is shown `now`.
    #[must_use]
    pub fn new(key: &LegacyKey, sunset: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        Self {
            id: key.key_id.to_string(),
            name: key.name.to_string(),
            user_id: key.user_id.to_string(),
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            imported_at: rfc3339(key.imported_at),
            last_used_at: key.last_used_at.map(rfc3339),
            status: if now < sunset { LegacyStatus::Active } else { LegacyStatus::Sunset },
            sunset: rfc3339(sunset),
            deprecated: true,
        }
    }
}

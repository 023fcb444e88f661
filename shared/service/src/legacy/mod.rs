//! Legacy keys: import, list, show, delete.

pub mod delete;
pub mod get;
pub mod import;
pub mod list;

use chrono::{DateTime, Utc};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::legacy_credential;
use keygate_core::legacy_key::LegacyKey;
use keygate_core::time::rfc3339;
use serde::Serialize;

use crate::aws::dynamodb::DynamoDb;
use crate::store::legacy_keys::LegacyKeysTable;

/// Shows legacy keys.
#[derive(Debug)]
pub struct LegacyReader {
    /// The table.
    pub keys: LegacyKeysTable,
    /// The sunset, after which no legacy key works.
    pub sunset: DateTime<Utc>,
}

impl LegacyReader {
    /// Reads the table name and the sunset from the environment; `None` if the deployment accepts no legacy keys.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is invalid, or the table name is missing.
    pub fn new(client: DynamoDb, environment: &Environment) -> Result<Option<Self>, InvalidVariable> {
        let Some(sunset) = legacy_credential::sunset(environment)? else { return Ok(None) };
        Ok(Some(Self { keys: LegacyKeysTable::new(client, environment)?, sunset }))
    }
}

/// A legacy key as the management API shows it, without its hash.
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

/// The status of a legacy key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum LegacyStatus {
    /// The key works.
    Active,
    /// The sunset has passed.
    Sunset,
}

impl ShownLegacyKey {
    /// The view of `key` at the time `now`.
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

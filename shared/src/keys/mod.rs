//! What can be done with keys: one use case a file.

pub mod create;
pub mod delete;
pub mod list;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::credential::Brand;
use crate::record::{Key, Status};

/// A key as the management API shows it: everything but what could be checked against its secret.
#[derive(Debug, Serialize)]
pub struct ShownKey {
    id: String,
    name: String,
    description: Option<String>,
    prefix: String,
    user_id: String,
    created_by: String,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    status: Status,
    scopes: Vec<String>,
}

impl ShownKey {
    /// How `key` is shown `now`.
    #[must_use]
    pub fn new(key: &Key, brand: &Brand, now: DateTime<Utc>) -> Self {
        Self {
            id: key.key_id.to_string(),
            name: key.name.to_string(),
            description: key.description.clone(),
            prefix: key.key_id.prefix(brand),
            user_id: key.user_id.to_string(),
            created_by: key.created_by.to_string(),
            created_at: rfc3339(key.created_at),
            expires_at: key.expires_at.map(rfc3339),
            last_used_at: key.last_used_at.map(rfc3339),
            status: key.status(now),
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A time as it is shown everywhere: RFC 3339, in UTC, to the second.
#[must_use]
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

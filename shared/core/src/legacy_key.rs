//! A legacy key as it is stored.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::credential::KeyId;
use crate::identity::{UserId, WorkspaceId};
use crate::key::Key;
use crate::limit::Limits;
use crate::metadata::Metadata;
use crate::name::Name;
use crate::pepper::SecretHash;
use crate::scope::Scope;

/// A legacy key without its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyKey {
    /// The id that the import gave it.
    pub key_id: KeyId,
    /// Its tenant.
    pub workspace_id: WorkspaceId,
    /// The user that it belongs to and acts as.
    pub user_id: UserId,
    /// Its name, which need not be unique.
    pub name: Name,
    /// Its scopes.
    pub scopes: Vec<Scope>,
    /// When it was imported.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub imported_at: DateTime<Utc>,
    /// When it was last used.
    #[serde(with = "crate::time::zero_until_used")]
    pub last_used_at: Option<DateTime<Utc>>,
    /// When `DynamoDB` may delete it: some time after the sunset that was set when it was imported.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub ttl: DateTime<Utc>,
}

/// A legacy key with its hash, as the authorizer reads it and an import writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HashedLegacyKey {
    /// The key.
    #[serde(flatten)]
    pub record: LegacyKey,
    /// The hash of its digest, which is the key of the table.
    #[serde(flatten)]
    pub hash: SecretHash,
}

impl LegacyKey {
    /// Whether the key is past its `ttl`. Reads treat it as deleted, because `DynamoDB` may delete it late.
    #[must_use]
    pub fn is_gone(&self, now: DateTime<Utc>) -> bool {
        self.ttl <= now
    }

    /// The legacy key as a key that expires at the sunset.
    #[must_use]
    pub fn until(self, sunset: DateTime<Utc>) -> Key {
        Key {
            key_id: self.key_id,
            workspace_id: self.workspace_id,
            created_by: self.user_id.clone(),
            user_id: self.user_id,
            name: self.name,
            description: None,
            scopes: self.scopes,
            endpoints: Vec::new(),
            networks: Vec::new(),
            metadata: Metadata::default(),
            limits: Limits::default(),
            created_at: self.imported_at,
            revision: 0,
            expires_at: Some(sunset),
            ttl: None,
            due_at: None,
            disabled_at: None,
            leaked_at: None,
            previous_expires_at: None,
            previous_transferred: false,
            unclaimed: false,
            rotation: 0,
        }
    }
}

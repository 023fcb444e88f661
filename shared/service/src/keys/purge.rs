//! Cleaning up after `DynamoDB` has removed an expired key: its name, its member entry and its place in the user's count.

use chrono::{DateTime, Utc};
use keygate_core::audit_event::{Action, AuditEvent, EventDetails};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::KeyOwner;
use keygate_core::metadata::Metadata;
use serde::Deserialize;

use crate::store::Store;

/// A removed key, as the stream of the table has it. The hashes in the stream record are not read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RemovedKey {
    key_id: KeyId,
    workspace_id: WorkspaceId,
    user_id: UserId,
    name_folded: String,
    #[serde(default, with = "chrono::serde::ts_seconds_option")]
    expires_at: Option<DateTime<Utc>>,
    #[serde(default)]
    metadata: Metadata,
}

/// Cleans up after keys, each with the time of its removal. If one of them fails, the whole batch counts as failed.
///
/// # Errors
///
/// See [`purge`].
pub async fn purge_all(store: &Store, removed: &[(RemovedKey, DateTime<Utc>)]) -> Result<Vec<bool>, Error> {
    for (key, at) in removed {
        purge(store, key, *at).await?;
    }
    Ok(vec![true; removed.len()])
}

/// Cleans up after a key that was removed at the time `at`. Returns whether any entries were left. Repeating it is not an
/// error.
///
/// # Errors
///
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn purge(store: &Store, key: &RemovedKey, at: DateTime<Utc>) -> Result<bool, Error> {
    let owner =
        KeyOwner { workspace_id: key.workspace_id.clone(), user_id: key.user_id.clone(), key_id: key.key_id };
    let details = EventDetails { expires_at: key.expires_at, ..EventDetails::default() };
    let event =
        AuditEvent::for_lifecycle(Action::KeyPurged, &owner, details, at).with_metadata(&key.metadata);
    Ok(store.purge_key(&owner, Some(&key.name_folded), &event).await?.is_applied())
}

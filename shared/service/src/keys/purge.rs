//! Cleaning up after `DynamoDB` has removed an expired key: its name, its member entry, its place in its user's count.

use chrono::{DateTime, Utc};
use keygate_core::audit_event::{Action, AuditEvent, EventDetails};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::KeyOwner;
use serde::Deserialize;

use crate::store::Store;

/// What there was to know of a key that is removed. The hashes that come along with it are not read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RemovedKey {
    key_id: KeyId,
    workspace_id: WorkspaceId,
    user_id: UserId,
    name_folded: String,
    #[serde(default, with = "chrono::serde::ts_seconds_option")]
    expires_at: Option<DateTime<Utc>>,
}

/// Cleans up after keys, each with the instant at which it was removed. Every one of them is done, or none counts as done.
///
/// # Errors
///
/// As [`purge`] says.
pub async fn purge_all(store: &Store, removed: &[(RemovedKey, DateTime<Utc>)]) -> Result<Vec<bool>, Error> {
    for (key, at) in removed {
        purge(store, key, *at).await?;
    }
    Ok(vec![true; removed.len()])
}

/// Cleans up after a key that was removed `at` an instant. Whether anything was left; that it was done before is no error.
///
/// # Errors
///
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn purge(store: &Store, key: &RemovedKey, at: DateTime<Utc>) -> Result<bool, Error> {
    let owner =
        KeyOwner { workspace_id: key.workspace_id.clone(), user_id: key.user_id.clone(), key_id: key.key_id };
    let details = EventDetails { expires_at: key.expires_at, ..EventDetails::default() };
    let event = AuditEvent::for_lifecycle(Action::KeyPurged, &owner, details, at);
    Ok(store.purge_key(&owner, Some(&key.name_folded), &event).await?.is_applied())
}

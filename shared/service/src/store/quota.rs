//! Finds room for one more key in a user's count. If the count is full, expired keys of the user are taken out of it.

use aws_sdk_dynamodb::types::TransactWriteItem;
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::key::Key;

use crate::store::transaction::{Cancellation, ChangeHandle, Transaction};
use crate::store::workspace_users::{KEY_COUNT, REMOVED_AT};
use crate::store::workspaces::WorkspacesTable;

/// The place of one key in its user's count, across the attempts of a transaction.
#[derive(Debug)]
pub(super) struct QuotaReservation<'a> {
    workspaces: &'a WorkspacesTable,
    key: &'a Key,
    quota: u32,
    now: DateTime<Utc>,
    /// The expired keys that the transaction takes out of the count; `None` until the count was found full.
    lapsed_keys: Option<Vec<KeyId>>,
}

impl<'a> QuotaReservation<'a> {
    /// Starts without taking any key out of the count.
    pub(super) fn new(workspaces: &'a WorkspacesTable, key: &'a Key, quota: u32, now: DateTime<Utc>) -> Self {
        Self { workspaces, key, quota, now, lapsed_keys: None }
    }

    /// The change of the user's entry that counts the key and uncounts the expired keys.
    pub(super) fn count_key(&self) -> TransactWriteItem {
        self.workspaces.count_key(self.key, self.quota, self.lapsed_keys().len())
    }

    /// Adds the changes that mark the expired keys as uncounted in their member entries.
    pub(super) fn uncount_lapsed(&self, transaction: &mut Transaction<'_>) -> Vec<ChangeHandle> {
        let Key { workspace_id: workspace, user_id: user, .. } = self.key;
        let uncount = |key: &KeyId| self.workspaces.uncount_lapsed(workspace, user, *key, self.now);
        self.lapsed_keys().iter().map(|key| transaction.add(uncount(key))).collect()
    }

    /// Prepares the next attempt after the user's count, or a member entry of an expired key, refused the transaction.
    /// Returns whether one of these was the reason, so that the caller can build and commit the transaction again.
    ///
    /// Between a refusal and the search for expired keys another transaction may take keys out of the count, which may make
    /// room for more than one key. So the quota is reached only if the count is still full after a search that found no
    /// expired key.
    ///
    /// # Errors
    ///
    /// - [`Error::UserRemoved`]: the user was removed.
    /// - [`Error::QuotaReached`]: the count is full, and no counted key has expired.
    /// - [`Error::Unavailable`]: the database did not respond.
    pub(super) async fn prepare_retry(
        &mut self,
        refused: &Cancellation,
        count: Option<ChangeHandle>,
        uncounted: &[ChangeHandle],
    ) -> Result<bool, Error> {
        let Some(count) = count.filter(|count| refused.failed(*count)) else {
            let is_taken = uncounted.iter().any(|member| refused.failed(*member));
            if is_taken {
                self.lapsed_keys = None;
            }
            return Ok(is_taken);
        };
        if is_removed(refused, count) {
            return Err(Error::UserRemoved);
        }
        if self.lapsed_keys.as_ref().is_some_and(Vec::is_empty) {
            let counted = refused.existing_item(count).and_then(|entry| entry.get(KEY_COUNT));
            let counted = counted.and_then(|counted| counted.as_n().ok()?.parse().ok());
            return Err(Error::QuotaReached { counted: counted.unwrap_or(self.quota), quota: self.quota });
        }
        let Key { workspace_id: workspace, user_id: user, .. } = self.key;
        self.lapsed_keys = Some(self.workspaces.lapsed_keys(workspace, user, self.now).await?);
        Ok(true)
    }

    fn lapsed_keys(&self) -> &[KeyId] {
        self.lapsed_keys.as_deref().unwrap_or_default()
    }
}

/// Whether a change of a user's entry failed because the user was removed.
pub(super) fn is_removed(refused: &Cancellation, user: ChangeHandle) -> bool {
    refused.failed(user) && refused.existing_item(user).is_some_and(|entry| entry.contains_key(REMOVED_AT))
}

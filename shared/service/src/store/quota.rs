//! A place for one more key in a user's count: where the count is full, expired keys of the user are taken out of it.

use aws_sdk_dynamodb::types::TransactWriteItem;
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::key::Key;

use crate::store::transaction::{Cancellation, ChangeHandle, Transaction};
use crate::store::workspace_users::{KEY_COUNT, REMOVED_AT};
use crate::store::workspaces::WorkspacesTable;

/// The place of one key in its user's count, from one attempt of a transaction to the next.
#[derive(Debug)]
pub(super) struct QuotaReservation<'a> {
    workspaces: &'a WorkspacesTable,
    key: &'a Key,
    quota: u32,
    now: DateTime<Utc>,
    /// Expired keys that the transaction takes out of the count; `None` before the count was found full.
    lapsed_keys: Option<Vec<KeyId>>,
}

impl<'a> QuotaReservation<'a> {
    /// Begins with the count as it is: no key is taken out of it.
    pub(super) fn new(workspaces: &'a WorkspacesTable, key: &'a Key, quota: u32, now: DateTime<Utc>) -> Self {
        Self { workspaces, key, quota, now, lapsed_keys: None }
    }

    /// The change of the user's entry that counts the key, and the expired keys not any more.
    pub(super) fn count_key(&self) -> TransactWriteItem {
        self.workspaces.count_key(self.key, self.quota, self.lapsed_keys().len())
    }

    /// Adds the changes of the expired keys' member entries, which say that those keys do not count.
    pub(super) fn uncount_lapsed(&self, transaction: &mut Transaction<'_>) -> Vec<ChangeHandle> {
        let Key { workspace_id: workspace, user_id: user, .. } = self.key;
        let uncount = |key: &KeyId| self.workspaces.uncount_lapsed(workspace, user, *key, self.now);
        self.lapsed_keys().iter().map(|key| transaction.add(uncount(key))).collect()
    }

    /// Prepares the next attempt after a refusal by the user's count, or by a member entry of an expired key. Returns whether one of
    /// these was the reason, so that the transaction may be made when it is put together again.
    ///
    /// Between a refusal and the search for expired keys another transaction may have taken keys out of the count, and so have made
    /// room for more than one. So only a count that is full after a search that found nothing is full of keys that have not expired.
    ///
    /// # Errors
    ///
    /// - [`Error::UserRemoved`]: the user was removed.
    /// - [`Error::QuotaReached`]: the count is full, and no key that counts has expired.
    /// - [`Error::Unavailable`]: the database did not answer.
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

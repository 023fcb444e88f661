//! Room for one more key in a user's count: where that is full, expired keys of the user give way.

use aws_sdk_dynamodb::types::TransactWriteItem;
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::Key;

use crate::store::transaction::{Cancellation, ChangeHandle, Transaction};
use crate::store::workspaces::{KEY_COUNT, REMOVED_AT, WorkspacesTable};

/// A search for room, from one attempt of a transaction to the next.
#[derive(Debug)]
pub(super) struct Room<'a> {
    workspaces: &'a WorkspacesTable,
    owner: (&'a WorkspaceId, &'a UserId),
    quota: u32,
    now: DateTime<Utc>,
    /// Which keys were found that can give way; `None` before the count was found full.
    giving_way: Option<Vec<KeyId>>,
}

impl<'a> Room<'a> {
    /// Begins with the count as it is: no key has to give way.
    pub(super) fn new(
        workspaces: &'a WorkspacesTable,
        owner: (&'a WorkspaceId, &'a UserId),
        quota: u32,
        now: DateTime<Utc>,
    ) -> Self {
        Self { workspaces, owner, quota, now, giving_way: None }
    }

    /// Counts one more key of the user, in place of those that give way.
    pub(super) fn count_one_more(&self, key: &Key) -> TransactWriteItem {
        self.workspaces.count_one_more(key, self.quota, self.giving_way().len())
    }

    /// Takes their places from the keys that give way.
    pub(super) fn take_places(&self, transaction: &mut Transaction<'_>) -> Vec<ChangeHandle> {
        let (workspace, user) = self.owner;
        let uncount = |key: &KeyId| self.workspaces.uncount_member(workspace, user, *key, self.now);
        self.giving_way().iter().map(|key| transaction.add(uncount(key))).collect()
    }

    /// Whether a transaction that was refused because of the user's count, or of a place, may be made when it is put together again.
    ///
    /// Between a refusal and the search somebody else may have taken the places of expired keys, and so have made room for more
    /// than one. So only a count that is full after a search that found nothing is full of keys that have not expired.
    ///
    /// # Errors
    ///
    /// - [`Error::UserRemoved`]: the user was removed.
    /// - [`Error::QuotaReached`]: the count is full, and no key that counts has expired.
    /// - [`Error::Unavailable`]: the database did not answer.
    pub(super) async fn search(
        &mut self,
        refused: &Cancellation,
        count: Option<ChangeHandle>,
        places: &[ChangeHandle],
    ) -> Result<bool, Error> {
        let Some(count) = count.filter(|count| refused.failed(*count)) else {
            let is_taken = places.iter().any(|place| refused.failed(*place));
            if is_taken {
                self.giving_way = None;
            }
            return Ok(is_taken);
        };
        if is_removed(refused, count) {
            return Err(Error::UserRemoved);
        }
        if self.giving_way.as_ref().is_some_and(Vec::is_empty) {
            let counted = refused.item_before(count).and_then(|entry| entry.get(KEY_COUNT));
            let counted = counted.and_then(|counted| counted.as_n().ok()?.parse().ok());
            return Err(Error::QuotaReached { counted: counted.unwrap_or(self.quota), quota: self.quota });
        }
        let (workspace, user) = self.owner;
        self.giving_way = Some(self.workspaces.giving_way(workspace, user, self.now).await?);
        Ok(true)
    }

    fn giving_way(&self) -> &[KeyId] {
        self.giving_way.as_deref().unwrap_or_default()
    }
}

/// Whether a change of a user's entry failed because the user was removed.
pub(super) fn is_removed(refused: &Cancellation, user: ChangeHandle) -> bool {
    refused.failed(user) && refused.item_before(user).is_some_and(|entry| entry.contains_key(REMOVED_AT))
}

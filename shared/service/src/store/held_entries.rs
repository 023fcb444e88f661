//! The entries of a key in the table `workspaces`, as a change assumes them.

use chrono::{DateTime, Utc};
use keygate_core::key::KeyOwner;

use crate::store::transaction::{Cancellation, ChangeHandle, Transaction};
use crate::store::workspace_members::MemberCondition;
use crate::store::workspace_users::UserCondition;
use crate::store::workspaces::WorkspacesTable;

/// The entries that a change assumes a key to have. An expired key may have lost either of them, and regains one only
/// through a change of its revision. The revision is a condition of every change, so an entry that one refused transaction
/// found lost is also lost in the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldEntries {
    /// The entry of the key's name belongs to the key.
    pub name: bool,
    /// The key is counted: in its member entry and in the user's count.
    pub counted: bool,
}

impl HeldEntries {
    /// The entries of a key that has not expired.
    pub(super) const ALL: Self = Self { name: true, counted: true };

    /// The condition for deleting the key's member entry.
    pub(super) fn member_condition(self) -> MemberCondition {
        if self.counted { MemberCondition::Counted } else { MemberCondition::NotCounted }
    }

    /// The entries without those whose conditions have failed.
    pub(super) fn without_lost(
        self,
        refused: &Cancellation,
        name: Option<ChangeHandle>,
        member: Option<ChangeHandle>,
    ) -> Self {
        let holds = |change: Option<ChangeHandle>| change.is_none_or(|change| !refused.failed(change));
        Self { name: self.name && holds(name), counted: self.counted && holds(member) }
    }

    /// Takes the key out of its user's count if it is counted. With `removed_at`, the condition is that the user is still
    /// removed by that removal.
    pub(super) fn leave_user(
        self,
        transaction: &mut Transaction<'_>,
        workspaces: &WorkspacesTable,
        owner: &KeyOwner,
        removed_at: Option<DateTime<Utc>>,
    ) -> Option<ChangeHandle> {
        let condition = match removed_at {
            Some(removed_at) => UserCondition::RemovedAt(removed_at),
            None if transaction.is_actor(&owner.user_id) => UserCondition::NotRemoved,
            None => UserCondition::None,
        };
        let change = match removed_at {
            _ if self.counted => workspaces.uncount_key(owner, condition),
            Some(removed_at) => workspaces.check_removed(&owner.workspace_id, &owner.user_id, removed_at),
            None => return None,
        };
        Some(transaction.add_user(&owner.user_id, change))
    }
}

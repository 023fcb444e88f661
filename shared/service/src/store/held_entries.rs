//! The entries that a key holds in the table `workspaces`, as a change takes them for granted.

use chrono::{DateTime, Utc};
use keygate_core::key::KeyOwner;

use crate::store::transaction::{Cancellation, ChangeHandle, Transaction};
use crate::store::workspace_members::MemberCondition;
use crate::store::workspace_users::UserCondition;
use crate::store::workspaces::WorkspacesTable;

/// What a change takes for granted that a key holds. An expired key may have lost either, and gets neither back without a change of its
/// revision, which is a condition of every change: so what a refused transaction has shown holds for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldEntries {
    /// The entry of the key's name is the key's own.
    pub name: bool,
    /// The key counts: its member entry says so, and the user's count includes it.
    pub counted: bool,
}

impl HeldEntries {
    /// Those of a key that has not expired.
    pub(super) const ALL: Self = Self { name: true, counted: true };

    /// The condition for deleting the key's member entry.
    pub(super) fn member_condition(self) -> MemberCondition {
        if self.counted { MemberCondition::Counted } else { MemberCondition::NotCounted }
    }

    /// What the key holds if the conditions of the changes that took it for granted have failed.
    pub(super) fn without_lost(
        self,
        refused: &Cancellation,
        name: Option<ChangeHandle>,
        member: Option<ChangeHandle>,
    ) -> Self {
        let holds = |change: Option<ChangeHandle>| change.is_none_or(|change| !refused.failed(change));
        Self { name: self.name && holds(name), counted: self.counted && holds(member) }
    }

    /// Takes the key out of its user's count, if it counts. Of a removed user, only as long as they are `removed_at` that time.
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

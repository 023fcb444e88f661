//! Users in the table `workspaces`: the number of their counted keys, and whether they were removed.

use aws_sdk_dynamodb::types::TransactWriteItem;
use chrono::{DateTime, Utc};
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::{Key, KeyOwner};

use crate::store::expression::{self, Condition, UpdateExpression};
use crate::store::item::{Item, flag, milliseconds, number};
use crate::store::workspaces::{WorkspacesTable, entry_key};

/// The attribute that marks a user as removed.
pub(super) const REMOVED_AT: &str = "removed_at";
/// The attribute of a user with the number of their counted keys.
pub(super) const KEY_COUNT: &str = "key_count";
/// The attribute of a user with the time of their last reinstatement.
pub(super) const REINSTATED_AT: &str = "reinstated_at";
/// The attribute of a user's entry that exists only because a request removed a user whom the workspace did not know.
pub(super) const MADE_BY_REMOVAL: &str = "made_by_removal";

/// The entry with the number of user entries that a removal created.
pub(super) const REMOVALS: &str = "REMOVALS";
/// The attribute with this number.
pub(super) const USER_COUNT: &str = "user_count";
/// The prefix of a user's entry.
pub(super) const USER_PREFIX: &str = "USER#";

/// A condition of a change of a user's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserCondition {
    /// No condition.
    None,
    /// The user is not removed.
    NotRemoved,
    /// The user was removed at this time, and not reinstated since.
    RemovedAt(DateTime<Utc>),
}

/// A condition of marking a user as removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryCondition {
    /// No condition.
    None,
    /// The entry exists: the workspace knows the user.
    Present,
    /// The entry does not exist, and this removal creates it.
    Absent,
}

impl WorkspacesTable {
    /// Counts one more key of the user. The conditions are that the user is not removed, and that they have fewer than
    /// `quota` counted keys apart from the `uncounted` keys that the same transaction takes out of the count.
    pub(super) fn count_key(&self, key: &Key, quota: u32, uncounted: usize) -> TransactWriteItem {
        let uncounted = i64::try_from(uncounted).unwrap_or(i64::MAX);
        // A condition sees the item before the change, and a user without keys may have no entry.
        let has_room = Condition::new("attribute_not_exists(#removed_at)")
            .and("attribute_not_exists(#key_count) OR #key_count < :limit")
            .name(REMOVED_AT)
            .name(KEY_COUNT)
            .value(":limit", number(&(i64::from(quota) + uncounted)))
            .returning_item();
        let update = UpdateExpression::new().add(KEY_COUNT, 1 - uncounted);
        expression::update(&self.table, user_key(&key.workspace_id, &key.user_id), update, has_room)
    }

    /// Counts one key of the user less. A wrong count must never prevent the deletion of a key, so there is no condition on
    /// the count.
    pub(super) fn uncount_key(&self, owner: &KeyOwner, condition: UserCondition) -> TransactWriteItem {
        let condition = match condition {
            UserCondition::None => Condition::none(),
            UserCondition::NotRemoved => is_not_removed(),
            UserCondition::RemovedAt(removed_at) => is_removed_at(removed_at),
        };
        let update = UpdateExpression::new().add(KEY_COUNT, -1);
        expression::update(&self.table, user_key(&owner.workspace_id, &owner.user_id), update, condition)
    }

    /// Marks a user as removed, unless they already are, or have been reinstated since.
    pub(super) fn mark_removed(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        entry_is: EntryCondition,
        at: DateTime<Utc>,
    ) -> TransactWriteItem {
        // A user who never had a key gets a count of 0.
        let mark = UpdateExpression::new().set(REMOVED_AT, milliseconds(at)).add(KEY_COUNT, 0);
        let is_unmarked = is_not_removed()
            .and("attribute_not_exists(#reinstated_at) OR #reinstated_at < :removed_at")
            .name(REINSTATED_AT)
            .value(":removed_at", milliseconds(at));
        let (update, condition) = match entry_is {
            EntryCondition::None => (mark, is_unmarked),
            EntryCondition::Present => (mark, is_unmarked.and("attribute_exists(entry)")),
            EntryCondition::Absent => {
                (mark.set(MADE_BY_REMOVAL, flag()), Condition::new("attribute_not_exists(entry)"))
            }
        };
        expression::update(&self.table, user_key(workspace, user), update, condition.returning_item())
    }

    /// Counts one more removed user whom the workspace did not know. The condition is that there are fewer than `limit` of
    /// them.
    pub(super) fn count_removal(&self, workspace: &WorkspaceId, limit: u32) -> TransactWriteItem {
        let has_room = Condition::new("attribute_not_exists(#user_count) OR #user_count < :limit")
            .name(USER_COUNT)
            .value(":limit", number(&limit));
        let update = UpdateExpression::new().add(USER_COUNT, 1);
        expression::update(&self.table, entry_key(workspace, REMOVALS), update, has_room)
    }

    /// Requires that a user is not removed.
    pub(super) fn check_not_removed(&self, workspace: &WorkspaceId, user: &UserId) -> TransactWriteItem {
        expression::check(&self.table, user_key(workspace, user), is_not_removed())
    }

    /// Requires that a user was removed at the time `removed_at`.
    pub(super) fn check_removed(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        removed_at: DateTime<Utc>,
    ) -> TransactWriteItem {
        expression::check(&self.table, user_key(workspace, user), is_removed_at(removed_at))
    }

    /// Clears the mark of a removed user.
    pub(super) fn unmark_removed(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        now: DateTime<Utc>,
    ) -> TransactWriteItem {
        let update = UpdateExpression::new().set(REINSTATED_AT, milliseconds(now)).remove(REMOVED_AT);
        let is_removed = Condition::new("attribute_exists(#removed_at)").name(REMOVED_AT);
        expression::update(&self.table, user_key(workspace, user), update, is_removed)
    }
}

/// The key of a user's entry.
pub(super) fn user_key(workspace: &WorkspaceId, user: &UserId) -> Item {
    entry_key(workspace, &format!("{USER_PREFIX}{user}"))
}

fn is_not_removed() -> Condition {
    Condition::new("attribute_not_exists(#removed_at)").name(REMOVED_AT)
}

fn is_removed_at(removed_at: DateTime<Utc>) -> Condition {
    Condition::equal(REMOVED_AT, milliseconds(removed_at))
}

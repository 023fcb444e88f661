//! Users in the table `workspaces`: how many of their keys count, and whether they were removed.

use aws_sdk_dynamodb::types::TransactWriteItem;
use chrono::{DateTime, Utc};
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::{Key, KeyOwner};

use crate::store::expression::{self, Condition, UpdateExpression};
use crate::store::item::{Item, flag, milliseconds, number};
use crate::store::workspaces::{WorkspacesTable, entry_key};

/// The attribute of a user that was removed.
pub(super) const REMOVED_AT: &str = "removed_at";
/// The attribute of a user that says how many of their keys count.
pub(super) const KEY_COUNT: &str = "key_count";
/// The attribute of a user that says when they were reinstated last.
const REINSTATED_AT: &str = "reinstated_at";
/// The attribute of a user's entry that is there only because a request removed a user whom the workspace did not know.
pub(super) const MADE_BY_REMOVAL: &str = "made_by_removal";

/// The entry that counts the users' entries that are made by a removal.
pub(super) const REMOVALS: &str = "REMOVALS";
/// The attribute that says how many these are.
pub(super) const USER_COUNT: &str = "user_count";
/// How a user's entry begins.
pub(super) const USER_PREFIX: &str = "USER#";

/// What the change of a user's entry demands of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserCondition {
    /// Nothing.
    None,
    /// They are not removed.
    NotRemoved,
    /// They were removed at that time, and not reinstated since.
    RemovedAt(DateTime<Utc>),
}

/// What the mark of a removed user demands of the user's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryCondition {
    /// Nothing.
    None,
    /// It is there: the workspace knows the user.
    Present,
    /// It is not there. It is made by this removal.
    Absent,
}

impl WorkspacesTable {
    /// Counts one more key of the user, who must not be removed and must have fewer than `quota` besides those that are `uncounted` in
    /// the same transaction.
    pub(super) fn count_key(&self, key: &Key, quota: u32, uncounted: usize) -> TransactWriteItem {
        let uncounted = i64::try_from(uncounted).unwrap_or(i64::MAX);
        // A condition sees the item as it was, and a user's first key finds none.
        let has_room = Condition::new("attribute_not_exists(#removed_at)")
            .and("attribute_not_exists(#key_count) OR #key_count < :limit")
            .name(REMOVED_AT)
            .name(KEY_COUNT)
            .value(":limit", number(&(i64::from(quota) + uncounted)))
            .returning_item();
        let update = UpdateExpression::new().add(KEY_COUNT, 1 - uncounted);
        expression::update(&self.table, user_key(&key.workspace_id, &key.user_id), update, has_room)
    }

    /// Counts one key of the user less. A wrong count must never keep a key from being deleted, so there is no condition on
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

    /// Marks a user as removed, unless they are, or have been reinstated since.
    pub(super) fn mark_removed(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        entry_is: EntryCondition,
        at: DateTime<Utc>,
    ) -> TransactWriteItem {
        // A user who never had a key has a count of 0 from now on.
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

    /// Counts one more user whom the workspace did not know and who was removed, of whom there may be `limit`.
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

    /// Requires that a user is `removed_at` that time.
    pub(super) fn check_removed(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        removed_at: DateTime<Utc>,
    ) -> TransactWriteItem {
        expression::check(&self.table, user_key(workspace, user), is_removed_at(removed_at))
    }

    /// Takes the mark from a removed user.
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

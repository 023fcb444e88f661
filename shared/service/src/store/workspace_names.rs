//! Names of keys in the table `workspaces`: the entry of a name belongs to one key.

use aws_sdk_dynamodb::types::TransactWriteItem;
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::identity::WorkspaceId;
use keygate_core::key::Key;

use crate::store::expression::{self, Condition};
use crate::store::item::{Item, seconds, text};
use crate::store::workspace_members::lapsed_at;
use crate::store::workspaces::{EXPIRES_AT, WorkspacesTable, entry_key};

impl WorkspacesTable {
    /// Writes the name's entry for the key. The condition is that no other key has the name, or that its key has expired. If
    /// the entry belongs to the key already, its times are updated.
    pub(super) fn put_name(&self, key: &Key, now: DateTime<Utc>) -> TransactWriteItem {
        let is_free =
            Condition::new("attribute_not_exists(entry) OR key_id = :key OR #expires_at <= :lapsed_at")
                .name(EXPIRES_AT)
                .value(":key", text(&key.key_id))
                .value(":lapsed_at", lapsed_at(now))
                .returning_item();
        expression::put(&self.table, name_item(key), is_free)
    }

    /// Deletes the name's entry if it still belongs to the key.
    pub(super) fn delete_name(
        &self,
        workspace: &WorkspaceId,
        name_folded: &str,
        key: KeyId,
    ) -> TransactWriteItem {
        let is_own = Condition::new("attribute_not_exists(entry) OR key_id = :key").value(":key", text(&key));
        expression::delete(&self.table, entry_key(workspace, &name_entry(name_folded)), is_own)
    }
}

fn name_item(key: &Key) -> Item {
    let mut item = entry_key(&key.workspace_id, &name_entry(&key.name.folded()));
    item.insert("key_id".to_owned(), text(&key.key_id));
    item.extend(key.expires_at.map(|expires_at| (EXPIRES_AT.to_owned(), seconds(expires_at))));
    item.extend(key.ttl.map(|ttl| ("ttl".to_owned(), seconds(ttl))));
    item
}

fn name_entry(folded: &str) -> String {
    format!("NAME#{folded}")
}

//! Operations of transactions on the table `keys`.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::key::{HashedKey, Key, KeyState};
use keygate_core::pepper::SecretHash;
use keygate_core::random::fill_with_random_bytes;

use crate::store::due_keys::{DueKey, bucket_of};
use crate::store::expression::{self, Condition, UpdateExpression};
use crate::store::item::{Item, broken, bytes, flag, number, seconds, text};
use crate::store::keys::{KeysTable, item_key};
use crate::store::unused_keys::{UnusedAction, UnusedKey};

/// The attribute that an update increments to revoke every token of a key.
const TOKEN_GENERATION: &str = "token_generation";

/// The attributes of a key that exist only during an overlap.
const OVERLAP: [&str; 4] =
    ["previous_hash", "previous_pepper_version", "previous_expires_at", "previous_transferred"];

impl KeysTable {
    /// Writes a new key.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the key cannot be written as an item.
    pub(super) fn put(&self, new: &HashedKey) -> Result<TransactWriteItem, Error> {
        let mut item: Item = serde_dynamo::to_item(new).map_err(|_| broken("key"))?;
        item.insert("name_folded".to_owned(), text(&new.record.name.folded()));
        let Key { key_id, ttl, due_at, .. } = new.record;
        item.extend(due_at.map(|due_at| ("due_bucket".to_owned(), bucket_of(key_id, due_at, ttl))));
        Ok(expression::put(&self.table, item, Condition::new("attribute_not_exists(key_id)")))
    }

    /// Changes a key from `before` to `after`, except for its hashes.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the limits cannot be written as an attribute.
    pub(super) fn update(&self, before: &Key, after: &Key) -> Result<TransactWriteItem, Error> {
        let scopes = after.scopes.iter().map(text).collect();
        let endpoints: Vec<_> = after.endpoints.iter().map(text).collect();
        let endpoints = (!endpoints.is_empty()).then_some(AttributeValue::L(endpoints));
        let networks: Vec<_> = after.networks.iter().map(text).collect();
        let networks = (!networks.is_empty()).then_some(AttributeValue::L(networks));
        let metadata: HashMap<_, _> =
            after.metadata.iter().map(|(name, value)| (name.to_owned(), text(&value))).collect();
        let metadata = (!metadata.is_empty()).then_some(AttributeValue::M(metadata));
        let limits = (!after.limits.is_empty()).then(|| serde_dynamo::to_attribute_value(&after.limits));
        let update = UpdateExpression::new()
            .set("name", text(&after.name))
            .set("name_folded", text(&after.name.folded()))
            .set("scopes", AttributeValue::L(scopes))
            .set("revision", number(&after.revision))
            .set_or_remove("description", after.description.as_ref().map(text))
            .set_or_remove("endpoints", endpoints)
            .set_or_remove("networks", networks)
            .set_or_remove("metadata", metadata)
            .set_or_remove("limits", limits.transpose().map_err(|_| broken("key"))?)
            .set_or_remove("expires_at", after.expires_at.map(seconds))
            .set_or_remove("ttl", after.ttl.map(seconds))
            .set_or_remove("disabled_at", after.disabled_at.map(seconds));
        let mut update = schedule(update, after.key_id, after.due_at, after.ttl);
        // The tokens of a disabled key stay revoked when the key is enabled again.
        if before.disabled_at.is_none() && after.disabled_at.is_some() {
            update = update.add(TOKEN_GENERATION, 1);
        }
        Ok(expression::update(&self.table, item_key(after.key_id), update, is_as_read(before)))
    }

    /// Changes the secrets of a key from `before` to `after` with another hash, and revokes its tokens on request.
    pub(super) fn rotate(
        &self,
        before: &Key,
        after: &Key,
        hash: &SecretHash,
        revoke_tokens: bool,
    ) -> TransactWriteItem {
        let mut update = replace_hash(before, after, hash.as_bytes())
            .set("pepper_version", number(&hash.pepper_version()));
        if revoke_tokens {
            update = update.add(TOKEN_GENERATION, 1);
        }
        if before.leaked_at.is_some() && after.leaked_at.is_none() {
            update = update.remove("leaked_at").set_or_remove("disabled_at", after.disabled_at.map(seconds));
        }
        expression::update(&self.table, item_key(before.key_id), update, is_as_read(before))
    }

    /// Requires that a key has one of these hashes and has not changed since it was read.
    pub(super) fn check_hash(&self, key: &Key, hashes: &[SecretHash]) -> TransactWriteItem {
        let placeholders: Vec<_> = (0..hashes.len()).map(|index| format!(":hash{index}")).collect();
        let mut condition =
            is_as_read(key).and(format!("#hash IN ({})", placeholders.join(", "))).name("hash");
        for (placeholder, hash) in placeholders.iter().zip(hashes) {
            condition = condition.value(placeholder, bytes(hash.as_bytes()));
        }
        expression::check(&self.table, item_key(key.key_id), condition)
    }

    /// Requires that the secrets of a key are in this state, and that the key is not disabled.
    pub(super) fn check_state(&self, id: KeyId, state: KeyState) -> TransactWriteItem {
        let condition = Condition::equal("rotation", number(&state.rotation))
            .and_equal(TOKEN_GENERATION, number(&state.generation.number()))
            .and("attribute_not_exists(#disabled_at)")
            .name("disabled_at");
        expression::check(&self.table, item_key(id), condition)
    }

    /// Transfers the key `before` to another user, with a hash that belongs to no secret. The current secret keeps working
    /// as `after` says. The tokens of the key are revoked.
    ///
    /// The new user is not shown a secret, so none is created: the new hash is 32 random bytes, and no known secret has this
    /// hash under any pepper.
    pub(super) fn transfer(&self, before: &Key, after: &Key) -> TransactWriteItem {
        let mut of_no_secret = [0; 32];
        fill_with_random_bytes(&mut of_no_secret);
        let update = replace_hash(before, after, &of_no_secret)
            .set("user_id", text(&after.user_id))
            .add(TOKEN_GENERATION, 1);
        expression::update(&self.table, item_key(before.key_id), update, is_as_read(before))
    }

    /// Updates the schedule of a key after its due event was written. The end of an overlap removes the previous hash.
    pub(super) fn advance_schedule(
        &self,
        due: &DueKey,
        next: Option<DateTime<Utc>>,
        overlap_ended: bool,
    ) -> TransactWriteItem {
        let mut update = UpdateExpression::new();
        if overlap_ended {
            update = without_overlap(update);
        }
        let update = schedule(update, due.key_id, next, due.schedule.ttl);
        let condition =
            Condition::equal("revision", number(&due.revision)).and_equal("due_at", seconds(due.due_at));
        expression::update(&self.table, item_key(due.key_id), update, condition)
    }

    /// Gives notice for an unused key or disables it at the time `at`, if it has not been changed since it was read. A notice is
    /// not given twice. The transaction must also check that the key has not been used.
    pub(super) fn act_on_unused(
        &self,
        key: &UnusedKey,
        action: UnusedAction,
        at: DateTime<Utc>,
    ) -> TransactWriteItem {
        let is_as_read = Condition::equal("revision", number(&key.revision));
        let (update, condition) = match action {
            UnusedAction::Notify => (
                UpdateExpression::new()
                    .set("unused_notice_at", seconds(at))
                    .set("unused_notice_revision", number(&key.revision)),
                // The read may be too old to have a recent notice.
                is_as_read
                    .and(
                        "attribute_not_exists(unused_notice_at) OR unused_notice_revision <> :is_revision \
                         OR unused_notice_at <= :last_used_at",
                    )
                    .value(":last_used_at", seconds(key.last_used_at)),
            ),
            UnusedAction::Disable => (
                UpdateExpression::new()
                    .set("disabled_at", seconds(at))
                    .set("revision", number(&(key.revision + 1)))
                    .add(TOKEN_GENERATION, 1),
                is_as_read,
            ),
        };
        expression::update(&self.table, item_key(key.key_id), update, condition)
    }

    /// Disables the key `before`, whose current secret leaked, as `after` says, and revokes its tokens.
    pub(super) fn disable_leaked(&self, before: &Key, after: &Key) -> TransactWriteItem {
        let update = UpdateExpression::new()
            .set_or_remove("disabled_at", after.disabled_at.map(seconds))
            .set_or_remove("leaked_at", after.leaked_at.map(seconds))
            .set("revision", number(&after.revision))
            .add(TOKEN_GENERATION, 1);
        expression::update(&self.table, item_key(before.key_id), update, is_as_read(before))
    }

    /// Ends the overlap of the key `before`, whose old secret leaked, as `after` says.
    pub(super) fn end_overlap(&self, before: &Key, after: &Key) -> TransactWriteItem {
        let update = UpdateExpression::new().set("revision", number(&after.revision));
        let update = schedule(without_overlap(update), after.key_id, after.due_at, after.ttl);
        expression::update(&self.table, item_key(before.key_id), update, is_as_read(before))
    }

    /// Requires that the key does not exist.
    pub(super) fn check_absent(&self, id: KeyId) -> TransactWriteItem {
        expression::check(&self.table, item_key(id), Condition::new("attribute_not_exists(key_id)"))
    }

    /// Revokes every token of a key without changing its revision.
    pub(super) fn revoke_tokens(&self, id: KeyId) -> TransactWriteItem {
        let update = UpdateExpression::new().add(TOKEN_GENERATION, 1);
        expression::update(&self.table, item_key(id), update, Condition::new("attribute_exists(key_id)"))
    }

    /// Deletes a key that has not changed since it was read.
    pub(super) fn delete(&self, key: &Key) -> TransactWriteItem {
        expression::delete(&self.table, item_key(key.key_id), is_as_read(key))
    }
}

/// The condition that a key has not changed since it was read: every change except use changes the revision.
fn is_as_read(key: &Key) -> Condition {
    Condition::equal("revision", number(&key.revision))
}

/// The common part of a rotation and a transfer. The database copies the hash of the current secret, so that no function
/// reads it. The current secret of an unclaimed key is its previous one already.
fn replace_hash(before: &Key, after: &Key, hash: &[u8]) -> UpdateExpression {
    let mut update = UpdateExpression::new()
        .set("hash", bytes(hash))
        .set("revision", number(&after.revision))
        .set("rotation", number(&after.rotation))
        .set_or_remove("unclaimed", after.unclaimed.then(flag));
    if let Some(ends) = after.previous_expires_at {
        if !before.unclaimed {
            update = update.copy("previous_hash", "hash").copy("previous_pepper_version", "pepper_version");
        }
        update = update
            .set("previous_expires_at", seconds(ends))
            .set_or_remove("previous_transferred", after.previous_transferred.then(flag));
    } else {
        update = without_overlap(update);
    }
    schedule(update, after.key_id, after.due_at, after.ttl)
}

/// Removes the attributes that exist only during an overlap.
fn without_overlap(update: UpdateExpression) -> UpdateExpression {
    OVERLAP.into_iter().fold(update, UpdateExpression::remove)
}

/// Updates the schedule of a key and its position in the index `by_due`.
fn schedule(
    update: UpdateExpression,
    id: KeyId,
    due_at: Option<DateTime<Utc>>,
    ttl: Option<DateTime<Utc>>,
) -> UpdateExpression {
    update
        .set_or_remove("due_at", due_at.map(seconds))
        .set_or_remove("due_bucket", due_at.map(|due_at| bucket_of(id, due_at, ttl)))
}

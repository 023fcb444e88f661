//! Transactions that create, change, rotate, delete and transfer a key.

use chrono::{DateTime, Utc};
use keygate_core::audit_event::AuditEvent;
use keygate_core::caller::Actor;
use keygate_core::error::Error;
use keygate_core::idempotency::{IdempotencyEntry, IdempotencyRecord};
use keygate_core::key::{HashedKey, Key};
use keygate_core::pepper::SecretHash;

use crate::store::held_entries::HeldEntries;
use crate::store::idempotency_records::read_record;
use crate::store::keys::UnhashedKey;
use crate::store::quota::{QuotaReservation, is_removed};
use crate::store::tables::Store;
use crate::store::transaction::{Cancellation, ChangeHandle, Transaction, TransactionResult};
use crate::store::workspaces::BootstrapMode;

/// The maximum number of attempts of a change whose user's count is full, or whose expired keys were taken out of the count
/// by another transaction.
const ATTEMPTS: u32 = 6;

/// An additional entry of the transaction that creates a key, with its own condition.
#[derive(Clone, Copy, Debug)]
pub enum CreationEntry<'a> {
    /// The mark that the workspace was bootstrapped, for the key of its administrator.
    Bootstrap(BootstrapMode),
    /// The idempotency record of the request.
    Idempotency(&'a IdempotencyEntry),
}

/// The outcome of creating a key.
#[derive(Debug)]
pub enum CreationOutcome {
    /// The key is written.
    Created,
    /// The key is not written: an earlier request with the same `Idempotency-Key` is recorded.
    Repeated(IdempotencyRecord),
}

/// The outcome of a rotation.
#[derive(Debug)]
pub enum RotationOutcome {
    /// The key has the new hash.
    Rotated,
    /// The key is not changed: an earlier request with the same `Idempotency-Key` is recorded.
    Repeated(IdempotencyRecord),
}

impl Store {
    /// Writes a new key, its last use, its name, its member entry, its user's count and the event in one transaction. If the count is
    /// full, expired keys of the user are taken out of it.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::NameTaken`]: another key of the workspace has the name and has not expired.
    /// - [`Error::QuotaReached`]: the user has `quota` keys that have not expired.
    /// - [`Error::UserRemoved`]: the user was removed.
    /// - [`Error::AlreadyBootstrapped`]: `entry` is [`CreationEntry::Bootstrap`] in the mode for a first bootstrap, and the
    ///   workspace was bootstrapped before.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn create_key(
        &self,
        actor: Actor<'_>,
        new: &HashedKey,
        quota: u32,
        entry: Option<CreationEntry<'_>>,
        event: &AuditEvent,
        now: DateTime<Utc>,
    ) -> Result<CreationOutcome, Error> {
        let (workspace, user_id) = (&new.record.workspace_id, &new.record.user_id);
        let mut reservation = QuotaReservation::new(&self.workspaces, &new.record, quota, now);
        for _ in 0..ATTEMPTS {
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let key = transaction.add(self.keys.put(new)?);
            transaction.add(self.usage.put_last_use(&new.record));
            let name = transaction.add(self.workspaces.put_name(&new.record, now));
            transaction.add(self.workspaces.put_member(&new.record, true));
            let count = transaction.add_user(user_id, reservation.count_key());
            let uncounted = reservation.uncount_lapsed(&mut transaction);
            transaction.add(self.activity.put(event)?);
            let entry = match entry {
                Some(CreationEntry::Bootstrap(mode)) => {
                    Some(transaction.add(self.workspaces.put_bootstrap(workspace, mode)))
                }
                Some(CreationEntry::Idempotency(entry)) => {
                    Some(transaction.add(self.workspaces.put_idempotency_record(workspace, entry, now)?))
                }
                None => None,
            };
            let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
                return Ok(CreationOutcome::Created);
            };
            // Check for a repeated request first: the key that the first request created has the name now.
            if let Some(entry) = entry.filter(|entry| refused.failed(*entry)) {
                return match refused.existing_item(entry) {
                    Some(item) => read_record(item.clone()).map(CreationOutcome::Repeated),
                    None => Err(Error::AlreadyBootstrapped),
                };
            }
            if refused.failed(key) {
                return Err(Error::Broken(format!("a key {} exists already", new.record.key_id)));
            }
            if is_removed(&refused, count) {
                return Err(Error::UserRemoved);
            }
            if refused.failed(name) {
                return Err(name_taken(&refused, name));
            }
            if !reservation.prepare_retry(&refused, Some(count), &uncounted).await? {
                return Err(refused.unexpected());
            }
        }
        Err(Error::Busy)
    }

    /// Changes a stored key to `after`, except for its hashes, together with its name and entries, and writes the event in
    /// one transaction.
    ///
    /// A new expiry is in the future. It claims the name and a place in the user's count again if the key has lost them. If
    /// the count is full, other expired keys of the user are taken out of it.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::NameTaken`]: another key of the workspace has the name and has not expired.
    /// - [`Error::QuotaReached`]: the key must be counted again, and the user has `quota` keys that have not expired.
    /// - [`Error::UserRemoved`]: the key must be counted again, and the user was removed.
    /// - [`Error::Broken`]: the key cannot be written as an item.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn update_key(
        &self,
        actor: Actor<'_>,
        before: &UnhashedKey,
        after: &Key,
        quota: u32,
        event: &AuditEvent,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let renamed = before.name_folded != after.name.folded();
        let moved = before.record.expires_at != after.expires_at || before.record.ttl != after.ttl;
        let (mut held, mut reservation) =
            (HeldEntries::ALL, QuotaReservation::new(&self.workspaces, after, quota, now));
        for _ in 0..ATTEMPTS {
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let key = transaction.add(self.keys.update(&before.record, after)?);
            transaction.add(self.activity.put(event)?);
            let name = (renamed || moved).then(|| transaction.add(self.workspaces.put_name(after, now)));
            let old_name = (renamed && held.name).then(|| {
                let folded = &before.name_folded;
                transaction.add(self.workspaces.delete_name(&after.workspace_id, folded, after.key_id))
            });
            let member = moved.then(|| transaction.add(self.workspaces.renew_member(after, held.counted)));
            let count = (moved && !held.counted)
                .then(|| transaction.add_user(&after.user_id, reservation.count_key()));
            let uncounted = reservation.uncount_lapsed(&mut transaction);
            let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
                return Ok(());
            };
            if refused.failed(key) {
                return Err(Error::Conflict);
            }
            if let Some(name) = name.filter(|name| refused.failed(*name)) {
                return Err(name_taken(&refused, name));
            }
            let before = held;
            held = held.without_lost(&refused, old_name, member);
            if !reservation.prepare_retry(&refused, count, &uncounted).await? && held == before {
                return Err(refused.unexpected());
            }
        }
        Err(Error::Busy)
    }

    /// Replaces the hash of a stored key and writes the event in one transaction. `after` says how long the previous hash
    /// stays valid, if at all. On request, the transaction also revokes the key's tokens and records the request for
    /// idempotency.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn rotate_key(
        &self,
        actor: Actor<'_>,
        (before, after, hash): (&Key, &Key, &SecretHash),
        revoke_tokens: bool,
        entry: Option<&IdempotencyEntry>,
        event: &AuditEvent,
        now: DateTime<Utc>,
    ) -> Result<RotationOutcome, Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let key = transaction.add(self.keys.rotate(before, after, hash, revoke_tokens));
        transaction.add(self.activity.put(event)?);
        let mut record = None;
        if let Some(entry) = entry {
            let item = self.workspaces.put_idempotency_record(&before.workspace_id, entry, now)?;
            record = Some(transaction.add(item));
        }
        let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
            return Ok(RotationOutcome::Rotated);
        };
        // Check for a repeated request first: it has changed the key's revision.
        if let Some(item) = record.and_then(|record| refused.existing_item(record)) {
            return read_record(item.clone()).map(RotationOutcome::Repeated);
        }
        Err(if refused.failed(key) { Error::Conflict } else { refused.unexpected() })
    }

    /// Checks that a key has one of these hashes and has not changed since it was read. The check is a condition, so no hash
    /// is read.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn has_hash(&self, actor: Actor<'_>, key: &Key, hashes: &[SecretHash]) -> Result<bool, Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let check = transaction.add(self.keys.check_hash(key, hashes));
        Ok(transaction.commit(&self.client).await?.outcome(check)?.is_applied())
    }

    /// Deletes a key and its last use, name, member entry and place in the user's count, and writes the event in one transaction.
    /// An expired key may have lost its name and place. With `removed_at`, the condition is that the user is still removed by that
    /// removal.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::UserReinstated`]: the user was reinstated, or removed again later.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn delete_key(
        &self,
        actor: Actor<'_>,
        stored: &UnhashedKey,
        removed_at: Option<DateTime<Utc>>,
        event: &AuditEvent,
    ) -> Result<(), Error> {
        let owner = stored.record.owner();
        let mut held = HeldEntries::ALL;
        loop {
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let key = transaction.add(self.keys.delete(&stored.record));
            transaction.add(self.usage.delete_last_use(owner.key_id));
            let name = held.name.then(|| {
                let folded = &stored.name_folded;
                transaction.add(self.workspaces.delete_name(&owner.workspace_id, folded, owner.key_id))
            });
            let member = transaction.add(self.workspaces.delete_member(&owner, held.member_condition()));
            let user = held.leave_user(&mut transaction, &self.workspaces, &owner, removed_at);
            transaction.add(self.activity.put(event)?);
            let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
                return Ok(());
            };
            if user.is_some_and(|user| refused.failed(user)) {
                return Err(Error::UserReinstated);
            }
            if refused.failed(key) {
                return Err(Error::Conflict);
            }
            let before = held;
            held = held.without_lost(&refused, name, Some(member));
            if held == before {
                return Err(refused.unexpected());
            }
        }
    }

    /// Transfers a key of a user whose removal has the time `removed_at` to another user, with its member entry and its
    /// place in their counts, and writes the event in one transaction. The current secret works until the overlap of `after`
    /// ends.
    ///
    /// An expired key is not counted for the new user. If the key is counted and the new user's count is full, their expired
    /// keys are taken out of it.
    ///
    /// # Errors
    ///
    /// - [`Error::UserReinstated`]: the former user was reinstated, or removed again later.
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::QuotaReached`]: the new user has `quota` keys that have not expired.
    /// - [`Error::UserRemoved`]: the new user was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn transfer_key(
        &self,
        (before, after): (&Key, &Key),
        quota: u32,
        removed_at: DateTime<Utc>,
        event: &AuditEvent,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let (leaver, heir) = (before.owner(), &after.user_id);
        let (mut held, mut reservation) =
            (HeldEntries::ALL, QuotaReservation::new(&self.workspaces, after, quota, now));
        for _ in 0..ATTEMPTS {
            let is_counted = held.counted && !after.has_lapsed(now);
            let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
            let key = transaction.add(self.keys.transfer(before, after));
            let user = held.leave_user(&mut transaction, &self.workspaces, &leaver, Some(removed_at));
            let (count, uncounted) = if is_counted {
                let count = transaction.add_user(heir, reservation.count_key());
                (count, reservation.uncount_lapsed(&mut transaction))
            } else {
                let check = self.workspaces.check_not_removed(&after.workspace_id, heir);
                (transaction.add_user(heir, check), Vec::new())
            };
            let member = transaction.add(self.workspaces.delete_member(&leaver, held.member_condition()));
            transaction.add(self.workspaces.put_member(after, is_counted));
            transaction.add(self.activity.put(event)?);
            let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
                return Ok(());
            };
            if user.is_some_and(|user| refused.failed(user)) {
                return Err(Error::UserReinstated);
            }
            if refused.failed(key) {
                return Err(Error::Conflict);
            }
            if refused.failed(count) && !is_counted {
                return Err(Error::UserRemoved);
            }
            let before = held;
            held = held.without_lost(&refused, None, Some(member));
            // If the key turns out not to be counted, a full count does not matter.
            let goes_on = held != before
                || is_counted && reservation.prepare_retry(&refused, Some(count), &uncounted).await?;
            if !goes_on {
                return Err(refused.unexpected());
            }
        }
        Err(Error::Busy)
    }
}

/// The error with the key that has the requested name.
fn name_taken(refused: &Cancellation, name: ChangeHandle) -> Error {
    let owner = refused.existing_item(name).and_then(|entry| entry.get("key_id"));
    Error::NameTaken(owner.and_then(|owner| owner.as_s().ok()?.parse().ok()))
}

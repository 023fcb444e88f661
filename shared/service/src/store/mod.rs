//! Records in `DynamoDB`: one file a table, and here the changes that touch several of them in one transaction.
//!
//! A key is four items in two tables, kept in step with each other and with the audit trail:
//!
//! | table | item | says |
//! | --- | --- | --- |
//! | `keys` | the key | everything of it, its hash included |
//! | `workspaces` | `NAME#<folded name>` | which key has the name |
//! | `workspaces` | `MEMBER#<user>#<key id>` | the key is the user's, and whether it counts |
//! | `workspaces` | `USER#<user>` | how many of the user's keys count, and whether the user was removed |
//! | `activity` | an event | who made, changed or deleted it, or what time did to it |
//!
//! A key that has not expired has its name and counts. An expired one may have lost either: its name to another key that was given
//! it, its place to another key of the user's. It gets them back by a change of its own, if they are free. What it holds is not
//! read beforehand: a change takes for granted that the key holds both, on condition that it does, and is made again without what
//! the refusal showed to be lost.

pub mod activity;
mod batch;
pub mod keys;
pub mod legacy_keys;
mod live_tokens;
pub mod pagination;
mod quota;
pub mod reader;
pub mod tokens;
mod transaction;
mod walk;
pub mod workspaces;

use std::collections::HashMap;

use activity::ActivityTable;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use keygate_core::audit_event::AuditEvent;
use keygate_core::caller::Actor;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::idempotency::{IdempotencyEntry, IdempotencyRecord};
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::KeyOwner;
use keygate_core::key::{HashedKey, Key};
use keygate_core::pepper::SecretHash;
use keys::{Consequence, DueKey, KeysTable, UnhashedKey, UnusedKey};
use quota::{Room, is_removed};
use transaction::{Cancellation, ChangeHandle, Transaction, TransactionResult};
use workspaces::{EntryCondition, MemberCondition, UserCondition, WorkspacesTable};

/// The tables of a function that makes changes.
#[derive(Debug)]
pub struct Store {
    /// Keys and their hashes.
    pub keys: KeysTable,
    /// Names, members and users.
    pub workspaces: WorkspacesTable,
    /// The audit trail.
    pub activity: ActivityTable,
    client: Client,
}

/// What the making of a key may bring along.
#[derive(Clone, Copy, Debug)]
pub enum Extra<'a> {
    /// The workspace gets its administrator.
    Bootstrap(Bootstrap),
    /// The request is to be answered the same when it comes again.
    Record(&'a IdempotencyEntry),
}

/// What came of making a key.
#[derive(Debug)]
pub enum Creation {
    /// It is made.
    Created,
    /// It is not, because a request with the same `Idempotency-Key` was there before.
    Remembered(IdempotencyRecord),
}

/// What a change takes for granted that a key holds. An expired key may have lost either, and gets neither back without a change of its
/// revision, which is a condition of every change: so what a refused transaction has shown holds for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    name: bool,
    place: bool,
}

impl Held {
    const BOTH: Self = Self { name: true, place: true };

    /// Whether the key counts, as a condition of its member entry's deletion.
    fn of_member(self) -> MemberCondition {
        if self.place { MemberCondition::Counted } else { MemberCondition::NotCounted }
    }

    /// What the key holds if the conditions of the changes that took it for granted have failed.
    fn without_lost(
        self,
        refused: &Cancellation,
        name: Option<ChangeHandle>,
        member: Option<ChangeHandle>,
    ) -> Self {
        let holds = |change: Option<ChangeHandle>| change.is_none_or(|change| !refused.failed(change));
        Self { name: self.name && holds(name), place: self.place && holds(member) }
    }
}

/// How often a change is made that finds a user's count full, or places gone that expired keys had a moment ago. Each time others
/// have got what it wanted.
const ATTEMPTS: u32 = 6;

/// What came of a rotation.
#[derive(Debug)]
pub enum Rotation {
    /// The key has the new hash.
    Rotated,
    /// It has not, because a request with the same `Idempotency-Key` was there before.
    Remembered(IdempotencyRecord),
}

/// What a bootstrap demands of its workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// That it has never been bootstrapped.
    First,
    /// Nothing.
    BreakGlass,
}

impl Store {
    /// Takes the names of the tables and the audit trail's retention from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one of them is missing or wrong.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            keys: KeysTable::new(client.clone(), environment)?,
            workspaces: WorkspacesTable::new(client.clone(), environment)?,
            activity: ActivityTable::new(client.clone(), environment)?,
            client,
        })
    }

    /// Writes a new key with its name, its member entry, its user's count and the event: all of them or none. Where the count is
    /// full, expired keys of the user give way.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::NameTaken`]: another key of the workspace has the name, and has not expired.
    /// - [`Error::QuotaReached`]: the user has `quota` keys that have not expired.
    /// - [`Error::UserRemoved`]: the user was removed.
    /// - [`Error::AlreadyBootstrapped`]: `extra` is [`Extra::Bootstrap`] for the first time, and it is not the first.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn create_key(
        &self,
        actor: Actor<'_>,
        new: &HashedKey,
        quota: u32,
        extra: Option<Extra<'_>>,
        event: &AuditEvent,
        now: DateTime<Utc>,
    ) -> Result<Creation, Error> {
        let (workspace, user_id) = (&new.key.workspace_id, &new.key.user_id);
        let mut room = Room::new(&self.workspaces, (workspace, user_id), quota, now);
        for _ in 0..ATTEMPTS {
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let key = transaction.add(self.keys.put(new)?);
            let name = transaction.add(self.workspaces.put_name(&new.key, now));
            transaction.add(self.workspaces.put_member(&new.key, true));
            let count = transaction.add_user(user_id, room.count_one_more(&new.key));
            let places = room.take_places(&mut transaction);
            transaction.add(self.activity.put(event)?);
            let extra = match extra {
                Some(Extra::Bootstrap(bootstrap)) => {
                    Some(transaction.add(self.workspaces.put_bootstrap(workspace, bootstrap)))
                }
                Some(Extra::Record(entry)) => {
                    Some(transaction.add(self.workspaces.put_idempotency_record(workspace, entry, now)?))
                }
                None => None,
            };
            let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
                return Ok(Creation::Created);
            };
            // That a request was there before goes first: the key that it made has the name now.
            if let Some(extra) = extra.filter(|extra| refused.failed(*extra)) {
                return match refused.item_before(extra) {
                    Some(item) => workspaces::idempotency_record(item.clone()).map(Creation::Remembered),
                    None => Err(Error::AlreadyBootstrapped),
                };
            }
            if refused.failed(key) {
                return Err(Error::Broken(format!("a key {} exists already", new.key.key_id)));
            }
            if is_removed(&refused, count) {
                return Err(Error::UserRemoved);
            }
            if refused.failed(name) {
                return Err(name_taken(&refused, name));
            }
            if !room.search(&refused, Some(count), &places).await? {
                return Err(refused.unexpected());
            }
        }
        Err(Error::Busy)
    }

    /// Makes of a stored key what `after` says, hashes aside, moves its name and its entries along, and writes the
    /// event: all of it or nothing.
    ///
    /// A new expiry, which is in the future, takes the name and a place in the user's count again where the key has lost them.
    /// Where the count is full, other expired keys of the user give way.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::NameTaken`]: another key of the workspace has the name, and has not expired.
    /// - [`Error::QuotaReached`]: the key takes its place again, and the user has `quota` keys that have not expired.
    /// - [`Error::UserRemoved`]: the key takes its place again, and the user was removed.
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
        let owner = (&after.workspace_id, &after.user_id);
        let renamed = before.name_folded != after.name.folded();
        let moved = before.key.expires_at != after.expires_at || before.key.ttl != after.ttl;
        let (mut held, mut room) = (Held::BOTH, Room::new(&self.workspaces, owner, quota, now));
        for _ in 0..ATTEMPTS {
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let key = transaction.add(self.keys.update(&before.key, after));
            transaction.add(self.activity.put(event)?);
            let name = (renamed || moved).then(|| transaction.add(self.workspaces.put_name(after, now)));
            let old_name = (renamed && held.name).then(|| {
                let folded = &before.name_folded;
                transaction.add(self.workspaces.delete_name(owner.0, folded, after.key_id))
            });
            let member = moved.then(|| transaction.add(self.workspaces.renew_member(after, held.place)));
            let count =
                (moved && !held.place).then(|| transaction.add_user(owner.1, room.count_one_more(after)));
            let places = room.take_places(&mut transaction);
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
            if !room.search(&refused, count, &places).await? && held == before {
                return Err(refused.unexpected());
            }
        }
        Err(Error::Busy)
    }

    /// Demands of an actor whose request changes nothing what a change would demand of them.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn change_nothing(&self, actor: Actor<'_>) -> Result<(), Error> {
        match Transaction::new(actor, &self.workspaces).commit(&self.client).await? {
            TransactionResult::Committed => Ok(()),
            TransactionResult::Cancelled(refused) => Err(refused.unexpected()),
        }
    }

    /// Gives a stored key another hash, keeps the one it has for as long as `after` says, if at all, revokes its tokens, if so
    /// asked, remembers the request, if it can be repeated, and writes the event: all of it or nothing.
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
    ) -> Result<Rotation, Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let key = transaction.add(self.keys.rotate(before, after, hash, revoke_tokens));
        transaction.add(self.activity.put(event)?);
        let mut remembered = None;
        if let Some(entry) = entry {
            let item = self.workspaces.put_idempotency_record(&before.workspace_id, entry, now)?;
            remembered = Some(transaction.add(item));
        }
        let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
            return Ok(Rotation::Rotated);
        };
        // That a request was there before goes first: the key has its revision now.
        if let Some(item) = remembered.and_then(|remembered| refused.item_before(remembered)) {
            return workspaces::idempotency_record(item.clone()).map(Rotation::Remembered);
        }
        Err(if refused.failed(key) { Error::Conflict } else { refused.unexpected() })
    }

    /// Whether a key has one of these hashes, and is as it was read. It reads nothing: it is a condition.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn has_hash(&self, actor: Actor<'_>, key: &Key, hashes: &[SecretHash]) -> Result<bool, Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let check = transaction.add(self.keys.check_hash(key, hashes));
        match transaction.commit(&self.client).await? {
            TransactionResult::Committed => Ok(true),
            TransactionResult::Cancelled(refused) if refused.failed(check) => Ok(false),
            TransactionResult::Cancelled(refused) => Err(refused.unexpected()),
        }
    }

    /// Deletes a key with its name, its member entry and its place in its user's count, as far as it holds them, and writes the
    /// event: all of it or nothing. Of a removed user, only as long as they are `removed_at` that time.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::UserReinstated`]: the user is not removed any more, or anew.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn delete_key(
        &self,
        actor: Actor<'_>,
        stored: &UnhashedKey,
        removed_at: Option<DateTime<Utc>>,
        event: &AuditEvent,
    ) -> Result<(), Error> {
        let owner = stored.key.owner();
        let mut held = Held::BOTH;
        loop {
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let key = transaction.add(self.keys.delete(&stored.key));
            let name = held.name.then(|| {
                let folded = &stored.name_folded;
                transaction.add(self.workspaces.delete_name(&owner.workspace_id, folded, owner.key_id))
            });
            let member = transaction.add(self.workspaces.delete_member(&owner, held.of_member()));
            let user = self.leave_user(&mut transaction, &owner, removed_at, held);
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

    /// Makes a key of a user who is `removed_at` that time another user's, with its member entry and its place in their
    /// counts, and writes the event: all of it or nothing. The secret that it has works until the overlap of `after` ends.
    ///
    /// An expired key takes no place in the other user's count. Where a key takes one and that count is full, expired keys give way.
    ///
    /// # Errors
    ///
    /// - [`Error::UserReinstated`]: the user is not removed any more, or anew.
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::QuotaReached`]: the heir has `quota` keys that have not expired.
    /// - [`Error::UserRemoved`]: the heir was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn transfer_key(
        &self,
        (before, after): (&Key, &Key),
        quota: u32,
        removed_at: DateTime<Utc>,
        event: &AuditEvent,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let (leaver, heir) = (before.owner(), (&after.workspace_id, &after.user_id));
        let (mut held, mut room) = (Held::BOTH, Room::new(&self.workspaces, heir, quota, now));
        for _ in 0..ATTEMPTS {
            let takes_place = held.place && !after.has_lapsed(now);
            let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
            let key = transaction.add(self.keys.transfer(before, after));
            let user = self.leave_user(&mut transaction, &leaver, Some(removed_at), held);
            let (count, places) = if takes_place {
                let count = transaction.add_user(heir.1, room.count_one_more(after));
                (count, room.take_places(&mut transaction))
            } else {
                let check = self.workspaces.check_not_removed(heir.0, heir.1);
                (transaction.add_user(heir.1, check), Vec::new())
            };
            let member = transaction.add(self.workspaces.delete_member(&leaver, held.of_member()));
            transaction.add(self.workspaces.put_member(after, takes_place));
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
            if refused.failed(count) && !takes_place {
                return Err(Error::UserRemoved);
            }
            let before = held;
            held = held.without_lost(&refused, None, Some(member));
            // Where the key turns out to take no place, it does not matter that there is none.
            let goes_on =
                held != before || takes_place && room.search(&refused, Some(count), &places).await?;
            if !goes_on {
                return Err(refused.unexpected());
            }
        }
        Err(Error::Busy)
    }

    /// Takes the place of a key out of its user's count, if it holds one. Of a removed user, only as long as they are `removed_at` that
    /// time.
    fn leave_user(
        &self,
        transaction: &mut Transaction<'_>,
        owner: &KeyOwner,
        removed_at: Option<DateTime<Utc>>,
        held: Held,
    ) -> Option<ChangeHandle> {
        let condition = match removed_at {
            Some(removed_at) => UserCondition::RemovedAt(removed_at),
            None if transaction.acts_as(&owner.user_id) => UserCondition::NotRemoved,
            None => UserCondition::None,
        };
        let change = match removed_at {
            _ if held.place => self.workspaces.count_one_less(owner, condition),
            Some(removed_at) => {
                self.workspaces.check_removed(&owner.workspace_id, &owner.user_id, removed_at)
            }
            None => return None,
        };
        Some(transaction.add_user(&owner.user_id, change))
    }

    /// Writes what has happened to a key by the passing of time, and what is due next, together. The end of an overlap
    /// takes the previous hash away. That changes no revision: nobody did it. Whether the key still was as it was read.
    ///
    /// An event that is there already was written for the same: by a run whose changes somebody who changed the key at
    /// the same time has overwritten. The key moves on all the same.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn announce(
        &self,
        due: &DueKey,
        next: Option<DateTime<Utc>>,
        overlap_ended: bool,
        events: &[AuditEvent],
    ) -> Result<bool, Error> {
        let mut missing: Vec<&AuditEvent> = events.iter().collect();
        loop {
            let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
            let key = transaction.add(self.keys.move_on(due, next, overlap_ended));
            let mut written = Vec::with_capacity(missing.len());
            for event in missing {
                written.push((transaction.add(self.activity.put(event)?), event));
            }
            let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
                return Ok(true);
            };
            if refused.failed(key) {
                return Ok(false);
            }
            let before = written.len();
            written.retain(|(change, _)| !refused.failed(*change));
            if written.len() == before {
                return Err(refused.unexpected());
            }
            missing = written.into_iter().map(|(_, event)| event).collect();
        }
    }

    /// Writes what comes of a key's being unused at the time of the event, and the event: both or neither. Whether the key
    /// still was as it was read, and unused.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn unused_key(
        &self,
        key: &UnusedKey,
        consequence: Consequence,
        event: &AuditEvent,
    ) -> Result<bool, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let change = transaction.add(self.keys.unused_change(key, consequence, event.at));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.client).await? {
            TransactionResult::Committed => Ok(true),
            TransactionResult::Cancelled(refused) if refused.failed(change) => Ok(false),
            TransactionResult::Cancelled(refused) => Err(refused.unexpected()),
        }
    }

    /// Takes away what is left of a key that `DynamoDB` has removed: its name, if it is still its own, its member entry
    /// and its place in its user's count, if it still has one; and writes the event. Whether anything was left: all of it happens
    /// once, with the member entry, however often it is asked for.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn purge_key(
        &self,
        owner: &KeyOwner,
        name_folded: Option<&str>,
        event: &AuditEvent,
    ) -> Result<bool, Error> {
        let mut held = Held { name: name_folded.is_some(), place: true };
        loop {
            let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
            let key = transaction.add(self.keys.absent(owner.key_id));
            let condition = match held.of_member() {
                MemberCondition::NotCounted => MemberCondition::PresentAndNotCounted,
                condition => condition,
            };
            let member = transaction.add(self.workspaces.delete_member(owner, condition));
            self.leave_user(&mut transaction, owner, None, held);
            transaction.add(self.activity.put(event)?);
            let name = name_folded.filter(|_| held.name).map(|name| {
                transaction.add(self.workspaces.delete_name(&owner.workspace_id, name, owner.key_id))
            });
            let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
                return Ok(true);
            };
            // A key that is there has been restored, and one that is no member is purged.
            let is_no_member = refused.failed(member) && refused.item_before(member).is_none();
            if refused.failed(key) || is_no_member {
                return Ok(false);
            }
            let before = held;
            held = held.without_lost(&refused, name, Some(member));
            if held == before {
                return Err(refused.unexpected());
            }
        }
    }

    /// Marks a user as removed `at` a time, unless they are, and writes the event: both or neither. `heir`, if there is one,
    /// must not be removed.
    ///
    /// The mark of a user whom the workspace does not know is an entry more, which stays for ever. So with a `limit` there may be
    /// that many of these entries that came of a removal with a limit. A user who is known, because they have or had a key or were
    /// removed before, can always be marked.
    ///
    /// Returns since when they are removed; `None` if they were reinstated or removed anew after that time, so that this
    /// removal is over.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::UserRemoved`]: the heir was removed.
    /// - [`Error::RemovalLimit`]: the user is not known, and there are `limit` entries.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn remove_user(
        &self,
        actor: Actor<'_>,
        (workspace, user): (&WorkspaceId, &UserId),
        heir: Option<&UserId>,
        limit: Option<u32>,
        event: &AuditEvent,
        at: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let mut is_known = true;
        for _ in 0..ATTEMPTS {
            let (condition, limit) = match limit {
                None => (EntryCondition::None, None),
                Some(_) if is_known => (EntryCondition::Present, None),
                Some(limit) => (EntryCondition::Absent, Some(limit)),
            };
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let mark =
                transaction.add_user(user, self.workspaces.mark_removed((workspace, user), condition, at));
            transaction.add(self.activity.put(event)?);
            let heir = heir.map(|heir| {
                let check = self.workspaces.check_not_removed(workspace, heir);
                transaction.add_user(heir, check)
            });
            let count =
                limit.map(|limit| (transaction.add(self.workspaces.count_removal(workspace, limit)), limit));
            let TransactionResult::Cancelled(refused) = transaction.commit(&self.client).await? else {
                return Ok(Some(at));
            };
            if heir.is_some_and(|heir| refused.failed(heir)) {
                return Err(Error::UserRemoved);
            }
            if !refused.failed(mark) {
                return Err(match count {
                    Some((count, limit)) if refused.failed(count) => Error::RemovalLimit(limit),
                    _ => refused.unexpected(),
                });
            }
            let Some(entry) = refused.item_before(mark) else {
                is_known = false;
                continue;
            };
            if let Some(removed_at) = entry.get(workspaces::REMOVED_AT) {
                let milliseconds = removed_at.as_n().ok().and_then(|number| number.parse().ok());
                let removed_at = milliseconds.and_then(DateTime::from_timestamp_millis);
                let removed_at = removed_at.ok_or_else(|| broken("user"))?;
                return Ok(Some(removed_at).filter(|removed_at| *removed_at <= at));
            }
            if is_known {
                // Reinstated since.
                return Ok(None);
            }
            // It has got an entry meanwhile.
            is_known = true;
        }
        Err(Error::Busy)
    }

    /// Takes the mark from a removed user, and writes the event: both or neither. A user without a mark stays as they are.
    /// Whether there was one.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn reinstate_user(
        &self,
        actor: Actor<'_>,
        (workspace, user): (&WorkspaceId, &UserId),
        event: &AuditEvent,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let mark = transaction.add(self.workspaces.unmark_removed(workspace, user, now));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.client).await? {
            TransactionResult::Committed => Ok(true),
            TransactionResult::Cancelled(refused) if refused.failed(mark) => Ok(false),
            TransactionResult::Cancelled(refused) => Err(refused.unexpected()),
        }
    }
}

/// Which key has the name that a change wanted.
fn name_taken(refused: &Cancellation, name: ChangeHandle) -> Error {
    let owner = refused.item_before(name).and_then(|entry| entry.get("key_id"));
    Error::NameTaken(owner.and_then(|owner| owner.as_s().ok()?.parse().ok()))
}

fn text(value: &(impl ToString + ?Sized)) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

fn number(value: &impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn bytes(value: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// Writes that an item was used, unless it was written since `due`, and never backwards. What is gone has no such attribute,
/// and stays gone.
async fn mark_used(
    client: &Client,
    table: &str,
    key: HashMap<String, AttributeValue>,
    at: DateTime<Utc>,
    due: DateTime<Utc>,
) -> Result<(), Error> {
    let update = client
        .update_item()
        .table_name(table)
        .set_key(Some(key))
        .update_expression("SET last_used_at = :at")
        .condition_expression("last_used_at <= :due")
        .expression_attribute_values(":at", number(&at.timestamp()))
        .expression_attribute_values(":due", number(&due.timestamp()));
    unless_condition_failed(update.send().await)
}

/// That somebody else was faster is no failure.
fn unless_condition_failed(
    written: Result<UpdateItemOutput, SdkError<UpdateItemError, HttpResponse>>,
) -> Result<(), Error> {
    match written {
        Err(failure)
            if !failure
                .as_service_error()
                .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
        {
            Err(Error::unavailable("DynamoDB", &failure))
        }
        _ => Ok(()),
    }
}

/// An item that cannot be read or written. What exactly is wrong is not said: serde's messages can quote values.
fn broken(what: &str) -> Error {
    Error::Broken(format!("a stored {what} is not as it should be"))
}

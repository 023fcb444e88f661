//! Records in `DynamoDB`: one file a table, and here the changes that touch several of them in one transaction.
//!
//! A key is four items in two tables, kept in step with each other and with the audit trail:
//!
//! | table | item | says |
//! | --- | --- | --- |
//! | `keys` | the key | everything of it, its hash included |
//! | `workspaces` | `NAME#<folded name>` | which key has the name |
//! | `workspaces` | `MEMBER#<user>#<key id>` | the key is the user's |
//! | `workspaces` | `USER#<user>` | how many keys the user has, and whether they were removed |
//! | `activity` | an event | who made, changed or deleted it, or what time did to it |

pub mod activity;
pub mod keys;
pub mod legacy_keys;
mod live_tokens;
pub mod reader;
pub mod tokens;
mod transaction;
mod walk;
pub mod workspaces;

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};

use crate::activity::{Event, Holder};
use crate::caller::{Actor, UserId, WorkspaceId};
use crate::config::{Environment, InvalidVariable};
use crate::error::Error;
use crate::pepper::SecretHash;
use crate::record::{HashedKey, Key};
use crate::replay::{Memory, Replay};
use activity::Activity;
use keys::{Consequence, DueKey, Keys, UnhashedKey, UnusedKey};
use transaction::{Change, Outcome, Refused, Transaction};
use workspaces::{UserCondition, Workspaces};

/// The tables of a function that makes changes.
#[derive(Debug)]
pub struct Store {
    /// Keys and their hashes.
    pub keys: Keys,
    /// Names, members and users.
    pub workspaces: Workspaces,
    /// The audit trail.
    pub activity: Activity,
    client: Client,
}

/// What the making of a key may bring along.
#[derive(Clone, Copy, Debug)]
pub enum Extra<'a> {
    /// The workspace gets its administrator.
    Bootstrap(Bootstrap),
    /// The request is to be answered the same when it comes again.
    Replay(&'a Replay),
}

/// What came of making a key.
#[derive(Debug)]
pub enum Creation {
    /// It is made.
    Created,
    /// It is not, because a request with the same `Idempotency-Key` was there before.
    Remembered(Memory),
}

/// What came of a rotation.
#[derive(Debug)]
pub enum Rotation {
    /// The key has the new hash.
    Rotated,
    /// It has not, because a request with the same `Idempotency-Key` was there before.
    Remembered(Memory),
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
            keys: Keys::new(client.clone(), environment.keys_table()?),
            workspaces: Workspaces::new(client.clone(), environment.workspaces_table()?),
            activity: Activity::new(
                client.clone(),
                environment.activity_table()?,
                environment.activity_retention()?,
            ),
            client,
        })
    }

    /// Writes a new key with its name, its member entry, its user's count and the event: all of them or none.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::NameTaken`]: another key of the workspace has the name, and is not past its ttl.
    /// - [`Error::QuotaReached`]: the user has `quota` keys.
    /// - [`Error::UserRemoved`]: the user was removed.
    /// - [`Error::AlreadyBootstrapped`]: `extra` is [`Extra::Bootstrap`] for the first time, and it is not the first.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn create_key(
        &self,
        actor: Actor<'_>,
        new: &HashedKey,
        quota: u32,
        extra: Option<Extra<'_>>,
        event: &Event,
        now: DateTime<Utc>,
    ) -> Result<Creation, Error> {
        let workspace = &new.key.workspace_id;
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let key = transaction.add(self.keys.put(new)?);
        let name = transaction.add(self.workspaces.put_name(&new.key, now));
        transaction.add(self.workspaces.put_member(&new.key));
        let user = transaction.add_user(&new.key.user_id, self.workspaces.count_one_more(&new.key, quota));
        transaction.add(self.activity.put(event)?);
        let extra = match extra {
            Some(Extra::Bootstrap(bootstrap)) => {
                Some(transaction.add(self.workspaces.put_bootstrap(workspace, bootstrap)))
            }
            Some(Extra::Replay(replay)) => {
                Some(transaction.add(self.workspaces.put_replay(workspace, replay, now)?))
            }
            None => None,
        };
        let Outcome::Refused(refused) = transaction.commit(&self.client).await? else {
            return Ok(Creation::Created);
        };
        // That a request was there before goes first: the key that it made has the name now.
        if let Some(extra) = extra.filter(|extra| refused.failed(*extra)) {
            return match refused.item_before(extra) {
                Some(item) => workspaces::memory(item.clone()).map(Creation::Remembered),
                None => Err(Error::AlreadyBootstrapped),
            };
        }
        Err(if refused.failed(user) {
            no_more_keys(&refused, user, quota)
        } else if refused.failed(name) {
            Error::NameTaken
        } else if refused.failed(key) {
            Error::Broken(format!("a key {} exists already", new.key.key_id))
        } else {
            refused.unexpected()
        })
    }

    /// Makes of a stored key what `after` says, hashes aside, moves its name and its entries along, and writes the
    /// event: all of it or nothing.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::NameTaken`]: another key of the workspace has the new name.
    /// - [`Error::NotFound`]: another key has the name that this one had, so the time of this one is over.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn update_key(
        &self,
        actor: Actor<'_>,
        before: &UnhashedKey,
        after: &Key,
        event: &Event,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let renamed = before.name_folded != after.name.folded();
        let moved = before.key.ttl != after.ttl;
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let key = transaction.add(self.keys.update(&before.key, after));
        transaction.add(self.activity.put(event)?);
        let (mut new_name, mut own_name) = (None, None);
        if renamed {
            new_name = Some(transaction.add(self.workspaces.put_name(after, now)));
            let (workspace, folded) = (&before.key.workspace_id, &before.name_folded);
            let old_name = self.workspaces.delete_name(workspace, folded, before.key.key_id);
            own_name = Some(transaction.add(old_name));
        } else if moved {
            own_name = Some(transaction.add(self.workspaces.renew_name(after)));
        }
        if moved {
            transaction.add(self.workspaces.put_member(after));
        }
        let Outcome::Refused(refused) = transaction.commit(&self.client).await? else {
            return Ok(());
        };
        let failed = |change: Option<Change>| change.is_some_and(|change| refused.failed(change));
        Err(if refused.failed(key) {
            Error::Conflict
        } else if failed(new_name) {
            Error::NameTaken
        } else if failed(own_name) {
            Error::NotFound
        } else {
            refused.unexpected()
        })
    }

    /// Demands of an actor whose request changes nothing what a change would demand of them.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn change_nothing(&self, actor: Actor<'_>) -> Result<(), Error> {
        match Transaction::new(actor, &self.workspaces).commit(&self.client).await? {
            Outcome::Committed => Ok(()),
            Outcome::Refused(refused) => Err(refused.unexpected()),
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
        replay: Option<&Replay>,
        event: &Event,
        now: DateTime<Utc>,
    ) -> Result<Rotation, Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let key = transaction.add(self.keys.rotate(before, after, hash, revoke_tokens));
        transaction.add(self.activity.put(event)?);
        let mut remembered = None;
        if let Some(replay) = replay {
            let item = self.workspaces.put_replay(&before.workspace_id, replay, now)?;
            remembered = Some(transaction.add(item));
        }
        let Outcome::Refused(refused) = transaction.commit(&self.client).await? else {
            return Ok(Rotation::Rotated);
        };
        // That a request was there before goes first: the key has its revision now.
        if let Some(item) = remembered.and_then(|remembered| refused.item_before(remembered)) {
            return workspaces::memory(item.clone()).map(Rotation::Remembered);
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
            Outcome::Committed => Ok(true),
            Outcome::Refused(refused) if refused.failed(check) => Ok(false),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }

    /// Deletes a key with its name, its member entry and its place in its user's count, and writes the event: all of
    /// it or nothing. Of a removed user, only as long as they are `removed_at` that time.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::NotFound`]: another key has the name, so the time of this one is over.
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::UserReinstated`]: the user is not removed any more, or anew.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn delete_key(
        &self,
        actor: Actor<'_>,
        stored: &UnhashedKey,
        removed_at: Option<DateTime<Utc>>,
        event: &Event,
    ) -> Result<(), Error> {
        let owner = stored.key.holder();
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let condition = match removed_at {
            Some(removed_at) => UserCondition::RemovedAt(removed_at),
            None if transaction.acts_as(&owner.user_id) => UserCondition::NotRemoved,
            None => UserCondition::None,
        };
        let key = transaction.add(self.keys.delete(&stored.key));
        let name = self.workspaces.delete_name(&owner.workspace_id, &stored.name_folded, owner.key_id);
        let name = transaction.add(name);
        transaction.add(self.workspaces.delete_member(&owner));
        let user = transaction.add_user(&owner.user_id, self.workspaces.count_one_less(&owner, condition));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.client).await? {
            Outcome::Committed => Ok(()),
            Outcome::Refused(refused) if refused.failed(user) => Err(Error::UserReinstated),
            Outcome::Refused(refused) if refused.failed(key) => Err(Error::Conflict),
            Outcome::Refused(refused) if refused.failed(name) => Err(Error::NotFound),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }

    /// Makes a key of a user who is `removed_at` that time another user's, with its member entry and its place in their
    /// counts, and writes the event: all of it or nothing. The secret that it has works until the overlap of `after` ends.
    ///
    /// # Errors
    ///
    /// - [`Error::UserReinstated`]: the user is not removed any more, or anew.
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::QuotaReached`]: the heir has `quota` keys.
    /// - [`Error::UserRemoved`]: the heir was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn transfer_key(
        &self,
        before: &Key,
        after: &Key,
        quota: u32,
        removed_at: DateTime<Utc>,
        event: &Event,
    ) -> Result<(), Error> {
        let leaver = before.holder();
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let key = transaction.add(self.keys.transfer(before, after));
        let condition = UserCondition::RemovedAt(removed_at);
        let user = transaction.add_user(&leaver.user_id, self.workspaces.count_one_less(&leaver, condition));
        let heir = transaction.add_user(&after.user_id, self.workspaces.count_one_more(after, quota));
        transaction.add(self.workspaces.delete_member(&leaver));
        transaction.add(self.workspaces.put_member(after));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.client).await? {
            Outcome::Committed => Ok(()),
            Outcome::Refused(refused) if refused.failed(user) => Err(Error::UserReinstated),
            Outcome::Refused(refused) if refused.failed(key) => Err(Error::Conflict),
            Outcome::Refused(refused) if refused.failed(heir) => Err(no_more_keys(&refused, heir, quota)),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
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
        events: &[Event],
    ) -> Result<bool, Error> {
        let mut missing: Vec<&Event> = events.iter().collect();
        loop {
            let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
            let key = transaction.add(self.keys.move_on(due, next, overlap_ended));
            let mut written = Vec::with_capacity(missing.len());
            for event in missing {
                written.push((transaction.add(self.activity.put(event)?), event));
            }
            let Outcome::Refused(refused) = transaction.commit(&self.client).await? else {
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
        event: &Event,
    ) -> Result<bool, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let change = transaction.add(self.keys.unused_change(key, consequence, event.at));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.client).await? {
            Outcome::Committed => Ok(true),
            Outcome::Refused(refused) if refused.failed(change) => Ok(false),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }

    /// Takes away what is left of a key that `DynamoDB` has removed: its name, if it is still its own, its member entry
    /// and its place in its user's count; and writes the event. Whether anything was left: all of it happens once, with
    /// the member entry, however often it is asked for.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn purge_key(
        &self,
        holder: &Holder,
        name_folded: Option<&str>,
        event: &Event,
    ) -> Result<bool, Error> {
        let mut transaction = Transaction::new(Actor::Keygate, &self.workspaces);
        let key = transaction.add(self.keys.absent(holder.key_id));
        let member = transaction.add(self.workspaces.delete_present_member(holder));
        let count = self.workspaces.count_one_less(holder, UserCondition::None);
        transaction.add_user(&holder.user_id, count);
        transaction.add(self.activity.put(event)?);
        let name = name_folded.map(|name| {
            transaction.add(self.workspaces.delete_name(&holder.workspace_id, name, holder.key_id))
        });
        match transaction.commit(&self.client).await? {
            Outcome::Committed => Ok(true),
            // A key that is there has been restored, and one that is no member is purged.
            Outcome::Refused(refused) if refused.failed(key) || refused.failed(member) => Ok(false),
            // Another key has the name by now, and keeps it.
            Outcome::Refused(refused) if name.is_some_and(|name| refused.failed(name)) => {
                Box::pin(self.purge_key(holder, None, event)).await
            }
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }

    /// Marks a user as removed `at` a time, unless they are, and writes the event: both or neither. `heir`, if there is one,
    /// must not be removed.
    ///
    /// Returns since when they are removed; `None` if they were reinstated or removed anew after that time, so that this
    /// removal is over.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::UserRemoved`]: the heir was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn remove_user(
        &self,
        actor: Actor<'_>,
        (workspace, user): (&WorkspaceId, &UserId),
        heir: Option<&UserId>,
        event: &Event,
        at: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let mark = transaction.add_user(user, self.workspaces.mark_removed(workspace, user, at));
        transaction.add(self.activity.put(event)?);
        let heir =
            heir.map(|heir| transaction.add_user(heir, self.workspaces.check_not_removed(workspace, heir)));
        let Outcome::Refused(refused) = transaction.commit(&self.client).await? else {
            return Ok(Some(at));
        };
        if heir.is_some_and(|heir| refused.failed(heir)) {
            return Err(Error::UserRemoved);
        }
        if !refused.failed(mark) {
            return Err(refused.unexpected());
        }
        let user = refused.item_before(mark).ok_or_else(|| broken("user"))?;
        let Some(removed_at) = user.get(workspaces::REMOVED_AT) else { return Ok(None) };
        let milliseconds = removed_at.as_n().ok().and_then(|number| number.parse().ok());
        let removed_at = milliseconds.and_then(DateTime::from_timestamp_millis);
        let removed_at = removed_at.ok_or_else(|| broken("user"))?;
        Ok(Some(removed_at).filter(|removed_at| *removed_at <= at))
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
        event: &Event,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let mark = transaction.add(self.workspaces.unmark_removed(workspace, user, now));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.client).await? {
            Outcome::Committed => Ok(true),
            Outcome::Refused(refused) if refused.failed(mark) => Ok(false),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }
}

/// Why a user, whose entry a change was about, cannot have one more key.
fn no_more_keys(refused: &Refused, user: Change, quota: u32) -> Error {
    let removed = refused.item_before(user).is_some_and(|user| user.contains_key(workspaces::REMOVED_AT));
    if removed { Error::UserRemoved } else { Error::QuotaReached(quota) }
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

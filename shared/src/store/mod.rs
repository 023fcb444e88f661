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
mod batch;
pub mod keys;
pub mod legacy_keys;
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
use crate::caller::{UserId, WorkspaceId};
use crate::config::{Environment, InvalidVariable};
use crate::error::Error;
use crate::pepper::SecretHash;
use crate::record::{HashedKey, Key};
use crate::replay::{Memory, Replay};
use activity::Activity;
use keys::{Consequence, DueKey, Keys, UnhashedKey, UnusedKey};
use transaction::{Outcome, Refused};
use workspaces::Workspaces;

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
    /// - [`Error::NameTaken`]: another key of the workspace has the name, and is not past its ttl.
    /// - [`Error::QuotaReached`]: the user has `quota` keys.
    /// - [`Error::UserRemoved`]: the user was removed.
    /// - [`Error::AlreadyBootstrapped`]: `extra` is [`Extra::Bootstrap`] for the first time, and it is not the first.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn create_key(
        &self,
        new: &HashedKey,
        quota: u32,
        extra: Option<Extra<'_>>,
        event: &Event,
        now: DateTime<Utc>,
    ) -> Result<Creation, Error> {
        const KEY: usize = 0;
        const NAME: usize = 1;
        const USER: usize = 3;
        const EXTRA: usize = 5;
        let workspace = &new.key.workspace_id;
        let mut changes = vec![
            self.keys.put(new)?,
            self.workspaces.put_name(&new.key, now),
            self.workspaces.put_member(&new.key),
            self.workspaces.count_one_more(&new.key, quota),
            self.activity.put(event)?,
        ];
        if let Some(extra) = extra {
            changes.push(match extra {
                Extra::Bootstrap(bootstrap) => self.workspaces.put_bootstrap(workspace, bootstrap),
                Extra::Replay(replay) => self.workspaces.put_replay(workspace, replay, now)?,
            });
        }
        let Outcome::Refused(refused) = transaction::commit(&self.client, changes).await? else {
            return Ok(Creation::Created);
        };
        // That a request was there before goes first: the key that it made has the name now.
        if refused.condition_failed(EXTRA) {
            return match refused.item_before(EXTRA) {
                Some(item) => serde_dynamo::from_item(item.clone())
                    .map(Creation::Remembered)
                    .map_err(|_| broken("replay")),
                None => Err(Error::AlreadyBootstrapped),
            };
        }
        Err(if refused.condition_failed(USER) {
            no_more_keys(&refused, USER, quota)
        } else if refused.condition_failed(NAME) {
            Error::NameTaken
        } else if refused.condition_failed(KEY) {
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
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::NameTaken`]: another key of the workspace has the new name.
    /// - [`Error::NotFound`]: another key has the name that this one had, so the time of this one is over.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn update_key(
        &self,
        before: &UnhashedKey,
        after: &Key,
        event: &Event,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        const KEY: usize = 0;
        const NAME: usize = 2;
        const OLD_NAME: usize = 3;
        let renamed = before.name_folded != after.name.folded();
        let moved = before.key.ttl != after.ttl;
        let mut changes = vec![self.keys.update(&before.key, after), self.activity.put(event)?];
        if renamed {
            changes.push(self.workspaces.put_name(after, now));
            let (workspace, folded) = (&before.key.workspace_id, &before.name_folded);
            changes.push(self.workspaces.delete_name(workspace, folded, before.key.key_id));
        } else if moved {
            changes.push(self.workspaces.renew_name(after));
        }
        if moved {
            changes.push(self.workspaces.put_member(after));
        }
        match transaction::commit(&self.client, changes).await? {
            Outcome::Committed => Ok(()),
            Outcome::Refused(refused) if refused.condition_failed(KEY) => Err(Error::Conflict),
            Outcome::Refused(refused) if renamed && refused.condition_failed(NAME) => Err(Error::NameTaken),
            Outcome::Refused(refused)
                if refused.condition_failed(NAME) || refused.condition_failed(OLD_NAME) =>
            {
                Err(Error::NotFound)
            }
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }

    /// Gives a stored key another hash, keeps the one it has for as long as `after` says, if at all, revokes its tokens, if
    /// so asked, and writes the event.
    ///
    /// # Errors
    ///
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn rotate_key(
        &self,
        before: &Key,
        after: &Key,
        hash: &SecretHash,
        revoke_tokens: bool,
        event: &Event,
    ) -> Result<(), Error> {
        const KEY: usize = 0;
        let rotation = self.keys.rotate(before, after, hash, revoke_tokens);
        let changes = vec![rotation, self.activity.put(event)?];
        match transaction::commit(&self.client, changes).await? {
            Outcome::Committed => Ok(()),
            Outcome::Refused(refused) if refused.condition_failed(KEY) => Err(Error::Conflict),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }

    /// Deletes a key with its name, its member entry and its place in its user's count, and writes the event: all of
    /// it or nothing. Of a removed user, only as long as they are `removed_at` that time.
    ///
    /// # Errors
    ///
    /// - [`Error::NotFound`]: another key has the name, so the time of this one is over.
    /// - [`Error::Conflict`]: the key was changed or deleted since it was read.
    /// - [`Error::UserReinstated`]: the user is not removed any more, or anew.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn delete_key(
        &self,
        stored: &UnhashedKey,
        removed_at: Option<DateTime<Utc>>,
        event: &Event,
    ) -> Result<(), Error> {
        const KEY: usize = 0;
        const NAME: usize = 1;
        const USER: usize = 3;
        let holder = stored.key.holder();
        let changes = vec![
            self.keys.delete(&stored.key),
            self.workspaces.delete_name(&holder.workspace_id, &stored.name_folded, holder.key_id),
            self.workspaces.delete_member(&holder),
            self.workspaces.count_one_less(&holder, removed_at),
            self.activity.put(event)?,
        ];
        match transaction::commit(&self.client, changes).await? {
            Outcome::Committed => Ok(()),
            Outcome::Refused(refused) if refused.condition_failed(USER) => Err(Error::UserReinstated),
            Outcome::Refused(refused) if refused.condition_failed(KEY) => Err(Error::Conflict),
            Outcome::Refused(refused) if refused.condition_failed(NAME) => Err(Error::NotFound),
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
        const KEY: usize = 0;
        const USER: usize = 1;
        const HEIR: usize = 2;
        let holder = before.holder();
        let changes = vec![
            self.keys.transfer(before, after),
            self.workspaces.count_one_less(&holder, Some(removed_at)),
            self.workspaces.count_one_more(after, quota),
            self.workspaces.delete_member(&holder),
            self.workspaces.put_member(after),
            self.activity.put(event)?,
        ];
        match transaction::commit(&self.client, changes).await? {
            Outcome::Committed => Ok(()),
            Outcome::Refused(refused) if refused.condition_failed(USER) => Err(Error::UserReinstated),
            Outcome::Refused(refused) if refused.condition_failed(KEY) => Err(Error::Conflict),
            Outcome::Refused(refused) if refused.condition_failed(HEIR) => {
                Err(no_more_keys(&refused, HEIR, quota))
            }
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
        const KEY: usize = 0;
        let mut missing: Vec<&Event> = events.iter().collect();
        loop {
            let mut changes = vec![self.keys.move_on(due, next, overlap_ended)];
            for event in &missing {
                changes.push(self.activity.put(event)?);
            }
            let Outcome::Refused(refused) = transaction::commit(&self.client, changes).await? else {
                return Ok(true);
            };
            if refused.condition_failed(KEY) {
                return Ok(false);
            }
            let written = missing.len();
            let mut index = KEY;
            missing.retain(|_| {
                index += 1;
                !refused.condition_failed(index)
            });
            if missing.len() == written {
                return Err(refused.unexpected());
            }
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
        const KEY: usize = 0;
        let change = self.keys.unused_change(key, consequence, event.at);
        match transaction::commit(&self.client, vec![change, self.activity.put(event)?]).await? {
            Outcome::Committed => Ok(true),
            Outcome::Refused(refused) if refused.condition_failed(KEY) => Ok(false),
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
        const KEY: usize = 0;
        const MEMBER: usize = 1;
        const NAME: usize = 4;
        let mut changes = vec![
            self.keys.absent(holder.key_id),
            self.workspaces.delete_present_member(holder),
            self.workspaces.count_one_less(holder, None),
            self.activity.put(event)?,
        ];
        changes.extend(
            name_folded.map(|name| self.workspaces.delete_name(&holder.workspace_id, name, holder.key_id)),
        );
        match transaction::commit(&self.client, changes).await? {
            Outcome::Committed => Ok(true),
            // A key that is there has been restored, and one that is no member is purged.
            Outcome::Refused(refused)
                if refused.condition_failed(KEY) || refused.condition_failed(MEMBER) =>
            {
                Ok(false)
            }
            // Another key has the name by now, and keeps it.
            Outcome::Refused(refused) if refused.condition_failed(NAME) => {
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
    /// - [`Error::UserRemoved`]: the heir was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn remove_user(
        &self,
        (workspace, user): (&WorkspaceId, &UserId),
        heir: Option<&UserId>,
        event: &Event,
        at: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        const USER: usize = 0;
        const HEIR: usize = 2;
        let mut changes = vec![self.workspaces.mark_removed(workspace, user, at), self.activity.put(event)?];
        changes.extend(heir.map(|heir| self.workspaces.check_not_removed(workspace, heir)));
        let Outcome::Refused(refused) = transaction::commit(&self.client, changes).await? else {
            return Ok(Some(at));
        };
        if refused.condition_failed(HEIR) {
            return Err(Error::UserRemoved);
        }
        if !refused.condition_failed(USER) {
            return Err(refused.unexpected());
        }
        let user = refused.item_before(USER).ok_or_else(|| broken("user"))?;
        let Some(removed_at) = user.get(workspaces::REMOVED_AT) else { return Ok(None) };
        let milliseconds = removed_at.as_n().ok().and_then(|number| number.parse().ok());
        let removed_at = milliseconds.and_then(DateTime::from_timestamp_millis);
        let removed_at = removed_at.ok_or_else(|| broken("user"))?;
        Ok(Some(removed_at).filter(|removed_at| *removed_at <= at))
    }

    /// Takes the mark from a removed user, and writes the event: both or neither. Whoever has no mark stays as they are.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn reinstate_user(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        event: &Event,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        const USER: usize = 0;
        let changes = vec![self.workspaces.unmark_removed(workspace, user, now), self.activity.put(event)?];
        match transaction::commit(&self.client, changes).await? {
            Outcome::Refused(refused) if !refused.condition_failed(USER) => Err(refused.unexpected()),
            Outcome::Committed | Outcome::Refused(_) => Ok(()),
        }
    }
}

/// Why a user whose entry is at `index` cannot have one more key.
fn no_more_keys(refused: &Refused, index: usize, quota: u32) -> Error {
    let removed = refused.item_before(index).is_some_and(|user| user.contains_key(workspaces::REMOVED_AT));
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

//! Records in `DynamoDB`: one file a table, and here the changes that touch several of them in one transaction.
//!
//! A key is four items in two tables, kept in step with each other and with the audit trail:
//!
//! | table | item | says |
//! | --- | --- | --- |
//! | `keys` | the key | everything of it, its hash included |
//! | `workspaces` | `NAME#<folded name>` | which key has the name |
//! | `workspaces` | `MEMBER#<user>#<key id>` | the key is the user's |
//! | `workspaces` | `USER#<user>` | how many keys the user has |
//! | `activity` | an event | who made or deleted it |

pub mod activity;
pub mod keys;
mod transaction;
pub mod workspaces;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};

use crate::activity::Event;
use crate::error::Error;
use crate::record::HashedKey;
use activity::Activity;
use keys::{Deletable, Keys};
use transaction::Outcome;
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

/// What a bootstrap demands of its workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// That it has never been bootstrapped.
    First,
    /// Nothing.
    BreakGlass,
}

impl Store {
    /// Takes the names of the tables, and how long an event is kept.
    #[must_use]
    pub fn new(
        client: Client,
        keys: String,
        workspaces: String,
        activity: String,
        activity_retention: TimeDelta,
    ) -> Self {
        Self {
            keys: Keys::new(client.clone(), keys),
            workspaces: Workspaces::new(workspaces),
            activity: Activity::new(activity, activity_retention),
            client,
        }
    }

    /// Writes a new key with its name, its member entry, its user's count and the event: all of them or none.
    ///
    /// # Errors
    ///
    /// - [`Error::NameTaken`]: another key of the workspace has the name, and is not past its ttl.
    /// - [`Error::QuotaReached`]: the user has `quota` keys.
    /// - [`Error::UserRemoved`]: the user was removed.
    /// - [`Error::AlreadyBootstrapped`]: `bootstrap` is [`Bootstrap::First`], and it is not the first.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn create_key(
        &self,
        new: &HashedKey,
        quota: u32,
        bootstrap: Option<Bootstrap>,
        event: &Event,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        const KEY: usize = 0;
        const NAME: usize = 1;
        const USER: usize = 3;
        const BOOTSTRAP: usize = 5;
        let mut changes = vec![
            self.keys.put(new)?,
            self.workspaces.put_name(&new.key, now),
            self.workspaces.put_member(&new.key),
            self.workspaces.count_one_more(&new.key, quota),
            self.activity.put(event)?,
        ];
        changes.extend(
            bootstrap.map(|bootstrap| self.workspaces.put_bootstrap(&new.key.workspace_id, bootstrap)),
        );
        let Outcome::Refused(refused) = transaction::commit(&self.client, changes).await? else {
            return Ok(());
        };
        if refused.condition_failed(BOOTSTRAP) {
            Err(Error::AlreadyBootstrapped)
        } else if refused.condition_failed(USER) {
            let removed =
                refused.item_before(USER).is_some_and(|user| user.contains_key(workspaces::REMOVED_AT));
            Err(if removed { Error::UserRemoved } else { Error::QuotaReached(quota) })
        } else if refused.condition_failed(NAME) {
            Err(Error::NameTaken)
        } else if refused.condition_failed(KEY) {
            Err(Error::Broken(format!("a key {} exists already", new.key.key_id)))
        } else {
            Err(refused.unexpected())
        }
    }

    /// Deletes a key with its name, its member entry and its place in its user's count, and writes the event: all of
    /// it or nothing. A name that another key has taken over since is left alone.
    ///
    /// # Errors
    ///
    /// - [`Error::NotFound`]: the key is gone, or was changed since `key` was read.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn delete_key(&self, key: &Deletable, event: &Event) -> Result<(), Error> {
        const KEY: usize = 0;
        let changes = vec![
            self.keys.delete(key),
            self.workspaces.delete_name(key),
            self.workspaces.delete_member(key),
            self.workspaces.count_one_less(key),
            self.activity.put(event)?,
        ];
        match transaction::commit(&self.client, changes).await? {
            Outcome::Committed => Ok(()),
            Outcome::Refused(refused) if refused.condition_failed(KEY) => Err(Error::NotFound),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }
}

fn text(value: &(impl ToString + ?Sized)) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

fn number(value: &impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// An item that cannot be read or written. The message of the cause names types and attributes, never a value.
fn broken(what: &str, cause: &serde_dynamo::Error) -> Error {
    Error::Broken(format!("a stored {what} is not as it should be: {cause}"))
}

//! The table `keys`: one item a key, found by its id; indexes without hashes: four by workspace, and `by_due` by when time
//! does something to a key.

use std::cmp::Ordering;
use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update};
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::KeyOwner;
use keygate_core::key::{HashedKey, Key};
use keygate_core::lifecycle::KeySchedule;
use keygate_core::pepper::SecretHash;
use keygate_core::random::fill_with_random_bytes;
use keygate_core::token::TokenKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::pagination::Found;
use crate::store::walk::{Item, walk};
use crate::store::{broken, bytes, mark_used, number, text, unless_condition_failed};

/// A key without its hashes. The roles name the same attributes: whoever asks for another one is denied.
pub(super) const UNHASHED: &str = "key_id, workspace_id, user_id, #name, name_folded, description, scopes, endpoints, created_at, created_by, revision, \
     expires_at, #ttl, disabled_at, last_used_at, previous_expires_at, previous_transferred, unclaimed, rotation, due_at";

/// Over how many parts of the index the keys of an hour are spread, so that many keys which expire in the same hour can be
/// written at the same time. A change would leave keys in parts that nobody reads.
const DUE_SHARDS: u8 = 4;

/// How many keys one page of a scan reads.
const PAGE: i32 = 500;

/// How many pages of a user's keys are read at most, of up to a megabyte each: thousands of keys.
const MAX_PAGES_OF_USER: usize = 4;
/// How many keys that are due one page has. Each is handled before the next page is read.
const DUE_PAGE: i32 = 100;

/// The table.
#[derive(Clone, Debug)]
pub struct KeysTable {
    client: Client,
    table: String,
}

/// A key as it is stored but for its hashes, which most roles may not read.
#[derive(Clone, Debug, Deserialize)]
pub struct UnhashedKey {
    /// The key.
    #[serde(flatten)]
    pub key: Key,
    /// The name as it is compared, and as its entry is called.
    pub name_folded: String,
}

/// What the index of what is due has of a key.
#[derive(Clone, Debug, Deserialize)]
pub struct DueKey {
    /// The key.
    pub key_id: KeyId,
    /// Its tenant.
    pub workspace_id: WorkspaceId,
    /// Whose it is.
    pub user_id: UserId,
    /// Which state of the key this is.
    pub revision: u64,
    /// When time does something to it next.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub due_at: DateTime<Utc>,
    /// What decides that.
    #[serde(flatten)]
    pub schedule: KeySchedule,
}

impl DueKey {
    /// The key, and whose it is.
    #[must_use]
    pub fn owner(&self) -> KeyOwner {
        KeyOwner {
            workspace_id: self.workspace_id.clone(),
            user_id: self.user_id.clone(),
            key_id: self.key_id,
        }
    }
}

/// Where a page of an hour's due keys begins.
#[derive(Clone, Debug, Default)]
pub struct DuePlace {
    shard: u8,
    after: Option<Item>,
}

impl DuePlace {
    fn first_of(shard: u8) -> Self {
        Self { shard, after: None }
    }
}

/// What is read of a key that nobody uses.
#[derive(Clone, Debug, Deserialize)]
pub struct UnusedKey {
    /// The key.
    pub key_id: KeyId,
    /// Its tenant.
    pub workspace_id: WorkspaceId,
    /// Whose it is.
    pub user_id: UserId,
    /// Which state of the key this is.
    pub revision: u64,
    /// When it was made.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub created_at: DateTime<Utc>,
    /// When it was last used; 1970, if never.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub last_used_at: DateTime<Utc>,
    /// When it was last announced that it will be disabled.
    #[serde(default, with = "chrono::serde::ts_seconds_option")]
    pub unused_notice_at: Option<DateTime<Utc>>,
    /// Of which state of the key.
    pub unused_notice_revision: Option<u64>,
}

impl UnusedKey {
    /// Since when nobody has used it: since its last use, or its creation if there was none.
    #[must_use]
    pub fn unused_since(&self) -> DateTime<Utc> {
        self.created_at.max(self.last_used_at)
    }

    /// When it was announced that it will be disabled. A notice is over when the key is used or changed: whoever switches
    /// a key on again has as long as everybody else.
    #[must_use]
    pub fn noticed_at(&self) -> Option<DateTime<Utc>> {
        let is_of_this_state = self.unused_notice_revision == Some(self.revision);
        self.unused_notice_at.filter(|at| is_of_this_state && self.last_used_at < *at)
    }
}

/// What comes of a key's being unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// It is announced that it will be disabled.
    Notice,
    /// It is disabled.
    Disabling,
}

/// The order of a list. Each is an index of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// By the name as it is compared.
    Name,
    /// By whose the keys are.
    User,
    /// By time of creation: by id, which begins with it and is a total order where several keys are made in a second.
    CreatedAt,
    /// By time of last use, never used ones first.
    LastUsedAt,
}

impl Sort {
    fn index(self) -> &'static str {
        match self {
            Self::Name => "by_name",
            Self::User => "by_user",
            Self::CreatedAt => "by_created_at",
            Self::LastUsedAt => "by_last_used_at",
        }
    }

    /// Where a key stands in the index.
    fn position(self, key: &Key) -> KeyPosition {
        let sort_value = match self {
            Self::Name => key.name.folded(),
            Self::User => key.user_id.to_string(),
            Self::CreatedAt => key.key_id.to_string(),
            Self::LastUsedAt => key.last_used_at.map_or(0, |at| at.timestamp()).to_string(),
        };
        KeyPosition { sort_value, key_id: key.key_id }
    }

    /// Which of two positions comes first from small to large values; keys of the same value by their id.
    fn order(self, one: &KeyPosition, other: &KeyPosition) -> Ordering {
        let by_value = match self {
            Self::LastUsedAt => {
                let seconds = |position: &KeyPosition| position.sort_value.parse().unwrap_or(0_i64);
                seconds(one).cmp(&seconds(other))
            }
            Self::Name | Self::User | Self::CreatedAt => one.sort_value.cmp(&other.sort_value),
        };
        by_value.then_with(|| one.key_id.to_bytes().cmp(&other.key_id.to_bytes()))
    }

    fn attribute(self) -> &'static str {
        match self {
            Self::Name => "name_folded",
            Self::User => "user_id",
            Self::CreatedAt => "key_id",
            Self::LastUsedAt => "last_used_at",
        }
    }
}

/// Where a key stands in an index, whether or not it is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPosition {
    /// The value that the index is sorted by.
    pub sort_value: String,
    /// Tells keys with the same value apart.
    pub key_id: KeyId,
}

/// A walk through an index, in one direction.
#[derive(Clone, Copy, Debug)]
pub struct KeyQuery<'a> {
    /// Whose keys.
    pub workspace: &'a WorkspaceId,
    /// Which index.
    pub sort: Sort,
    /// From small to large values.
    pub ascending: bool,
    /// After which key; from the edge, if not said.
    pub after: Option<&'a KeyPosition>,
}

/// `KEYS_TABLE`.
pub(super) fn table_name(environment: &Environment) -> Result<String, InvalidVariable> {
    environment.required("KEYS_TABLE", "must be the name of the table of keys")
}

impl KeysTable {
    /// Takes the table's name from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self { client, table: table_name(environment)? })
    }

    /// Reads a key with its hash: one item, strongly consistent, so that a deleted key is refused at once.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: the item is not a key, or is another one.
    pub async fn hashed(&self, id: KeyId) -> Result<Option<HashedKey>, Error> {
        let answer =
            self.client.get_item().table_name(&self.table).key("key_id", text(&id)).consistent_read(true);
        let answer = answer.send().await.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        answer.item.map(|item| key_of(id, item)).transpose()
    }

    /// Reads a key without its hashes, strongly consistent. A key past its ttl is gone.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: the item is not a key, or is another one.
    pub async fn unhashed(&self, id: KeyId, now: DateTime<Utc>) -> Result<Option<UnhashedKey>, Error> {
        let stored: Option<UnhashedKey> = self.read(id, UNHASHED).await?;
        Ok(stored.filter(|stored| !stored.key.is_gone(now)))
    }

    /// Reads a key with what decides about its tokens, strongly consistent. A key past its ttl is gone.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: the item is not a key, or is another one.
    pub async fn of_tokens(&self, id: KeyId, now: DateTime<Utc>) -> Result<Option<TokenKey>, Error> {
        let stored: Option<TokenKey> = self.read(id, &format!("{UNHASHED}, token_generation")).await?;
        Ok(stored.filter(|stored| !stored.key.is_gone(now)))
    }

    async fn read<T: DeserializeOwned>(&self, id: KeyId, attributes: &str) -> Result<Option<T>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("key_id", text(&id))
            .projection_expression(attributes)
            .expression_attribute_names("#name", "name")
            .expression_attribute_names("#ttl", "ttl")
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        answer.item.map(|item| key_of(id, item)).transpose()
    }

    /// Walks through an index until `limit` keys are found that are `wanted`; `None` wants every one. Keys past their
    /// ttl are gone. What it reads is bounded, so it may come back with fewer keys, even none, and a place to go on.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an item is not a key.
    pub async fn walk(
        &self,
        walk: KeyQuery<'_>,
        limit: usize,
        wanted: Option<&(dyn Fn(&Key) -> bool + Send + Sync)>,
        now: DateTime<Utc>,
    ) -> Result<Found<KeyPosition, Key>, Error> {
        let start = walk.after.map(|position| walk.start(position)).transpose()?;
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(walk.sort.index())
            .key_condition_expression("workspace_id = :workspace")
            .expression_attribute_values(":workspace", text(walk.workspace))
            .scan_index_forward(walk.ascending);
        let read = |item| {
            let position = position(walk.sort, &item)?;
            let key: Key = serde_dynamo::from_item(item).map_err(|_| broken("key"))?;
            let is_wanted = !key.is_gone(now) && wanted.is_none_or(|wanted| wanted(&key));
            Ok(is_wanted.then_some((position, key)))
        };
        let place = |item: &Item| position(walk.sort, item);
        self::walk(query, start, limit, wanted.is_none(), place, read).await
    }

    /// All keys of a user, in the order of the index, which is a little behind the table. Keys past their ttl are gone. What it reads
    /// is bounded.
    ///
    /// # Errors
    ///
    /// - [`Error::TooManyKeys`]: the user has more keys than the bound lets it read.
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an item is not a key.
    pub async fn of_user(
        &self,
        workspace: &WorkspaceId,
        user: &UserId,
        now: DateTime<Utc>,
    ) -> Result<Vec<Key>, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(Sort::User.index())
            .key_condition_expression("workspace_id = :workspace AND user_id = :user")
            .expression_attribute_values(":workspace", text(workspace))
            .expression_attribute_values(":user", text(user));
        let mut keys = Vec::new();
        let mut start = None;
        for _ in 0..MAX_PAGES_OF_USER {
            let answer = query.clone().set_exclusive_start_key(start.take()).send().await;
            let answer = answer.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
            for item in answer.items.unwrap_or_default() {
                let key: Key = serde_dynamo::from_item(item).map_err(|_| broken("key"))?;
                keys.extend((!key.is_gone(now)).then_some(key));
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(keys);
            }
        }
        Err(Error::TooManyKeys)
    }

    /// A page of the keys that are due within the hour of `hour`, up to `now`, and the place where the next one begins: any
    /// number of keys may be due in the same hour. The index is a little behind the table. What is not a key is logged and
    /// left out.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn due(
        &self,
        hour: DateTime<Utc>,
        now: DateTime<Utc>,
        place: DuePlace,
    ) -> Result<(Vec<DueKey>, Option<DuePlace>), Error> {
        let DuePlace { shard, after } = place;
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by_due")
            .key_condition_expression("due_bucket = :bucket AND due_at <= :now")
            .expression_attribute_values(":bucket", AttributeValue::S(due_bucket(hour, shard)))
            .expression_attribute_values(":now", number(&now.timestamp()))
            .limit(DUE_PAGE)
            .set_exclusive_start_key(after)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let next = match answer.last_evaluated_key {
            Some(after) => Some(DuePlace { shard, after: Some(after) }),
            None => Some(shard + 1).filter(|shard| *shard < DUE_SHARDS).map(DuePlace::first_of),
        };
        Ok((keys_of(answer.items.unwrap_or_default()), next))
    }

    /// A page of the active keys of all workspaces that nobody has used `since`, and the place where the next one begins. The
    /// index is a little behind the table. What is not a key is logged and left out.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn unused(
        &self,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
        place: Option<&str>,
    ) -> Result<(Vec<UnusedKey>, Option<String>), Error> {
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name(Sort::LastUsedAt.index())
            .filter_expression(
                "last_used_at <= :since AND created_at <= :since AND attribute_not_exists(disabled_at) \
                 AND (attribute_not_exists(expires_at) OR expires_at > :now)",
            )
            .projection_expression(
                "key_id, workspace_id, user_id, revision, created_at, last_used_at, unused_notice_at, unused_notice_revision",
            )
            .expression_attribute_values(":since", number(&since.timestamp()))
            .expression_attribute_values(":now", number(&now.timestamp()))
            .limit(PAGE)
            .set_exclusive_start_key(place.and_then(place_in_index))
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let keys = keys_of(answer.items.unwrap_or_default());
        Ok((keys, answer.last_evaluated_key.as_ref().and_then(place_of)))
    }

    /// Writes that a key was used, unless it was written since `due`, and never backwards. That a key was used changes
    /// no revision.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn mark_used(&self, id: KeyId, at: DateTime<Utc>, due: DateTime<Utc>) -> Result<(), Error> {
        mark_used(&self.client, &self.table, HashMap::from([("key_id".to_owned(), text(&id))]), at, due).await
    }

    /// Replaces a key's hash by one of the same secret under a newer pepper, if it is still the one that was read.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn rehash(&self, id: KeyId, stored: &SecretHash, renewed: &SecretHash) -> Result<(), Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("key_id", text(&id))
            .update_expression("SET #hash = :renewed, pepper_version = :version")
            .condition_expression("#hash = :stored")
            .expression_attribute_names("#hash", "hash")
            .expression_attribute_values(":stored", bytes(stored.as_bytes()))
            .expression_attribute_values(":renewed", bytes(renewed.as_bytes()))
            .expression_attribute_values(":version", number(&renewed.pepper_version()));
        unless_condition_failed(update.send().await)
    }

    /// The change that writes a new key.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the key cannot be written as an item.
    pub(super) fn put(&self, new: &HashedKey) -> Result<TransactWriteItem, Error> {
        let mut item: Item = serde_dynamo::to_item(new).map_err(|_| broken("key"))?;
        item.insert("name_folded".to_owned(), text(&new.key.name.folded()));
        item.extend(
            new.key.due_at.map(|due_at| ("due_bucket".to_owned(), bucket_of(new.key.key_id, due_at))),
        );
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(key_id)")
            .build()
            .expect("a table and an item");
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The change that makes of `before` what `after` says, hashes aside.
    pub(super) fn update(&self, before: &Key, after: &Key) -> TransactWriteItem {
        let scopes = after.scopes.iter().map(text).collect();
        let endpoints: Vec<_> = after.endpoints.iter().map(text).collect();
        let mut set = vec!["#name = :name, name_folded = :folded, scopes = :scopes, revision = :revision"];
        let mut remove = Vec::new();
        let mut update = Update::builder()
            .table_name(&self.table)
            .key("key_id", text(&after.key_id))
            .condition_expression("revision = :before")
            .expression_attribute_names("#name", "name")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":before", number(&before.revision))
            .expression_attribute_values(":revision", number(&after.revision))
            .expression_attribute_values(":name", text(&after.name))
            .expression_attribute_values(":folded", text(&after.name.folded()))
            .expression_attribute_values(":scopes", AttributeValue::L(scopes));
        let seconds = |time: Option<DateTime<Utc>>| time.map(|time| number(&time.timestamp()));
        for (name, placeholder, assignment, value) in [
            (
                "description",
                ":description",
                "description = :description",
                after.description.as_ref().map(text),
            ),
            (
                "endpoints",
                ":endpoints",
                "endpoints = :endpoints",
                (!endpoints.is_empty()).then(|| AttributeValue::L(endpoints)),
            ),
            ("expires_at", ":expires", "expires_at = :expires", seconds(after.expires_at)),
            ("#ttl", ":ttl", "#ttl = :ttl", seconds(after.ttl)),
            ("disabled_at", ":disabled", "disabled_at = :disabled", seconds(after.disabled_at)),
            ("due_at", ":due", "due_at = :due", seconds(after.due_at)),
            (
                "due_bucket",
                ":bucket",
                "due_bucket = :bucket",
                after.due_at.map(|due_at| bucket_of(after.key_id, due_at)),
            ),
        ] {
            match value {
                Some(value) => {
                    set.push(assignment);
                    update = update.expression_attribute_values(placeholder, value);
                }
                None => remove.push(name),
            }
        }
        let mut expression = expression(&set, &remove);
        // What is switched off stays revoked when it is switched on again.
        if before.disabled_at.is_none() && after.disabled_at.is_some() {
            expression.push_str(NEXT_GENERATION);
            update = update.expression_attribute_values(":one", number(&1));
        }
        let update = update.update_expression(expression).build();
        TransactWriteItem::builder().update(update.expect("a table, a key and an update")).build()
    }

    /// The change that makes of `before` what `after` says about its secrets, gives it another hash, and revokes its tokens, if so
    /// asked.
    pub(super) fn rotate(
        &self,
        before: &Key,
        after: &Key,
        hash: &SecretHash,
        revoke_tokens: bool,
    ) -> TransactWriteItem {
        let update = self
            .replace_hash(before, after, "pepper_version = :version", revoke_tokens)
            .expression_attribute_values(":hash", bytes(hash.as_bytes()))
            .expression_attribute_values(":version", number(&hash.pepper_version()));
        let update = update.build().expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// The condition that a key has one of these hashes, and is as it was read.
    pub(super) fn check_hash(&self, key: &Key, hashes: &[SecretHash]) -> TransactWriteItem {
        let names: Vec<_> = (0..hashes.len()).map(|index| format!(":hash{index}")).collect();
        let mut check = ConditionCheck::builder()
            .table_name(&self.table)
            .key("key_id", text(&key.key_id))
            .condition_expression(format!("revision = :revision AND #hash IN ({})", names.join(", ")))
            .expression_attribute_names("#hash", "hash")
            .expression_attribute_values(":revision", number(&key.revision));
        for (name, hash) in names.into_iter().zip(hashes) {
            check = check.expression_attribute_values(name, bytes(hash.as_bytes()));
        }
        let check = check.build().expect("a table, a key and a condition");
        TransactWriteItem::builder().condition_check(check).build()
    }

    /// The change that makes `before` the key of another user, with a hash that is no secret's. The secret in use goes on as
    /// `after` says; its tokens end.
    ///
    /// The new user is given no secret, so none is made: no one knows what 32 random bytes are the hash of, under any pepper.
    pub(super) fn transfer(&self, before: &Key, after: &Key) -> TransactWriteItem {
        let mut of_no_secret = [0; 32];
        fill_with_random_bytes(&mut of_no_secret);
        let update = self
            .replace_hash(before, after, "user_id = :user", true)
            .expression_attribute_values(":hash", bytes(&of_no_secret))
            .expression_attribute_values(":user", text(&after.user_id));
        let update = update.build().expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// What a rotation and a handover have in common. The database moves the hash of the secret in use itself, so no function has
    /// to read it. That of an unclaimed key is the previous one already.
    fn replace_hash(
        &self,
        before: &Key,
        after: &Key,
        assignment: &'static str,
        revoke_tokens: bool,
    ) -> UpdateBuilder {
        let mut set = vec!["#hash = :hash, revision = :revision, rotation = :rotation", assignment];
        let mut remove = Vec::new();
        let mut update = Update::builder()
            .table_name(&self.table)
            .key("key_id", text(&before.key_id))
            .condition_expression("revision = :before")
            .expression_attribute_names("#hash", "hash")
            .expression_attribute_values(":before", number(&before.revision))
            .expression_attribute_values(":revision", number(&after.revision))
            .expression_attribute_values(":rotation", number(&after.rotation));
        match after.previous_expires_at {
            Some(ends) => {
                if !before.unclaimed {
                    set.push("previous_hash = #hash, previous_pepper_version = pepper_version");
                }
                set.push("previous_expires_at = :ends");
                update = update.expression_attribute_values(":ends", number(&ends.timestamp()));
                if after.previous_transferred {
                    set.push("previous_transferred = :true");
                } else {
                    remove.push("previous_transferred");
                }
            }
            None => remove.push(OVERLAP),
        }
        if after.unclaimed {
            set.push("unclaimed = :true");
        } else {
            remove.push("unclaimed");
        }
        if after.unclaimed || after.previous_expires_at.is_some() && after.previous_transferred {
            update = update.expression_attribute_values(":true", AttributeValue::Bool(true));
        }
        if let Some(due_at) = after.due_at {
            set.push(DUE_NEXT);
            update = update
                .expression_attribute_values(":next", number(&due_at.timestamp()))
                .expression_attribute_values(":bucket", bucket_of(after.key_id, due_at));
        } else {
            remove.push(NOTHING_DUE);
        }
        let mut expression = expression(&set, &remove);
        if revoke_tokens {
            expression.push_str(NEXT_GENERATION);
            update = update.expression_attribute_values(":one", number(&1));
        }
        update.update_expression(expression)
    }

    /// The change that says of a key what is due next, once what was due is announced. The end of an overlap takes the
    /// previous hash away.
    pub(super) fn move_on(
        &self,
        due: &DueKey,
        next: Option<DateTime<Utc>>,
        overlap_ended: bool,
    ) -> TransactWriteItem {
        let mut set = Vec::new();
        let mut remove = Vec::new();
        let mut update = Update::builder()
            .table_name(&self.table)
            .key("key_id", text(&due.key_id))
            .condition_expression("revision = :revision AND due_at = :due")
            .expression_attribute_values(":revision", number(&due.revision))
            .expression_attribute_values(":due", number(&due.due_at.timestamp()));
        if overlap_ended {
            remove.push(OVERLAP);
        }
        if let Some(next) = next {
            set.push(DUE_NEXT);
            update = update
                .expression_attribute_values(":next", number(&next.timestamp()))
                .expression_attribute_values(":bucket", bucket_of(due.key_id, next));
        } else {
            remove.push(NOTHING_DUE);
        }
        let update = update.update_expression(expression(&set, &remove)).build();
        TransactWriteItem::builder().update(update.expect("a table, a key and an update")).build()
    }

    /// The change of a key that is unused, if it is as it was read and nobody has used it since: what comes of it `at` a
    /// time. A notice that was given is not given again.
    pub(super) fn unused_change(
        &self,
        key: &UnusedKey,
        consequence: Consequence,
        at: DateTime<Utc>,
    ) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.table)
            .key("key_id", text(&key.key_id))
            .expression_attribute_values(":revision", number(&key.revision))
            .expression_attribute_values(":used", number(&key.last_used_at.timestamp()))
            .expression_attribute_values(":at", number(&at.timestamp()));
        let update = match consequence {
            Consequence::Notice => update
                .update_expression("SET unused_notice_at = :at, unused_notice_revision = :revision")
                // The index may not have the notice of a moment ago.
                .condition_expression(
                    "revision = :revision AND last_used_at = :used AND (attribute_not_exists(unused_notice_at) \
                     OR unused_notice_revision <> :revision OR unused_notice_at <= :used)",
                ),
            Consequence::Disabling => update
                .update_expression(format!("SET disabled_at = :at, revision = :next {NEXT_GENERATION}"))
                .condition_expression("revision = :revision AND last_used_at = :used")
                .expression_attribute_values(":next", number(&(key.revision + 1)))
                .expression_attribute_values(":one", number(&1)),
        };
        let update = update.build().expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// The condition that there is no such key.
    pub(super) fn absent(&self, id: KeyId) -> TransactWriteItem {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .key("key_id", text(&id))
            .condition_expression("attribute_not_exists(key_id)")
            .build()
            .expect("a table, a key and a condition");
        TransactWriteItem::builder().condition_check(check).build()
    }

    /// The change that revokes every token of a key, which is no change of the key.
    pub(super) fn next_generation(&self, id: KeyId) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.table)
            .key("key_id", text(&id))
            .update_expression(NEXT_GENERATION)
            .condition_expression("attribute_exists(key_id)")
            .expression_attribute_values(":one", number(&1))
            .build()
            .expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// The change that deletes a key as it was read.
    pub(super) fn delete(&self, key: &Key) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(&self.table)
            .key("key_id", text(&key.key_id))
            .condition_expression("revision = :revision")
            .expression_attribute_values(":revision", number(&key.revision))
            .build()
            .expect("a table and a key");
        TransactWriteItem::builder().delete(delete).build()
    }
}

/// Reads an item as the key that was asked for. Whatever stands between may answer one request with another's item, and a
/// key's own id is what says whose it is.
fn key_of<T: DeserializeOwned>(id: KeyId, item: HashMap<String, AttributeValue>) -> Result<T, Error> {
    if item.get("key_id") != Some(&text(&id)) {
        return Err(broken("key"));
    }
    serde_dynamo::from_item(item).map_err(|_| broken("key"))
}

/// The keys among items of an index. What is not a key must not hold up all others.
fn keys_of<T: DeserializeOwned>(items: Vec<Item>) -> Vec<T> {
    let mut keys = Vec::with_capacity(items.len());
    for item in items {
        let key_id = item.get("key_id").cloned();
        if let Ok(key) = serde_dynamo::from_item(item) {
            keys.push(key);
        } else {
            tracing::error!(?key_id, error = %broken("key"), "unreadable key skipped");
        }
    }
    keys
}

/// Where a page of the index by last use begins, in a text: no part of it has spaces.
fn place_of(item: &Item) -> Option<String> {
    let text = |name: &str| item.get(name)?.as_s().ok();
    let last_used_at = item.get("last_used_at")?.as_n().ok()?;
    Some(format!("{} {last_used_at} {}", text("workspace_id")?, text("key_id")?))
}

fn place_in_index(place: &str) -> Option<Item> {
    let [workspace, last_used_at, key_id] = place.splitn(3, ' ').collect::<Vec<_>>().try_into().ok()?;
    Some(HashMap::from([
        ("workspace_id".to_owned(), text(workspace)),
        ("last_used_at".to_owned(), AttributeValue::N(last_used_at.to_owned())),
        ("key_id".to_owned(), text(key_id)),
    ]))
}

/// Makes an end of every token of the key.
const NEXT_GENERATION: &str = "ADD token_generation :one";
/// What an overlap adds to a key.
const OVERLAP: &str = "previous_hash, previous_pepper_version, previous_expires_at, previous_transferred";
/// What is due next, and where the index of that has the key.
const DUE_NEXT: &str = "due_at = :next, due_bucket = :bucket";
/// The same of a key to which time does nothing.
const NOTHING_DUE: &str = "due_at, due_bucket";

fn expression(set: &[&str], remove: &[&str]) -> String {
    let clause = |word: &str, parts: &[&str]| match parts {
        [] => String::new(),
        parts => format!("{word} {} ", parts.join(", ")),
    };
    clause("SET", set) + &clause("REMOVE", remove)
}

fn bucket_of(id: KeyId, due_at: DateTime<Utc>) -> AttributeValue {
    AttributeValue::S(due_bucket(due_at, id.to_bytes()[15] % DUE_SHARDS))
}

fn due_bucket(hour: DateTime<Utc>, shard: u8) -> String {
    format!("{}#{shard}", hour.format("%Y-%m-%dT%H"))
}

impl KeyQuery<'_> {
    /// Walks through keys that are all there, as through an index.
    #[must_use]
    pub fn through(
        &self,
        keys: Vec<Key>,
        limit: usize,
        wanted: Option<&(dyn Fn(&Key) -> bool + Send + Sync)>,
    ) -> Found<KeyPosition, Key> {
        let mut keys: Vec<_> = keys
            .into_iter()
            .filter(|key| wanted.is_none_or(|wanted| wanted(key)))
            .map(|key| (self.sort.position(&key), key))
            .collect();
        let order = |one: &KeyPosition, other: &KeyPosition| {
            let order = self.sort.order(one, other);
            if self.ascending { order } else { order.reverse() }
        };
        keys.sort_by(|(one, _), (other, _)| order(one, other));
        let mut items: Vec<_> = keys
            .into_iter()
            .filter(|(position, _)| self.after.is_none_or(|after| order(after, position).is_lt()))
            .take(limit + 1)
            .collect();
        let has_more = items.len() > limit;
        items.truncate(limit);
        let rest = items.last().filter(|_| has_more).map(|(position, _)| position.clone());
        Found { items, rest }
    }

    /// Where a query goes on, in the database's form.
    fn start(&self, position: &KeyPosition) -> Result<Item, Error> {
        let mut start = HashMap::from([
            ("workspace_id".to_owned(), text(self.workspace)),
            ("key_id".to_owned(), text(&position.key_id)),
        ]);
        let value = match self.sort {
            Sort::LastUsedAt => {
                let seconds: i64 = position
                    .sort_value
                    .parse()
                    .map_err(|_| Error::Broken("a position without a time".to_owned()))?;
                number(&seconds)
            }
            Sort::Name | Sort::User | Sort::CreatedAt => text(&position.sort_value),
        };
        start.insert(self.sort.attribute().to_owned(), value);
        Ok(start)
    }
}

fn position(sort: Sort, item: &Item) -> Result<KeyPosition, Error> {
    let value = |attribute: &str| match item.get(attribute) {
        Some(AttributeValue::S(value) | AttributeValue::N(value)) => Ok(value.clone()),
        _ => Err(Error::Broken(format!("a stored key has no {attribute}"))),
    };
    let key_id =
        value("key_id")?.parse().map_err(|_| Error::Broken("a stored key has no valid key_id".to_owned()))?;
    Ok(KeyPosition { sort_value: value(sort.attribute())?, key_id })
}

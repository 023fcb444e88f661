//! Lists of keys: four orders through the indexes of the table `keys` by workspace, and the order by last use through the
//! index of the table `usage`.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::{Key, LastUse, UsedKey};
use serde::{Deserialize, Serialize};

use crate::aws::dynamodb::DynamoDb;
use crate::store::batch;
use crate::store::item::{Item, broken, text};
use crate::store::keys::{KeysTable, item_key};
use crate::store::paged_query::PagedQuery;
use crate::store::pagination::{FoundItems, Section};
use crate::store::usage::{self, BY_LAST_USED_AT, UsageTable};

/// The attributes of a key that its indexes project. The role of `list-keys` lists the same attributes.
const LISTED: &str = "key_id, workspace_id, user_id, #name, name_folded, description, scopes, endpoints, networks, metadata, limits, created_at, created_by, revision, \
     expires_at, #ttl, disabled_at, leaked_at";

/// The maximum number of pages, of up to a megabyte each, that are read of one user's keys: thousands of keys.
const MAX_PAGES_OF_USER: usize = 4;

/// The order of a list. Each order has its own index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// By folded name.
    Name,
    /// By owner.
    User,
    /// By the user who created the key.
    CreatedBy,
    /// By creation time. The key id begins with it, and orders keys of the same second.
    CreatedAt,
    /// By last use; keys that were never used come first.
    LastUsedAt,
}

impl Sort {
    fn index(self) -> &'static str {
        match self {
            Self::Name => "by_name",
            Self::User => "by_user",
            Self::CreatedBy => "by_created_by",
            Self::CreatedAt => "by_created_at",
            Self::LastUsedAt => BY_LAST_USED_AT,
        }
    }

    /// The position of a key in the index.
    fn position(self, used: &UsedKey) -> KeyPosition {
        let UsedKey { record: key, last_use } = used;
        let sort_value = match self {
            Self::Name => key.name.folded(),
            Self::User => key.user_id.to_string(),
            Self::CreatedBy => key.created_by.to_string(),
            Self::CreatedAt => key.key_id.to_string(),
            Self::LastUsedAt => last_use.as_ref().map_or(0, |last| last.at.timestamp()).to_string(),
        };
        KeyPosition { sort_value, key_id: key.key_id }
    }

    /// Compares two positions in ascending order. Keys with the same value are ordered by their id.
    fn order(self, one: &KeyPosition, other: &KeyPosition) -> Ordering {
        let by_value = match self {
            Self::LastUsedAt => {
                let seconds = |position: &KeyPosition| position.sort_value.parse().unwrap_or(0_i64);
                seconds(one).cmp(&seconds(other))
            }
            Self::Name | Self::User | Self::CreatedBy | Self::CreatedAt => {
                one.sort_value.cmp(&other.sort_value)
            }
        };
        by_value.then_with(|| one.key_id.to_bytes().cmp(&other.key_id.to_bytes()))
    }

    fn attribute(self) -> &'static str {
        match self {
            Self::Name => "name_folded",
            Self::User => "user_id",
            Self::CreatedBy => "created_by",
            Self::CreatedAt => "key_id",
            Self::LastUsedAt => "last_used_at",
        }
    }
}

/// A position in an index. Its key may have been deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPosition {
    /// The sort value of the index.
    pub sort_value: String,
    /// The id of the key, which distinguishes keys with the same value.
    pub key_id: KeyId,
}

/// The filters of a list. A filter that is `None` accepts every key.
#[derive(Clone, Copy, Default)]
pub struct KeyFilter<'a> {
    /// The filter on the key itself.
    pub by_key: Option<&'a (dyn Fn(&Key) -> bool + Send + Sync)>,
    /// The filter on the key with its last use, which is read only if there is this filter.
    pub by_use: Option<&'a (dyn Fn(&UsedKey) -> bool + Send + Sync)>,
}

/// A section of an index.
#[derive(Clone, Copy, Debug)]
pub struct KeyQuery<'a> {
    /// The workspace.
    pub workspace: &'a WorkspaceId,
    /// The index.
    pub sort: Sort,
    /// The range of the index.
    pub section: Section<&'a KeyPosition>,
}

/// Lists keys with their last use.
#[derive(Clone, Debug)]
pub struct KeyLister {
    keys: KeysTable,
    usage: UsageTable,
}

/// The last uses that a list has read.
type LastUses = HashMap<KeyId, Option<LastUse>>;

/// The keys of a section, with the last uses that were read to find them.
#[derive(Debug)]
pub struct FoundKeys {
    found: FoundItems<KeyPosition, Key>,
    last_uses: LastUses,
}

impl FoundKeys {
    /// The number of keys.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the number is shown, and an empty page is a page")]
    pub fn len(&self) -> usize {
        self.found.items.len()
    }

    /// Whether the query has a position to continue from.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.found.rest.is_some()
    }

    /// The first `limit` of the keys.
    #[must_use]
    pub fn first(self, limit: usize) -> Self {
        Self { found: FoundItems::within(limit, self.found.items, self.found.rest), ..self }
    }
}

impl KeyLister {
    /// Reads the table names from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is missing.
    pub fn new(client: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            keys: KeysTable::new(client.clone(), environment)?,
            usage: UsageTable::new(client, environment)?,
        })
    }

    /// Finds the keys of a section that the filter accepts. Keys past their `ttl` are skipped. The number of reads is
    /// bounded, so the result may have fewer keys than the limit, even none, and still a position to continue from.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an item is not valid.
    pub async fn of_workspace(
        &self,
        query: KeyQuery<'_>,
        filter: KeyFilter<'_>,
        now: DateTime<Utc>,
    ) -> Result<FoundKeys, Error> {
        let KeyQuery { workspace, sort, section } = query;
        let start = section.after.map(|position| query.start(position)).transpose()?;
        let request = match sort {
            Sort::LastUsedAt => self.usage.by_last_use(workspace),
            _ => self.keys.by(sort, workspace),
        };
        let mut last_uses = LastUses::new();
        let mut reads = PagedQuery::new(request, &section, start, filter.accepts_all());
        while let Some(items) = reads.next().await? {
            let positions: Vec<_> =
                items.iter().map(|item| position(sort, item)).collect::<Result<_, _>>()?;
            let mut keys = match sort {
                Sort::LastUsedAt => {
                    let read = items.into_iter().map(usage::read_last_use).collect::<Result<Vec<_>, _>>()?;
                    last_uses.extend(read);
                    self.keys.listed(positions.iter().map(|position| position.key_id)).await?
                }
                _ => items.into_iter().map(read_listed).collect::<Result<_, _>>()?,
            };
            keys.retain(|_, key| !key.is_gone(now) && filter.by_key.is_none_or(|accepts| accepts(key)));
            if let Some(accepts) = filter.by_use {
                self.read_last_uses(keys.keys().copied(), &mut last_uses).await?;
                keys.retain(|_, key| accepts(&used(key.clone(), &last_uses)));
            }
            for position in positions {
                if let Some(key) = keys.remove(&position.key_id) {
                    reads.keep(position, key);
                }
            }
        }
        Ok(FoundKeys { found: reads.finish(|item| position(sort, item))?, last_uses })
    }

    /// Finds the keys of a section of one user's keys that the filter accepts, as [`Self::of_workspace`] does. It reads all
    /// keys of the user through an index, which is eventually consistent. The number of reads is bounded.
    ///
    /// # Errors
    ///
    /// - [`Error::TooManyKeys`]: the user has more keys than the bound allows to read.
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an item is not valid.
    pub async fn of_user(
        &self,
        query: KeyQuery<'_>,
        user: &UserId,
        filter: KeyFilter<'_>,
        now: DateTime<Utc>,
    ) -> Result<FoundKeys, Error> {
        let mut keys = self.keys.of_user(query.workspace, user).await?;
        keys.retain(|key| !key.is_gone(now) && filter.by_key.is_none_or(|accepts| accepts(key)));
        let mut last_uses = LastUses::new();
        if query.sort == Sort::LastUsedAt || filter.by_use.is_some() {
            self.read_last_uses(keys.iter().map(|key| key.key_id), &mut last_uses).await?;
        }
        let keys = keys.into_iter().map(|key| used(key, &last_uses));
        let keys = keys.filter(|key| filter.by_use.is_none_or(|accepts| accepts(key))).collect();
        Ok(FoundKeys { found: query.select(keys).map(|key| key.record), last_uses })
    }

    /// Adds the last uses to the keys of a page, and reads those that were not read yet.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn with_last_uses(
        &self,
        FoundKeys { found, mut last_uses }: FoundKeys,
    ) -> Result<FoundItems<KeyPosition, UsedKey>, Error> {
        self.read_last_uses(found.items.iter().map(|(_, key)| key.key_id), &mut last_uses).await?;
        Ok(found.map(|key| used(key, &last_uses)))
    }

    async fn read_last_uses(
        &self,
        keys: impl Iterator<Item = KeyId>,
        last_uses: &mut LastUses,
    ) -> Result<(), Error> {
        let missing: Vec<_> = keys.filter(|id| !last_uses.contains_key(id)).collect();
        last_uses.extend(self.usage.last_uses(missing.iter().copied()).await?);
        // A key whose last use is not found was never used.
        for id in missing {
            last_uses.entry(id).or_default();
        }
        Ok(())
    }
}

/// A key with its last use, of those that were read.
fn used(record: Key, last_uses: &LastUses) -> UsedKey {
    let last_use = last_uses.get(&record.key_id).cloned().flatten();
    UsedKey { record, last_use }
}

impl KeyFilter<'_> {
    fn accepts_all(self) -> bool {
        self.by_key.is_none() && self.by_use.is_none()
    }
}

impl KeysTable {
    /// A query of the keys of a workspace through an index of this table.
    fn by(&self, sort: Sort, workspace: &WorkspaceId) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .index_name(sort.index())
            .key_condition_expression("workspace_id = :workspace")
            .expression_attribute_values(":workspace", text(workspace))
    }

    /// Reads keys with the attributes that the indexes have, by id and eventually consistent.
    async fn listed(&self, ids: impl Iterator<Item = KeyId>) -> Result<HashMap<KeyId, Key>, Error> {
        let ids: HashSet<_> = ids.collect();
        let keys = ids.into_iter().map(item_key).collect();
        let items = batch::get_all(&self.client, &self.table, keys, |wanted| {
            wanted
                .projection_expression(LISTED)
                .expression_attribute_names("#name", "name")
                .expression_attribute_names("#ttl", "ttl")
        });
        items.await?.into_iter().map(read_listed).collect()
    }

    /// Reads all keys of a user in the order of the index. The number of reads is bounded.
    async fn of_user(&self, workspace: &WorkspaceId, user: &UserId) -> Result<Vec<Key>, Error> {
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
            let response = query.clone().set_exclusive_start_key(start.take()).send().await;
            let response = response.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
            for item in response.items.unwrap_or_default() {
                keys.push(read_listed(item)?.1);
            }
            start = response.last_evaluated_key;
            if start.is_none() {
                return Ok(keys);
            }
        }
        Err(Error::TooManyKeys)
    }
}

fn read_listed(item: Item) -> Result<(KeyId, Key), Error> {
    let key: Key = serde_dynamo::from_item(item).map_err(|_| broken("key"))?;
    Ok((key.key_id, key))
}

impl KeyQuery<'_> {
    /// Selects the keys of the section from a complete list, as a query of the index would.
    fn select(&self, keys: Vec<UsedKey>) -> FoundItems<KeyPosition, UsedKey> {
        let Section { ascending, after, limit } = self.section;
        let mut keys: Vec<_> = keys.into_iter().map(|key| (self.sort.position(&key), key)).collect();
        let order = |one: &KeyPosition, other: &KeyPosition| {
            let order = self.sort.order(one, other);
            if ascending { order } else { order.reverse() }
        };
        keys.sort_by(|(one, _), (other, _)| order(one, other));
        keys.retain(|(position, _)| after.is_none_or(|after| order(after, position).is_lt()));
        FoundItems::within(limit, keys, None)
    }

    /// The start of a query in the database's form.
    fn start(&self, position: &KeyPosition) -> Result<Item, Error> {
        if self.sort == Sort::LastUsedAt {
            let seconds = position.sort_value.parse();
            let seconds = seconds.map_err(|_| Error::Broken("a position without a time".to_owned()))?;
            return Ok(usage::index_position(self.workspace, seconds, position.key_id));
        }
        let mut start = item_key(position.key_id);
        start.insert("workspace_id".to_owned(), text(self.workspace));
        start.insert(self.sort.attribute().to_owned(), text(&position.sort_value));
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

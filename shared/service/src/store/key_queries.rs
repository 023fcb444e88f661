//! Lists of keys, through the four indexes of the table `keys` by workspace.

use std::cmp::Ordering;
use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::Key;
use serde::{Deserialize, Serialize};

use crate::store::item::{Item, broken, number, text};
use crate::store::keys::KeysTable;
use crate::store::paged_query::PagedQuery;
use crate::store::pagination::{FoundItems, Section};

/// The maximum number of pages, of up to a megabyte each, that are read of one user's keys: thousands of keys.
const MAX_PAGES_OF_USER: usize = 4;

/// The order of a list. Each order has its own index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// By folded name.
    Name,
    /// By owner.
    User,
    /// By creation time. The key id begins with it, and orders keys of the same second.
    CreatedAt,
    /// By last use; keys that were never used come first.
    LastUsedAt,
}

impl Sort {
    pub(super) fn index(self) -> &'static str {
        match self {
            Self::Name => "by_name",
            Self::User => "by_user",
            Self::CreatedAt => "by_created_at",
            Self::LastUsedAt => "by_last_used_at",
        }
    }

    /// The position of a key in the index.
    fn position(self, key: &Key) -> KeyPosition {
        let sort_value = match self {
            Self::Name => key.name.folded(),
            Self::User => key.user_id.to_string(),
            Self::CreatedAt => key.key_id.to_string(),
            Self::LastUsedAt => key.last_used_at.map_or(0, |at| at.timestamp()).to_string(),
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

/// A position in an index. Its key may have been deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPosition {
    /// The sort value of the index.
    pub sort_value: String,
    /// The id of the key, which distinguishes keys with the same value.
    pub key_id: KeyId,
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

impl KeysTable {
    /// Finds the keys of a section that `wanted` accepts; `None` accepts every key. Keys past their `ttl` are skipped. The
    /// number of reads is bounded, so the result may have fewer keys than the limit, even none, and still a position to
    /// continue from.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an item is not a valid key.
    pub async fn list(
        &self,
        query: KeyQuery<'_>,
        wanted: Option<&(dyn Fn(&Key) -> bool + Send + Sync)>,
        now: DateTime<Utc>,
    ) -> Result<FoundItems<KeyPosition, Key>, Error> {
        let KeyQuery { workspace, sort, section } = query;
        let start = section.after.map(|position| query.start(position)).transpose()?;
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(sort.index())
            .key_condition_expression("workspace_id = :workspace")
            .expression_attribute_values(":workspace", text(workspace));
        let mut reads = PagedQuery::new(request, &section, start, wanted.is_none());
        while let Some(items) = reads.next().await? {
            for item in items {
                let position = position(sort, &item)?;
                let key: Key = serde_dynamo::from_item(item).map_err(|_| broken("key"))?;
                if !key.is_gone(now) && wanted.is_none_or(|wanted| wanted(&key)) {
                    reads.keep(position, key);
                }
            }
        }
        reads.finish(|item| position(sort, item))
    }

    /// Reads all keys of a user in the order of the index, which is eventually consistent. Keys past their `ttl` are
    /// skipped. The number of reads is bounded.
    ///
    /// # Errors
    ///
    /// - [`Error::TooManyKeys`]: the user has more keys than the bound allows to read.
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an item is not a valid key.
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
            let response = query.clone().set_exclusive_start_key(start.take()).send().await;
            let response = response.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
            for item in response.items.unwrap_or_default() {
                let key: Key = serde_dynamo::from_item(item).map_err(|_| broken("key"))?;
                keys.extend((!key.is_gone(now)).then_some(key));
            }
            start = response.last_evaluated_key;
            if start.is_none() {
                return Ok(keys);
            }
        }
        Err(Error::TooManyKeys)
    }
}

impl KeyQuery<'_> {
    /// Selects the keys of the section from a complete list, as a query of the index would.
    #[must_use]
    pub fn find_in(
        &self,
        keys: Vec<Key>,
        wanted: Option<&(dyn Fn(&Key) -> bool + Send + Sync)>,
    ) -> FoundItems<KeyPosition, Key> {
        let Section { ascending, after, limit } = self.section;
        let mut keys: Vec<_> = keys
            .into_iter()
            .filter(|key| wanted.is_none_or(|wanted| wanted(key)))
            .map(|key| (self.sort.position(&key), key))
            .collect();
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

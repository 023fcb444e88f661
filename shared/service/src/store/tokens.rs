//! The table `tokens`: access and refresh tokens, and the families of refresh tokens.
//!
//! | entry | content |
//! | --- | --- |
//! | `TOKEN#<id>` | a token, including its hash |
//! | `FAMILY#<id>` | the unused refresh tokens of a family, and whether the family is revoked |
//! | `LIVE` | the number of working tokens of the key, see `live_tokens` |
//! | `SESSION#<id>`, `CODE#<id>` | sessions and page codes, see `sessions` |
//!
//! All entries are in the partition of their key's id. Deleting a key leaves them behind: without the key they give no
//! access, and their `ttl` removes them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::TransactWriteItem;
use chrono::{DateTime, Utc};
use keygate_core::credential::{FamilyId, KeyId, TokenId};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::token::{Family, HashedToken, Token, family_entry, token_entry};
use serde::de::DeserializeOwned;

use crate::aws::dynamodb::DynamoDb;
use crate::store::expression::{self, Condition, UpdateExpression};
use crate::store::item::{Item, broken, milliseconds, number, seconds, text};
use crate::store::live_tokens::{self, LiveTokens, LiveTokensUpdate};
use crate::store::paged_query::PagedQuery;
use crate::store::pagination::{FoundItems, Section};
use crate::store::{batch, conditional_write};

/// The attributes of a token without its hash, for roles that may not read a hash.
const UNHASHED_TOKEN: &str = "key_id, entry, kind, scopes, endpoints, token_generation, made_in_overlap, created_at, expires_at, last_used_at";

/// The table.
#[derive(Clone, Debug)]
pub struct TokensTable {
    pub(super) client: DynamoDb,
    pub(super) table: String,
}

/// A section of the tokens of a key, in the order of their ids, which is the order of their grants.
#[derive(Clone, Copy, Debug)]
pub struct TokenQuery {
    /// The key.
    pub key_id: KeyId,
    /// The range of its tokens.
    pub section: Section<TokenId>,
}

/// `TOKENS_TABLE`.
pub(super) fn table_name(environment: &Environment) -> Result<String, InvalidVariable> {
    environment.required("TOKENS_TABLE", "must be the name of the table of tokens")
}

impl TokensTable {
    /// Reads the table name from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the variable is missing.
    pub fn new(client: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self { client, table: table_name(environment)? })
    }

    /// Finds the tokens of a section that `wanted` accepts, without their hashes and strongly consistent. `wanted` gets each
    /// token with its family, if the family is stored. The number of reads is bounded, so the result may have fewer tokens
    /// than the limit, even none, and still a position to continue from.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond, or items were still unprocessed when the time was over.
    /// - [`Error::Broken`]: an item is not valid.
    pub async fn list(
        &self,
        query: TokenQuery,
        wanted: impl Fn(&Token, Option<&Family>) -> bool + Send + Sync,
    ) -> Result<FoundItems<TokenId, Token>, Error> {
        let TokenQuery { key_id, section } = query;
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("key_id = :key AND begins_with(entry, :token)")
            .expression_attribute_values(":key", text(&key_id))
            .expression_attribute_values(":token", text(token_entry::PREFIX))
            .projection_expression(UNHASHED_TOKEN)
            .consistent_read(true);
        let start = section.after.map(|after| item_key(key_id, &token_entry::text(after)));
        let mut reads = PagedQuery::new(request, &section, start, true);
        while let Some(items) = reads.next().await? {
            let tokens: Vec<Token> = serde_dynamo::from_items(items).map_err(|_| broken("token"))?;
            let mut family_ids: Vec<_> = tokens.iter().filter_map(|token| token.token_id.family()).collect();
            family_ids.dedup();
            let families = self.families(key_id, &family_ids).await?;
            for token in tokens {
                let id = token.token_id.family();
                if wanted(&token, families.iter().find(|family| Some(family.family_id) == id)) {
                    reads.keep(token.token_id, token);
                }
            }
        }
        reads.finish(|item| {
            let entry =
                item.get("entry").and_then(|entry| entry.as_s().ok()?.strip_prefix(token_entry::PREFIX));
            entry.and_then(|id| id.parse().ok()).ok_or_else(|| broken("token"))
        })
    }

    /// Reads a token of a key without its hash, strongly consistent; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item is not a valid token.
    pub async fn unhashed(&self, key_id: KeyId, token_id: TokenId) -> Result<Option<Token>, Error> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(item_key(key_id, &token_entry::text(token_id))))
            .projection_expression(UNHASHED_TOKEN)
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        only(response.item.into_iter().collect(), "token")
    }

    /// Reads the number of working tokens of a key, strongly consistent.
    pub(super) async fn live(&self, key_id: KeyId) -> Result<Option<LiveTokens>, Error> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(item_key(key_id, live_tokens::ENTRY)))
            .projection_expression("token_generation, #live, #ends, #ttl")
            .expression_attribute_names("#live", "live")
            .expression_attribute_names("#ends", "ends")
            .expression_attribute_names("#ttl", "ttl")
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        only(response.item.into_iter().collect(), "number of tokens")
    }

    /// Reads families of a key, strongly consistent.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond, or items were still unprocessed when the time was over.
    /// - [`Error::Broken`]: an item is not valid.
    pub async fn families(&self, key_id: KeyId, ids: &[FamilyId]) -> Result<Vec<Family>, Error> {
        let keys = ids.iter().map(|id| item_key(key_id, &family_entry::text(*id))).collect();
        let items = batch::get_all(&self.client, &self.table, keys, |wanted| {
            wanted
                .projection_expression("key_id, entry, #current, #siblings, revoked_at, expires_at")
                .expression_attribute_names("#current", "current")
                .expression_attribute_names("#siblings", "siblings")
                .consistent_read(true)
        });
        serde_dynamo::from_items(items.await?).map_err(|_| broken("family"))
    }

    /// Updates the last use of a token, unless it was updated after `due`. The last use never moves backwards.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn mark_used(
        &self,
        (key_id, token_id): (KeyId, TokenId),
        at: DateTime<Utc>,
        due: DateTime<Utc>,
    ) -> Result<(), Error> {
        conditional_write::mark_used(
            &self.client,
            &self.table,
            item_key(key_id, &token_entry::text(token_id)),
            at,
            due,
        )
        .await
    }

    /// Writes a new token.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the token cannot be written as an item.
    pub(super) fn put(&self, token: &HashedToken) -> Result<TransactWriteItem, Error> {
        let ttl = token.token.expires_at;
        Ok(self.put_new(serde_dynamo::to_item(token).map_err(|_| broken("token"))?, ttl))
    }

    /// Writes a new family.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the family cannot be written as an item.
    pub(super) fn put_family(&self, family: &Family) -> Result<TransactWriteItem, Error> {
        let ttl = family.expires_at;
        Ok(self.put_new(serde_dynamo::to_item(family).map_err(|_| broken("family"))?, ttl))
    }

    pub(super) fn put_new(&self, mut item: Item, ttl: DateTime<Utc>) -> TransactWriteItem {
        item.insert("ttl".to_owned(), seconds(ttl));
        expression::put(&self.table, item, Condition::new("attribute_not_exists(entry)"))
    }

    /// Begins the next step of a family with the refresh token `first`, if the family has not changed since it was read.
    pub(super) fn next_step(&self, family: &Family, first: TokenId, now: DateTime<Utc>) -> TransactWriteItem {
        let update = UpdateExpression::new()
            .set("current", text(&first))
            .set("previous", text(&family.current))
            .set("used_at", milliseconds(now))
            .remove("siblings");
        self.update_family(family, update, is_as_read(family))
    }

    /// Counts one more sibling of the first refresh token of a family's step, if the family has not changed since it was
    /// read.
    pub(super) fn add_sibling(&self, family: &Family) -> TransactWriteItem {
        let update = UpdateExpression::new().set("siblings", number(&(family.siblings + 1)));
        self.update_family(family, update, is_as_read(family))
    }

    /// Revokes a family; with `of_step`, only if its step has not changed since it was read.
    pub(super) fn revoke_family(
        &self,
        family: &Family,
        of_step: bool,
        now: DateTime<Utc>,
    ) -> TransactWriteItem {
        let mut condition = Condition::new("attribute_exists(entry)").and(IS_NOT_REVOKED);
        if of_step {
            condition = condition.and_equal("current", text(&family.current));
        }
        let update = UpdateExpression::new().set("revoked_at", seconds(now));
        self.update_family(family, update, condition)
    }

    fn update_family(
        &self,
        family: &Family,
        update: UpdateExpression,
        condition: Condition,
    ) -> TransactWriteItem {
        let key = item_key(family.key_id, &family_entry::text(family.family_id));
        expression::update(&self.table, key, update, condition)
    }

    /// Changes the number of working tokens of a key.
    pub(super) fn count(&self, key_id: KeyId, change: &LiveTokensUpdate) -> TransactWriteItem {
        change.operation(&self.table, item_key(key_id, live_tokens::ENTRY))
    }

    /// Deletes a token.
    pub(super) fn delete(&self, key_id: KeyId, token_id: TokenId) -> TransactWriteItem {
        let key = item_key(key_id, &token_entry::text(token_id));
        expression::delete(&self.table, key, Condition::new("attribute_exists(entry)"))
    }
}

/// The condition that a family is not revoked.
const IS_NOT_REVOKED: &str = "attribute_not_exists(revoked_at)";

/// The condition that a family has not changed since it was read.
fn is_as_read(family: &Family) -> Condition {
    let condition = Condition::equal("current", text(&family.current)).and(IS_NOT_REVOKED);
    match family.siblings {
        0 => condition.and("attribute_not_exists(#siblings)").name("siblings"),
        siblings => condition.and_equal("siblings", number(&siblings)),
    }
}

pub(super) fn item_key(key_id: KeyId, entry: &str) -> Item {
    HashMap::from([("key_id".to_owned(), text(&key_id)), ("entry".to_owned(), text(entry))])
}

pub(super) fn only<T: DeserializeOwned>(items: Vec<Item>, what: &str) -> Result<Option<T>, Error> {
    let item = items.into_iter().next();
    item.map(serde_dynamo::from_item).transpose().map_err(|_| broken(what))
}

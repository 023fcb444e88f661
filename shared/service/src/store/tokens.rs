//! The table `tokens`: access and refresh tokens, and the families that the latter make.
//!
//! | entry | says |
//! | --- | --- |
//! | `TOKEN#<id>` | everything of a token, its hash included |
//! | `FAMILY#<id>` | which refresh tokens have not been used, and whether any token of the family works |
//! | `LIVE` | how many tokens of the key work, see `live_tokens` |
//!
//! All are below their key's id. A key that is deleted leaves them behind: without it they open nothing, and time removes
//! them.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, KeysAndAttributes, Put, TransactWriteItem, Update};
use chrono::{DateTime, Utc};
use keygate_core::audit_event::AuditEvent;
use keygate_core::caller::Actor;
use keygate_core::credential::{FamilyId, KeyId, TokenId};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::key::Generation;
use keygate_core::token::{Family, HashedToken, Token, TokenKind, family_entry, token_entry};
use serde::de::DeserializeOwned;

use crate::store::activity::ActivityTable;
use crate::store::keys::KeysTable;
use crate::store::live_tokens::{self, LiveTokens, TokenEnd};
use crate::store::transaction::{Transaction, TransactionResult};
use crate::store::workspaces::WorkspacesTable;
use crate::store::{batch, broken, mark_used, number, text};

/// What a token is without its hash, for roles that may not read one.
const UNHASHED_TOKEN: &str = "key_id, entry, kind, scopes, endpoints, token_generation, made_in_overlap, created_at, expires_at, last_used_at";

/// The most items that one request reads.
const BATCH: usize = 100;

/// How often tokens are counted anew because others of the same key were counted at the same time.
const COUNT_ATTEMPTS: u32 = 10;

/// The table.
#[derive(Clone, Debug)]
pub struct TokensTable {
    client: Client,
    table: String,
}

/// The tables of a function that makes, changes or removes tokens.
#[derive(Debug)]
pub struct TokenStore {
    /// Tokens and their hashes.
    pub tokens: TokensTable,
    /// Keys.
    pub keys: KeysTable,
    workspaces: WorkspacesTable,
    activity: ActivityTable,
    client: Client,
}

/// `TOKENS_TABLE`.
pub(super) fn table_name(environment: &Environment) -> Result<String, InvalidVariable> {
    environment.required("TOKENS_TABLE", "must be the name of the table of tokens")
}

impl TokensTable {
    /// Takes the table's name from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self { client, table: table_name(environment)? })
    }

    /// Reads tokens of a key without their hashes, newest first, from behind `after` on, and where to go on. It reads one
    /// page, strongly consistent.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: an item is not what it should be.
    pub async fn page(
        &self,
        key_id: KeyId,
        after: Option<TokenId>,
        limit: usize,
    ) -> Result<(Vec<Token>, Option<TokenId>), Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("key_id = :key AND begins_with(entry, :token)")
            .expression_attribute_values(":key", text(&key_id))
            .expression_attribute_values(":token", text(token_entry::PREFIX))
            .projection_expression(UNHASHED_TOKEN)
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(after.map(|after| key(key_id, &token_entry::text(after))))
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let tokens: Vec<Token> =
            serde_dynamo::from_items(answer.items.unwrap_or_default()).map_err(|_| broken("token"))?;
        let rest = answer.last_evaluated_key.and_then(|_| tokens.last().map(|token| token.token_id));
        Ok((tokens, rest))
    }

    /// Reads a token of a key without its hash, if there is such a one, strongly consistent.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: the item is not a token.
    pub async fn unhashed(&self, key_id: KeyId, token_id: TokenId) -> Result<Option<Token>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(key_id, &token_entry::text(token_id))))
            .projection_expression(UNHASHED_TOKEN)
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        only(answer.item.into_iter().collect(), "token")
    }

    /// Reads how many tokens of a key work, strongly consistent.
    async fn live(&self, key_id: KeyId) -> Result<Option<LiveTokens>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(key_id, live_tokens::ENTRY)))
            .projection_expression("token_generation, #live, #ends, #ttl")
            .expression_attribute_names("#live", "live")
            .expression_attribute_names("#ends", "ends")
            .expression_attribute_names("#ttl", "ttl")
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        only(answer.item.into_iter().collect(), "number of tokens")
    }

    /// Reads families of a key.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer, or left something unread.
    /// - [`Error::Broken`]: an item is not what it should be.
    ///
    /// # Panics
    ///
    /// Never: a request has keys to read.
    pub async fn families(&self, key_id: KeyId, ids: &[FamilyId]) -> Result<Vec<Family>, Error> {
        let mut families = Vec::with_capacity(ids.len());
        for ids in ids.chunks(BATCH) {
            let keys = ids.iter().map(|id| key(key_id, &family_entry::text(*id))).collect();
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .projection_expression("key_id, entry, #current, #siblings, revoked_at, expires_at")
                .expression_attribute_names("#current", "current")
                .expression_attribute_names("#siblings", "siblings")
                .consistent_read(true)
                .build()
                .expect("keys to read");
            let mut read = batch::get(&self.client, HashMap::from([(self.table.clone(), wanted)])).await?;
            let items = read.remove(&self.table).unwrap_or_default();
            let found: Vec<Family> = serde_dynamo::from_items(items).map_err(|_| broken("family"))?;
            families.extend(found);
        }
        Ok(families)
    }

    /// Writes that a token was used, unless it was written since `due`, and never backwards.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn mark_used(
        &self,
        (key_id, token_id): (KeyId, TokenId),
        at: DateTime<Utc>,
        due: DateTime<Utc>,
    ) -> Result<(), Error> {
        mark_used(&self.client, &self.table, key(key_id, &token_entry::text(token_id)), at, due).await
    }

    fn put(&self, token: &HashedToken) -> Result<TransactWriteItem, Error> {
        let ttl = token.token.expires_at;
        Ok(self.put_new(serde_dynamo::to_item(token).map_err(|_| broken("token"))?, ttl))
    }

    fn put_family(&self, family: &Family) -> Result<TransactWriteItem, Error> {
        let ttl = family.expires_at;
        Ok(self.put_new(serde_dynamo::to_item(family).map_err(|_| broken("family"))?, ttl))
    }

    fn put_new(&self, mut item: HashMap<String, AttributeValue>, ttl: DateTime<Utc>) -> TransactWriteItem {
        item.insert("ttl".to_owned(), number(&ttl.timestamp()));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(entry)")
            .build()
            .expect("a table and an item");
        TransactWriteItem::builder().put(put).build()
    }

    /// The change that begins the next step of a family with a refresh token, if the family still is as it was read.
    fn next_step(&self, family: &Family, first: TokenId, now: DateTime<Utc>) -> TransactWriteItem {
        let update = self
            .family_as_read(family)
            .update_expression("SET #current = :next, #previous = :current, #used = :now REMOVE #siblings")
            .expression_attribute_names("#previous", "previous")
            .expression_attribute_names("#used", "used_at")
            .expression_attribute_values(":next", text(&first))
            .expression_attribute_values(":now", number(&now.timestamp_millis()));
        let update = update.build().expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    /// The change that counts one more sibling of the first refresh token of a family's step, if the family still is as it was
    /// read.
    fn one_more_sibling(&self, family: &Family) -> TransactWriteItem {
        let update = self
            .family_as_read(family)
            .update_expression("SET #siblings = :more")
            .expression_attribute_values(":more", number(&(family.siblings + 1)));
        let update = update.build().expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    fn family_as_read(&self, family: &Family) -> UpdateBuilder {
        let siblings =
            if family.siblings == 0 { "attribute_not_exists(#siblings)" } else { "#siblings = :siblings" };
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(family.key_id, &family_entry::text(family.family_id))))
            .condition_expression(format!(
                "#current = :current AND attribute_not_exists(revoked_at) AND {siblings}"
            ))
            .expression_attribute_names("#current", "current")
            .expression_attribute_names("#siblings", "siblings")
            .expression_attribute_values(":current", text(&family.current));
        if family.siblings == 0 {
            return update;
        }
        update.expression_attribute_values(":siblings", number(&family.siblings))
    }

    /// The change that revokes a family; with `of_step`, only if its step still is the one that was read.
    fn revoke_family(&self, family: &Family, of_step: bool, now: DateTime<Utc>) -> TransactWriteItem {
        let mut condition = "attribute_exists(entry) AND attribute_not_exists(revoked_at)".to_owned();
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(family.key_id, &family_entry::text(family.family_id))))
            .update_expression("SET revoked_at = :now")
            .expression_attribute_values(":now", number(&now.timestamp()));
        if of_step {
            condition.push_str(" AND #current = :current");
            update = update
                .expression_attribute_names("#current", "current")
                .expression_attribute_values(":current", text(&family.current));
        }
        let update = update.condition_expression(condition).build().expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    fn count(&self, key_id: KeyId, change: &live_tokens::LiveTokensUpdate) -> TransactWriteItem {
        change.operation(&self.table, key(key_id, live_tokens::ENTRY))
    }

    fn delete(&self, key_id: KeyId, token_id: TokenId) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key(key_id, &token_entry::text(token_id))))
            .condition_expression("attribute_exists(entry)")
            .build()
            .expect("a table and a key");
        TransactWriteItem::builder().delete(delete).build()
    }
}

impl TokenStore {
    /// Takes the names of the tables and the audit trail's retention from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one of them is missing or wrong.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            tokens: TokensTable::new(client.clone(), environment)?,
            keys: KeysTable::new(client.clone(), environment)?,
            workspaces: WorkspacesTable::new(client.clone(), environment)?,
            activity: ActivityTable::new(client.clone(), environment)?,
            client,
        })
    }

    /// Writes new tokens of a key, with the family that they begin, if any, and the event: all of them or none. Not more than
    /// `bound` tokens of the key work afterwards.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::TooManyTokens`]: the key would have more tokens that work than the bound.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn issue(
        &self,
        actor: Actor<'_>,
        tokens: &[HashedToken],
        family: Option<&Family>,
        event: &AuditEvent,
        bound: u32,
    ) -> Result<(), Error> {
        let Some(Token { key_id, generation, .. }) = tokens.first().map(|first| &first.token) else {
            return Ok(());
        };
        let end = |token: &Token| match (token.kind, family) {
            (TokenKind::RefreshToken, Some(family)) => TokenEnd::of_family(family),
            _ => TokenEnd::of_token(token),
        };
        for _ in 0..COUNT_ATTEMPTS {
            let stored = self.tokens.live(*key_id).await?;
            let counts = tokens.iter().map(|hashed| (end(&hashed.token), 1));
            let count =
                live_tokens::LiveTokensUpdate::count(stored.as_ref(), *generation, counts, bound, event.at)?;
            let mut transaction = Transaction::new(actor, &self.workspaces);
            transaction.add(self.activity.put(event)?);
            for token in tokens {
                transaction.add(self.tokens.put(token)?);
            }
            if let Some(family) = family {
                transaction.add(self.tokens.put_family(family)?);
            }
            let counted = transaction.add(self.tokens.count(*key_id, &count));
            match transaction.commit(&self.client).await? {
                TransactionResult::Committed => return Ok(()),
                // Other tokens were counted since.
                TransactionResult::Cancelled(refused) if refused.failed(counted) => {}
                TransactionResult::Cancelled(refused) => return Err(refused.unexpected()),
            }
        }
        Err(Error::Busy)
    }

    /// Writes the access token and the refresh token that using a refresh token of a family gets, moves the family along, and
    /// writes the event: all of it or nothing. Not more than `bound` tokens of the key work afterwards.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Conflict`]: the family was changed or revoked since it was read.
    /// - [`Error::TooManyTokens`]: the key would have more tokens that work than the bound.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn refresh(
        &self,
        actor: Actor<'_>,
        (family, next): (&Family, Renewal),
        tokens: &[HashedToken; 2],
        event: &AuditEvent,
        bound: u32,
    ) -> Result<(), Error> {
        let [access, refresh] = tokens;
        let (key_id, generation) = (family.key_id, access.token.generation);
        for _ in 0..COUNT_ATTEMPTS {
            let stored = self.tokens.live(key_id).await?;
            // The first refresh token of a step takes the place of all of the step before.
            let more = match next {
                Renewal::Step => 1 - i64::from(family.present()),
                Renewal::Sibling => 1,
            };
            let counts = [(TokenEnd::of_token(&access.token), 1), (TokenEnd::of_family(family), more)];
            let count =
                live_tokens::LiveTokensUpdate::count(stored.as_ref(), generation, counts, bound, event.at)?;
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let renewed = transaction.add(match next {
                Renewal::Step => self.tokens.next_step(family, refresh.token.token_id, event.at),
                Renewal::Sibling => self.tokens.one_more_sibling(family),
            });
            transaction.add(self.tokens.put(access)?);
            transaction.add(self.tokens.put(refresh)?);
            transaction.add(self.activity.put(event)?);
            let counted = transaction.add(self.tokens.count(key_id, &count));
            match transaction.commit(&self.client).await? {
                TransactionResult::Committed => return Ok(()),
                TransactionResult::Cancelled(refused) if refused.failed(renewed) => {
                    return Err(Error::Conflict);
                }
                // Other tokens were counted since.
                TransactionResult::Cancelled(refused) if refused.failed(counted) => {}
                TransactionResult::Cancelled(refused) => return Err(refused.unexpected()),
            }
        }
        Err(Error::Busy)
    }

    /// Revokes a token alone, or a family with all its tokens, and writes the event; `false` if that was done before. What ends so
    /// is not counted any more, as far as it is known: the access tokens of a family are, until they expire.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn revoke(
        &self,
        actor: Actor<'_>,
        key_id: KeyId,
        what: RevocationTarget<'_>,
        event: &AuditEvent,
    ) -> Result<bool, Error> {
        let free = match what {
            RevocationTarget::Token(token) => {
                live_tokens::LiveTokensUpdate::free(token.generation, TokenEnd::of_token(token), 1)
            }
            RevocationTarget::Family(family, generation) => {
                live_tokens::LiveTokensUpdate::free(generation, TokenEnd::of_family(family), family.present())
            }
        };
        // Nothing that is counted keeps anything from being revoked: neither another number than was thought, nor a client that gets
        // tokens all the time and so is always at work on the item.
        for free in [Some(free), None] {
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let revoked = transaction.add(match what {
                RevocationTarget::Token(token) => self.tokens.delete(key_id, token.token_id),
                RevocationTarget::Family(family, _) => {
                    self.tokens.revoke_family(family, free.is_some(), event.at)
                }
            });
            transaction.add(self.activity.put(event)?);
            let freed = free.map(|free| transaction.add(self.tokens.count(key_id, &free)));
            let refused = match transaction.commit(&self.client).await {
                Ok(TransactionResult::Committed) => return Ok(true),
                Ok(TransactionResult::Cancelled(refused)) => refused,
                Err(Error::Busy) if freed.is_some() => continue,
                Err(failure) => return Err(failure),
            };
            if !refused.failed(revoked) && !freed.is_some_and(|freed| refused.failed(freed)) {
                return Err(refused.unexpected());
            }
        }
        Ok(false)
    }

    /// Revokes every token of a key, and writes the event. It takes one write, however many there are.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::NotFound`]: the key was deleted meanwhile.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn revoke_all(&self, actor: Actor<'_>, key_id: KeyId, event: &AuditEvent) -> Result<(), Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let key = transaction.add(self.keys.next_generation(key_id));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.client).await? {
            TransactionResult::Committed => Ok(()),
            TransactionResult::Cancelled(refused) if refused.failed(key) => Err(Error::NotFound),
            TransactionResult::Cancelled(refused) => Err(refused.unexpected()),
        }
    }
}

/// What a refresh token gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The first refresh token of its family's next step.
    Step,
    /// A sibling of the first refresh token of the present step.
    Sibling,
}

/// What is revoked at once, as it was read.
#[derive(Clone, Copy, Debug)]
pub enum RevocationTarget<'a> {
    /// One token.
    Token(&'a Token),
    /// Every token of a family, which are of that generation.
    Family(&'a Family, Generation),
}

fn key(key_id: KeyId, entry: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([("key_id".to_owned(), text(&key_id)), ("entry".to_owned(), text(entry))])
}

fn only<T: DeserializeOwned>(
    items: Vec<HashMap<String, AttributeValue>>,
    what: &str,
) -> Result<Option<T>, Error> {
    let item = items.into_iter().next();
    item.map(serde_dynamo::from_item).transpose().map_err(|_| broken(what))
}

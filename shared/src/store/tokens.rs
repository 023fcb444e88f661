//! The table `tokens`: access and refresh tokens, and the families that the latter make.
//!
//! | entry | says |
//! | --- | --- |
//! | `TOKEN#<id>` | everything of a token, its hash included |
//! | `FAMILY#<id>` | which refresh token has not been used, and whether any token of the family works |
//!
//! Both are below their key's id. A key that is deleted leaves them behind: without it they open nothing, and time removes
//! them.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, KeysAndAttributes, Put, TransactWriteItem, Update};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::activity::Event;
use crate::config::{Environment, InvalidVariable};
use crate::credential::{FamilyId, KeyId, TokenId};
use crate::error::Error;
use crate::record::{Family, HashedToken, Token, TokenKind, family_entry, token_entry};
use crate::store::activity::Activity;
use crate::store::keys::Keys;
use crate::store::transaction::{self, Outcome};
use crate::store::{batch, broken, mark_used, number, text};

/// What a token is without its hash, for roles that may not read one.
const UNHASHED_TOKEN: &str =
    "key_id, entry, kind, scopes, endpoints, token_generation, created_at, expires_at, last_used_at";

/// The most items that one request reads.
const BATCH: usize = 100;

/// The table.
#[derive(Clone, Debug)]
pub struct Tokens {
    client: Client,
    table: String,
}

/// The tables of a function that makes, changes or removes tokens.
#[derive(Debug)]
pub struct TokenStore {
    /// Tokens and their hashes.
    pub tokens: Tokens,
    /// Keys.
    pub keys: Keys,
    activity: Activity,
    client: Client,
}

impl Tokens {
    /// Takes the table's name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
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

    /// Says what kind of token a key's token is, if there is such a one, strongly consistent.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: the item is not a token.
    pub async fn kind(&self, key_id: KeyId, token_id: TokenId) -> Result<Option<TokenKind>, Error> {
        #[derive(Deserialize)]
        struct Item {
            kind: TokenKind,
        }
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(key_id, &token_entry::text(token_id))))
            .projection_expression("kind")
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        let item: Option<Item> = only(answer.item.into_iter().collect(), "token")?;
        Ok(item.map(|item| item.kind))
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
                .projection_expression("key_id, entry, #current, revoked_at, expires_at")
                .expression_attribute_names("#current", "current")
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

    /// The change that makes another refresh token the one that has not been used.
    fn renew_family(&self, family: &Family, current: TokenId) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(family.key_id, &family_entry::text(family.family_id))))
            .update_expression("SET #current = :next")
            .condition_expression("#current = :used AND attribute_not_exists(revoked_at)")
            .expression_attribute_names("#current", "current")
            .expression_attribute_values(":used", text(&family.current))
            .expression_attribute_values(":next", text(&current))
            .build()
            .expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
    }

    fn revoke_family(&self, key_id: KeyId, family: FamilyId, now: DateTime<Utc>) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(key_id, &family_entry::text(family))))
            .update_expression("SET revoked_at = :now")
            .condition_expression("attribute_exists(entry) AND attribute_not_exists(revoked_at)")
            .expression_attribute_values(":now", number(&now.timestamp()))
            .build()
            .expect("a table, a key and an update");
        TransactWriteItem::builder().update(update).build()
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
            tokens: Tokens::new(client.clone(), environment.tokens_table()?),
            keys: Keys::new(client.clone(), environment.keys_table()?),
            activity: Activity::new(
                client.clone(),
                environment.activity_table()?,
                environment.activity_retention()?,
            ),
            client,
        })
    }

    /// Writes new tokens, with the family that they begin, if any, and the event: all of them or none.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn issue(
        &self,
        tokens: &[HashedToken],
        family: Option<&Family>,
        event: &Event,
    ) -> Result<(), Error> {
        let mut changes = vec![self.activity.put(event)?];
        for token in tokens {
            changes.push(self.tokens.put(token)?);
        }
        if let Some(family) = family {
            changes.push(self.tokens.put_family(family)?);
        }
        match transaction::commit(&self.client, changes).await? {
            Outcome::Committed => Ok(()),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }

    /// Writes the tokens that come after the current refresh token of a family, the last of which is the new current one,
    /// and the event: all of it or nothing. Of several that do so at the same time, one succeeds.
    ///
    /// # Errors
    ///
    /// - [`Error::Conflict`]: the refresh token that was current is not any more, or the family is revoked.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn refresh(
        &self,
        family: &Family,
        tokens: &[HashedToken; 2],
        event: &Event,
    ) -> Result<(), Error> {
        const FAMILY: usize = 0;
        let [access, refresh] = tokens;
        let changes = vec![
            self.tokens.renew_family(family, refresh.token.token_id),
            self.tokens.put(access)?,
            self.tokens.put(refresh)?,
            self.activity.put(event)?,
        ];
        match transaction::commit(&self.client, changes).await? {
            Outcome::Committed => Ok(()),
            Outcome::Refused(refused) if refused.condition_failed(FAMILY) => Err(Error::Conflict),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }

    /// Revokes a token alone, or a family with all its tokens, and writes the event; `false` if that was done before.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn revoke(&self, key_id: KeyId, what: Revoked, event: &Event) -> Result<bool, Error> {
        const REVOKED: usize = 0;
        let revoked = match what {
            Revoked::Token(token_id) => self.tokens.delete(key_id, token_id),
            Revoked::Family(family_id) => self.tokens.revoke_family(key_id, family_id, event.at),
        };
        match transaction::commit(&self.client, vec![revoked, self.activity.put(event)?]).await? {
            Outcome::Committed => Ok(true),
            Outcome::Refused(refused) if refused.condition_failed(REVOKED) => Ok(false),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }

    /// Revokes every token of a key, and writes the event. It takes one write, however many there are.
    ///
    /// # Errors
    ///
    /// - [`Error::NotFound`]: the key was deleted meanwhile.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn revoke_all(&self, key_id: KeyId, event: &Event) -> Result<(), Error> {
        const KEY: usize = 0;
        let changes = vec![self.keys.next_generation(key_id), self.activity.put(event)?];
        match transaction::commit(&self.client, changes).await? {
            Outcome::Committed => Ok(()),
            Outcome::Refused(refused) if refused.condition_failed(KEY) => Err(Error::NotFound),
            Outcome::Refused(refused) => Err(refused.unexpected()),
        }
    }
}

/// What is revoked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// One token.
    Token(TokenId),
    /// Every token of a family.
    Family(FamilyId),
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

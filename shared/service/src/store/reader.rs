//! The reads in the path of an authorization: the stored items of a presented credential. They do not use the SDK's client.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use keygate_core::credential::{KeyId, SessionId, TokenId};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::key::HashedKey;
use keygate_core::legacy_credential;
use keygate_core::legacy_key::HashedLegacyKey;
use keygate_core::pepper::SecretHash;
use keygate_core::session::{HashedPageCode, HashedSession, Session, page_code_entry, session_entry};
use keygate_core::token::{Family, HashedToken, StoredToken, TokenKey, family_entry, token_entry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_dynamo::{AttributeValue, Item};
use serde_json::{Map, Value, json};

use crate::aws::dynamodb_read_client::DynamoDbReadClient;
use crate::store::item::broken;
use crate::store::keys::UNHASHED;
use crate::store::{batch, keys, legacy_keys, tokens};

/// Reads from the tables `keys`, `tokens` and `legacy-keys` the items of one credential, each with a single request.
#[derive(Debug)]
pub struct CredentialReader {
    client: DynamoDbReadClient,
    keys_table: String,
    tokens_table: String,
    /// The table of legacy keys, which exists only while a sunset is configured.
    legacy_keys_table: Option<String>,
}

/// The request for a key. Every call of an API makes one, so it is written without a `Value` in between.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetKey<'a> {
    table_name: &'a str,
    key: KeyOfKey<'a>,
    consistent_read: bool,
}

#[derive(Serialize)]
struct KeyOfKey<'a> {
    key_id: Text<'a>,
}

/// An attribute value of the type `S`.
#[derive(Serialize)]
struct Text<'a> {
    #[serde(rename = "S")]
    text: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneItem {
    item: Option<Item>,
}

impl CredentialReader {
    /// Reads the table names from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is missing.
    pub fn new(client: DynamoDbReadClient, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            client,
            keys_table: keys::table_name(environment)?,
            tokens_table: tokens::table_name(environment)?,
            legacy_keys_table: legacy_credential::sunset(environment)?
                .map(|_| legacy_keys::table_name(environment))
                .transpose()?,
        })
    }

    /// Opens a connection to the database, so that the first read does not wait for one. It reads an item that cannot exist,
    /// because the authorizer's role allows nothing but reading items.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub async fn connect(&self) -> Result<(), Error> {
        self.key("connect", false).await?;
        Ok(())
    }

    /// Reads a key with its hash as one strongly consistent item, so that a deleted key is refused immediately.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item is not a valid key, or has another id.
    pub async fn hashed(&self, id: KeyId) -> Result<Option<HashedKey>, Error> {
        let stored: Option<HashedKey> = only(self.key(&id.to_string(), true).await?, "key")?;
        if stored.as_ref().is_some_and(|stored| stored.record.key_id != id) {
            return Err(broken("key"));
        }
        Ok(stored)
    }

    /// Reads a token, its family and its key in one strongly consistent request, so that a revoked token is refused
    /// immediately. A key past its `ttl` is treated as deleted.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond, or items were still unprocessed when the time was over.
    /// - [`Error::Broken`]: an item is not valid.
    pub async fn with_key(
        &self,
        key_id: KeyId,
        token_id: TokenId,
        now: DateTime<Utc>,
    ) -> Result<(Option<TokenKey>, Option<StoredToken>), Error> {
        let entries = [Some(token_entry::text(token_id)), token_id.family().map(family_entry::text)];
        let entry = |entry| json!({"key_id": {"S": key_id}, "entry": {"S": entry}});
        let entries: Vec<_> = entries.into_iter().flatten().map(entry).collect();
        let token = json!({"Keys": entries, "ConsistentRead": true});
        let wanted = [(self.tokens_table.clone(), token), (self.keys_table.clone(), unhashed_key(key_id))];
        let wanted = Map::from_iter(wanted);
        let mut read = batch::get_directly(&self.client, wanted).await?;
        let mut take = |table: &str| read.remove(table).unwrap_or_default();
        let key: Option<TokenKey> = only(take(&self.keys_table), "key")?;
        let (tokens, families): (Vec<_>, Vec<_>) =
            take(&self.tokens_table).into_iter().partition(|item| has_prefix(item, token_entry::PREFIX));
        let token: Option<HashedToken> = only(tokens, "token")?;
        let family: Option<Family> = only(families, "family")?;
        let is_asked_for = key.as_ref().is_none_or(|key| key.record.key_id == key_id)
            && token
                .as_ref()
                .is_none_or(|hashed| (hashed.token.key_id, hashed.token.token_id) == (key_id, token_id))
            && family
                .as_ref()
                .is_none_or(|family| (family.key_id, Some(family.family_id)) == (key_id, token_id.family()));
        if !is_asked_for {
            return Err(broken("token"));
        }
        let key = key.filter(|key| !key.record.is_gone(now));
        Ok((key, token.map(|hashed| StoredToken { hashed, family })))
    }

    /// Reads a session, with the hashes of its secrets, and the key that opened it, in one strongly consistent request, so that an
    /// ended session is refused immediately. A key past its `ttl` is treated as deleted.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond, or items were still unprocessed when the time was over.
    /// - [`Error::Broken`]: an item is not valid.
    pub async fn session_with_key(
        &self,
        key_id: KeyId,
        session_id: SessionId,
        now: DateTime<Utc>,
    ) -> Result<(Option<TokenKey>, Option<HashedSession>), Error> {
        let session = json!({
            "Keys": [{"key_id": {"S": key_id}, "entry": {"S": session_entry::text(session_id)}}],
            "ConsistentRead": true,
        });
        let wanted = [(self.tokens_table.clone(), session), (self.keys_table.clone(), unhashed_key(key_id))];
        let mut read = batch::get_directly(&self.client, Map::from_iter(wanted)).await?;
        let mut take = |table: &str| read.remove(table).unwrap_or_default();
        let key: Option<TokenKey> = only(take(&self.keys_table), "key")?;
        let session: Option<HashedSession> = only(take(&self.tokens_table), "session")?;
        let is_asked_for = key.as_ref().is_none_or(|key| key.record.key_id == key_id)
            && session.as_ref().is_none_or(|hashed| {
                (hashed.session.key_id, hashed.session.session_id) == (key_id, session_id)
            });
        if !is_asked_for {
            return Err(broken("session"));
        }
        Ok((key.filter(|key| !key.record.is_gone(now)), session))
    }

    /// Reads a page code with its hash, and its session without the hashes of its secrets, in one strongly consistent request.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond, or items were still unprocessed when the time was over.
    /// - [`Error::Broken`]: an item is not valid.
    pub async fn page_code_with_session(
        &self,
        key_id: KeyId,
        session_id: SessionId,
    ) -> Result<(Option<HashedPageCode>, Option<Session>), Error> {
        let entries = [page_code_entry::text(session_id), session_entry::text(session_id)];
        let entries = entries.map(|entry| json!({"key_id": {"S": key_id}, "entry": {"S": entry}}));
        let wanted = json!({"Keys": entries, "ConsistentRead": true});
        let wanted = Map::from_iter([(self.tokens_table.clone(), wanted)]);
        let mut read = batch::get_directly(&self.client, wanted).await?;
        let read = read.remove(&self.tokens_table).unwrap_or_default();
        let (codes, sessions): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|item| has_prefix(item, page_code_entry::PREFIX));
        let code: Option<HashedPageCode> = only(codes, "page code")?;
        let session: Option<Session> = only(sessions, "session")?;
        let asked_for = (key_id, session_id);
        if code.as_ref().is_some_and(|code| (code.key_id, code.session_id) != asked_for)
            || session.as_ref().is_some_and(|session| (session.key_id, session.session_id) != asked_for)
        {
            return Err(broken("page code"));
        }
        Ok((code, session))
    }

    /// Reads the legacy key that is stored under one of the hashes, which are hashes of the same key under different
    /// peppers.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond, or items were still unprocessed when the time was over.
    /// - [`Error::Broken`]: the item is not valid, or no legacy keys are configured.
    pub async fn legacy(&self, hashes: &[SecretHash]) -> Result<Option<HashedLegacyKey>, Error> {
        let table = self.legacy_keys_table.as_ref();
        let table = table.ok_or_else(|| Error::Broken("no legacy keys are configured".to_owned()))?;
        let keys: Vec<_> =
            hashes.iter().map(|hash| json!({"hash": {"B": STANDARD.encode(hash.as_bytes())}})).collect();
        let wanted = Map::from_iter([(table.clone(), json!({"Keys": keys, "ConsistentRead": true}))]);
        let mut read = batch::get_directly(&self.client, wanted).await?;
        let found: Option<HashedLegacyKey> = only(read.remove(table).unwrap_or_default(), "legacy key")?;
        match found {
            Some(key) if !hashes.contains(&key.hash) => Err(broken("legacy key")),
            found => Ok(found),
        }
    }

    async fn key(&self, id: &str, consistent: bool) -> Result<Option<Item>, Error> {
        let request = GetKey {
            table_name: &self.keys_table,
            key: KeyOfKey { key_id: Text { text: id } },
            consistent_read: consistent,
        };
        let read: OneItem = self.client.call("GetItem", &request).await?;
        Ok(read.item)
    }
}

/// The part of a batch request that reads a key with the attributes that decide about its tokens and sessions.
fn unhashed_key(id: KeyId) -> Value {
    json!({
        "Keys": [{"key_id": {"S": id}}],
        "ProjectionExpression": format!("{UNHASHED}, token_generation"),
        "ExpressionAttributeNames": {"#name": "name", "#ttl": "ttl"},
        "ConsistentRead": true,
    })
}

fn has_prefix(item: &Item, prefix: &str) -> bool {
    matches!(item.get("entry"), Some(AttributeValue::S(entry)) if entry.starts_with(prefix))
}

fn only<T: DeserializeOwned>(items: impl IntoIterator<Item = Item>, what: &str) -> Result<Option<T>, Error> {
    let item = items.into_iter().next();
    item.map(serde_dynamo::from_item).transpose().map_err(|_| broken(what))
}

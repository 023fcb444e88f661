//! Listing the tokens of a key that work.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use keygate_core::context::RequestContext;
use keygate_core::credential::{KeyId, TokenId};
use keygate_core::error::{Error, InvalidField, Place};
use keygate_core::query_parameters::QueryParameters;
use keygate_core::time::rfc3339;
use keygate_core::token::{Family, Token, TokenKind};
use serde::{Deserialize, Serialize};

use crate::keys::ReadableKeys;
use crate::store::keys::KeysTable;
use crate::store::pagination;
use crate::store::tokens::TokensTable;

/// How many tokens are read at once where not every one of those read before works.
const READ: usize = 250;
/// How often a page is continued then. With [`READ`] it bounds what a page costs.
const MAX_READS: usize = 4;

/// What a caller asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct ListTokens {
    limit: usize,
    cursor: Option<String>,
}

impl ListTokens {
    /// Reads the parameters of a query.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every parameter that is wrong, unknown or there twice.
    pub fn parse<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let mut parameters = QueryParameters::new(parameters);
        let limit = parameters.optional("limit", pagination::limit).unwrap_or(pagination::DEFAULT_LIMIT);
        let cursor = parameters.optional("cursor", |value| Ok(value.to_owned()));
        parameters.finish(Self { limit, cursor })
    }
}

/// A token as the management API shows it.
#[derive(Debug, Serialize)]
pub struct ShownToken {
    id: String,
    kind: TokenKind,
    scopes: Vec<String>,
    created_at: String,
    expires_at: String,
    last_used_at: Option<String>,
}

impl From<&Token> for ShownToken {
    fn from(token: &Token) -> Self {
        Self {
            id: token.token_id.to_string(),
            kind: token.kind,
            scopes: token.scopes.iter().map(ToString::to_string).collect(),
            created_at: rfc3339(token.created_at),
            expires_at: rfc3339(token.expires_at),
            last_used_at: token.last_used_at.map(rfc3339),
        }
    }
}

/// A page of tokens.
#[derive(Debug, Serialize)]
pub struct TokenPage {
    items: Vec<ShownToken>,
    /// Opaque, good for the next page of the same key's tokens; null on the last page.
    next_cursor: Option<String>,
}

/// Lists the tokens of a key that work, those of the latest grant first: neither those whose time is over nor revoked ones,
/// and of refresh tokens only those that have not been used.
///
/// What it reads is bounded: a page may have fewer tokens than asked for, even none, and still a cursor to go on with.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not read keys.
/// - [`Error::NotFound`]: the workspace has no such key.
/// - [`Error::Invalid`]: the cursor is not one of this key's tokens.
/// - [`Error::Unavailable`]: try again later.
pub async fn list(
    keys: &KeysTable,
    tokens: &TokensTable,
    context: &RequestContext,
    key_id: KeyId,
    request: &ListTokens,
) -> Result<TokenPage, Error> {
    let (caller, now) = (&context.caller, context.now);
    let readable = ReadableKeys::of(caller)?;
    let key = keys.of_tokens(key_id, now).await?;
    let key = key.filter(|key| key.key.workspace_id == caller.workspace_id).ok_or(Error::NotFound)?;
    readable.require(&key.key.user_id)?;
    let mut after = request.cursor.as_ref().map(|cursor| Cursor::read(cursor, key_id)).transpose()?;
    let mut items: Vec<ShownToken> = Vec::new();
    for round in 0..MAX_READS {
        // One more than asked for tells whether there is more.
        let read = if round == 0 { request.limit + 1 } else { READ };
        let (page, rest) = tokens.page(key_id, after, read).await?;
        let mut family_ids: Vec<_> = page.iter().filter_map(|token| token.token_id.family()).collect();
        family_ids.dedup();
        let families = tokens.families(key_id, &family_ids).await?;
        for token in &page {
            if token.has_ended_with(&key) || !works(token, &families, now) {
                continue;
            }
            if items.len() == request.limit {
                return Ok(TokenPage { items, next_cursor: after.map(|after| Cursor::write(after, key_id)) });
            }
            items.push(token.into());
            after = Some(token.token_id);
        }
        after = rest;
        if after.is_none() {
            break;
        }
    }
    Ok(TokenPage { items, next_cursor: after.map(|after| Cursor::write(after, key_id)) })
}

fn works(token: &Token, families: &[Family], now: DateTime<Utc>) -> bool {
    let family = token.token_id.family().map(|id| families.iter().find(|family| family.family_id == id));
    token.expires_at > now
        && match (token.kind, family) {
            (TokenKind::AccessToken, None) => true,
            (TokenKind::AccessToken, Some(family)) => {
                family.is_some_and(|family| family.revoked_at.is_none())
            }
            (TokenKind::RefreshToken, family) => family
                .flatten()
                .is_some_and(|family| family.revoked_at.is_none() && family.is_present(token.token_id)),
        }
}

/// The token behind which a page begins, and the key that it is of.
#[derive(Serialize, Deserialize)]
struct Cursor {
    key_id: KeyId,
    after: TokenId,
}

impl Cursor {
    fn write(after: TokenId, key_id: KeyId) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_string(&Self { key_id, after }).unwrap_or_default())
    }

    fn read(cursor: &str, key_id: KeyId) -> Result<TokenId, Error> {
        let text = URL_SAFE_NO_PAD.decode(cursor).ok();
        let cursor: Option<Self> = text.and_then(|text| serde_json::from_slice(&text).ok());
        cursor.filter(|cursor| cursor.key_id == key_id).map(|cursor| cursor.after).ok_or_else(|| {
            let detail = "must be a cursor of this very query".to_owned();
            Error::invalid(InvalidField { place: Place::Parameter("cursor".to_owned()), detail })
        })
    }
}

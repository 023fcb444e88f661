//! Listing the working tokens of a key.

use keygate_core::context::RequestContext;
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::identity::WorkspaceId;
use keygate_core::query_parameters::QueryParameters;
use keygate_core::time::rfc3339;
use keygate_core::token::{Family, Token, TokenKind};
use serde::Serialize;

use crate::keys::ReadableKeys;
use crate::store::keys::KeysTable;
use crate::store::pagination::{self, Cursor, Page, Section};
use crate::store::tokens::{TokenQuery, TokensTable};

/// A list request.
#[derive(Debug, PartialEq, Eq)]
pub struct ListTokens {
    limit: usize,
    cursor: Option<String>,
}

impl ListTokens {
    /// Parses query parameters.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid, unknown or repeated parameter.
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

/// A checksum of the query: of the workspace and the key.
fn checksum(workspace: &WorkspaceId, key_id: KeyId) -> u32 {
    crc32fast::hash(format!("tokens {workspace} {key_id}").as_bytes())
}

/// Lists the working tokens of a key, those of the latest grant first. Expired and revoked tokens and used refresh tokens
/// are skipped.
///
/// The number of reads is bounded: a page may have fewer tokens than requested, even none, and still a cursor to continue
/// from.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not read keys.
/// - [`Error::NotFound`]: the workspace has no such key.
/// - [`Error::Invalid`]: the cursor does not belong to a list of this key's tokens.
/// - [`Error::Unavailable`]: try again later.
pub async fn list(
    keys: &KeysTable,
    tokens: &TokensTable,
    context: &RequestContext,
    key_id: KeyId,
    request: &ListTokens,
) -> Result<Page<ShownToken>, Error> {
    let (caller, now) = (&context.caller, context.now);
    let readable = ReadableKeys::of(caller)?;
    let key = keys.of_tokens(key_id, now).await?;
    let key = key.filter(|key| key.record.workspace_id == caller.workspace_id).ok_or(Error::NotFound)?;
    readable.require(&key.record.user_id)?;
    let query = checksum(&caller.workspace_id, key_id);
    let from = request.cursor.as_ref().map(|cursor| Cursor::read(cursor, query, |_| true)).transpose()?;
    let ascending = from.as_ref().is_some_and(|cursor| cursor.backward);
    let after = from.as_ref().and_then(|cursor| cursor.after);
    let section = Section { ascending, after, limit: request.limit };
    let works = |token: &Token, family: Option<&Family>| {
        !token.has_ended_with(&key) && token.expires_at > now && works_in_family(token, family)
    };
    let found = tokens.list(TokenQuery { key_id, section }, works).await?;
    Ok(found.page(from.as_ref(), query, |(_, token)| ShownToken::from(&token)))
}

/// Whether the family of a token, if it has one, allows it to work. A token whose family is missing does not work.
fn works_in_family(token: &Token, family: Option<&Family>) -> bool {
    let is_in_family = token.token_id.family().is_some();
    let family = family.filter(|family| family.revoked_at.is_none());
    match token.kind {
        TokenKind::AccessToken => !is_in_family || family.is_some(),
        TokenKind::RefreshToken => family.is_some_and(|family| family.is_present(token.token_id)),
    }
}

#[cfg(test)]
mod tests {
    use keygate_core::credential::TokenId;

    use super::*;

    #[test]
    fn a_cursor_is_valid_only_for_the_tokens_of_one_key() {
        let (acme, other): (WorkspaceId, WorkspaceId) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let key: KeyId = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        let another: KeyId = "01JD3V6Y4N8Q2Z5X7W9B0C1D2F".parse().unwrap();
        let after: TokenId = "01JD4A0000F9K3W7RT2M8Q0001".parse().unwrap();
        let query = checksum(&acme, key);
        let cursor = || Cursor { backward: false, after: Some(after) };
        assert_eq!(Cursor::read(&cursor().write(query), query, |_: &TokenId| true).unwrap(), cursor());
        for query_of_another in [checksum(&acme, another), checksum(&other, key)] {
            assert!(Cursor::read(&cursor().write(query_of_another), query, |_: &TokenId| true).is_err());
        }
    }
}

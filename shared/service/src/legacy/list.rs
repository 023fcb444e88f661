//! Listing the legacy keys of a workspace, page by page, the latest imports first.

use keygate_core::context::RequestContext;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::query_parameters::{QueryParameters, user};

use crate::keys::ReadableKeys;
use crate::legacy::{LegacyReader, ShownLegacyKey};
use crate::store::legacy_keys::LegacyKeyQuery;
use crate::store::pagination::{self, Cursor, Page, Section};

/// A list request.
#[derive(Debug, PartialEq, Eq)]
pub struct ListLegacyKeys {
    user_id: Option<UserId>,
    limit: usize,
    cursor: Option<String>,
}

impl ListLegacyKeys {
    /// Parses query parameters.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid, unknown or repeated parameter.
    pub fn parse<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let mut parameters = QueryParameters::new(parameters);
        let user_id = parameters.optional("user_id", user);
        let limit = parameters.optional("limit", pagination::limit).unwrap_or(pagination::DEFAULT_LIMIT);
        let cursor = parameters.optional("cursor", |value| Ok(value.to_owned()));
        parameters.finish(Self { user_id, limit, cursor })
    }
}

/// A checksum of the query in its workspace.
fn checksum(workspace: &WorkspaceId, user: Option<&UserId>) -> u32 {
    crc32fast::hash(format!("legacy {workspace} {user:?}").as_bytes())
}

/// Lists the legacy keys of the caller's workspace. A caller with `keys:write` only lists their own keys.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not read keys, or not those of the requested user.
/// - [`Error::Invalid`]: the cursor does not belong to this query.
/// - [`Error::Unavailable`]: try again later.
pub async fn list(
    reader: &LegacyReader,
    context: &RequestContext,
    request: &ListLegacyKeys,
) -> Result<Page<ShownLegacyKey>, Error> {
    let RequestContext { caller, now, .. } = context;
    let workspace = &caller.workspace_id;
    let readable = ReadableKeys::of(caller)?;
    if let Some(user) = &request.user_id {
        readable.require(user)?;
    }
    let user = match readable {
        ReadableKeys::All => request.user_id.as_ref(),
        ReadableKeys::Of(own) => Some(own),
    };
    let query = checksum(workspace, user);
    let from = request.cursor.as_ref().map(|cursor| Cursor::read(cursor, query, |_| true)).transpose()?;
    let ascending = from.as_ref().is_some_and(|cursor| cursor.backward);
    let after = from.as_ref().and_then(|cursor| cursor.after);
    let section = Section { ascending, after, limit: request.limit };
    let found = reader.keys.list(LegacyKeyQuery { workspace, user, section }, *now).await?;
    Ok(found.page(from.as_ref(), query, |(_, key)| ShownLegacyKey::new(&key, reader.sunset, *now)))
}

#[cfg(test)]
mod tests {
    use keygate_core::credential::KeyId;

    use super::*;

    #[test]
    fn invalid_parameters_are_reported() {
        let wrong = [("limit", "0"), ("user_id", "a b"), ("status", "active"), ("limit", "1")];
        let Err(Error::Invalid { fields }) = ListLegacyKeys::parse(wrong) else { panic!("it is valid") };
        let mut places: Vec<_> = fields.iter().map(|field| field.place.to_string()).collect();
        places.sort();
        assert_eq!(places, ["?limit", "?limit", "?status", "?user_id"]);
    }

    #[test]
    fn a_cursor_is_valid_only_for_its_query() {
        let (acme, other): (WorkspaceId, WorkspaceId) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let bob: UserId = "bob".parse().unwrap();
        let id: KeyId = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        let cursor = || Cursor { backward: false, after: Some(id) };
        let query = checksum(&acme, None);
        assert_eq!(Cursor::read(&cursor().write(query), query, |_: &KeyId| true).unwrap(), cursor());
        for another in [checksum(&other, None), checksum(&acme, Some(&bob))] {
            assert!(Cursor::read(&cursor().write(another), query, |_: &KeyId| true).is_err());
        }
    }
}

//! Listing the keys of a workspace, newest first.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::caller::{Caller, WorkspaceId};
use crate::credential::{Brand, KeyId};
use crate::error::{Error, InvalidField, Place};
use crate::keys::ShownKey;
use crate::scope::KEYS_READ;
use crate::store::keys::Keys;

const DEFAULT_LIMIT: usize = 25;
const LARGEST_LIMIT: usize = 100;

/// What a caller asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct ListKeys {
    /// The most keys on the page.
    pub limit: usize,
    /// Where the page before ended, as its `next_cursor` said.
    pub cursor: Option<String>,
}

impl ListKeys {
    /// Reads the parameters of a query.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every parameter that is wrong, unknown or there twice.
    pub fn parse<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let mut limit = None;
        let mut cursor = None;
        let mut invalid = Vec::new();
        for (name, value) in parameters {
            let wrong = match name {
                "limit" if limit.is_some() => Some("must be there once"),
                "cursor" if cursor.is_some() => Some("must be there once"),
                "limit" => {
                    let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
                    limit = digits
                        .and_then(|digits| digits.parse().ok())
                        .filter(|limit| (1..=LARGEST_LIMIT).contains(limit));
                    limit.is_none().then_some("must be a whole number from 1 to 100")
                }
                "cursor" => {
                    cursor = Some(value.to_owned());
                    None
                }
                _ => Some("is not a parameter of this request"),
            };
            invalid.extend(wrong.map(|detail| InvalidField {
                place: Place::Parameter(name.to_owned()),
                detail: detail.to_owned(),
            }));
        }
        if invalid.is_empty() {
            Ok(Self { limit: limit.unwrap_or(DEFAULT_LIMIT), cursor })
        } else {
            Err(Error::Invalid { fields: invalid })
        }
    }
}

/// A page of keys.
#[derive(Debug, Serialize)]
pub struct KeyPage {
    items: Vec<ShownKey>,
    /// Opaque, good for the next page of the same query; null on the last page.
    next_cursor: Option<String>,
}

/// Lists the keys of the caller's workspace.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not read keys.
/// - [`Error::Invalid`]: the cursor is not one of this query.
/// - [`Error::Unavailable`]: try again later.
pub async fn list(
    keys: &Keys,
    brand: &Brand,
    caller: &Caller,
    request: ListKeys,
    now: DateTime<Utc>,
) -> Result<KeyPage, Error> {
    caller.require(KEYS_READ)?;
    let workspace = &caller.workspace_id;
    let before = request.cursor.map(|cursor| read_cursor(&cursor, workspace)).transpose()?;
    let page = keys.newest(workspace, before, request.limit, now).await?;
    Ok(KeyPage {
        items: page.keys.iter().map(|key| ShownKey::new(key, brand, now)).collect(),
        next_cursor: page.next.map(|last| write_cursor(last, workspace)),
    })
}

/// A cursor is the id of the last key read, after a checksum over the query that it belongs to. The checksum guards
/// against mistakes, not against forgery: a forged cursor reaches nothing but the caller's own workspace.
fn write_cursor(last: KeyId, workspace: &WorkspaceId) -> String {
    URL_SAFE_NO_PAD.encode(format!("{:08x}{last}", query_checksum(last, workspace)))
}

fn read_cursor(cursor: &str, workspace: &WorkspaceId) -> Result<KeyId, Error> {
    let last: Option<KeyId> = URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.get(8..).and_then(|id| id.parse().ok()));
    last.filter(|last| write_cursor(*last, workspace) == cursor).ok_or_else(|| {
        let detail = "must be the next_cursor of this very query".to_owned();
        Error::invalid(InvalidField { place: Place::Parameter("cursor".to_owned()), detail })
    })
}

fn query_checksum(last: KeyId, workspace: &WorkspaceId) -> u32 {
    crc32fast::hash(format!("keys newest first\n{workspace}\n{last}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_parameters(parameters: &[(&str, &str)]) -> Vec<String> {
        let Err(Error::Invalid { fields }) = ListKeys::parse(parameters.iter().copied()) else {
            panic!("{parameters:?} is valid")
        };
        fields.iter().map(|field| field.place.to_string()).collect()
    }

    #[test]
    fn a_page_has_25_keys_unless_asked_for_1_to_100() {
        assert_eq!(ListKeys::parse([]).unwrap().limit, 25);
        assert_eq!(ListKeys::parse([("limit", "100")]).unwrap().limit, 100);
        for wrong in ["0", "101", "-1", "+5", "", "ten", "1e2", "99999999999999999999"] {
            assert_eq!(wrong_parameters(&[("limit", wrong)]), ["?limit"], "{wrong}");
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        let parameters =
            [("limit", "1"), ("limit", "2"), ("colour", "red"), ("cursor", "a"), ("cursor", "b")];
        assert_eq!(wrong_parameters(&parameters), ["?limit", "?colour", "?cursor"]);
    }

    #[test]
    fn a_cursor_is_good_only_for_the_workspace_it_was_made_in() {
        let (acme, other): (WorkspaceId, WorkspaceId) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let id: KeyId = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        let cursor = write_cursor(id, &acme);
        assert_eq!(read_cursor(&cursor, &acme).unwrap(), id);
        assert!(read_cursor(&cursor, &other).is_err());
    }

    #[test]
    fn a_hostile_cursor_is_an_invalid_parameter() {
        let acme: WorkspaceId = "acme".parse().unwrap();
        let unicode = URL_SAFE_NO_PAD.encode("éééééééé");
        for cursor in ["", "AAAA", "%%%", "é", "../../etc/passwd", &unicode, &"A".repeat(100_000)] {
            assert!(matches!(read_cursor(cursor, &acme), Err(Error::Invalid { .. })), "{cursor}");
        }
    }
}

//! Listing the keys of a workspace: sorted, filtered, page by page, in both directions.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::caller::{Caller, UserId, WorkspaceId};
use crate::credential::{Brand, KeyId};
use crate::error::{Error, InvalidField, Place};
use crate::keys::ShownKey;
use crate::record::{Key, LONGEST_NAME, Status, fold};
use crate::scope::KEYS_READ;
use crate::store::keys::{Keys, Position, Sort, Walk};

const DEFAULT_LIMIT: usize = 25;
const LARGEST_LIMIT: usize = 100;
/// The longest value that an index is sorted by, in bytes: the folded name.
const LONGEST_SORT_VALUE: usize = 512;

/// What a caller asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct ListKeys {
    sort: Sort,
    ascending: bool,
    filter: Filter,
    limit: usize,
    cursor: Option<String>,
}

/// Which keys are wanted; what is `None` wants all.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filter {
    /// Part of the name, folded.
    name: Option<String>,
    user_id: Option<UserId>,
    created_after: Option<DateTime<Utc>>,
    created_before: Option<DateTime<Utc>>,
    status: Option<WantedStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WantedStatus {
    Active,
    Expired,
    Disabled,
    Unused,
}

impl ListKeys {
    /// Reads the parameters of a query.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every parameter that is wrong, unknown or there twice.
    pub fn parse<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let mut sort = None;
        let mut order = None;
        let mut limit = None;
        let mut cursor = None;
        let mut filter = Filter::default();
        let mut seen: Vec<&str> = Vec::new();
        let mut invalid = Vec::new();
        for (name, value) in parameters {
            let taken = match name {
                _ if seen.contains(&name) => Err("must be there once".to_owned()),
                "sort" => take(&mut sort, parse_sort(value)),
                "order" => take(&mut order, parse_order(value)),
                "limit" => take(&mut limit, parse_limit(value)),
                "cursor" => take(&mut cursor, Ok(value.to_owned())),
                "name" => take(&mut filter.name, parse_name_part(value)),
                "user_id" => take(&mut filter.user_id, value.parse().map_err(|wrong| format!("{wrong}"))),
                "created_after" => take(&mut filter.created_after, parse_time(value)),
                "created_before" => take(&mut filter.created_before, parse_time(value)),
                "status" => take(&mut filter.status, parse_status(value)),
                _ => Err("is not a parameter of this request".to_owned()),
            };
            seen.push(name);
            if let Err(detail) = taken {
                invalid.push(InvalidField { place: Place::Parameter(name.to_owned()), detail });
            }
        }
        if !invalid.is_empty() {
            return Err(Error::Invalid { fields: invalid });
        }
        let sort = sort.unwrap_or(Sort::CreatedAt);
        let ascending = order.unwrap_or(matches!(sort, Sort::Name | Sort::User));
        Ok(Self { sort, ascending, filter, limit: limit.unwrap_or(DEFAULT_LIMIT), cursor })
    }

    /// Tells this query from every other one of any workspace. The limit is not part of it: it may change on the way.
    fn checksum(&self, workspace: &WorkspaceId) -> u32 {
        let Self { sort, ascending, filter, .. } = self;
        crc32fast::hash(format!("{workspace} {sort:?} {ascending} {filter:?}").as_bytes())
    }
}

fn take<T>(place: &mut Option<T>, parsed: Result<T, String>) -> Result<(), String> {
    *place = Some(parsed?);
    Ok(())
}

fn parse_sort(value: &str) -> Result<Sort, String> {
    match value {
        "name" => Ok(Sort::Name),
        "user" => Ok(Sort::User),
        "created_at" => Ok(Sort::CreatedAt),
        "last_used_at" => Ok(Sort::LastUsedAt),
        _ => Err("must be name, user, created_at or last_used_at".to_owned()),
    }
}

/// Whether from small to large.
fn parse_order(value: &str) -> Result<bool, String> {
    match value {
        "asc" => Ok(true),
        "desc" => Ok(false),
        _ => Err("must be asc or desc".to_owned()),
    }
}

pub(crate) fn parse_limit(value: &str) -> Result<usize, String> {
    let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    let limit =
        digits.and_then(|digits| digits.parse().ok()).filter(|limit| (1..=LARGEST_LIMIT).contains(limit));
    limit.ok_or_else(|| format!("must be a whole number from 1 to {LARGEST_LIMIT}"))
}

fn parse_name_part(value: &str) -> Result<String, String> {
    if (1..=LONGEST_NAME).contains(&value.chars().count()) {
        Ok(fold(value))
    } else {
        Err(format!("must be 1 to {LONGEST_NAME} characters"))
    }
}

fn parse_time(value: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(value).map_err(|_| "must be a time in the form of RFC 3339")?;
    Ok(time.into())
}

fn parse_status(value: &str) -> Result<WantedStatus, String> {
    match value {
        "active" => Ok(WantedStatus::Active),
        "expired" => Ok(WantedStatus::Expired),
        "disabled" => Ok(WantedStatus::Disabled),
        "unused" => Ok(WantedStatus::Unused),
        _ => Err("must be active, expired, disabled or unused".to_owned()),
    }
}

impl Filter {
    fn wants_all(&self) -> bool {
        *self == Self::default()
    }

    fn wants(&self, key: &Key, now: DateTime<Utc>) -> bool {
        self.name.as_ref().is_none_or(|part| key.name.folded().contains(part.as_str()))
            && self.user_id.as_ref().is_none_or(|user_id| key.user_id == *user_id)
            && self.created_after.is_none_or(|start| start <= key.created_at)
            && self.created_before.is_none_or(|end| key.created_at < end)
            && self.status.is_none_or(|status| match status {
                WantedStatus::Active => key.status(now) == Status::Active,
                WantedStatus::Expired => key.status(now) == Status::Expired,
                WantedStatus::Disabled => key.status(now) == Status::Disabled,
                WantedStatus::Unused => key.last_used_at.is_none(),
            })
    }
}

/// A page of keys.
#[derive(Debug, Serialize)]
pub struct KeyPage {
    items: Vec<ShownKey>,
    /// Opaque, good for the next page of the same query; null on the last page.
    next_cursor: Option<String>,
    /// The same for the page before; null on the first.
    prev_cursor: Option<String>,
}

/// Lists the keys of the caller's workspace.
///
/// What it reads is bounded: a page of a filtered list may have fewer keys than asked for, even none, and still a
/// cursor to go on with.
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
    request: &ListKeys,
    now: DateTime<Utc>,
) -> Result<KeyPage, Error> {
    caller.require(KEYS_READ)?;
    let workspace = &caller.workspace_id;
    let query = request.checksum(workspace);
    let from = request.cursor.as_ref().map(|cursor| Cursor::read(cursor, query, request.sort)).transpose()?;
    let backward = from.as_ref().is_some_and(|cursor| cursor.backward);
    let after = from.as_ref().and_then(|cursor| cursor.after.as_ref());

    let wanted = |key: &Key| request.filter.wants(key, now);
    let wanted: Option<&(dyn Fn(&Key) -> bool + Send + Sync)> =
        if request.filter.wants_all() { None } else { Some(&wanted) };
    let walk = Walk { workspace, sort: request.sort, ascending: request.ascending != backward, after };
    let mut found = keys.walk(walk, request.limit, wanted, now).await?;

    // Going back leads to what comes before the first key of this page; without one, to all that the walk has passed.
    let way_back = found.keys.first().map(|(position, _)| position.clone()).or_else(|| found.rest.clone());
    let onward = found.rest.take().map(|rest| Cursor { backward, after: Some(rest) }.write(query));
    // A walk that began at the edge has nothing behind it.
    let back = after.map(|_| Cursor { backward: !backward, after: way_back }.write(query));
    if backward {
        found.keys.reverse();
    }
    let (next_cursor, prev_cursor) = if backward { (back, onward) } else { (onward, back) };
    let items = found.keys.iter().map(|(_, key)| ShownKey::new(key, brand, now)).collect();
    Ok(KeyPage { items, next_cursor, prev_cursor })
}

/// Where a page begins and in which direction it is read. The checksum of its query guards against mistakes, not
/// against forgery: a forged cursor reaches nothing but the caller's own workspace.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    /// Against the order of the list.
    backward: bool,
    /// From the edge, if not said.
    after: Option<Position>,
}

/// A cursor before it is made opaque.
#[derive(Serialize, Deserialize)]
struct CursorText {
    query: u32,
    backward: bool,
    after: Option<(String, KeyId)>,
}

impl Cursor {
    fn write(self, query: u32) -> String {
        let after = self.after.map(|position| (position.sort_value, position.key_id));
        let text = CursorText { query, backward: self.backward, after };
        URL_SAFE_NO_PAD.encode(serde_json::to_string(&text).unwrap_or_default())
    }

    fn read(cursor: &str, query: u32, sort: Sort) -> Result<Self, Error> {
        let text = URL_SAFE_NO_PAD.decode(cursor).ok();
        let text: Option<CursorText> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let text = text.filter(|text| text.query == query);
        let text = text.filter(|text| text.after.as_ref().is_none_or(|(value, id)| fits(sort, value, *id)));
        let text = text.ok_or_else(|| {
            let detail = "must be a cursor of this very query".to_owned();
            Error::invalid(InvalidField { place: Place::Parameter("cursor".to_owned()), detail })
        })?;
        let after = text.after.map(|(sort_value, key_id)| Position { sort_value, key_id });
        Ok(Self { backward: text.backward, after })
    }
}

/// Whether an index can have that value: what the database refuses must be refused before.
fn fits(sort: Sort, value: &str, id: KeyId) -> bool {
    match sort {
        Sort::Name => (1..=LONGEST_SORT_VALUE).contains(&value.len()),
        Sort::User => value.parse::<UserId>().is_ok(),
        Sort::CreatedAt => value == id.to_string(),
        Sort::LastUsedAt => value.parse::<i64>().is_ok(),
    }
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
    fn unknown_and_repeated_and_wrong_parameters_are_named() {
        let parameters =
            [("limit", "1"), ("limit", "2"), ("colour", "red"), ("cursor", "a"), ("cursor", "b")];
        assert_eq!(wrong_parameters(&parameters), ["?limit", "?colour", "?cursor"]);
        let parameters = [
            ("sort", "hash"),
            ("order", "up"),
            ("name", ""),
            ("user_id", "a b"),
            ("created_after", "yesterday"),
            ("created_before", "2026-11-22"),
            ("status", "gone"),
        ];
        assert_eq!(wrong_parameters(&parameters).len(), 7);
    }

    #[test]
    fn times_are_listed_from_the_newest_and_words_from_the_first() {
        for (sort, ascending) in
            [("name", true), ("user", true), ("created_at", false), ("last_used_at", false)]
        {
            assert_eq!(ListKeys::parse([("sort", sort)]).unwrap().ascending, ascending, "{sort}");
            assert!(ListKeys::parse([("sort", sort), ("order", "asc")]).unwrap().ascending);
        }
    }

    fn cursor() -> Cursor {
        let key_id: KeyId = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        Cursor { backward: false, after: Some(Position { sort_value: key_id.to_string(), key_id }) }
    }

    #[test]
    fn a_cursor_is_good_only_for_the_query_that_made_it() {
        let (acme, other): (WorkspaceId, WorkspaceId) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let query = |parameters: &[(&'static str, &'static str)]| {
            ListKeys::parse(parameters.iter().copied()).unwrap()
        };
        let checksum = query(&[]).checksum(&acme);
        assert_eq!(Cursor::read(&cursor().write(checksum), checksum, Sort::CreatedAt).unwrap(), cursor());
        assert_eq!(query(&[("limit", "7")]).checksum(&acme), checksum);
        assert_ne!(query(&[]).checksum(&other), checksum);
        for parameters in [[("order", "asc")], [("sort", "name")], [("name", "a")], [("status", "active")]] {
            assert_ne!(query(&parameters).checksum(&acme), checksum, "{parameters:?}");
        }
        assert!(Cursor::read(&cursor().write(checksum), checksum + 1, Sort::CreatedAt).is_err());
    }

    #[test]
    fn a_hostile_cursor_is_an_invalid_parameter() {
        let text = |after: serde_json::Value| {
            URL_SAFE_NO_PAD
                .encode(serde_json::json!({"query": 7, "backward": true, "after": after}).to_string())
        };
        let id = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E";
        let long = "n".repeat(600);
        for (sort, cursor) in [
            (Sort::CreatedAt, String::new()),
            (Sort::CreatedAt, "AAAA".to_owned()),
            (Sort::CreatedAt, "%%%".to_owned()),
            (Sort::CreatedAt, "é".to_owned()),
            (Sort::CreatedAt, "A".repeat(100_000)),
            (Sort::CreatedAt, text(serde_json::json!([id, "x"]))),
            (Sort::CreatedAt, text(serde_json::json!(["other", id]))),
            (Sort::Name, text(serde_json::json!(["", id]))),
            (Sort::Name, text(serde_json::json!([long, id]))),
            (Sort::User, text(serde_json::json!(["a b", id]))),
            (Sort::LastUsedAt, text(serde_json::json!(["NaN", id]))),
            (Sort::LastUsedAt, text(serde_json::json!([7, id]))),
        ] {
            assert!(matches!(Cursor::read(&cursor, 7, sort), Err(Error::Invalid { .. })), "{cursor}");
        }
        assert!(Cursor::read(&text(serde_json::json!(["name", id])), 7, Sort::Name).is_ok());
        assert!(Cursor::read(&text(serde_json::Value::Null), 7, Sort::Name).is_ok());
    }
}

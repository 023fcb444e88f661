//! Listing the keys of a workspace: sorted, filtered, and page by page in both directions.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::context::RequestContext;
use keygate_core::credential::Brand;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::{Key, Status, UsedKey};
use keygate_core::metadata;
use keygate_core::name::{InvalidName, MAX_NAME_LEN};
use keygate_core::query_parameters::{QueryParameters, number, time, user};
use keygate_core::unicode::fold;
use serde::Serialize;

use crate::keys::{ReadableKeys, ShownKey};
use crate::store::key_queries::{KeyFilter, KeyLister, KeyPosition, KeyQuery, Sort};
use crate::store::pagination::{self, Cursor, Page, Section};

/// The maximum length of an index's sort value in bytes. Folded names are the longest values.
const MAX_SORT_VALUE_LEN: usize = 512;

/// The maximum number of keys that are counted.
const MAX_COUNT: usize = 100;

/// The maximum of the parameter for days without use.
const MAX_UNUSED_DAYS: u32 = 3650;

/// A list request.
#[derive(Debug, PartialEq, Eq)]
pub struct ListKeys {
    sort: Sort,
    ascending: bool,
    filter: Filter,
    limit: usize,
    cursor: Option<String>,
    count: bool,
}

/// The filters of a list; a filter that is `None` accepts every key.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filter {
    /// A text that the folded name contains.
    name: Option<String>,
    user_id: Option<UserId>,
    created_by: Option<UserId>,
    created_after: Option<DateTime<Utc>>,
    created_before: Option<DateTime<Utc>>,
    status: Option<Status>,
    unused: Option<Unused>,
    /// Entries of the metadata that a key must have, each with this value.
    metadata: Vec<(String, String)>,
}

/// The keys that have not been used for some days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unused {
    /// The number of days; `None` for keys that were never used.
    days: Option<u32>,
}

/// A value of the parameter `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WantedStatus {
    Is(Status),
    Unused,
}

impl ListKeys {
    /// Parses query parameters.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid, unknown or repeated parameter.
    pub fn parse<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let mut parameters = QueryParameters::new(parameters);
        let sort = parameters.optional("sort", parse_sort).unwrap_or(Sort::CreatedAt);
        let ascending = parameters
            .optional("order", parse_order)
            .unwrap_or(matches!(sort, Sort::Name | Sort::User | Sort::CreatedBy));
        let limit = parameters.optional("limit", pagination::limit).unwrap_or(pagination::DEFAULT_LIMIT);
        let cursor = parameters.optional("cursor", |value| Ok(value.to_owned()));
        let count = parameters.optional("count", |value| match (value, &cursor) {
            ("true", Some(_)) => Err("must not come with a cursor; the first page has the count".to_owned()),
            _ => boolean(value),
        });
        let status = parameters.optional("status", parse_status);
        let unused_days = parameters.optional("unused_days", |value| match status {
            Some(WantedStatus::Unused) => number(value, 1..=MAX_UNUSED_DAYS),
            _ => Err("must come with status=unused".to_owned()),
        });
        let filter = Filter {
            name: parameters.optional("name", parse_name_part),
            user_id: parameters.optional("user_id", user),
            created_by: parameters.optional("created_by", user),
            created_after: parameters.optional("created_after", time),
            created_before: parameters.optional("created_before", time),
            status: status.and_then(|status| match status {
                WantedStatus::Is(status) => Some(status),
                WantedStatus::Unused => None,
            }),
            unused: (status == Some(WantedStatus::Unused)).then_some(Unused { days: unused_days }),
            metadata: parameters.with_prefix("metadata.", metadata_entry),
        };
        parameters.finish(Self { sort, ascending, filter, limit, cursor, count: count.unwrap_or(false) })
    }

    /// A checksum of the query in its workspace. The limit is not part of it, because it may change from page to page.
    fn checksum(&self, workspace: &WorkspaceId, readable: ReadableKeys<'_>) -> u32 {
        let Self { sort, ascending, filter, .. } = self;
        crc32fast::hash(format!("{workspace} {readable:?} {sort:?} {ascending} {filter:?}").as_bytes())
    }
}

fn parse_sort(value: &str) -> Result<Sort, String> {
    match value {
        "name" => Ok(Sort::Name),
        "user" => Ok(Sort::User),
        "created_by" => Ok(Sort::CreatedBy),
        "created_at" => Ok(Sort::CreatedAt),
        "last_used_at" => Ok(Sort::LastUsedAt),
        _ => Err("must be name, user, created_by, created_at or last_used_at".to_owned()),
    }
}

/// Whether the order is ascending.
fn parse_order(value: &str) -> Result<bool, String> {
    match value {
        "asc" => Ok(true),
        "desc" => Ok(false),
        _ => Err("must be asc or desc".to_owned()),
    }
}

fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

fn parse_name_part(value: &str) -> Result<String, String> {
    if !(1..=MAX_NAME_LEN).contains(&value.chars().count()) {
        return Err(format!("must be 1 to {MAX_NAME_LEN} characters"));
    }
    // A part that folds to nothing would match every name.
    Some(fold(value)).filter(|part| !part.is_empty()).ok_or_else(|| InvalidName::Invisible.to_string())
}

fn metadata_entry(name: &str, value: &str) -> Result<(String, String), String> {
    if !metadata::is_name(name) {
        return Err(metadata::must_be_a_name());
    }
    if value.is_empty() {
        return Err("must have a value".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_status(value: &str) -> Result<WantedStatus, String> {
    match value {
        "active" => Ok(WantedStatus::Is(Status::Active)),
        "expired" => Ok(WantedStatus::Is(Status::Expired)),
        "disabled" => Ok(WantedStatus::Is(Status::Disabled)),
        "unused" => Ok(WantedStatus::Unused),
        _ => Err("must be active, expired, disabled or unused".to_owned()),
    }
}

impl Filter {
    /// Whether the filters on a key itself accept every key.
    fn wants_all(&self) -> bool {
        *self == Self { unused: self.unused, ..Self::default() }
    }

    fn wants(&self, key: &Key, now: DateTime<Utc>) -> bool {
        self.name.as_ref().is_none_or(|part| key.name.folded().contains(part.as_str()))
            && self.user_id.as_ref().is_none_or(|user_id| key.user_id == *user_id)
            && self.created_by.as_ref().is_none_or(|user_id| key.created_by == *user_id)
            && self.created_after.is_none_or(|start| start <= key.created_at)
            && self.created_before.is_none_or(|end| key.created_at < end)
            && self.status.is_none_or(|status| key.status(now) == status)
            && self.metadata.iter().all(|(name, value)| key.metadata.get(name) == Some(value))
    }
}

impl Unused {
    fn wants(self, key: &UsedKey, now: DateTime<Utc>) -> bool {
        match self.days {
            Some(days) => key.unused_since() <= now - TimeDelta::days(days.into()),
            None => key.last_use.is_none(),
        }
    }
}

/// A page of keys.
#[derive(Debug, Serialize)]
pub struct ListedKeys {
    #[serde(flatten)]
    page: Page<ShownKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<Count>,
}

/// The number of keys that a list has.
#[derive(Debug, Serialize)]
struct Count {
    /// The number of keys that were counted, at most [`MAX_COUNT`].
    number: usize,
    /// Whether there are, or may be, more.
    more: bool,
}

/// Lists the keys of the caller's workspace. A caller with `keys:write` only lists their own keys.
///
/// The number of reads is bounded: a page of a filtered list may have fewer keys than requested, even none, and still a
/// cursor to continue from.
///
/// # Errors
///
/// - [`Error::InsufficientCredential`]: the caller presented the secret of a former user.
/// - [`Error::InsufficientScope`]: the caller may not read keys, or requests keys of others and may read only their own.
/// - [`Error::TooManyKeys`]: the caller may read only their own keys, and has too many to sort.
/// - [`Error::Invalid`]: the cursor does not belong to this query.
/// - [`Error::Unavailable`]: try again later.
pub async fn list(
    keys: &KeyLister,
    brand: &Brand,
    context: &RequestContext,
    request: &ListKeys,
) -> Result<ListedKeys, Error> {
    let (caller, now) = (&context.caller, context.now);
    let readable = ReadableKeys::of(caller)?;
    if let Some(user) = &request.filter.user_id {
        readable.require(user)?;
    }
    let workspace = &caller.workspace_id;
    let query = request.checksum(workspace, readable);
    let fits = |position: &KeyPosition| fits(request.sort, position);
    let from = request.cursor.as_ref().map(|cursor| Cursor::read(cursor, query, fits)).transpose()?;
    let backward = from.as_ref().is_some_and(|cursor| cursor.backward);
    let after = from.as_ref().and_then(|cursor| cursor.after.as_ref());

    let by_key = |key: &Key| request.filter.wants(key, now);
    let by_use = request.filter.unused.map(|unused| move |key: &UsedKey| unused.wants(key, now));
    let filter = KeyFilter {
        by_key: if request.filter.wants_all() { None } else { Some(&by_key) },
        by_use: by_use.as_ref().map(|by_use| by_use as _),
    };
    // The first page is among the keys that are counted.
    let limit = if request.count { request.limit.max(MAX_COUNT) } else { request.limit };
    let section = Section { ascending: request.ascending != backward, after, limit };
    let query_of_keys = KeyQuery { workspace, sort: request.sort, section };
    let found = match readable {
        ReadableKeys::All => keys.of_workspace(query_of_keys, filter, now).await?,
        // Cursors of an index over all keys would reveal keys that the caller may not see.
        ReadableKeys::Of(user) => keys.of_user(query_of_keys, user, filter, now).await?,
    };
    let count = request.count.then(|| Count { number: found.len(), more: found.has_more() });
    let found = keys.with_last_uses(found.first(request.limit)).await?;
    let page = found.page(from.as_ref(), query, |(_, key)| ShownKey::new(&key, brand, context.into()));
    Ok(ListedKeys { page, count })
}

/// Whether a cursor's position has the form of the index's values.
fn fits(sort: Sort, KeyPosition { sort_value: value, key_id }: &KeyPosition) -> bool {
    match sort {
        Sort::Name => (1..=MAX_SORT_VALUE_LEN).contains(&value.len()),
        Sort::User | Sort::CreatedBy => value.parse::<UserId>().is_ok(),
        Sort::CreatedAt => *value == key_id.to_string(),
        Sort::LastUsedAt => value.parse::<i64>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use keygate_core::credential::KeyId;
    use serde_json::{Value, json};

    use super::*;

    fn wrong_parameters(parameters: &[(&str, &str)]) -> Vec<String> {
        let Err(Error::Invalid { fields }) = ListKeys::parse(parameters.iter().copied()) else {
            panic!("{parameters:?} is valid")
        };
        fields.iter().map(|field| field.place.to_string()).collect()
    }

    #[test]
    fn a_page_has_1_to_100_keys_and_25_by_default() {
        assert_eq!(ListKeys::parse([]).unwrap().limit, 25);
        assert_eq!(ListKeys::parse([("limit", "100")]).unwrap().limit, 100);
        for wrong in ["0", "101", "-1", "+5", "", "ten", "1e2", "99999999999999999999"] {
            assert_eq!(wrong_parameters(&[("limit", wrong)]), ["?limit"], "{wrong}");
        }
    }

    #[test]
    fn unknown_repeated_and_invalid_parameters_are_reported() {
        let parameters =
            [("limit", "1"), ("limit", "2"), ("colour", "red"), ("cursor", "a"), ("cursor", "b")];
        assert_eq!(wrong_parameters(&parameters), ["?cursor", "?limit", "?colour"]);
        let parameters = [
            ("sort", "hash"),
            ("order", "up"),
            ("name", ""),
            ("user_id", "a b"),
            ("created_by", "a b"),
            ("created_after", "yesterday"),
            ("created_before", "2026-11-22"),
            ("status", "gone"),
        ];
        assert_eq!(wrong_parameters(&parameters).len(), 8);
        for nobodys in ["keygate:clock", "Keygate:users", ".", ".."] {
            assert_eq!(wrong_parameters(&[("user_id", nobodys)]), ["?user_id"], "{nobodys}");
        }
        assert_eq!(wrong_parameters(&[("name", "\u{200B}")]), ["?name"], "it would find every name");
        assert!(ListKeys::parse([("name", " ")]).is_ok());
    }

    #[test]
    fn metadata_is_filtered_by_name_and_exact_value() {
        let request = ListKeys::parse([("metadata.env", "live"), ("metadata.customer.id", "cus 7")]).unwrap();
        let key = |entries: &Value| -> Key {
            let stored = json!({"key_id": "01JD3V6Y4N8Q2Z5X7W9B0C1D2E", "workspace_id": "acme", "user_id": "alice", "name": "ci",
                "scopes": [], "created_at": 0, "created_by": "alice", "revision": 1, "metadata": entries});
            serde_json::from_value(stored).unwrap()
        };
        for (entries, wanted) in [
            (json!({"env": "live", "customer.id": "cus 7", "team": "a"}), true),
            (json!({"env": "live"}), false),
            (json!({"env": "Live", "customer.id": "cus 7"}), false),
            (json!({}), false),
        ] {
            assert_eq!(request.filter.wants(&key(&entries), DateTime::UNIX_EPOCH), wanted, "{entries}");
        }
        for (name, value) in [("metadata.", "x"), ("metadata.a b", "x"), ("metadata.env", "")] {
            assert_eq!(wrong_parameters(&[(name, value)]), [format!("?{name}")]);
        }
        let twice = [("metadata.env", "live"), ("metadata.env", "test")];
        assert_eq!(wrong_parameters(&twice), ["?metadata.env"]);
    }

    #[test]
    fn days_without_use_apply_only_to_unused_keys() {
        for days in ["1", "90", "3650"] {
            assert!(ListKeys::parse([("unused_days", days), ("status", "unused")]).is_ok(), "{days}");
        }
        for wrong in ["0", "3651", "-1", "+5", "", "1.5", "99999999999999999999"] {
            let parameters = [("status", "unused"), ("unused_days", wrong)];
            assert_eq!(wrong_parameters(&parameters), ["?unused_days"], "{wrong}");
        }
        assert_eq!(wrong_parameters(&[("unused_days", "90")]), ["?unused_days"]);
        assert_eq!(wrong_parameters(&[("status", "active"), ("unused_days", "90")]), ["?unused_days"]);
    }

    #[test]
    fn times_are_descending_and_texts_ascending_by_default() {
        for (sort, ascending) in [
            ("name", true),
            ("user", true),
            ("created_by", true),
            ("created_at", false),
            ("last_used_at", false),
        ] {
            assert_eq!(ListKeys::parse([("sort", sort)]).unwrap().ascending, ascending, "{sort}");
            assert!(ListKeys::parse([("sort", sort), ("order", "asc")]).unwrap().ascending);
        }
    }

    fn read(cursor: &str, query: u32, sort: Sort) -> Result<Cursor<KeyPosition>, Error> {
        Cursor::read(cursor, query, |position| fits(sort, position))
    }

    fn cursor() -> Cursor<KeyPosition> {
        let key_id: KeyId = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
        Cursor { backward: false, after: Some(KeyPosition { sort_value: key_id.to_string(), key_id }) }
    }

    #[test]
    fn a_cursor_is_valid_only_for_its_query() {
        let (acme, other): (WorkspaceId, WorkspaceId) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let query = |parameters: &[(&'static str, &'static str)]| {
            ListKeys::parse(parameters.iter().copied()).unwrap()
        };
        let checksum = query(&[]).checksum(&acme, ReadableKeys::All);
        assert_eq!(read(&cursor().write(checksum), checksum, Sort::CreatedAt).unwrap(), cursor());
        assert_eq!(query(&[("limit", "7")]).checksum(&acme, ReadableKeys::All), checksum);
        assert_ne!(query(&[]).checksum(&other, ReadableKeys::All), checksum);
        for parameters in [[("order", "asc")], [("sort", "name")], [("name", "a")], [("status", "active")]] {
            assert_ne!(query(&parameters).checksum(&acme, ReadableKeys::All), checksum, "{parameters:?}");
        }
        let unused = |days: &'static str| {
            query(&[("status", "unused"), ("unused_days", days)]).checksum(&acme, ReadableKeys::All)
        };
        assert_ne!(unused("90"), unused("91"));
        assert_ne!(unused("90"), query(&[("status", "unused")]).checksum(&acme, ReadableKeys::All));
        assert!(read(&cursor().write(checksum), checksum + 1, Sort::CreatedAt).is_err());
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
            (Sort::CreatedBy, text(serde_json::json!(["a b", id]))),
            (Sort::LastUsedAt, text(serde_json::json!(["NaN", id]))),
            (Sort::LastUsedAt, text(serde_json::json!([7, id]))),
        ] {
            assert!(matches!(read(&cursor, 7, sort), Err(Error::Invalid { .. })), "{cursor}");
        }
        assert!(read(&text(serde_json::json!(["name", id])), 7, Sort::Name).is_ok());
        assert!(read(&text(serde_json::Value::Null), 7, Sort::Name).is_ok());
    }
}

//! A table: its form, and how a restored item compares with the live one.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// An item, or the key of one.
pub(super) type Item = HashMap<String, AttributeValue>;

/// A table of the stack.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Table {
    /// Keys with their hashes
    Keys,
    /// Names, members and users
    Workspaces,
    /// Last uses and calls of keys
    Usage,
    /// Tokens and sessions
    Tokens,
    /// Legacy keys
    LegacyKeys,
    /// Audit trail, whose events are published again
    Activity,
}

/// How a restored item compares with the live one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    Missing,
    Same,
    /// The live item is older, or was changed by something else than Keygate.
    LiveIsOlder,
    LiveIsNewer,
}

/// Attributes of a key that change without a change of the key.
const VOLATILE: [&str; 6] =
    ["due_at", "due_bucket", "unused_notice_at", "unused_notice_revision", "token_generation", "unclaimed"];

impl Table {
    /// The stack's output with the name of the table.
    pub(super) fn output(self) -> &'static str {
        match self {
            Self::Keys => "KeysTableName",
            Self::Workspaces => "WorkspacesTableName",
            Self::Usage => "UsageTableName",
            Self::Tokens => "TokensTableName",
            Self::LegacyKeys => "LegacyKeysTableName",
            Self::Activity => "ActivityTableName",
        }
    }

    /// The attributes of the table's key.
    pub(super) fn key(self) -> &'static [&'static str] {
        match self {
            Self::Keys => &["key_id"],
            Self::Workspaces => &["workspace_id", "entry"],
            Self::Usage | Self::Tokens => &["key_id", "entry"],
            Self::LegacyKeys => &["hash"],
            Self::Activity => &["actor", "event"],
        }
    }

    /// Whether its items are credentials, so that writing one can make a revoked one work again.
    pub(super) fn has_credentials(self) -> bool {
        matches!(self, Self::Keys | Self::LegacyKeys)
    }

    /// The key of an item.
    pub(super) fn key_of(self, item: &Item) -> Item {
        let key = self.key().iter();
        key.filter_map(|name| Some(((*name).to_owned(), item.get(*name)?.clone()))).collect()
    }

    /// Checks that an item is one of this table. Tables of the same key differ in their items.
    ///
    /// # Errors
    ///
    /// It is of another table.
    pub(super) fn check(self, item: &Item) -> Result<(), Failure> {
        let has = |names: &[&str]| names.iter().all(|name| item.contains_key(*name));
        let begins = |prefixes: &[&str]| {
            let entry = text(item, "entry").unwrap_or_default();
            prefixes.iter().any(|prefix| entry.starts_with(prefix))
        };
        let fits = match self {
            Self::Keys => has(&["key_id", "hash", "workspace_id", "user_id", "revision"]),
            Self::Workspaces => has(&["workspace_id", "entry"]),
            Self::Usage => has(&["key_id"]) && begins(&["LAST", "CALLS#", "LIMITS"]),
            Self::Tokens => has(&["key_id"]) && begins(&["TOKEN#", "FAMILY#", "LIVE", "SESSION#", "CODE#"]),
            Self::LegacyKeys => has(&["hash", "key_id", "workspace_id", "user_id", "imported_at"]),
            Self::Activity => has(&["actor", "event", "action"]),
        };
        if fits {
            return Ok(());
        }
        let names: Vec<_> = {
            let mut names: Vec<_> = item.keys().map(String::as_str).collect();
            names.sort_unstable();
            names
        };
        Err(Failure::usage(format!("an item of the restored table has another form: {}", names.join(", ")))
            .advise("is --table the table that was restored?"))
    }

    /// Compares a restored item with the live one.
    pub(super) fn compare(self, restored: &Item, live: Option<&Item>) -> Comparison {
        let Some(live) = live else { return Comparison::Missing };
        match self {
            Self::Keys => compare_keys(restored, live),
            Self::LegacyKeys if is_same_but(restored, live, |name| name == "last_used_at") => {
                Comparison::Same
            }
            _ if restored == live => Comparison::Same,
            // Nothing in these items says which is older. The live one is what management and calls go by.
            _ => Comparison::LiveIsNewer,
        }
    }
}

/// Every change of a key has a revision of its own. A change without one was not made by Keygate, except that a call stores the
/// hash under a newer pepper, that the end of an overlap removes the previous hash, and that some attributes are volatile.
fn compare_keys(restored: &Item, live: &Item) -> Comparison {
    let revision = |item| number(item, "revision");
    match revision(live).cmp(&revision(restored)) {
        std::cmp::Ordering::Greater => Comparison::LiveIsNewer,
        std::cmp::Ordering::Less => Comparison::LiveIsOlder,
        // All tokens of the key were revoked since.
        std::cmp::Ordering::Equal
            if number(live, "token_generation") > number(restored, "token_generation") =>
        {
            Comparison::LiveIsNewer
        }
        // A generation never falls, so the live key was changed past Keygate, and tokens that ended work again.
        std::cmp::Ordering::Equal
            if number(live, "token_generation") < number(restored, "token_generation") =>
        {
            Comparison::LiveIsOlder
        }
        std::cmp::Ordering::Equal => {
            let is_rehashed = live.get("pepper_version") != restored.get("pepper_version");
            let is_explained = |name: &str| {
                VOLATILE.contains(&name)
                    || is_rehashed && matches!(name, "hash" | "pepper_version")
                    || name.starts_with("previous_") && !live.contains_key(name)
            };
            if is_same_but(restored, live, is_explained) { Comparison::Same } else { Comparison::LiveIsOlder }
        }
    }
}

fn is_same_but(one: &Item, other: &Item, is_explained: impl Fn(&str) -> bool) -> bool {
    let names = one.keys().chain(other.keys());
    names.filter(|name| !is_explained(name)).all(|name| one.get(name) == other.get(name))
}

/// A text of an item.
pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str)
}

/// A number of an item; 0 if it has none.
pub(super) fn number(item: &Item, name: &str) -> i64 {
    item.get(name).and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or_default()
}

/// A key or a part of one as a text, by which items are found.
pub(super) fn identity(key: &Item) -> String {
    let mut parts: Vec<_> = key
        .iter()
        .map(|(name, value)| match value {
            AttributeValue::S(text) => format!("{name}={text}"),
            AttributeValue::B(bytes) => format!("{name}={}", hex::encode(bytes)),
            other => format!("{name}={other:?}"),
        })
        .collect();
    parts.sort_unstable();
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(changes: &[(&str, &str)]) -> Item {
        let mut item = HashMap::new();
        for (name, value) in
            [("key_id", "1"), ("workspace_id", "acme"), ("user_id", "bob"), ("hash", "h"), ("scopes", "a")]
        {
            item.insert(name.to_owned(), AttributeValue::S(value.to_owned()));
        }
        for (name, value) in [("revision", "3"), ("pepper_version", "1"), ("token_generation", "2")] {
            item.insert(name.to_owned(), AttributeValue::N(value.to_owned()));
        }
        for (name, value) in changes {
            let is_number = value.parse::<i64>().is_ok();
            let value = if is_number { AttributeValue::N } else { AttributeValue::S }((*value).to_owned());
            item.insert((*name).to_owned(), value);
        }
        item
    }

    #[test]
    fn a_key_is_as_old_as_its_revision() {
        let compared = |live: &[(&str, &str)]| Table::Keys.compare(&key(&[]), Some(&key(live)));
        assert_eq!(Table::Keys.compare(&key(&[]), None), Comparison::Missing);
        for (live, expected) in [
            (&[][..], Comparison::Same),
            (&[("revision", "4"), ("disabled_at", "100")], Comparison::LiveIsNewer),
            (&[("revision", "2")], Comparison::LiveIsOlder),
            // A change of an item past Keygate leaves the count as it is.
            (&[("scopes", "workspace:admin")], Comparison::LiveIsOlder),
            (&[("hash", "of another secret")], Comparison::LiveIsOlder),
            (&[("previous_hash", "of another secret")], Comparison::LiveIsOlder),
            // What Keygate writes without a new revision.
            (&[("hash", "under version 2"), ("pepper_version", "2")], Comparison::Same),
            (&[("due_at", "100"), ("unused_notice_at", "5")], Comparison::Same),
            (&[("token_generation", "3")], Comparison::LiveIsNewer),
        ] {
            assert_eq!(compared(live), expected, "{live:?}");
        }
        let with_overlap = key(&[("previous_hash", "p"), ("previous_expires_at", "100")]);
        assert_eq!(
            Table::Keys.compare(&with_overlap, Some(&key(&[]))),
            Comparison::Same,
            "the overlap has ended"
        );
    }

    #[test]
    fn another_live_item_without_a_revision_counts_as_newer() {
        let legacy = |user: &str, last: &str| key(&[("user_id", user), ("last_used_at", last)]);
        let compare = |live: Item| Table::LegacyKeys.compare(&legacy("bob", "0"), Some(&live));
        assert_eq!(compare(legacy("bob", "100")), Comparison::Same);
        assert_eq!(compare(legacy("carol", "0")), Comparison::LiveIsNewer);
        let entry = |time: &str| key(&[("removed_at", time)]);
        for table in [Table::Workspaces, Table::Usage, Table::Tokens, Table::Activity] {
            assert_eq!(table.compare(&entry("1"), Some(&entry("1"))), Comparison::Same);
            assert_eq!(table.compare(&entry("1"), Some(&entry("2"))), Comparison::LiveIsNewer);
        }
    }

    #[test]
    fn items_of_another_table_are_told() {
        assert!(Table::Keys.check(&key(&[])).is_ok());
        assert!(Table::Usage.check(&key(&[("entry", "LAST")])).is_ok());
        assert!(Table::Tokens.check(&key(&[("entry", "TOKEN#1")])).is_ok());
        for (table, item) in [
            (Table::Tokens, key(&[("entry", "LAST")])),
            (Table::Usage, key(&[("entry", "TOKEN#1")])),
            (Table::LegacyKeys, key(&[])),
            (Table::Activity, key(&[])),
        ] {
            let failure = table.check(&item).unwrap_err().message;
            assert!(failure.contains("has another form") && !failure.contains("acme"), "{failure}");
        }
    }
}

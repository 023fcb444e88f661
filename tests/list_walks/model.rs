//! The keys of a walk as the test knows them: random ones, the filters and page sizes that they are listed with, and the
//! changes that happen between two pages. It says which keys a filter wants and in which order a column has them.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, SecondsFormat};
use keygate_core::credential::KeyId;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::sample::{Index, select};
use proptest::{option, prop_oneof};

use crate::support::database::Item;

/// The time at which the random keys are listed. It is far in the future, so the database's TTL deletes none of them.
pub(super) const NOW: i64 = 4_000_000_000;
/// The value of the parameter `unused_days`.
pub(super) const UNUSED_DAYS: i64 = 11;
/// The creation time of the oldest key. Half of the never used keys are unused for [`UNUSED_DAYS`].
pub(super) const OLDEST: i64 = NOW - UNUSED_DAYS * 86_400 - 15;
/// The earliest last use. The times after it have nine digits or ten, which sort differently as text.
pub(super) const FIRST_USE: i64 = 999_999_998;

/// Names, and the forms in which they are compared according to the Unicode Standard.
pub(super) const WORDS: [(&str, &str); 11] = [
    ("deploy", "deploy"),
    ("DEPLOY", "deploy"),
    ("ＤＥＰＬＯＹ", "deploy"),
    ("Straße", "strasse"),
    ("STRASSE", "strasse"),
    ("E\u{301}cole", "\u{e9}cole"),
    ("ÉCOLE", "\u{e9}cole"),
    ("ﬁx", "fix"),
    ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
    // UTF-16 sorts these two in another order than UTF-8.
    ("\u{fffd}", "\u{fffd}"),
    ("🔑", "🔑"),
];
pub(super) const USERS: [&str; 4] = ["alice", "Bob", "svc:deploy", "zoe"];

/// How a key's life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Endless,
    /// It expires in a second.
    Running,
    /// It has just expired, and its retention ends in a second.
    Expired,
    /// Its retention ends in this second, and it is still in the table.
    Gone,
}

pub(super) const LIVES: [Life; 6] =
    [Life::Endless, Life::Endless, Life::Endless, Life::Running, Life::Expired, Life::Gone];

/// The random part of a key: all but its id and its serial number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft {
    pub(super) word: (&'static str, &'static str),
    pub(super) user: &'static str,
    pub(super) created_by: &'static str,
    /// Seconds after [`OLDEST`].
    pub(super) created: i64,
    /// Seconds after [`FIRST_USE`].
    pub(super) used: Option<i64>,
    pub(super) disabled: bool,
    pub(super) life: Life,
}

/// A key as the test knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) folded: String,
    pub(super) draft: Draft,
}

impl Known {
    /// `serial` makes the name unique.
    pub(super) fn new(draft: Draft, serial: usize) -> Self {
        let created = DateTime::from_timestamp(OLDEST + draft.created, 0).expect("a time");
        let (word, folded) = draft.word;
        Self {
            id: KeyId::generate(created).to_string(),
            name: format!("{word} {serial}"),
            folded: format!("{folded} {serial}"),
            draft,
        }
    }

    /// The item that the store writes of such a key.
    pub(super) fn item(&self, workspace: &str) -> Item {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let number = |value: i64| AttributeValue::N(value.to_string());
        let Draft { user, created_by, created, disabled, life, .. } = self.draft;
        let created = OLDEST + created;
        let mut item = vec![
            ("key_id", text(&self.id)),
            ("workspace_id", text(workspace)),
            ("user_id", text(user)),
            ("name", text(&self.name)),
            ("name_folded", text(&self.folded)),
            ("description", text("Deploys the storefront from the main branch, after the tests")),
            ("scopes", AttributeValue::L(vec![text("orders:read"), text("orders:write")])),
            ("created_at", number(created)),
            ("created_by", text(created_by)),
            ("revision", number(1)),
            ("hash", AttributeValue::B(vec![7; 32].into())),
            ("pepper_version", number(1)),
        ];
        let end = match life {
            Life::Endless => None,
            Life::Running => Some((NOW + 1, NOW + 1_000)),
            Life::Expired => Some((NOW, NOW + 1)),
            Life::Gone => Some((NOW - 1_000, NOW)),
        };
        if let Some((expires_at, ttl)) = end {
            item.extend([("expires_at", number(expires_at)), ("ttl", number(ttl))]);
        }
        if disabled {
            item.push(("disabled_at", number(created)));
        }
        item.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The item that the store writes of the last use of such a key.
    pub(super) fn last_use(&self, workspace: &str) -> Item {
        let last_used_at = self.draft.used.map_or(0, |used| FIRST_USE + used);
        let item = [
            ("key_id", AttributeValue::S(self.id.clone())),
            ("entry", AttributeValue::S("LAST".to_owned())),
            ("workspace_id", AttributeValue::S(workspace.to_owned())),
            ("last_used_at", AttributeValue::N(last_used_at.to_string())),
        ];
        item.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The column that a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    User,
    CreatedBy,
    CreatedAt,
    LastUsedAt,
}

impl Column {
    pub(super) const ALL: [Self; 5] =
        [Self::Name, Self::User, Self::CreatedBy, Self::CreatedAt, Self::LastUsedAt];

    pub(super) fn parameter(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::User => "user",
            Self::CreatedBy => "created_by",
            Self::CreatedAt => "created_at",
            Self::LastUsedAt => "last_used_at",
        }
    }

    /// A value that compares as the list must: numbers by value, text by its bytes, and never used keys before used ones.
    pub(super) fn value(self, key: &Known) -> (Option<i64>, &str) {
        match self {
            Self::Name => (None, &key.folded),
            Self::User => (None, key.draft.user),
            Self::CreatedBy => (None, key.draft.created_by),
            Self::CreatedAt => (Some(key.draft.created), ""),
            Self::LastUsedAt => (key.draft.used, ""),
        }
    }
}

/// The filter parameters of a list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filter {
    /// A part of the name: the text that is sent, and the form in which it is compared.
    pub(super) name: Option<(&'static str, &'static str)>,
    pub(super) user: Option<&'static str>,
    pub(super) created_by: Option<&'static str>,
    /// The first second, and the second after the last one, relative to [`OLDEST`].
    pub(super) created: (Option<i64>, Option<i64>),
    pub(super) status: Option<&'static str>,
    pub(super) unused_days: Option<i64>,
}

/// Each filter, and some of them combined.
pub(super) const FILTERS: [Filter; 13] = {
    let all = Filter {
        name: None,
        user: None,
        created_by: None,
        created: (None, None),
        status: None,
        unused_days: None,
    };
    [
        all,
        Filter { name: Some(("ＳＴＲＡẞ", "strass")), ..all },
        Filter { user: Some("Bob"), ..all },
        Filter { created_by: Some("zoe"), ..all },
        Filter { created: (Some(10), Some(20)), ..all },
        Filter { status: Some("active"), ..all },
        Filter { status: Some("expired"), ..all },
        Filter { status: Some("disabled"), ..all },
        Filter { status: Some("unused"), ..all },
        Filter { status: Some("unused"), unused_days: Some(UNUSED_DAYS), ..all },
        Filter { name: Some(("o", "o")), user: Some("alice"), ..all },
        Filter { created_by: Some("alice"), status: Some("unused"), ..all },
        Filter { created: (Some(5), None), status: Some("active"), ..all },
    ]
};

impl Filter {
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let time = |second: i64| {
            let time = DateTime::from_timestamp(OLDEST + second, 0).expect("a time");
            time.to_rfc3339_opts(SecondsFormat::Secs, true)
        };
        let parameters = [
            ("name", self.name.map(|(sent, _)| sent.to_owned())),
            ("user_id", self.user.map(str::to_owned)),
            ("created_by", self.created_by.map(str::to_owned)),
            ("created_after", self.created.0.map(time)),
            ("created_before", self.created.1.map(time)),
            ("status", self.status.map(str::to_owned)),
            ("unused_days", self.unused_days.map(|days| days.to_string())),
        ];
        parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    pub(super) fn wants(&self, key: &Known) -> bool {
        let Draft { user, created_by, created, used, disabled, life, .. } = key.draft;
        let (after, before) = self.created;
        life != Life::Gone
            && self.name.is_none_or(|(_, part)| key.folded.contains(part))
            && self.user.is_none_or(|wanted| wanted == user)
            && self.created_by.is_none_or(|wanted| wanted == created_by)
            && after.is_none_or(|after| created >= after)
            && before.is_none_or(|before| created < before)
            && match self.status {
                Some("active") => life != Life::Expired && !disabled,
                Some("expired") => life == Life::Expired,
                Some("disabled") => life != Life::Expired && disabled,
                // All used keys were used long ago.
                Some("unused") if self.unused_days.is_some() => used.is_some() || created <= 15,
                Some("unused") => used.is_none(),
                _ => true,
            }
    }
}

/// The size of a page, relative to the number of keys in the list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// The number of keys plus this difference of -1, 0 or 1.
    About(isize),
    /// A size that makes about that many pages. A page of a short list has one key.
    Pages(usize),
    Most,
}

impl Limit {
    pub(super) fn of(self, count: usize) -> usize {
        let limit = match self {
            Self::About(difference) => count.saturating_add_signed(difference),
            Self::Pages(pages) => count.div_ceil(pages),
            Self::Most => 100,
        };
        limit.clamp(1, 100)
    }
}

/// A change between two pages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Create(Draft),
    Delete(Index),
    /// The first key of the page that was read last.
    DeleteFirst,
    DeleteLast,
    DeletePage,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) keys: Vec<Draft>,
    /// The page size of each walk, repeated as needed.
    pub(super) limits: Vec<Limit>,
    /// The changes between two pages, repeated as needed.
    pub(super) changes: Vec<Vec<Change>>,
}

pub(super) fn drafts() -> impl Strategy<Value = Draft> {
    let uses = option::of(0..6_i64);
    let owner_and_creator = (select(&USERS[..]), select(&USERS[..]));
    (select(&WORDS[..]), owner_and_creator, 0..30_i64, uses, any::<bool>(), select(&LIVES[..])).prop_map(
        |(word, (user, created_by), created, used, disabled, life)| Draft {
            word,
            user,
            created_by,
            created,
            used,
            disabled,
            life,
        },
    )
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    let counts =
        prop_oneof![1 => Just(0_usize), 1 => Just(1), 5 => 2..40_usize, 4 => 40..300_usize, 1 => Just(300)];
    let limits = prop_oneof![
        3 => (-1..=1_isize).prop_map(Limit::About),
        3 => (2..=6_usize).prop_map(Limit::Pages),
        1 => Just(Limit::Most),
    ];
    let changes = prop_oneof![
        6 => drafts().prop_map(Change::Create),
        4 => any::<Index>().prop_map(Change::Delete),
        2 => Just(Change::DeleteFirst),
        2 => Just(Change::DeleteLast),
        1 => Just(Change::DeletePage),
    ];
    let keys = counts.prop_flat_map(|count| vec(drafts(), count));
    (keys, vec(limits, 1..=7), vec(vec(changes, 0..=2), 1..=13)).prop_map(|(keys, limits, changes)| Case {
        keys,
        limits,
        changes,
    })
}

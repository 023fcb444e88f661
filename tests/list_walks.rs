//! Walks through the list of keys, page by page and in both directions: what they show, and what they cost.
//!
//! What a walk must show is known from the keys that a test has put into the table, not from the code under test. The
//! keys are in tables of the tests' own, made as the deployed one is: thousands of them without their names and events
//! would be in the way of every other test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, BillingMode, DeleteRequest, GlobalSecondaryIndex, PutRequest, ReturnConsumedCapacity,
    WriteRequest,
};
use chrono::{DateTime, SecondsFormat, Utc};
use keygate::keys::list::{ListKeys, list};
use keygate::store::keys::KeysTable;
use keygate_core::caller::{Caller, CredentialKind};
use keygate_core::credential::KeyId;
use keygate_core::environment::Environment;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq};
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestCaseResult, TestError, TestRunner};
use proptest::{option, prop_oneof};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::support::database::{Item, string};
use crate::support::function::Function;
use crate::support::stack::{dynamodb, variable};
use crate::support::workspace::unique;

/// How many sets of keys are walked through in each order.
const CASES: u32 = 6;
/// When the random keys are listed: late enough that no database deletes by its own clock what is gone by this one.
const NOW: i64 = 4_000_000_000;
/// How long without use is asked for.
const UNUSED_DAYS: i64 = 11;
/// When the oldest key is created: so that of those that were never used, half are unused for that long.
const OLDEST: i64 = NOW - UNUSED_DAYS * 86_400 - 15;
/// When the first used key was last used: numbers of nine digits and of ten, which sort otherwise as text.
const FIRST_USE: i64 = 999_999_998;

/// Names with the form in which they are compared, as the Unicode Standard has it.
const WORDS: [(&str, &str); 11] = [
    ("deploy", "deploy"),
    ("DEPLOY", "deploy"),
    ("ＤＥＰＬＯＹ", "deploy"),
    ("Straße", "strasse"),
    ("STRASSE", "strasse"),
    ("E\u{301}cole", "\u{e9}cole"),
    ("ÉCOLE", "\u{e9}cole"),
    ("ﬁx", "fix"),
    ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
    // These two sort otherwise by UTF-16 than by UTF-8.
    ("\u{fffd}", "\u{fffd}"),
    ("🔑", "🔑"),
];
const USERS: [&str; 4] = ["alice", "Bob", "svc:deploy", "zoe"];

/// How a key's life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Endless,
    /// It expires in a second.
    Running,
    /// It has just expired, and is kept for another second.
    Expired,
    /// It is past its retention to the second, and still in the table.
    Gone,
}

const LIVES: [Life; 6] =
    [Life::Endless, Life::Endless, Life::Endless, Life::Running, Life::Expired, Life::Gone];

/// A key before it has an id and a place among the others.
#[derive(Clone, Copy, Debug)]
struct Draft {
    word: (&'static str, &'static str),
    user: &'static str,
    /// Seconds after [`OLDEST`].
    created: i64,
    /// Seconds after [`FIRST_USE`].
    used: Option<i64>,
    disabled: bool,
    life: Life,
}

/// A key as the test knows it.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    name: String,
    folded: String,
    draft: Draft,
}

impl Known {
    /// `serial` makes the name unique.
    fn new(draft: Draft, serial: usize) -> Self {
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
    fn item(&self, workspace: &str) -> Item {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let number = |value: i64| AttributeValue::N(value.to_string());
        let Draft { user, created, used, disabled, life, .. } = self.draft;
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
            ("created_by", text(user)),
            ("revision", number(1)),
            ("last_used_at", number(used.map_or(0, |used| FIRST_USE + used))),
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
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Name,
    User,
    CreatedAt,
    LastUsedAt,
}

impl Column {
    const ALL: [Self; 4] = [Self::Name, Self::User, Self::CreatedAt, Self::LastUsedAt];

    fn parameter(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::User => "user",
            Self::CreatedAt => "created_at",
            Self::LastUsedAt => "last_used_at",
        }
    }

    /// Compares as the list must: numbers by value, text by its bytes, and never used before any use.
    fn value(self, key: &Known) -> (Option<i64>, &str) {
        match self {
            Self::Name => (None, &key.folded),
            Self::User => (None, key.draft.user),
            Self::CreatedAt => (Some(key.draft.created), ""),
            Self::LastUsedAt => (key.draft.used, ""),
        }
    }
}

/// Which keys are asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Filter {
    /// A part of the name as it is sent, and as it is compared.
    name: Option<(&'static str, &'static str)>,
    user: Option<&'static str>,
    /// From which second to before which, after [`OLDEST`].
    created: (Option<i64>, Option<i64>),
    status: Option<&'static str>,
    unused_days: Option<i64>,
}

/// Each filter, and some of them combined.
const FILTERS: [Filter; 11] = {
    let all = Filter { name: None, user: None, created: (None, None), status: None, unused_days: None };
    [
        all,
        Filter { name: Some(("ＳＴＲＡẞ", "strass")), ..all },
        Filter { user: Some("Bob"), ..all },
        Filter { created: (Some(10), Some(20)), ..all },
        Filter { status: Some("active"), ..all },
        Filter { status: Some("expired"), ..all },
        Filter { status: Some("disabled"), ..all },
        Filter { status: Some("unused"), ..all },
        Filter { status: Some("unused"), unused_days: Some(UNUSED_DAYS), ..all },
        Filter { name: Some(("o", "o")), user: Some("alice"), ..all },
        Filter { created: (Some(5), None), status: Some("active"), ..all },
    ]
};

impl Filter {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let time = |second: i64| {
            let time = DateTime::from_timestamp(OLDEST + second, 0).expect("a time");
            time.to_rfc3339_opts(SecondsFormat::Secs, true)
        };
        let parameters = [
            ("name", self.name.map(|(sent, _)| sent.to_owned())),
            ("user_id", self.user.map(str::to_owned)),
            ("created_after", self.created.0.map(time)),
            ("created_before", self.created.1.map(time)),
            ("status", self.status.map(str::to_owned)),
            ("unused_days", self.unused_days.map(|days| days.to_string())),
        ];
        parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn wants(&self, key: &Known) -> bool {
        let Draft { user, created, used, disabled, life, .. } = key.draft;
        let (after, before) = self.created;
        life != Life::Gone
            && self.name.is_none_or(|(_, part)| key.folded.contains(part))
            && self.user.is_none_or(|wanted| wanted == user)
            && after.is_none_or(|after| created >= after)
            && before.is_none_or(|before| created < before)
            && match self.status {
                Some("active") => life != Life::Expired && !disabled,
                Some("expired") => life == Life::Expired,
                Some("disabled") => life != Life::Expired && disabled,
                // Those that were used were so long ago.
                Some("unused") if self.unused_days.is_some() => used.is_some() || created <= 15,
                Some("unused") => used.is_none(),
                _ => true,
            }
    }
}

/// How many keys a page has, in relation to how many there are.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// One fewer than there are, as many, or one more.
    About(isize),
    /// So that there are about as many pages; of few keys, one a page.
    Pages(usize),
    Most,
}

impl Limit {
    fn of(self, count: usize) -> usize {
        let limit = match self {
            Self::About(difference) => count.saturating_add_signed(difference),
            Self::Pages(pages) => count.div_ceil(pages),
            Self::Most => 100,
        };
        limit.clamp(1, 100)
    }
}

/// What happens between two pages.
#[derive(Clone, Copy, Debug)]
enum Change {
    Create(Draft),
    Delete(Index),
    /// Of the page that was read last.
    DeleteFirst,
    DeleteLast,
    DeletePage,
}

#[derive(Clone, Debug)]
struct Case {
    keys: Vec<Draft>,
    /// For one walk after another, over and over.
    limits: Vec<Limit>,
    /// Between one page and the next, over and over.
    changes: Vec<Vec<Change>>,
}

fn drafts() -> impl Strategy<Value = Draft> {
    let uses = option::of(0..6_i64);
    (select(&WORDS[..]), select(&USERS[..]), 0..30_i64, uses, any::<bool>(), select(&LIVES[..])).prop_map(
        |(word, user, created, used, disabled, life)| Draft { word, user, created, used, disabled, life },
    )
}

fn cases() -> impl Strategy<Value = Case> {
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

/// A table of a test's own, made as the deployed one is, that does not outlive it.
struct Table {
    client: Client,
    name: String,
}

impl Table {
    async fn create() -> Self {
        let client = dynamodb();
        let name = unique("keys");
        let deployed = client.describe_table().table_name(variable("KEYGATE_KEYS_TABLE")).send().await;
        let deployed = deployed.expect("an answer of the database").table.expect("the deployed table");
        let indexes = deployed.global_secondary_indexes().iter().map(|index| {
            let index = index.clone();
            GlobalSecondaryIndex::builder()
                .set_index_name(index.index_name)
                .set_key_schema(index.key_schema)
                .set_projection(index.projection)
                .build()
                .expect("an index like the deployed one")
        });
        client
            .create_table()
            .table_name(&name)
            .set_global_secondary_indexes(Some(indexes.collect()))
            .set_key_schema(deployed.key_schema)
            .set_attribute_definitions(deployed.attribute_definitions)
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .expect("the table can be created");
        Self { client, name }
    }

    async fn put(&self, workspace: &str, keys: impl IntoIterator<Item = &Known>) {
        let puts = keys.into_iter().map(|key| {
            let put = PutRequest::builder().set_item(Some(key.item(workspace))).build();
            WriteRequest::builder().put_request(put.expect("an item")).build()
        });
        self.write(puts.collect()).await;
    }

    async fn delete(&self, keys: impl IntoIterator<Item = &String>) {
        let deletes = keys.into_iter().map(|id| {
            let delete = DeleteRequest::builder().key("key_id", AttributeValue::S(id.clone())).build();
            WriteRequest::builder().delete_request(delete.expect("a key")).build()
        });
        self.write(deletes.collect()).await;
    }

    async fn write(&self, requests: Vec<WriteRequest>) {
        for batch in requests.chunks(25) {
            let written =
                self.client.batch_write_item().request_items(&self.name, batch.to_vec()).send().await;
            let left = written.expect("the items can be written").unprocessed_items.unwrap_or_default();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let name = self.name.clone();
        let delete = move || {
            runtime().block_on(async { dynamodb().delete_table().table_name(name).send().await.is_ok() })
        };
        let deleted = std::thread::spawn(delete).join().is_ok_and(|deleted| deleted);
        assert!(deleted || std::thread::panicking(), "the table can be deleted");
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A page as it is answered.
#[derive(Debug)]
struct Page {
    ids: Vec<String>,
    next: Option<String>,
    prev: Option<String>,
}

impl Page {
    fn read(page: &Value) -> Self {
        let items = page["items"].as_array().expect("items");
        let cursor = |name: &str| page[name].as_str().map(str::to_owned);
        Self {
            ids: items.iter().map(|key| string(&key["id"])).collect(),
            next: cursor("next_cursor"),
            prev: cursor("prev_cursor"),
        }
    }

    fn onward(&self, direction: Direction) -> Option<&String> {
        match direction {
            Direction::Forwards => self.next.as_ref(),
            Direction::Backwards => self.prev.as_ref(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forwards,
    Backwards,
}

/// All that walks in one direction have shown, in the order of the list.
#[derive(Default)]
struct Shown(VecDeque<String>);

impl Shown {
    fn add(&mut self, page: &Page, direction: Direction) {
        match direction {
            Direction::Forwards => self.0.extend(page.ids.iter().cloned()),
            Direction::Backwards => page.ids.iter().rev().for_each(|id| self.0.push_front(id.clone())),
        }
    }

    fn only(&self, wanted: &Self) -> Vec<&String> {
        self.0.iter().filter(|id| wanted.0.contains(id)).collect()
    }
}

/// What one walk asks for.
#[derive(Debug)]
struct Query {
    column: Column,
    ascending: bool,
    filter: Filter,
    limit: usize,
}

/// The keys of a workspace of a case's own.
struct Workspace<'a> {
    table: &'a Table,
    keys: KeysTable,
    caller: Caller,
    /// What is in the table.
    living: BTreeMap<String, Known>,
    /// All that ever was there.
    known: BTreeMap<String, Known>,
}

impl<'a> Workspace<'a> {
    async fn new(table: &'a Table, drafts: &[Draft]) -> Self {
        let id = unique("walk");
        let living: BTreeMap<String, Known> = drafts
            .iter()
            .enumerate()
            .map(|(serial, draft)| Known::new(*draft, serial))
            .map(|key| (key.id.clone(), key))
            .collect();
        table.put(&id, living.values()).await;
        let caller = Caller {
            workspace_id: id.parse().expect("a workspace"),
            user_id: "reader".parse().expect("a user"),
            key_id: KeyId::generate(Utc::now()),
            key_name: "reader".to_owned(),
            scopes: vec!["keys:read".parse().expect("a scope")],
            endpoints: Vec::new(),
            credential: CredentialKind::ApiKey,
            old_secret: None,
            expires_at: None,
        };
        let environment = Environment::from_iter([("KEYS_TABLE", table.name.as_str())]);
        let keys = KeysTable::new(table.client.clone(), &environment).expect("the name of a table");
        Self { table, keys, caller, known: living.clone(), living }
    }

    /// What `filter` wants of the keys that are there.
    fn wanted(&self, filter: Filter) -> BTreeSet<String> {
        let wanted = self.living.iter().filter(|(_, key)| filter.wants(key));
        wanted.map(|(id, _)| id.clone()).collect()
    }

    async fn read(
        &self,
        query: &Query,
        cursor: Option<&String>,
        direction: Direction,
    ) -> Result<Page, TestCaseError> {
        let limit = query.limit.to_string();
        let order = if query.ascending { "asc" } else { "desc" };
        let filters = query.filter.parameters();
        let parameters = [("sort", query.column.parameter()), ("order", order), ("limit", limit.as_str())];
        let filters = filters.iter().map(|(name, value)| (*name, value.as_str()));
        let cursor = cursor.map(|cursor| ("cursor", cursor.as_str()));
        let request = ListKeys::parse(parameters.into_iter().chain(filters).chain(cursor));
        let request = request.expect("valid parameters");

        let now = DateTime::from_timestamp(NOW, 0).expect("a time");
        let brand = "kg".parse().expect("a brand");
        let page = list(&self.keys, &brand, &self.caller, &request, now).await;
        let page = page.map_err(|error| TestCaseError::fail(format!("{query:?}: {error:?}")))?;
        let page = Page::read(&serde_json::to_value(page).expect("JSON"));

        let wanted = self.wanted(query.filter);
        let unwanted: Vec<&String> = page.ids.iter().filter(|id| !wanted.contains(*id)).collect();
        prop_assert!(unwanted.is_empty(), "{query:?} shows {unwanted:?}");
        prop_assert!(page.ids.len() <= query.limit, "{query:?} has too many keys on {page:?}");
        let filled = page.ids.len() == query.limit;
        prop_assert!(
            filled || page.onward(direction).is_none(),
            "{query:?} does not fill {page:?} {direction:?}"
        );
        Ok(page)
    }

    async fn change(&mut self, change: Change, page: &Page) {
        let ids = match change {
            Change::Create(draft) => {
                let key = Known::new(draft, self.known.len());
                self.table.put(self.caller.workspace_id.as_str(), [&key]).await;
                self.known.insert(key.id.clone(), key.clone());
                self.living.insert(key.id.clone(), key);
                return;
            }
            Change::Delete(_) if self.living.is_empty() => Vec::new(),
            Change::Delete(index) => {
                let index = index.index(self.living.len());
                self.living.keys().nth(index).into_iter().cloned().collect()
            }
            Change::DeleteFirst => page.ids.first().into_iter().cloned().collect(),
            Change::DeleteLast => page.ids.last().into_iter().cloned().collect(),
            Change::DeletePage => page.ids.clone(),
        };
        self.table.delete(&ids).await;
        self.living.retain(|id, _| !ids.contains(id));
    }

    /// Makes the keys again what they were when there were only these.
    async fn restore(&mut self, before: BTreeMap<String, Known>) {
        let missing = before.iter().filter(|(id, _)| !self.living.contains_key(*id));
        self.table.put(self.caller.workspace_id.as_str(), missing.map(|(_, key)| key)).await;
        self.table.delete(self.living.keys().filter(|id| !before.contains_key(*id))).await;
        self.living = before;
    }

    /// Walks to the end of the list, back to its beginning, and to the end again, while `changes` happen. Every turn
    /// begins with the page that the one before ended on.
    async fn walk(
        &mut self,
        query: &Query,
        changes: &mut impl Iterator<Item = &Vec<Change>>,
    ) -> TestCaseResult {
        let mut page = self.read(query, None, Direction::Forwards).await?;
        let mut before: Option<Shown> = None;
        for direction in [Direction::Forwards, Direction::Backwards, Direction::Forwards] {
            let there = self.wanted(query.filter);
            let mut deleted = BTreeSet::new();
            let mut shown = Shown::default();
            shown.add(&page, direction);
            while let Some(cursor) = page.onward(direction).cloned() {
                for change in changes.next().into_iter().flatten() {
                    self.change(*change, &page).await;
                    deleted.extend(there.iter().filter(|id| !self.living.contains_key(*id)).cloned());
                }
                page = self.read(query, Some(&cursor), direction).await?;
                shown.add(&page, direction);
                prop_assert!(shown.0.len() <= self.known.len(), "{query:?} shows keys again {direction:?}");
            }
            self.check(query, direction, &shown, there.difference(&deleted))?;
            if let Some(before) = before {
                let (one, other) = (before.only(&shown), shown.only(&before));
                prop_assert_eq!(one, other, "{:?} shows ties in another order {:?}", query, direction);
            }
            before = Some(shown);
        }
        Ok(())
    }

    fn check<'b>(
        &self,
        query: &Query,
        direction: Direction,
        shown: &Shown,
        stayed: impl Iterator<Item = &'b String>,
    ) -> TestCaseResult {
        let once: BTreeSet<&String> = shown.0.iter().collect();
        prop_assert_eq!(once.len(), shown.0.len(), "{:?} shows a key twice {:?}", query, direction);
        let skipped: Vec<&Known> =
            stayed.filter(|id| !once.contains(id)).map(|id| &self.known[id.as_str()]).collect();
        prop_assert!(skipped.is_empty(), "{query:?} skips {direction:?}: {skipped:?}");
        let values: Vec<_> = shown.0.iter().map(|id| query.column.value(&self.known[id.as_str()])).collect();
        let in_order =
            values.is_sorted_by(|one, other| if query.ascending { one <= other } else { one >= other });
        prop_assert!(in_order, "{query:?} is out of order {direction:?}: {values:?}");
        Ok(())
    }
}

/// Walks through random keys, sorted by one column, both ways up and with every filter.
fn check_walks(column: Column) {
    let runtime = runtime();
    let table = runtime.block_on(Table::create());
    let seed = seed();
    let config = Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 1_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let walked = TestRunner::new(config).run(&cases(), |case| {
        runtime.block_on(async {
            let mut workspace = Workspace::new(&table, &case.keys).await;
            let mut limits = case.limits.iter().cycle();
            let mut changes = case.changes.iter().cycle();
            for filter in FILTERS {
                for ascending in [true, false] {
                    let before = workspace.living.clone();
                    let count = workspace.wanted(filter).len();
                    let limit = limits.next().map_or(1, |limit| limit.of(count));
                    let query = Query { column, ascending, filter, limit };
                    workspace.walk(&query, &mut changes).await?;
                    workspace.restore(before).await;
                }
            }
            Ok(())
        })
    });
    match walked {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => panic!("{reason} (again with KEYGATE_SEED={seed}): {case:?}"),
        Err(failure) => panic!("{failure}"),
    }
}

/// What the random keys come from: another one in each run, unless `KEYGATE_SEED` says which.
fn seed() -> u64 {
    match std::env::var("KEYGATE_SEED") {
        Ok(seed) => seed.parse().expect("KEYGATE_SEED is a whole number"),
        Err(_) => u64::try_from(Utc::now().timestamp_millis()).expect("the clock is past 1970"),
    }
}

#[test]
fn keys_that_are_gone_but_not_yet_deleted_leave_no_gap_on_a_page() {
    let runtime = runtime();
    let table = runtime.block_on(Table::create());
    let endless = Draft {
        word: WORDS[0],
        user: USERS[0],
        created: 0,
        used: None,
        disabled: false,
        life: Life::Endless,
    };
    let gone = Draft { life: Life::Gone, ..endless };
    let drafts: Vec<Draft> = (0..100)
        .map(|serial| Draft { created: serial, ..if serial % 25 == 24 { endless } else { gone } })
        .collect();
    runtime.block_on(async {
        let mut workspace = Workspace::new(&table, &drafts).await;
        for (column, limit) in Column::ALL.into_iter().zip([1, 2, 3, 4]) {
            for ascending in [true, false] {
                let query = Query { column, ascending, filter: FILTERS[0], limit };
                workspace.walk(&query, &mut std::iter::empty()).await.expect("filled pages");
            }
        }
    });
}

#[test]
fn every_walk_by_name_shows_every_key_once_and_in_order_whatever_is_created_and_deleted() {
    check_walks(Column::Name);
}

#[test]
fn every_walk_by_user_shows_every_key_once_and_in_order_whatever_is_created_and_deleted() {
    check_walks(Column::User);
}

#[test]
fn every_walk_by_time_of_creation_shows_every_key_once_and_in_order_whatever_is_created_and_deleted() {
    check_walks(Column::CreatedAt);
}

#[test]
fn every_walk_by_time_of_last_use_shows_every_key_once_and_in_order_whatever_is_created_and_deleted() {
    check_walks(Column::LastUsedAt);
}

/// As many keys as one workspace might ever have.
const MANY: usize = 10_000;
/// A quarter of what a filtered page may read.
const FILTERED_READ: usize = 250;
/// How often a filtered page may read that.
const MOST_READS: usize = 4;
/// How many pages there are at least when next to nothing is found: each reads as much as it may.
const FEWEST_PAGES: usize = MANY / (MOST_READS * FILTERED_READ);
/// And at most: the page that a walk turns at counts, and so does one that finds nothing more to read.
const MOST_PAGES: usize = FEWEST_PAGES + 2;

/// Many keys, of which the one in the middle has a name and a user like no other's.
fn many_keys() -> Vec<Known> {
    let lives = LIVES.into_iter().filter(|life| *life != Life::Gone).cycle();
    let words = WORDS.into_iter().cycle();
    let users = USERS.into_iter().cycle();
    let drafts = words.zip(users).zip(lives).zip(0..).map(|(((word, user), life), serial)| Draft {
        word,
        user,
        created: serial / 3,
        used: (serial % 2 == 0).then_some(serial / 7),
        disabled: serial % 5 == 0,
        life,
    });
    let mut keys: Vec<Known> = drafts.zip(0..MANY).map(|(draft, serial)| Known::new(draft, serial)).collect();
    let needle = Draft { word: ("Needle", "needle"), user: "mallory", ..keys[MANY / 2].draft };
    keys[MANY / 2] = Known::new(needle, MANY / 2);
    keys
}

/// list-keys at work on a table of the test's own.
struct Lister {
    function: Function,
    workspace: String,
}

impl Lister {
    /// A page, and the queries that it took.
    async fn page(&self, parameters: &[(&str, &str)], cursor: Option<&String>) -> (Page, Vec<Value>) {
        let cursor = cursor.map(|cursor| ("cursor", cursor.as_str()));
        let parameters: BTreeMap<&str, &str> = parameters.iter().copied().chain(cursor).collect();
        let lists: BTreeMap<&str, [&str; 1]> =
            parameters.iter().map(|(name, value)| (*name, [*value])).collect();
        let event = json!({
            "resource": "/api-keys", "path": "/api-keys", "httpMethod": "GET",
            "headers": {"Accept": "application/json"}, "multiValueHeaders": {"Accept": ["application/json"]},
            "queryStringParameters": parameters, "multiValueQueryStringParameters": lists,
            "requestContext": {
                "resourcePath": "/api-keys", "path": "/v1/api-keys", "stage": "v1", "httpMethod": "GET",
                "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", "identity": {"sourceIp": "203.0.113.7"},
                "authorizer": {
                    "userId": "admin", "workspaceId": self.workspace, "keyId": "01JD3V6Y4N8Q2Z5X7W9B0C1D2E",
                    "keyName": "first", "scopes": "keys:read", "credential": "api_key", "principalId": "admin",
                },
            },
            "body": null, "isBase64Encoded": false,
        });
        let answer = self.function.invoke(event).await.expect("an answer");
        assert_eq!(answer["statusCode"], 200, "{answer}");
        let page = serde_json::from_str(&string(&answer["body"])).expect("JSON");
        let calls = self.function.take_calls().into_iter();
        let queries = calls.map(|(operation, query)| {
            assert_eq!(operation, "Query", "{query}");
            query
        });
        (Page::read(&page), queries.collect())
    }

    /// All pages from one edge of the list to the other, `page` the first of them.
    async fn go_on(&self, parameters: &[(&str, &str)], mut page: Page, direction: Direction) -> Vec<Page> {
        let mut pages = Vec::new();
        while let Some(cursor) = page.onward(direction).cloned() {
            pages.push(page);
            assert!(pages.len() < MOST_PAGES, "{parameters:?} has no end {direction:?}");
            let queries;
            (page, queries) = self.page(parameters, Some(&cursor)).await;
            assert_bounded(&queries);
        }
        pages.push(page);
        pages
    }
}

/// Checks what a page of a filtered list may read.
#[track_caller]
fn assert_bounded(queries: &[Value]) {
    let limits: Vec<&Value> = queries.iter().map(|query| &query["Limit"]).collect();
    assert!(
        limits.len() <= MOST_READS && limits.iter().all(|limit| **limit == json!(FILTERED_READ)),
        "{limits:?}"
    );
}

/// What the database charges for a query that was made before, in read units.
async fn capacity(client: &Client, query: &Value) -> f64 {
    let attributes = |value: &Value| -> Option<Item> {
        let attributes = value.as_object()?.iter().map(|(name, value)| {
            let value = match &value["S"] {
                Value::String(text) => AttributeValue::S(text.clone()),
                _ => AttributeValue::N(string(&value["N"])),
            };
            (name.clone(), value)
        });
        Some(attributes.collect())
    };
    let limit = query["Limit"].as_i64().and_then(|limit| i32::try_from(limit).ok());
    let answer = client
        .query()
        .table_name(string(&query["TableName"]))
        .index_name(string(&query["IndexName"]))
        .key_condition_expression(string(&query["KeyConditionExpression"]))
        .set_expression_attribute_values(attributes(&query["ExpressionAttributeValues"]))
        .set_exclusive_start_key(attributes(&query["ExclusiveStartKey"]))
        .set_scan_index_forward(query["ScanIndexForward"].as_bool())
        .set_limit(limit)
        .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
        .send()
        .await
        .expect("the query can be made again");
    assert_eq!(Some(answer.count), limit, "a full page");
    let consumed = answer.consumed_capacity.and_then(|consumed| consumed.capacity_units);
    consumed.expect("the consumed capacity")
}

/// One more key is read than is shown. An item in an index has less than 1 kB here, as every key has that is not filled
/// to the brim, so 26 of them have less than 26 kB: at most 7 units of 4 kB, each at half price because an index is
/// read eventually consistent.
const PAGE_CAPACITY: f64 = 3.5;

async fn assert_a_page_costs_one_query(lister: &Lister, client: &Client) {
    for column in Column::ALL {
        for order in ["asc", "desc"] {
            let parameters = [("sort", column.parameter()), ("order", order), ("limit", "25")];
            let mut cursor = None;
            for turn in [Direction::Forwards, Direction::Forwards, Direction::Backwards] {
                let (page, queries) = lister.page(&parameters, cursor.as_ref()).await;
                assert_eq!(page.ids.len(), 25, "{parameters:?}");
                let [query] = queries.as_slice() else { panic!("one query: {queries:#?}") };
                assert_eq!(query["Limit"], 26, "{query}");
                let known = [
                    "ExclusiveStartKey",
                    "ExpressionAttributeValues",
                    "IndexName",
                    "KeyConditionExpression",
                    "Limit",
                    "ScanIndexForward",
                    "TableName",
                ];
                let asked = query.as_object().expect("an object").keys();
                let unknown: Vec<_> = asked.filter(|name| !known.contains(&name.as_str())).collect();
                assert!(unknown.is_empty(), "a query that is not made again as it was: {unknown:?}");
                let capacity = capacity(client, query).await;

                assert!(capacity <= PAGE_CAPACITY, "{capacity} read units: {query}");
                cursor = page.onward(turn).cloned();
            }
        }
    }
}

async fn assert_a_filter_that_matches_nothing_reads_everything_page_by_page(lister: &Lister) {
    let parameters = [("sort", "last_used_at"), ("name", "no key is called that")];
    let (page, queries) = lister.page(&parameters, None).await;
    assert_bounded(&queries);
    let pages = lister.go_on(&parameters, page, Direction::Forwards).await;
    assert!(pages.iter().all(|page| page.ids.is_empty()), "{pages:?}");
    assert!(pages.len() >= FEWEST_PAGES, "keys are left unread: {pages:?}");
}

async fn assert_a_filter_that_matches_one_key_finds_it_once(lister: &Lister, id: &str) {
    for parameters in [[("sort", "name"), ("user_id", "mallory")], [("sort", "user"), ("name", "NEEDLE")]] {
        let (mut page, queries) = lister.page(&parameters, None).await;
        assert_bounded(&queries);
        for direction in [Direction::Forwards, Direction::Backwards] {
            let mut pages = lister.go_on(&parameters, page, direction).await;
            let found: Vec<_> = pages.iter().flat_map(|page| &page.ids).collect();
            assert_eq!(found, [id], "{parameters:?} {direction:?}");
            page = pages.pop().expect("a last page");
        }
    }
}

#[tokio::test]
async fn among_ten_thousand_keys_a_page_costs_one_query_and_a_filter_a_bounded_number() {
    let table = Table::create().await;
    let workspace = unique("walk");
    let keys = many_keys();
    table.put(&workspace, &keys).await;
    let function = Function::start("list-keys", &[("KEYS_TABLE", &table.name)]).await;
    let lister = Lister { function, workspace };

    assert_a_page_costs_one_query(&lister, &table.client).await;
    assert_a_filter_that_matches_nothing_reads_everything_page_by_page(&lister).await;
    assert_a_filter_that_matches_one_key_finds_it_once(&lister, &keys[MANY / 2].id).await;
}

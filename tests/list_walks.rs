//! Walks through the list of keys, page by page and in both directions: the keys that they show, and the capacity that
//! they consume.
//!
//! A [`model`] of the keys in the table says what a walk must show, independently of the code under test. The keys are in
//! tables of these tests' own, which have the deployed table's schema: thousands of keys without names and events would
//! fail the checks of other tests.

mod model;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};
use chrono::{DateTime, Utc};
use keygate::aws::dynamodb::DynamoDb;
use keygate::keys::list::{ListKeys, list};
use keygate::store::key_queries::KeyLister;
use keygate_core::caller::{Caller, CallerKey};
use keygate_core::context::RequestContext;
use keygate_core::context::RequestOrigin;
use keygate_core::credential::KeyId;
use keygate_core::credential_class::CredentialKind;
use keygate_core::environment::Environment;
use keygate_core::limit::Limits;
use keygate_core::metadata::Metadata;
use proptest::prelude::{prop_assert, prop_assert_eq};
use proptest::test_runner::{TestCaseError, TestCaseResult};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use self::model::{
    Case, Change, Column, Draft, FILTERS, Filter, Known, LIVES, Life, NOW, USERS, WORDS, cases,
};
use crate::support::database::{put_request, string, write_batches};
use crate::support::function::Function;
use crate::support::property;
use crate::support::stack::{dynamodb, variable};
use crate::support::tables::create_like;
use crate::support::workspace::unique;

/// The number of random sets of keys for each column.
const CASES: u32 = 6;

/// Tables of a test's own with the schema of the deployed ones: keys and usage. They are deleted when the test ends.
struct Tables {
    client: DynamoDb,
    keys: String,
    usage: String,
}

impl Tables {
    async fn create() -> Self {
        let (keys, usage) = (unique("keys"), unique("usage"));
        create_like(&keys, &variable("KEYGATE_KEYS_TABLE")).await;
        create_like(&usage, &variable("KEYGATE_USAGE_TABLE")).await;
        Self { client: dynamodb(), keys, usage }
    }

    async fn put<'a>(&self, workspace: &str, keys: impl IntoIterator<Item = &'a Known> + Clone) {
        let puts = keys.clone().into_iter().map(|key| put_request(key.item(workspace)));
        write_batches(&self.client, &self.keys, puts.collect()).await;
        let puts = keys.into_iter().map(|key| put_request(key.last_use(workspace)));
        write_batches(&self.client, &self.usage, puts.collect()).await;
    }

    async fn delete<'a>(&self, keys: impl IntoIterator<Item = &'a String> + Clone) {
        let delete = |id: &str, entry: Option<&str>| {
            let entry = entry.map(|entry| ("entry".to_owned(), AttributeValue::S(entry.to_owned())));
            let key = [("key_id".to_owned(), AttributeValue::S(id.to_owned()))].into_iter().chain(entry);
            let delete = DeleteRequest::builder().set_key(Some(key.collect())).build();
            WriteRequest::builder().delete_request(delete.expect("a key")).build()
        };
        let deletes = keys.clone().into_iter().map(|id| delete(id, None));
        write_batches(&self.client, &self.keys, deletes.collect()).await;
        let deletes = keys.into_iter().map(|id| delete(id, Some("LAST")));
        write_batches(&self.client, &self.usage, deletes.collect()).await;
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        let names = [self.keys.clone(), self.usage.clone()];
        let delete = move || {
            names.into_iter().all(|name| {
                runtime().block_on(async { dynamodb().delete_table().table_name(name).send().await.is_ok() })
            })
        };
        let deleted = std::thread::spawn(delete).join().is_ok_and(|deleted| deleted);
        assert!(deleted || std::thread::panicking(), "the tables can be deleted");
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A page of a response.
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

/// The keys that walks have shown so far, in the order of the list.
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

/// The query of one walk.
#[derive(Debug)]
struct Query {
    column: Column,
    ascending: bool,
    filter: Filter,
    limit: usize,
}

/// A workspace of one case, and the keys in it.
struct Workspace<'a> {
    tables: &'a Tables,
    keys: KeyLister,
    caller: Caller,
    /// The keys in the table.
    living: BTreeMap<String, Known>,
    /// All keys that were ever in the table.
    known: BTreeMap<String, Known>,
}

impl<'a> Workspace<'a> {
    async fn new(tables: &'a Tables, drafts: &[Draft]) -> Self {
        let id = unique("walk");
        let living: BTreeMap<String, Known> = drafts
            .iter()
            .enumerate()
            .map(|(serial, draft)| Known::new(*draft, serial))
            .map(|key| (key.id.clone(), key))
            .collect();
        tables.put(&id, living.values()).await;
        let caller = Caller {
            workspace_id: id.parse().expect("a workspace"),
            user_id: "reader".parse().expect("a user"),
            key: Some(CallerKey { id: KeyId::generate(Utc::now()), name: "reader".to_owned(), state: None }),
            session: None,
            scopes: vec!["keys:read".parse().expect("a scope")],
            endpoints: Vec::new(),
            networks: Vec::new(),
            metadata: Metadata::default(),
            limits: Limits::default(),
            credential: CredentialKind::ApiKey,
            old_secret: None,
            expires_at: None,
        };
        let names = [("KEYS_TABLE", tables.keys.as_str()), ("USAGE_TABLE", tables.usage.as_str())];
        let keys = KeyLister::new(tables.client.clone(), &Environment::from_iter(names));
        let keys = keys.expect("the names of the tables");
        Self { tables, keys, caller, known: living.clone(), living }
    }

    /// The ids of the keys in the table that `filter` wants.
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
        let context = RequestContext { caller: self.caller.clone(), origin: RequestOrigin::default(), now };
        let brand = "kg".parse().expect("a brand");
        let page = list(&self.keys, &brand, &context, &request).await;
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
                self.tables.put(self.caller.workspace_id.as_str(), [&key]).await;
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
        self.tables.delete(&ids).await;
        self.living.retain(|id, _| !ids.contains(id));
    }

    /// Restores the keys of an earlier time.
    async fn restore(&mut self, before: BTreeMap<String, Known>) {
        let missing = before.iter().filter(|(id, _)| !self.living.contains_key(*id));
        self.tables.put(self.caller.workspace_id.as_str(), missing.map(|(_, key)| key)).await;
        self.tables.delete(self.living.keys().filter(|id| !before.contains_key(*id))).await;
        self.living = before;
    }

    /// Walks to the end of the list, back to its beginning, and to the end again, while `changes` happen. After a turn the
    /// walk continues from its last page.
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
    let tables = runtime.block_on(Tables::create());
    property::check(&cases(), CASES, 1_000, |case: Case| {
        runtime.block_on(async {
            let mut workspace = Workspace::new(&tables, &case.keys).await;
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
}

#[test]
fn keys_that_are_gone_but_not_yet_deleted_leave_no_gap_on_a_page() {
    let runtime = runtime();
    let tables = runtime.block_on(Tables::create());
    let endless = Draft {
        word: WORDS[0],
        user: USERS[0],
        created_by: USERS[1],
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
        let mut workspace = Workspace::new(&tables, &drafts).await;
        for (column, limit) in Column::ALL.into_iter().zip([1, 2, 3, 4, 5]) {
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
fn every_walk_by_creator_shows_every_key_once_and_in_order_whatever_is_created_and_deleted() {
    check_walks(Column::CreatedBy);
}

#[test]
fn every_walk_by_time_of_creation_shows_every_key_once_and_in_order_whatever_is_created_and_deleted() {
    check_walks(Column::CreatedAt);
}

#[test]
fn every_walk_by_time_of_last_use_shows_every_key_once_and_in_order_whatever_is_created_and_deleted() {
    check_walks(Column::LastUsedAt);
}

/// The most keys that a workspace is expected to have.
const MANY: usize = 10_000;
/// The most keys that one query of a filtered page reads.
const FILTERED_READ: usize = 250;
/// The most queries of a filtered page.
const MAX_READS: usize = 4;
/// The fewest pages of a walk that finds at most one key: each page reads as much as it may.
const MIN_PAGES: usize = MANY / (MAX_READS * FILTERED_READ);
/// The most pages of such a walk. The page at the turn counts, and a last page may find nothing more to read.
const MAX_PAGES: usize = MIN_PAGES + 2;

/// Many keys. The one in the middle has a name and a user that no other key has.
fn many_keys() -> Vec<Known> {
    let lives = LIVES.into_iter().filter(|life| *life != Life::Gone).cycle();
    let words = WORDS.into_iter().cycle();
    let users = USERS.into_iter().cycle();
    let drafts = words.zip(users).zip(lives).zip(0..).map(|(((word, user), life), serial)| Draft {
        word,
        user,
        created_by: if serial % 3 == 0 { "Bob" } else { user },
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

/// The function `list-keys` on a table of the test's own.
struct Lister {
    function: Function,
    workspace: String,
}

impl Lister {
    /// Reads a page. Returns it with the reads that it took.
    async fn page(&self, parameters: &[(&str, &str)], cursor: Option<&String>) -> (Page, Reads) {
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
        let answer = self.function.invoke(event).await.expect("a response");
        assert_eq!(answer["statusCode"], 200, "{answer}");
        let page = serde_json::from_str(&string(&answer["body"])).expect("JSON");
        (Page::read(&page), Reads::of(&self.function))
    }

    /// All pages from `page`, at one end of the list, to the other end.
    async fn go_on(&self, parameters: &[(&str, &str)], mut page: Page, direction: Direction) -> Vec<Page> {
        let mut pages = Vec::new();
        while let Some(cursor) = page.onward(direction).cloned() {
            pages.push(page);
            assert!(pages.len() < MAX_PAGES, "{parameters:?} has no end {direction:?}");
            let reads;
            (page, reads) = self.page(parameters, Some(&cursor)).await;
            reads.assert_bounded();
        }
        pages.push(page);
        pages
    }
}

/// The reads of one page.
#[derive(Debug)]
struct Reads {
    /// The limit of each query.
    limits: Vec<u64>,
    /// The number of keys that were read by id, and of last uses.
    keys: usize,
    last_uses: usize,
    /// The read units of the queries, and of the reads by id.
    query_units: f64,
    batch_units: f64,
}

impl Reads {
    fn of(function: &Function) -> Self {
        let mut reads =
            Self { limits: Vec::new(), keys: 0, last_uses: 0, query_units: 0.0, batch_units: 0.0 };
        for (operation, request) in function.take_calls() {
            match operation.as_str() {
                "Query" => reads.limits.push(request["Limit"].as_u64().expect("a limit")),
                "BatchGetItem" => {
                    for (_, wanted) in request["RequestItems"].as_object().expect("tables") {
                        let keys = wanted["Keys"].as_array().expect("keys");
                        let count = if keys[0].get("entry").is_some() {
                            &mut reads.last_uses
                        } else {
                            &mut reads.keys
                        };
                        *count += keys.len();
                    }
                }
                other => panic!("{other}: {request}"),
            }
        }
        for (operation, units) in function.take_capacity() {
            *if operation == "Query" { &mut reads.query_units } else { &mut reads.batch_units } += units;
        }
        reads
    }

    /// Checks that a page of a filtered list has read at most as much as it may.
    #[track_caller]
    fn assert_bounded(&self) {
        assert!(self.limits.len() <= MAX_READS, "{self:?}");
        assert!(self.limits.iter().all(|limit| *limit == FILTERED_READ as u64), "{self:?}");
        let most = self.limits.len() * FILTERED_READ;
        assert!(self.keys <= most && self.last_uses <= most, "{self:?}");
    }
}

/// The read units of the query of a page of 25 keys. It reads one key more than the page shows. An item in an index has less
/// than 1 kB here, so 26 of them have less than 26 kB: at most 7 units of 4 kB, each at half price because index reads are
/// eventually consistent.
const QUERY_CAPACITY: f64 = 3.5;
/// The read units of an item that is read by id, which has less than 4 kB, at half price for the same reason.
const ITEM_CAPACITY: f64 = 0.5;

async fn assert_a_page_costs_one_query_and_its_items(lister: &Lister) {
    for column in Column::ALL {
        for order in ["asc", "desc"] {
            let parameters = [("sort", column.parameter()), ("order", order), ("limit", "25")];
            let mut cursor = None;
            for turn in [Direction::Forwards, Direction::Forwards, Direction::Backwards] {
                let (page, reads) = lister.page(&parameters, cursor.as_ref()).await;
                assert_eq!(page.ids.len(), 25, "{parameters:?}");
                assert_eq!(reads.limits, [26], "{parameters:?}");
                assert!(reads.query_units <= QUERY_CAPACITY, "{parameters:?}: {reads:?}");
                // The index by last use has only ids; the others have all but the last use.
                let (keys, last_uses) = if column == Column::LastUsedAt { (26, 0) } else { (0, 25) };
                assert_eq!((reads.keys, reads.last_uses), (keys, last_uses), "{parameters:?}");
                let items = f64::from(u8::try_from(keys + last_uses).expect("few items"));
                assert!(reads.batch_units <= items * ITEM_CAPACITY, "{parameters:?}: {reads:?}");
                cursor = page.onward(turn).cloned();
            }
        }
    }
}

async fn assert_a_filter_that_matches_nothing_reads_everything_page_by_page(lister: &Lister) {
    let parameters = [("sort", "last_used_at"), ("name", "no key is called that")];
    let (page, reads) = lister.page(&parameters, None).await;
    reads.assert_bounded();
    let pages = lister.go_on(&parameters, page, Direction::Forwards).await;
    assert!(pages.iter().all(|page| page.ids.is_empty()), "{pages:?}");
    assert!(pages.len() >= MIN_PAGES, "keys are left unread: {pages:?}");
}

async fn assert_a_filter_that_matches_one_key_finds_it_once(lister: &Lister, id: &str) {
    for parameters in [[("sort", "name"), ("user_id", "mallory")], [("sort", "user"), ("name", "NEEDLE")]] {
        let (mut page, reads) = lister.page(&parameters, None).await;
        reads.assert_bounded();
        for direction in [Direction::Forwards, Direction::Backwards] {
            let mut pages = lister.go_on(&parameters, page, direction).await;
            let found: Vec<_> = pages.iter().flat_map(|page| &page.ids).collect();
            assert_eq!(found, [id], "{parameters:?} {direction:?}");
            page = pages.pop().expect("a last page");
        }
    }
}

/// Last use is read only of the keys that the other filters leave.
async fn assert_a_filter_by_use_reads_the_last_use_of_what_is_left(lister: &Lister) {
    let parameters = [("sort", "name"), ("status", "unused"), ("created_by", "Bob"), ("limit", "10")];
    let (page, reads) = lister.page(&parameters, None).await;
    reads.assert_bounded();
    assert_eq!((page.ids.len(), reads.limits.len(), reads.keys), (10, 1, 0), "{reads:?}");
    assert!((10..FILTERED_READ).contains(&reads.last_uses), "{reads:?}");
}

#[tokio::test]
async fn among_ten_thousand_keys_a_page_costs_one_query_and_a_filter_a_bounded_number() {
    let tables = Tables::create().await;
    let workspace = unique("walk");
    let keys = many_keys();
    tables.put(&workspace, &keys).await;
    let names = [("KEYS_TABLE", tables.keys.as_str()), ("USAGE_TABLE", tables.usage.as_str())];
    let function = Function::start("list-keys", &names).await;
    let lister = Lister { function, workspace };

    assert_a_page_costs_one_query_and_its_items(&lister).await;
    assert_a_filter_that_matches_nothing_reads_everything_page_by_page(&lister).await;
    assert_a_filter_that_matches_one_key_finds_it_once(&lister, &keys[MANY / 2].id).await;
    assert_a_filter_by_use_reads_the_last_use_of_what_is_left(&lister).await;
}

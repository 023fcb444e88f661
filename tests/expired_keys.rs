//! Expired keys: an expired key frees its name and its place in its user's quota, and an extension takes both again.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::database::{Contents, expire, string};
use crate::support::eventually;
use crate::support::function::{Disturbance, Function, request};
use crate::support::tables::{Tables, batch, create_key, revealed};
use crate::support::workspace::{Workspace, id_of, keys_url, text, unique};

const CREATE: (&str, &str) = ("POST", "/api-keys");
const PATCH: (&str, &str) = ("PATCH", "/api-keys/{id}");
const DELETE: (&str, &str) = ("DELETE", "/api-keys/{id}");
const LATER: &str = "2099-01-01T00:00:00Z";

/// The number of counted keys in a user's entry, and the number of the user's keys.
fn counts(contents: &Contents, user: &str) -> (i64, usize) {
    let counted = contents.entries[&format!("USER#{user}")]["key_count"].as_i64().expect("a count");
    (counted, contents.keys.iter().filter(|key| key["user_id"] == user).count())
}

fn name_of(contents: &Contents, name: &str) -> Value {
    contents.entries.get(&format!("NAME#{name}")).map_or(Value::Null, |entry| entry["key_id"].clone())
}

#[track_caller]
fn assert_problem(answer: &Value, status: u16, code: &str) -> Value {
    assert_eq!(answer["statusCode"], status, "{answer}");
    let problem: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
    assert_eq!(problem["code"], code, "{problem}");
    problem
}

/// A workspace with an expired key, and the key's id.
async fn with_an_expired_key(name: &str) -> (Workspace, Value) {
    let workspace = Workspace::new().await;
    let key = workspace.created(json!({"name": name, "expires_in": 3600})).await;
    expire(&workspace.id, text(&key, "id")).await;
    (workspace, key)
}

/// A user with a quota of two, and the functions that enforce it.
struct Narrow {
    workspace: Workspace,
    creator: Function,
    updater: Function,
}

const QUOTA: [(&str, &str); 1] = [("KEYS_PER_USER", "2")];

impl Narrow {
    async fn new() -> Self {
        let (workspace, creator, updater) = tokio::join!(
            Workspace::new(),
            Function::start("create-key", &QUOTA),
            Function::start("update-key", &QUOTA)
        );
        Self { workspace, creator, updater }
    }

    fn request(&self, name: &str) -> Value {
        let body = json!({"name": name, "user_id": "bob", "expires_in": 3600});
        request(&self.workspace, CREATE, None, &[], &body)
    }

    async fn create(&self, name: &str) -> String {
        id_of(&revealed(&self.creator.invoke(self.request(name)).await.expect("a response"))).to_owned()
    }

    async fn create_expired(&self, name: &str) -> String {
        let id = self.create(name).await;
        expire(&self.workspace.id, &id).await;
        id
    }

    fn extension(&self, id: &str) -> Value {
        request(&self.workspace, PATCH, Some(id), &[], &json!({"expires_at": LATER}))
    }

    /// Creates an expired key that has lost its place to another key, which has expired as well, and a key that has not expired.
    /// Returns the ids of the first two.
    async fn with_an_uncounted_key(&self) -> (String, String) {
        let lost = self.create_expired("lost").await;
        self.create("lasting").await;
        let taker = self.create_expired("taker").await;
        assert_eq!(counts(&self.workspace.contents().await, "bob"), (2, 3));
        (lost, taker)
    }
}

#[tokio::test]
async fn a_hundred_expired_keys_do_not_keep_their_user_from_having_another_hundred() {
    let workspace = Workspace::new().await;
    let mut ids = Vec::new();
    for index in 0..100 {
        let body = json!({"name": format!("ci-{index}"), "user_id": "svc:ci", "expires_in": 1});
        ids.push(string(&workspace.created(body).await["id"]));
    }
    let body = json!({"name": "ci-0", "user_id": "svc:ci"});
    // The first key may have freed its place already. The last one frees it two seconds after its expiry.
    eventually("the user has room for a key", async || {
        workspace.create(&workspace.admin, &body).await.status == 201
    })
    .await;
    let (counted, keys) = counts(&workspace.contents().await, "svc:ci");
    assert!(counted <= 100 && keys == 101, "{counted} of {keys}");
    let last = ids.last().expect("an id");
    workspace.until_expired(last).await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    // Many at once find the count full, want the same places, and get them all.
    // Twenty at a time: each waits for the others' transactions, and all of them for one emulated database.
    let (mut creates, at_a_time) = (JoinSet::new(), Arc::new(Semaphore::new(20)));
    for index in 1..100 {
        let (api, admin, at_a_time) =
            (workspace.api.clone(), workspace.admin.clone(), Arc::clone(&at_a_time));
        let body = json!({"name": format!("ci-{index}"), "user_id": "svc:ci"});
        creates.spawn(async move {
            let _turn = at_a_time.acquire_owned().await.expect("it is never closed");
            api.send(Method::POST, &keys_url(""), Some(&admin), Some(&body)).await
        });
    }
    while let Some(answer) = creates.join_next().await {
        let answer = answer.expect("a response");
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    assert_eq!(counts(&workspace.contents().await, "svc:ci"), (100, 200));

    // From now on the quota holds, for an expired key that is extended as well.
    let one_more = workspace.create(&workspace.admin, &json!({"name": "more", "user_id": "svc:ci"})).await;
    one_more.assert_problem(409, "quota_exceeded");
    let detail = "The user has 100 keys, and the quota is 100. Expired keys do not count.";
    assert_eq!(one_more.json()["detail"], detail);
    let extended = json!({"name": "extended", "expires_at": LATER});
    let extend = async || workspace.update(&workspace.admin, &ids[7], &extended).await;
    extend().await.assert_problem(409, "quota_exceeded");
    let new = workspace.list(&workspace.admin, "?user_id=svc:ci&status=active&limit=1").await.json();
    workspace.delete(&workspace.admin, text(&new["items"][0], "id")).await.assert_succeeded();
    assert_eq!(extend().await.json()["status"], "active");
    assert_eq!(counts(&workspace.contents().await, "svc:ci"), (100, 200 - 1));
}

#[tokio::test]
async fn the_name_of_an_expired_key_is_free_and_both_keys_are_shown() {
    let (workspace, old) = with_an_expired_key("ci").await;
    let old_id = text(&old, "id");
    let new = workspace.created(json!({"name": "CI"})).await;
    let new_id = text(&new, "id");

    for (id, name, status) in [(old_id, "ci", "expired"), (new_id, "CI", "active")] {
        let shown = workspace.get(&workspace.admin, id).await.json();
        assert_eq!((&shown["name"], &shown["status"]), (&json!(name), &json!(status)));
    }
    let listed = workspace.list(&workspace.admin, "?name=ci&sort=name").await.json();
    let listed: Vec<_> = listed["items"].as_array().expect("items").iter().map(|key| &key["id"]).collect();
    assert_eq!(listed.len(), 2, "{listed:?}");

    let again = workspace.create(&workspace.admin, &json!({"name": "ci"})).await;
    again.assert_problem(409, "name_taken");
    assert_eq!(again.json()["key_id"], new_id);
    assert_eq!(name_of(&workspace.contents().await, "ci"), new_id);
}

#[tokio::test]
async fn a_name_is_free_two_seconds_after_its_key_has_expired() {
    let workspace = Workspace::new().await;
    let first = workspace.created(json!({"name": "ci", "expires_in": 1})).await;
    workspace.until_expired(text(&first, "id")).await;
    let create = async || workspace.create(&workspace.admin, &json!({"name": "ci"})).await;
    create().await.assert_problem(409, "name_taken");
    eventually("the name is free", async || create().await.status == 201).await;
    workspace.contents().await;
}

#[tokio::test]
async fn an_extended_key_takes_its_name_again_or_is_refused() {
    let (workspace, old) = with_an_expired_key("ci").await;
    let old_id = text(&old, "id");
    let new = workspace.created(json!({"name": "CI"})).await;
    let extend = async |patch: Value| workspace.update(&workspace.admin, old_id, &patch).await;
    for expires_at in [json!(LATER), Value::Null] {
        let refused = extend(json!({"expires_at": expires_at})).await;
        refused.assert_problem(409, "name_taken");
        assert_eq!(refused.json()["key_id"], new["id"]);
    }
    assert!(!workspace.accepts(text(&old, "key")).await);

    // Under another name it can be extended, and that one is taken.
    assert_eq!(extend(json!({"expires_at": LATER, "name": "ci-2"})).await.json()["status"], "active");
    assert!(workspace.accepts(text(&old, "key")).await);
    let contents = workspace.contents().await;
    assert_eq!(
        (name_of(&contents, "ci"), name_of(&contents, "ci-2")),
        (new["id"].clone(), old["id"].clone())
    );

    // A key gets its name back if the name is free.
    expire(&workspace.id, old_id).await;
    let other = workspace.created(json!({"name": "ci-2"})).await;
    assert_eq!(workspace.delete(&workspace.admin, text(&other, "id")).await.status, 204);
    assert_eq!(name_of(&workspace.contents().await, "ci-2"), Value::Null);
    assert_eq!(extend(json!({"expires_at": LATER})).await.status, 200);
    assert_eq!(name_of(&workspace.contents().await, "ci-2"), old["id"]);
}

#[tokio::test]
async fn an_extended_key_takes_its_place_again_or_is_refused() {
    let narrow = Narrow::new().await;
    let (lost, taker) = narrow.with_an_uncounted_key().await;
    let extend = async |id: &str| narrow.updater.invoke(narrow.extension(id)).await.expect("a response");

    // The other expired key gives way to it.
    assert_eq!(extend(&lost).await["statusCode"], 200);
    assert_eq!(counts(&narrow.workspace.contents().await, "bob"), (2, 3));
    // Nothing gives way to that one.
    let problem = assert_problem(&extend(&taker).await, 409, "quota_exceeded");
    assert_eq!(problem["detail"], "The user has 2 keys, and the quota is 2. Expired keys do not count.");
    assert_problem(
        &narrow.creator.invoke(narrow.request("more")).await.expect("a response"),
        409,
        "quota_exceeded",
    );
    narrow.workspace.delete(&narrow.workspace.admin, &lost).await.assert_succeeded();
    assert_eq!(extend(&taker).await["statusCode"], 200);
    assert_eq!(counts(&narrow.workspace.contents().await, "bob"), (2, 2));
}

#[tokio::test]
async fn a_key_that_still_has_its_place_is_extended_where_the_count_is_full() {
    let narrow = Narrow::new().await;
    let expired = narrow.create_expired("one").await;
    narrow.create("two").await;
    let answer = narrow.updater.invoke(narrow.extension(&expired)).await.expect("a response");
    assert_eq!(answer["statusCode"], 200, "{answer}");
    assert_eq!(counts(&narrow.workspace.contents().await, "bob"), (2, 2));
}

#[tokio::test]
async fn an_expired_key_of_a_removed_user_gets_no_place_again() {
    let narrow = Narrow::new().await;
    let (lost, _) = narrow.with_an_uncounted_key().await;
    let answer = narrow.updater.invoke_while(narrow.extension(&lost), async {
        let clearer = Function::start("process-user-removal", &[]).await;
        let removal = json!({"workspace_id": narrow.workspace.id, "user_id": "bob"});
        clearer.disturb(Disturbance::KillAfter);
        clearer.invoke_until_killed(removal).await;
    });
    assert_problem(&Box::pin(answer).await, 409, "user_removed");
    assert_eq!(counts(&narrow.workspace.contents().await, "bob"), (2, 3));
}

#[tokio::test]
async fn an_expired_key_is_deleted_without_the_name_that_another_has_and_a_place_that_it_has_lost() {
    let narrow = Narrow::new().await;
    let (lost, taker) = narrow.with_an_uncounted_key().await;
    let heir = narrow.workspace.created(json!({"name": "lost"})).await;
    for (id, left) in [(lost, (2, 2)), (taker, (1, 1))] {
        assert_eq!(narrow.workspace.delete(&narrow.workspace.admin, &id).await.status, 204);
        let contents = narrow.workspace.contents().await;
        assert_eq!(counts(&contents, "bob"), left);
        assert_eq!(contents.events_of("key.deleted", &json!(id)), 1);
        assert_eq!(name_of(&contents, "lost"), heir["id"]);
    }
}

#[tokio::test]
async fn a_change_of_an_expired_key_gives_it_nothing_back_and_takes_nothing_from_another() {
    let narrow = Narrow::new().await;
    let (lost, _) = narrow.with_an_uncounted_key().await;
    let workspace = &narrow.workspace;
    let heir = workspace.created(json!({"name": "lost"})).await;
    let other = workspace.created(json!({"name": "other"})).await;
    let update = async |patch: Value| workspace.update(&workspace.admin, &lost, &patch).await;
    let refused = update(json!({"name": "other"})).await;
    refused.assert_problem(409, "name_taken");
    assert_eq!(refused.json()["key_id"], other["id"]);
    for patch in [
        json!({"description": "d", "scopes": ["a:b"], "disabled": true}),
        json!({"name": "renamed"}),
        json!({"name": "renamed again", "disabled": false}),
    ] {
        assert_eq!(update(patch.clone()).await.json()["status"], "expired", "{patch}");
        assert_eq!(workspace.rotate(&workspace.admin, &lost, &json!({})).await.json()["status"], "expired");
        let contents = workspace.contents().await;
        assert_eq!((counts(&contents, "bob"), name_of(&contents, "lost")), ((2, 3), heir["id"].clone()));
    }
    // Another key can take the name of this expired key.
    assert_eq!(name_of(&workspace.contents().await, "renamed again"), lost);
    let taker = workspace.created(json!({"name": "renamed again"})).await;
    assert_eq!(name_of(&workspace.contents().await, "renamed again"), taker["id"]);
}

#[tokio::test]
async fn an_expired_key_is_handed_over_whatever_the_others_quota() {
    let clearer = Function::start("process-user-removal", &QUOTA).await;
    for is_counted in [true, false] {
        let narrow = Narrow::new().await;
        for name in ["one of the heir", "another"] {
            let body = json!({"name": name, "user_id": "svc:heir"});
            narrow.workspace.created(body).await;
        }
        let expired = narrow.create_expired("expired").await;
        narrow.create("two").await;
        if !is_counted {
            narrow.create("three").await;
        }
        let removal =
            json!({"workspace_id": narrow.workspace.id, "user_id": "bob", "transfer_to": "svc:heir"});
        assert_eq!(clearer.invoke(removal).await, Ok(Value::Null));
        let contents = narrow.workspace.contents().await;
        assert_eq!(counts(&contents, "bob"), (0, 0), "what had not expired was deleted");
        assert_eq!(counts(&contents, "svc:heir"), (2, 3));
        assert_eq!(contents.events_of("key.transferred", &json!(expired)), 1);
    }
}

#[tokio::test]
async fn a_key_that_is_handed_over_takes_the_place_of_an_expired_one() {
    let clearer = Function::start("process-user-removal", &QUOTA).await;
    let workspace = Workspace::new().await;
    for name in ["one", "two"] {
        let body = json!({"name": name, "user_id": "svc:heir", "expires_in": 3600});
        expire(&workspace.id, text(&workspace.created(body).await, "id")).await;
    }
    let keys = [workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await];
    let removal = json!({"workspace_id": workspace.id, "user_id": "bob", "transfer_to": "svc:heir"});
    assert_eq!(clearer.invoke(removal).await, Ok(Value::Null));
    let contents = workspace.contents().await;
    assert_eq!(counts(&contents, "svc:heir"), (2, 4));
    for key in keys {
        assert!(workspace.accepts(&key).await);
    }
}

#[tokio::test]
async fn time_removes_an_expired_key_that_has_lost_its_name_and_its_place_and_nothing_else() {
    let tables = Tables::new().await;
    let narrow = [("KEYS_PER_USER", "1")];
    let creator = tables.start_with("create-key", &narrow).await;
    let create = async |name: &str| {
        let body = json!({"name": name, "user_id": "bob", "expires_in": 3600});
        create_key(&creator, &tables.workspace, &body).await
    };
    let lost = create("ci").await;
    let key = tables.key(&lost).await.expect("the key is there");
    tables.move_times(&lost, &key, &[("expires_at", 1_700_000_000), ("ttl", 1_700_000_001)]).await;
    let taker = create("ci").await;
    let mut stream = tables.keys_stream().await;
    tables.remove_key(&lost).await;
    let is_it =
        |record: &Value| record["eventName"] == "REMOVE" && record["dynamodb"]["Keys"]["key_id"]["S"] == lost;
    let mut record = stream.records_with(is_it).await.into_iter().find(is_it).expect("the record");
    record["userIdentity"] = json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"});
    let purger = tables.start("purge-keys").await;
    for _ in 0..2 {
        let answer = purger.invoke(batch(std::slice::from_ref(&record))).await.expect("a response");
        assert_eq!(answer["batchItemFailures"], json!([]), "{answer}");
        let contents = tables.contents().await;
        assert_eq!((counts(&contents, "bob"), name_of(&contents, "ci")), ((1, 1), json!(taker)));
        assert_eq!(contents.events_of("key.purged", &json!(lost)), 1);
    }
}

#[tokio::test]
async fn a_recount_ignores_uncounted_keys() {
    let tables = Tables::new().await;
    let creator = tables.start_with("create-key", &[("KEYS_PER_USER", "1")]).await;
    for _ in 0..3 {
        let body = json!({"name": "ci", "user_id": "bob", "expires_in": 3600});
        let id = create_key(&creator, &tables.workspace, &body).await;
        let key = tables.key(&id).await.expect("the key is there");
        let past = chrono::Utc::now().timestamp() - 10;
        tables.move_times(&id, &key, &[("expires_at", past), ("ttl", past + 1_000)]).await;
    }
    let right = tables.contents().await.entries["USER#bob"].clone();
    assert_eq!(right["key_count"], 1);
    let recounter = tables.start("recount-users").await;
    for count in [1, 7] {
        let mut wrong = right.clone();
        wrong["key_count"] = json!(count);
        tables.put_entry(&wrong).await;
        recounter.invoke(json!({})).await.expect("a run");
        assert_eq!(tables.contents().await.entries["USER#bob"], right);
    }
}

#[tokio::test]
async fn the_holder_of_a_taken_name_is_told_to_callers_who_may_read_that_key() {
    let workspace = Workspace::new().await;
    let reader = workspace.key_of("bob", &["keys:write", "keys:read"]).await;
    let writer = workspace.key_of("bob", &["keys:write"]).await;
    let others = workspace.created(json!({"name": "others"})).await;
    let own = workspace.created(json!({"name": "own", "user_id": "bob"})).await;
    let renamed = workspace.created(json!({"name": unique("key"), "user_id": "bob"})).await;
    for (caller, owner, is_told) in [
        (&workspace.admin, &others, true),
        (&workspace.admin, &own, true),
        (&reader, &others, true),
        (&writer, &own, true),
        (&writer, &others, false),
    ] {
        let wanted = json!({"name": owner["name"]});
        let create = workspace.create(caller, &wanted).await;
        let rename = workspace.update(caller, text(&renamed, "id"), &wanted).await;
        for answer in [create, rename] {
            answer.assert_problem(409, "name_taken");
            let problem = answer.json();
            let told = problem.get("key_id").cloned().unwrap_or_default();
            assert_eq!(told, if is_told { owner["id"].clone() } else { Value::Null }, "{problem}");
            assert_eq!(text(&problem, "detail").contains(text(owner, "id")), is_told, "{problem}");
        }
    }
    workspace.contents().await;
}

#[tokio::test]
async fn of_two_creates_that_want_the_place_of_one_expired_key_one_gets_it() {
    let narrow = Narrow::new().await;
    narrow.create_expired("expired").await;
    narrow.create("lasting").await;
    let rival = Function::start("create-key", &QUOTA).await;
    // The first write finds the count full; the second takes the place of the expired key.
    let late = narrow.creator.invoke_while_at(1, narrow.request("late"), async {
        let first = rival.invoke(narrow.request("rival")).await.expect("a response");
        assert_eq!(first["statusCode"], 201, "{first}");
        revealed(&first);
    });
    assert_problem(&Box::pin(late).await, 409, "quota_exceeded");
    assert_eq!(counts(&narrow.workspace.contents().await, "bob"), (2, 3));
}

#[tokio::test]
async fn of_two_creates_that_want_the_places_of_two_expired_keys_both_get_one() {
    let narrow = Narrow::new().await;
    for name in ["one", "two"] {
        narrow.create(name).await;
    }
    for key in narrow.workspace.contents().await.keys.iter().filter(|key| key["user_id"] == "bob") {
        expire(&narrow.workspace.id, text(key, "key_id")).await;
    }
    let rival = Function::start("create-key", &QUOTA).await;
    let late = narrow.creator.invoke_while_at(1, narrow.request("late"), async {
        revealed(&rival.invoke(narrow.request("rival")).await.expect("a response"));
    });
    revealed(&Box::pin(late).await);
    assert_eq!(counts(&narrow.workspace.contents().await, "bob"), (2, 4));
}

/// `DynamoDB` lets one of two concurrent transactions on an item fail.
#[tokio::test]
async fn creates_that_contend_for_the_places_of_expired_keys_all_get_one() {
    const CREATORS: usize = 6;
    let workspace = Workspace::new().await;
    let mut expired = Vec::new();
    for _ in 0..CREATORS {
        let body = json!({"name": unique("old"), "user_id": "bob", "expires_in": 3600});
        expired.push(string(&workspace.created(body).await["id"]));
    }
    for id in &expired {
        expire(&workspace.id, id).await;
    }
    let mut creates = JoinSet::new();
    for index in 0..CREATORS {
        let workspace = workspace.clone();
        creates.spawn(async move {
            let creator = Function::start("create-key", &[("KEYS_PER_USER", "6")]).await;
            creator.disturb(Disturbance::Contention);
            let body = json!({"name": format!("new {index}"), "user_id": "bob"});
            let answer = creator.invoke(request(&workspace, CREATE, None, &[], &body)).await;
            revealed(&answer.expect("a response"))
        });
    }
    assert_eq!(creates.join_all().await.len(), CREATORS);
    assert_eq!(counts(&workspace.contents().await, "bob"), (6, 12));
}

#[tokio::test]
async fn a_key_that_is_extended_gives_its_place_to_no_create_at_the_same_time() {
    let narrow = Narrow::new().await;
    let expired = narrow.create_expired("expired").await;
    narrow.create("lasting").await;
    let late = narrow.creator.invoke_while_at(1, narrow.request("late"), async {
        let extended = narrow.updater.invoke(narrow.extension(&expired)).await.expect("a response");
        assert_eq!(extended["statusCode"], 200, "{extended}");
    });
    assert_problem(&Box::pin(late).await, 409, "quota_exceeded");
    assert_eq!(counts(&narrow.workspace.contents().await, "bob"), (2, 2));
}

#[tokio::test]
async fn a_key_whose_place_is_taken_while_it_is_extended_is_refused() {
    let narrow = Narrow::new().await;
    let expired = narrow.create_expired("expired").await;
    narrow.create("lasting").await;
    let late = narrow.updater.invoke_while(narrow.extension(&expired), async {
        narrow.create("taker").await;
    });
    assert_problem(&Box::pin(late).await, 409, "quota_exceeded");
    assert_eq!(counts(&narrow.workspace.contents().await, "bob"), (2, 3));
}

#[tokio::test]
async fn a_key_that_is_deleted_while_it_is_extended_stays_deleted() {
    let narrow = Narrow::new().await;
    let (lost, taker) = narrow.with_an_uncounted_key().await;
    narrow.workspace.delete(&narrow.workspace.admin, &taker).await.assert_succeeded();
    // The first write finds the place lost; the second takes another.
    let late = narrow.updater.invoke_while_at(1, narrow.extension(&lost), async {
        assert_eq!(narrow.workspace.delete(&narrow.workspace.admin, &lost).await.status, 204);
    });
    assert_problem(&Box::pin(late).await, 409, "conflict");
    assert_eq!(counts(&narrow.workspace.contents().await, "bob"), (1, 1));
}

#[tokio::test]
async fn a_key_that_is_deleted_while_its_place_is_taken_is_counted_out_once() {
    let narrow = Narrow::new().await;
    let deleter = Function::start("delete-key", &[]).await;
    let expired = narrow.create_expired("expired").await;
    narrow.create("lasting").await;
    let deletion = request(&narrow.workspace, DELETE, Some(&expired), &[], &Value::Null);
    let late = deleter.invoke_while(deletion, async {
        narrow.create("taker").await;
    });
    assert_eq!(Box::pin(late).await["statusCode"], 204);
    assert_eq!(counts(&narrow.workspace.contents().await, "bob"), (2, 2));

    let expired = narrow.workspace.contents().await;
    let expired = expired.keys.iter().find(|key| key["name"] == "taker").expect("the key is there");
    let expired = text(expired, "key_id");
    expire(&narrow.workspace.id, expired).await;
    let late = narrow.creator.invoke_while_at(1, narrow.request("late"), async {
        assert_eq!(narrow.workspace.delete(&narrow.workspace.admin, expired).await.status, 204);
    });
    revealed(&Box::pin(late).await);
    assert_eq!(counts(&narrow.workspace.contents().await, "bob"), (2, 2));
}

/// Another key takes the name between the change's read and its write.
#[tokio::test]
async fn an_expired_key_leaves_its_name_to_a_key_that_takes_it_meanwhile() {
    let (deleter, updater) =
        tokio::join!(Function::start("delete-key", &[]), Function::start("update-key", &[]));
    for (function, route, body, status) in [
        (&deleter, DELETE, Value::Null, 204),
        (&updater, PATCH, json!({"expires_at": LATER}), 409),
        (&updater, PATCH, json!({"name": "renamed"}), 200),
        (&updater, PATCH, json!({"name": "renamed", "expires_at": LATER}), 200),
    ] {
        let (workspace, old) = with_an_expired_key("ci").await;
        let id = text(&old, "id");
        let late = function.invoke_while(request(&workspace, route, Some(id), &[], &body), async {
            workspace.created(json!({"name": "ci"})).await;
        });
        let answer = Box::pin(late).await;
        assert_eq!(answer["statusCode"], status, "{body}: {answer}");
        let contents = workspace.contents().await;
        let new = contents.keys.iter().find(|key| key["name"] == "ci" && key["key_id"] != id);
        assert_eq!(name_of(&contents, "ci"), new.expect("the new key")["key_id"]);
    }
}

//! The capacity that an authorization consumes. DynamoDB charges half a read unit for 4 kB, or a whole one if the read is
//! strongly consistent, and one write unit for 1 kB in the table and in each index that changes.

use chrono::TimeDelta;
use keygate::store::usage::UsageTable;
use keygate_core::credential::{Credential, CredentialForm, KeyId};
use keygate_core::environment::Environment;
use keygate_core::key::LastUse;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::database;
use crate::support::function::{Function, request, token_event};
use crate::support::legacy::{LEGACY, counts, legacy_key};
use crate::support::stack::{dynamodb, variable};
use crate::support::tables::revealed;
use crate::support::workspace::{Workspace, id_of, unique};

fn call(key: &str) -> Value {
    token_event(&format!("Bearer {key}"))
}

/// The capacity that each call has consumed so far, in order. Waits until the function is frozen.
async fn consumed(function: &Function) -> Vec<(String, f64)> {
    function.frozen().await;
    taken_capacity(function)
}

/// The capacity that the calls of a function have consumed since it was last asked, in the order of their operations.
fn taken_capacity(function: &Function) -> Vec<(String, f64)> {
    let mut consumed = function.take_capacity();
    consumed.sort_by(|one, other| one.0.cmp(&other.0));
    consumed
}

fn of<const N: usize>(expected: [(&str, f64); N]) -> Vec<(String, f64)> {
    expected.map(|(operation, units)| (operation.to_owned(), units)).into()
}

#[tokio::test]
async fn an_authorization_is_one_read_and_its_writes_are_few() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let authorizer = Function::start("authorize", &[]).await;
    authorizer.take_capacity();
    authorizer.invoke(call(&key)).await.expect("a policy");
    // The event in its table and in the index by key; last use in its table and, because the index is ordered by it, twice in
    // the index.
    let first = [("GetItem", 1.0), ("PutItem", 2.0), ("UpdateItem", 3.0)];
    assert_eq!(consumed(&authorizer).await, of(first));
    for _ in 0..5 {
        authorizer.invoke(call(&key)).await.expect("a policy");
        assert_eq!(consumed(&authorizer).await, of([("GetItem", 1.0)]));
    }
    // All five are one event, and all six one count of the hour, whenever they are written.
    authorizer.terminate().await;
    assert_eq!(taken_capacity(&authorizer), of([("PutItem", 2.0), ("UpdateItem", 1.0)]));
    let calls = database::calls(&workspace.id, "bob").await;
    assert_eq!(calls.iter().filter_map(|event| event["count"].as_u64()).collect::<Vec<_>>(), [1, 5]);
}

/// The number of recorded uses of a busy key.
const USES: i64 = 10_000;

/// What creating a key takes: each operation with its number of items and its capacity units.
async fn creation(creator: &Function, workspace: &Workspace) -> Vec<(String, Option<usize>, f64)> {
    creator.take_calls();
    creator.take_capacity();
    let event = request(workspace, ("POST", "/api-keys"), None, &[], &json!({"name": unique("ci")}));
    revealed(&creator.invoke(event).await.expect("an answer"));
    let calls = creator.take_calls().into_iter();
    calls
        .zip(creator.take_capacity())
        .map(|((operation, request), (_, units))| {
            (operation, request["TransactItems"].as_array().map(Vec::len), units)
        })
        .collect()
}

#[tokio::test]
async fn a_busy_key_changes_nothing_in_the_table_of_keys_and_makes_no_other_key_dearer() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let id: KeyId = id_of(&key).parse().expect("an id");
    let creator = Function::start("create-key", &[]).await;
    let of_idle = creation(&creator, &workspace).await;
    assert_eq!(of_idle.len(), 1, "one transaction: {of_idle:?}");
    let (stored, listed) = (database::key(id_of(&key)).await, workspace.contents().await.keys);

    let environment = Environment::from_iter([("USAGE_TABLE", variable("KEYGATE_USAGE_TABLE").as_str())]);
    let usage = UsageTable::new(dynamodb(), &environment).expect("the name of the table");
    let (first, mut uses) = (chrono::Utc::now(), JoinSet::new());
    for lane in 0..16 {
        let usage = usage.clone();
        uses.spawn(async move {
            for second in (lane..USES).step_by(16) {
                let at = first + TimeDelta::seconds(second);
                let last_use = LastUse { at, from: Some("203.0.113.7".to_owned()) };
                usage.mark_used(id, &last_use, at - TimeDelta::seconds(1)).await.expect("a write");
            }
        });
    }
    let of_busy = creation(&creator, &workspace).await;
    uses.join_all().await;
    assert_eq!(database::last_used_at(id_of(&key)).await, first.timestamp() + USES - 1);

    assert_eq!(of_busy, of_idle, "the same items and units beside a busy key");
    assert_eq!(database::key(id_of(&key)).await, stored);
    let mut after = workspace.contents().await.keys;
    after.retain(|key| listed.iter().any(|before| before["key_id"] == key["key_id"]));
    assert_eq!(after, listed, "the indexes have the same as before");
}

#[tokio::test]
async fn a_route_more_is_an_event_more_and_no_other_write() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[]).await;
    authorizer.invoke(call(&key)).await.expect("a policy");
    consumed(&authorizer).await;
    for (method, path) in [("GET", "users"), ("POST", "orders")] {
        let mut event = call(&key);
        let arn =
            event["methodArn"].as_str().expect("an ARN").replace("GET/orders", &format!("{method}/{path}"));
        event["methodArn"] = arn.into();
        authorizer.invoke(event).await.expect("a policy");
        assert_eq!(consumed(&authorizer).await, of([("GetItem", 1.0), ("PutItem", 2.0)]));
    }
}

#[tokio::test]
async fn a_refusal_costs_one_read_whether_the_key_exists_or_not_and_garbage_none() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[]).await;
    authorizer.take_capacity();
    let secret_of =
        |id: KeyId| Credential::draw(id, CredentialForm::ApiKey).to_text(&"kg".parse().expect("a brand"));
    let unknown = secret_of(KeyId::generate(chrono::Utc::now()));
    for _ in 0..2 {
        authorizer.invoke(call(unknown.expose_secret())).await.expect_err("a refusal");
        assert_eq!(consumed(&authorizer).await, of([("GetItem", 1.0)]), "and nothing in the trail");
        for garbage in ["", "kg_key_", &key[..key.len() - 1], &key.to_lowercase()] {
            authorizer.invoke(call(garbage)).await.expect_err("a refusal");
            assert_eq!(consumed(&authorizer).await, []);
        }
    }
    let wrong = secret_of(id_of(&key).parse().expect("an id"));
    authorizer.invoke(call(wrong.expose_secret())).await.expect_err("a refusal");
    assert_eq!(consumed(&authorizer).await, of([("GetItem", 1.0), ("PutItem", 2.0)]), "once a minute");
    authorizer.invoke(call(wrong.expose_secret())).await.expect_err("a refusal");
    assert_eq!(consumed(&authorizer).await, of([("GetItem", 1.0)]));
}

#[tokio::test]
async fn a_cached_decision_reads_nothing() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[("CACHE_SECONDS", "300")]).await;
    authorizer.invoke(call(&key)).await.expect("a policy");
    consumed(&authorizer).await;
    for _ in 0..5 {
        authorizer.invoke(call(&key)).await.expect("a policy");
        assert_eq!(consumed(&authorizer).await, []);
    }
}

#[tokio::test]
async fn a_token_and_its_key_are_one_read() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let token = workspace.access_token(&key).await;
    let authorizer = Function::start("authorize", &[]).await;
    authorizer.take_capacity();
    authorizer.invoke(call(&token)).await.expect("a policy");
    // A unit for each of the two, in one call.
    let first = consumed(&authorizer).await;
    let reads: Vec<_> = first.iter().filter(|(operation, _)| operation == "BatchGetItem").collect();
    assert_eq!(reads, [&("BatchGetItem".to_owned(), 2.0)], "{first:?}");
    authorizer.invoke(call(&token)).await.expect("a policy");
    assert_eq!(consumed(&authorizer).await, of([("BatchGetItem", 2.0)]));
}

#[tokio::test]
async fn a_legacy_key_is_one_read_and_imported_with_48_others_at_once() {
    let workspace = Workspace::new().await;
    let function = Function::start("import-legacy-keys", &LEGACY).await;
    let keys: Vec<_> = (0..49).map(|_| legacy_key()).collect();
    let batch: Value = keys.iter().map(|key| json!({"key": key, "user_id": "bob", "name": "old"})).collect();
    let event = json!({"import": {"workspace_id": workspace.id, "keys": batch}});
    assert_eq!(counts(&function.invoke(event).await.expect("a response")), [49, 0, 0]);
    // DynamoDB Local counts no units of transactions. All keys share one event, and one check that their user is not removed.
    let calls = function.take_calls();
    let items: Vec<_> = calls
        .iter()
        .map(|(operation, request)| (operation.as_str(), request["TransactItems"].as_array().map(Vec::len)))
        .collect();
    assert_eq!(items, [("GetItem", None), ("BatchGetItem", None), ("TransactWriteItems", Some(51))]);

    let authorizer = Function::start("authorize", &LEGACY).await;
    authorizer.take_capacity();
    authorizer.invoke(call(&keys[0])).await.expect("a policy");
    // Last use in the table and in its two indexes.
    let first = [("BatchGetItem", 1.0), ("PutItem", 2.0), ("UpdateItem", 3.0)];
    assert_eq!(consumed(&authorizer).await, of(first));
    authorizer.invoke(call(&keys[0])).await.expect("a policy");
    assert_eq!(consumed(&authorizer).await, of([("BatchGetItem", 1.0)]));
}

//! The upgrade test: the present functions on what an earlier version has written, the baseline in `infra/baseline`.
//!
//! `tests/upgrade/record.py` has recorded the life of a workspace: its items, its credentials, and responses. Each test
//! loads the items into tables of its own, which have the present schema, and starts functions for which it is the time of
//! the recording: libfaketime shifts the clock that they read. So no item has to be changed, and everything that was about
//! to end still is. The KMS keys of all local stacks are the same, so the hashes are those of the recording too.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::support::database::{Contents, Item, TABLES, contents_of, put_request, write_batches};
use crate::support::function::{Function, oauth_request, token_event};
use crate::support::legacy::LEGACY;
use crate::support::oauth::{answered, basic};
use crate::support::stack::{dynamodb, remember_secret};
use crate::support::tables::{create_like, remove_key};
use crate::support::workspace::{text, unique};

/// The routes of the management API that the tests use, with the functions that serve them.
const ROUTES: [(&str, &str, &str); 14] = [
    ("POST", "/api-keys", "create-key"),
    ("GET", "/api-keys", "list-keys"),
    ("GET", "/api-keys/{id}", "get-key"),
    ("PATCH", "/api-keys/{id}", "update-key"),
    ("DELETE", "/api-keys/{id}", "delete-key"),
    ("POST", "/api-keys/{id}/rotate", "rotate-key"),
    ("GET", "/api-keys/{id}/tokens", "list-tokens"),
    ("DELETE", "/api-keys/{id}/tokens", "revoke-token"),
    ("GET", "/legacy-keys", "list-legacy-keys"),
    ("GET", "/legacy-keys/{id}", "get-legacy-key"),
    ("DELETE", "/legacy-keys/{id}", "delete-legacy-key"),
    ("GET", "/activity", "list-activity"),
    ("GET", "/me", "whoami"),
    ("PUT", "/users/{user_id}", "remove-user"),
];

/// The recorded workspace in tables of a test's own.
struct Upgraded {
    life: Value,
    items: Vec<Value>,
    /// The names of the tables, by the variables with which functions are told them.
    tables: BTreeMap<String, String>,
    /// How many seconds the clock of the functions differs from this one.
    offset: i64,
    functions: Mutex<BTreeMap<&'static str, Arc<Function>>>,
}

impl Upgraded {
    async fn load() -> Self {
        let life: Value = serde_json::from_str(&recorded("life.json")).expect("JSON");
        let lines = recorded("items.jsonl");
        let items: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(items.len() > 100, "the life is recorded");

        let mut tables = BTreeMap::new();
        for (name, deployed) in std::env::vars() {
            let Some(variable) = name.strip_prefix("KEYGATE_").filter(|name| name.ends_with("_TABLE")) else {
                continue;
            };
            let copy = unique(&variable.to_lowercase());
            create_like(&copy, &deployed).await;
            tables.insert(variable.to_owned(), copy);
        }
        let mut puts: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for entry in &items {
            let table = text(entry, "table");
            let name = tables.get(table).unwrap_or_else(|| panic!("{table} is no table any more"));
            puts.entry(name).or_default().push(put_request(item(&entry["item"])));
        }
        for (name, puts) in puts {
            write_batches(&dynamodb(), name, puts).await;
        }
        let offset = life["recorded_at"].as_i64().expect("a time") - Utc::now().timestamp();
        let upgraded = Self { life, items, tables, offset, functions: Mutex::default() };
        upgraded.remember_secrets();
        upgraded.contents().await;
        upgraded
    }

    fn remember_secrets(&self) {
        let credentials = ["works", "refused"].map(|class| self.credentials(class));
        let refresh = members(&self.life["refresh_tokens"]).map(|(_, token)| text(token, "token"));
        for credential in credentials.into_iter().flatten().map(|(_, credential)| credential).chain(refresh) {
            let secret = credential.len().checked_sub(49).filter(|_| credential.contains('_'));
            remember_secret(secret.map_or(credential, |start| &credential[start..][..43]));
        }
        for repeat in self.life["repeats"].as_array().expect("requests") {
            remember_secret(text(repeat, "header"));
        }
    }

    /// The credentials that work, or those that are refused, by their role in the life.
    fn credentials(&self, class: &str) -> Vec<(&str, &str)> {
        let of_class = members(&self.life[class]);
        of_class.map(|(role, credential)| (role, credential.as_str().expect("a credential"))).collect()
    }

    fn working(&self, role: &str) -> &str {
        text(&self.life["works"], role)
    }

    fn refused(&self, role: &str) -> &str {
        text(&self.life["refused"], role)
    }

    /// The id of a key, by its role in the life.
    fn id(&self, role: &str) -> &str {
        text(&self.life["keys"], role)
    }

    /// The time that it is for the functions.
    fn now(&self) -> i64 {
        Utc::now().timestamp() + self.offset
    }

    /// A function on these tables, at the time of the recording.
    async fn function(&self, name: &'static str) -> Arc<Function> {
        let mut functions = self.functions.lock().await;
        if let Some(function) = functions.get(name) {
            return Arc::clone(function);
        }
        let offset = format!("{:+}", self.offset);
        let clock = [
            // The dynamic linker replaces $LIB by the folder of libraries, which depends on the system.
            ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1"),
            ("FAKETIME", &*offset),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            // As the stack that was recorded: keys with limits work.
            ("AUTHORIZER_UNCACHED", "true"),
        ];
        let tables = self.tables.iter().map(|(variable, name)| (&**variable, &**name));
        let variables: Vec<_> = clock.into_iter().chain(LEGACY).chain(tables).collect();
        let function = Arc::new(Function::start(name, &variables).await);
        functions.insert(name, Arc::clone(&function));
        function
    }

    /// What the authorizer says of a credential: the context of its policy, or none if the credential is refused.
    async fn context(&self, credential: &str) -> Option<Value> {
        let authorizer = self.function("authorize").await;
        match authorizer.invoke(token_event(&format!("Bearer {credential}"))).await {
            Ok(policy) => {
                let statement = &policy["policyDocument"]["Statement"][0];
                assert_eq!(statement["Effect"], "Allow", "{policy}");
                Some(policy["context"].clone())
            }
            Err(error) => {
                assert_eq!(error, "Unauthorized");
                None
            }
        }
    }

    async fn accepts(&self, credential: &str) -> bool {
        self.context(credential).await.is_some()
    }

    /// Sends a request to the management API with a credential: through the authorizer to the function of the route.
    async fn send(
        &self,
        caller: &str,
        (method, route): (Method, &str),
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u64, Value) {
        let context = self.context(caller).await.expect("the caller is accepted");
        let (path, query) = route.split_once('?').unwrap_or((route, ""));
        let (resource, parameters, function) = routed(&method, path);
        let query: BTreeMap<&str, &str> =
            query.split('&').filter_map(|parameter| parameter.split_once('=')).collect();
        let mut headers: BTreeMap<_, _> = headers.iter().copied().collect();
        headers.insert("Content-Type", "application/json");
        let lists = |map: &BTreeMap<&str, &str>| -> Value {
            map.iter().map(|(name, value)| ((*name).to_owned(), json!([value]))).collect()
        };
        let event = json!({
            "resource": resource, "path": path, "httpMethod": method.as_str(),
            "headers": headers, "multiValueHeaders": lists(&headers),
            "queryStringParameters": query, "multiValueQueryStringParameters": lists(&query),
            "pathParameters": parameters,
            "requestContext": {
                "resourcePath": resource, "path": format!("/v1{path}"), "stage": "v1", "httpMethod": method.as_str(),
                "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", "identity": {"sourceIp": "203.0.113.7"},
                "authorizer": context,
            },
            "body": if body.is_null() { Value::Null } else { json!(body.to_string()) },
            "isBase64Encoded": false,
        });
        let function = self.function(function).await;
        let answer = function.invoke(event).await.expect("an answer");
        let body = answer["body"].as_str().unwrap_or_default();
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        if let Some(key) = body["key"].as_str() {
            remember_secret(&key[key.len() - 49..][..43]);
        }
        (answer["statusCode"].as_u64().unwrap_or_else(|| panic!("a status: {answer}")), body)
    }

    /// Sends a request as the administrator, which must get this status.
    async fn manage(&self, (method, route): (Method, &str), body: Value, status: u64) -> Value {
        let what = format!("{method} {route} {body}");
        let (answered, answer) = self.send(self.working("admin"), (method, route), &[], &body).await;
        assert_eq!(answered, status, "{what}: {answer}");
        answer
    }

    /// A response to a GET request of the key `reader`.
    async fn show(&self, route: &str) -> Value {
        let (status, answer) =
            self.send(self.working("reader"), (Method::GET, route), &[], &json!(null)).await;
        assert_eq!(status, 200, "{route}: {answer}");
        answer
    }

    /// Uses a refresh token. Returns the status and the body.
    async fn refresh(&self, token: &str) -> (u64, Value) {
        let form = format!("grant_type=refresh_token&refresh_token={token}");
        let issuer = self.function("issue-token").await;
        answered(&issuer.invoke(oauth_request("token", None, &form)).await.expect("an answer"))
    }

    /// The contents of the workspace in the tables, which must be consistent.
    async fn contents(&self) -> Contents {
        let names = TABLES.map(|variable| self.tables[variable.trim_start_matches("KEYGATE_")].clone());
        let contents = contents_of(text(&self.life, "workspace_id"), &names).await;
        contents.assert_consistent_at(self.now());
        contents
    }
}

/// A file of the baseline.
fn recorded(name: &str) -> String {
    let path = format!("{}/../infra/baseline/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).expect(&path)
}

fn members(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    object.as_object().expect("an object").iter().map(|(name, value)| (&**name, value))
}

/// An item from `DynamoDB`'s JSON.
fn item(json: &Value) -> Item {
    members(json).map(|(name, value)| (name.to_owned(), attribute(value))).collect()
}

fn attribute(json: &Value) -> AttributeValue {
    let (kind, value) = members(json).next().expect("a type");
    let string = || value.as_str().expect("a text").to_owned();
    match kind {
        "S" => AttributeValue::S(string()),
        "N" => AttributeValue::N(string()),
        "B" => AttributeValue::B(Blob::new(STANDARD.decode(string()).expect("base64"))),
        "BOOL" => AttributeValue::Bool(value.as_bool().expect("a truth value")),
        "NULL" => AttributeValue::Null(true),
        "L" => AttributeValue::L(value.as_array().expect("a list").iter().map(attribute).collect()),
        "M" => AttributeValue::M(item(value)),
        "SS" => {
            let texts = value.as_array().expect("a set").iter();
            AttributeValue::Ss(texts.map(|text| text.as_str().expect("a text").to_owned()).collect())
        }
        other => panic!("an attribute of a type that Keygate does not use: {other}"),
    }
}

/// The resource of a path, its parameters, and the function that serves it.
fn routed(method: &Method, path: &str) -> (&'static str, Value, &'static str) {
    for (of_method, resource, function) in ROUTES {
        let (parts, given): (Vec<_>, Vec<_>) = (resource.split('/').collect(), path.split('/').collect());
        let fits = |(part, given): (&&str, &&str)| part.starts_with('{') || part == given;
        if of_method == method.as_str() && parts.len() == given.len() && parts.iter().zip(&given).all(fits) {
            let parameters = parts.iter().zip(given).filter(|(part, _)| part.starts_with('{'));
            let parameters: BTreeMap<_, _> =
                parameters.map(|(part, given)| (part.trim_matches(['{', '}']), given)).collect();
            return (resource, json!(parameters), function);
        }
    }
    panic!("no function serves {method} {path}");
}

/// Checks that a response has everything that the recorded one had. It may have more members.
#[track_caller]
fn assert_still(recorded: &Value, present: &Value, place: &str) {
    match (recorded, present) {
        (Value::Object(recorded), Value::Object(_)) => {
            for (name, value) in recorded {
                let inside = format!("{place} {name}");
                if name.ends_with("_cursor") {
                    assert_eq!(value.is_null(), present[name].is_null(), "{inside}");
                } else {
                    assert_still(value, present.get(name).unwrap_or_else(|| panic!("{inside}")), &inside);
                }
            }
        }
        (Value::Array(recorded), Value::Array(entries)) => {
            assert_eq!(recorded.len(), entries.len(), "{place}: {recorded:#?} is now {entries:#?}");
            for (index, (recorded, present)) in recorded.iter().zip(entries).enumerate() {
                assert_still(recorded, present, &format!("{place} {index}"));
            }
        }
        _ => assert_eq!(recorded, present, "{place}"),
    }
}

#[test]
fn a_response_may_have_more_members_and_nothing_else_may_differ() {
    let recorded = json!({"items": [{"id": "a", "n": 1}], "next_cursor": "x"});
    assert_still(&recorded, &json!({"items": [{"id": "a", "n": 1, "new": 2}], "next_cursor": "y"}), "");
    for other in [
        json!({"items": [{"id": "a"}], "next_cursor": "x"}),
        json!({"items": [{"id": "a", "n": 2}], "next_cursor": "x"}),
        json!({"items": [], "next_cursor": "x"}),
        json!({"items": [{"id": "a", "n": 1}, {"id": "b", "n": 1}], "next_cursor": "x"}),
        json!({"items": [{"id": "a", "n": 1}], "next_cursor": null}),
    ] {
        let differs = std::panic::catch_unwind(|| assert_still(&recorded, &other, ""));
        assert!(differs.is_err(), "{other}");
    }
}

#[tokio::test]
async fn functions_of_this_test_run_at_the_time_of_the_recording() {
    let upgraded = Upgraded::load().await;
    assert!(upgraded.accepts(upgraded.working("reader")).await);
    let authorizer = upgraded.function("authorize").await;
    authorizer.frozen().await;
    let lines = authorizer.log_lines();
    let logged: Vec<_> = lines.iter().filter_map(|line| line["timestamp"].as_str()).collect();
    assert!(!logged.is_empty(), "{lines:?}");
    for at in logged {
        let at = DateTime::parse_from_rfc3339(at).expect("RFC 3339").timestamp();
        assert!((at - upgraded.now()).abs() < 60, "{at}: libfaketime does not shift the clock");
    }
}

#[tokio::test]
async fn credentials_of_the_baseline_work_as_they_did() {
    let upgraded = Upgraded::load().await;
    for (role, credential) in upgraded.credentials("works") {
        let context = upgraded.context(credential).await.unwrap_or_else(|| panic!("{role} works"));
        assert_eq!(context["workspaceId"], upgraded.life["workspace_id"], "{role}");
    }
    for (role, credential) in upgraded.credentials("refused") {
        assert!(!upgraded.accepts(credential).await, "{role} is refused");
    }
    upgraded.contents().await;
}

#[tokio::test]
async fn everything_that_the_baseline_showed_is_shown_in_every_order_and_with_every_filter() {
    let upgraded = Upgraded::load().await;
    for (route, recorded) in members(&upgraded.life["shown"]) {
        assert_still(recorded, &upgraded.show(route).await, route);
    }
    for (route, recorded) in members(&upgraded.life["shown"]) {
        let Some(rest) = route.strip_prefix("/api-keys?limit=100&sort=") else { continue };
        let ids = |page: &Value| -> Vec<String> {
            let items = page["items"].as_array().expect("items").iter();
            items.map(|key| text(key, "id").to_owned()).collect()
        };
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = upgraded.show(&format!("/api-keys?limit=7&sort={rest}{cursor}")).await;
            walked.extend(ids(&page));
            assert!(walked.len() <= ids(recorded).len(), "the pages show keys again: {walked:?}");
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(walked, ids(recorded), "{route}");
    }
}

#[tokio::test]
async fn idempotent_requests_of_the_baseline_are_repeated_with_the_same_response() {
    let upgraded = Upgraded::load().await;
    let before = upgraded.contents().await;
    let repeats = upgraded.life["repeats"].as_array().expect("requests");
    assert_eq!(repeats.len(), 2);
    for repeat in repeats {
        let method = text(repeat, "method").parse().expect("a method");
        let header = [("Idempotency-Key", text(repeat, "header"))];
        let route = (method, text(repeat, "route"));
        let (status, answer) =
            upgraded.send(upgraded.working("admin"), route, &header, &repeat["body"]).await;
        assert!(matches!(status, 200 | 201), "{answer}");
        // The authorizer has recorded a use since.
        let mut recorded = repeat["response"].clone();
        for of_use in ["last_used_at", "last_used_from"] {
            recorded[of_use] = answer[of_use].clone();
        }
        assert_still(&recorded, &answer, text(repeat, "route"));
    }
    let after = upgraded.contents().await;
    assert_eq!((after.keys.len(), after.events.len()), (before.keys.len(), before.events.len()));
}

#[tokio::test]
async fn refresh_tokens_of_the_baseline_work_once_and_a_used_one_ends_its_family() {
    let upgraded = Upgraded::load().await;
    for (role, token) in members(&upgraded.life["refresh_tokens"]) {
        let (status, tokens) = upgraded.refresh(text(token, "token")).await;
        if token["works"] == true {
            assert_eq!(status, 200, "{role}: {tokens}");
            assert!(upgraded.accepts(text(&tokens, "access_token")).await, "{role}");
            let (status, next) = upgraded.refresh(text(&tokens, "refresh_token")).await;
            assert_eq!(status, 200, "{role}: {next}");
        } else {
            assert_eq!((status, &tokens["error"]), (400, &json!("invalid_grant")), "{role}");
        }
    }
    let of_family = upgraded.working("access token of a family whose used token comes again");
    assert!(!upgraded.accepts(of_family).await);
    assert!(upgraded.accepts(upgraded.working("access token")).await, "it belongs to no family");

    let issuer = upgraded.function("issue-token").await;
    let form = "grant_type=client_credentials&scope=offline_access";
    let client = basic(upgraded.working("active"));
    let (status, tokens) =
        answered(&issuer.invoke(oauth_request("token", Some(&client), form)).await.expect("an answer"));
    assert_eq!(status, 200, "{tokens}");
    upgraded.contents().await;
}

#[tokio::test]
async fn keys_of_the_baseline_can_be_changed_in_every_way() {
    let upgraded = Upgraded::load().await;
    let admin = upgraded.working("admin");
    let key = |role: &str| format!("/api-keys/{}", upgraded.id(role));

    let patch = json!({"name": "renamed", "description": null, "scopes": ["orders:read"], "expires_at": "2099-01-01T00:00:00Z"});
    let stale = [("If-Match", "\"7\"")];
    let (status, _) = upgraded.send(admin, (Method::PATCH, &key("active")), &stale, &patch).await;
    assert_eq!(status, 412);
    let first = [("If-Match", "\"1\"")];
    let (status, changed) = upgraded.send(admin, (Method::PATCH, &key("active")), &first, &patch).await;
    assert_eq!((status, &changed["name"]), (200, &json!("renamed")), "{changed}");

    // Names that are taken, and names that are free.
    let named = |name: &str| json!({"name": name, "user_id": "bob"});
    for name in ["with rules", "WITH RULES", "Deleted", "renamed", "expired, and its name taken"] {
        let refused = upgraded.manage((Method::POST, "/api-keys"), named(name), 409).await;
        assert_eq!(refused["code"], "name_taken", "{name}");
    }
    for name in ["active", "of a removed user"] {
        upgraded.manage((Method::POST, "/api-keys"), named(name), 201).await;
    }

    // Expired keys.
    let extension = json!({"expires_at": null});
    upgraded.manage((Method::PATCH, &key("expired")), extension.clone(), 200).await;
    assert!(upgraded.accepts(upgraded.refused("expired")).await);
    let of_taken = key("expired, and its name taken");
    let refused = upgraded.manage((Method::PATCH, &of_taken), extension, 409).await;
    assert_eq!(refused["code"], "name_taken", "{refused}");
    let extension = json!({"expires_at": null, "name": "expired no more"});
    upgraded.manage((Method::PATCH, &of_taken), extension, 200).await;
    assert!(upgraded.accepts(upgraded.refused("expired, and its name taken")).await);

    // Rotations.
    let rotation = format!("{}/rotate", key("in an overlap"));
    let rotated = upgraded.manage((Method::POST, &rotation), json!({}), 200).await;
    assert!(upgraded.accepts(text(&rotated, "key")).await);
    for role in ["in an overlap", "the old secret in an overlap", "access token of an old secret"] {
        assert!(!upgraded.accepts(upgraded.working(role)).await, "{role}");
    }
    let rotation = format!("{}/rotate", key("handed over"));
    let rotated = upgraded.manage((Method::POST, &rotation), json!({"overlap_seconds": 600}), 200).await;
    for credential in [text(&rotated, "key"), upgraded.working("handed over")] {
        assert!(upgraded.accepts(credential).await, "the secret in use is kept in an overlap");
    }

    // Disabling, enabling, deleting, revoking.
    upgraded.manage((Method::PATCH, &key("creator")), json!({"disabled": true}), 200).await;
    assert!(!upgraded.accepts(upgraded.working("creator")).await);
    upgraded.manage((Method::PATCH, &key("disabled")), json!({"disabled": false}), 200).await;
    assert!(upgraded.accepts(upgraded.refused("disabled")).await);
    upgraded.manage((Method::DELETE, &key("with rules")), Value::Null, 204).await;
    assert!(!upgraded.accepts(upgraded.working("with rules")).await);
    upgraded.manage((Method::GET, &key("with rules")), Value::Null, 404).await;
    upgraded.manage((Method::POST, "/api-keys"), named("with rules"), 201).await;
    upgraded.manage((Method::DELETE, &format!("{}/tokens", key("active"))), Value::Null, 204).await;
    for role in ["access token", "access token of a second step"] {
        assert!(!upgraded.accepts(upgraded.working(role)).await, "{role}");
    }
    assert!(upgraded.accepts(upgraded.working("active")).await);

    // Legacy keys.
    let listed = upgraded.manage((Method::GET, "/legacy-keys?user_id=bob"), Value::Null, 200).await;
    let [legacy] = listed["items"].as_array().expect("items").as_slice() else { panic!("{listed}") };
    let route = format!("/legacy-keys/{}", text(legacy, "id"));
    upgraded.manage((Method::DELETE, &route), Value::Null, 204).await;
    assert!(!upgraded.accepts(upgraded.working("legacy key")).await);
    upgraded.contents().await;
}

#[tokio::test]
async fn users_of_the_baseline_can_be_removed_and_removed_ones_stay_removed_until_reinstated() {
    let upgraded = Upgraded::load().await;
    let create = |user: &str| json!({"name": format!("new key of {user}"), "user_id": user});
    for user in ["dave", "erin", "grace"] {
        let refused = upgraded.manage((Method::POST, "/api-keys"), create(user), 409).await;
        assert_eq!(refused["code"], "user_removed", "{user}");
        upgraded.manage((Method::PUT, &format!("/users/{user}")), Value::Null, 204).await;
        upgraded.manage((Method::POST, "/api-keys"), create(user), 201).await;
    }
    for user in ["frank", "svc:heir"] {
        upgraded.manage((Method::POST, "/api-keys"), create(user), 201).await;
    }

    let of_bob: Vec<String> = {
        let keys = upgraded.contents().await.keys;
        keys.iter().filter(|key| key["user_id"] == "bob").map(|key| text(key, "key_id").to_owned()).collect()
    };
    assert!(of_bob.len() > 10, "{of_bob:?}");
    let processor = upgraded.function("process-user-removal").await;
    let removal = json!({"workspace_id": upgraded.life["workspace_id"], "user_id": "bob"});
    processor.invoke(removal).await.expect("the removal is processed");
    let after = upgraded.contents().await;
    assert!(after.keys.iter().all(|key| key["user_id"] != "bob"), "{after:#?}");
    for (role, credential) in upgraded.credentials("works") {
        let is_bobs = role == "legacy key" || of_bob.iter().any(|id| credential.contains(id.as_str()));
        assert_eq!(upgraded.accepts(credential).await, !is_bobs, "{role}");
    }
}

#[tokio::test]
async fn keys_of_the_baseline_are_announced_once_and_purged_when_they_are_gone() {
    let upgraded = Upgraded::load().await;
    let announced = |contents: &Contents| -> Vec<usize> {
        let ids = members(&upgraded.life["keys"]).map(|(_, id)| id);
        ids.map(|id| contents.events_of("key.expired", id)).collect()
    };
    let before = upgraded.contents().await;
    upgraded.function("announce-lifecycle").await.invoke(json!({})).await.expect("it runs");
    assert_eq!(announced(&upgraded.contents().await), announced(&before));

    // TTL removes an expired key.
    let id = upgraded.id("expired");
    remove_key(&upgraded.tables["KEYS_TABLE"], id).await;
    let is_the_key = |entry: &&Value| entry["table"] == "KEYS_TABLE" && entry["item"]["key_id"]["S"] == id;
    let image = &upgraded.items.iter().find(is_the_key).expect("the key was recorded")["item"];
    let removed = json!({"Records": [{
        "eventID": "1", "eventName": "REMOVE", "eventVersion": "1.1",
        "eventSource": "aws:dynamodb", "awsRegion": "eu-west-1",
        "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
        "dynamodb": {
            "ApproximateCreationDateTime": upgraded.now(), "Keys": {"key_id": {"S": id}}, "OldImage": image, "SequenceNumber": "1", "SizeBytes": 1,
            "StreamViewType": "OLD_IMAGE",
        },
    }]});
    upgraded.function("purge-keys").await.invoke(removed).await.expect("it runs");
    let after = upgraded.contents().await;
    assert_eq!(after.events_of("key.purged", &json!(id)), 1);
    let count = |contents: &Contents| contents.keys.len();
    assert_eq!(count(&after), count(&before) - 1);
    assert!(!upgraded.accepts(upgraded.refused("expired")).await);
}

//! Limits: how many calls a key may make in a window, over all environments of the authorizer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::credential::KeyId;
use keygate_core::limit::Period;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::support::database;
use crate::support::eventually;
use crate::support::function::{Disturbance, Function, Moment, event, request, token_event};
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, id_of, text, unique};

/// The settings of an authorizer that enforces limits and writes nothing but reservations for a key that was used before.
const ENFORCING: [(&str, &str); 4] = [
    ("AUTHORIZER_UNCACHED", "true"),
    ("CALL_ACTIVITY", "off"),
    ("LAST_USED_INTERVAL", "86400"),
    ("AUTHORIZER_BUDGET_MS", "4000"),
];

/// The number of environments of the concurrent tests: as many as a machine of two processors bears within a minute.
const ENVIRONMENTS: usize = 32;

fn call(key: &str) -> Value {
    token_event(&format!("Bearer {key}"))
}

/// A new key of `bob` with these limits, such as `10/second`.
async fn limited(workspace: &Workspace, limits: &[&str]) -> Value {
    workspace.created(json!({"name": unique("key"), "user_id": "bob", "limits": array(limits)})).await
}

fn array(limits: &[&str]) -> Value {
    limits
        .iter()
        .map(|limit| {
            let (calls, per) = limit.split_once('/').expect("a limit");
            json!({"calls": calls.parse::<u32>().expect("a number"), "per": per})
        })
        .collect()
}

/// The outcome of a call by direct invocation: whether it is allowed, or the reason of its denial. An error is neither.
fn outcome(answer: Result<Value, String>) -> Result<(), String> {
    let answer = answer.expect("a decision");
    let effect = &answer["policyDocument"]["Statement"][0]["Effect"];
    if effect == "Allow" || answer["isAuthorized"] == true {
        assert_eq!(answer["context"].get("error"), None, "{answer}");
        return Ok(());
    }
    assert!(effect == "Deny" || answer["isAuthorized"] == false, "{answer}");
    Err(answer["context"]["error"].as_str().unwrap_or_default().to_owned())
}

/// Whether a function allows a call; a denial must be that of a full window.
async fn allows(function: &Function, key: &str) -> bool {
    match outcome(function.invoke(call(key)).await) {
        Ok(()) => true,
        Err(reason) => {
            assert_eq!(reason, "limit_exceeded");
            false
        }
    }
}

/// The number of reservations since the calls were last taken.
fn reservations(function: &Function) -> usize {
    let calls = function.take_calls();
    calls.iter().filter(|(_, request)| request["Key"]["entry"]["S"] == "LIMITS").count()
}

/// What is left of each limit of a key.
async fn left(workspace: &Workspace, id: &str) -> BTreeMap<String, u64> {
    let shown = workspace.get(&workspace.admin, id).await.json();
    let windows = shown["limit_windows"].as_array().unwrap_or_else(|| panic!("windows: {shown}"));
    let left = windows
        .iter()
        .map(|window| (text(window, "per").to_owned(), window["left"].as_u64().expect("a number")));
    left.collect()
}

/// Waits until so much of the present minute is left.
async fn with_seconds_left(seconds: i64) {
    let left = Period::Minute.window(Utc::now()).end - Utc::now();
    if left < TimeDelta::seconds(seconds) {
        tokio::time::sleep((left + TimeDelta::milliseconds(100)).to_std().expect("a positive time")).await;
    }
}

#[tokio::test]
async fn every_response_about_a_key_shows_its_limits_and_a_rotation_keeps_them() {
    let workspace = Workspace::new().await;
    let (sent, shown) = (array(&["5/month", "10/second"]), array(&["10/second", "5/month"]));
    let created = workspace.created(json!({"name": "a", "limits": sent})).await;
    let id = text(&created, "id");
    assert_eq!(created["limits"], shown);
    assert_eq!(created.get("limit_windows"), None);
    let got = workspace.get(&workspace.admin, id).await.json();
    assert_eq!(got["limits"], shown);
    let windows = got["limit_windows"].as_array().expect("windows");
    assert_eq!((&windows[0]["per"], &windows[0]["left"]), (&json!("second"), &json!(10)));
    assert_eq!((&windows[1]["per"], &windows[1]["left"]), (&json!("month"), &json!(5)));
    let ends: DateTime<Utc> = text(&windows[1], "ends_at").parse().expect("a time");
    assert_eq!(ends, Period::Month.window(ends - TimeDelta::seconds(1)).end);
    for query in ["?sort=name", "?sort=last_used_at"] {
        let list = workspace.list(&workspace.admin, query).await.json();
        let items = list["items"].as_array().expect("items");
        let listed = items.iter().find(|item| item["id"] == id).expect("the key");
        assert_eq!(listed["limits"], shown, "{query}");
    }
    let updated = workspace.update(&workspace.admin, id, &json!({"description": "another"})).await.json();
    assert_eq!(updated["limits"], shown);
    let rotated = workspace.rotate(&workspace.admin, id, &json!({})).await.json();
    assert_eq!(rotated["limits"], shown);
    let changed = workspace.update(&workspace.admin, id, &json!({"limits": array(&["7/day"])})).await.json();
    assert_eq!(changed["limits"], array(&["7/day"]));
    let cleared = workspace.update(&workspace.admin, id, &json!({"limits": null})).await.json();
    assert_eq!(cleared["limits"], json!([]));
    assert_eq!(workspace.get(&workspace.admin, id).await.json().get("limit_windows"), None);
    let events = workspace.activity(&format!("?key_id={id}&action=key.updated")).await;
    let changed: Vec<_> =
        events["items"].as_array().expect("events").iter().map(|event| &event["changed"]).collect();
    assert_eq!(changed, [&json!(["limits"]), &json!(["limits"]), &json!(["description"])]);
    workspace.contents().await;
}

#[tokio::test]
async fn invalid_limits_are_named() {
    let workspace = Workspace::new().await;
    let id = id_of(&workspace.admin);
    for (limits, place) in [
        (json!("10/second"), "/limits"),
        (array(&["1/second", "1/minute", "1/hour", "1/day"]), "/limits"),
        (array(&["1/second", "0/minute"]), "/limits/1"),
        (array(&["1000000001/second"]), "/limits/0"),
        (array(&["1/week"]), "/limits/0"),
        (array(&["1/day", "2/day"]), "/limits/1"),
        (json!([{"calls": 1}]), "/limits/0"),
    ] {
        let created = workspace.create(&workspace.admin, &json!({"name": "a", "limits": limits})).await;
        assert_eq!(created.invalid_places(), [place], "{limits}");
        let updated = workspace.update(&workspace.admin, id, &json!({"limits": limits})).await;
        assert_eq!(updated.invalid_places(), [place], "{limits}");
    }
    let most = array(&["1000000000/second", "1/minute", "1/month"]);
    workspace.created(json!({"name": "b", "limits": most})).await;
}

#[tokio::test]
async fn a_repeated_creation_has_the_same_limits() {
    let workspace = Workspace::new().await;
    let header = unique("request");
    let headers = [("Idempotency-Key", header.as_str())];
    let send = async |limits: Value| {
        let body = json!({"name": "a", "limits": limits});
        workspace.send((Method::POST, ""), &workspace.admin, &headers, Some(&body)).await
    };
    let first = send(array(&["5/month", "10/second"])).await;
    assert_eq!(first.status, 201, "{first:?}");
    let repeated = send(array(&["10/second", "5/month"])).await;
    assert_eq!((repeated.status, repeated.json()["key"].clone()), (201, first.json()["key"].clone()));
    for other in [array(&["10/second", "6/month"]), json!([]), Value::Null] {
        send(other).await.assert_problem(422, "idempotency_mismatch");
    }
}

#[tokio::test]
async fn a_call_beyond_a_limit_is_a_403_of_every_kind_of_api() {
    let workspace = Workspace::new().await;
    let created = limited(&workspace, &["3/month"]).await;
    let bearer = format!("Bearer {}", text(&created, "key"));
    assert_eq!(workspace.api.rest_example(Some(&bearer)).await.status, 200);
    let answer = workspace.api.http_example(Some(&bearer)).await;
    assert_eq!((answer.status, &answer.json()["caller"]["limits"]), (200, &json!("3/month")));
    assert_eq!(workspace.api.connect(Some(&bearer)).await, 101);
    assert_eq!(left(&workspace, text(&created, "id")).await["month"], 0);
    assert_eq!(workspace.api.rest_example(Some(&bearer)).await.status, 403);
    assert_eq!(workspace.api.http_example(Some(&bearer)).await.status, 403);
    assert_eq!(workspace.api.connect(Some(&bearer)).await, 403);
    workspace.call(Method::GET, "/me", text(&created, "key")).await.assert_problem(403, "forbidden");

    // A higher limit leaves what it has more, and a lower one nothing.
    let (id, key) = (text(&created, "id"), text(&created, "key"));
    let change = async |limits: &[&str]| {
        let changed = workspace.update(&workspace.admin, id, &json!({"limits": array(limits)})).await;
        assert_eq!(changed.status, 200, "{changed:?}");
    };
    change(&["5/month"]).await;
    let me = workspace.call(Method::GET, "/me", key).await;
    assert_eq!((me.status, &me.json()["limits"]), (200, &array(&["5/month"])));
    change(&["4/month"]).await;
    assert_eq!(workspace.api.rest_example(Some(&bearer)).await.status, 403);
    change(&["4/month", "100/day"]).await;
    assert_eq!(workspace.api.rest_example(Some(&bearer)).await.status, 403);
    change(&["100/day"]).await;
    assert_eq!(workspace.api.rest_example(Some(&bearer)).await.status, 200);
    workspace.contents().await;
}

#[tokio::test]
async fn the_next_window_allows_calls_again() {
    let workspace = Workspace::new().await;
    let created = limited(&workspace, &["1/second"]).await;
    let authorizer = Function::start("authorize", &ENFORCING).await;
    let key = text(&created, "key");
    eventually("a second is full", async || !allows(&authorizer, key).await).await;
    eventually("the next one is not", async || allows(&authorizer, key).await).await;
}

/// The recorded event of a kind of API, with a credential.
fn recorded(name: &str, key: &str) -> Value {
    let (mut event, bearer) = (event(name), format!("Bearer {key}"));
    if event["type"] == "TOKEN" {
        event["authorizationToken"] = json!(bearer);
        return event;
    }
    for members in ["headers", "multiValueHeaders"] {
        let Some(headers) = event[members].as_object_mut() else { continue };
        headers.retain(|name, _| !name.eq_ignore_ascii_case("authorization"));
        let value = if members == "headers" { json!(bearer) } else { json!([bearer]) };
        headers.insert("Authorization".to_owned(), value);
    }
    event
}

#[tokio::test]
async fn every_kind_of_event_takes_a_permit_and_is_told_why_and_when() {
    let workspace = Workspace::new().await;
    let (policy, simple) = ([ENFORCING[0]], [ENFORCING[0], ("AUTHORIZER_RESPONSE", "simple-uncached")]);
    let (policy, simple) =
        tokio::join!(Function::start("authorize", &policy), Function::start("authorize", &simple));
    for (name, authorizer) in [
        ("authorize-rest-token", &policy),
        ("authorize-rest-request", &policy),
        ("authorize-websocket", &policy),
        ("authorize-http-1.0", &policy),
        ("authorize-http-2.0", &policy),
        ("authorize-http-2.0", &simple),
    ] {
        let created = limited(&workspace, &["1/month", "1000/day"]).await;
        let event = recorded(name, text(&created, "key"));
        assert_eq!(outcome(authorizer.invoke(event.clone()).await), Ok(()), "{name}");
        let denied = authorizer.invoke(event).await;
        let context = denied.as_ref().expect("a response")["context"].clone();
        assert_eq!(outcome(denied), Err("limit_exceeded".to_owned()), "{name}");
        assert_eq!((&context["keyId"], &context["userId"]), (&created["id"], &json!("bob")), "{name}");
        let seconds: i64 = text(&context, "retryAfter").parse().expect("seconds");
        let until = Period::Month.window(Utc::now()).end - Utc::now();
        assert!((seconds - until.num_seconds()).abs() < 60, "{name}: {seconds}");
    }
    tokio::join!(policy.terminate(), simple.terminate());
    let calls = database::calls(&workspace.id, "bob").await;
    let refused: Vec<_> = calls.iter().filter(|call| call["reason"] == "limit_exceeded").collect();
    assert_eq!(refused.len(), 6, "{calls:#?}");
    assert!(
        refused.iter().all(|call| call["outcome"] == "refused" && call["path"].is_string()),
        "{refused:#?}"
    );
    assert!(policy.log_lines().iter().any(|line| line["reason"] == "limit_exceeded"));
    let of_metrics: Vec<_> =
        policy.log_lines().into_iter().filter(|line| line["Reason"] == "limit_exceeded").collect();
    let counted: u64 = of_metrics.iter().filter_map(|line| line["Refused"].as_u64()).sum();
    assert_eq!(counted, 5, "{of_metrics:?}");
}

#[tokio::test]
async fn calls_beyond_a_limit_are_one_event_a_minute_even_where_each_call_is_one() {
    let workspace = Workspace::new().await;
    let created = limited(&workspace, &["2/month"]).await;
    let authorizer = Function::start("authorize", &[ENFORCING[0], ("CALL_ACTIVITY", "each")]).await;
    for _ in 0..40 {
        allows(&authorizer, text(&created, "key")).await;
    }
    authorizer.terminate().await;
    let calls = database::calls(&workspace.id, "bob").await;
    let (allowed, refused): (Vec<_>, Vec<_>) = calls.iter().partition(|call| call["outcome"] == "allowed");
    assert_eq!(allowed.len(), 2);
    assert!(refused.len() <= 4, "{refused:#?}");
    assert_eq!(refused.iter().filter_map(|call| call["count"].as_u64()).sum::<u64>(), 38);
}

#[tokio::test]
async fn only_a_call_that_everything_else_allows_takes_a_permit() {
    let workspace = Workspace::new().await;
    let body = json!({"name": "bound", "user_id": "bob", "limits": array(&["5/month"]), "endpoints": ["GET /orders"]});
    let created = workspace.created(body).await;
    let (id, key) = (text(&created, "id"), text(&created, "key"));
    let authorizer = Function::start("authorize", &ENFORCING).await;
    let mut elsewhere = call(key);
    elsewhere["methodArn"] = json!(text(&elsewhere, "methodArn").replace("orders", "users"));
    authorizer.invoke(elsewhere).await.expect("a policy for orders");
    let wrong = format!("{}x", &key[..key.len() - 1]);
    authorizer.invoke(call(&wrong)).await.expect_err("a refusal");
    workspace.update(&workspace.admin, id, &json!({"disabled": true})).await.assert_succeeded();
    authorizer.invoke(call(key)).await.expect_err("a refusal");
    assert_eq!(reservations(&authorizer), 0);
    assert_eq!(left(&workspace, id).await["month"], 5);
    workspace.update(&workspace.admin, id, &json!({"disabled": false})).await.assert_succeeded();
    assert!(allows(&authorizer, key).await);
    assert_eq!(reservations(&authorizer), 1);
    assert_eq!(left(&workspace, id).await["month"], 4);
}

#[tokio::test]
async fn tokens_share_the_limits_of_their_key_and_introspection_takes_none() {
    let workspace = Workspace::new().await;
    let created = limited(&workspace, &["3/month"]).await;
    let (id, key) = (text(&created, "id"), text(&created, "key"));
    let (one, other) = (workspace.access_token(key).await, workspace.access_token(key).await);
    assert_eq!(left(&workspace, id).await["month"], 3);
    let authorizer = Function::start("authorize", &ENFORCING).await;
    for credential in [&one, key, &other] {
        assert!(allows(&authorizer, credential).await);
    }
    for credential in [&one, key, &other] {
        assert!(!allows(&authorizer, credential).await);
    }
    let url = format!("{}/oauth/introspect", variable("KEYGATE_OAUTH_URL"));
    let form = format!("token={one}");
    let answer = workspace
        .api
        .client()
        .post(url)
        .bearer_auth(&workspace.admin)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .expect("a response");
    let told: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
    assert_eq!(told["active"], true, "{told}");
    let rotated = workspace.rotate(&workspace.admin, id, &json!({"overlap_seconds": 60})).await.json();
    for credential in [key, text(&rotated, "key"), &one] {
        assert!(!allows(&authorizer, credential).await, "a rotation keeps the counts");
    }
}

#[tokio::test]
async fn a_key_with_limits_gets_no_calls_beyond_them() {
    let workspace = Workspace::new().await;
    let scopes = ["workspace:admin", "keys:write"];
    let body =
        json!({"name": "limited", "user_id": "bob", "scopes": scopes, "limits": array(&["1000/month"])});
    let created = workspace.created(body).await;
    let (own, key) = (text(&created, "id"), text(&created, "key"));
    let other = workspace.key_of("bob", &[]).await;
    let other = id_of(&other);
    for refused in [
        workspace.create(key, &json!({"name": "a"})).await,
        workspace.create(key, &json!({"name": "a", "limits": array(&["1/month"])})).await,
        workspace.rotate(key, other, &json!({})).await,
        workspace.update(key, own, &json!({"limits": null})).await,
        workspace.update(key, own, &json!({"limits": array(&["1001/month"])})).await,
        workspace.update(key, own, &json!({"limits": array(&["1/day"])})).await,
        workspace.update(key, own, &json!({"scopes": ["keys:write"]})).await,
        workspace.update(key, other, &json!({"scopes": ["a:b"]})).await,
        workspace.call(Method::DELETE, "/users/eve?transfer_to=bob", key).await,
    ] {
        refused.assert_problem(403, "limited_caller");
    }
    let narrowed = workspace.update(key, own, &json!({"limits": array(&["999/month", "500/day"])})).await;
    assert_eq!(narrowed.status, 200, "{narrowed:?}");
    assert_eq!(workspace.update(key, other, &json!({"limits": array(&["1/day"])})).await.status, 200);
    assert_eq!(workspace.update(key, other, &json!({"disabled": true})).await.status, 200);
    workspace.update(key, other, &json!({"disabled": false})).await.assert_problem(403, "limited_caller");
    let rotated = workspace.rotate(key, own, &json!({})).await;
    assert_eq!((rotated.status, &rotated.json()["limits"]), (200, &array(&["500/day", "999/month"])));
    let key = rotated.json()["key"].as_str().expect("a key").to_owned();
    assert_eq!(workspace.delete(&key, other).await.status, 204);
    workspace.contents().await;
}

#[tokio::test]
async fn raising_or_removing_a_limit_takes_the_scopes_of_the_key() {
    let workspace = Workspace::new().await;
    let body = json!({"name": "strong", "user_id": "bob", "scopes": ["orders:read"], "limits": array(&["10/minute"])});
    let strong = workspace.created(body).await;
    let id = text(&strong, "id");
    let writer = workspace.key_of("bob", &["keys:write"]).await;
    for limits in [json!(null), array(&["11/minute"]), array(&["10/hour"])] {
        let answer = workspace.update(&writer, id, &json!({"limits": limits})).await;
        answer.assert_problem(403, "insufficient_scope");
    }
    let lowered = workspace.update(&writer, id, &json!({"limits": array(&["9/minute", "10/hour"])})).await;
    assert_eq!(lowered.status, 200, "{lowered:?}");
}

#[tokio::test]
async fn where_responses_may_be_cached_no_key_gets_limits_and_one_with_limits_is_denied() {
    let workspace = Workspace::new().await;
    let (creator, updater) =
        tokio::join!(Function::start("create-key", &[]), Function::start("update-key", &[]));
    let created = limited(&workspace, &["5/month"]).await;
    let (id, plain) = (text(&created, "id"), workspace.key_of("bob", &[]).await);
    let create = |body: Value| request(&workspace, ("POST", "/api-keys"), None, &[], &body);
    let update = |id: &str, body: Value| {
        let mut event = request(&workspace, ("PATCH", "/api-keys/{id}"), Some(id), &[], &body);
        for members in ["headers", "multiValueHeaders"] {
            let kind = json!("application/merge-patch+json");
            event[members]["Content-Type"] = if members == "headers" { kind } else { json!([kind]) };
        }
        event
    };
    let code = |answer: &Value| {
        let body: Value = serde_json::from_str(text(answer, "body")).expect("JSON");
        (answer["statusCode"].clone(), body["code"].clone())
    };
    let refused = (json!(409), json!("limits_not_enforced"));
    let limits = json!({"limits": array(&["5/month"])});
    let answer = creator.invoke(create(json!({"name": unique("key"), "limits": array(&["5/month"])}))).await;
    assert_eq!(code(&answer.expect("a response")), refused);
    assert_eq!(code(&updater.invoke(update(id_of(&plain), limits)).await.expect("a response")), refused);
    let lower = json!({"limits": array(&["4/month"])});
    assert_eq!(code(&updater.invoke(update(id, lower)).await.expect("a response")), refused);
    for body in [json!({"name": unique("key"), "limits": []}), json!({"name": unique("key"), "limits": null})]
    {
        assert_eq!(creator.invoke(create(body)).await.expect("a response")["statusCode"], 201);
    }
    let answer = updater.invoke(update(id, json!({"description": "another"}))).await.expect("a response");
    assert_eq!(answer["statusCode"], 200, "{answer}");

    let authorizer = Function::start("authorize", &[("AUTHORIZER_UNCACHED", "false")]).await;
    let denied = authorizer.invoke(call(text(&created, "key"))).await;
    assert_eq!(denied.as_ref().expect("a response")["context"].get("retryAfter"), None);
    assert_eq!(outcome(denied), Err("limits_not_enforced".to_owned()));
    assert_eq!(outcome(authorizer.invoke(call(&plain)).await), Ok(()));
    assert_eq!(reservations(&authorizer), 0);

    let answer = updater.invoke(update(id, json!({"limits": null}))).await.expect("a response");
    assert_eq!(answer["statusCode"], 200, "{answer}");
    assert_eq!(outcome(authorizer.invoke(call(text(&created, "key"))).await), Ok(()));
}

#[tokio::test]
async fn while_the_database_fails_a_call_without_a_permit_is_an_error_and_takes_one_attempt() {
    let workspace = Workspace::new().await;
    let created = limited(&workspace, &["1000/month"]).await;
    let (id, key) = (text(&created, "id"), text(&created, "key"));
    let authorizer = Function::start("authorize", &ENFORCING).await;
    authorizer.disturb(Disturbance::WritesFail);
    for _ in 0..2 {
        authorizer.take_calls();
        let error = authorizer.invoke(call(key)).await.expect_err("no decision");
        assert!(error != "Unauthorized" && error.contains("DynamoDB"), "{error}");
        assert_eq!(reservations(&authorizer), 1);
    }
    authorizer.disturb(Disturbance::None);
    assert_eq!(left(&workspace, id).await["month"], 1000);
    assert!(allows(&authorizer, key).await, "it recovers at once");
    authorizer.frozen().await;
    // Permits in hand need no database.
    assert!(allows(&authorizer, key).await);
    authorizer.frozen().await;
    authorizer.disturb(Disturbance::WritesFail);
    assert!(allows(&authorizer, key).await);
}

#[tokio::test]
async fn a_response_that_is_lost_or_makes_no_sense_grants_nothing() {
    let workspace = Workspace::new().await;
    let created = limited(&workspace, &["5/month"]).await;
    let (id, key) = (text(&created, "id"), text(&created, "key"));
    let cached = [ENFORCING[0], ENFORCING[1], ENFORCING[2], ("CACHE_SECONDS", "300")];
    let authorizer = Function::start("authorize", &cached).await;
    assert!(allows(&authorizer, key).await);
    authorizer.frozen().await;
    let window = Period::Month.window(Utc::now());
    let slot = format!("month_{}", u8::from(window.is_odd));
    let attributes = |id: &str, start: i64, used: &str| {
        let count = json!({"M": {"start": {"N": start.to_string()}, "used": {"N": used}}});
        json!({"Attributes": {"key_id": {"S": id}, "entry": {"S": "LIMITS"}, &slot: count}}).to_string()
    };
    let start = window.start.timestamp();
    let unknown = KeyId::generate(Utc::now()).to_string();
    for garbage in [
        "{}".to_owned(),
        "[]".to_owned(),
        "<html>It works!</html>".to_owned(),
        r#"{"Attributes": {}}"#.to_owned(),
        attributes(&unknown, start, "2"),
        attributes(id, start - 1, "2"),
        attributes(id, start, "0"),
        attributes(id, start, "6"),
        attributes(id, start, "-1"),
        attributes(id, start, "many"),
    ] {
        authorizer.disturb(Disturbance::Says(garbage.clone().leak()));
        let error = authorizer.invoke(call(key)).await.expect_err(&garbage);
        assert_ne!(error, "Unauthorized", "{garbage}");
    }
    authorizer.disturb(Disturbance::None);
    assert_eq!(left(&workspace, id).await["month"], 4);

    // Killed after the reservation is made and before the response arrives.
    let other = Function::start("authorize", &ENFORCING).await;
    // Its calls: the key, a reservation that shows that the window has begun, and another one.
    other.disturb(Disturbance::KillAt(2, Moment::After));
    other.invoke_until_killed(call(key)).await;
    let after = left(&workspace, id).await["month"];
    assert_eq!(after, 3);
    let fresh = Function::start("authorize", &ENFORCING).await;
    let mut allowed = 0;
    for _ in 0..6 {
        allowed += u64::from(allows(&fresh, key).await);
    }
    assert_eq!(allowed, after, "a lost permit is wasted");
}

#[tokio::test]
async fn a_cached_verification_takes_permits_all_the_same() {
    let workspace = Workspace::new().await;
    let created = limited(&workspace, &["3/month"]).await;
    let authorizer = Function::start("authorize", &[ENFORCING[0], ("CACHE_SECONDS", "300")]).await;
    let mut allowed = 0;
    for _ in 0..6 {
        allowed += u32::from(allows(&authorizer, text(&created, "key")).await);
    }
    assert_eq!(allowed, 3);
}

#[tokio::test]
async fn a_key_without_limits_costs_no_call_more() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &ENFORCING).await;
    assert!(allows(&authorizer, &key).await);
    authorizer.frozen().await;
    authorizer.take_calls();
    assert!(allows(&authorizer, &key).await);
    authorizer.frozen().await;
    let calls: Vec<_> = authorizer.take_calls().into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(calls, ["GetItem"]);
}

#[tokio::test]
async fn reservations_stay_within_their_budget() {
    let workspace = Workspace::new().await;
    let cached = [ENFORCING[0], ENFORCING[1], ENFORCING[2], ("CACHE_SECONDS", "300")];
    let authorizer = Function::start("authorize", &cached).await;
    for (limit, calls, budget) in [("1000/month", 200, 10), ("2500/month", 500, 10)] {
        let created = limited(&workspace, &[limit]).await;
        authorizer.take_calls();
        for _ in 0..calls {
            assert!(allows(&authorizer, text(&created, "key")).await);
        }
        let made = reservations(&authorizer);
        assert!(made <= budget, "{made} reservations for {calls} calls of {limit}");
    }
    // A full window is refused without a write.
    let created = limited(&workspace, &["2/month"]).await;
    let key = text(&created, "key");
    while allows(&authorizer, key).await {}
    authorizer.take_calls();
    for _ in 0..5 {
        assert!(!allows(&authorizer, key).await);
    }
    assert_eq!(reservations(&authorizer), 0);
    // A limit by the second: one reservation a second, but for the first, whose calls were not known before.
    let created = limited(&workspace, &["10/second"]).await;
    let (started, first) = (Instant::now(), Utc::now());
    authorizer.take_calls();
    while started.elapsed() < Duration::from_secs(4) {
        allows(&authorizer, text(&created, "key")).await;
    }
    let seconds = usize::try_from((Utc::now() - first).num_seconds()).expect("a short time") + 2;
    let made = reservations(&authorizer);
    assert!(made <= 2 * seconds, "{made} reservations in {seconds} s");
}

/// The calls made are the same, so that they do not tell whether another workspace has the key.
#[tokio::test]
async fn a_limited_key_of_another_workspace_is_read_like_one_that_does_not_exist() {
    let (workspace, other) = tokio::join!(Workspace::new(), Workspace::new());
    let foreign = limited(&other, &["5/month"]).await;
    assert_eq!(other.api.rest_example(Some(&format!("Bearer {}", text(&foreign, "key")))).await.status, 200);
    let function = Function::start("get-key", &[]).await;
    let mut costs = Vec::new();
    let unknown = KeyId::generate(Utc::now()).to_string();
    for id in [text(&foreign, "id"), &unknown] {
        function.take_calls();
        function.take_capacity();
        let event = request(&workspace, ("GET", "/api-keys/{id}"), Some(id), &[], &Value::Null);
        let answer = function.invoke(event).await.expect("a response");
        assert_eq!(answer["statusCode"], 404, "{answer}");
        let calls: Vec<_> = function.take_calls().into_iter().map(|(operation, _)| operation).collect();
        costs.push((calls, function.take_capacity()));
    }
    assert_eq!(costs[0], costs[1]);
}

/// The windows in which calls were admitted, with their numbers. A call counts for a window if it began and ended in it.
#[derive(Debug, Default)]
struct Admitted {
    windows: BTreeMap<(&'static str, DateTime<Utc>), u32>,
    calls: u32,
    killed: u32,
}

impl Admitted {
    fn count(&mut self, began: DateTime<Utc>, ended: DateTime<Utc>) {
        for per in [Period::Second, Period::Minute] {
            if per.window(began) == per.window(ended) {
                *self.windows.entry((per.word(), per.window(began).start)).or_default() += 1;
            }
        }
    }

    fn most(&self, per: Period) -> u32 {
        let of_period = self.windows.iter().filter(|((word, _), _)| *word == per.word());
        of_period.map(|(_, admitted)| *admitted).max().unwrap_or_default()
    }
}

/// Makes calls with a key in many environments at once until the time is over or `enough` calls were made. Kills some
/// environments, which others replace, if `kills` is set.
async fn hammer(
    environments: &[Mutex<Function>],
    key: &str,
    time: Duration,
    enough: u32,
    kills: bool,
) -> Admitted {
    let (admitted, started) = (std::sync::Mutex::new(Admitted::default()), Instant::now());
    let lane = async |index: usize, environment: &Mutex<Function>| {
        let mut function = environment.lock().await;
        let mut random = index as u64 + 1;
        while started.elapsed() < time && admitted.lock().unwrap().calls < enough {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let began = Utc::now();
            if kills && random >> 57 == 0 {
                let moment = Duration::from_millis((random >> 32) % 20);
                // The call may be admitted: it is not counted.
                let _ = tokio::time::timeout(moment, function.invoke(call(key))).await;
                *function = Function::start("authorize", &HAMMERED).await;
                admitted.lock().unwrap().killed += 1;
                continue;
            }
            let is_allowed = allows(&function, key).await;
            let mut admitted = admitted.lock().unwrap();
            admitted.calls += 1;
            if is_allowed {
                admitted.count(began, Utc::now());
            }
        }
    };
    let lanes = environments.iter().enumerate().map(|(index, environment)| lane(index, environment));
    join_all(lanes).await;
    admitted.into_inner().unwrap()
}

/// Runs futures side by side in this task.
async fn join_all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut running: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// The cache keeps the load on the database low. It does not change how permits are taken.
const HAMMERED: [(&str, &str); 6] =
    [ENFORCING[0], ENFORCING[1], ENFORCING[2], ENFORCING[3], ("CACHE_SECONDS", "300"), ("LOG_LEVEL", "warn")];

#[tokio::test]
async fn many_environments_admit_no_more_than_the_limit_and_almost_all_of_it() {
    let workspace = Workspace::new().await;
    let by_minute = limited(&workspace, &["1000/minute"]).await;
    let by_both = limited(&workspace, &["1000/minute", "10/second"]).await;
    let mut environments = Vec::with_capacity(ENVIRONMENTS);
    for _ in 0..ENVIRONMENTS {
        environments.push(Mutex::new(Function::start("authorize", &HAMMERED).await));
    }
    // Three times the limit within one minute, without kills.
    with_seconds_left(30).await;
    let admitted =
        hammer(&environments, text(&by_minute, "key"), Duration::from_secs(29), 3_000, false).await;
    let most = admitted.most(Period::Minute);
    assert!(most <= 1_000, "{admitted:?}");
    assert!(admitted.calls >= 3_000, "the machine made {} calls", admitted.calls);
    assert!(most >= 950, "{most} of 1000");

    // Several windows with kills.
    let admitted =
        hammer(&environments, text(&by_both, "key"), Duration::from_secs(12), u32::MAX, true).await;
    assert!(admitted.most(Period::Second) <= 10, "{admitted:?}");
    assert!(admitted.most(Period::Minute) <= 1_000, "{admitted:?}");
    let seconds = admitted.windows.keys().filter(|(word, _)| *word == "second").count();
    assert!(seconds >= 3 && admitted.killed > 0, "{admitted:?}");
}

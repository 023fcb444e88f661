//! Calls in the audit trail.

use serde_json::{Value, json};

use crate::support::database::calls;
use crate::support::function::{Disturbance, Function, event, token_event};
use crate::support::workspace::{Workspace, id_of, text};
use crate::support::{eventually, eventually_some};

fn token(key: &str) -> Value {
    token_event(&format!("Bearer {key}"))
}

/// AWS's published sample of a kind of event, with a key in its headers.
fn request(name: &str, key: &str) -> Value {
    let mut event = event(name);
    event["headers"]["Authorization"] = json!(format!("Bearer {key}"));
    if event.get("multiValueHeaders").is_some() {
        event["multiValueHeaders"]["Authorization"] = json!([format!("Bearer {key}")]);
    }
    event
}

/// Waits until a user's calls have that many events, and returns these.
async fn wait_for_calls(workspace: &Workspace, user: &str, events: usize) -> Vec<Value> {
    eventually_some("the calls are written", async || {
        let calls = calls(&workspace.id, user).await;
        assert!(calls.len() <= events, "{calls:#?}");
        (calls.len() == events).then_some(calls)
    })
    .await
}

#[tokio::test]
async fn a_call_is_in_the_trail_of_the_keys_user() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    assert!(workspace.accepts(&key).await);
    let [call] = wait_for_calls(&workspace, "bob", 1).await.try_into().expect("one call");
    for (attribute, value) in [
        ("key_id", json!(id_of(&key))),
        ("target", json!("bob")),
        ("method", json!("GET")),
        ("path", json!("/echo")),
        ("outcome", json!("allowed")),
        ("count", json!(1)),
    ] {
        assert_eq!(call[attribute], value, "{call:#?}");
    }
    let contents = workspace.contents().await;
    assert!(contents.events.iter().all(|event| event["action"] != "key.used"), "a call is no change");
}

#[tokio::test]
async fn a_call_has_the_method_the_route_and_the_source_of_its_event() {
    let workspace = Workspace::new().await;
    let authorizer = Function::start("authorize", &[]).await;
    for (user, name, method, path, source) in [
        ("rest-token", "authorize-rest-token", json!("GET"), "/api-keys", Value::Null),
        ("rest-request", "authorize-rest-request", json!("GET"), "/request", json!("...")),
        ("websocket", "authorize-websocket", Value::Null, "$connect", json!("1.2.3.4")),
        ("http-1.0", "authorize-http-1.0", json!("GET"), "/request", json!("IP")),
        ("http-2.0", "authorize-http-2.0", json!("POST"), "$default", json!("IP")),
    ] {
        let key = workspace.key_of(user, &[]).await;
        let mut event = request(name, &key);
        if event["type"] == "TOKEN" {
            event["authorizationToken"] = json!(format!("Bearer {key}"));
        }
        authorizer.invoke(event).await.expect(name);
        let [call] = wait_for_calls(&workspace, user, 1).await.try_into().expect("one call");
        let [call_method, call_path, call_source] = ["method", "path", "source"].map(|name| &call[name]);
        assert_eq!((call_method, call_path), (&method, &json!(path)), "{name}: {call:#?}");
        assert_eq!(*call_source, source, "{name}: {call:#?}");
    }
}

#[tokio::test]
async fn a_busy_key_is_written_once_a_minute_and_the_rest_when_the_environment_ends() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[]).await;
    authorizer.take_calls();
    for _ in 0..10 {
        authorizer.invoke(token(&key)).await.expect("a policy");
    }
    let [first] = wait_for_calls(&workspace, "bob", 1).await.try_into().expect("one event");
    assert_eq!(first["count"], 1);
    authorizer.terminate().await;
    let counts: Vec<_> =
        calls(&workspace.id, "bob").await.iter().map(|event| event["count"].clone()).collect();
    assert_eq!(counts, [1, 9]);
    let writes = authorizer.take_calls();
    let writes = writes.iter().filter(|(operation, _)| operation == "PutItem").count();
    assert_eq!(writes, 2, "one in its minute, one at the end");
}

#[tokio::test]
async fn with_call_activity_each_every_call_is_written_and_with_off_none() {
    let workspace = Workspace::new().await;
    let (each, none) = ([("CALL_ACTIVITY", "each")], [("CALL_ACTIVITY", "off")]);
    let (each, none) = tokio::join!(Function::start("authorize", &each), Function::start("authorize", &none));
    let key = workspace.key_of("bob", &[]).await;
    none.invoke(token(&key)).await.expect("a policy");
    none.terminate().await;
    assert!(calls(&workspace.id, "bob").await.is_empty());
    for _ in 0..3 {
        each.invoke(token(&key)).await.expect("a policy");
    }
    wait_for_calls(&workspace, "bob", 3).await;
}

#[tokio::test]
async fn refusals_of_existing_keys_are_in_the_trail_and_made_up_keys_are_not() {
    let workspace = Workspace::new().await;
    let authorizer = Function::start("authorize", &[]).await;
    let disabled = workspace.key_of("disabled", &[]).await;
    workspace.update(&workspace.admin, id_of(&disabled), &json!({"disabled": true})).await.assert_succeeded();
    let created = json!({"name": "bound", "user_id": "bound", "endpoints": ["GET /elsewhere"]});
    let bound = text(&workspace.created(created).await, "key").to_owned();
    let rotated = workspace.key_of("rotated", &[]).await;
    workspace.rotate(&workspace.admin, id_of(&rotated), &json!({})).await.assert_succeeded();
    let deleted = workspace.key_of("deleted", &[]).await;
    workspace.delete(&workspace.admin, id_of(&deleted)).await.assert_succeeded();
    for key in [&disabled, &rotated, &deleted] {
        assert!(authorizer.invoke(request("authorize-rest-request", key)).await.is_err());
    }
    authorizer.invoke(request("authorize-rest-request", &bound)).await.expect("a policy for elsewhere");
    for (user, reason, path) in [
        ("disabled", "disabled", Value::Null),
        ("bound", "outside_endpoints", json!("/request")),
        ("rotated", "wrong_secret", Value::Null),
    ] {
        let [call] = wait_for_calls(&workspace, user, 1).await.try_into().expect("one call");
        assert_eq!(call["outcome"], "refused", "{call:#?}");
        assert_eq!(call["reason"], reason, "{call:#?}");
        assert_eq!(call["path"], path, "{call:#?}");
    }
    authorizer.terminate().await;
    assert!(calls(&workspace.id, "deleted").await.is_empty(), "a key that is gone has no trail");
}

/// The holder of a disabled key must not be able to write paths of their choice into its user's trail.
#[tokio::test]
async fn refused_calls_with_a_key_that_does_not_work_are_few_events_without_a_path_whatever_is_called() {
    const CALLS: u64 = 300;
    let workspace = Workspace::new().await;
    let disabled = workspace.key_of("disabled", &[]).await;
    let token = workspace.access_token(&disabled).await;
    workspace.update(&workspace.admin, id_of(&disabled), &json!({"disabled": true})).await.assert_succeeded();
    // Even where each call with a key that works is an event of its own.
    for activity in ["minute", "each"] {
        let before = calls(&workspace.id, "disabled").await.len();
        let authorizer = Function::start("authorize", &[("CALL_ACTIVITY", activity)]).await;
        for number in 0..CALLS {
            let mut event = self::token(if number % 2 == 0 { &disabled } else { &token });
            let arn = text(&event, "methodArn").replace("GET/orders", &format!("PUT/made-up-{number}"));
            event["methodArn"] = json!(arn);
            assert_eq!(authorizer.invoke(event).await, Err("Unauthorized".to_owned()));
        }
        authorizer.terminate().await;
        let events = calls(&workspace.id, "disabled").await.split_off(before);
        let counted: u64 = events.iter().filter_map(|event| event["count"].as_u64()).sum();
        // Of the key and of its token one at once and one at the end, and as many more if a minute ends on the way.
        assert!((4..=6).contains(&events.len()) && counted == CALLS, "{activity}: {events:#?}");
        for event in &events {
            assert_eq!(
                (&event["outcome"], &event["reason"]),
                (&json!("refused"), &json!("disabled")),
                "{event}"
            );
            assert!(event.get("method").is_none() && event.get("path").is_none(), "{event}");
        }
    }
}

#[tokio::test]
async fn a_path_with_a_credential_in_it_is_not_kept() {
    let workspace = Workspace::new().await;
    let (key, leaked) = (workspace.key_of("bob", &[]).await, workspace.key_of("eve", &[]).await);
    let authorizer = Function::start("authorize", &[]).await;
    let mut event = token(&key);
    let arn = text(&event, "methodArn").replace("orders", &leaked);
    event["methodArn"] = json!(arn);
    authorizer.invoke(event).await.expect("a policy");
    let [call] = wait_for_calls(&workspace, "bob", 1).await.try_into().expect("one call");
    assert_eq!((&call["method"], call.get("path")), (&json!("GET"), None), "{call:#?}");
}

#[tokio::test]
async fn a_call_that_cannot_be_written_is_logged_and_counted_and_changes_no_response() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorizer = Function::start("authorize", &[("CALL_ACTIVITY", "each")]).await;
    authorizer.invoke(token(&key)).await.expect("a policy, and the write of the last use");
    wait_for_calls(&workspace, "bob", 1).await;
    authorizer.disturb(Disturbance::WritesFail);
    for _ in 0..2 {
        assert_eq!(authorizer.invoke(token(&key)).await.expect("a policy")["principalId"], "bob");
    }
    let not_written = |line: &Value| line["message"] == "deferred write failed";
    let is_logged = async || authorizer.log_lines().into_iter().filter(not_written).count() >= 2;
    eventually("both failures are logged", is_logged).await;
    authorizer.disturb(Disturbance::None);
    authorizer.invoke(token(&key)).await.expect("a policy");
    wait_for_calls(&workspace, "bob", 2).await;
    authorizer.terminate().await;
    let counted: u64 =
        authorizer.log_lines().iter().filter_map(|line| line["DeferredWriteFailures"].as_u64()).sum();
    assert_eq!(counted, 2);
}

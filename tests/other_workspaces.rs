//! A request about another workspace's key is like a request about a key that does not exist: it has the same response, makes
//! the same database calls, and consumes the same capacity.

use chrono::Utc;
use keygate_core::credential::KeyId;
use serde_json::{Value, json};

use crate::support::database::{calls, put_events};
use crate::support::function::{Function, request, token_event};
use crate::support::oauth::token_id_of;
use crate::support::workspace::{Workspace, id_of, text};

/// More keys than one read of a filtered page has.
const MANY: u32 = 300;

/// The outcome of a request: the response, the database calls, and the capacity that each consumed.
async fn cost(function: &Function, event: Value) -> (Value, Vec<String>, Vec<(String, f64)>) {
    function.take_calls();
    function.take_capacity();
    let answer = function.invoke(event).await.expect("a response");
    let calls = function.take_calls().into_iter().map(|(operation, _)| operation).collect();
    (answer, calls, function.take_capacity())
}

#[tokio::test]
async fn the_trail_of_another_workspaces_key_takes_the_calls_and_the_units_of_one_that_does_not_exist() {
    let (workspace, other) = tokio::join!(Workspace::new(), Workspace::new());
    let (foreign, own) = (other.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await);
    let authorizer = Function::start("authorize", &[("CALL_ACTIVITY", "each")]).await;
    for key in [&foreign, &own] {
        authorizer.invoke(token_event(&format!("Bearer {key}"))).await.expect("a policy");
    }
    authorizer.terminate().await;
    for workspace in [&workspace, &other] {
        assert_eq!(calls(&workspace.id, "bob").await.len(), 1);
        put_events(&workspace.id, "bob", MANY).await;
    }
    let cursor = workspace.activity(&format!("?key_id={}&limit=1", id_of(&own))).await;
    let cursor = text(&cursor, "next_cursor").to_owned();

    let function = Function::start("list-activity", &[]).await;
    let unknown = KeyId::generate(Utc::now()).to_string();
    let queries: [&[(&str, &str)]; 9] = [
        &[],
        &[("limit", "1")],
        &[("limit", "100")],
        &[("action", "key.used")],
        &[("action", "key.deleted")],
        &[("outcome", "refused")],
        &[("actor", "bob")],
        &[("from", "2020-01-01T00:00:00Z"), ("to", "2099-01-01T00:00:00Z"), ("outcome", "allowed")],
        &[("cursor", &cursor)],
    ];
    for query in queries {
        let event = |id: &str| {
            let mut event = request(&workspace, ("GET", "/activity"), None, &[], &Value::Null);
            let parameters: Vec<_> = query.iter().copied().chain([("key_id", id)]).collect();
            event["queryStringParameters"] =
                parameters.iter().map(|(name, value)| (*name, json!(value))).collect();
            event["multiValueQueryStringParameters"] =
                parameters.iter().map(|(name, value)| (*name, json!([value]))).collect();
            event
        };
        let of_foreign = cost(&function, event(id_of(&foreign))).await;
        let of_unknown = cost(&function, event(&unknown)).await;
        assert_eq!(of_foreign, of_unknown, "{query:?}");
        let units: f64 = of_foreign.2.iter().map(|(_, units)| units).sum();
        assert!(of_foreign.1.len() <= 1 && units <= 0.5, "nothing is read for it: {query:?}: {of_foreign:?}");
        // Both are a 200, unless the query has the cursor of another query.
        let is_cursor = query.first().is_some_and(|(name, _)| *name == "cursor");
        assert_eq!(
            of_foreign.0["statusCode"],
            if is_cursor { 400 } else { 200 },
            "{query:?}: {of_foreign:?}"
        );
        if !is_cursor {
            let (answer, ..) = cost(&function, event(id_of(&own))).await;
            let body: Value = serde_json::from_str(text(&answer, "body")).expect("JSON");
            let found = !body["items"].as_array().expect("items").is_empty();
            let is_wanted = !query.iter().any(|(_, value)| ["key.deleted", "refused"].contains(value));
            assert_eq!(found, is_wanted, "the workspace finds its own key: {query:?}: {body}");
        }
    }
}

#[tokio::test]
async fn every_route_to_another_workspaces_key_takes_the_calls_and_the_units_of_one_that_does_not_exist() {
    let (workspace, other) = tokio::join!(Workspace::new(), Workspace::new());
    let foreign = other.key_of("bob", &["orders:read"]).await;
    let token = other.access_token(&foreign).await;
    let unknown = KeyId::generate(Utc::now()).to_string();
    for (name, method, resource, body) in [
        ("get-key", "GET", "/api-keys/{id}", Value::Null),
        ("update-key", "PATCH", "/api-keys/{id}", json!({"description": "mine", "disabled": true})),
        (
            "rotate-key",
            "POST",
            "/api-keys/{id}/rotate",
            json!({"overlap_seconds": 60, "revoke_tokens": true}),
        ),
        ("delete-key", "DELETE", "/api-keys/{id}", Value::Null),
        ("get-usage", "GET", "/api-keys/{id}/usage", Value::Null),
        ("list-tokens", "GET", "/api-keys/{id}/tokens", Value::Null),
        ("revoke-token", "DELETE", "/api-keys/{id}/tokens", Value::Null),
        ("revoke-token", "DELETE", "/api-keys/{id}/tokens/{token_id}", Value::Null),
    ] {
        let function = Function::start(name, &[]).await;
        let event = |id: &str| {
            let mut event = request(&workspace, (method, resource), Some(id), &[], &body);
            event["pathParameters"]["token_id"] = json!(token_id_of(&token));
            if !resource.contains("{token_id}") {
                event["pathParameters"].as_object_mut().expect("parameters").remove("token_id");
            }
            event
        };
        let of_foreign = cost(&function, event(id_of(&foreign))).await;
        let of_unknown = cost(&function, event(&unknown)).await;
        assert_eq!(of_foreign.0["statusCode"], 404, "{method} {resource}: {of_foreign:?}");
        assert_eq!(of_foreign, of_unknown, "{method} {resource}");
        // Routes that show a key also read its last use.
        let reads = if matches!(name, "get-key" | "update-key" | "rotate-key") { 2 } else { 1 };
        assert_eq!(of_foreign.1, vec!["GetItem"; reads], "{method} {resource}");
    }
    other.contents().await;
}

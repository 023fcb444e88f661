//! Endpoint rules: API Gateway enforces on which methods and paths a key may be used.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::function::{Function, event};
use crate::support::workspace::{Workspace, text, unique};

const NOWHERE: [u16; 2] = [403, 403];
const EVERYWHERE: [u16; 2] = [200, 200];

async fn key_with(workspace: &Workspace, rules: &[&str]) -> Value {
    workspace.created(json!({"name": unique("key"), "user_id": "bob", "endpoints": rules})).await
}

#[tokio::test]
async fn a_key_with_rules_reaches_their_methods_and_paths_and_nothing_else() {
    let workspace = Workspace::new().await;
    let calls = [
        (Method::GET, "/echo"),
        (Method::POST, "/echo"),
        (Method::GET, "/orders/7"),
        (Method::GET, "/orders/8"),
    ];
    for (rules, allowed) in [
        (&[][..], [true, true, true, true]),
        (&["GET /echo"], [true, false, false, false]),
        (&["* /echo"], [true, true, false, false]),
        (&["* /echo/*"], [false, false, false, false]),
        (&["GET /orders/*"], [false, false, true, true]),
        (&["POST /echo", "GET /orders/7"], [false, true, true, false]),
        (&["GET /*"], [true, false, true, true]),
        (&["$connect"], [false, false, false, false]),
    ] {
        let key = key_with(&workspace, rules).await;
        for ((method, path), allowed) in calls.iter().zip(allowed) {
            let statuses = workspace.api.examples(method, path, text(&key, "key")).await;
            assert_eq!(statuses, if allowed { EVERYWHERE } else { NOWHERE }, "{rules:?}: {method} {path}");
        }
    }
}

#[tokio::test]
async fn a_key_with_rules_connects_to_a_websocket_api_only_with_the_rule_connect() {
    let workspace = Workspace::new().await;
    for (rules, status) in
        [(&[][..], 101), (&["$connect"], 101), (&["GET /orders", "$connect"], 101), (&["* /*"], 403)]
    {
        let key = key_with(&workspace, rules).await;
        let bearer = format!("Bearer {}", text(&key, "key"));
        assert_eq!(workspace.api.connect(Some(&bearer)).await, status, "{rules:?}");
    }
    assert_eq!(workspace.api.connect(None).await, 401);
}

#[tokio::test]
async fn a_key_with_rules_reaches_no_ambiguous_path() {
    let workspace = Workspace::new().await;
    let (free, bound) = (key_with(&workspace, &[]).await, key_with(&workspace, &["GET /orders/*"]).await);
    // The emulator decodes paths before it compares them with policies.
    for path in [
        "/orders/a%2fb",
        "/orders/%2e%2e",
        "/orders/a;b",
        "/orders/%3f",
        "/orders/7%3fa",
        "/orders/7%23",
        "/orders/7%00",
        "/orders/7%09",
        "/orders/7%0a",
        "/orders/7%7f",
    ] {
        let statuses = workspace.api.examples(&Method::GET, path, text(&bound, "key")).await;
        assert!(!statuses.contains(&200), "{path}: {statuses:?}");
    }
    assert_eq!(workspace.api.examples(&Method::GET, "/orders/a;b", text(&free, "key")).await, EVERYWHERE);
}

#[tokio::test]
async fn changed_rules_hold_at_once_and_stay_when_the_key_is_rotated() {
    let workspace = Workspace::new().await;
    let created = key_with(&workspace, &[]).await;
    let id = text(&created, "id");
    let reaches = async |key: &str| {
        let echo = workspace.api.examples(&Method::GET, "/echo", key).await == EVERYWHERE;
        (echo, workspace.api.examples(&Method::GET, "/orders/7", key).await == EVERYWHERE)
    };
    assert_eq!(reaches(text(&created, "key")).await, (true, true));
    let updated = workspace.update(&workspace.admin, id, &json!({"endpoints": ["GET /echo"]})).await.json();
    assert_eq!(updated["endpoints"], json!(["GET /echo"]));
    assert_eq!(reaches(text(&created, "key")).await, (true, false));

    let rotated = workspace.rotate(&workspace.admin, id, &json!({})).await.json();
    assert_eq!(rotated["endpoints"], json!(["GET /echo"]));
    assert_eq!(reaches(text(&rotated, "key")).await, (true, false));
    workspace
        .update(&workspace.admin, id, &json!({"description": "another change"}))
        .await
        .assert_succeeded();
    assert_eq!(reaches(text(&rotated, "key")).await, (true, false));

    let cleared = workspace.update(&workspace.admin, id, &json!({"endpoints": null})).await.json();
    assert_eq!(cleared["endpoints"], json!([]));
    assert_eq!(reaches(text(&rotated, "key")).await, (true, true));
}

#[tokio::test]
async fn every_response_about_a_key_shows_its_rules() {
    let workspace = Workspace::new().await;
    let rules = json!(["GET /orders/*", "$connect"]);
    let created = workspace.created(json!({"name": "a", "endpoints": rules})).await;
    assert_eq!(created["endpoints"], rules);
    assert_eq!(workspace.get(&workspace.admin, text(&created, "id")).await.json()["endpoints"], rules);
    let list = workspace.list(&workspace.admin, "?sort=name&order=asc").await.json();
    assert_eq!((&list["items"][0]["endpoints"], &list["items"][1]["endpoints"]), (&rules, &json!([])));
}

#[tokio::test]
async fn rules_and_scopes_that_do_not_fit_together_are_refused_whichever_comes_later() {
    let workspace = Workspace::new().await;
    let scopes: Vec<String> = (0..50).map(|index| format!("{index:a>60}")).collect();
    let rules = ["* /orders", "* /orders/*"];
    let with_rules = workspace.created(json!({"name": "rules", "endpoints": rules})).await;
    let with_scopes = workspace.created(json!({"name": "scopes", "scopes": scopes})).await;
    for (key, patch, place) in [
        (&with_rules, json!({"scopes": scopes}), "/scopes"),
        (&with_scopes, json!({"endpoints": rules}), "/endpoints"),
    ] {
        let answer = workspace.update(&workspace.admin, text(key, "id"), &patch).await;
        assert_eq!(answer.invalid_places(), [place], "{patch}");
    }
    let both = json!({"name": "both", "endpoints": rules, "scopes": scopes});
    assert_eq!(
        workspace.create(&workspace.admin, &both).await.invalid_places(),
        ["/scopes"],
        "the larger one"
    );
}

#[tokio::test]
async fn a_simple_response_enforces_rules_or_refuses_the_key() {
    let workspace = Workspace::new().await;
    let key = key_with(&workspace, &["GET /orders/*"]).await;
    let called = |method: &str, path: &str| {
        let mut event = event("authorize-http-2.0");
        event["headers"]["authorization"] = json!(format!("Bearer {}", text(&key, "key")));
        event["routeArn"] =
            json!(format!("arn:aws:execute-api:us-east-1:123456789012:abcdef123/test/{method}{path}"));
        event
    };
    for (form, expected) in [("simple", [false, false, false]), ("simple-uncached", [true, false, false])] {
        let authorizer = Function::start("authorize", &[("AUTHORIZER_RESPONSE", form)]).await;
        let calls = [("GET", "/orders/7"), ("POST", "/orders/7"), ("GET", "/orders")];
        for ((method, path), expected) in calls.into_iter().zip(expected) {
            let answer = authorizer.invoke(called(method, path)).await.expect("a simple response");
            assert_eq!(answer["isAuthorized"], expected, "{form}: {method} {path}");
        }
        let mut behind_a_domain = called("GET", "/orders/7");
        behind_a_domain["requestContext"]["domainName"] = json!("api.example.com");
        let answer = authorizer.invoke(behind_a_domain).await.expect("a simple response");
        assert_eq!(answer["isAuthorized"], false, "{form} behind a custom domain");
    }
}

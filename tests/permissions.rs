//! Permissions: the response that each kind of caller gets on each route of the management API.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::legacy::{imported, legacy_id};
use crate::support::oauth::token_id_of;
use crate::support::openapi;
use crate::support::sessions::page_code;
use crate::support::stack::{Answer, variable};
use crate::support::workspace::{Workspace, id_of, text, unique};

/// The callers of the table below, in its order.
const CALLERS: [&str; 6] = [
    "nobody",
    "the owner without a scope",
    "the owner",
    "another user",
    "an administrator",
    "another workspace",
];

/// Every route of the management API, with the status that each caller gets.
const TABLE: [(&str, &str, [u16; 6]); 42] = [
    ("POST", "/api-keys", [401, 403, 201, 201, 201, 201]),
    ("GET", "/api-keys", [401, 403, 200, 200, 200, 200]),
    ("GET", "/api-keys/{id}", [401, 403, 200, 200, 200, 404]),
    ("PATCH", "/api-keys/{id}", [401, 403, 200, 403, 200, 404]),
    ("POST", "/api-keys/{id}/rotate", [401, 403, 200, 403, 200, 404]),
    ("DELETE", "/api-keys/{id}", [401, 403, 204, 403, 204, 404]),
    ("GET", "/api-keys/{id}/usage", [401, 403, 200, 200, 200, 404]),
    ("GET", "/api-keys/{id}/tokens", [401, 403, 200, 200, 200, 404]),
    ("DELETE", "/api-keys/{id}/tokens", [401, 403, 204, 403, 204, 404]),
    ("DELETE", "/api-keys/{id}/tokens/{token_id}", [401, 403, 204, 403, 204, 404]),
    ("GET", "/legacy-keys", [401, 403, 200, 200, 200, 200]),
    ("GET", "/legacy-keys/{id}", [401, 403, 200, 200, 200, 404]),
    ("DELETE", "/legacy-keys/{id}", [401, 403, 204, 403, 204, 404]),
    ("GET", "/activity", [401, 403, 403, 403, 200, 200]),
    ("DELETE", "/users/{user_id}", [401, 403, 403, 403, 202, 202]),
    ("PUT", "/users/{user_id}", [401, 403, 403, 403, 204, 204]),
    ("POST", "/sessions", [401, 403, 403, 403, 201, 201]),
    ("POST", "/sessions/exchange", [200; 6]),
    ("DELETE", "/sessions/{session_id}", [401, 403, 403, 403, 204, 404]),
    ("DELETE", "/sessions/current", [401, 404, 404, 404, 404, 404]),
    ("POST", "/leaks", [202; 6]),
    // `leaks_of_github.rs` has reports with a signature.
    ("POST", "/leaks/github", [403; 6]),
    ("GET", "/console", [200; 6]),
    ("GET", "/console/{file}", [200; 6]),
    ("GET", "/me", [401, 200, 200, 200, 200, 200]),
    ("GET", "/policy", [401, 200, 200, 200, 200, 200]),
    ("OPTIONS", "/api-keys", [204; 6]),
    ("OPTIONS", "/api-keys/{id}", [204; 6]),
    ("OPTIONS", "/api-keys/{id}/rotate", [204; 6]),
    ("OPTIONS", "/api-keys/{id}/usage", [204; 6]),
    ("OPTIONS", "/api-keys/{id}/tokens", [204; 6]),
    ("OPTIONS", "/api-keys/{id}/tokens/{token_id}", [204; 6]),
    ("OPTIONS", "/legacy-keys", [204; 6]),
    ("OPTIONS", "/legacy-keys/{id}", [204; 6]),
    ("OPTIONS", "/activity", [204; 6]),
    ("OPTIONS", "/users/{user_id}", [204; 6]),
    ("OPTIONS", "/sessions", [204; 6]),
    ("OPTIONS", "/sessions/exchange", [204; 6]),
    ("OPTIONS", "/sessions/current", [204; 6]),
    ("OPTIONS", "/sessions/{session_id}", [204; 6]),
    ("OPTIONS", "/me", [204; 6]),
    ("OPTIONS", "/policy", [204; 6]),
];

#[test]
fn every_route_has_its_row_in_the_table() {
    let (paths, routes) = (openapi::paths("openapi.yaml"), openapi::routes("openapi.yaml"));
    // API Gateway applies no security that is for the whole document, so each operation has to have its own.
    let is_open = |(method, path): &&(String, String)| {
        method == "OPTIONS"
            || ["/leaks", "/leaks/github", "/sessions/exchange"].contains(&path.as_str())
            || path.starts_with("/console")
    };
    let open = routes.iter().filter(is_open).count();
    assert_eq!(paths.matches("\n      security: [{ bearer: [] }]\n").count(), routes.len() - open);
    assert_eq!(paths.matches("\n      security: []\n").count(), open);

    let rows = TABLE.map(|(method, path, _)| (method.to_owned(), path.to_owned()));
    assert_eq!(routes, BTreeSet::from(rows));
}

#[tokio::test]
async fn every_caller_gets_the_response_of_the_table() {
    let (workspace, elsewhere) = tokio::join!(Workspace::new(), Workspace::new());
    let credentials = [
        None,
        Some(workspace.key_of("bob", &["orders:read"]).await),
        Some(workspace.key_of("bob", &["keys:read", "keys:write"]).await),
        Some(workspace.key_of("carol", &["keys:read", "keys:write"]).await),
        Some(workspace.admin.clone()),
        Some(elsewhere.admin.clone()),
    ];
    for (method, path, statuses) in TABLE {
        for ((caller, credential), status) in CALLERS.iter().zip(&credentials).zip(statuses) {
            let mut path = path.replace("{user_id}", &unique("user")).replace("{file}", "keygate-keys.js");
            if path.starts_with("/legacy-keys/{id}") {
                let target = imported(&workspace, "bob", &["keys:read"]).await;
                path = path.replace("{id}", &legacy_id(&workspace, &target).await);
            } else if path.contains("{id}") {
                let target = workspace.key_of("bob", &["keys:read"]).await;
                path = path.replace("{id}", id_of(&target));
                if path.contains("{token_id}") {
                    path = path.replace("{token_id}", token_id_of(&workspace.access_token(&target).await));
                }
            }
            let session = workspace.session(&workspace.admin, "bob", &["keys:write"]).await;
            path = path.replace("{session_id}", text(&session, "id"));
            let url = format!("{}{path}", variable("KEYGATE_API_URL"));
            let body = match (method, path.as_str()) {
                ("POST", "/api-keys") => Some(json!({"name": unique("key")})),
                ("POST", "/sessions") => Some(json!({"user_id": "bob", "scopes": ["keys:write"]})),
                ("POST", "/sessions/exchange") => Some(json!({"code": page_code(&session)})),
                ("POST", "/leaks") => Some(json!({"credentials": ["kg_key_made_up"]})),
                ("POST", "/leaks/github") => Some(json!([{"token": "kg_key_made_up", "type": "kg"}])),
                ("PATCH", _) => Some(json!({"description": "changed"})),
                _ => None,
            };
            let method: Method = method.parse().expect("a method");
            let answer = workspace.api.send(method.clone(), &url, credential.as_deref(), body.as_ref()).await;
            assert_eq!(answer.status, status, "{method} {path} by {caller}: {answer:?}");
        }
    }
    workspace.contents().await;
    elsewhere.contents().await;
}

/// A weak key must not gain rights by means of a stronger key of the same user.
#[tokio::test]
async fn a_weak_key_gets_nothing_out_of_a_stronger_one_of_the_same_user() {
    let workspace = Workspace::new().await;
    let weak = workspace.key_of("bob", &["keys:write", "keys:read"]).await;
    let strong = json!({"name": "strong", "user_id": "bob", "scopes": ["keys:write", "orders:write"], "expires_in": 9000});
    let strong = workspace.created(strong).await;
    let (id, key) = (text(&strong, "id"), text(&strong, "key"));

    workspace.rotate(&weak, id, &json!({})).await.assert_problem(403, "insufficient_scope");
    for patch in [
        json!({"expires_at": "2099-01-01T00:00:00Z"}),
        json!({"expires_at": null}),
        json!({"scopes": ["keys:write", "orders:write", "keys:read"]}),
        json!({"scopes": ["keys:write"]}),
        json!({"scopes": null}),
        json!({"name": "mine now", "scopes": ["workspace:admin"]}),
    ] {
        workspace.update(&weak, id, &patch).await.assert_problem(403, "insufficient_scope");
    }
    assert!(workspace.accepts(key).await, "nothing of it has been done");
    assert_eq!(workspace.get(&weak, id).await.header("etag"), Some("\"1\""));

    for patch in [
        json!({"description": "bob's"}),
        json!({"expires_at": "2030-01-01T00:00:00Z"}),
        json!({"disabled": true}),
    ] {
        let shortened = patch["expires_at"].is_string();
        let answer = workspace.update(&weak, id, &patch).await;
        assert_eq!(answer.status, if shortened { 403 } else { 200 }, "{patch}: {answer:?}");
    }
    workspace.update(&weak, id, &json!({"disabled": false})).await.assert_problem(403, "insufficient_scope");
    assert!(!workspace.accepts(key).await);
    assert_eq!(workspace.delete(&weak, id).await.status, 204, "taking away is always allowed");
    workspace.contents().await;
}

#[tokio::test]
async fn callers_may_widen_a_key_up_to_their_own_scopes_and_administrators_beyond_theirs() {
    let workspace = Workspace::new().await;
    let owner = workspace.key_of("bob", &["keys:write", "orders:read", "orders:write"]).await;
    let created = workspace
        .created(json!({"name": "a", "user_id": "bob", "scopes": ["orders:read"], "expires_in": 9000}))
        .await;
    let id = text(&created, "id");
    let ok = |answer: Answer| assert_eq!(answer.status, 200, "{answer:?}");
    ok(workspace.rotate(&owner, id, &json!({})).await);
    ok(workspace
        .update(&owner, id, &json!({"scopes": ["orders:read", "orders:write"], "expires_at": null}))
        .await);
    workspace
        .update(&owner, id, &json!({"scopes": ["orders:delete"]}))
        .await
        .assert_problem(403, "insufficient_scope");
    ok(workspace.update(&workspace.admin, id, &json!({"scopes": ["orders:delete"]})).await);
    workspace.rotate(&owner, id, &json!({})).await.assert_problem(403, "insufficient_scope");
    workspace.contents().await;
}

#[tokio::test]
async fn service_accounts_get_their_keys_from_administrators() {
    let workspace = Workspace::new().await;
    let bob = workspace.key_of("bob", &["keys:write"]).await;
    let request = json!({"name": "deploys", "user_id": "svc:deploy"});
    workspace.create(&bob, &request).await.assert_problem(403, "forbidden");
    let created = workspace.created(request).await;
    assert_eq!((&created["user_id"], &created["created_by"]), (&json!("svc:deploy"), &json!("admin")));
    let own: Value = workspace.list(&workspace.admin, "?user_id=svc:deploy").await.json();
    assert_eq!(own["items"].as_array().map(Vec::len), Some(1));
    workspace.contents().await;
}

/// A key with endpoint rules must not get around them, not even an administrator's.
#[tokio::test]
async fn a_restricted_key_gets_nothing_beyond_its_rules() {
    let workspace = Workspace::new().await;
    let rules = json!(["* /api-keys", "* /api-keys/*", "GET /orders/*"]);
    let mut callers = Vec::new();
    for (user, scopes) in [("bob", json!(["keys:read", "keys:write"])), ("carol", json!(["workspace:admin"]))]
    {
        let key = json!({"name": unique("key"), "user_id": user, "scopes": scopes, "endpoints": rules});
        callers.push((user, workspace.created(key).await));
    }
    for (user, caller) in &callers {
        let (own_id, caller) = (text(caller, "id"), text(caller, "key"));
        let refused = |answer: Answer| answer.assert_problem(403, "insufficient_endpoints");
        let url = format!("{}/me", variable("KEYGATE_API_URL"));
        let elsewhere = workspace.api.send(Method::GET, &url, Some(caller), None).await;
        elsewhere.assert_problem(403, "forbidden");

        for endpoints in
            [json!(null), json!([]), json!(["* /*"]), json!(["GET /orders"]), json!(["$connect"])]
        {
            let new = json!({"name": unique("key"), "endpoints": endpoints});
            refused(workspace.create(caller, &new).await);
            refused(workspace.update(caller, own_id, &json!({"endpoints": endpoints})).await);
        }
        let wider = json!([null, ["GET /invoices"], ["* /*"], ["GET /orders/*", "GET /orders"]]);
        for endpoints in wider.as_array().expect("an array") {
            let target =
                json!({"name": unique("key"), "user_id": user, "endpoints": endpoints, "expires_in": 9000});
            let target = workspace.created(target).await;
            let id = text(&target, "id");
            refused(workspace.rotate(caller, id, &json!({})).await);
            for patch in [
                json!({"endpoints": ["GET /orders/7"]}),
                json!({"endpoints": ["GET /orders/7"], "name": "taken over"}),
                json!({"expires_at": null}),
                json!({"scopes": ["keys:read"]}),
            ] {
                refused(workspace.update(caller, id, &patch).await);
            }
            assert_eq!(workspace.update(caller, id, &json!({"disabled": true})).await.status, 200);
            refused(workspace.update(caller, id, &json!({"disabled": false})).await);
            assert_eq!(workspace.get(caller, id).await.header("etag"), Some("\"2\""));
            assert_eq!(workspace.delete(caller, id).await.status, 204, "taking away is always allowed");
        }

        let within = json!({"name": unique("key"), "endpoints": ["GET /orders/7/*", "DELETE /api-keys/7"]});
        let created = workspace.create(caller, &within).await;
        assert_eq!(created.status, 201, "{created:?}");
        let created = created.json();
        let id = text(&created, "id");
        assert_eq!(workspace.rotate(caller, id, &json!({})).await.status, 200);
        let narrower = json!({"endpoints": ["GET /orders/7/items"]});
        assert_eq!(workspace.update(caller, id, &narrower).await.status, 200);
        refused(workspace.update(caller, id, &json!({"endpoints": null})).await);
    }
}

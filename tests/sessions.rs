//! Sessions: how they are opened and begun, what they may do, and when they end.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database;
use crate::support::function::{Function, token_event};
use crate::support::oauth::basic;
use crate::support::sessions::page_code;
use crate::support::workspace::{Workspace, id_of, text, unique};

/// The scopes of a key that opens sessions for [`SCOPES`].
const OPENER: [&str; 3] = ["sessions:write", "keys:write", "orders:read"];
const SCOPES: [&str; 2] = ["keys:write", "orders:read"];

/// A workspace with a key of `backend` that opens sessions, and a session of `alice`.
async fn workspace_with_session() -> (Workspace, String, Value) {
    let workspace = Workspace::new().await;
    let opener = workspace.key_of("backend", &OPENER).await;
    let session = workspace.session(&opener, "alice", &SCOPES).await;
    (workspace, opener, session)
}

async fn works(workspace: &Workspace, session: &str) -> bool {
    let me = workspace.call(Method::GET, "/me", session).await;
    assert!(matches!(me.status, 200 | 401), "{me:?}");
    me.status == 200
}

#[tokio::test]
async fn a_session_manages_the_keys_of_its_user_and_sees_no_others() {
    let (workspace, opener, session) = workspace_with_session().await;
    let credential = text(&session, "session");
    let me = workspace.call(Method::GET, "/me", credential).await.json();
    assert_eq!(
        (&me["user_id"], &me["credential"], &me["opened_by"]),
        (&json!("alice"), &json!("session"), &json!("backend"))
    );
    assert_eq!((&me["session_id"], &me["key_id"]), (&session["id"], &json!(id_of(&opener))));
    assert_eq!(me["expires_at"], session["expires_at"]);

    let own = workspace.create(credential, &json!({"name": unique("own"), "scopes": ["orders:read"]})).await;
    assert_eq!(own.status, 201, "{own:?}");
    let own = own.json();
    assert_eq!((&own["user_id"], &own["created_by"]), (&json!("alice"), &json!("alice")));
    assert!(workspace.accepts(text(&own, "key")).await);
    let other = workspace.key_of("bob", &["orders:read"]).await;

    let listed = workspace.list(credential, "").await.json();
    let ids: Vec<_> = listed["items"].as_array().expect("items").iter().map(|key| &key["id"]).collect();
    assert_eq!(ids, [&own["id"]]);
    let id = text(&own, "id");
    let rotated = workspace.rotate(credential, id, &json!({})).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    for (patch, status) in [(json!({"disabled": true}), 200), (json!({"disabled": false}), 200)] {
        assert_eq!(workspace.update(credential, id, &patch).await.status, status, "{patch}");
    }
    for answer in [
        workspace.get(credential, id_of(&other)).await,
        workspace.update(credential, id_of(&other), &json!({"disabled": true})).await,
        workspace.rotate(credential, id_of(&other), &json!({})).await,
        workspace.delete(credential, id_of(&other)).await,
        workspace.delete(credential, id_of(&opener)).await,
        workspace.create(credential, &json!({"name": unique("for bob"), "user_id": "bob"})).await,
        workspace.create(credential, &json!({"name": unique("more"), "scopes": ["orders:write"]})).await,
        workspace
            .sessions(
                (Method::POST, ""),
                Some(credential),
                Some(&json!({"user_id": "alice", "scopes": ["keys:write"]})),
            )
            .await,
        workspace.call(Method::DELETE, "/users/bob", credential).await,
    ] {
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    assert_eq!(workspace.delete(credential, id).await.status, 204);
    assert!(workspace.accepts(&other).await && works(&workspace, credential).await);
    workspace.contents().await;
}

#[tokio::test]
async fn a_session_with_keys_read_or_activity_read_sees_only_what_concerns_its_user() {
    let workspace = Workspace::new().await;
    let opener = workspace.key_of("backend", &["sessions:write", "keys:read", "activity:read"]).await;
    let (own, other) = tokio::join!(workspace.key_of("alice", &[]), workspace.key_of("bob", &[]));
    let session = workspace.session(&opener, "alice", &["keys:read", "activity:read"]).await;
    let credential = text(&session, "session");
    assert_eq!(workspace.get(credential, id_of(&own)).await.status, 200);
    workspace.get(credential, id_of(&other)).await.assert_problem(403, "insufficient_scope");
    workspace.create(credential, &json!({"name": "x"})).await.assert_problem(403, "insufficient_scope");
    for query in ["", "?actor=admin", "?actor=bob", &format!("?key_id={}", id_of(&other))] {
        let seen = workspace.call(Method::GET, &format!("/activity{query}"), credential).await;
        assert_eq!(seen.status, 200, "{seen:?}");
        let seen = seen.json();
        for event in seen["items"].as_array().expect("items") {
            assert!(event["actor"] == "alice" || event["target"] == "alice", "{query}: {event}");
        }
    }
    let seen = workspace.call(Method::GET, "/activity", credential).await.json();
    let actions: BTreeSet<_> =
        seen["items"].as_array().expect("items").iter().map(|event| text(event, "action")).collect();
    assert_eq!(actions, BTreeSet::from(["key.created", "session.opened"]));
}

#[tokio::test]
async fn a_session_and_its_page_code_call_no_api_of_an_adopter_and_are_no_client() {
    let (workspace, opener, session) = workspace_with_session().await;
    for credential in [text(&session, "session"), page_code(&session)] {
        assert_eq!(workspace.api.examples(&Method::GET, "/echo", credential).await, [401, 403]);
        assert_eq!(workspace.api.connect(Some(&format!("Bearer {credential}"))).await, 500);
        let form = [("grant_type", "client_credentials")];
        let bearer = format!("Bearer {credential}");
        for client in [basic(credential), bearer] {
            let answer = workspace.oauth("token", Some(&client), &form).await;
            answer.assert_oauth_error(401, "invalid_client");
        }
        let told =
            workspace.oauth("introspect", Some(&basic(&workspace.admin)), &[("token", credential)]).await;
        assert_eq!((told.status, told.json()), (200, json!({"active": false})));
        let revoked = workspace.oauth("revoke", Some(&basic(&opener)), &[("token", credential)]).await;
        assert_eq!(revoked.status, 200, "{revoked:?}");
    }
    assert!(works(&workspace, text(&session, "session")).await, "the OAuth API ends no session");
    assert_eq!(workspace.call(Method::GET, "/me", page_code(&session)).await.status, 401);
    let authorizer = Function::start("authorize", &[]).await;
    authorizer.take_calls();
    let refused = authorizer.invoke(token_event(&format!("Bearer {}", text(&session, "session")))).await;
    assert_eq!((refused.is_err(), authorizer.take_calls().len()), (true, 0), "it is refused without a read");
}

/// A change to the key or to the users of a session, and whether the session works afterwards.
#[tokio::test]
async fn a_session_ends_with_everything_that_ends_its_opener() {
    let workspace = Workspace::new().await;
    let revoked = json!({"revoke_tokens": true});
    let cases: [(&str, &str, Value, bool); 12] = [
        ("rename", "PATCH", json!({"description": "of the backend"}), true),
        ("rotate with an overlap", "POST", json!({"overlap_seconds": 600}), true),
        ("rotate", "POST", json!({}), false),
        ("rotate and keep the tokens", "POST", json!({"revoke_tokens": false}), false),
        (
            "rotate with an overlap and revoke",
            "POST",
            json!({"overlap_seconds": 600, "revoke_tokens": true}),
            false,
        ),
        ("disable", "PATCH", json!({"disabled": true}), false),
        ("take the scope", "PATCH", json!({"scopes": ["keys:write", "orders:read"]}), false),
        ("delete", "DELETE", Value::Null, false),
        ("revoke all tokens", "TOKENS", revoked, false),
        ("remove the opener", "USER", json!("backend"), false),
        ("hand over", "USER", json!("?transfer_to=svc:heir"), false),
        ("remove the user", "USER", json!("alice"), false),
    ];
    for (change, method, body, survives) in cases {
        let (backend, alice) = (unique("backend"), unique("alice"));
        let opener = workspace.key_of(&backend, &OPENER).await;
        let session = workspace.session(&opener, &alice, &SCOPES).await;
        let exchanged = workspace.exchange(page_code(&session)).await.json();
        let second = workspace.session(&opener, &alice, &SCOPES).await;
        let of_page = text(&exchanged, "session").to_owned();
        let id = id_of(&opener);
        let status = match method {
            "PATCH" => workspace.update(&workspace.admin, id, &body).await.status,
            "POST" => workspace.rotate(&workspace.admin, id, &body).await.status,
            "TOKENS" => workspace.revoke_tokens(&workspace.admin, id, "").await.status,
            "DELETE" => workspace.delete(&workspace.admin, id).await.status,
            _ => {
                let (user, query) = match body.as_str() {
                    Some("alice") => (&alice, ""),
                    Some("backend") => (&backend, ""),
                    query => (&backend, query.expect("a query")),
                };
                workspace
                    .call(Method::DELETE, &format!("/users/{user}{query}"), &workspace.admin)
                    .await
                    .status
            }
        };
        assert!(matches!(status, 200 | 202 | 204), "{change}: {status}");
        for credential in [text(&session, "session"), &of_page] {
            assert_eq!(works(&workspace, credential).await, survives, "{change}");
            let written = workspace.create(credential, &json!({"name": unique("late")})).await;
            assert_eq!(written.status, if survives { 201 } else { 401 }, "{change}: {written:?}");
        }
        // A code that was not used yet ends with its session.
        let late = workspace.exchange(page_code(&second)).await;
        assert_eq!(late.status == 200, survives, "{change}: {late:?}");
        if change == "disable" {
            let enabled = workspace.update(&workspace.admin, id, &json!({"disabled": false})).await;
            assert_eq!(enabled.status, 200, "{enabled:?}");
            assert!(!works(&workspace, text(&session, "session")).await, "it has ended for good");
        }
    }
}

#[tokio::test]
async fn a_session_ends_with_the_overlap_of_the_secret_that_opened_it() {
    let (workspace, opener, session) = workspace_with_session().await;
    let rotated =
        workspace.rotate(&workspace.admin, id_of(&opener), &json!({"overlap_seconds": 600})).await.json();
    let me = workspace.call(Method::GET, "/me", text(&session, "session")).await.json();
    assert_eq!(me["expires_at"], rotated["previous_expires_at"]);
    // The old secret opens no sessions, and the new one does.
    let body = json!({"user_id": "alice", "scopes": SCOPES});
    let by_old = workspace.sessions((Method::POST, ""), Some(&opener), Some(&body)).await;
    by_old.assert_problem(403, "insufficient_credential");
    workspace.session(text(&rotated, "key"), "alice", &SCOPES).await;
    let again = workspace.rotate(&workspace.admin, id_of(&opener), &json!({"overlap_seconds": 600})).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert!(!works(&workspace, text(&session, "session")).await, "its secret is the last but one");
}

#[tokio::test]
async fn a_session_has_only_the_scopes_that_its_opener_still_has() {
    let (workspace, opener, session) = workspace_with_session().await;
    let credential = text(&session, "session");
    let taken = json!({"scopes": ["sessions:write", "keys:write"]});
    assert_eq!(workspace.update(&workspace.admin, id_of(&opener), &taken).await.status, 200);
    let me = workspace.call(Method::GET, "/me", credential).await.json();
    assert_eq!(me["scopes"], json!(["keys:write"]));
    let beyond = json!({"name": unique("beyond"), "scopes": ["orders:read"]});
    workspace.create(credential, &beyond).await.assert_problem(403, "insufficient_scope");
}

#[tokio::test]
async fn keys_of_a_session_take_the_rules_and_networks_of_its_opener_and_its_calls_the_rules() {
    let workspace = Workspace::new().await;
    let opener = json!({
        "name": unique("opener"), "user_id": "backend", "scopes": OPENER,
        "endpoints": ["* /api-keys", "* /api-keys/*", "POST /sessions", "GET /orders/*"],
        "networks": ["127.0.0.0/8", "203.0.113.0/24"],
    });
    let opener = workspace.created(opener).await;
    let session = workspace.session(text(&opener, "key"), "alice", &SCOPES).await;
    let credential = text(&session, "session");
    let taken = workspace.create(credential, &json!({"name": unique("taken")})).await.json();
    assert_eq!((&taken["endpoints"], &taken["networks"]), (&opener["endpoints"], &opener["networks"]));
    let narrower =
        json!({"name": unique("narrower"), "endpoints": ["GET /orders/7"], "networks": ["127.0.0.1"]});
    let narrower = workspace.create(credential, &narrower).await.json();
    assert_eq!(narrower["networks"], json!(["127.0.0.1/32"]));
    let wider = json!({"name": unique("wider"), "endpoints": ["GET /invoices"]});
    workspace.create(credential, &wider).await.assert_problem(403, "insufficient_endpoints");
    let cleared = workspace.update(credential, text(&taken, "id"), &json!({"networks": null})).await;
    cleared.assert_problem(403, "insufficient_networks");
    // The rules of the opener have no `/me`.
    assert_eq!(workspace.call(Method::GET, "/me", credential).await.status, 403);

    // The networks bind the opener, and not the browser of the user.
    let elsewhere = workspace
        .update(&workspace.admin, text(&opener, "id"), &json!({"networks": ["203.0.113.0/24"]}))
        .await;
    assert_eq!(elsewhere.status, 200, "{elsewhere:?}");
    assert_eq!(workspace.list(text(&opener, "key"), "").await.status, 403);
    assert_eq!(workspace.list(credential, "").await.status, 200);
}

#[tokio::test]
async fn a_page_code_works_once_however_many_pages_exchange_it_at_once() {
    let (workspace, _, session) = workspace_with_session().await;
    let code = page_code(&session).to_owned();
    let exchanges = (0..32).map(|_| {
        let (workspace, code) = (workspace.clone(), code.clone());
        tokio::spawn(async move { workspace.exchange(&code).await })
    });
    let mut begun = Vec::new();
    for exchange in exchanges.collect::<Vec<_>>() {
        let answer = exchange.await.expect("an exchange");
        if answer.status == 200 {
            begun.push(answer.json());
        } else {
            answer.assert_problem(400, "invalid_page_code");
        }
    }
    let [page] = begun.as_slice() else { panic!("{} exchanges succeeded", begun.len()) };
    assert_eq!((&page["id"], &page["user_id"]), (&session["id"], &json!("alice")));
    assert_eq!(page["expires_at"], session["expires_at"]);
    assert_ne!(page["session"], session["session"]);
    assert!(works(&workspace, text(page, "session")).await);
    assert!(works(&workspace, text(&session, "session")).await, "the backend keeps its own");
    workspace.exchange(&code).await.assert_problem(400, "invalid_page_code");
}

#[tokio::test]
async fn a_page_code_works_for_a_minute_and_every_other_text_gets_the_same_response() {
    let (workspace, opener, session) = workspace_with_session().await;
    let code = page_code(&session);
    let unknown = page_code(&session).replace(text(&session, "id"), "01JD4A0000F9K3W7RT2M8Q0001");
    let mut bodies = BTreeSet::new();
    for text in ["", "x", &unknown, text(&session, "session"), &opener] {
        let answer = workspace.exchange(text).await;
        answer.assert_problem(400, "invalid_page_code");
        let mut body = answer.json();
        body["request_id"] = Value::Null;
        bodies.insert(body.to_string());
    }
    database::expire_page_code(id_of(&opener), text(&session, "id")).await;
    let late = workspace.exchange(code).await;
    let mut body = late.json();
    body["request_id"] = Value::Null;
    bodies.insert(body.to_string());
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    for body in [json!({}), json!({"code": 1}), json!({"code": code, "more": 1})] {
        let answer = workspace.sessions((Method::POST, "/exchange"), None, Some(&body)).await;
        answer.assert_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_session_is_ended_by_the_key_that_opened_it_and_by_itself() {
    let (workspace, opener, session) = workspace_with_session().await;
    let (id, credential) = (text(&session, "id"), text(&session, "session"));
    let end = async |rest: &str, credential: &str| {
        workspace.sessions((Method::DELETE, rest), Some(credential), None).await
    };
    end("/current", &opener).await.assert_problem(404, "not_found");
    end(&format!("/{id}"), &workspace.admin).await.assert_problem(404, "not_found");
    end("/x", &opener).await.assert_problem(404, "not_found");
    end(&format!("/{id}"), credential).await.assert_problem(403, "insufficient_scope");
    assert!(works(&workspace, credential).await);

    assert_eq!(end(&format!("/{id}"), &opener).await.status, 204);
    assert!(!works(&workspace, credential).await);
    workspace.exchange(page_code(&session)).await.assert_problem(400, "invalid_page_code");
    end(&format!("/{id}"), &opener).await.assert_problem(404, "not_found");

    let other = workspace.session(&opener, "alice", &SCOPES).await;
    let page = workspace.exchange(page_code(&other)).await.json();
    assert_eq!(end("/current", text(&page, "session")).await.status, 204);
    assert!(!works(&workspace, text(&other, "session")).await, "both secrets end");
}

#[tokio::test]
async fn the_trail_names_the_user_the_opener_and_the_session_of_what_a_session_changes() {
    let (workspace, opener, session) = workspace_with_session().await;
    let credential = text(&session, "session");
    let own = workspace.create(credential, &json!({"name": unique("own")})).await.json();
    workspace.exchange(page_code(&session)).await.assert_succeeded();
    workspace.sessions((Method::DELETE, "/current"), Some(credential), None).await.assert_succeeded();
    let events = workspace.activity("").await;
    let of = |action: &str| {
        let events = events["items"].as_array().expect("items").iter();
        let mut found =
            events.filter(|event| event["action"] == action && event["session_id"] == session["id"]);
        let event = found.next().unwrap_or_else(|| panic!("an event {action}"));
        let [actor, target, opener] =
            ["actor", "target", "opened_by"].map(|member| text(event, member).to_owned());
        (actor, target, opener, event["key_id"].clone())
    };
    let [alice, backend] = ["alice", "backend"].map(str::to_owned);
    let of_opener = json!(id_of(&opener));
    for (action, actor, key) in [
        ("session.opened", &backend, &of_opener),
        ("session.exchanged", &alice, &of_opener),
        ("session.ended", &alice, &of_opener),
        ("key.created", &alice, &own["id"]),
    ] {
        assert_eq!(of(action), (actor.clone(), alice.clone(), backend.clone(), key.clone()), "{action}");
    }
}

#[tokio::test]
async fn only_an_unlimited_key_with_the_scope_opens_a_session_for_a_present_user_within_its_scopes() {
    let workspace = Workspace::new().await;
    let opener = workspace.key_of("backend", &OPENER).await;
    let without = workspace.key_of("bob", &SCOPES).await;
    let token = workspace.access_token(&opener).await;
    // A user with a key, whose entry has a count.
    workspace.key_of("gone", &[]).await;
    database::mark_removed(&workspace.id, "gone", true).await;
    let open = async |credential: &str, body: &Value| {
        workspace.sessions((Method::POST, ""), Some(credential), Some(body)).await
    };
    let body = |user: &str, scopes: &[&str]| json!({"user_id": user, "scopes": scopes});
    open(&without, &body("alice", &SCOPES)).await.assert_problem(403, "insufficient_scope");
    open(&token, &body("alice", &SCOPES)).await.assert_problem(403, "insufficient_credential");
    open(&opener, &body("alice", &["orders:write"])).await.assert_problem(403, "insufficient_scope");
    open(&opener, &body("gone", &SCOPES)).await.assert_problem(409, "user_removed");
    open(&opener, &body("svc:deploy", &SCOPES)).await.assert_problem(400, "invalid_request");
    open(&workspace.admin, &body("alice", &["workspace:admin"])).await.assert_problem(400, "invalid_request");
    let limited = json!({"name": unique("limited"), "user_id": "backend", "scopes": OPENER,
        "limits": [{"calls": 100, "per": "minute"}]});
    let limited = workspace.created(limited).await;
    open(text(&limited, "key"), &body("alice", &SCOPES)).await.assert_problem(403, "limited_caller");
    let repeated = workspace
        .api
        .client()
        .request(Method::POST, format!("{}/sessions", crate::support::stack::variable("KEYGATE_API_URL")));
    let repeated = repeated.bearer_auth(&opener).header("Idempotency-Key", "a-key-that-is-long-enough");
    let repeated = repeated.json(&body("alice", &SCOPES)).send().await.expect("a response");
    assert_eq!(repeated.status(), 400, "the route repeats no response");
    // An administrator's session has what it lists, and ends with the key.
    let by_admin = workspace.session(&workspace.admin, "alice", &["keys:write"]).await;
    assert!(works(&workspace, text(&by_admin, "session")).await);
    database::mark_removed(&workspace.id, "gone", false).await;
}

#[tokio::test]
async fn only_an_administrator_grants_the_scope_that_opens_sessions() {
    let workspace = Workspace::new().await;
    let opener = workspace.key_of("backend", &OPENER).await;
    let own = workspace.key_of("backend", &["keys:write"]).await;
    let new = json!({"name": unique("another"), "scopes": ["sessions:write"]});
    workspace.create(&opener, &new).await.assert_problem(403, "insufficient_scope");
    let granted = json!({"scopes": ["keys:write", "sessions:write"]});
    workspace.update(&opener, id_of(&own), &granted).await.assert_problem(403, "insufficient_scope");
    // It may rotate and enable its own key, which has the scope already.
    assert_eq!(workspace.rotate(&opener, id_of(&opener), &json!({"overlap_seconds": 60})).await.status, 200);
    assert_eq!(workspace.update(&workspace.admin, id_of(&own), &granted).await.status, 200);
}

#[tokio::test]
async fn a_session_from_before_a_removal_stays_ended_when_its_user_is_reinstated() {
    let workspace = Workspace::new().await;
    workspace.key_of("bob", &[]).await;
    let opener = workspace.key_of("svc:pages", &["sessions:write", "keys:write"]).await;
    let fresh =
        async || text(&workspace.session(&opener, "bob", &["keys:write"]).await, "session").to_owned();
    let status = async |session: &str| workspace.list(session, "").await.status;
    let before = fresh().await;
    assert_eq!(status(&before).await, 200);

    workspace.remove("bob", "").await;
    assert_eq!(status(&before).await, 401);
    assert_eq!(workspace.call(Method::PUT, "/users/bob", &workspace.admin).await.status, 204);
    assert_eq!(status(&before).await, 401, "the wish to end it outlives the removal");
    assert_eq!(status(&fresh().await).await, 200);
    workspace.contents().await;
}

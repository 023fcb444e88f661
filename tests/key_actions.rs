//! `can`: the actions that a caller may take on a key, compared with what the requests return.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::stack::Answer;
use crate::support::workspace::{Workspace, id_of, text, unique};

const ACTIONS: [&str; 7] = ["update", "widen", "disable", "enable", "rotate", "delete", "revoke_tokens"];
const SCOPES: [&str; 3] = ["keys:read", "keys:write", "orders:read"];

/// Keys of bob, by what distinguishes them from an ordinary one.
fn targets() -> [(&'static str, Value); 5] {
    [
        ("plain", json!({})),
        ("with a scope that others lack", json!({"scopes": ["orders:write"]})),
        ("with rules", json!({"endpoints": ["GET /orders"]})),
        ("disabled", json!({})),
        ("expired", json!({"expires_in": 1})),
    ]
}

const KINDS: [&str; 8] = [
    "owner",
    "reader",
    "another user",
    "administrator",
    "token",
    "previous secret",
    "caller with rules",
    "session",
];

/// The credential of a kind of caller.
async fn caller(workspace: &Workspace, kind: &str) -> String {
    match kind {
        "owner" => workspace.key_of("bob", &SCOPES).await,
        "reader" => workspace.key_of("bob", &["keys:read"]).await,
        "another user" => workspace.key_of("carol", &SCOPES).await,
        "administrator" => workspace.admin.clone(),
        "token" => workspace.access_token(&workspace.key_of("bob", &SCOPES).await).await,
        "previous secret" => {
            let key = workspace.key_of("bob", &SCOPES).await;
            let rotated = workspace.rotate(&key, id_of(&key), &json!({"overlap_seconds": 3600})).await;
            assert_eq!(rotated.status, 200, "{rotated:?}");
            key
        }
        "caller with rules" => {
            let body = json!({"name": unique("ruled"), "user_id": "bob", "scopes": SCOPES,
                "endpoints": ["GET /api-keys/*", "PATCH /api-keys/*", "GET /orders"]});
            text(&workspace.created(body).await, "key").to_owned()
        }
        "session" => {
            let opener = workspace.key_of("svc:pages", &[&SCOPES[..], &["sessions:write"]].concat()).await;
            text(&workspace.session(&opener, "bob", &SCOPES).await, "session").to_owned()
        }
        other => panic!("no caller is called {other}"),
    }
}

async fn take(workspace: &Workspace, action: &str, caller: &str, id: &str) -> Answer {
    match action {
        "update" => workspace.update(caller, id, &json!({"description": "changed"})).await,
        "widen" => {
            workspace.update(caller, id, &json!({"expires_at": "2099-01-01T00:00:00Z", "scopes": []})).await
        }
        "disable" => workspace.update(caller, id, &json!({"disabled": true})).await,
        "enable" => workspace.update(caller, id, &json!({"disabled": false})).await,
        "rotate" => workspace.rotate(caller, id, &json!({})).await,
        "delete" => workspace.delete(caller, id).await,
        "revoke_tokens" => workspace.call(Method::DELETE, &format!("/api-keys/{id}/tokens"), caller).await,
        other => panic!("no action is called {other}"),
    }
}

/// A key of bob with a later expiry to set.
async fn target(workspace: &Workspace, name: &str, with: &Value) -> String {
    let mut body = json!({"name": unique("target"), "user_id": "bob", "expires_in": 3600});
    body.as_object_mut().expect("an object").extend(with.as_object().expect("an object").clone());
    let id = text(&workspace.created(body).await, "id").to_owned();
    if name == "disabled" {
        let disabled = workspace.update(&workspace.admin, &id, &json!({"disabled": true})).await;
        assert_eq!(disabled.status, 200, "{disabled:?}");
    }
    if name == "expired" {
        workspace.until_expired(&id).await;
    }
    id
}

/// Takes each action on a new key of its own, because an action may end the key. Returns how many were listed.
async fn listed_actions(
    workspace: Workspace,
    (kind, credential): (&str, String),
    (name, with): (&str, Value),
) -> usize {
    let mut listed = 0;
    for action in ACTIONS {
        let id = target(&workspace, name, &with).await;
        let shown = workspace.get(&credential, &id).await;
        assert_eq!(shown.status, 200, "{kind}: {name}: {shown:?}");
        let can = shown.json()["can"].clone();
        let is_listed = can.as_array().expect("a list").contains(&json!(action));
        // A request that changes nothing is no action, and requires less.
        if matches!((action, name == "disabled"), ("disable", true) | ("enable", false)) {
            assert!(!is_listed, "{kind}: {name}: {action}");
            continue;
        }
        let response = take(&workspace, action, &credential, &id).await;
        let expected: &[u16] = if is_listed { &[200, 204] } else { &[403] };
        assert!(expected.contains(&response.status), "{kind}: {name}: {action}: {can} {response:?}");
        listed += usize::from(is_listed);
    }
    listed
}

#[tokio::test]
async fn each_listed_action_succeeds_and_every_other_one_is_refused() {
    for kind in KINDS {
        let workspace = Workspace::new().await;
        let credential = caller(&workspace, kind).await;
        let mut checks = JoinSet::new();
        for target in targets() {
            checks.spawn(listed_actions(workspace.clone(), (kind, credential.clone()), target));
        }
        let listed: usize = checks.join_all().await.into_iter().sum();
        let has_none = matches!(kind, "reader" | "another user");
        assert_eq!(listed == 0, has_none, "{kind} has {listed} actions");
        workspace.contents().await;
    }
}

#[tokio::test]
async fn a_previous_secret_has_no_action_on_its_own_key() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &SCOPES).await;
    let rotated = workspace.rotate(&key, id_of(&key), &json!({"overlap_seconds": 3600})).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    assert_eq!(workspace.get(&key, id_of(&key)).await.json()["can"], json!([]));
    let page = workspace.list(&key, "?user_id=bob").await.json();
    assert_eq!(page["items"][0]["can"], json!([]));
    workspace.contents().await;
}

//! One team's use of Keygate through the deployed APIs, from the first key to the sunset of its legacy keys. `make e2e` runs
//! it after the other tests, because it moves the sunset of all legacy keys of the stack.

use serde_json::{Value, json};

use crate::support::emulator::{run, set_variable};
use crate::support::eventually;
use crate::support::legacy::counts;
use crate::support::workspace::{Workspace, id_of, text};

/// Whether the team's HTTP API lets a credential in.
async fn opens(workspace: &Workspace, credential: &str) -> bool {
    let answer = workspace.api.http_example(Some(&format!("Bearer {credential}"))).await;
    assert!(matches!(answer.status, 200 | 403), "{answer:?}");
    answer.status == 200
}

/// The actor and the target of each event that the trail has for a query, newest first.
async fn told(workspace: &Workspace, query: &str) -> Vec<(String, String)> {
    let page = workspace.activity(query).await;
    let events = page["items"].as_array().expect("items").iter();
    events.map(|event| (text(event, "actor").to_owned(), text(event, "target").to_owned())).collect()
}

fn pair(actor: &str, target: &str) -> (String, String) {
    (actor.to_owned(), target.to_owned())
}

#[tokio::test]
async fn a_team_adopts_keygate_and_the_trail_tells_its_story() {
    // An operator makes the first administrator's key.
    let workspace = Workspace::new().await;
    let api = &workspace.api;

    // The keys that people had before continue to work.
    let old = |digit: char| format!("old-{}", String::from(digit).repeat(32));
    let (old_bobs, old_carols) = (old('b'), old('c'));
    let keys = json!([
        {"key": old_bobs, "user_id": "bob", "name": "bob's old key", "scopes": ["orders:read"]},
        {"key": old_carols, "user_id": "carol", "name": "carol's old key"},
    ]);
    let import = json!({"import": {"workspace_id": workspace.id, "keys": keys}});
    assert_eq!(counts(&run(api, "ImportLegacyKeys", &import).await), [2, 0, 0]);
    let answer = api.http_example(Some(&format!("Bearer {old_bobs}"))).await;
    let caller = &answer.json()["caller"];
    assert_eq!((&caller["userId"], &caller["credential"]), (&json!("bob"), &json!("legacy_key")));
    assert!(caller["legacySunset"].is_string(), "{caller}");

    // People get keys with which they can create keys.
    let bob = workspace.key_of("bob", &["keys:read", "keys:write", "orders:read"]).await;
    let carol = workspace.key_of("carol", &["keys:write"]).await;
    let nightly = json!({"name": "Nightly export", "scopes": ["orders:read"], "expires_in": 3});
    let nightly = workspace.create(&bob, &nightly).await.json();
    let (nightly_id, nightly) = (text(&nightly, "id"), text(&nightly, "key"));
    let token = workspace.access_token(&bob).await;
    for credential in [&bob, &carol, nightly, &token, &old_carols] {
        assert!(opens(&workspace, credential).await, "{credential}");
    }

    // Carol leaves. All her credentials end, and she gets no new key.
    let left = workspace.remove("carol", "").await;
    assert!(left.keys.iter().all(|key| key["user_id"] != "carol"));
    for credential in [&carol, &old_carols] {
        assert!(!opens(&workspace, credential).await);
    }
    let new = json!({"name": "one more", "user_id": "carol"});
    workspace.create(&workspace.admin, &new).await.assert_problem(409, "user_removed");

    // A key expires, and its expiry is announced.
    eventually("the nightly key expires", async || !opens(&workspace, nightly).await).await;
    let of_nightly = format!("?key_id={nightly_id}&action=key.expired");
    eventually("the expiry is announced", async || {
        run(api, "AnnounceLifecycle", &json!({})).await;
        !told(&workspace, &of_nightly).await.is_empty()
    })
    .await;

    // The sunset passes.
    assert!(opens(&workspace, &old_bobs).await);
    let sunset = set_variable(api, "AuthorizeFunction", "LEGACY_SUNSET", "2026-01-01T00:00:00Z").await;
    assert!(!opens(&workspace, &old_bobs).await, "it is over for every legacy key");
    assert!(opens(&workspace, &bob).await && opens(&workspace, &token).await, "and for nothing else");
    set_variable(api, "AuthorizeFunction", "LEGACY_SUNSET", &sunset).await;

    // The audit trail has all of this.
    assert_eq!(told(&workspace, "?action=legacy.imported").await, [pair("keygate:import", "keygate:import")]);
    let made = [pair("bob", "bob"), pair("admin", "carol"), pair("admin", "bob")];
    assert_eq!(told(&workspace, "?action=key.created").await, made);
    assert_eq!(told(&workspace, "?action=user.removed").await, [pair("admin", "carol")]);
    for action in ["key.deleted", "legacy.deleted"] {
        assert_eq!(told(&workspace, &format!("?action={action}")).await, [pair("admin", "carol")]);
    }
    assert_eq!(told(&workspace, &of_nightly).await, [pair("keygate:clock", "bob")]);
    let calls = workspace.activity("?actor=bob&action=key.used&outcome=allowed").await;
    let credentials: Vec<&Value> =
        calls["items"].as_array().expect("items").iter().map(|call| &call["credential"]).collect();
    for kind in ["api_key", "access_token", "legacy_key"] {
        assert!(credentials.contains(&&json!(kind)), "{kind}: {calls}");
    }
    assert_eq!(told(&workspace, "?actor=bob&action=token.issued").await, [pair("bob", "bob")]);
    let of_bob = format!("?key_id={}", id_of(&bob));
    assert!(!told(&workspace, &of_bob).await.is_empty());
    workspace.contents().await;
}

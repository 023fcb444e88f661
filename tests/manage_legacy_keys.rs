//! `GET /legacy-keys`, `GET` and `DELETE /legacy-keys/{id}`: single legacy keys are listed, shown and ended.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::{everything, to_json};
use crate::support::eventually_some;
use crate::support::function::{Disturbance, Function, request};
use crate::support::legacy::{LEGACY, import, imported, legacy_id, legacy_key};
use crate::support::stack::Answer;
use crate::support::workspace::{Workspace, id_of, text};

async fn list(workspace: &Workspace, key: &str, query: &str) -> Answer {
    workspace.call(Method::GET, &format!("/legacy-keys{query}"), key).await
}

async fn get(workspace: &Workspace, key: &str, id: &str) -> Answer {
    workspace.call(Method::GET, &format!("/legacy-keys/{id}"), key).await
}

async fn delete(workspace: &Workspace, key: &str, id: &str) -> Answer {
    workspace.call(Method::DELETE, &format!("/legacy-keys/{id}"), key).await
}

/// The ids on a page, which must have succeeded.
#[track_caller]
fn ids(page: &Answer) -> Vec<String> {
    assert_eq!(page.status, 200, "{page:?}");
    let page = page.json();
    page["items"].as_array().expect("items").iter().map(|key| text(key, "id").to_owned()).collect()
}

/// Whether a legacy key is stored.
async fn is_stored(id: &str) -> bool {
    everything("KEYGATE_LEGACY_KEYS_TABLE").await.iter().any(|item| to_json(item)["key_id"] == id)
}

#[tokio::test]
async fn a_legacy_key_is_listed_and_shown_with_everything_but_its_hash() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &["orders:read", "orders:write"]).await;
    let id = legacy_id(&workspace, &key).await;
    // The call of `legacy_id` is a use.
    let shown = eventually_some("the last use is stored", async || {
        let shown = get(&workspace, &workspace.admin, &id).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        shown.json()["last_used_at"].is_string().then_some(shown)
    })
    .await;
    assert_eq!(shown.header("cache-control"), Some("no-store"));
    let page = list(&workspace, &workspace.admin, "").await;
    assert_eq!(ids(&page), [id.as_str()]);
    let mut shown = shown.json();
    assert_eq!(page.json()["items"][0], shown);
    for time in ["imported_at", "last_used_at"] {
        let time = shown.as_object_mut().expect("an object").remove(time).expect(time);
        chrono::DateTime::parse_from_rfc3339(time.as_str().expect("a text")).expect("a time");
    }
    let expected = json!({"id": id, "name": "old", "user_id": "bob", "scopes": ["orders:read", "orders:write"],
        "status": "active", "sunset": LEGACY[0].1, "deprecated": true});
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn pages_of_legacy_keys_have_each_key_once_in_both_directions_and_no_cursor_holds_a_hash() {
    let workspace = Workspace::new().await;
    for user in ["bob", "carol"] {
        let keys: Value =
            (0..4).map(|_| json!({"key": legacy_key(), "user_id": user, "name": "old"})).collect();
        import(&workspace, keys).await;
    }
    let stored = everything("KEYGATE_LEGACY_KEYS_TABLE").await;
    let hashes: Vec<_> = stored.iter().map(|item| item["hash"].as_b().expect("bytes").clone()).collect();
    let own: Vec<_> = stored.iter().map(to_json).filter(|key| key["workspace_id"] == workspace.id).collect();
    for (filter, count) in [("", 8), ("user_id=bob&", 4)] {
        let mut expected: Vec<_> = own
            .iter()
            .filter(|key| filter.is_empty() || key["user_id"] == "bob")
            .map(|key| text(key, "key_id").to_owned())
            .collect();
        expected.sort_by(|one, other| other.cmp(one));
        assert_eq!(expected.len(), count);
        let (mut pages, mut rest) = (Vec::new(), String::new());
        loop {
            let page = list(&workspace, &workspace.admin, &format!("?{filter}limit=3{rest}")).await;
            pages.push(ids(&page));
            assert!(pages.len() <= count, "there are more pages than keys: {pages:?}");
            let page = page.json();
            for name in ["next_cursor", "prev_cursor"] {
                let Some(cursor) = page[name].as_str() else { continue };
                let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).expect("base64")).expect("text");
                assert!(hashes.iter().all(|hash| !text.contains(&STANDARD.encode(hash))), "{text}");
            }
            if page["next_cursor"].is_null() {
                // And back again from the last page.
                let back = format!("?{filter}limit=3&cursor={}", text(&page, "prev_cursor"));
                let back = list(&workspace, &workspace.admin, &back).await;
                assert_eq!(ids(&back), pages[pages.len() - 2]);
                break;
            }
            rest = format!("&cursor={}", text(&page, "next_cursor"));
        }
        assert_eq!(pages.concat(), expected, "the ones imported last first");
    }
    let page = list(&workspace, &workspace.admin, "?limit=3").await.json();
    let of_another_query = format!("?user_id=bob&cursor={}", text(&page, "next_cursor"));
    let answer = list(&workspace, &workspace.admin, &of_another_query).await;
    assert_eq!(answer.invalid_places(), ["cursor"]);
    let wrong = list(&workspace, &workspace.admin, "?limit=0&status=active&user_id=a%20b").await;
    let places: BTreeSet<_> = wrong.invalid_places().into_iter().collect();
    assert_eq!(places, BTreeSet::from(["limit".to_owned(), "status".to_owned(), "user_id".to_owned()]));
}

#[tokio::test]
async fn keys_write_alone_shows_a_callers_own_legacy_keys_and_no_others() {
    let workspace = Workspace::new().await;
    let (bobs, carols) = (imported(&workspace, "bob", &[]).await, imported(&workspace, "carol", &[]).await);
    let (bobs, carols) = (legacy_id(&workspace, &bobs).await, legacy_id(&workspace, &carols).await);
    let writer = workspace.key_of("bob", &["keys:write"]).await;
    for query in ["", "?user_id=bob"] {
        assert_eq!(ids(&list(&workspace, &writer, query).await), [bobs.as_str()], "{query}");
    }
    assert_eq!(get(&workspace, &writer, &bobs).await.status, 200);
    list(&workspace, &writer, "?user_id=carol").await.assert_problem(403, "insufficient_scope");
    get(&workspace, &writer, &carols).await.assert_problem(403, "insufficient_scope");
    let reader = workspace.key_of("bob", &["keys:read"]).await;
    assert_eq!(ids(&list(&workspace, &reader, "").await).len(), 2);
    delete(&workspace, &reader, &bobs).await.assert_problem(403, "insufficient_scope");
    delete(&workspace, &writer, &carols).await.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn a_deleted_legacy_key_is_refused_at_once_and_everything_else_of_its_user_goes_on() {
    let workspace = Workspace::new().await;
    let keys = [imported(&workspace, "bob", &[]).await, imported(&workspace, "bob", &[]).await];
    let api_key = workspace.key_of("bob", &["keys:write"]).await;
    let id = legacy_id(&workspace, &keys[0]).await;
    workspace.delete(&workspace.admin, &id).await.assert_problem(404, "not_found");
    assert!(workspace.accepts(&keys[0]).await, "a legacy key is no API key");

    assert_eq!(delete(&workspace, &api_key, &id).await.status, 204);
    assert!(!workspace.accepts(&keys[0]).await);
    assert_eq!(workspace.api.http_example(Some(&format!("Bearer {}", keys[0]))).await.status, 403);
    assert!(workspace.accepts(&keys[1]).await && workspace.accepts(&api_key).await);
    for answer in [
        get(&workspace, &workspace.admin, &id).await,
        delete(&workspace, &workspace.admin, &id).await,
        get(&workspace, &workspace.admin, "no-id").await,
        get(&workspace, &workspace.admin, id_of(&api_key)).await,
    ] {
        answer.assert_problem(404, "not_found");
        assert_eq!(answer.json()["detail"], "The legacy key does not exist in this workspace.");
    }
    assert_eq!(ids(&list(&workspace, &workspace.admin, "?user_id=bob").await).len(), 1);
    assert_eq!(workspace.contents().await.events_of("legacy.deleted", &json!(id)), 1);
    let trail = workspace.activity(&format!("?key_id={id}&action=legacy.deleted")).await;
    let event = &trail["items"][0];
    assert_eq!((&event["actor"], &event["target"]), (&json!("bob"), &json!("bob")), "{trail}");

    // A deleted key can be imported again as another legacy key, which corrects a wrong import.
    let again = json!([{"key": keys[0], "user_id": "carol", "name": "corrected"}]);
    assert_eq!(import(&workspace, again).await["imported"], 1);
    assert_ne!(legacy_id(&workspace, &keys[0]).await, id);
}

#[tokio::test]
async fn a_legacy_key_learns_its_id_and_can_end_itself() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &["keys:write"]).await;
    let id = legacy_id(&workspace, &key).await;
    assert_eq!(get(&workspace, &key, &id).await.json()["id"], json!(id));
    assert_eq!(delete(&workspace, &key, &id).await.status, 204);
    assert_eq!(get(&workspace, &key, &id).await.status, 401);
}

/// The event of the administrator's request about a legacy key.
fn event(workspace: &Workspace, method: &str, id: Option<&str>) -> Value {
    let resource = if id.is_some() { "/legacy-keys/{id}" } else { "/legacy-keys" };
    request(workspace, (method, resource), id, &[], &Value::Null)
}

#[tokio::test]
async fn a_caller_who_was_removed_deletes_no_legacy_key() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &[]).await;
    let id = legacy_id(&workspace, &key).await;
    let other = workspace.key_of("officer", &["users:write"]).await;
    let removal = workspace.call(Method::DELETE, "/users/admin", &other).await;
    assert_eq!(removal.status, 202, "{removal:?}");
    // The authorizer has accepted this request just before the removal.
    let function = Function::start("delete-legacy-key", &LEGACY[..1]).await;
    let answer = function.invoke(event(&workspace, "DELETE", Some(&id))).await.expect("a response");
    assert_eq!(answer["statusCode"], 403, "{answer}");
    assert!(answer.to_string().contains("caller_removed"), "{answer}");
    assert!(workspace.accepts(&key).await);
    assert_eq!(workspace.when_cleared("admin").await.events_of("legacy.deleted", &json!(id)), 0);
}

#[tokio::test]
async fn a_deletion_that_is_interrupted_is_done_with_its_event_or_not_at_all() {
    for (disturbance, is_done) in [(Disturbance::KillBefore, false), (Disturbance::KillAfter, true)] {
        let workspace = Workspace::new().await;
        let key = imported(&workspace, "bob", &[]).await;
        let id = legacy_id(&workspace, &key).await;
        let function = Function::start("delete-legacy-key", &LEGACY[..1]).await;
        function.disturb(disturbance);
        function.invoke_until_killed(event(&workspace, "DELETE", Some(&id))).await;
        assert_eq!(is_stored(&id).await, !is_done, "{disturbance:?}");
        let events = workspace.contents().await.events_of("legacy.deleted", &json!(id));
        assert_eq!(events, usize::from(is_done), "{disturbance:?}");
    }
}

/// The key is deleted and imported again between the read and the deletion.
#[tokio::test]
async fn a_key_that_was_imported_anew_meanwhile_is_not_deleted_in_place_of_the_one_that_was_meant() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &[]).await;
    let id = legacy_id(&workspace, &key).await;
    let function = Function::start("delete-legacy-key", &LEGACY[..1]).await;
    let answer = function.invoke_while(event(&workspace, "DELETE", Some(&id)), async {
        assert_eq!(delete(&workspace, &workspace.admin, &id).await.status, 204);
        let again = json!([{"key": key, "user_id": "carol", "name": "anew"}]);
        assert_eq!(import(&workspace, again).await["imported"], 1);
    });
    let answer = Box::pin(answer).await;
    assert_eq!(answer["statusCode"], 404, "{answer}");
    assert!(workspace.accepts(&key).await);
    assert_eq!(workspace.contents().await.events_of("legacy.deleted", &json!(id)), 1);
}

#[tokio::test]
async fn where_no_sunset_is_configured_there_are_no_legacy_keys_and_nothing_is_read() {
    let workspace = Workspace::new().await;
    let id = id_of(&workspace.admin);
    for (name, method, id) in [
        ("list-legacy-keys", "GET", None),
        ("get-legacy-key", "GET", Some(id)),
        ("delete-legacy-key", "DELETE", Some(id)),
    ] {
        let function = Function::start(name, &[("LEGACY_SUNSET", ""), ("LEGACY_KEYS_TABLE", "")]).await;
        let answer = function.invoke(event(&workspace, method, id)).await.expect("a response");
        assert_eq!(answer["statusCode"], 404, "{answer}");
        let body: Value = serde_json::from_str(text(&answer, "body")).expect("JSON");
        assert_eq!(body["detail"], "This deployment accepts no legacy keys.");
        assert!(function.take_calls().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn after_the_sunset_legacy_keys_are_shown_as_such() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &[]).await;
    let id = legacy_id(&workspace, &key).await;
    let sunset = ("LEGACY_SUNSET", "2026-01-01T00:00:00Z");
    for (name, id) in [("list-legacy-keys", None), ("get-legacy-key", Some(id.as_str()))] {
        let function = Function::start(name, &[sunset]).await;
        let answer = function.invoke(event(&workspace, "GET", id)).await.expect("a response");
        let body: Value = serde_json::from_str(text(&answer, "body")).expect("JSON");
        let shown = if id.is_some() { &body } else { &body["items"][0] };
        assert_eq!((&shown["status"], &shown["sunset"]), (&json!("sunset"), &json!(sunset.1)), "{body}");
    }
}

/// The indexes hold the hash because it is the table's key. So no query may ask for it.
#[tokio::test]
async fn only_deleting_asks_for_the_hash_of_a_legacy_key() {
    let workspace = Workspace::new().await;
    let key = imported(&workspace, "bob", &[]).await;
    let id = legacy_id(&workspace, &key).await;
    for (name, method, id, asks) in [
        ("list-legacy-keys", "GET", None, false),
        ("get-legacy-key", "GET", Some(id.as_str()), false),
        ("delete-legacy-key", "DELETE", Some(id.as_str()), true),
    ] {
        let function = Function::start(name, &LEGACY[..1]).await;
        function.take_calls();
        function.invoke(event(&workspace, method, id)).await.expect("a response");
        let calls = function.take_calls();
        let queries: Vec<_> = calls.iter().filter(|(operation, _)| operation == "Query").collect();
        assert_eq!(queries.len(), 1, "{name}: {calls:?}");
        let projected = text(&queries[0].1, "ProjectionExpression");
        assert_eq!(projected.contains("hash"), asks, "{name}: {projected}");
        assert!(!projected.contains("pepper"), "{name}: {projected}");
    }
}

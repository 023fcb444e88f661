//! `GET /activity`.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::{calls, end_retention_of_activity};
use crate::support::eventually;
use crate::support::openapi::paths;
use crate::support::workspace::{Workspace, id_of, text};

fn events(page: &Value) -> Vec<Value> {
    page["items"].as_array().expect("items").clone()
}

fn actions(page: &Value) -> Vec<String> {
    events(page).iter().map(|event| text(event, "action").to_owned()).collect()
}

/// The actions that the `OpenAPI` document lists for the filter.
fn documented_actions() -> BTreeSet<String> {
    let paths = paths("openapi.yaml");
    let filter = paths.split_once("        - name: action\n").expect("the filter").1;
    let names = filter.split_once("            enum:\n").expect("its values").1;
    names.lines().map_while(|line| line.strip_prefix("              - ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_action_that_is_documented_or_published_can_be_asked_for() {
    let documented = documented_actions();
    let events = format!("{}/../docs/events.md", env!("CARGO_MANIFEST_DIR"));
    let events = std::fs::read_to_string(events).expect("the page");
    // The rows of the table of events begin with their names.
    let rows = events.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let published: BTreeSet<_> = rows
        .flat_map(|(names, _)| names.split("`, `"))
        .filter(|name| name.contains('.'))
        .map(str::to_owned)
        .collect();
    assert!(published.len() > 15, "{published:?}");
    assert!(published.is_subset(&documented), "{:?}", published.difference(&documented));
    let workspace = Workspace::new().await;
    for action in &documented {
        workspace.activity(&format!("?actor=admin&action={action}")).await;
    }
}

#[tokio::test]
async fn changes_are_listed_newest_first_page_by_page_and_back() {
    let workspace = Workspace::new().await;
    let bob = workspace.created(json!({"name": "a", "user_id": "bob"})).await;
    let id = text(&bob, "id");
    workspace.update(&workspace.admin, id, &json!({"description": "b"})).await.assert_succeeded();
    workspace.rotate(&workspace.admin, id, &json!({})).await.assert_succeeded();
    workspace.delete(&workspace.admin, id).await.assert_succeeded();
    workspace.remove("bob", "").await;
    let expected =
        ["user.removed", "key.deleted", "key.rotated", "key.updated", "key.created", "key.bootstrapped"];
    let everything = workspace.activity("").await;
    assert_eq!(actions(&everything), expected);
    assert_eq!((&everything["next_cursor"], &everything["prev_cursor"]), (&Value::Null, &Value::Null));

    let mut pages = vec![workspace.activity("?limit=4").await];
    while let Some(cursor) = pages[pages.len() - 1]["next_cursor"].as_str() {
        let query = format!("?limit=4&cursor={cursor}");
        pages.push(workspace.activity(&query).await);
        assert!(pages.len() <= expected.len(), "there are more pages than events");
    }
    assert_eq!(pages.iter().flat_map(events).collect::<Vec<_>>(), events(&everything));
    let cursor = text(&pages[1], "prev_cursor");
    let back = workspace.activity(&format!("?limit=4&cursor={cursor}")).await;
    assert_eq!(events(&back), events(&pages[0]));
    workspace.contents().await;
}

#[tokio::test]
async fn an_event_has_actor_action_target_and_source() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "a", "user_id": "bob"})).await;
    let event = events(&workspace.activity("?limit=1").await).remove(0);
    for (member, value) in [
        ("actor", json!("admin")),
        ("action", json!("key.created")),
        ("key_id", created["id"].clone()),
        ("target", json!("bob")),
        ("method", json!("POST")),
        ("path", json!("/api-keys")),
        ("outcome", json!("done")),
        ("reason", Value::Null),
        ("count", json!(1)),
    ] {
        assert_eq!(event[member], value, "{member}: {event}");
    }
    assert!(event["source"].is_string() && text(&event, "at").ends_with('Z'), "{event}");
    workspace.remove("bob", "").await;
    let removed = events(&workspace.activity("?action=user.removed").await).remove(0);
    assert_eq!((&removed["key_id"], &removed["target"]), (&Value::Null, &json!("bob")));
}

#[tokio::test]
async fn calls_are_listed_by_actor_and_by_key_and_nowhere_else() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["keys:write"]).await;
    assert!(workspace.accepts(&key).await);
    let own = workspace.create(&key, &json!({"name": "bob's own"})).await.json();
    eventually("both calls are written", async || calls(&workspace.id, "bob").await.len() == 2).await;

    let id = id_of(&key);
    assert_eq!(actions(&workspace.activity("").await), ["key.created", "key.created", "key.bootstrapped"]);
    let of_bob = workspace.activity("?actor=bob").await;
    let mut of_bob = actions(&of_bob);
    of_bob.sort_unstable();
    assert_eq!(of_bob, ["key.created", "key.used", "key.used"]);
    let of_key = workspace.activity(&format!("?key_id={id}")).await;
    assert_eq!(actions(&of_key), ["key.used", "key.used", "key.created"], "{of_key}");
    let both = workspace.activity(&format!("?key_id={}&actor=bob", text(&own, "id"))).await;
    assert_eq!(actions(&both), ["key.created"]);
    assert!(actions(&workspace.activity(&format!("?key_id={id}&actor=carol")).await).is_empty());

    for query in ["?actor=bob&action=key.used", "?actor=bob&outcome=allowed"] {
        assert_eq!(actions(&workspace.activity(query).await), ["key.used", "key.used"], "{query}");
    }
    assert_eq!(actions(&workspace.activity("?actor=bob&outcome=done").await), ["key.created"]);
    assert!(actions(&workspace.activity("?actor=bob&outcome=refused").await).is_empty());
    for (query, place) in [("?action=key.used", "action"), ("?outcome=refused", "outcome")] {
        let answer = workspace.call(Method::GET, &format!("/activity{query}"), &workspace.admin).await;
        assert_eq!(answer.invalid_places(), [place]);
    }
}

#[tokio::test]
async fn a_time_range_includes_its_begin_and_excludes_its_end() {
    let workspace = Workspace::new().await;
    for name in ["a", "b"] {
        workspace.created(json!({"name": name})).await;
    }
    let everything = events(&workspace.activity("").await);
    let at = |index: usize| -> DateTime<Utc> { text(&everything[index], "at").parse().expect("a time") };
    let (newest, middle) = (at(0), at(1));
    let shown = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let (later, end) = (shown(middle + TimeDelta::milliseconds(1)), shown(newest));
    let middle = shown(middle);
    for (query, expected) in [
        (format!("?from={middle}"), 2),
        (format!("?from={later}"), 1),
        (format!("?to={middle}"), 1),
        (format!("?to={later}"), 2),
        (format!("?from={middle}&to={end}"), 1),
        (format!("?from={middle}&to={middle}"), 0),
        ("?to=0001-01-01T00:00:00Z".to_owned(), 0),
        ("?from=9999-12-31T23:59:59.9999Z".to_owned(), 0),
    ] {
        let page = workspace.activity(&query).await;
        assert_eq!(events(&page).len(), expected, "{query}: {page}");
    }
    let page = workspace.activity(&format!("?from={middle}&limit=1")).await;
    let rest =
        workspace.activity(&format!("?from={middle}&limit=1&cursor={}", text(&page, "next_cursor"))).await;
    assert_eq!((events(&rest).len(), &rest["next_cursor"]), (1, &Value::Null));
}

#[tokio::test]
async fn a_workspace_never_sees_the_events_of_another() {
    let (one, other) = tokio::join!(Workspace::new(), Workspace::new());
    let key = one.key_of("bob", &[]).await;
    assert!(one.accepts(&key).await);
    assert_eq!(actions(&other.activity("").await), ["key.bootstrapped"]);
    for query in [
        format!("?key_id={}", id_of(&key)),
        format!("?key_id={}&limit=1", id_of(&key)),
        "?actor=bob".to_owned(),
    ] {
        let page = other.activity(&query).await;
        assert_eq!(page, json!({"items": [], "next_cursor": null, "prev_cursor": null}), "{query}");
    }
    let cursor = text(&one.activity("?limit=1").await, "next_cursor").to_owned();
    for query in [format!("?cursor={cursor}"), "?cursor=bm90".to_owned()] {
        let answer = other.call(Method::GET, &format!("/activity{query}"), &other.admin).await;
        assert_eq!(answer.invalid_places(), ["cursor"]);
    }
    // Of the same workspace, but of another query.
    let answer = one.call(Method::GET, &format!("/activity?actor=bob&cursor={cursor}"), &one.admin).await;
    assert_eq!(answer.invalid_places(), ["cursor"]);
}

#[tokio::test]
async fn the_trail_takes_the_scope_activity_read() {
    let workspace = Workspace::new().await;
    let (reader, auditor) = tokio::join!(
        workspace.key_of("bob", &["keys:read", "keys:write", "users:write"]),
        workspace.key_of("carol", &["activity:read"])
    );
    workspace.call(Method::GET, "/activity", &reader).await.assert_problem(403, "insufficient_scope");
    let page = workspace.call(Method::GET, "/activity", &auditor).await;
    assert_eq!((page.status, actions(&page.json()).len()), (200, 3));
}

#[tokio::test]
async fn events_past_their_retention_are_gone() {
    let workspace = Workspace::in_which_time_passes().await;
    workspace.created(json!({"name": "old"})).await;
    end_retention_of_activity(&workspace.id).await;
    let new = workspace.created(json!({"name": "new"})).await;
    let page = workspace.activity("?limit=1").await;
    assert_eq!(events(&page)[0]["key_id"], new["id"]);
    assert_eq!(events(&workspace.activity("").await).len(), 1);
}

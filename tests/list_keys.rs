//! `GET /api-keys`.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::eventually;
use crate::support::workspace::{Workspace, id_of, keys_url, text};

fn ids(page: &Value) -> Vec<String> {
    page["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|key| key["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test]
async fn keys_are_listed_newest_first_page_by_page() {
    let workspace = Workspace::new().await;
    let mut expected = Vec::new();
    for index in 0..7 {
        let created = workspace.created(json!({"name": format!("key {index}")})).await;
        expected.insert(0, created["id"].as_str().expect("an id").to_owned());
    }
    let everything = workspace.list(&workspace.admin, "").await.json();
    assert_eq!(ids(&everything)[..7], expected);
    assert_eq!(everything["next_cursor"], Value::Null);
    assert_eq!(ids(&everything).len(), 8, "the administrator's key is the oldest");

    for limit in [1, 3, 4, 8, 100] {
        let mut walked = Vec::new();
        let mut query = format!("?limit={limit}");
        loop {
            let page = workspace.list(&workspace.admin, &query).await.json();
            assert!(ids(&page).len() <= limit && !ids(&page).is_empty(), "{page}");
            walked.extend(ids(&page));
            assert!(walked.len() <= ids(&everything).len(), "the pages show keys again: {walked:?}");
            match page["next_cursor"].as_str() {
                Some(cursor) => query = format!("?limit={limit}&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(walked, ids(&everything), "{limit} at a time");
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_listed_key_shows_every_field_except_its_hashes() {
    let workspace = Workspace::new().await;
    let mut created =
        workspace.created(json!({"name": "ci", "scopes": ["a:b"], "expires_in": 60, "user_id": "bob"})).await;
    for detail in ["key", "previous_expires_at"] {
        created.as_object_mut().expect("an object").remove(detail);
    }
    created["can"] = json!(["update", "widen", "disable", "rotate", "delete", "revoke_tokens"]);
    let page = workspace.list(&workspace.admin, "?limit=1").await.json();
    assert_eq!(page["items"][0], created);
    workspace.contents().await;
}

#[tokio::test]
async fn a_workspace_never_sees_the_keys_of_another() {
    let (one, other) = tokio::join!(Workspace::new(), Workspace::new());
    for index in 0..3 {
        one.created(json!({"name": format!("key {index}")})).await;
    }
    assert_eq!(ids(&other.list(&other.admin, "").await.json()).len(), 1);

    let page = one.list(&one.admin, "?limit=1").await.json();
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let answer = other.list(&other.admin, &format!("?limit=1&cursor={cursor}")).await;
    assert_eq!(answer.invalid_places(), ["cursor"]);
}

#[tokio::test]
async fn listing_takes_the_scope_to_read_keys() {
    let workspace = Workspace::new().await;
    let reader = workspace.key_of("bob", &["keys:read"]).await;
    let other = workspace.key_of("bob", &["orders:read", "users:write"]).await;
    assert_eq!(workspace.list(&reader, "").await.status, 200);
    workspace.list(&other, "").await.assert_problem(403, "insufficient_scope");
    workspace.contents().await;
}

/// Callers may see the keys that they may change and delete.
#[tokio::test]
async fn with_keys_write_alone_a_caller_reads_their_own_keys_and_no_others() {
    let workspace = Workspace::new().await;
    let mut own = Vec::new();
    for name in ["delta", "alpha", "Charlie", "bravo", "echo"] {
        let key = json!({"name": name, "user_id": "bob", "scopes": ["keys:write"]});
        own.push(workspace.created(key).await);
        workspace.key_of("carol", &["keys:write"]).await;
    }
    let (caller, id) = (text(&own[0], "key"), text(&own[0], "id"));
    let carols = workspace.key_of("carol", &["keys:read"]).await;
    for (sort, expected) in [
        ("name&order=asc", ["alpha", "bravo", "Charlie", "delta", "echo"]),
        ("name&order=desc", ["echo", "delta", "Charlie", "bravo", "alpha"]),
        ("created_at&order=asc", ["delta", "alpha", "Charlie", "bravo", "echo"]),
        ("created_at", ["echo", "bravo", "Charlie", "alpha", "delta"]),
    ] {
        let mut cursor = String::new();
        let mut names = Vec::new();
        loop {
            let page = workspace.list(caller, &format!("?sort={sort}&limit=2{cursor}")).await.json();
            names.extend(
                page["items"].as_array().expect("items").iter().map(|key| text(key, "name").to_owned()),
            );
            assert!(names.len() <= expected.len(), "the pages show keys again: {names:?}");
            let Some(next) = page["next_cursor"].as_str() else {
                // And back again.
                let back = page["prev_cursor"].as_str().expect("a way back");
                let page =
                    workspace.list(caller, &format!("?sort={sort}&limit=2&cursor={back}")).await.json();
                let before =
                    page["items"].as_array().expect("items").iter().map(|key| text(key, "name").to_owned());
                assert_eq!(before.collect::<Vec<_>>(), names[2..4], "{page}");
                break;
            };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(names, expected, "{sort}");
    }
    let filtered = workspace.list(caller, "?name=a&user_id=bob&sort=name").await.json();
    let names = filtered["items"].as_array().expect("items").iter().map(|key| text(key, "name"));
    assert_eq!(names.collect::<Vec<_>>(), ["alpha", "bravo", "Charlie", "delta"]);
    workspace.list(caller, "?user_id=carol").await.assert_problem(403, "insufficient_scope");

    assert_eq!(workspace.get(caller, id).await.status, 200);
    assert_eq!(workspace.list_tokens(caller, id, "").await.status, 200);
    let carols = id_of(&carols);
    workspace.get(caller, carols).await.assert_problem(403, "insufficient_scope");
    workspace.list_tokens(caller, carols, "").await.assert_problem(403, "insufficient_scope");
    workspace.contents().await;
}

#[tokio::test]
async fn an_expired_key_is_listed_as_expired_until_it_is_gone() {
    let workspace = Workspace::in_which_time_passes().await;
    let created = workspace.created(json!({"name": "short", "expires_in": 1})).await;
    let status = || async {
        let page = workspace.list(&workspace.admin, "").await.json();
        let key =
            page["items"].as_array().expect("items").iter().find(|key| key["id"] == created["id"]).cloned();
        key.map(|key| key["status"].as_str().expect("a status").to_owned())
    };
    eventually("the key expires", async || status().await.as_deref() != Some("active")).await;
    assert_eq!(status().await.as_deref(), Some("expired"));

    crate::support::database::end_retention(created["id"].as_str().expect("an id")).await;
    assert_eq!(status().await, None);
}

#[tokio::test]
async fn an_invalid_query_is_a_400_that_names_every_parameter() {
    let workspace = Workspace::new().await;
    let table = [
        ("?limit=0", vec!["limit"]),
        ("?limit=101", vec!["limit"]),
        ("?limit=-1", vec!["limit"]),
        ("?limit=1;DROP", vec!["limit"]),
        ("?limit=", vec!["limit"]),
        ("?cursor=", vec!["cursor"]),
        ("?cursor=AAAA", vec!["cursor"]),
        ("?cursor=%00%ff", vec!["cursor"]),
        ("?cursor=eyJrZXlfaWQiOiJ4In0", vec!["cursor"]),
        ("?colour=red&limit=x", vec!["colour", "limit"]),
        ("?status=unused&unused_days=0", vec!["unused_days"]),
        ("?status=unused&unused_days=3651", vec!["unused_days"]),
        ("?status=active&unused_days=90", vec!["unused_days"]),
        ("?unused_days=90", vec!["unused_days"]),
    ];
    for (query, parameters) in table {
        let mut places = workspace.list(&workspace.admin, query).await.invalid_places();
        places.sort();
        assert_eq!(places, parameters, "{query}");
    }
    let long = format!("?cursor={}", "A".repeat(4_000));
    assert_eq!(workspace.list(&workspace.admin, &long).await.invalid_places(), ["cursor"]);
    workspace.contents().await;
}

#[tokio::test]
async fn an_unknown_route_is_a_404_in_the_same_form() {
    let workspace = Workspace::new().await;
    let unknown = workspace.api.send(Method::GET, &keys_url("/x/y/z"), Some(&workspace.admin), None).await;
    unknown.assert_problem(404, "not_found");
    workspace.contents().await;
}

#[tokio::test]
async fn keys_are_sorted_by_every_column_in_both_orders() {
    let workspace = Workspace::new().await;
    for (name, user) in [("bravo", "u2"), ("Alpha", "u3"), ("charlie", "u1")] {
        workspace.created(json!({"name": name, "user_id": user})).await;
    }
    let names = |query: &'static str| {
        let workspace = &workspace;
        async move {
            let page = workspace.list(&workspace.admin, query).await.json();
            let names =
                page["items"].as_array().expect("items").iter().map(|key| text(key, "name").to_owned());
            names.collect::<Vec<_>>()
        }
    };
    assert_eq!(names("?sort=name").await, ["Alpha", "bravo", "charlie", "first"]);
    assert_eq!(names("?sort=name&order=desc").await, ["first", "charlie", "bravo", "Alpha"]);
    assert_eq!(names("?sort=user&order=asc").await, ["first", "charlie", "bravo", "Alpha"]);
    assert_eq!(names("?sort=created_at").await, ["charlie", "Alpha", "bravo", "first"]);
    assert_eq!(names("?sort=created_at&order=asc").await, ["first", "bravo", "Alpha", "charlie"]);
    // The values of these are alike, so the order among them is not said.
    assert_eq!(names("?sort=created_by").await.len(), 4);
    assert_eq!(names("?sort=last_used_at").await.len(), 4);
    workspace.contents().await;
}

#[tokio::test]
async fn filters_combine() {
    let workspace = Workspace::new().await;
    let ci = workspace.created(json!({"name": "CI Frankfurt", "user_id": "bob"})).await;
    workspace.created(json!({"name": "ci dublin", "user_id": "carol"})).await;
    let off = workspace.created(json!({"name": "deploy", "user_id": "bob"})).await;
    assert_eq!(
        workspace.update(&workspace.admin, text(&off, "id"), &json!({"disabled": true})).await.status,
        200
    );
    let created_at = text(&ci, "created_at").replace('+', "%2B");
    for (query, expected) in [
        ("?name=CI&sort=name".to_owned(), vec!["ci dublin", "CI Frankfurt"]),
        ("?name=ci&user_id=bob".to_owned(), vec!["CI Frankfurt"]),
        ("?user_id=bob&sort=name".to_owned(), vec!["CI Frankfurt", "deploy"]),
        ("?status=disabled".to_owned(), vec!["deploy"]),
        ("?status=active&user_id=bob".to_owned(), vec!["CI Frankfurt"]),
        ("?status=unused&sort=name".to_owned(), vec!["ci dublin", "CI Frankfurt", "deploy"]),
        ("?status=unused&unused_days=1".to_owned(), vec![]),
        ("?status=expired".to_owned(), vec![]),
        (format!("?name=ci&user_id=bob&created_after={created_at}"), vec!["CI Frankfurt"]),
        (format!("?name=ci&user_id=bob&created_before={created_at}"), vec![]),
        ("?created_before=2020-01-01T00:00:00Z".to_owned(), vec![]),
    ] {
        let page = workspace.list(&workspace.admin, &query).await.json();
        let names: Vec<_> =
            page["items"].as_array().expect("items").iter().map(|key| text(key, "name")).collect();
        assert_eq!(names, expected, "{query}");
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_page_leads_back_to_the_page_before() {
    let workspace = Workspace::new().await;
    for index in 0..4 {
        workspace.created(json!({"name": format!("key {index}")})).await;
    }
    let page = |query: String| {
        let workspace = &workspace;
        async move { workspace.list(&workspace.admin, &query).await.json() }
    };
    let first = page("?limit=2".to_owned()).await;
    assert_eq!(first["prev_cursor"], Value::Null);
    let second = page(format!("?limit=2&cursor={}", text(&first, "next_cursor"))).await;
    let back = page(format!("?limit=2&cursor={}", text(&second, "prev_cursor"))).await;
    assert_eq!((ids(&back), &back["prev_cursor"]), (ids(&first), &Value::Null));
    let again = page(format!("?limit=2&cursor={}", text(&back, "next_cursor"))).await;
    assert_eq!(ids(&again), ids(&second));
    workspace.contents().await;
}

#[tokio::test]
async fn a_list_counts_its_keys_up_to_a_hundred() {
    let workspace = Workspace::new().await;
    let owner = workspace.key_of("bob", &["keys:write"]).await;
    for index in 0..3 {
        workspace.created(json!({"name": format!("export {index}"), "user_id": "bob"})).await;
    }
    let (admin, bob) = (workspace.admin.as_str(), owner.as_str());
    for (caller, query, expected) in [
        (admin, "", 5),
        (admin, "&limit=2", 5),
        (admin, "&name=export&limit=1&sort=last_used_at", 3),
        (admin, "&status=unused&sort=name", 4),
        (admin, "&status=expired", 0),
        (bob, "&limit=1", 4),
        (bob, "&name=export&sort=name", 3),
    ] {
        let page = workspace.list(caller, &format!("?count=true{query}")).await.json();
        assert_eq!(page["count"], json!({"number": expected, "more": false}), "{query}: {page}");
        let uncounted = workspace.list(caller, &format!("?count=false{query}")).await.json();
        assert_eq!(uncounted.get("count"), None, "{query}");
        assert_eq!(
            (&page["items"], &page["next_cursor"]),
            (&uncounted["items"], &uncounted["next_cursor"]),
            "{query}: counting does not change the page"
        );
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_count_ends_at_a_hundred_and_says_that_there_are_more() {
    let workspace = Workspace::new().await;
    for (from, to, expected) in
        [(1, 100, json!({"number": 100, "more": false})), (100, 101, json!({"number": 100, "more": true}))]
    {
        for start in (from..to).step_by(20) {
            let mut creates = JoinSet::new();
            for index in start..to.min(start + 20) {
                let workspace = workspace.clone();
                // A user has at most a hundred keys.
                let body = json!({"name": format!("key {index}"), "user_id": format!("user-{}", index % 2)});
                creates.spawn(async move { workspace.created(body).await });
            }
            creates.join_all().await;
        }
        let counted = async || {
            workspace.list(&workspace.admin, "?count=true&limit=1").await.json()["count"] == expected
        };
        eventually("the index has every key", counted).await;
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_page_that_begins_at_a_cursor_has_no_count() {
    let workspace = Workspace::new().await;
    workspace.created(json!({"name": "another"})).await;
    let page = workspace.list(&workspace.admin, "?limit=1&count=true").await.json();
    let cursor = text(&page, "next_cursor");
    let refused = workspace.list(&workspace.admin, &format!("?limit=1&count=true&cursor={cursor}")).await;
    assert_eq!(refused.invalid_places(), ["count"]);
    let next = workspace.list(&workspace.admin, &format!("?limit=1&cursor={cursor}")).await;
    assert_eq!((next.status, next.json().get("count")), (200, None));
    assert_eq!(workspace.list(&workspace.admin, "?count=yes").await.invalid_places(), ["count"]);
}

//! `GET /api-keys`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::workspace::{Workspace, keys_url};

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
            match page["next_cursor"].as_str() {
                Some(cursor) => query = format!("?limit={limit}&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(walked, ids(&everything), "{limit} at a time");
    }
}

#[tokio::test]
async fn a_listed_key_shows_everything_but_what_could_be_checked_against_its_secret() {
    let workspace = Workspace::new().await;
    let mut created =
        workspace.created(json!({"name": "ci", "scopes": ["a:b"], "expires_in": 60, "user_id": "bob"})).await;
    created.as_object_mut().expect("an object").remove("key");
    let page = workspace.list(&workspace.admin, "?limit=1").await.json();
    assert_eq!(page["items"][0], created);
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
    let writer = workspace.key_of("bob", &["keys:write"]).await;
    assert_eq!(workspace.list(&reader, "").await.status, 200);
    workspace.list(&writer, "").await.assert_problem(403, "insufficient_scope");
}

#[tokio::test]
async fn an_expired_key_is_listed_as_expired_until_it_is_gone() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "short", "expires_in": 1})).await;
    let status = || async {
        let page = workspace.list(&workspace.admin, "").await.json();
        let key =
            page["items"].as_array().expect("items").iter().find(|key| key["id"] == created["id"]).cloned();
        key.map(|key| key["status"].as_str().expect("a status").to_owned())
    };
    while status().await.as_deref() == Some("active") {}
    assert_eq!(status().await.as_deref(), Some("expired"));

    crate::support::database::end_retention(created["id"].as_str().expect("an id")).await;
    assert_eq!(status().await, None);
}

#[tokio::test]
async fn a_hostile_query_is_a_400_that_names_every_parameter() {
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
    ];
    for (query, parameters) in table {
        let mut places = workspace.list(&workspace.admin, query).await.invalid_places();
        places.sort();
        assert_eq!(places, parameters, "{query}");
    }
    let long = format!("?cursor={}", "A".repeat(4_000));
    assert_eq!(workspace.list(&workspace.admin, &long).await.invalid_places(), ["cursor"]);
}

#[tokio::test]
async fn an_unknown_route_is_a_404_in_the_same_form() {
    let workspace = Workspace::new().await;
    let unknown = workspace.api.send(Method::GET, &keys_url("/x/y/z"), Some(&workspace.admin), None).await;
    unknown.assert_problem(404, "not_found");
}

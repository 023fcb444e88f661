//! Metadata: strings that an adopter attaches to a key.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::workspace::{Workspace, text, unique};

#[tokio::test]
async fn metadata_is_shown_wherever_a_key_is_and_reaches_the_backend() {
    let workspace = Workspace::new().await;
    let metadata = json!({"env": "live", "customer.id": "cus_7", "note": "a \"quoted\" naïve 👩‍💻"});
    let created = json!({"name": unique("key"), "user_id": "bob", "metadata": metadata});
    let created = workspace.created(created).await;
    let (id, key) = (text(&created, "id"), text(&created, "key"));
    assert_eq!(created["metadata"], metadata);
    assert_eq!(workspace.get(&workspace.admin, id).await.json()["metadata"], metadata);
    assert_eq!(
        workspace.list(&workspace.admin, "?user_id=bob").await.json()["items"][0]["metadata"],
        metadata
    );
    assert_eq!(workspace.call(Method::GET, "/me", key).await.json()["metadata"], metadata);
    let bearer = format!("Bearer {key}");
    for answer in
        [workspace.api.rest_example(Some(&bearer)).await, workspace.api.http_example(Some(&bearer)).await]
    {
        let context = answer.json()["caller"]["metadata"].clone();
        let parsed: Value = serde_json::from_str(context.as_str().expect("a text")).expect("JSON");
        assert_eq!(parsed, metadata);
    }
    let rotated = workspace.rotate(&workspace.admin, id, &json!({})).await.json();
    assert_eq!(rotated["metadata"], metadata);
    let without = workspace.created(json!({"name": unique("key")})).await;
    assert_eq!(without["metadata"], json!({}));
}

#[tokio::test]
async fn a_patch_changes_the_entries_that_it_names_and_keeps_the_others() {
    let workspace = Workspace::new().await;
    let created = json!({"name": unique("key"), "metadata": {"env": "live", "team": "a"}});
    let created = workspace.created(created).await;
    let id = text(&created, "id");
    for (patch, expected) in [
        (json!({"env": "test"}), json!({"env": "test", "team": "a"})),
        (json!({"team": null, "plan": "pro"}), json!({"env": "test", "plan": "pro"})),
        (json!({}), json!({"env": "test", "plan": "pro"})),
        (json!(null), json!({})),
    ] {
        let patched = workspace.update(&workspace.admin, id, &json!({"metadata": patch})).await;
        assert_eq!((patched.status, &patched.json()["metadata"]), (200, &expected), "{patch}");
        assert_eq!(workspace.get(&workspace.admin, id).await.json()["metadata"], expected, "{patch}");
    }
}

#[tokio::test]
async fn metadata_that_is_too_large_or_invalid_is_refused_and_changes_nothing() {
    let workspace = Workspace::new().await;
    let entries = |count: usize, letter: &str| -> Value {
        (0..count).map(|n| (format!("{letter}{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
    };
    let created = json!({"name": unique("key"), "metadata": entries(15, "a")});
    let created = workspace.created(created).await;
    for (metadata, place) in [
        (json!({"env": 1}), "/metadata/env"),
        (json!({"env": ""}), "/metadata/env"),
        (json!({"a b": "x"}), "/metadata"),
        (json!(["env"]), "/metadata"),
        (entries(6, "b"), "/metadata"),
    ] {
        let patch = json!({"metadata": metadata});
        let refused = workspace.update(&workspace.admin, text(&created, "id"), &patch).await;
        assert_eq!(refused.invalid_places(), [place], "{metadata}");
    }
    let kept = workspace.get(&workspace.admin, text(&created, "id")).await.json();
    assert_eq!(kept["metadata"], created["metadata"]);
    let too_many = json!({"name": unique("key"), "metadata": entries(21, "a")});
    assert_eq!(workspace.create(&workspace.admin, &too_many).await.invalid_places(), ["/metadata"]);
}

#[tokio::test]
async fn a_list_is_filtered_by_exact_values_of_metadata_on_every_page() {
    let workspace = Workspace::new().await;
    for number in 0..6 {
        let env = if number % 2 == 0 { "live" } else { "test" };
        let key =
            json!({"name": format!("key {number}"), "metadata": {"env": env, "number": number.to_string()}});
        workspace.created(key).await;
    }
    let mut found = Vec::new();
    let mut query = "?metadata.env=live&sort=name&limit=2".to_owned();
    loop {
        let page = workspace.list(&workspace.admin, &query).await.json();
        found.extend(page["items"].as_array().expect("keys").iter().map(|key| text(key, "name").to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?metadata.env=live&sort=name&limit=2&cursor={cursor}");
    }
    assert_eq!(found, ["key 0", "key 2", "key 4"]);
    let both = workspace.list(&workspace.admin, "?metadata.env=live&metadata.number=4").await.json();
    assert_eq!(
        (both["items"].as_array().map(Vec::len), &both["items"][0]["name"]),
        (Some(1), &json!("key 4"))
    );
    let none = workspace.list(&workspace.admin, "?metadata.env=Live").await.json();
    assert_eq!(none["items"], json!([]));
    let invalid = workspace.list(&workspace.admin, "?metadata.a%20b=x&metadata.env=").await;
    assert_eq!(invalid.invalid_places().len(), 2);
}

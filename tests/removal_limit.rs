//! The limit on removals of unknown users: it bounds the marks that requests leave, and never stops the removal of an
//! existing user.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::Contents;
use crate::support::function::{Function, request};
use crate::support::legacy::{LEGACY, imported};
use crate::support::stack::variable;
use crate::support::tables::{Tables, put_entry};
use crate::support::workspace::Workspace;

/// The limit of these tests.
const LIMIT: (&str, &str) = ("MAX_REMOVED_USERS", "2");

fn removal(workspace: &Workspace, user: &str) -> Value {
    let mut event = request(workspace, ("DELETE", "/users/{user_id}"), None, &[], &Value::Null);
    event["pathParameters"] = json!({"user_id": user});
    event
}

async fn remove(remover: &Function, workspace: &Workspace, user: &str) -> u64 {
    let answer = remover.invoke(removal(workspace, user)).await.expect("a response");
    let status = answer["statusCode"].as_u64().expect("a status");
    if status != 202 {
        let problem: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
        assert_eq!((status, &problem["code"]), (409, &json!("removal_limit")), "{problem}");
        assert_eq!(problem["type"], "urn:keygate:problem:removal-limit");
    }
    status
}

fn counted(contents: &Contents) -> u64 {
    contents.entries.get("REMOVALS").map_or(0, |entry| entry["user_count"].as_u64().expect("a count"))
}

#[tokio::test]
async fn made_up_users_can_be_removed_up_to_a_limit_and_users_who_exist_without_one() {
    let workspace = Workspace::new().await;
    let variables = [&LEGACY[..], &[LIMIT]].concat();
    let remover = Function::start("remove-user", &variables).await;
    workspace.key_of("bob", &[]).await;
    for (user, status, count) in [
        ("made-up-1", 202, 1),
        ("bob", 202, 1),
        ("made-up-2", 202, 2),
        ("made-up-3", 409, 2),
        // Users who are removed already are not counted again.
        ("made-up-1", 202, 2),
        ("bob", 202, 2),
    ] {
        assert_eq!(remove(&remover, &workspace, user).await, status, "{user}");
        assert_eq!(counted(&workspace.contents().await), count, "{user}");
    }
    assert!(!workspace.contents().await.entries.contains_key("USER#made-up-3"));

    // Users who have a key, or had one, are known.
    workspace.key_of("carol", &[]).await;
    let dave = workspace.key_of("dave", &[]).await;
    workspace.delete(&workspace.admin, crate::support::workspace::id_of(&dave)).await.assert_succeeded();
    imported(&workspace, "erin", &[]).await;
    for user in ["carol", "dave", "erin"] {
        assert_eq!(remove(&remover, &workspace, user).await, 202, "{user}");
    }
    assert_eq!(counted(&workspace.contents().await), 2);
}

/// A removal and a reinstatement leave an entry, so a reinstatement must not make room for another removal.
#[tokio::test]
async fn a_reinstated_user_stays_known_and_makes_no_room_for_another() {
    let workspace = Workspace::new().await;
    let remover = Function::start("remove-user", &[LIMIT]).await;
    for user in ["made-up-1", "made-up-2"] {
        assert_eq!(remove(&remover, &workspace, user).await, 202);
        let reinstated = workspace.call(Method::PUT, &format!("/users/{user}"), &workspace.admin).await;
        assert_eq!(reinstated.status, 204);
    }
    assert_eq!(remove(&remover, &workspace, "made-up-3").await, 409);
    assert_eq!(remove(&remover, &workspace, "made-up-1").await, 202);
    workspace.when_cleared("made-up-1").await;
    workspace.key_of("made-up-2", &[]).await;
    assert_eq!(remove(&remover, &workspace, "made-up-2").await, 202);
    assert_eq!(counted(&workspace.when_cleared("made-up-2").await), 2);
}

#[tokio::test]
async fn an_event_removes_its_user_whatever_the_limit_and_does_not_count() {
    let workspace = Workspace::new().await;
    let (remover, clearer) = tokio::join!(
        Function::start("remove-user", &[LIMIT]),
        Function::start("process-user-removal", &[LIMIT])
    );
    for user in ["made-up-1", "made-up-2"] {
        assert_eq!(remove(&remover, &workspace, user).await, 202);
    }
    let event = json!({"workspace_id": workspace.id, "user_id": "of-an-event"});
    assert_eq!(clearer.invoke(event).await, Ok(Value::Null));
    let contents = workspace.contents().await;
    assert!(contents.entries["USER#of-an-event"]["removed_at"].is_i64());
    assert_eq!(counted(&contents), 2);
    assert_eq!(remove(&remover, &workspace, "of-an-event").await, 202, "the event has made the user known");
}

#[tokio::test]
async fn of_two_removals_at_the_limit_one_goes_through_where_keygate_is_deployed() {
    let workspace = Workspace::in_which_time_passes().await;
    let one_left = json!({"workspace_id": workspace.id, "entry": "REMOVALS", "user_count": 9_999});
    put_entry(&variable("KEYGATE_WORKSPACES_TABLE"), &one_left).await;
    let (one, other) = tokio::join!(
        workspace.call(Method::DELETE, "/users/made-up-1", &workspace.admin),
        workspace.call(Method::DELETE, "/users/made-up-2", &workspace.admin)
    );
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409], "{one:?} {other:?}");
    let refused = if one.status == 409 { one } else { other };
    refused.assert_problem(409, "removal_limit");
}

#[tokio::test]
async fn a_wrong_count_of_removals_is_corrected_and_a_right_one_left_alone() {
    let tables = Tables::new().await;
    let remover = tables.start("remove-user").await;
    for user in ["made-up-1", "made-up-2"] {
        assert_eq!(remove(&remover, &tables.workspace, user).await, 202);
    }
    let right = tables.contents().await.entries["REMOVALS"].clone();
    assert_eq!(right["user_count"], 2);
    let recounter = tables.start("recount-users").await;
    for count in [2, 9] {
        let mut entry = right.clone();
        entry["user_count"] = json!(count);
        tables.put_entry(&entry).await;
        recounter.invoke(json!({})).await.expect("a run");
        assert_eq!(tables.contents().await.entries["REMOVALS"], right);
    }
}

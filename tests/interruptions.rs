//! create-key, killed and disturbed at its one write.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::function::{Disturbance, Function};
use crate::support::workspace::{Workspace, id_of};

/// The event that API Gateway makes of the administrator's `POST /api-keys`.
fn create(workspace: &Workspace, name: &str) -> Value {
    json!({
        "resource": "/api-keys", "path": "/api-keys", "httpMethod": "POST",
        "headers": {"Content-Type": "application/json"},
        "multiValueHeaders": {"Content-Type": ["application/json"]},
        "requestContext": {
            "resourcePath": "/api-keys", "path": "/v1/api-keys", "stage": "v1", "httpMethod": "POST",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", "identity": {"sourceIp": "203.0.113.7"},
            "authorizer": {
                "userId": "admin", "workspaceId": workspace.id, "keyId": id_of(&workspace.admin), "keyName": "first",
                "scopes": "workspace:admin", "credential": "api_key", "principalId": "admin",
            },
        },
        "body": json!({"name": name}).to_string(), "isBase64Encoded": false,
    })
}

#[tokio::test]
async fn killed_before_its_transaction_it_leaves_nothing() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    function.disturb(Disturbance::KillBefore);
    function.invoke_until_killed(create(&workspace, "ci")).await;
    let contents = workspace.contents().await;
    assert_eq!((contents.keys.len(), contents.events.len()), (1, 1), "the administrator's alone");
    workspace.created(json!({"name": "ci"})).await;
}

#[tokio::test]
async fn killed_after_its_transaction_it_leaves_all_of_it() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    function.disturb(Disturbance::KillAfter);
    function.invoke_until_killed(create(&workspace, "ci")).await;
    let contents = workspace.contents().await;
    assert_eq!((contents.keys.len(), contents.events.len()), (2, 2));
    workspace.create(&workspace.admin, &json!({"name": "ci"})).await.assert_problem(409, "name_taken");
}

#[tokio::test]
async fn a_conflict_that_passes_is_tried_again_under_the_same_token() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    function.disturb(Disturbance::Conflicts(3));
    let answer = function.invoke(create(&workspace, "ci")).await.expect("an answer");
    assert_eq!(answer["statusCode"], 201, "{answer}");
    let calls = function.take_calls();
    let tokens: BTreeSet<_> =
        calls.iter().map(|(_, request)| request["ClientRequestToken"].to_string()).collect();
    assert_eq!((calls.len(), tokens.len()), (4, 1));
    assert_eq!(workspace.contents().await.keys.len(), 2);
}

#[tokio::test]
async fn a_conflict_that_does_not_pass_is_a_503_to_try_again() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    function.disturb(Disturbance::Conflicts(u32::MAX));
    let answer = function.invoke(create(&workspace, "ci")).await.expect("an answer");
    assert_eq!(answer["statusCode"], 503, "{answer}");
    let retry_after = &answer["multiValueHeaders"]["retry-after"][0];
    assert_eq!(retry_after, "1", "{answer}");
    let problem: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
    assert_eq!(problem["code"], "unavailable");
    assert_eq!(problem["request_id"], "c6af9ac6-7b61-11e6-9a41-93e8deadbeef");
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

#[tokio::test]
async fn when_the_database_fails_the_answer_is_a_503() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    function.disturb(Disturbance::Down);
    let answer = function.invoke(create(&workspace, "ci")).await.expect("an answer");
    assert_eq!(answer["statusCode"], 503, "{answer}");
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

/// A deployment that forgot the authorizer must not serve anybody.
#[tokio::test]
async fn a_request_without_the_authorizers_context_is_an_error() {
    let workspace = Workspace::new().await;
    let function = Function::start("create-key", &[]).await;
    for authorizer in [Value::Null, json!({}), json!({"principalId": "admin", "userId": "admin"})] {
        let mut event = create(&workspace, "ci");
        event["requestContext"]["authorizer"] = authorizer;
        let answer = function.invoke(event).await.expect("an answer");
        assert_eq!(answer["statusCode"], 500, "{answer}");
    }
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

//! GraphQL APIs of AppSync behind the authorizer, by AppSync's event. The local stack has no AppSync.

use serde_json::{Value, json};

use crate::support::database::{self, calls};
use crate::support::function::{Disturbance, Function, event};
use crate::support::legacy::{LEGACY, imported};
use crate::support::workspace::{Workspace, id_of, text};

fn query(token: &str) -> Value {
    let mut event = event("authorize-appsync");
    event["authorizationToken"] = json!(token);
    event
}

#[tokio::test]
async fn a_graphql_api_accepts_keys_without_rules_networks_and_limits() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let token = workspace.access_token(&key).await;
    let legacy = imported(&workspace, "bob", &["orders:read"]).await;
    let session = workspace.session(&workspace.admin, "bob", &["keys:write"]).await;
    let restricted = async |attribute: &str, value: Value| {
        let created = workspace.created(json!({"name": attribute, "user_id": "bob", attribute: value})).await;
        text(&created, "key").to_owned()
    };
    let with_rules = restricted("endpoints", json!(["* /*"])).await;
    let with_networks = restricted("networks", json!(["0.0.0.0/0"])).await;
    let with_limits = restricted("limits", json!([{"calls": 5, "per": "day"}])).await;
    let token_with_rules = workspace.access_token(&with_rules).await;
    let disabled = workspace.key_of("bob", &[]).await;
    workspace.update(&workspace.admin, id_of(&disabled), &json!({"disabled": true})).await.assert_succeeded();
    let settings = [("AUTHORIZER_UNCACHED", "true"), LEGACY[0], LEGACY[1], LEGACY[2]];
    let authorizer = Function::start("authorize", &settings).await;
    for (credential, kind) in [
        (&key, Some("api_key")),
        (&token, Some("access_token")),
        (&legacy, Some("legacy_key")),
        (&with_rules, None),
        (&token_with_rules, None),
        (&with_networks, None),
        (&with_limits, None),
        (&disabled, None),
        (&text(&session, "session").to_owned(), None),
        (&"x".to_owned(), None),
        (&String::new(), None),
    ] {
        for token in [credential.clone(), format!("Bearer {credential}")] {
            let response = authorizer.invoke(query(&token)).await.expect("a decision");
            assert_eq!(
                (&response["isAuthorized"], &response["ttlOverride"]),
                (&json!(kind.is_some()), &json!(0))
            );
            assert_eq!(response["resolverContext"]["credential"].as_str(), kind, "{response}");
            if kind.is_some() {
                assert_eq!(response["resolverContext"]["workspaceId"], workspace.id, "{response}");
            }
        }
        let response = authorizer.invoke(query(&format!("Basic {credential}"))).await.expect("a decision");
        assert_eq!(response, json!({"isAuthorized": false, "ttlOverride": 0}), "another scheme");
    }
    authorizer.terminate().await;
    assert!(database::last_used_at(id_of(&key)).await > 0);
    for call in calls(&workspace.id, "bob").await {
        assert!(call.get("path").is_none() && call.get("method").is_none(), "{call}");
    }
}

#[tokio::test]
async fn no_graphql_api_is_authorized_without_the_database_and_none_by_the_authorizer_of_the_management_api()
{
    let workspace = Workspace::new().await;
    let authorizer = Function::start("authorize", &[]).await;
    authorizer.disturb(Disturbance::Down);
    authorizer.invoke(query(&workspace.admin)).await.expect_err("no decision");
    let of_management = Function::start("authorize-management", &[("MANAGEMENT_API", "giy7kumfmv")]).await;
    let mut event = query(&workspace.admin);
    event["requestContext"]["apiId"] = json!("giy7kumfmv");
    let response = of_management.invoke(event).await.expect("a decision");
    assert_eq!(response, json!({"isAuthorized": false, "ttlOverride": 0}));
}

//! The events that invoke the functions behind the APIs: readable requests, unreadable ones, and direct invocations.

use serde_json::{Value, json};

use crate::support::emulator::run;
use crate::support::function::request;
use crate::support::stack::Api;
use crate::support::workspace::{Workspace, text, unique};

/// The functions of each API, and whether it is the OAuth API.
const OF_APIS: [(&str, bool); 21] = [
    ("CreateKeyFunction", false),
    ("ListKeysFunction", false),
    ("GetKeyFunction", false),
    ("GetUsageFunction", false),
    ("UpdateKeyFunction", false),
    ("RotateKeyFunction", false),
    ("DeleteKeyFunction", false),
    ("ListTokensFunction", false),
    ("ListActivityFunction", false),
    ("RemoveUserFunction", false),
    ("OpenSessionFunction", false),
    ("ExchangePageCodeFunction", false),
    ("EndSessionFunction", false),
    ("ConsoleFunction", false),
    ("ReportLeaksFunction", false),
    ("WhoamiFunction", false),
    ("GetPolicyFunction", false),
    ("DescribeOAuthFunction", true),
    ("IssueTokenFunction", true),
    ("IntrospectTokenFunction", true),
    ("RevokeTokenFunction", true),
];

fn body(answer: &Value) -> Value {
    serde_json::from_str(text(answer, "body")).expect("a body in JSON")
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_refused_in_the_form_of_its_api() {
    let workspace = Workspace::new().await;
    let rest = request(&workspace, ("POST", "/api-keys"), None, &[("X-A", "\u{1}")], &json!({"name": "a"}));
    let http = json!({
        "version": "2.0", "routeKey": "POST /oauth/token", "rawPath": "/oauth/token", "rawQueryString": "",
        "headers": {"x-a": "\u{1}"}, "body": "token=x", "isBase64Encoded": false,
        "requestContext": {"requestId": "r", "stage": "$default", "http": {"method": "POST", "path": "/oauth/token"}},
    });
    for (function, is_oauth) in OF_APIS {
        let answer = run(&workspace.api, function, if is_oauth { &http } else { &rest }).await;
        assert_eq!(answer["statusCode"], 400, "{function}: {answer}");
        let (headers, body) = (&answer["headers"], body(&answer));
        if is_oauth {
            assert_eq!(
                (&headers["content-type"], &body["error"]),
                (&json!("application/json"), &json!("invalid_request"))
            );
            assert!(text(&body, "error_description").contains("x-a"), "{function}: {body}");
        } else {
            let media_type = &answer["multiValueHeaders"]["content-type"][0];
            assert_eq!(
                (media_type, &body["code"]),
                (&json!("application/problem+json"), &json!("invalid_request"))
            );
            assert_eq!(
                (&body["errors"][0]["header"], &body["request_id"]),
                (&json!("X-A"), &rest["requestContext"]["requestId"],)
            );
        }
        // A direct invocation is a 400, too: these functions have none.
        if !["CreateKeyFunction", "IntrospectTokenFunction"].contains(&function) {
            let answer = run(&workspace.api, function, &json!({"bootstrap": {}, "import": {}})).await;
            assert_eq!(answer["statusCode"], 400, "{function}: {answer}");
        }
    }
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

#[tokio::test]
async fn no_request_of_an_api_is_a_direct_invocation() {
    let workspace = Workspace::new().await;
    let key = workspace.admin.as_str();
    let direct = [
        ("IntrospectTokenFunction", "introspect", json!({"workspace_id": workspace.id, "token": key})),
        (
            "CreateKeyFunction",
            "bootstrap",
            json!({"workspace_id": unique("eve"), "user_id": "eve", "name": "mine"}),
        ),
        (
            "ImportLegacyKeysFunction",
            "import",
            json!({"workspace_id": workspace.id, "keys": [
            {"key": "old-0123456789abcdef0123456789abcdef", "user_id": "eve", "name": "mine"}]}),
        ),
    ];
    for (function, member, of_operator) in direct {
        for part in ["requestContext", "httpMethod", "headers", "version", "rawPath", "path", "resource"] {
            let event = json!({member: of_operator, part: null});
            let answer = run(&workspace.api, function, &event).await;
            assert_eq!(answer["statusCode"], 400, "{function} with {part}: {answer}");
        }
        let mut event = request(&workspace, ("POST", "/api-keys"), None, &[], &json!({}));
        event[member] = of_operator.clone();
        let answer = run(&workspace.api, function, &event).await;
        assert_eq!(answer["statusCode"], 400, "{function}: {answer}");
    }
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

#[tokio::test]
async fn the_response_to_a_direct_invocation_does_not_have_the_form_of_an_api() {
    let api = Api::default();
    for (function, event, pointer) in [
        ("CreateKeyFunction", json!({"bootstrap": {"workspace_id": "acme"}}), "/user_id"),
        ("CreateKeyFunction", json!({"import": {}}), "/bootstrap"),
        ("IntrospectTokenFunction", json!({"introspect": {"workspace_id": "acme"}}), "/token"),
        ("IntrospectTokenFunction", json!({"token": "x"}), "/introspect"),
        (
            "ImportLegacyKeysFunction",
            json!({"import": {"workspace_id": "Acme", "keys": []}}),
            "/workspace_id",
        ),
        ("ImportLegacyKeysFunction", json!({}), "/import"),
    ] {
        let problem = run(&api, function, &event).await;
        assert_eq!(
            (&problem["status"], &problem["errors"][0]["pointer"]),
            (&json!(400), &json!(pointer)),
            "{problem}"
        );
    }
}

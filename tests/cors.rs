//! Calls from a browser, by pages of the one origin that the deployment allows.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::function::{Function, request};
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, id_of, keys_url};

const ALLOW_ORIGIN: &str = "access-control-allow-origin";

#[tokio::test]
async fn a_browser_gets_the_allowed_methods_and_headers_without_a_credential() {
    let workspace = Workspace::new().await;
    for rest in ["", "/01JD3V6Y4N8Q2Z5X7W9B0C1D2E", "/01JD3V6Y4N8Q2Z5X7W9B0C1D2E/rotate"] {
        let answer = workspace.api.send(Method::OPTIONS, &keys_url(rest), None, None).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{answer:?}");
        assert_eq!(answer.header(ALLOW_ORIGIN), Some(variable("KEYGATE_CORS_ALLOW_ORIGIN").as_str()));
        for (header, value) in [
            ("access-control-allow-methods", "PATCH"),
            ("access-control-allow-headers", "Authorization"),
            ("access-control-allow-headers", "Idempotency-Key"),
            ("access-control-max-age", "7200"),
        ] {
            assert!(
                answer.header(header).is_some_and(|allowed| allowed.contains(value)),
                "{header}: {answer:?}"
            );
        }
    }
    workspace.contents().await;
}

#[tokio::test]
async fn pages_of_the_origin_can_read_every_response_and_error() {
    let workspace = Workspace::new().await;
    let origin = variable("KEYGATE_CORS_ALLOW_ORIGIN");
    let id = id_of(&workspace.admin);
    for (answer, status) in [
        (workspace.get(&workspace.admin, id).await, 200),
        (workspace.update(&workspace.admin, id, &json!({"name": 1})).await, 400),
        (workspace.get("kg_key_no", id).await, 401),
        (workspace.get(&workspace.admin, "x/y/z").await, 404),
    ] {
        assert_eq!(
            (answer.status, answer.header(ALLOW_ORIGIN)),
            (status, Some(origin.as_str())),
            "{answer:?}"
        );
    }
    let answer = workspace.get(&workspace.admin, id).await;
    assert_eq!(answer.header("access-control-expose-headers"), Some("ETag, Retry-After"));
    workspace.contents().await;
}

#[tokio::test]
async fn no_origin_is_allowed_unless_the_deployment_says_so() {
    let workspace = Workspace::new().await;
    let function = Function::start("whoami", &[]).await;
    let me = function
        .invoke(request(&workspace, ("GET", "/me"), None, &[], &Value::Null))
        .await
        .expect("a response");
    assert_eq!((&me["statusCode"], &me["multiValueHeaders"][ALLOW_ORIGIN]), (&json!(200), &Value::Null));
    let preflight = request(&workspace, ("OPTIONS", "/me"), None, &[], &Value::Null);
    let preflight = function.invoke(preflight).await.expect("a response");
    assert_eq!(preflight["statusCode"], 404);
    assert!(
        preflight["body"].as_str().is_some_and(|body| body.contains("CorsAllowOrigin is not set")),
        "{preflight}"
    );
    workspace.contents().await;
}

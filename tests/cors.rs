//! Calls from a browser, by pages of the origins that the deployment allows.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::function::{Function, request};
use crate::support::stack::{Answer, variable};
use crate::support::workspace::{Workspace, id_of, keys_url};

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const CREDENTIALS: &str = "access-control-allow-credentials";

/// Origins that the deployment does not list, each close to one that it does.
const NOT_LISTED: [&str; 6] = [
    "https://evil.example",
    "null",
    "http://dashboard.example.com",
    "https://dashboard.example.com:8443",
    "https://DASHBOARD.example.com",
    "https://dashboard.example.com.evil.example",
];

/// The two origins of the test stack.
fn listed() -> [String; 2] {
    let listed = variable("KEYGATE_CORS_ALLOW_ORIGINS");
    let origins: Vec<_> = listed.split(',').map(str::to_owned).collect();
    origins.try_into().expect("the stack of the tests lists two origins")
}

/// Sends a request as a page of `origin` does.
async fn send(workspace: &Workspace, method: Method, url: &str, origin: Option<&str>, key: &str) -> Answer {
    let request = workspace.api.client().request(method, url).bearer_auth(key);
    let request = match origin {
        Some(origin) => request.header("Origin", origin),
        None => request,
    };
    Answer::of(request.send().await.expect("a response")).await
}

#[tokio::test]
async fn a_browser_gets_the_allowed_methods_and_headers_without_a_credential() {
    let workspace = Workspace::new().await;
    for origin in listed() {
        for rest in ["", "/01JD3V6Y4N8Q2Z5X7W9B0C1D2E", "/01JD3V6Y4N8Q2Z5X7W9B0C1D2E/rotate"] {
            let request = workspace.api.client().request(Method::OPTIONS, keys_url(rest));
            let answer = request.header("Origin", &origin).send().await.expect("a response");
            let answer = Answer::of(answer).await;
            assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{answer:?}");
            assert_eq!(answer.header(ALLOW_ORIGIN), Some(origin.as_str()));
            assert_eq!((answer.header("vary"), answer.header(CREDENTIALS)), (Some("Origin"), None));
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
    }
    workspace.contents().await;
}

#[tokio::test]
async fn pages_of_the_origins_can_read_every_response_and_error() {
    let workspace = Workspace::new().await;
    let id = id_of(&workspace.admin);
    for origin in listed() {
        for (key, rest, status) in [
            (workspace.admin.as_str(), format!("/{id}"), 200),
            (&workspace.admin, "?limit=0".to_owned(), 400),
            // These two are API Gateway's own responses.
            ("kg_key_no", format!("/{id}"), 401),
            (&workspace.admin, "/x/y/z".to_owned(), 404),
        ] {
            let answer = send(&workspace, Method::GET, &keys_url(&rest), Some(&origin), key).await;
            assert_eq!(
                (answer.status, answer.header(ALLOW_ORIGIN), answer.header("vary")),
                (status, Some(origin.as_str()), Some("Origin")),
                "{answer:?}"
            );
            assert_eq!(answer.header(CREDENTIALS), None, "{answer:?}");
        }
        let answer =
            send(&workspace, Method::GET, &keys_url(&format!("/{id}")), Some(&origin), &workspace.admin)
                .await;
        assert_eq!(answer.header("access-control-expose-headers"), Some("ETag, Retry-After"));
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_page_of_another_origin_can_read_no_response_of_a_function() {
    let workspace = Workspace::new().await;
    let own = keys_url(&format!("/{}", id_of(&workspace.admin)));
    for origin in NOT_LISTED.map(Some).into_iter().chain([None]) {
        for (method, url, status) in [
            (Method::GET, own.clone(), 200),
            (Method::GET, keys_url("?limit=0"), 400),
            (Method::OPTIONS, keys_url(""), 204),
        ] {
            let answer = send(&workspace, method, &url, origin, &workspace.admin).await;
            assert_eq!((answer.status, answer.header("vary")), (status, Some("Origin")), "{answer:?}");
            let cors = answer.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
            assert_eq!(cors, None, "{origin:?}: {answer:?}");
        }
    }
    workspace.contents().await;
}

#[tokio::test]
async fn no_origin_is_allowed_unless_the_deployment_says_so() {
    let workspace = Workspace::new().await;
    let function = Function::start("whoami", &[]).await;
    let from_a_page = [("Origin", "https://dashboard.example.com")];
    let me = function
        .invoke(request(&workspace, ("GET", "/me"), None, &from_a_page, &Value::Null))
        .await
        .expect("a response");
    assert_eq!((&me["statusCode"], &me["multiValueHeaders"][ALLOW_ORIGIN]), (&json!(200), &Value::Null));
    let preflight = request(&workspace, ("OPTIONS", "/me"), None, &from_a_page, &Value::Null);
    let preflight = function.invoke(preflight).await.expect("a response");
    assert_eq!(preflight["statusCode"], 404);
    assert!(
        preflight["body"].as_str().is_some_and(|body| body.contains("CorsAllowOrigins is not set")),
        "{preflight}"
    );
    workspace.contents().await;
}

#[tokio::test]
async fn every_origin_can_be_allowed() {
    let workspace = Workspace::new().await;
    let function = Function::start("whoami", &[("CORS_ALLOW_ORIGINS", "*")]).await;
    for origin in [&[("Origin", "https://a.example")][..], &[]] {
        let me = function
            .invoke(request(&workspace, ("GET", "/me"), None, origin, &Value::Null))
            .await
            .expect("a response");
        assert_eq!(me["multiValueHeaders"][ALLOW_ORIGIN], json!(["*"]), "{me}");
        assert_eq!(me["multiValueHeaders"]["vary"], Value::Null, "{me}");
    }
    workspace.contents().await;
}

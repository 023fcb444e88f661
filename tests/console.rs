//! The keys page, as API Gateway serves it. The tests of what it does in a browser are in `tests/console/`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::function::{Function, request};
use crate::support::stack::{Answer, Api, run_folder, variable};
use crate::support::workspace::{Workspace, text};

/// The folder with the program of the deployed function and its page.
fn deployed() -> String {
    let folder = run_folder().with_file_name("deploy").join("target/lambda/console");
    folder.into_os_string().into_string().expect("a path in UTF-8")
}

/// Gets a file of the page without a credential, as a browser does that has the file with this tag.
async fn get(path: &str, tag: Option<&str>) -> Answer {
    let url = format!("{}{path}", variable("KEYGATE_API_URL"));
    let request = Api::default().client().request(Method::GET, url);
    let request = match tag {
        Some(tag) => request.header("If-None-Match", tag),
        None => request,
    };
    Answer::of(request.send().await.expect("a response")).await
}

#[tokio::test]
async fn everyone_gets_the_page_and_what_it_loads() {
    let page = get("/console", None).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(
        (page.header("cache-control"), page.header("x-content-type-options")),
        (Some("no-cache"), Some("nosniff"))
    );
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!page.text.contains("__KEYGATE_CONFIG__"), "{}", page.text);

    let loaded: Vec<_> =
        page.text.split("console/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(!loaded.is_empty(), "{}", page.text);
    for name in loaded {
        let file = get(&format!("/console/{name}"), None).await;
        assert_eq!(file.status, 200, "{name}: {file:?}");
        assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"), "{name}");
    }
}

#[tokio::test]
async fn a_browser_that_has_a_file_is_not_sent_it_again() {
    for path in ["/console", "/console/keygate-keys.js"] {
        let first = get(path, None).await;
        let again = get(path, first.header("etag")).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{path}");
        assert_eq!(get(path, Some("W/\"other\"")).await.text, first.text, "{path}");
    }
}

#[tokio::test]
async fn only_the_component_can_be_loaded_by_pages_of_other_origins() {
    for (path, origin, policy) in
        [("/console", None, "same-origin"), ("/console/keygate-keys.js", Some("*"), "cross-origin")]
    {
        let file = get(path, None).await;
        assert_eq!(file.header("access-control-allow-origin"), origin, "{path}");
        assert_eq!(file.header("cross-origin-resource-policy"), Some(policy), "{path}");
        assert_eq!(file.header("access-control-allow-credentials"), None, "{path}");
    }
}

#[tokio::test]
async fn a_file_that_the_page_does_not_have_is_not_found() {
    for name in ["index.html", "bootstrap", "..%2fbootstrap", "%2e%2e%2fbootstrap", "console.js"] {
        let answer = get(&format!("/console/{name}"), None).await;
        assert_eq!(answer.status, 404, "{name}: {answer:?}");
    }
    get("/console/console.js", None).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn the_page_has_the_provider_that_is_configured() {
    let workspace = Workspace::new().await;
    let folder = deployed();
    let function = Function::start(
        "console",
        &[
            ("LAMBDA_TASK_ROOT", &folder),
            ("CONSOLE_CLIENT_ID", "keys</script>"),
            ("CONSOLE_AUTHORIZATION_ENDPOINT", "https://id.example.com/auth"),
            ("CONSOLE_TOKEN_ENDPOINT", "https://id.example.com/token"),
        ],
    )
    .await;
    let event = request(&workspace, ("GET", "/console"), None, &[], &Value::Null);
    let page = function.invoke(event).await.expect("a response");
    let policy = page["multiValueHeaders"]["content-security-policy"][0].as_str().expect("a policy");
    assert!(policy.contains("connect-src 'self' https://id.example.com/token;"), "{policy}");
    let (_, configuration) =
        text(&page, "body").split_once("id=\"keygate-config\">").expect("a configuration");
    let (configuration, _) = configuration.split_once("</script>").expect("the end of the element");
    let configuration: Value = serde_json::from_str(configuration.trim()).expect("JSON");
    assert_eq!(configuration["sign_in"]["client_id"], json!("keys</script>"));
}

#[tokio::test]
async fn a_page_that_is_switched_off_is_not_found() {
    let workspace = Workspace::new().await;
    let function =
        Function::start("console", &[("LAMBDA_TASK_ROOT", &deployed()), ("CONSOLE_ENABLED", "false")]).await;
    let response = function.invoke(request(&workspace, ("GET", "/console"), None, &[], &Value::Null)).await;
    let response = response.expect("a response");
    assert_eq!(response["statusCode"], 404, "{response}");
    assert!(text(&response, "body").contains("not_found"), "{response}");
}

#[tokio::test]
async fn a_function_without_its_page_or_with_half_a_provider_does_not_start() {
    let folder = deployed();
    let empty = run_folder().into_os_string().into_string().expect("a path in UTF-8");
    for (variables, message) in [
        (vec![("LAMBDA_TASK_ROOT", empty.as_str())], "make console"),
        (vec![("LAMBDA_TASK_ROOT", folder.as_str()), ("CONSOLE_CLIENT_ID", "keys")], "CONSOLE_CLIENT_ID"),
        (
            vec![("LAMBDA_TASK_ROOT", folder.as_str()), ("CONSOLE_TOKEN_ENDPOINT", "ftp://a")],
            "CONSOLE_TOKEN_ENDPOINT",
        ),
    ] {
        let function = Function::launch("console", &variables).await;
        assert!(!function.ended().await.success(), "{message}");
        assert!(function.log().contains(message), "{}", function.log());
    }
}

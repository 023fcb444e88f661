//! OAuth clients by other authors, unchanged, and the examples of backends that introspect.

use std::path::Path;

use serde_json::json;
use tokio::process::Command;

use crate::support::stack::variable;
use crate::support::workspace::{Workspace, text};

/// Runs a client of `tests/clients` with a key of a workspace of its own.
async fn run(program: &str, arguments: &[&str]) {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "orders:write", "tokens:introspect"]).await;
    let (issuer, api) = (variable("KEYGATE_OAUTH_URL"), variable("KEYGATE_REST_EXAMPLE_URL"));
    let mut command = Command::new(program);
    command.args(arguments).args([issuer, format!("{api}/echo")]).env("KEY", &key);
    let done = command.output().await.expect(program);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "every flow succeeded\n", "{said}");
    workspace.contents().await;
}

/// The path of an installed tool.
pub(crate) fn tool(name: &str) -> String {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.local/tools");
    tools.join(name).to_str().expect("a path in UTF-8").to_owned()
}

/// The path of a script of `tests/clients`.
pub(crate) fn script(name: &str) -> String {
    format!("{}/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn oauth4webapi_runs_every_flow() {
    run("node", &[&script("oauth4webapi_flows.mjs"), &tool("oauth4webapi")]).await;
}

#[tokio::test]
async fn authlib_runs_every_flow() {
    run(&tool("clients/bin/python"), &[&script("authlib_flows.py")]).await;
}

/// The examples of `docs/introspection.md`: what they print for a key that is allowed, one whose rules refuse the call, an unknown one,
/// and for each of them without Keygate. A backend that does not know the sender asks without an address.
#[tokio::test]
async fn the_examples_of_backends_accept_allowed_calls_alone() {
    let workspace = Workspace::new().await;
    let backend = workspace.key_of("svc:api", &["tokens:introspect"]).await;
    let allowed = workspace.key_of("bob", &["orders:read"]).await;
    let elsewhere = json!({"name": "elsewhere", "user_id": "bob", "endpoints": ["GET /users"]});
    let elsewhere = text(&workspace.created(elsewhere).await, "key").to_owned();
    let tokens = [&allowed, &elsewhere, "unknown"].join(" ");
    let oauth = variable("KEYGATE_OAUTH_URL");
    for (program, script) in [("node", script("introspect.mjs")), ("python3", script("introspect.py"))] {
        let address = "203.0.113.7";
        for (url, address, expected) in [
            (oauth.as_str(), Some(address), "bob\nrefused\nrefused\n"),
            (oauth.as_str(), None, "bob\nrefused\nrefused\n"),
            ("http://127.0.0.1:9", Some(address), "failed\nfailed\nfailed\n"),
        ] {
            let mut command = Command::new(program);
            command.args([&script, url, "GET", "/orders/7"]).args(address);
            let done = command.env("KEY", &backend).env("TOKENS", &tokens).output().await.expect(program);
            let said = String::from_utf8_lossy(&done.stderr);
            assert_eq!(String::from_utf8_lossy(&done.stdout), expected, "{program} {url}: {said}");
        }
    }
}

//! OAuth clients by other authors, unchanged.

use std::path::Path;

use tokio::process::Command;

use crate::support::stack::variable;
use crate::support::workspace::Workspace;

/// Runs a client of `tests/clients` with a key of a workspace of its own.
async fn run(program: &str, arguments: &[&str]) {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "orders:write"]).await;
    let (issuer, api) = (variable("KEYGATE_OAUTH_URL"), variable("KEYGATE_REST_EXAMPLE_URL"));
    let mut command = Command::new(program);
    command.args(arguments).args([issuer, format!("{api}/echo")]).env("KEY", &key);
    let done = command.output().await.expect(program);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "every flow succeeded\n", "{said}");
    workspace.contents().await;
}

fn tool(name: &str) -> String {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.local/tools");
    tools.join(name).to_str().expect("a path in UTF-8").to_owned()
}

fn script(name: &str) -> String {
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

//! Templates of `infra/examples`, deployed for one test.

use tokio::process::Command;

use crate::oauth_clients::tool;
use crate::support::stack::variable;
use crate::support::workspace::unique;

/// A deployed template, which belongs to an adopter and not to Keygate.
pub(crate) struct Example {
    stack: String,
    /// The output `ApiId`.
    pub(crate) api: String,
}

impl Example {
    /// Deploys `infra/examples/{name}.yaml`. Each parameter is `Name=value`.
    pub(crate) async fn deploy(name: &str, parameters: &[String]) -> Self {
        let stack = unique(&format!("{}-{name}", variable("KEYGATE_EXAMPLES_STACK")));
        let template = format!("{}/../infra/examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let deploy = ["cloudformation", "deploy", "--stack-name", &stack, "--template-file", &template];
        let options = ["--capabilities", "CAPABILITY_IAM", "--parameter-overrides"];
        let parameters: Vec<_> = parameters.iter().map(String::as_str).collect();
        aws(&[&deploy[..], &options[..], &parameters[..]].concat()).await;
        let api = output(&stack, "ApiId").await;
        Self { stack, api }
    }

    /// The URL of the API, with the path of a stage that is not `$default`.
    pub(crate) fn url(&self, stage: &str) -> String {
        format!("{}/_aws/execute-api/{}{stage}", variable("AWS_ENDPOINT_URL"), self.api)
    }

    pub(crate) async fn delete(self) {
        aws(&["cloudformation", "delete-stack", "--stack-name", &self.stack]).await;
    }
}

/// An output of a stack.
pub(crate) async fn output(stack: &str, name: &str) -> String {
    let describe =
        ["cloudformation", "describe-stacks", "--stack-name", stack, "--output", "text", "--query"];
    let query = format!("Stacks[0].Outputs[?OutputKey=='{name}'].OutputValue");
    aws(&[&describe[..], &[query.as_str()]].concat()).await
}

/// Runs a command of the AWS CLI, and returns what it says.
async fn aws(arguments: &[&str]) -> String {
    let done = Command::new(tool("cli/bin/aws")).args(arguments).output().await.expect("the AWS CLI");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("a text").trim().to_owned()
}

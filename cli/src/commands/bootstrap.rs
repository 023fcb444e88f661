//! `keygate bootstrap`.
//!
//! API Gateway cannot send this event, so only principals that may invoke the function can bootstrap. A default key does
//! not exist, and nothing must be switched off afterwards: create-key refuses to bootstrap a workspace a second time.

use clap::Args;
use serde_json::{Value, json};

use crate::aws::AwsAccount;
use crate::commands::keys::seconds;
use crate::commands::{OutputFile, deliver};
use crate::context::Context;
use crate::failure::{Failure, Status, details};

/// Create the first administrator key of a workspace, with AWS credentials
#[derive(Args)]
#[command(
    after_help = "Example:\n  keygate bootstrap --stack keygate --workspace acme --user-id alice@example.com --output admin.key\n\n\
    It takes cloudformation:DescribeStacks of the stack and lambda:InvokeFunction of the function create-key."
)]
pub(crate) struct Bootstrap {
    /// The workspace, which is made by this
    #[arg(long)]
    workspace: String,
    /// The administrator's id
    #[arg(long, value_name = "USER")]
    user_id: String,
    /// The name of the key
    #[arg(long, default_value = "first administrator key")]
    name: String,
    /// When the key expires, as in 8h; by default as late as the deployment allows, or never
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    expires_in: Option<u64>,
    /// Create a key in a workspace that has users, when no administrator key works; the audit trail says so
    #[arg(long)]
    break_glass: bool,
    #[command(flatten)]
    file: OutputFile,
}

impl Bootstrap {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// The stack cannot be read, or its function refused.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let aws = context.aws()?;
        let function = aws.stack(context.stack())?.output("CreateKeyFunctionName")?;
        let destination = self.file.open()?;
        let mut request = json!({"workspace_id": self.workspace, "user_id": self.user_id, "name": self.name});
        if let Some(seconds) = self.expires_in {
            request["expires_in"] = seconds.into();
        }
        if self.break_glass {
            request["break_glass"] = true.into();
        }
        let key = first_key(&aws, &function, &request)?;
        let sentence = format!(
            "Administrator key {} of {} in workspace {} is created. Use it to create keys with fewer scopes, and delete \
             it once they replace it.",
            key["id"].as_str().unwrap_or_default(),
            self.user_id,
            self.workspace
        );
        deliver(context.output, key, "key", &["key"], destination, &sentence)
    }
}

/// The first key of a workspace, by the function create-key.
///
/// # Errors
///
/// The function refused, or could not be invoked.
pub(crate) fn first_key(aws: &AwsAccount, function: &str, request: &Value) -> Result<Value, Failure> {
    let key = aws.invoke(function, &json!({"bootstrap": request}))?;
    if key["key"].is_string() { Ok(key) } else { Err(refusal(&key)) }
}

/// A response of create-key without a key: a problem document, or the error of a failed function.
fn refusal(response: &Value) -> Failure {
    let reason =
        response["detail"].as_str().or(response["errorMessage"].as_str()).unwrap_or("no reason given");
    let code = response["code"].as_str();
    let status = match response["status"].as_u64() {
        Some(400) => Status::Usage,
        Some(500..) => Status::Unavailable,
        _ => Status::Failed,
    };
    let mut failure = Failure::new(status, format!("create-key refused: {reason}"));
    failure.details = details(response);
    if code == Some("already_bootstrapped") {
        failure = failure.advise("if no administrator key works, give --break-glass; this is audited");
    }
    failure.code = code.map(Into::into);
    failure
}

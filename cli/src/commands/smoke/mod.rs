//! `keygate smoke`: uses a deployed stack as its clients do, in a workspace of its own.
//!
//! - `run`: what the checks share: the calls, the keys of the run, waiting
//! - `call`: one call, and its response
//! - `report`: the results, for people and programs
//! - `routes`: every route, and what it takes
//! - `keys`, `sessions`, `leaks`, `page`, `tokens`, `users`, `legacy`, `trail`, `own_api`: the checks
//! - `clean_up`: the end of all keys of the run
//!
//! A check that fails does not end the others.

mod call;
mod clean_up;
mod keys;
mod leaks;
mod legacy;
mod own_api;
mod page;
mod report;
mod routes;
mod run;
mod sessions;
mod tokens;
mod trail;
mod users;

use clap::Args;
use http::Method;
use serde_json::json;

use self::report::Report;
use self::run::{Addresses, Check, Key, LIFETIME_SECONDS, Run, random_hex};
use crate::api::{Call, ManagementApi, check_encrypted};
use crate::commands::bootstrap;
use crate::context::Context;
use crate::failure::{Failure, Status};
use crate::interruption;
use crate::output::note;

/// Check that a deployed stack works: every route, and the end of everything that is revoked
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    keygate smoke --stack keygate\n  \
    keygate smoke --stack keygate --call https://api.example.com/orders --json\n\n\
    It creates a workspace of its own, `smoke-` and random characters, calls the routes of the management API and of the\n\
    OAuth API, and ends its keys. Its API keys expire within an hour in any case. A legacy key, if the stack accepts any,\n\
    is deleted at once; it has no expiry of its own. The workspace stays, with its audit trail and the marks of its removed\n\
    users.\n\n\
    The command and the stack have to be of the same version.\n\n\
    It takes cloudformation:DescribeStacks of the stack and lambda:InvokeFunction of the function create-key, and of\n\
    import-legacy-keys if the stack accepts legacy keys.")]
pub(crate) struct Smoke {
    /// URL of the OAuth API [default: the stack's output `OAuthUrl`]
    #[arg(long, value_name = "URL", env = "KEYGATE_OAUTH_URL")]
    oauth_url: Option<String>,
    /// Endpoint of your own API behind the authorizer, called by GET with a key of the run; can be repeated
    #[arg(long = "call", value_name = "URL")]
    endpoints: Vec<String>,
}

/// The checks, in their order. The last one ends everything that the others made.
const CHECKS: [(&str, Check); 12] = [
    ("refusals", routes::check),
    ("keys", keys::check),
    ("sessions", sessions::check),
    ("leaks", leaks::check),
    ("page", page::check),
    ("tokens", tokens::check),
    ("jwts", tokens::check_jwts),
    ("users", users::check),
    ("legacy keys", legacy::check),
    ("audit trail", trail::check),
    ("own API", own_api::check),
    ("clean-up", clean_up::check),
];

impl Smoke {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// The run cannot begin, a check failed, or the output cannot be written.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        interruption::advise(
            "all API keys of the run expire within an hour; a legacy key of it works until LegacySunset",
            context.output.json,
        )?;
        let mut run = self.begin(context)?;
        let mut report = Report::new(context.output);
        // The keys of the run end even if the reader of the output is gone.
        let mut written = Ok(());
        for (name, check) in CHECKS {
            let result = run.measure(name, check);
            written = written.and(report.add(result));
        }
        let written = written.and_then(|()| report.end());
        // A failure has its exit status, whether it could be shown or not.
        report.verdict().and(written)
    }

    /// Bootstraps the workspace of the run. Its administrator key expires within an hour, as every key of the run.
    fn begin(self, context: &Context) -> Result<Run, Failure> {
        let aws = context.aws()?;
        let stack = aws.stack(context.stack())?;
        let function = stack.output("CreateKeyFunctionName")?;
        let oauth = self.oauth_url.filter(|url| !url.is_empty());
        let addresses = Addresses {
            management: without_slash(&context.url_of(&stack)?),
            oauth: without_slash(&oauth.map_or_else(|| stack.output("OAuthUrl"), Ok)?),
            endpoints: self.endpoints,
        };
        for url in addresses.endpoints.iter().chain([&addresses.oauth]) {
            check_encrypted(url, not_an_endpoint)?;
        }
        // Before there is a key that this API would have to end.
        refuses(&ManagementApi::new(context.http(), &addresses.management, None)?)?;

        let workspace = format!("smoke-{}", random_hex(6)?);
        note(&format!("Stack {}, {}, workspace {workspace}", stack.name, addresses.management));
        let request = json!({
            "workspace_id": workspace,
            "user_id": "smoke-admin",
            "name": "smoke test",
            "expires_in": LIFETIME_SECONDS,
        });
        let administrator = Key::of(&bootstrap::first_key(&aws, &function, &request)?)
            .ok_or_else(|| Failure::new(Status::Failed, "the first key has no id"))?;
        accepts(&ManagementApi::new(
            context.http(),
            &addresses.management,
            Some(administrator.text.clone()),
        )?)?;
        Ok(Run::new(context.http(), aws, stack, addresses, workspace, administrator))
    }
}

/// Checks that a management API is there, which refuses a call without a credential.
fn refuses(api: &ManagementApi) -> Result<(), Failure> {
    match api.send(&Call::new(Method::GET, &["me"])) {
        Err(failure) if failure.code.as_deref() == Some("unauthorized") => Ok(()),
        Err(failure) if failure.status == Status::Refused => Err(failure.advise(
            "GET /me without a credential is not refused as by a management API of Keygate: is the URL that of the stack?",
        )),
        Err(failure) => Err(failure),
        Ok(_) => Err(Failure::new(Status::Failed, "GET /me is answered without a credential")),
    }
}

/// Checks that a management API accepts the first key.
fn accepts(api: &ManagementApi) -> Result<(), Failure> {
    match api.send(&Call::new(Method::GET, &["me"])) {
        Ok(_) => Ok(()),
        Err(failure) => Err(failure.advise(
            "the management API does not accept the key that the stack has just created, and which expires within an hour: are \
             the URL and the stack those of one deployment?",
        )),
    }
}

fn without_slash(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

fn not_an_endpoint(shown: &str) -> Failure {
    Failure::usage(format!("`{shown}` is not a URL")).advise("it begins with https://")
}

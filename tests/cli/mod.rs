//! The command `keygate`, run as operators and programs run it.

mod aws;
mod credentials;
mod failures;
mod journeys;
mod output;
pub(crate) mod scripted;
mod smoke;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::function::binary;
use crate::support::stack::{remember_secret, variable};
use crate::support::workspace::{Workspace, unique};

/// A command in an environment of its own: nothing of this process's, and a home folder without a profile.
pub(crate) struct Keygate {
    home: PathBuf,
    variables: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Keygate {
    /// Without any settings.
    pub(crate) fn new() -> Self {
        let home = std::env::temp_dir().join(unique("keygate-cli"));
        std::fs::create_dir_all(&home).expect("a folder");
        Self { home, variables: Vec::new() }
    }

    /// As the administrator of a workspace.
    pub(crate) fn of(workspace: &Workspace) -> Self {
        Self::with_key(&workspace.admin)
    }

    /// With a key at the management API of the stack.
    pub(crate) fn with_key(key: &str) -> Self {
        Self::new().set("KEYGATE_API_URL", &variable("KEYGATE_API_URL")).set("KEYGATE_KEY", key)
    }

    /// With the credentials of the stack's AWS.
    pub(crate) fn in_aws() -> Self {
        let names = [
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_DYNAMODB",
            "KEYGATE_STACK",
        ];
        names.iter().fold(Self::new(), |command, name| command.set(name, &variable(name)))
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path in the command's home folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// A file below the command's home folder.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, content).expect("the file can be written");
        path
    }

    /// The process, not started.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", &self.home).env("PATH", "/usr/bin:/bin");
        // There is no instance to ask for credentials.
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Done {
        self.run_with_input(arguments, "").await
    }

    pub(crate) async fn run_with_input(&self, arguments: &[&str], input: &str) -> Done {
        let mut process = self
            .command(&binary("keygate"))
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut stdin = process.stdin.take().expect("its input");
        // A command that reads no input may be gone by now.
        stdin.write_all(input.as_bytes()).await.ok();
        drop(stdin);
        let output = process.wait_with_output().await.expect("the command ends");
        Done {
            status: output.status.code().expect("an exit status"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Runs a command at a terminal, and types `input`. Returns whether it succeeded, and what the terminal showed.
    pub(crate) async fn at_a_terminal(&self, command: &str, input: &str) -> (bool, String) {
        // `script`, of the package bsdutils, gives the command a terminal, and types what it reads.
        let command = format!("{} {command}", binary("keygate").display());
        let mut process = self
            .command(Path::new("script"))
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("script");
        let mut stdin = process.stdin.take().expect("its input");
        stdin.write_all(input.as_bytes()).await.expect("it reads");
        let output = process.wait_with_output().await.expect("the command ends");
        drop(stdin);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a command with `--json`, and compares its document with the schema of the command.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let done = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(done.status, 0, "{arguments:?}: {done:?}");
        let document: Value = serde_json::from_str(&done.stdout).expect("JSON");
        let command: Vec<_> = arguments.iter().take_while(|word| !word.starts_with('-')).copied().collect();
        let name = command[..command.len().min(2)].join(" ");
        let name = if COMMANDS_OF_ONE_WORD.contains(&command[0]) { command[0] } else { &name };
        assert_document(name, &document).await;
        for member in ["key", "session"] {
            if let Some(credential) = document["item"][member].as_str() {
                remember(credential);
            }
        }
        document
    }
}

const COMMANDS_OF_ONE_WORD: [&str; 4] = ["activity", "bootstrap", "usage", "whoami"];

impl Drop for Keygate {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.home).ok();
    }
}

impl Done {
    /// A success, and what it wrote to standard output.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.status, 0, "{self:?}");
        self.stdout.trim_end()
    }

    /// A failure of a status, whose text has `texts`, and that wrote nothing to standard output.
    #[track_caller]
    pub(crate) fn assert_failed(&self, status: i32, texts: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        for text in texts {
            assert!(self.stderr.contains(text), "{text}: {self:?}");
        }
    }
}

/// The secret part of a credential is in no table and no log.
pub(crate) fn remember(credential: &str) {
    remember_secret(&credential[credential.len() - 49..][..43]);
}

/// Compares a document with its definition in the schema, by the validator that the tools of the repository have.
pub(crate) async fn assert_document(name: &str, document: &Value) {
    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    const CHECK: &str = "import json, sys, jsonschema\n\
        schema = json.load(open('cli/schemas/v1.json'))\n\
        definition = schema['$defs']['commands'][sys.argv[1]]\n\
        jsonschema.Draft202012Validator({**definition, '$defs': schema['$defs']}).validate(json.load(sys.stdin))";
    let mut process = Command::new(format!("{ROOT}/.local/tools/cli/bin/python"))
        .args(["-B", "-c", CHECK, name])
        .current_dir(ROOT)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the script runs; `make setup` installs what it takes");
    let mut stdin = process.stdin.take().expect("its input");
    stdin.write_all(document.to_string().as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = process.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

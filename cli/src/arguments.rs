//! The arguments of the command.

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::commands::{
    activity, bootstrap, caller, keys, leaks, legacy, pepper, restore, sessions, smoke, tokens, usage, users,
};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

const EXAMPLES: &str = "\
Begin with a deployed stack, AWS credentials and a Region:
  keygate bootstrap --stack keygate --workspace acme --user-id alice@example.com --output admin.key
  export KEYGATE_STACK=keygate KEYGATE_KEY=\"$(cat admin.key)\"
  keygate keys create \"nightly export\" --scope orders:read --expires-in 90d
  keygate keys list

With the URL of the management API (the stack's output ApiUrl) no AWS credentials are needed:
  export KEYGATE_API_URL=https://abc123.execute-api.eu-west-1.amazonaws.com/v1

Settings are options, then variables, then a profile of ~/.config/keygate/config.toml.
Exit status: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 throttled or unavailable.";

/// Manage the API keys of Keygate
#[derive(Parser)]
#[command(name = "keygate", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command can be given.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings")]
pub(crate) struct Options {
    /// Profile of the configuration file [default: default]
    #[arg(long, global = true, value_name = "NAME", env = "KEYGATE_PROFILE")]
    pub(crate) profile: Option<String>,
    /// URL of the management API: the stack's output `ApiUrl`
    #[arg(long, global = true, value_name = "URL", env = "KEYGATE_API_URL")]
    pub(crate) url: Option<String>,
    /// Name of the stack, whose outputs are read with AWS credentials [default: keygate]
    #[arg(long, global = true, value_name = "NAME", env = "KEYGATE_STACK")]
    pub(crate) stack: Option<String>,
    /// AWS Region of the stack [default: that of the AWS configuration]
    #[arg(long, global = true, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Profile of the AWS configuration
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) aws_profile: Option<String>,
    /// Read your key from standard input, instead of `KEYGATE_KEY`
    #[arg(long, global = true)]
    pub(crate) key_stdin: bool,
    /// Write JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The commands, in the order of a newcomer.
#[derive(Subcommand)]
pub(crate) enum Command {
    Bootstrap(bootstrap::Bootstrap),
    Whoami(caller::Whoami),
    #[command(subcommand)]
    Keys(keys::Keys),
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    #[command(subcommand)]
    Users(users::Users),
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    Usage(usage::Usage),
    Activity(activity::Activity),
    #[command(subcommand)]
    Leaks(leaks::Leaks),
    #[command(subcommand)]
    Legacy(legacy::Legacy),
    #[command(subcommand)]
    Pepper(pepper::Pepper),
    Restore(restore::Restore),
    Smoke(smoke::Smoke),
    /// Write the completions of a shell
    #[command(after_help = "Example:\n  source <(keygate completions bash)")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// Its own.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Bootstrap(command) => command.run(context),
            Self::Whoami(command) => command.run(context),
            Self::Keys(command) => command.run(context),
            Self::Tokens(command) => command.run(context),
            Self::Users(command) => command.run(context),
            Self::Sessions(command) => command.run(context),
            Self::Usage(command) => command.run(context),
            Self::Activity(command) => command.run(context),
            Self::Leaks(command) => command.run(context),
            Self::Legacy(command) => command.run(context),
            Self::Pepper(command) => command.run(context),
            Self::Restore(command) => command.run(context),
            Self::Smoke(command) => command.run(context),
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Arguments::command(), "keygate", &mut script);
                output::line(String::from_utf8_lossy(&script).trim_end())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent_and_every_command_shows_an_example() {
        fn check(command: &clap::Command) {
            if command.get_name() != "help" && !command.has_subcommands() {
                let help = command.get_after_help().unwrap_or_default().to_string();
                assert!(help.contains("keygate "), "{}: {help}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        Arguments::command().debug_assert();
        check(&Arguments::command());
    }
}

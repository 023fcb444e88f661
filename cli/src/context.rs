//! What the options, the variables and the profile say together.

use std::io::{self, IsTerminal, Write};

use crate::api::ManagementApi;
use crate::arguments::Options;
use crate::aws::{AwsAccount, Stack};
use crate::configuration::Settings;
use crate::failure::Failure;
use crate::http::Http;
use crate::output::Output;
use crate::secret;

/// The stack that `make deploy` makes.
const DEFAULT_STACK: &str = "keygate";

/// The deployment that a command works on, and how it writes.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) output: Output,
    options: Options,
    profile: Settings,
    http: Http,
}

impl Context {
    /// Reads the profile.
    ///
    /// # Errors
    ///
    /// As [`Settings::read`].
    pub(crate) fn new(mut options: Options) -> Result<Self, Failure> {
        // A variable that is set to nothing is not set.
        for option in [&mut options.profile, &mut options.url, &mut options.stack] {
            option.take_if(|value| value.is_empty());
        }
        let profile = Settings::read(options.profile.as_deref())?;
        Ok(Self { output: Output::new(options.json), options, profile, http: Http::new() })
    }

    /// The management API, with the caller's key.
    ///
    /// # Errors
    ///
    /// Its URL or the key is not known.
    pub(crate) fn api(&self) -> Result<ManagementApi, Failure> {
        let url = self.url()?;
        ManagementApi::new(self.http.clone(), &url, Some(secret::key(self.options.key_stdin)?))
    }

    /// The management API, for routes without a caller.
    ///
    /// # Errors
    ///
    /// Its URL is not known.
    pub(crate) fn public_api(&self) -> Result<ManagementApi, Failure> {
        if self.options.key_stdin {
            return Err(Failure::usage("this command needs no key: leave --key-stdin out"));
        }
        ManagementApi::new(self.http.clone(), &self.url()?, None)
    }

    /// The AWS account of the stack.
    ///
    /// # Errors
    ///
    /// As [`AwsAccount::new`].
    pub(crate) fn aws(&self) -> Result<AwsAccount, Failure> {
        // Variables of AWS come after options and before the profile, as those of Keygate do.
        let unless_set = |names: &[&str], value: &Option<String>| {
            let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            if names.iter().any(is_set) { None } else { value.clone() }
        };
        let region = self.options.region.clone();
        let region =
            region.or_else(|| unless_set(&["AWS_REGION", "AWS_DEFAULT_REGION"], &self.profile.region));
        let profile = self.options.aws_profile.clone();
        let profile = profile.or_else(|| unless_set(&["AWS_PROFILE"], &self.profile.aws_profile));
        AwsAccount::new(self.http.clone(), region, profile)
    }

    /// The connections of all requests.
    pub(crate) fn http(&self) -> Http {
        self.http.clone()
    }

    /// The URL of the management API that is set, else the output of the stack.
    ///
    /// # Errors
    ///
    /// The stack has no such output.
    pub(crate) fn url_of(&self, stack: &Stack) -> Result<String, Failure> {
        self.url_that_is_set().map_or_else(|| stack.output("ApiUrl"), |url| Ok(url.to_owned()))
    }

    /// The name of the stack.
    pub(crate) fn stack(&self) -> &str {
        self.named_stack().unwrap_or(DEFAULT_STACK)
    }

    /// Asks at the terminal whether to do what cannot be undone; without a terminal it must have been said before.
    ///
    /// # Errors
    ///
    /// It was not confirmed.
    pub(crate) fn confirm(&self, yes: bool, question: &str) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if self.options.key_stdin || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::usage(format!("{question} Without a terminal, confirm with --yes")));
        }
        let mut response = String::new();
        let mut stderr = io::stderr();
        write!(stderr, "{question} [y/N] ")
            .and_then(|()| stderr.flush())
            .and_then(|()| io::stdin().read_line(&mut response))
            .map_err(|error| Failure::usage(format!("the confirmation cannot be read: {error}")))?;
        if matches!(response.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            Ok(())
        } else {
            Err(Failure::usage("not confirmed: nothing was done"))
        }
    }

    fn named_stack(&self) -> Option<&str> {
        self.options.stack.as_deref().or(self.profile.stack.as_deref())
    }

    /// The URL that an option, a variable or the profile sets.
    fn url_that_is_set(&self) -> Option<&str> {
        // An option or a variable outranks the profile, whichever of the two it sets.
        match (&self.options.url, &self.options.stack) {
            (Some(url), _) => Some(url),
            (None, Some(_)) => None,
            (None, None) => self.profile.url.as_deref(),
        }
    }

    /// The URL that is set, else the output of the stack that is named.
    fn url(&self) -> Result<String, Failure> {
        if let Some(url) = self.url_that_is_set() {
            return Ok(url.to_owned());
        }
        if let Some(stack) = self.named_stack() {
            return self.aws()?.stack(stack)?.output("ApiUrl");
        }
        Err(Failure::usage("the URL of the management API is not known").advise(
            "set --url or KEYGATE_API_URL to the stack's output ApiUrl, or --stack or KEYGATE_STACK to its name, which \
             needs AWS credentials; or put `url` into a profile",
        ))
    }
}

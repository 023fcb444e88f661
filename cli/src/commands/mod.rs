//! The commands, each with its arguments.

pub(crate) mod activity;
pub(crate) mod bootstrap;
pub(crate) mod caller;
pub(crate) mod keys;
pub(crate) mod leaks;
pub(crate) mod legacy;
pub(crate) mod pepper;
pub(crate) mod restore;
pub(crate) mod sessions;
pub(crate) mod smoke;
pub(crate) mod tokens;
pub(crate) mod usage;
pub(crate) mod users;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::failure::{Failure, Status};
use crate::output::{Output, line, note};
use crate::secret::Destination;

/// How much of a list.
#[derive(Args, Debug)]
pub(crate) struct Extent {
    /// Maximum number of rows
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All rows
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Extent {
    pub(crate) fn limit(&self) -> Option<usize> {
        (!self.all).then_some(usize::try_from(self.limit).unwrap_or(usize::MAX))
    }
}

/// Where a new credential goes.
#[derive(Args, Debug)]
pub(crate) struct OutputFile {
    /// Write the credential to a new file that only you can read, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl OutputFile {
    /// Creates the file before the credential is made.
    ///
    /// # Errors
    ///
    /// As [`Destination::open`].
    pub(crate) fn open(&self) -> Result<Destination, Failure> {
        Destination::open(self.output.as_deref())
    }
}

/// Hands out the credential in `member` of a response, which no other response will have. The other `secrets` of the
/// response are left out of a document if the credential goes to a file.
///
/// # Errors
///
/// It cannot be written. The failure says that it is lost.
pub(crate) fn deliver(
    output: Output,
    mut item: Value,
    member: &str,
    secrets: &[&str],
    destination: Destination,
    sentence: &str,
) -> Result<(), Failure> {
    let id = item["id"].as_str().unwrap_or_default().to_owned();
    let credential = item[member]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(Status::Failed, format!("the response for {id} has no `{member}`")))?;
    let written = destination.write(&credential).and_then(|path| {
        note(sentence);
        if let Some(path) = path {
            for secret in secrets {
                item.as_object_mut().map(|members| members.remove(*secret));
            }
            item["output"] = json!(path);
            note(&format!("It is in {}, and shown nowhere else.", path.display()));
            return if output.json { output.item(&item, &[]) } else { line(&id) };
        }
        note("It is shown only now, and stored nowhere: put it into your secret store.");
        if output.json { output.item(&item, &[]) } else { line(&credential) }
    });
    written.map_err(|failure| {
        let failure = Failure { status: Status::Failed, ..failure };
        failure.advise(format!("the credential of {id} may be lost: rotate or delete it"))
    })
}

#[cfg(test)]
mod tests {
    /// The properties of a schema of the API's documentation, in their order.
    pub(super) fn documented(schema: &str) -> Vec<&'static str> {
        const DOCUMENTATION: &str =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/openapi.yaml"));
        let heading = format!("    {schema}:");
        let lines = DOCUMENTATION.lines().skip_while(|line| *line != heading).skip(1);
        let lines = lines.take_while(|line| line.starts_with("     ") || line.trim().is_empty());
        let properties = lines.filter_map(|line| line.strip_prefix("        ")?.strip_suffix(':'));
        properties.filter(|name| !name.starts_with(' ')).collect()
    }
}

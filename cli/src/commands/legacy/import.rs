//! `keygate legacy import`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use chrono::Utc;
use clap::Args;
use keygate_core::credential::Brand;
use keygate_core::legacy_credential::LegacyRules;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::file::{FIELDS, Format, Lines, Record, Records};
use super::resumption::{Import as Resumable, ProgressFile};
use crate::aws::{AwsAccount, Stack};
use crate::context::Context;
use crate::failure::{Failure, Status};
use crate::interruption;
use crate::output::note;
use crate::progress::Progress;
use crate::retry::pause_of;

/// The maximum number of attempts to import a batch.
const MAX_ATTEMPTS: u32 = 10;
/// Codes of the function after which the same batch may succeed: another request changes the same items, or a service is
/// unavailable.
const TRANSIENT: [&str; 2] = ["conflict", "unavailable"];

/// Import keys from a file, and name the lines that were not imported
#[derive(Args)]
#[command(after_help = "Examples:\n  keygate legacy import keys.jsonl --workspace acme --dry-run\n  \
    keygate legacy import keys.csv --workspace acme\n  your-export | keygate legacy import - --workspace acme\n\n\
    The file has a JSON object in each line, or a heading and rows with scopes separated by spaces:\n  \
    {\"key\": \"old-5f7c...\", \"user_id\": \"bob@example.com\", \"name\": \"nightly export\", \"scopes\": [\"orders:read\"]}\n  \
    {\"sha256\": \"2cf24dba...\", \"user_id\": \"carol@example.com\", \"name\": \"dashboard\"}\n\n\
    A key in plain text is hashed here, so that only its SHA-256 leaves the machine. Output and errors have no value of\n\
    the file, because it may be a key. FILE.progress, beside the file, has the number of imported lines, from the first\n\
    on. The next run continues after them, unless one of them has changed. Standard input is not resumed: keys that\n\
    exist are compared.\n\n\
    It takes cloudformation:DescribeStacks of the stack and lambda:InvokeFunction of the function import-legacy-keys.")]
pub(crate) struct Import {
    /// File of keys, or - for standard input
    file: PathBuf,
    /// Workspace of the keys
    #[arg(long)]
    workspace: String,
    /// How keys are written [default: csv if the name of the file ends in .csv, else jsonl]
    #[arg(long)]
    format: Option<Format>,
    /// Replace keys that exist with other values: each gets the values of its line, and a new id
    #[arg(long)]
    update: bool,
    /// Write nothing, and say what would be imported
    #[arg(long)]
    dry_run: bool,
    /// Number of keys in one call of the function
    #[arg(long, value_name = "KEYS", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch_size: u16,
}

impl Import {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// The stack or the file cannot be read, or a key was not imported.
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let aws = context.aws()?;
        let stack = aws.stack(context.stack())?;
        let function = stack.output("ImportLegacyKeysFunctionName").map_err(|_| accepts_none(&stack))?;
        let rules = Rules::of(&stack)?;
        let is_stdin = self.file.as_os_str() == "-";
        let of =
            Resumable { stack: stack.id.clone(), workspace: self.workspace.clone(), update: self.update };
        // A file that is read once cannot be compared with what was imported of it.
        let resumable = !is_stdin && !self.dry_run;
        let resumption = resumable.then(|| ProgressFile::new(&self.file, of));
        if resumption.is_some() {
            interruption::advise(
                "run the same command again: it continues where it stopped",
                context.output.json,
            )?;
        }
        let (mut known, mut total) = (0, None);
        if !is_stdin {
            if let Some(resumption) = &resumption {
                known = resumption.lines(self.open()?)?;
            }
            let mut lines = Lines::new(self.open()?);
            while lines.next()?.is_some() {}
            total = Some(lines.count());
        }
        if known > 0 {
            note(&format!("{known} lines are imported already: continuing after them"));
        }
        let progress = Progress::new(total, "lines");
        progress.begin_with(known);
        let call = Call { aws: &aws, function, import: &self, progress: &progress };
        let mut run = Run { call, rules, resumption, json: context.output.json, results: Results::default() };
        run.results.resumed_after = known;
        run.import(self.open()?, self.format())?;
        let Run { results, .. } = run;
        let rate = progress.rate();
        drop(progress);
        results.tell(context, &self, rate)
    }

    fn open(&self) -> Result<Box<dyn BufRead>, Failure> {
        if self.file.as_os_str() == "-" {
            return Ok(Box::new(BufReader::new(io::stdin())));
        }
        let file = File::open(&self.file);
        let file =
            file.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", self.file.display())))?;
        Ok(Box::new(BufReader::new(file)))
    }

    fn format(&self) -> Format {
        let is_csv = self.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        self.format.unwrap_or(if is_csv { Format::Csv } else { Format::Jsonl })
    }
}

/// The failure of a stack without legacy keys.
pub(super) fn accepts_none(stack: &Stack) -> Failure {
    Failure::new(Status::NotFound, format!("the stack {} accepts no legacy keys", stack.name))
        .advise("deploy it with LegacySunset and LegacyPattern")
}

/// The deployed authorizer's rules for texts that can be legacy keys. The function cannot apply them to a digest.
struct Rules {
    rules: LegacyRules,
    brand: Brand,
}

impl Rules {
    fn of(stack: &Stack) -> Result<Self, Failure> {
        let wrong = |name: &str| {
            Failure::new(Status::Failed, format!("the parameter {name} of the stack cannot be read"))
        };
        let pattern = stack.parameter("LegacyPattern").and_then(LegacyRules::pattern);
        let pattern = pattern.ok_or_else(|| wrong("LegacyPattern"))?;
        let brand = stack.parameter("Brand").unwrap_or("kg").parse().map_err(|_| wrong("Brand"))?;
        Ok(Self { rules: LegacyRules { sunset: Utc::now(), pattern, header: None }, brand })
    }

    /// The fields with the SHA-256 of the key in place of the key, so that no key in plain text is ever sent. So a record
    /// that may have one in another field is refused here. The function checks everything else.
    fn digested(&self, mut fields: Map<String, Value>) -> Result<Value, String> {
        let unknown = fields.keys().filter(|name| !FIELDS.contains(&name.as_str())).count();
        if unknown > 0 {
            return Err(format!("has {unknown} unknown fields: the fields are {}", FIELDS.join(", ")));
        }
        let Some(key) = fields.remove("key") else { return Ok(fields.into()) };
        let key = key.as_str().filter(|key| !key.is_empty() && !fields.contains_key("sha256"));
        let key = key.ok_or("key must be a non-empty text, without sha256 beside it")?;
        self.rules.check(key, &self.brand).map_err(|unusable| format!("key {unusable}"))?;
        fields.insert("sha256".to_owned(), hex::encode(Sha256::digest(key)).into());
        Ok(fields.into())
    }
}

/// The call of the function.
struct Call<'a> {
    aws: &'a AwsAccount,
    function: String,
    import: &'a Import,
    progress: &'a Progress,
}

/// The response of the function for a batch.
#[derive(Debug, Deserialize)]
struct Response {
    imported: u64,
    present: u64,
    #[serde(default)]
    updated: u64,
    keys: Vec<KeyResult>,
}

/// The result of one key of a batch.
#[derive(Debug, Deserialize)]
struct KeyResult {
    result: String,
    #[serde(default)]
    fields: Vec<String>,
    same_as: Option<usize>,
    #[serde(default)]
    errors: Vec<InvalidField>,
}

#[derive(Debug, Deserialize)]
struct InvalidField {
    pointer: String,
    detail: String,
}

impl Call<'_> {
    /// Imports a batch, and repeats it after transient failures. A function that timed out has imported a part, and the next
    /// attempt imports the rest.
    fn send(&self, batch: &[(u64, Value)]) -> Result<Response, Failure> {
        let Import { workspace, update, dry_run, .. } = self.import;
        let keys: Vec<_> = batch.iter().map(|(_, key)| key).collect();
        let mut import = json!({"workspace_id": workspace, "keys": keys});
        if *update {
            import["update"] = true.into();
        }
        if *dry_run {
            import["dry_run"] = true.into();
        }
        let event = json!({"import": import});
        let lines = match batch {
            [(first, _), .., (last, _)] => format!("lines {first} to {last}"),
            [(only, _)] => format!("line {only}"),
            [] => String::new(),
        };
        for attempt in 1.. {
            let reason = match self.aws.invoke_once(&self.function, &event) {
                Ok(response) if response.get("imported").is_some() => {
                    return serde_json::from_value(response).map_err(|_| {
                        Failure::new(Status::Failed, format!("{lines}: the response cannot be read"))
                    });
                }
                Ok(response) => self.transient(&lines, &response)?,
                Err(failure) if is_transient(&failure) => failure.message,
                Err(failure) => return Err(failure),
            };
            let is_last = attempt == MAX_ATTEMPTS;
            if is_last || !self.progress.suspend(|| pause_of(attempt, MAX_ATTEMPTS, None, &reason)) {
                let message = format!("{lines}: given up after {attempt} attempts: {reason}");
                return Err(
                    Failure::new(Status::Unavailable, message).advise("run the same command again later")
                );
            }
        }
        unreachable!("the last attempt returns")
    }

    /// The reason of a response after which the batch can be sent again.
    fn transient(&self, lines: &str, response: &Value) -> Result<String, Failure> {
        let text = |name: &str| response[name].as_str();
        let reason = text("detail").or(text("errorMessage")).unwrap_or("no reason given").to_owned();
        let code = text("code").unwrap_or_default();
        if TRANSIENT.contains(&code) || response.get("errorMessage").is_some() || response.is_null() {
            return Ok(reason);
        }
        let workspace = &self.import.workspace;
        let mut failure = if code == "no_such_workspace" {
            let message = format!("the workspace {workspace} does not exist, so nothing was imported");
            Failure::new(Status::NotFound, message).advise("check its name")
        } else {
            Failure::new(Status::Failed, format!("{lines}: {reason}"))
        };
        for error in response["errors"].as_array().into_iter().flatten() {
            let text = |name: &str| error[name].as_str().unwrap_or_default();
            failure.details.push(format!("{}: {}", text("pointer"), text("detail")));
        }
        if !failure.details.is_empty() {
            failure.status = Status::Usage;
        }
        failure.code = (!code.is_empty()).then(|| code.into());
        Err(failure)
    }
}

/// Whether a batch may be sent again. The function compares existing keys, so a batch that arrived twice does no harm.
fn is_transient(failure: &Failure) -> bool {
    failure.status == Status::Unavailable || failure.code.as_deref() == Some("ResourceConflictException")
}

/// Why a key was not imported with its values; `None` if it was. `lines` are the numbers of its batch.
fn reason(result: &KeyResult, lines: &[u64]) -> Option<String> {
    let same = result.same_as.and_then(|index| lines.get(index));
    let same = same.map_or_else(|| "already imported".to_owned(), |line| format!("in line {line}"));
    Some(match result.result.as_str() {
        "imported" | "present" | "updated" => return None,
        "other_values" => format!("the key is {same} with other values: {}", result.fields.join(", ")),
        "other_workspace" => "the key is already imported into another workspace".to_owned(),
        "user_removed" => "user_id must not be a user who was removed from the workspace, and the key must not be one of such a user".to_owned(),
        "deleted" => "the key was deleted while it was replaced".to_owned(),
        "duplicate" => format!("the key is {same}, which was not imported"),
        "invalid" => {
            // A pointer begins with /keys and the index.
            let faults = result.errors.iter().map(|error| {
                let field = error.pointer.splitn(4, '/').nth(3).unwrap_or_default();
                format!("{field} {}", error.detail).trim().to_owned()
            });
            faults.collect::<Vec<_>>().join("; ")
        }
        other => format!("the function returned {other}"),
    })
}

/// One run.
struct Run<'a> {
    call: Call<'a>,
    rules: Rules,
    resumption: Option<ProgressFile>,
    json: bool,
    results: Results,
}

/// The results so far.
#[derive(Debug, Default)]
struct Results {
    resumed_after: u64,
    lines: u64,
    imported: u64,
    updated: u64,
    present: u64,
    /// The lines that were not imported, and why, for a document.
    refused: BTreeMap<u64, String>,
    refused_count: u64,
}

impl Run<'_> {
    /// Imports the remaining lines.
    fn import(&mut self, input: Box<dyn BufRead>, format: Format) -> Result<(), Failure> {
        let mut records = Records::new(input, format);
        let mut batch = Vec::new();
        while let Some(Record { line, fields }) = records.next()? {
            if line <= self.results.resumed_after {
                continue;
            }
            match fields.and_then(|fields| self.rules.digested(fields)) {
                Ok(key) => batch.push((line, key)),
                Err(why) => self.refuse(line, why),
            }
            if batch.len() == usize::from(self.call.import.batch_size) {
                self.finish(&mut batch, &records.lines)?;
            }
        }
        self.finish(&mut batch, &records.lines)?;
        let results = &self.results;
        if results.resumed_after
            + results.imported
            + results.updated
            + results.present
            + results.refused_count
            == 0
        {
            return Err(Failure::usage("the file has no keys"));
        }
        // A key of the file can be given other values by another file: the next update must look at it.
        if let Some(resumption) = &self.resumption
            && self.call.import.update
            && results.refused_count == 0
        {
            resumption.remove();
        }
        Ok(())
    }

    /// Sends the batch, and notes the progress, which ends before the first line that was not imported.
    fn finish<R: BufRead>(&mut self, batch: &mut Vec<(u64, Value)>, read: &Lines<R>) -> Result<(), Failure> {
        if !batch.is_empty() {
            let response = self.call.send(batch)?;
            let lines: Vec<_> = batch.drain(..).map(|(line, _)| line).collect();
            if response.keys.len() != lines.len() {
                return Err(Failure::new(Status::Failed, "the function returned another number of results"));
            }
            self.results.imported += response.imported;
            self.results.updated += response.updated;
            self.results.present += response.present;
            for (line, result) in lines.iter().zip(&response.keys) {
                if let Some(why) = reason(result, &lines) {
                    self.refuse(*line, why);
                }
            }
        }
        self.results.lines = read.count();
        if let Some(resumption) = &self.resumption
            && self.results.refused_count == 0
        {
            resumption.write(read.count(), read.sha256())?;
        }
        self.call.progress.set(read.count());
        Ok(())
    }

    fn refuse(&mut self, line: u64, why: String) {
        self.results.refused_count += 1;
        if self.json {
            self.results.refused.insert(line, why);
        } else {
            self.call.progress.note(&format!("line {line}: {why}"));
        }
    }
}

impl Results {
    /// Writes what was done, and fails unless every line is imported.
    fn tell(self, context: &Context, import: &Import, rate: u64) -> Result<(), Failure> {
        let Self { resumed_after, lines, imported, updated, present, refused, refused_count } = self;
        let refused: Vec<_> =
            refused.into_iter().map(|(line, reason)| json!({"line": line, "reason": reason})).collect();
        let document = json!({"workspace_id": import.workspace, "dry_run": import.dry_run, "lines": lines,
            "resumed_after": resumed_after, "imported": imported, "updated": updated, "present": present,
            "refused": refused_count, "refused_lines": refused});
        let updated = if import.update { format!("{updated} updated, ") } else { String::new() };
        let counts =
            format!("{imported} imported, {updated}{present} imported before, {refused_count} not imported");
        let sentence = if import.dry_run {
            format!("{lines} lines, as they would be without --dry-run: {counts}")
        } else {
            format!("{lines} lines: {counts}, {rate} lines a second")
        };
        let written = context.output.done(&document, &sentence);
        if refused_count == 0 {
            return written;
        }
        // Whether it could be shown or not.
        let advice = "correct their lines and run the command again: imported keys do not change";
        Err(Failure::new(Status::Failed, format!("{refused_count} keys of the file are not imported"))
            .advise(advice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digested(fields: Value) -> Result<Value, String> {
        let pattern = LegacyRules::pattern("old-[a-z]+").unwrap();
        let rules = LegacyRules { sunset: Utc::now(), pattern, header: None };
        let Value::Object(fields) = fields else { panic!("an object") };
        Rules { rules, brand: "kg".parse().unwrap() }.digested(fields)
    }

    #[test]
    fn only_the_digest_of_a_key_is_sent() {
        let sent = digested(json!({"key": "old-abc", "user_id": "bob"})).unwrap();
        let digest = hex::encode(Sha256::digest("old-abc"));
        assert_eq!(sent, json!({"sha256": digest, "user_id": "bob"}));
        let given = json!({"sha256": digest, "user_id": 7});
        assert_eq!(digested(given.clone()).unwrap(), given, "the function checks it");
    }

    #[test]
    fn a_key_that_can_never_work_is_not_sent() {
        for (fields, expected) in [
            (json!({"key": "old-a "}), "key can never work: it begins or ends with white space"),
            (json!({"key": "kg_key_x"}), "key can never work: it begins with this deployment's brand"),
            (json!({"key": "new-a"}), "key can never work: it does not match LegacyPattern"),
            (json!({"key": ""}), "key must be a non-empty text, without sha256 beside it"),
            (json!({"key": 7}), "key must be a non-empty text"),
            (json!({"key": "old-a", "sha256": "x"}), "key must be a non-empty text, without sha256"),
            (json!({"old-a": "x", "b": 1}), "has 2 unknown fields: the fields are key, sha256, user_id"),
        ] {
            let why = digested(fields).unwrap_err();
            assert!(why.starts_with(expected), "{why}");
            assert!(!why.contains("old-a"), "{why}");
        }
    }

    #[test]
    fn each_result_has_a_reason_that_names_lines() {
        let lines = [4, 6, 9];
        let told = |result: Value| reason(&serde_json::from_value(result).unwrap(), &lines);
        for done in ["imported", "present", "updated"] {
            assert_eq!(told(json!({"result": done})), None);
        }
        for (result, expected) in [
            (json!({"result": "duplicate", "same_as": 1}), "the key is in line 6, which was not imported"),
            (
                json!({"result": "other_values", "fields": ["name"]}),
                "the key is already imported with other values: name",
            ),
            (
                json!({"result": "other_values", "fields": ["name", "scopes"], "same_as": 0}),
                "the key is in line 4 with other values: name, scopes",
            ),
            (
                json!({"result": "invalid", "errors": [{"pointer": "/keys/3/scopes/0", "detail": "must be a scope"},
                    {"pointer": "/keys/3", "detail": "must be an object"}]}),
                "scopes/0 must be a scope; must be an object",
            ),
            (json!({"result": "lost"}), "the function returned lost"),
        ] {
            assert_eq!(told(result).as_deref(), Some(expected));
        }
    }
}

//! `keygate restore`: the items of a table that `DynamoDB` restored to a point in time, back into the live one.
//!
//! - `table`: which table, its form, and how a restored item compares with the live one
//! - `live`: reads of the live tables and of the audit trail, and writes
//! - `judge`: what is done with each item of a page
//! - `checkpoint`: where an interrupted run continues
//!
//! `docs/decisions/0051-restored-tables.md` has the reasons.

mod checkpoint;
mod judge;
mod live;
mod table;

use std::cell::RefCell;
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use self::checkpoint::{Checkpoint, Counts, Position, Restoration};
use self::judge::{Judge, Options, Verdict};
use self::live::{Description, Live, WRITES};
use self::table::{Item, Table};
use crate::context::Context;
use crate::failure::{Failure, Status};
use crate::interruption;
use crate::output::note;
use crate::progress::Progress;

/// The number of parts of a table that are read at the same time.
const SEGMENTS: usize = 4;

/// Copy a table that DynamoDB restored to a point in time back into the live one, without what was revoked since
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    keygate restore --table keys --from keygate-keys-restored --dry-run\n  \
    keygate restore --table keys --from keygate-keys-restored --yes\n  \
    keygate restore --table workspaces --from keygate-workspaces-restored --yes\n\n\
    Items that are missing are written. An item that differs is written only if the live one is older: a key that changed\n\
    since is not. A key that was deleted, disabled, rotated or changed since, by the audit trail, is not written, and\n\
    neither is one of a removed user. Restore keys before the other tables: names, members, uses and tokens are written\n\
    only if their key is there.\n\n\
    The progress is in a file. The same command continues where it stopped.\n\n\
    It takes cloudformation:DescribeStacks; dynamodb:DescribeTable and Scan of the restored table; dynamodb:DescribeTable,\n\
    BatchGetItem and PutItem of the live one; BatchGetItem of the tables of keys and of workspaces; ConditionCheckItem of the\n\
    table of workspaces; Query of the indexes of the table of the audit trail.")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command")]
pub(crate) struct Restore {
    /// Which table of the stack
    #[arg(long)]
    table: Table,
    /// Name of the table that was restored
    #[arg(long, value_name = "TABLE")]
    from: String,
    /// To which time it was restored (RFC 3339) [default: as DynamoDB says]
    #[arg(long, value_name = "TIME")]
    restored_at: Option<DateTime<Utc>>,
    /// Write nothing, and say what would be written
    #[arg(long)]
    dry_run: bool,
    /// Keys and legacy keys: overwrite live ones that changed since, so that their old secrets, scopes and expiry work again
    #[arg(long)]
    overwrite: bool,
    /// Keys and legacy keys: write those that were deleted or changed since, too, so that they work again
    #[arg(long)]
    revive: bool,
    /// Go on where the audit trail does not reach back to the restored time, such as in a stack of another Region: deleted keys
    /// work again
    #[arg(long)]
    without_trail: bool,
    /// File with the progress [default: TABLE.progress, in this folder]
    #[arg(long, value_name = "FILE")]
    progress_file: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Restore {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// The tables do not fit together, were not confirmed, or cannot be read or written.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        if (self.overwrite || self.revive) && !self.table.has_credentials() {
            return Err(Failure::usage("--overwrite and --revive are for the tables keys and legacy-keys"));
        }
        let aws = context.aws()?;
        let stack = aws.stack(context.stack())?;
        let live = Live::new(&aws, &stack, self.table)?;
        let from = aws.run(live.describe(&self.from))?;
        let to = aws.run(live.describe(&live.table))?;
        check_tables(&from, &to)?;
        let restored_at = self.restored_at(&from)?;
        let days = stack.parameter("ActivityRetentionDays").and_then(|days| days.parse().ok());
        let days = days.ok_or_else(|| {
            Failure::new(Status::NotFound, format!("the stack {} has no ActivityRetentionDays", stack.name))
                .advise("is it a stack of Keygate?")
        })?;
        if !self.without_trail && restored_at < Utc::now() - TimeDelta::days(days) {
            return Err(Failure::usage(format!(
                "the audit trail is kept for {days} days, and does not say what changed since {}",
                shown(restored_at)
            )));
        }
        if !self.dry_run {
            context.confirm(self.yes, &self.question(&to))?;
        }
        // That is as it should be for a table of a lost Region, or of a stack that was deployed anew.
        if let Some(source) = from.source.as_ref().filter(|source| **source != to.name) {
            note(&format!(
                "{} was restored from {source}, which is another table than {}",
                from.name, to.name
            ));
        }
        let of = Restoration {
            stack: stack.id.clone(),
            table: self.table,
            from: self.from.clone(),
            restored_at,
            overwrite: self.overwrite,
            revive: self.revive,
        };
        let path = self.progress_file.clone().unwrap_or_else(|| format!("{}.progress", self.from).into());
        let checkpoint = if self.dry_run {
            Checkpoint::in_memory(of, SEGMENTS)
        } else {
            interruption::advise(
                "run the same command again: it continues where it stopped",
                context.output.json,
            )?;
            Checkpoint::open(path, of, SEGMENTS)?
        };
        if checkpoint.counts.read > 0 {
            note(&format!("{} items are done already: continuing after them", checkpoint.counts.read));
        }
        let progress = Progress::new(from.items, "items");
        progress.begin_with(checkpoint.counts.read);
        let options = Options {
            overwrite: self.overwrite,
            revive: self.revive,
            without_trail: self.without_trail,
            restored_at,
        };
        let run = Run {
            judge: Judge::new(&live, options),
            live: &live,
            from: &self.from,
            writes: !self.dry_run,
            progress: &progress,
            checkpoint: RefCell::new(checkpoint),
        };
        aws.run(run.all())?;
        let checkpoint = run.checkpoint.into_inner();
        drop(progress);
        context
            .output
            .done(&self.document(restored_at, &checkpoint.counts), &self.sentence(&checkpoint.counts))?;
        checkpoint.remove();
        if self.table == Table::Keys
            && !self.dry_run
            && checkpoint.counts.added + checkpoint.counts.replaced > 0
        {
            note(
                "restore the table workspaces next: until then the removal of a user does not reach these keys",
            );
        }
        Ok(())
    }

    fn restored_at(&self, from: &Description) -> Result<DateTime<Utc>, Failure> {
        if let (Some(given), Some(known)) = (self.restored_at, from.restored_at)
            && given > known
        {
            return Err(Failure::usage(format!(
                "{} was restored to {}, which is before --restored-at",
                self.from,
                shown(known)
            )));
        }
        let time = self.restored_at.or(from.restored_at).ok_or_else(|| {
            Failure::usage(format!("DynamoDB does not say to which time {} was restored", self.from))
                .advise("give --restored-at: what changed since then is not undone")
        })?;
        if time > Utc::now() {
            return Err(Failure::usage(format!("{} is in the future", shown(time))));
        }
        Ok(time)
    }

    fn question(&self, to: &Description) -> String {
        let mut question = format!("Copy items of {} into {}?", self.from, to.name);
        if self.overwrite || self.revive || self.without_trail {
            question = format!("{question} Credentials that were revoked since will WORK AGAIN.");
        }
        if self.table == Table::Activity {
            question = format!("{question} Their events will be published again.");
        }
        format!("{question} (--dry-run shows what would be written.)")
    }

    fn document(&self, restored_at: DateTime<Utc>, counts: &Counts) -> Value {
        let mut document = json!(counts);
        document["table"] = json!(self.table);
        document["from"] = json!(self.from);
        document["restored_at"] = json!(shown(restored_at));
        document["dry_run"] = json!(self.dry_run);
        document
    }

    fn sentence(&self, counts: &Counts) -> String {
        let Counts { read, same, added, replaced, newer, changed_since, .. } = *counts;
        let Counts { of_removed_users, without_key, expired, left_out, .. } = *counts;
        let written = if self.dry_run { "would be written" } else { "written" };
        let mut lines = vec![
            format!("{read} items of {}: {same} are the same in the live table", self.from),
            format!("{written}: {added} that were missing, {replaced} that differed"),
        ];
        let kept = [
            (newer, "newer in the live table"),
            (changed_since, "deleted or changed since"),
            (of_removed_users, "of removed users"),
            (without_key, "without their key"),
            (expired, "past their end"),
            (left_out, "of a kind that is not restored"),
        ];
        let kept: Vec<_> = kept
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if !kept.is_empty() {
            lines.push(format!("not written: {}", kept.join(", ")));
        }
        lines.join("; ")
    }
}

fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Checks that the restored table can be one of the live table.
fn check_tables(from: &Description, to: &Description) -> Result<(), Failure> {
    if from.name == to.name {
        return Err(Failure::usage(format!("{} is the live table itself", to.name)));
    }
    for table in [from, to] {
        if !table.is_active {
            let message = format!("the table {} is not ready yet", table.name);
            return Err(Failure::new(Status::Unavailable, message).advise("wait until it is ACTIVE"));
        }
    }
    if from.key != to.key {
        let message =
            format!("{} is of another table: its key is {}, and that of {} is", from.name, from.key, to.name);
        return Err(Failure::usage(format!("{message} {}", to.key)));
    }
    Ok(())
}

/// One run.
struct Run<'a> {
    judge: Judge<'a>,
    live: &'a Live<'a>,
    from: &'a str,
    /// False for a dry run.
    writes: bool,
    progress: &'a Progress,
    checkpoint: RefCell<Checkpoint>,
}

impl Run<'_> {
    /// Reads all segments at the same time, each page by page.
    async fn all(&self) -> Result<(), Failure> {
        let segments = stream::iter(0..SEGMENTS).map(|segment| self.segment(segment));
        segments.buffer_unordered(SEGMENTS).try_collect().await
    }

    async fn segment(&self, segment: usize) -> Result<(), Failure> {
        loop {
            let position = self.checkpoint.borrow().positions[segment].clone();
            let start = match position {
                Position::Done => return Ok(()),
                Position::Start => None,
                Position::After(key) => Some(key),
            };
            let (items, next) = self.live.page(self.from, (segment, SEGMENTS), start).await?;
            let counts = self.page(items).await?;
            let position = next.map_or(Position::Done, Position::After);
            let mut checkpoint = self.checkpoint.borrow_mut();
            checkpoint.done(segment, position, counts)?;
            self.progress.set(checkpoint.counts.read);
        }
    }

    /// Judges the items of a page, and writes those that are to be written.
    async fn page(&self, items: Vec<Item>) -> Result<Counts, Failure> {
        let mut counts = Counts { read: items.len() as u64, ..Counts::default() };
        let mut writes = Vec::new();
        for verdict in self.judge.judge(items).await? {
            match verdict {
                Verdict::Write(write) => writes.push(write),
                Verdict::Keep(kept, what) => {
                    counts.keep(kept);
                    if let Some(what) = what {
                        self.progress.note(&what);
                    }
                }
            }
        }
        let written: Vec<_> = stream::iter(writes)
            .map(|write| async move {
                let is_added = write.is_missing();
                let is_written = !self.writes || self.live.write(write).await?;
                Ok::<_, Failure>((is_added, is_written))
            })
            .buffer_unordered(WRITES)
            .try_collect()
            .await?;
        for (is_added, is_written) in written {
            match (is_written, is_added) {
                (true, true) => counts.added += 1,
                (true, false) => counts.replaced += 1,
                // It was changed while this ran.
                (false, _) => counts.newer += 1,
            }
        }
        Ok(counts)
    }
}

//! How far a long command is: a bar with the rate and the time left on a terminal, else a line at times, for logs.

use std::cell::Cell;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::output::note;

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The progress of a command. It goes to standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// What is counted, in the plural.
    unit: &'static str,
    started_at: Instant,
    /// What was done before this run.
    begun_with: Cell<u64>,
    noted_at: Cell<Instant>,
}

impl Progress {
    /// Begins with nothing done. `total` is not known for standard input.
    pub(crate) fn new(total: Option<u64>, unit: &'static str) -> Self {
        // ASCII alone, so that every terminal shows it, and without colours.
        let template = match total {
            Some(_) => "[{bar:30}] {human_pos} of {human_len} {prefix}, {rate} a second, {left} left",
            None => "{human_pos} {prefix}, {rate} a second",
        };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("rate", |state: &ProgressState, text: &mut dyn Write| {
                // A failure to format cannot be told from here, and the next update formats again.
                let _ = write!(text, "{:.0}", state.per_sec());
            })
            .with_key("left", |state: &ProgressState, text: &mut dyn Write| {
                let _ = write!(text, "{:#}", HumanDuration(state.eta()));
            })
            .progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(5));
        bar.set_style(style);
        bar.set_prefix(unit);
        let now = Instant::now();
        Self { bar, unit, started_at: now, begun_with: Cell::new(0), noted_at: Cell::new(now) }
    }

    /// Sets what was done before this run, which has no part in the rate.
    pub(crate) fn begin_with(&self, done: u64) {
        self.begun_with.set(done);
        self.bar.set_position(done);
        self.bar.reset_eta();
    }

    /// Sets how much is done.
    pub(crate) fn set(&self, done: u64) {
        self.bar.set_position(done);
        if self.bar.is_hidden() && self.noted_at.get().elapsed() >= LINE_INTERVAL {
            self.noted_at.set(Instant::now());
            note(&self.line(done));
        }
    }

    /// Writes a line above the bar.
    pub(crate) fn note(&self, text: &str) {
        self.bar.suspend(|| note(text));
    }

    /// Lets `work` write to the terminal.
    pub(crate) fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// How much is done in a second of this run.
    pub(crate) fn rate(&self) -> u64 {
        rate(self.bar.position().saturating_sub(self.begun_with.get()), self.started_at.elapsed())
    }

    fn line(&self, done: u64) -> String {
        let rate = self.rate();
        match self.bar.length() {
            Some(total) => {
                let left = total.saturating_sub(done).checked_div(rate).map(Duration::from_secs);
                let left = left.map_or_else(String::new, |left| format!(", {:#} left", HumanDuration(left)));
                format!("{done} of {total} {}, {rate} a second{left}", self.unit)
            }
            None => format!("{done} {}, {rate} a second", self.unit),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Replaces the file that a resumable command keeps its progress in: the old or the new one is there at any instant.
pub(crate) fn replace_file(path: &Path, text: &str) -> std::io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

fn rate(done: u64, elapsed: Duration) -> u64 {
    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    done.saturating_mul(1_000) / milliseconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_is_known() {
        let progress = Progress::new(Some(1_000), "lines");
        assert_eq!(progress.line(10), "10 of 1000 lines, 0 a second", "the time left is not known");
        assert!(Progress::new(None, "lines").line(10).starts_with("10 lines, "));
    }

    #[test]
    fn the_rate_is_of_this_run() {
        assert_eq!(rate(500, Duration::from_millis(250)), 2_000);
        assert_eq!(rate(0, Duration::ZERO), 0);
        let progress = Progress::new(Some(1_000), "lines");
        progress.begin_with(900);
        assert_eq!(progress.rate(), 0);
    }
}

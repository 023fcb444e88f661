//! How far a file is imported into a workspace of a stack: a file beside it, without keys.

use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::Lines;
use crate::failure::{Failure, Status};
use crate::progress::replace_file;

/// The file `FILE.progress`.
pub(super) struct ProgressFile {
    path: PathBuf,
    of: Import,
}

/// Which import it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Import {
    pub(super) stack: String,
    pub(super) workspace: String,
    pub(super) update: bool,
}

/// The lines from the first on that are imported.
#[derive(Deserialize, Serialize)]
struct Imported {
    #[serde(flatten)]
    of: Import,
    lines: u64,
    sha256: String,
}

impl ProgressFile {
    pub(super) fn new(file: &Path, of: Import) -> Self {
        let mut path = file.as_os_str().to_owned();
        path.push(".progress");
        Self { path: path.into(), of }
    }

    /// The number of imported lines, counted from the first; 0 if one of them has changed, or if the file is of another
    /// import.
    ///
    /// # Errors
    ///
    /// The imported file cannot be read.
    pub(super) fn lines(&self, file: impl BufRead) -> Result<u64, Failure> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let Ok(known) = serde_json::from_str::<Imported>(&text) else { return Ok(0) };
        if known.of != self.of {
            return Ok(0);
        }
        let mut lines = Lines::new(file);
        while lines.count() < known.lines && lines.next()?.is_some() {}
        Ok(if lines.count() == known.lines && lines.sha256() == known.sha256 { known.lines } else { 0 })
    }

    /// Writes the progress whole, because the process can end at any time.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(super) fn write(&self, lines: u64, sha256: String) -> Result<(), Failure> {
        let text = serde_json::to_string(&Imported { of: self.of.clone(), lines, sha256 });
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Status::Failed, format!("{} cannot be written: {error}", self.path.display()))
        };
        replace_file(&self.path, &text.map_err(|error| failed(&error))?).map_err(|error| failed(&error))
    }

    /// Removes the file, if it exists: the next run begins anew.
    pub(super) fn remove(&self) {
        // A file that is left only says that unchanged lines are imported, which they are.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_continues_unless_an_imported_line_has_changed() {
        let file = std::env::temp_dir().join(format!("keygate-cli-{}.jsonl", std::process::id()));
        let of = Import { stack: "keygate".to_owned(), workspace: "acme".to_owned(), update: false };
        let progress = ProgressFile::new(&file, of.clone());
        let content = b"one\ntwo\nthree\n";
        assert_eq!(progress.lines(&content[..]).unwrap(), 0);
        let mut lines = Lines::new(&content[..]);
        lines.next().unwrap();
        lines.next().unwrap();
        progress.write(lines.count(), lines.sha256()).unwrap();
        assert_eq!(progress.lines(&content[..]).unwrap(), 2);
        assert_eq!(
            progress.lines(&b"one\ntwo\nother\n"[..]).unwrap(),
            2,
            "lines that are not imported may change"
        );
        for changed in [&b"one\nTwo\nthree\n"[..], b"one\n", b"", b"two\none\nthree\n"] {
            assert_eq!(progress.lines(changed).unwrap(), 0);
        }
        for other in [
            Import { workspace: "globex".to_owned(), ..of.clone() },
            Import { stack: "staging".to_owned(), ..of.clone() },
            Import { update: true, ..of },
        ] {
            assert_eq!(ProgressFile::new(&file, other).lines(&content[..]).unwrap(), 0);
        }
        progress.remove();
        assert_eq!(progress.lines(&content[..]).unwrap(), 0);
    }
}

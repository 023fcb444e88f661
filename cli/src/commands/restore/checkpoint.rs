//! Where an interrupted restoration continues: a file with the place in each segment, and what was done so far.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::judge::Kept;
use super::table::{Item, Table};
use crate::failure::{Failure, Status};
use crate::progress::replace_file;

/// Which restoration it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Restoration {
    pub(super) stack: String,
    pub(super) table: Table,
    pub(super) from: String,
    pub(super) restored_at: DateTime<Utc>,
    pub(super) overwrite: bool,
    pub(super) revive: bool,
}

/// How many items were read, and what became of them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Counts {
    pub(super) read: u64,
    pub(super) same: u64,
    pub(super) added: u64,
    pub(super) replaced: u64,
    pub(super) newer: u64,
    pub(super) changed_since: u64,
    pub(super) of_removed_users: u64,
    pub(super) without_key: u64,
    pub(super) expired: u64,
    pub(super) left_out: u64,
}

impl Counts {
    pub(super) fn keep(&mut self, kept: Kept) {
        *match kept {
            Kept::Same => &mut self.same,
            Kept::Newer => &mut self.newer,
            Kept::ChangedSince => &mut self.changed_since,
            Kept::OfRemovedUser => &mut self.of_removed_users,
            Kept::WithoutKey => &mut self.without_key,
            Kept::Expired => &mut self.expired,
            Kept::LeftOut => &mut self.left_out,
        } += 1;
    }

    fn add(&mut self, more: Self) {
        let Self { read, same, added, replaced, newer, changed_since, .. } = more;
        self.read += read;
        self.same += same;
        self.added += added;
        self.replaced += replaced;
        self.newer += newer;
        self.changed_since += changed_since;
        self.of_removed_users += more.of_removed_users;
        self.without_key += more.without_key;
        self.expired += more.expired;
        self.left_out += more.left_out;
    }
}

/// The place in a segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Position {
    #[default]
    Start,
    After(Item),
    Done,
}

/// The form of a place in the file. Binary parts of a key are in hexadecimal digits.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum StoredPosition {
    Start,
    After(BTreeMap<String, StoredValue>),
    Done,
}

#[derive(Deserialize, Serialize)]
enum StoredValue {
    S(String),
    B(String),
}

#[derive(Deserialize, Serialize)]
struct Stored {
    #[serde(flatten)]
    of: Restoration,
    counts: Counts,
    positions: Vec<StoredPosition>,
}

/// The progress of a restoration.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// None for a run that writes nothing.
    path: Option<PathBuf>,
    of: Restoration,
    pub(super) counts: Counts,
    /// Of each segment.
    pub(super) positions: Vec<Position>,
}

impl Checkpoint {
    /// The beginning, without a file.
    pub(super) fn in_memory(of: Restoration, segments: usize) -> Self {
        let positions = vec![Position::Start; segments];
        Self { path: None, of, counts: Counts::default(), positions }
    }

    /// Reads the file, if there is one.
    ///
    /// # Errors
    ///
    /// It is of another restoration, or no such file.
    pub(super) fn open(path: PathBuf, of: Restoration, segments: usize) -> Result<Self, Failure> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path: Some(path), ..Self::in_memory(of, segments) });
            }
            Err(error) => return Err(Failure::usage(format!("{} cannot be read: {error}", path.display()))),
        };
        let wrong = || {
            Failure::usage(format!("{} is the progress of another restoration", path.display())).advise(
                "give the same options as then, or remove it to begin anew, or give another --progress-file",
            )
        };
        let stored: Stored = serde_json::from_str(&text).map_err(|_| wrong())?;
        if stored.of != of || stored.positions.len() != segments {
            return Err(wrong());
        }
        let positions = stored.positions.into_iter().map(StoredPosition::read).collect::<Option<_>>();
        Ok(Self { positions: positions.ok_or_else(wrong)?, path: Some(path), of, counts: stored.counts })
    }

    /// Notes that a page of a segment is done.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(super) fn done(&mut self, segment: usize, position: Position, counts: Counts) -> Result<(), Failure> {
        self.positions[segment] = position;
        self.counts.add(counts);
        let Some(path) = &self.path else { return Ok(()) };
        // A run with the wrong table ends before the first item is done, and leaves no file.
        if self.counts.read == 0 {
            return Ok(());
        }
        let positions = self.positions.iter().map(StoredPosition::of).collect();
        let stored = Stored { of: self.of.clone(), counts: self.counts, positions };
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Status::Failed, format!("{} cannot be written: {error}", path.display()))
        };
        let text = serde_json::to_string(&stored).map_err(|error| failed(&error))?;
        replace_file(path, &text).map_err(|error| failed(&error))
    }

    /// Removes the file: nothing is left to do.
    pub(super) fn remove(&self) {
        if let Some(path) = &self.path {
            // A file that is left says that everything is done.
            let _ = fs::remove_file(path);
        }
    }
}

impl StoredPosition {
    fn of(position: &Position) -> Self {
        match position {
            Position::Start => Self::Start,
            Position::Done => Self::Done,
            Position::After(key) => {
                let value = |value: &AttributeValue| match value {
                    AttributeValue::B(bytes) => StoredValue::B(hex::encode(bytes)),
                    other => StoredValue::S(other.as_s().cloned().unwrap_or_default()),
                };
                Self::After(key.iter().map(|(name, of)| (name.clone(), value(of))).collect())
            }
        }
    }

    fn read(self) -> Option<Position> {
        let value = |value| {
            Some(match value {
                StoredValue::S(text) => AttributeValue::S(text),
                StoredValue::B(digits) => AttributeValue::B(Blob::new(hex::decode(digits).ok()?)),
            })
        };
        Some(match self {
            Self::Start => Position::Start,
            Self::Done => Position::Done,
            Self::After(key) => {
                let key = key.into_iter().map(|(name, of)| Some((name, value(of)?)));
                Position::After(key.collect::<Option<_>>()?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restoration() -> Restoration {
        Restoration {
            stack: "keygate".to_owned(),
            table: Table::LegacyKeys,
            from: "restored".to_owned(),
            restored_at: DateTime::UNIX_EPOCH,
            overwrite: false,
            revive: false,
        }
    }

    #[test]
    fn a_restoration_continues_where_it_stopped() {
        let path = std::env::temp_dir().join(format!("keygate-cli-{}.restore", std::process::id()));
        let mut checkpoint = Checkpoint::open(path.clone(), restoration(), 2).unwrap();
        assert_eq!(checkpoint.positions, [Position::Start, Position::Start]);
        let key: Item = [
            ("hash".to_owned(), AttributeValue::B(Blob::new([0, 255]))),
            ("entry".to_owned(), AttributeValue::S("LAST".to_owned())),
        ]
        .into();
        let counts = Counts { read: 3, same: 1, added: 2, ..Counts::default() };
        checkpoint.done(1, Position::After(key.clone()), counts).unwrap();
        checkpoint.done(0, Position::Done, counts).unwrap();
        let continued = Checkpoint::open(path.clone(), restoration(), 2).unwrap();
        assert_eq!(continued.positions, [Position::Done, Position::After(key)]);
        assert_eq!(continued.counts, Counts { read: 6, same: 2, added: 4, ..Counts::default() });
        let other = Restoration { overwrite: true, ..restoration() };
        assert_eq!(Checkpoint::open(path.clone(), other, 2).unwrap_err().status, Status::Usage);
        continued.remove();
        assert!(!path.exists());
    }

    #[test]
    fn every_item_is_counted_once() {
        let mut counts = Counts::default();
        for kept in [
            Kept::Same,
            Kept::Newer,
            Kept::ChangedSince,
            Kept::OfRemovedUser,
            Kept::WithoutKey,
            Kept::Expired,
            Kept::LeftOut,
        ] {
            counts.keep(kept);
        }
        let expected = Counts {
            same: 1,
            newer: 1,
            changed_since: 1,
            of_removed_users: 1,
            without_key: 1,
            expired: 1,
            left_out: 1,
            ..Counts::default()
        };
        assert_eq!(counts, expected);
    }
}

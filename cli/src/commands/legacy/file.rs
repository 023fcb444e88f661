//! The file of an import: its lines, and the keys in them. No message repeats a value, which may be a key.

use std::io::{BufRead, ErrorKind};

use clap::ValueEnum;
use keygate_core::strict_json;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::failure::Failure;

pub(super) const FIELDS: [&str; 5] = ["key", "sha256", "user_id", "name", "scopes"];
/// Separators of files that people take for CSV.
const OTHER_SEPARATORS: [(char, &str); 3] = [(';', "semicolons"), ('\t', "tabs"), ('|', "vertical bars")];
/// The maximum length of a line and of a row, in bytes. Memory is bounded by it.
const MAX_RECORD_LEN: usize = 1_000_000;
/// The maximum length of a heading that is shown, in characters.
const MAX_HEADING: usize = 40;
const SAVE_AS_UTF_8: &str = "save the file as UTF-8";

/// How keys are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// A JSON object in each line
    Jsonl,
    /// A heading, and a row for each key
    Csv,
}

/// The lines of a file: how many were read, and their digest.
pub(super) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    count: u64,
    digest: Sha256,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: Vec::new(), count: 0, digest: Sha256::new() }
    }

    /// The number of lines that were read.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The SHA-256 of the lines that were read, without a byte order mark.
    pub(super) fn sha256(&self) -> String {
        hex::encode(self.digest.clone().finalize())
    }

    /// The next line with its end; `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not UTF-8.
    pub(super) fn next(&mut self) -> Result<Option<&str>, Failure> {
        let number = self.count + 1;
        let read = self.read_line();
        if !read.map_err(|error| Failure::usage(format!("the file cannot be read: {error}")))? {
            return Ok(None);
        }
        self.count = number;
        let wrong = |what: String| Err(Failure::usage(format!("line {number}: {what}")));
        if self.line.len() > MAX_RECORD_LEN {
            return wrong(format!("is longer than {MAX_RECORD_LEN} bytes"));
        }
        if number == 1 && (self.line.starts_with(&[0xff, 0xfe]) || self.line.starts_with(&[0xfe, 0xff])) {
            return Err(Failure::usage(format!(
                "the file is UTF-16 instead of UTF-8, by its first two bytes: {SAVE_AS_UTF_8}"
            )));
        }
        if self.line.contains(&0) {
            return wrong(format!("has NUL characters, so the file may be UTF-16: {SAVE_AS_UTF_8}"));
        }
        let mut line = match std::str::from_utf8(&self.line) {
            Ok(line) => line,
            Err(error) => {
                let valid = String::from_utf8_lossy(&self.line[..error.valid_up_to()]);
                let column = valid.trim_start_matches('\u{feff}').chars().count() + 1;
                return wrong(format!("not UTF-8 at character {column}: {SAVE_AS_UTF_8}"));
            }
        };
        if number == 1 {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        self.digest.update(line);
        Ok(Some(line))
    }

    /// Reads a line that ends with a line feed, a carriage return, or both. Returns false at the end of the file. A line
    /// beyond the maximum is cut.
    fn read_line(&mut self) -> std::io::Result<bool> {
        self.line.clear();
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let Some(first) = available.first() else { return Ok(!self.line.is_empty()) };
            if self.line.last() == Some(&b'\r') {
                if *first == b'\n' {
                    self.line.push(b'\n');
                    self.input.consume(1);
                }
                return Ok(true);
            }
            let end = available.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let taken = end.map_or(available.len(), |end| end + 1);
            self.line.extend_from_slice(&available[..taken]);
            self.input.consume(taken);
            if self.line.last() == Some(&b'\n') || self.line.len() > MAX_RECORD_LEN {
                return Ok(true);
            }
        }
    }
}

/// A key of a file, or the reason why it cannot be read.
#[derive(Debug, PartialEq)]
pub(super) struct Record {
    /// The number of its last line.
    pub(super) line: u64,
    pub(super) fields: Result<Map<String, Value>, String>,
}

/// The keys of a file.
pub(super) struct Records<R> {
    pub(super) lines: Lines<R>,
    format: Format,
    /// Of a CSV file, once they are read.
    headings: Option<Vec<String>>,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(input: R, format: Format) -> Self {
        Self { lines: Lines::new(input), format, headings: None }
    }

    /// The next key; `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// As [`Lines::next`], and the file has no headings or is not CSV: all keys that follow would be wrong.
    pub(super) fn next(&mut self) -> Result<Option<Record>, Failure> {
        match self.format {
            Format::Jsonl => self.next_object(),
            Format::Csv => self.next_row(),
        }
    }

    fn next_object(&mut self) -> Result<Option<Record>, Failure> {
        while let Some(line) = self.lines.next()? {
            if line.trim().is_empty() {
                continue;
            }
            let fields = object(line);
            return Ok(Some(Record { line: self.lines.count(), fields }));
        }
        Ok(None)
    }

    fn next_row(&mut self) -> Result<Option<Record>, Failure> {
        while let Some(row) = read_row(&mut self.lines)? {
            let line = self.lines.count();
            if row.iter().all(String::is_empty) {
                continue;
            }
            let Some(headings) = &self.headings else {
                let headings = headings(&row).map_err(|why| Failure::usage(format!("line {line}: {why}")))?;
                self.headings = Some(headings);
                continue;
            };
            let fields = if row.len() > headings.len() {
                Err(format!("has {} fields, and the heading has {}", row.len(), headings.len()))
            } else {
                Ok(named(headings, row))
            };
            return Ok(Some(Record { line, fields }));
        }
        Ok(None)
    }
}

fn object(line: &str) -> Result<Map<String, Value>, String> {
    match strict_json::parse(line.as_bytes()) {
        Err(error) => {
            let column = error.rsplit_once("column ").map_or("1", |(_, column)| column);
            Err(format!("must be a JSON object, but is not JSON at column {column}"))
        }
        Ok(document) if !document.twice.is_empty() => Err("has a repeated field".to_owned()),
        Ok(strict_json::Document { value: Value::Object(fields), .. }) => Ok(fields),
        Ok(_) => Err("must be a JSON object".to_owned()),
    }
}

fn named(headings: &[String], row: Vec<String>) -> Map<String, Value> {
    let fields = headings.iter().zip(row).filter(|(_, text)| !text.is_empty());
    fields
        .map(|(heading, text)| {
            let value = match heading.as_str() {
                "scopes" => json!(text.split_whitespace().collect::<Vec<_>>()),
                _ => text.into(),
            };
            (heading.clone(), value)
        })
        .collect()
}

/// The fields of the next row, which may have several lines; `None` at the end of the file.
///
/// The crate `csv` takes them apart. It is lenient where a quotation mark is missing, which would make one field of all that
/// follows, and keeps spaces before a quotation mark: [`Quotes`] comes before it.
fn read_row<R: BufRead>(lines: &mut Lines<R>) -> Result<Option<Vec<String>>, Failure> {
    let mut quotes = Quotes::default();
    let mut is_open = false;
    loop {
        let number = lines.count() + 1;
        let not_csv = |number, what| Failure::usage(format!("line {number}: not CSV: {what}"));
        let Some(line) = lines.next()? else {
            if is_open {
                return Err(not_csv(number - 1, "the file ends within quotation marks"));
            }
            return Ok(None);
        };
        quotes.read(line).map_err(|what| not_csv(number, what))?;
        is_open = quotes.place == Place::Quoted;
        if quotes.text.len() > MAX_RECORD_LEN {
            return Err(not_csv(number, "a row is too long: a quotation mark may be missing"));
        }
        if !is_open {
            break;
        }
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(quotes.text.len().max(1))
        .from_reader(quotes.text.as_bytes());
    let mut row = csv::StringRecord::new();
    reader.read_record(&mut row).map_err(|error| Failure::usage(format!("not CSV: {error}")))?;
    Ok(Some(row.iter().map(str::to_owned).collect()))
}

/// A row as it is read: where its quotation marks open and close, and its text without spaces at the beginning of fields.
#[derive(Default)]
struct Quotes {
    place: Place,
    text: String,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    /// At the beginning of a field.
    #[default]
    Beginning,
    /// In a field without quotation marks around it.
    Plain,
    /// Within quotation marks.
    Quoted,
    /// After a quotation mark that ends a field, or is the first of two that stand for one.
    Closed,
}

impl Quotes {
    fn read(&mut self, line: &str) -> Result<(), &'static str> {
        for character in line.chars() {
            self.place = match (self.place, character) {
                (Place::Beginning, ' ') => continue,
                (Place::Quoted, '"') => Place::Closed,
                (Place::Beginning | Place::Closed, '"') | (Place::Quoted, _) => Place::Quoted,
                (_, ',') => Place::Beginning,
                (place, '\r' | '\n') => place,
                (Place::Beginning | Place::Plain, _) => Place::Plain,
                (Place::Closed, _) => return Err("a comma must follow a quotation mark that ends a field"),
            };
            self.text.push(character);
        }
        Ok(())
    }
}

/// The headings, in any case. An error names unknown ones only if the row clearly is a heading: it may be one of keys.
fn headings(row: &[String]) -> Result<Vec<String>, String> {
    let headings: Vec<_> = row.iter().map(|heading| heading.trim().to_lowercase()).collect();
    let is_known = |heading: &str| FIELDS.contains(&heading);
    let known: Vec<_> = headings.iter().filter(|heading| is_known(heading)).collect();
    let is_repeated = (1..headings.len()).any(|index| headings[..index].contains(&headings[index]));
    if known.len() == headings.len() && !is_repeated {
        return Ok(headings);
    }
    let expected = format!("the headings are {}, separated by commas", FIELDS.join(", "));
    for (separator, name) in OTHER_SEPARATORS {
        let parts: Vec<_> = headings.iter().flat_map(|heading| heading.split(separator)).collect();
        if parts.len() > row.len() && parts.iter().any(|part| is_known(part.trim())) {
            return Err(format!("the headings are separated by {name}: {expected}"));
        }
    }
    if !known.iter().any(|heading| ["key", "sha256", "user_id"].contains(&heading.as_str())) {
        return Err(format!("is not a heading: {expected}"));
    }
    let unknown = row.iter().filter(|heading| !is_known(heading.trim().to_lowercase().as_str()));
    let unknown: Vec<_> = unknown.map(|heading| shown(heading.trim())).collect();
    if unknown.is_empty() {
        return Err(format!("a heading is repeated: {expected}"));
    }
    Err(format!("unknown headings {}: {expected}", unknown.join(", ")))
}

/// A heading for output, without control characters and shortened.
fn shown(heading: &str) -> String {
    let printable = heading.chars().map(|character| if character.is_control() { '?' } else { character });
    let cut: String = printable.clone().take(MAX_HEADING).collect();
    if printable.count() > MAX_HEADING { format!("\"{cut}...\"") } else { format!("\"{cut}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(format: Format, content: &[u8]) -> Result<Vec<Record>, String> {
        let mut records = Records::new(content, format);
        let mut all = Vec::new();
        while let Some(record) = records.next().map_err(|failure| failure.message)? {
            all.push(record);
        }
        Ok(all)
    }

    fn fields(format: Format, content: &str) -> Vec<(u64, Value)> {
        let records = records(format, content.as_bytes()).unwrap();
        records.into_iter().map(|record| (record.line, record.fields.unwrap().into())).collect()
    }

    #[test]
    fn lines_end_as_any_system_ends_them() {
        let mut lines = Lines::new(&b"\xef\xbb\xbfone\ntwo\r\nthree\r\rfive"[..]);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(line.to_owned());
        }
        assert_eq!(all, ["one\n", "two\r\n", "three\r", "\r", "five"]);
        assert_eq!(lines.count(), 5);
        assert_eq!(lines.sha256(), hex::encode(Sha256::digest("one\ntwo\r\nthree\r\rfive")));
    }

    #[test]
    fn lines_are_whole_whatever_a_read_returns() {
        let text = "a\r\nb\rc\n\u{e9}\n";
        for capacity in 1..6 {
            let mut lines = Lines::new(std::io::BufReader::with_capacity(capacity, text.as_bytes()));
            let mut all = Vec::new();
            while let Some(line) = lines.next().unwrap() {
                all.push(line.to_owned());
            }
            assert_eq!(all, ["a\r\n", "b\r", "c\n", "\u{e9}\n"], "{capacity}");
        }
    }

    #[test]
    fn a_file_in_another_encoding_is_told() {
        for (content, expected) in [
            (&b"\xff\xfea\0"[..], "the file is UTF-16 instead of UTF-8, by its first two bytes: save the"),
            (b"a\0b\0\n", "line 1: has NUL characters, so the file may be UTF-16"),
            (b"{}\n\xc3\xa9\xe9\n", "line 2: not UTF-8 at character 2: save the file as UTF-8"),
        ] {
            let failure = records(Format::Jsonl, content).unwrap_err();
            assert!(failure.starts_with(expected), "{failure}");
        }
        let long = records(Format::Jsonl, &vec![b'x'; MAX_RECORD_LEN + 2]).unwrap_err();
        assert!(long.starts_with("line 1: is longer than"), "{long}");
    }

    #[test]
    fn rows_are_read_as_spreadsheets_write_them() {
        let content = "Key, User_ID ,name,scopes\r\nk1, bob, \"nightly, \"\"export\"\"\",a b\r\n\r\n,,\n\
            k2,\"b\nob\",c\"d\nk3,carol\n";
        let expected = [
            (2, json!({"key": "k1", "user_id": "bob", "name": "nightly, \"export\"", "scopes": ["a", "b"]})),
            (6, json!({"key": "k2", "user_id": "b\nob", "name": "c\"d"})),
            (7, json!({"key": "k3", "user_id": "carol"})),
        ];
        assert_eq!(fields(Format::Csv, content), expected);
        let of_an_old_macintosh = content.split('\n').take(2).collect::<String>();
        assert_eq!(fields(Format::Csv, &of_an_old_macintosh), expected[..1]);
        let long = records(Format::Csv, b"key,name\na,b,c\n").unwrap();
        assert_eq!(long[0].fields, Err("has 3 fields, and the heading has 2".to_owned()));
    }

    #[test]
    fn a_missing_quotation_mark_ends_the_import() {
        for (content, expected) in [
            ("key,name\n\"a,b\nc,d\n", "line 3: not CSV: the file ends within quotation marks"),
            ("key,name\n\"a\"b,c\n", "line 2: not CSV: a comma must follow a quotation mark"),
            ("key,name\n\"a\" ,c\n", "line 2: not CSV: a comma must follow a quotation mark"),
        ] {
            let failure = records(Format::Csv, content.as_bytes()).unwrap_err();
            assert!(failure.starts_with(expected), "{failure}");
        }
    }

    #[test]
    fn headings_that_are_not_known_are_told_unless_they_may_be_keys() {
        for (heading, expected) in [
            ("Key;User_ID;Name", "line 1: the headings are separated by semicolons: the headings are key, "),
            ("key\tuser_id", "line 1: the headings are separated by tabs"),
            ("key,User,name,col\u{7}our", "line 1: unknown headings \"User\", \"col?our\": "),
            ("key,user_id,KEY", "line 1: a heading is repeated"),
            ("old-0123,bob,old", "line 1: is not a heading: the headings are key, sha256, "),
        ] {
            let failure = records(Format::Csv, heading.as_bytes()).unwrap_err();
            assert!(failure.starts_with(expected), "{failure}");
            assert!(!failure.contains("old-0123"), "{failure}");
        }
        let long = "x".repeat(50);
        assert_eq!(shown(&long), format!("\"{}...\"", "x".repeat(40)));
    }

    #[test]
    fn a_line_that_is_no_object_is_told_without_its_text() {
        let content = "[1]\n{\"key\" \"old\"}\n\n{\"key\": \"a\", \"key\": \"b\"}\n{\"key\": \"a\"}\n";
        let told: Vec<_> = records(Format::Jsonl, content.as_bytes())
            .unwrap()
            .into_iter()
            .map(|record| (record.line, record.fields.err().unwrap_or_default()))
            .collect();
        let expected = [
            (1, "must be a JSON object"),
            (2, "must be a JSON object, but is not JSON at column 8"),
            (4, "has a repeated field"),
            (5, ""),
        ];
        assert_eq!(told, expected.map(|(line, why)| (line, why.to_owned())));
    }
}

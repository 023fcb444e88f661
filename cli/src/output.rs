//! What goes to standard output: tables and sentences for people, JSON for programs.
//!
//! The version of the JSON is the number in each document. A change that a program could notice, other than a new member,
//! makes a new version; `cli/schemas/` has the schema of each.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::failure::Failure;

/// The version of the documents.
const VERSION: u32 = 1;

/// How to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// JSON instead of tables and sentences.
    pub(crate) json: bool,
    /// Bold headings.
    colour: bool,
    /// Whether the terminal understands characters other than ASCII.
    utf8: bool,
}

/// A column of a table: its heading, and the member that it shows.
pub(crate) type Column = (&'static str, &'static str);

impl Output {
    /// Colours only for a terminal without `NO_COLOR` (<https://no-color.org>), and characters as the locale says.
    pub(crate) fn new(json: bool) -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let colour = io::stdout().is_terminal() && set("NO_COLOR").is_none();
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        Self { json, colour, utf8: is_utf8(&locale) }
    }

    /// A list with a column for each of `columns`. `more` says whether there is more than was asked for.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn list(self, columns: &[Column], items: &[Value], more: bool) -> Result<(), Failure> {
        if self.json {
            return document(&json!({"version": VERSION, "items": items, "more": more}));
        }
        if items.is_empty() {
            note("There are none.");
            return Ok(());
        }
        let mut table = new_table();
        table.set_header(columns.iter().map(|(heading, _)| *heading));
        for item in items {
            table.add_row(columns.iter().map(|(_, member)| self.cell(&item[*member])));
        }
        let mut text = trimmed(&table);
        if self.colour
            && let Some((heading, rows)) = text.split_once('\n')
        {
            text = format!("\u{1b}[1m{heading}\u{1b}[0m\n{rows}");
        }
        line(&text)?;
        if more {
            note("There are more: raise --limit, or give --all.");
        }
        Ok(())
    }

    /// One thing with all its members: those of `order` first, then the others.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn item(self, item: &Value, order: &[&str]) -> Result<(), Failure> {
        if self.json {
            return document(&json!({"version": VERSION, "item": item}));
        }
        let mut table = new_table();
        for (name, value) in in_order(item, order) {
            table.add_row([name.to_owned(), self.cell(value)]);
        }
        line(&trimmed(&table))
    }

    /// What a command did: `item` for programs, and a sentence for people.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn done(self, item: &Value, sentence: &str) -> Result<(), Failure> {
        if self.json { self.item(item, &[]) } else { self.sentence(sentence) }
    }

    /// A line for people.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn sentence(self, sentence: &str) -> Result<(), Failure> {
        line(&self.shown(sentence))
    }

    /// One of many things that arrive over time: a line of JSON, or of columns.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn next(self, columns: &[Column], item: &Value) -> Result<(), Failure> {
        if self.json {
            return line(&json!({"version": VERSION, "item": item}).to_string());
        }
        let cells: Vec<_> = columns.iter().map(|(_, member)| self.cell(&item[*member])).collect();
        line(&cells.join("  "))
    }

    /// A value in one line.
    fn cell(self, value: &Value) -> String {
        match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => self.shown(text),
            Value::Bool(true) => "yes".to_owned(),
            Value::Bool(false) => "no".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Array(values) if values.is_empty() => "-".to_owned(),
            Value::Array(values) => {
                values.iter().map(|value| self.cell(value)).collect::<Vec<_>>().join(", ")
            }
            Value::Object(members) if members.is_empty() => "-".to_owned(),
            Value::Object(members) => {
                let members =
                    members.iter().map(|(name, value)| format!("{}={}", self.shown(name), self.cell(value)));
                members.collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// A text of a service without what a terminal would obey or could not show.
    fn shown(self, text: &str) -> String {
        text.chars().map(|character| if self.is_shown(character) { character } else { '?' }).collect()
    }

    fn is_shown(self, character: char) -> bool {
        let turns_text = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        !character.is_control() && !turns_text && (self.utf8 || character.is_ascii())
    }
}

/// The members of an object, those of `order` first.
fn in_order<'a>(item: &'a Value, order: &[&'a str]) -> Vec<(&'a str, &'a Value)> {
    let named = order.iter().filter_map(|name| Some((*name, item.get(*name)?)));
    let others = item.as_object().into_iter().flatten();
    let others = others.map(|(name, value)| (name.as_str(), value));
    named.chain(others.filter(|(name, _)| !order.contains(name))).collect()
}

/// Writes one line to standard error, which is for people.
pub(crate) fn note(text: &str) {
    // There is no other place to report a failure to.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes a text and the end of its line to standard output.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| Failure::output(&error))
}

fn document(document: &Value) -> Result<(), Failure> {
    line(&format!("{document:#}"))
}

/// The failure as a document in one line, the last of standard error: notes about repeated attempts may come before it.
pub(crate) fn failure_document(failure: &Failure) -> String {
    json!({"version": VERSION, "error": failure.to_json()}).to_string()
}

/// A table of columns, which are as wide as their widest cell: programs such as grep read it too.
fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Without the padding of the first and last columns.
fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(utf8: bool) -> Output {
        Output { json: false, colour: false, utf8 }
    }

    #[test]
    fn a_terminal_is_sent_no_character_that_it_obeys_or_cannot_show() {
        let text = "a\u{1b}[31m\u{202e}\nb\u{e9}";
        assert_eq!(output(true).shown(text), "a?[31m??b\u{e9}");
        assert_eq!(output(false).shown(text), "a?[31m??b?");
    }

    #[test]
    fn the_locale_says_whether_it_has_utf_8() {
        for (locale, expected) in [("de_DE.UTF-8", true), ("C.utf8", true), ("C", false), ("", false)] {
            assert_eq!(is_utf8(locale), expected, "{locale}");
        }
    }

    #[test]
    fn members_are_in_their_order_and_others_follow() {
        let item = json!({"a": 1, "id": 2, "name": 3, "z": 4});
        let names = |order| in_order(&item, order).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&["id", "name", "gone"]), ["id", "name", "a", "z"]);
        assert_eq!(names(&[]), ["a", "id", "name", "z"]);
        assert!(in_order(&json!(null), &["id"]).is_empty());
    }

    #[test]
    fn values_are_shown_in_one_line() {
        for (value, expected) in [
            (json!(null), "-"),
            (json!([]), "-"),
            (json!({}), "-"),
            (json!(["a", "b"]), "a, b"),
            (json!({"env": "live", "team": "x"}), "env=live team=x"),
            (json!([{"calls": 5, "per": "day"}]), "calls=5 per=day"),
            (json!(true), "yes"),
        ] {
            assert_eq!(output(true).cell(&value), expected);
        }
    }
}

//! A strict JSON parser for requests. It reports repeated members, which two readers could understand differently.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::credential;

/// The maximum number of repeated members that are named.
const MAX_TWICE: usize = 20;
/// The maximum length at which a name from the request is repeated in the response, in characters.
const MAX_NAME: usize = 64;

/// A JSON text.
#[derive(Debug)]
pub struct Document {
    /// Its value.
    pub value: Value,
    /// JSON pointers (RFC 6901) of members that an object has more than once, up to a limit. What such a member means depends
    /// on who reads it (RFC 8259, section 4).
    pub twice: Vec<String>,
}

/// Parses a JSON text in UTF-8. It ignores a byte order mark (RFC 8259, section 8.1).
///
/// # Errors
///
/// A message with the line and the column, in bytes, of the error. It does not repeat any part of the text.
pub fn parse(text: &[u8]) -> Result<Document, String> {
    let text = text.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(text);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err("must be JSON, and is empty".to_owned());
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let valid = &text[..error.valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        let column = valid.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        format!("must be JSON in UTF-8: an invalid byte at line {line} column {column}")
    })?;
    let mut twice = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Reader { place: Place::Document, twice: &mut twice }.deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    Ok(Document { value: value.map_err(|error| explain(&error))?, twice })
}

/// The message for the client. The messages of `serde_json` are fixed texts, which do not repeat any part of the request.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let (what, place) = text.rsplit_once(" at line ").unwrap_or((&text, "?"));
    let what = match what {
        "trailing characters" => "unexpected content after the end of the document",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "a \\u escape with a lone surrogate"
        }
        "recursion limit exceeded" => "it is nested too deeply",
        other => other,
    };
    format!("must be JSON: {what} at line {place}")
}

/// A step of a JSON pointer (RFC 6901) to the member `name`, [shortened](shown) if it must not be repeated.
pub(crate) fn step(name: &str) -> String {
    format!("/{}", shown(name).replace('~', "~0").replace('/', "~1"))
}

/// A name from the request as the response may repeat it: cut after 64 characters, and replaced if it contains a credential.
#[must_use]
pub fn shown(name: &str) -> String {
    if credential::contains_credential(name) {
        return "[credential]".to_owned();
    }
    match name.char_indices().nth(MAX_NAME) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

/// The place of a value in a document. It becomes a pointer only for an error.
#[derive(Clone, Copy)]
enum Place<'a> {
    Document,
    Member(&'a Place<'a>, &'a str),
    Element(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => Ok(()),
            Self::Member(object, name) => write!(formatter, "{object}{}", step(name)),
            Self::Element(array, index) => write!(formatter, "{array}/{index}"),
        }
    }
}

/// Reads the value at a place and records its repeated members.
struct Reader<'a> {
    place: Place<'a>,
    twice: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(Reader {
            place: Place::Element(&self.place, array.len()),
            twice: &mut *self.twice,
        })? {
            array.push(element);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let place = Place::Member(&self.place, &name);
            let value = members.next_value_seed(Reader { place, twice: &mut *self.twice })?;
            if object.contains_key(&name) {
                if self.twice.len() < MAX_TWICE {
                    let pointer = place.to_string();
                    if !self.twice.contains(&pointer) {
                        self.twice.push(pointer);
                    }
                }
            } else {
                object.insert(name, value);
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::fixtures::KEY_TEXT;

    fn twice(text: &str) -> Vec<String> {
        parse(text.as_bytes()).unwrap().twice
    }

    #[test]
    fn an_error_in_json_has_its_line_and_column() {
        for (text, expected) in [
            ("", "must be JSON, and is empty"),
            ("\u{FEFF} \r\n", "must be JSON, and is empty"),
            ("{\"name\":\"a\",}", "must be JSON: trailing comma at line 1 column 13"),
            ("{\n  \"name\": \"a\" // the name\n}", "must be JSON: expected `,` or `}` at line 2 column 15"),
            ("{} {}", "must be JSON: unexpected content after the end of the document at line 1 column 4"),
            ("{\"name\": nan}", "must be JSON: expected ident at line 1 column 11"),
            ("{'name': 1}", "must be JSON: key must be a string at line 1 column 2"),
            ("name=a", "must be JSON: expected ident at line 1 column 2"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), expected, "{text}");
        }
        for half in [
            r#"{"name":"\ud800"}"#,
            r#"{"name":"\ud800x"}"#,
            r#"{"name":"\ud800\u0041"}"#,
            r#"{"name":"\udc00"}"#,
        ] {
            let said = parse(half.as_bytes()).unwrap_err();
            assert!(said.starts_with("must be JSON: a \\u escape with a lone surrogate"), "{half}: {said}");
        }
        let said = parse(b"{\"name\":\n \"M\xfcller\"}").unwrap_err();
        assert_eq!(said, "must be JSON in UTF-8: an invalid byte at line 2 column 4");
        let said = parse("[".repeat(10_000).as_bytes()).unwrap_err();
        assert!(said.starts_with("must be JSON: it is nested too deeply at line 1"), "{said}");
        let said = parse(b"{\"name\": 1e999}").unwrap_err();
        assert!(said.starts_with("must be JSON: number out of range"), "{said}");
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        assert_eq!(parse("\u{FEFF}{\"name\":\"a\"}".as_bytes()).unwrap().value, json!({"name": "a"}));
        assert!(parse("\u{FEFF}\u{FEFF}{}".as_bytes()).is_err());
    }

    #[test]
    fn a_member_that_is_there_twice_is_named_at_any_depth_and_once() {
        assert_eq!(twice(r#"{"a":1,"b":{"a":1},"c":[{"a":1}]}"#), Vec::<String>::new());
        assert_eq!(twice(r#"{"a":1,"a":2,"a":3}"#), ["/a"]);
        assert_eq!(twice(r#"{"a":1,"\u0061":1}"#), ["/a"]);
        assert_eq!(twice(r#"{"a":[{},{"b/~":1,"b/~":2}],"c":{"d":null,"d":null}}"#), ["/a/1/b~1~0", "/c/d"]);
        assert_eq!(parse(br#"{"a":1,"a":2}"#).unwrap().value, json!({"a": 1}));
    }

    #[test]
    fn a_text_of_nothing_but_repetitions_makes_no_large_response() {
        let members: Vec<_> = (0..2000).map(|index| format!("\"f{index}\":1,\"f{index}\":1")).collect();
        assert_eq!(twice(&format!("{{{}}}", members.join(","))).len(), MAX_TWICE);
        let long = "n".repeat(5000);
        let pointers = twice(&format!("{{\"{long}\":1,\"{long}\":1}}"));
        assert_eq!(pointers[0].chars().count(), 1 + MAX_NAME + 1);
        let key = KEY_TEXT;
        assert_eq!(twice(&format!("{{\"{key}\":1,\"{key}\":1}}")), ["/[credential]"]);
    }

    proptest! {
        #[test]
        fn a_text_without_repetitions_parses_as_with_serde_json(text in "[\\[\\]{},:\"a-c0-9.eE\\\\ \\-]{0,24}") {
            match (parse(text.as_bytes()), serde_json::from_str::<Value>(&text)) {
                (Ok(document), Ok(value)) => prop_assert!(document.value == value || !document.twice.is_empty()),
                (Err(_), Err(_)) => {}
                (one, other) => prop_assert!(false, "{one:?} {other:?}"),
            }
        }
    }
}

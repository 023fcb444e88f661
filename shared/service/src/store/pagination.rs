//! Pages of an ordered list, forwards and backwards, with cursors.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keygate_core::error::{Error, InvalidField, Place};
use keygate_core::query_parameters::number;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The default number of items on a page.
pub const DEFAULT_LIMIT: usize = 25;
/// The maximum number of items on a page.
const MAX_LIMIT: usize = 100;

/// Parses the `limit` parameter.
///
/// # Errors
///
/// A message that says the allowed range.
pub fn limit(value: &str) -> Result<usize, String> {
    number(value, 1..=MAX_LIMIT)
}

/// A page in a response.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    items: Vec<T>,
    /// An opaque cursor of the next page of the same query; null on the last page.
    next_cursor: Option<String>,
    /// An opaque cursor of the previous page; null on the first page.
    prev_cursor: Option<String>,
}

/// The section of an order that a page shows. Every list query has one.
#[derive(Clone, Copy, Debug)]
pub struct Section<P> {
    /// Whether the positions are in ascending order.
    pub ascending: bool,
    /// The position after which the section begins; `None` for the beginning of the list.
    pub after: Option<P>,
    /// The maximum number of items.
    pub limit: usize,
}

/// The items that a query found.
#[derive(Debug)]
pub struct FoundItems<P, T> {
    /// The accepted items in the order of the query with their positions, at most as many as requested.
    pub items: Vec<(P, T)>,
    /// The position to continue from; `None` if the query reached the end.
    pub rest: Option<P>,
}

impl<P: Clone, T> FoundItems<P, T> {
    /// Takes at most `limit` of the found items. If there are more, the query continues after the last one taken, otherwise
    /// from `rest`.
    pub(super) fn within(limit: usize, mut items: Vec<(P, T)>, rest: Option<P>) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| has_more).map(|(position, _)| position.clone());
        Self { items, rest: last.or(rest) }
    }
}

impl<P, T> FoundItems<P, T> {
    /// Converts the items, and keeps their positions.
    pub(super) fn map<U>(self, mut convert: impl FnMut(T) -> U) -> FoundItems<P, U> {
        let items = self.items.into_iter().map(|(position, item)| (position, convert(item))).collect();
        FoundItems { items, rest: self.rest }
    }
}

impl<P: Clone + Serialize, T> FoundItems<P, T> {
    /// Builds the page of the query that began at `from`. `query` is the checksum of the query's parameters, and `show`
    /// converts an item.
    pub fn page<S>(mut self, from: Option<&Cursor<P>>, query: u32, show: impl FnMut((P, T)) -> S) -> Page<S> {
        let backward = from.is_some_and(|cursor| cursor.backward);
        // The previous page comes before the first item of this page. For an empty page, it comes before everything that the
        // query read.
        let way_back = self.items.first().map(|(position, _)| position.clone()).or_else(|| self.rest.clone());
        let onward = self.rest.take().map(|rest| Cursor { backward, after: Some(rest) }.write(query));
        // A query that began at the edge has no page behind it.
        let from = from.filter(|cursor| cursor.after.is_some());
        let back = from.map(|_| Cursor { backward: !backward, after: way_back }.write(query));
        if backward {
            self.items.reverse();
        }
        let (next_cursor, prev_cursor) = if backward { (back, onward) } else { (onward, back) };
        Page { items: self.items.into_iter().map(show).collect(), next_cursor, prev_cursor }
    }
}

/// The start of a page and the direction in which it is read. The checksum of its query guards against mistakes, not against
/// forgery: a forged cursor reaches nothing but the caller's own workspace.
#[derive(Debug, PartialEq, Eq)]
pub struct Cursor<P> {
    /// Whether the page is read against the order of the list.
    pub backward: bool,
    /// The position; `None` for the beginning of the list.
    pub after: Option<P>,
}

/// The decoded form of a cursor.
#[derive(Serialize, Deserialize)]
struct CursorText<P> {
    query: u32,
    backward: bool,
    after: Option<P>,
}

impl<P: Serialize> Cursor<P> {
    /// Encodes the cursor for clients.
    pub(crate) fn write(self, query: u32) -> String {
        let text = CursorText { query, backward: self.backward, after: self.after };
        URL_SAFE_NO_PAD.encode(serde_json::to_string(&text).unwrap_or_default())
    }
}

impl<P: DeserializeOwned> Cursor<P> {
    /// Decodes a cursor of the query with this checksum. `fits` checks the position, because the database rejects a query
    /// from an impossible position.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the text is not a cursor of this query.
    pub fn read(cursor: &str, query: u32, fits: impl Fn(&P) -> bool) -> Result<Self, Error> {
        let text = URL_SAFE_NO_PAD.decode(cursor).ok();
        let text: Option<CursorText<P>> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let text = text.filter(|text| text.query == query);
        let text = text.filter(|text| text.after.as_ref().is_none_or(fits));
        let text = text.ok_or_else(|| {
            let detail = "must be a cursor of the same query".to_owned();
            Error::invalid(InvalidField { place: Place::Parameter("cursor".to_owned()), detail })
        })?;
        Ok(Self { backward: text.backward, after: text.after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: u32 = 7;

    /// A page of the numbers below 10 in descending order. With `is_filtered`, only even numbers are accepted and at most
    /// six numbers are read.
    fn page(cursor: Option<&str>, limit: usize, is_filtered: bool) -> Page<u8> {
        let from: Option<Cursor<u8>> = cursor.map(|cursor| Cursor::read(cursor, QUERY, |_| true).unwrap());
        let backward = from.as_ref().is_some_and(|cursor| cursor.backward);
        let after = from.as_ref().and_then(|cursor| cursor.after);
        let mut numbers: Vec<u8> = (0..10).collect();
        if !backward {
            numbers.reverse();
        }
        if let Some(after) = after {
            numbers.retain(|number| if backward { *number > after } else { *number < after });
        }
        let rest = numbers.get(5).filter(|_| numbers.len() > 6).copied();
        let read = numbers.into_iter().take(6).filter(|number| !is_filtered || number % 2 == 0);
        let items: Vec<_> = read.map(|number| (number, number)).collect();
        FoundItems::within(limit, items, rest).page(from.as_ref(), QUERY, |(_, number)| number)
    }

    #[test]
    fn pages_are_the_same_forwards_and_backwards() {
        for limit in 1..=4 {
            let (mut forwards, mut cursor) = (Vec::new(), None);
            let last = loop {
                let next = page(cursor.as_deref(), limit, false);
                assert_eq!(next.prev_cursor.is_none(), forwards.is_empty(), "the first has none before");
                forwards.push(next.items.clone());
                if next.next_cursor.is_none() {
                    break next;
                }
                cursor = next.next_cursor;
            };
            assert_eq!(forwards.concat(), (0..10).rev().collect::<Vec<_>>(), "{limit}");
            let mut backwards = vec![last.items];
            let mut cursor = last.prev_cursor;
            while let Some(before) = cursor {
                let previous = page(Some(&before), limit, false);
                assert!(previous.next_cursor.is_some());
                backwards.push(previous.items);
                cursor = previous.prev_cursor;
            }
            backwards.reverse();
            assert_eq!(backwards.concat(), forwards.concat(), "{limit}");
        }
    }

    #[test]
    fn a_filtered_page_continues_from_the_last_item_read() {
        let first = page(None, 4, true);
        assert_eq!((&first.items[..], first.prev_cursor.is_none()), (&[8, 6, 4][..], true));
        let second = page(first.next_cursor.as_deref(), 4, true);
        assert_eq!((&second.items[..], second.next_cursor.is_none()), (&[2, 0][..], true));
        let back = page(second.prev_cursor.as_deref(), 4, true);
        assert_eq!(back.items, [8, 6, 4]);
    }

    #[test]
    fn an_empty_page_leads_back_over_everything_it_read() {
        let from = Cursor { backward: false, after: Some(9_u8) };
        let empty = FoundItems::within(2, Vec::<(u8, u8)>::new(), Some(4));
        let empty = empty.page(Some(&from), QUERY, |(_, number)| number);
        let back: Cursor<u8> = Cursor::read(&empty.prev_cursor.unwrap(), QUERY, |_| true).unwrap();
        assert_eq!(back, Cursor { backward: true, after: Some(4) });
        let onward: Cursor<u8> = Cursor::read(&empty.next_cursor.unwrap(), QUERY, |_| true).unwrap();
        assert_eq!(onward, Cursor { backward: false, after: Some(4) });
    }

    #[test]
    fn a_cursor_of_another_query_or_of_a_position_that_does_not_fit_is_refused() {
        let cursor = Cursor { backward: true, after: Some(3_u8) }.write(QUERY);
        assert!(Cursor::read(&cursor, QUERY, |position: &u8| *position == 3).is_ok());
        assert!(Cursor::read(&cursor, QUERY + 1, |_: &u8| true).is_err());
        assert!(Cursor::read(&cursor, QUERY, |position: &u8| *position != 3).is_err());
        assert!(Cursor::<u8>::read("x", QUERY, |_| true).is_err());
    }
}

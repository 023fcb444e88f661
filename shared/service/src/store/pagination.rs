//! Pages of what is walked through in an order, forwards and backwards, with cursors that say where the next one begins.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keygate_core::error::{Error, InvalidField, Place};
use keygate_core::query_parameters::number;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How many items a page has unless said.
pub const DEFAULT_LIMIT: usize = 25;
/// The most items that a page may be asked to have.
const MAX_LIMIT: usize = 100;

/// Checks how many items a page is asked to have.
///
/// # Errors
///
/// That it must be a number within its bounds.
pub fn limit(value: &str) -> Result<usize, String> {
    number(value, 1..=MAX_LIMIT)
}

/// A page, as it is answered.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    items: Vec<T>,
    /// Opaque, good for the next page of the same query; null on the last page.
    next_cursor: Option<String>,
    /// The same for the page before; null on the first.
    prev_cursor: Option<String>,
}

/// What a walk found.
#[derive(Debug)]
pub struct Found<P, T> {
    /// The wanted items in the order of the walk, each with its position, at most as many as asked for.
    pub items: Vec<(P, T)>,
    /// Where to go on; nowhere, if the walk has come to the edge.
    pub rest: Option<P>,
}

impl<P: Clone + Serialize, T> Found<P, T> {
    /// The page of what was found on the way that began at `from`; `query` is the checksum of what was asked for, and
    /// `show` says how an item is shown.
    pub fn page<S>(mut self, from: Option<&Cursor<P>>, query: u32, show: impl FnMut((P, T)) -> S) -> Page<S> {
        let backward = from.is_some_and(|cursor| cursor.backward);
        // Going back leads to what comes before the first item of this page; without one, to all that the walk has passed.
        let way_back = self.items.first().map(|(position, _)| position.clone()).or_else(|| self.rest.clone());
        let onward = self.rest.take().map(|rest| Cursor { backward, after: Some(rest) }.write(query));
        // A walk that began at the edge has nothing behind it.
        let from = from.filter(|cursor| cursor.after.is_some());
        let back = from.map(|_| Cursor { backward: !backward, after: way_back }.write(query));
        if backward {
            self.items.reverse();
        }
        let (next_cursor, prev_cursor) = if backward { (back, onward) } else { (onward, back) };
        Page { items: self.items.into_iter().map(show).collect(), next_cursor, prev_cursor }
    }
}

/// Where a page begins and in which direction it is read. The checksum of its query guards against mistakes, not
/// against forgery: a forged cursor reaches nothing but the caller's own workspace.
#[derive(Debug, PartialEq, Eq)]
pub struct Cursor<P> {
    /// Against the order of the list.
    pub backward: bool,
    /// From the edge, if not said.
    pub after: Option<P>,
}

/// A cursor before it is made opaque.
#[derive(Serialize, Deserialize)]
struct CursorText<P> {
    query: u32,
    backward: bool,
    after: Option<P>,
}

impl<P: Serialize> Cursor<P> {
    /// The cursor as clients get it.
    pub(crate) fn write(self, query: u32) -> String {
        let text = CursorText { query, backward: self.backward, after: self.after };
        URL_SAFE_NO_PAD.encode(serde_json::to_string(&text).unwrap_or_default())
    }
}

impl<P: DeserializeOwned> Cursor<P> {
    /// Reads a cursor of the query of that checksum. Which positions there can be, `fits` says: what the database refuses
    /// must be refused before.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: it is not one.
    pub fn read(cursor: &str, query: u32, fits: impl Fn(&P) -> bool) -> Result<Self, Error> {
        let text = URL_SAFE_NO_PAD.decode(cursor).ok();
        let text: Option<CursorText<P>> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let text = text.filter(|text| text.query == query);
        let text = text.filter(|text| text.after.as_ref().is_none_or(fits));
        let text = text.ok_or_else(|| {
            let detail = "must be a cursor of this very query".to_owned();
            Error::invalid(InvalidField { place: Place::Parameter("cursor".to_owned()), detail })
        })?;
        Ok(Self { backward: text.backward, after: text.after })
    }
}

//! Queries with a filter that read until enough items are accepted, within bounds.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use keygate_core::error::Error;

use crate::store::item::Item;
use crate::store::pagination::{FoundItems, Section};

/// The number of items that one read requests when the query has a filter.
const FILTERED_READ: usize = 250;
/// The maximum number of reads of one page. With [`FILTERED_READ`] it bounds the cost of a page.
const MAX_READS: usize = 4;

/// A query that is repeated until it has enough items for its section, or has made the maximum number of reads. So it may
/// find fewer items than the limit, even none, and still have a position to continue from.
#[derive(Debug)]
pub(super) struct PagedQuery<P, T> {
    query: QueryFluentBuilder,
    /// The start of the next read; `None` for the beginning of the index.
    start: Option<Item>,
    limit: usize,
    wants_all: bool,
    reads: usize,
    found: Vec<(P, T)>,
}

impl<P: Clone, T> PagedQuery<P, T> {
    /// Prepares the reads of a section that begins at `start`. `wants_all` means that the caller accepts every item except
    /// expired ones, so that no more items are read than requested.
    pub(super) fn new<A>(
        query: QueryFluentBuilder,
        section: &Section<A>,
        start: Option<Item>,
        wants_all: bool,
    ) -> Self {
        let query = query.scan_index_forward(section.ascending);
        Self { query, start, limit: section.limit, wants_all, reads: 0, found: Vec::new() }
    }

    /// Reads more items; `None` once enough are found, or the end of the index or the bound is reached.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Item>>, Error> {
        // One item more than requested shows whether there is a next page.
        let enough = self.limit + 1;
        let is_at_edge = self.reads > 0 && self.start.is_none();
        if is_at_edge || self.reads == MAX_READS || self.found.len() >= enough {
            return Ok(None);
        }
        // Without a filter, only skipped expired items make a second read necessary.
        let most = if self.wants_all && self.reads == 0 { enough } else { FILTERED_READ };
        self.reads += 1;
        let response = self
            .query
            .clone()
            .limit(i32::try_from(most).unwrap_or(i32::MAX))
            .set_exclusive_start_key(self.start.take())
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        self.start = response.last_evaluated_key;
        Ok(Some(response.items.unwrap_or_default()))
    }

    /// Keeps an accepted item.
    pub(super) fn keep(&mut self, position: P, item: T) {
        self.found.push((position, item));
    }

    /// Ends the query. `position` returns the position of an item, for the position to continue from.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: `position` failed.
    pub(super) fn finish(
        self,
        position: impl FnOnce(&Item) -> Result<P, Error>,
    ) -> Result<FoundItems<P, T>, Error> {
        let rest = self.start.map(|item| position(&item)).transpose()?;
        Ok(FoundItems::within(self.limit, self.found, rest))
    }
}

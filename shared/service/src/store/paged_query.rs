//! Queries that read on until enough of the items that they read are wanted, within bounds.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use keygate_core::error::Error;

use crate::store::item::Item;
use crate::store::pagination::{FoundItems, Section};

/// How many items a query reads at once when not every one is wanted.
const FILTERED_READ: usize = 250;
/// How often a page is continued where not enough of the items read are wanted. With [`FILTERED_READ`] it bounds what a page costs.
const MAX_READS: usize = 4;

/// A query that is repeated until it has found as many items as its section may have, or has made as many reads as it may make. So it may
/// find fewer, even none, and still have a position to go on from.
#[derive(Debug)]
pub(super) struct PagedQuery<P, T> {
    query: QueryFluentBuilder,
    /// Where the next read begins; at the edge, if not said.
    start: Option<Item>,
    limit: usize,
    wants_all: bool,
    reads: usize,
    found: Vec<(P, T)>,
}

impl<P: Clone, T> PagedQuery<P, T> {
    /// Prepares the reads of a section from `start` on. `wants_all` says that the caller keeps every item but those that are gone, so that
    /// as few items are read as are asked for.
    pub(super) fn new<A>(
        query: QueryFluentBuilder,
        section: &Section<A>,
        start: Option<Item>,
        wants_all: bool,
    ) -> Self {
        let query = query.scan_index_forward(section.ascending);
        Self { query, start, limit: section.limit, wants_all, reads: 0, found: Vec::new() }
    }

    /// Reads more items; `None` once enough are found, or the edge or the bound is reached.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Item>>, Error> {
        // One more than asked for tells whether there is more.
        let enough = self.limit + 1;
        let is_at_edge = self.reads > 0 && self.start.is_none();
        if is_at_edge || self.reads == MAX_READS || self.found.len() >= enough {
            return Ok(None);
        }
        // Where every item is wanted, only items that are gone make a second read necessary.
        let most = if self.wants_all && self.reads == 0 { enough } else { FILTERED_READ };
        self.reads += 1;
        let answer = self
            .query
            .clone()
            .limit(i32::try_from(most).unwrap_or(i32::MAX))
            .set_exclusive_start_key(self.start.take())
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        self.start = answer.last_evaluated_key;
        Ok(Some(answer.items.unwrap_or_default()))
    }

    /// Keeps an item that was read and is wanted.
    pub(super) fn keep(&mut self, position: P, item: T) {
        self.found.push((position, item));
    }

    /// Ends the query. `position` says where an item stands, for the position to go on from.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: as `position` says.
    pub(super) fn finish(
        self,
        position: impl FnOnce(&Item) -> Result<P, Error>,
    ) -> Result<FoundItems<P, T>, Error> {
        let rest = self.start.map(|item| position(&item)).transpose()?;
        Ok(FoundItems::within(self.limit, self.found, rest))
    }
}

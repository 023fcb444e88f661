//! Queries that go on until enough of what they read is wanted, within bounds.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use keygate_core::error::Error;

use crate::store::item::Item;
use crate::store::pagination::Found;

/// How many items a query reads at once when not every one is wanted.
const FILTERED_READ: usize = 250;
/// How often a page is continued where not enough of what was read is wanted. With [`FILTERED_READ`] it bounds what a
/// page costs, whatever is asked for.
const MAX_READS: usize = 4;

/// Repeats `query` from `start` until `limit` items are found that `read` takes. What it reads is bounded, so it may come
/// back with fewer, even none, and a place to go on.
///
/// `wants_all` says that `read` leaves out nothing but what is gone, so that as few items are read as are asked for.
/// `position` says where an item stands, for the place to go on.
///
/// # Errors
///
/// - [`Error::Unavailable`]: the database did not answer.
/// - [`Error::Broken`]: as `read` and `position` say.
pub(super) async fn walk<P: Clone + Send, T: Send>(
    query: QueryFluentBuilder,
    start: Option<Item>,
    limit: usize,
    wants_all: bool,
    position: impl Fn(&Item) -> Result<P, Error> + Send + Sync,
    read: impl Fn(Item) -> Result<Option<(P, T)>, Error> + Send + Sync,
) -> Result<Found<P, T>, Error> {
    // One more than asked for tells whether there is more.
    let enough = limit + 1;
    let mut items = Vec::with_capacity(enough);
    let mut after = start;
    for round in 0..MAX_READS {
        // Where every item is wanted, only items that are gone make a second read necessary.
        let most = if wants_all && round == 0 { enough } else { FILTERED_READ };
        let answer = query
            .clone()
            .limit(i32::try_from(most).unwrap_or(i32::MAX))
            .set_exclusive_start_key(after.take())
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        for item in answer.items.unwrap_or_default() {
            items.extend(read(item)?);
        }
        after = answer.last_evaluated_key;
        if after.is_none() || items.len() >= enough {
            break;
        }
    }
    let rest = if items.len() > limit {
        items.truncate(limit);
        items.last().map(|(position, _): &(P, T)| position.clone())
    } else {
        after.map(|item| position(&item)).transpose()?
    };
    Ok(Found { items, rest })
}

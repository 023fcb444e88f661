//! Work on many items: several at once, until its time is over.

use std::future::ready;

use futures_util::stream::{Stream, StreamExt, iter};
use keygate_core::error::Error;
use tokio::time::Instant;

/// How many items are worked on at once. Each has a connection of its own.
const CONCURRENCY: usize = 16;

/// Works on items, in no order. The stream has the result of each. After `stop_at` no further item is begun: then there are fewer
/// results than items.
///
/// If the stream is dropped, work that goes on is dropped between two calls of the database or during one, as at the end of the
/// environment.
pub(crate) fn work_on<Item, Work: Future>(
    items: impl IntoIterator<Item = Item>,
    stop_at: Instant,
    work: impl Fn(Item) -> Work,
) -> impl Stream<Item = Work::Output> {
    let begun = iter(items).take_while(move |_| ready(Instant::now() < stop_at));
    begun.map(work).buffer_unordered(CONCURRENCY)
}

/// The results of work on a page of items.
pub(crate) struct WorkedPage<T> {
    /// The results of the items that were worked on, in no order.
    pub(crate) results: Vec<T>,
    /// The number of items that failed with [`Error::Broken`], which does not pass by itself.
    pub(crate) broken: usize,
    /// Whether all items were begun before the time was over.
    pub(crate) is_complete: bool,
}

/// Works on a page of items, as [`work_on`] does. An item that is broken keeps no other from being worked on; `work` has logged it.
///
/// # Errors
///
/// Every error but [`Error::Broken`]: it may pass, and would meet the other items too.
pub(crate) async fn work_on_page<Item, T, Work: Future<Output = Result<T, Error>>>(
    items: Vec<Item>,
    stop_at: Instant,
    work: impl Fn(Item) -> Work,
) -> Result<WorkedPage<T>, Error> {
    let count = items.len();
    let worked: Vec<_> = work_on(items, stop_at, work).collect().await;
    let mut page = WorkedPage { results: Vec::new(), broken: 0, is_complete: worked.len() == count };
    for one in worked {
        match one {
            Ok(result) => page.results.push(result),
            Err(Error::Broken(_)) => page.broken += 1,
            Err(failure) => return Err(failure),
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn items_are_worked_on_together_up_to_the_number_of_connections() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (now, most) = (&now, &most);
        let stop_at = Instant::now() + Duration::from_mins(1);
        let work = |item: usize| async move {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            item
        };
        let mut done: Vec<_> = work_on(0..100, stop_at, work).collect().await;
        done.sort_unstable();
        assert_eq!(done, (0..100).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::Relaxed), CONCURRENCY);
    }

    #[tokio::test]
    async fn after_the_time_nothing_is_begun_and_what_was_begun_is_finished() {
        let stop_at = Instant::now() + Duration::from_millis(300);
        let work = |item: usize| async move {
            tokio::time::sleep_until(stop_at).await;
            item
        };
        let done: Vec<_> = work_on(0..100, stop_at, work).collect().await;
        assert_eq!(done.len(), CONCURRENCY);
        let done: Vec<_> = work_on(0..100, stop_at, work).collect().await;
        assert_eq!(done, [0_usize; 0]);
    }
}

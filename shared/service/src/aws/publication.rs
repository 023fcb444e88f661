//! What another party publishes, such as its signing keys: fetched when it is needed, and kept for a while.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::error::Error;
use tokio::sync::Mutex;

/// How long what was fetched may be used. What is no longer published ends with it.
const KEPT: TimeDelta = TimeDelta::hours(1);
/// The minimum time between two fetches of an environment, failed ones included. So requests with invented ids do not make it call
/// the publisher again and again.
const FETCH_INTERVAL: TimeDelta = TimeDelta::minutes(1);

/// Has what a party publishes.
#[derive(Debug)]
pub(crate) struct Publication<T> {
    /// The party, for errors.
    publisher: &'static str,
    /// Locked during a fetch, so that concurrent requests share it.
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    kept: Option<(DateTime<Utc>, T)>,
    attempted_at: Option<DateTime<Utc>>,
}

impl<T> Publication<T> {
    /// A publication of a party. Nothing is fetched yet.
    pub(crate) fn new(publisher: &'static str) -> Self {
        Self { publisher, state: Mutex::new(State { kept: None, attempted_at: None }) }
    }

    /// What `find` finds in the publication. It is fetched if it is not kept, or does not have what is looked for; and at most once
    /// a minute. The error of `fetch` repeats nothing of what was fetched.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: nothing is kept that may be used, and it could not be fetched, now or within the last minute.
    pub(crate) async fn find<Found>(
        &self,
        find: impl Fn(&T) -> Option<Found>,
        fetch: impl Future<Output = Result<T, String>>,
        now: DateTime<Utc>,
    ) -> Result<Option<Found>, Error> {
        let mut state = self.state.lock().await;
        let kept = state.kept(now).map(&find);
        let may_fetch = !state.attempted_at.is_some_and(|at| is_within(at, FETCH_INTERVAL, now));
        match kept {
            Some(Some(found)) => Ok(Some(found)),
            Some(None) if !may_fetch => Ok(None),
            None if !may_fetch => Err(self.unavailable("the last attempt failed less than a minute ago")),
            kept => {
                state.attempted_at = Some(now);
                match fetch.await {
                    Ok(published) => {
                        let found = find(&published);
                        state.kept = Some((now, published));
                        Ok(found)
                    }
                    // What is kept is used until its hour ends. Here it does not have what is looked for.
                    Err(cause) => kept.ok_or_else(|| self.unavailable(&cause)),
                }
            }
        }
    }

    fn unavailable(&self, cause: &str) -> Error {
        Error::Unavailable { service: self.publisher, cause: cause.to_owned() }
    }
}

impl<T> State<T> {
    fn kept(&self, now: DateTime<Utc>) -> Option<&T> {
        self.kept.as_ref().filter(|(fetched_at, _)| is_within(*fetched_at, KEPT, now)).map(|(_, kept)| kept)
    }
}

/// Whether less than `time` has passed. A clock that was set back ends it.
fn is_within(since: DateTime<Utc>, time: TimeDelta, now: DateTime<Utc>) -> bool {
    since <= now && now - since < time
}

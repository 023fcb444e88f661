//! A timer that is kept between calls.
//!
//! A new timer that ends before all others wakes tokio's driver, by a system call for the wake-up and two for what follows: a
//! fifth of the system calls of an authorization. To move an existing timer to a later time costs nothing.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of one client. A call that comes while another has it makes its own.
#[derive(Debug, Default)]
pub(crate) struct KeptTimer(Mutex<Option<Pin<Box<Sleep>>>>);

impl KeptTimer {
    /// The result of the work, or `None` if it is not done at `end`.
    pub(crate) async fn until<T>(&self, end: Instant, work: impl Future<Output = T>) -> Option<T> {
        let kept = self.timer().take();
        let mut timer = kept.unwrap_or_else(|| Box::pin(sleep_until(end)));
        timer.as_mut().reset(end);
        let done = tokio::select! {
            biased;
            done = work => Some(done),
            () = &mut timer => None,
        };
        *self.timer() = Some(timer);
        done
    }

    fn timer(&self) -> MutexGuard<'_, Option<Pin<Box<Sleep>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn each_call_has_its_own_deadline() {
        let timer = KeptTimer::default();
        let soon = || Instant::now() + Duration::from_millis(20);
        let late = || Instant::now() + Duration::from_mins(1);
        assert_eq!(timer.until(soon(), ready(1)).await, Some(1));
        assert_eq!(timer.until(soon(), pending::<()>()).await, None);
        assert_eq!(timer.until(late(), ready(2)).await, Some(2));
        // An earlier deadline than the one before, and two calls at once.
        let (none, some) =
            tokio::join!(timer.until(soon(), pending::<()>()), timer.until(late(), async { 3 }));
        assert_eq!((none, some), (None, Some(3)));
        assert_eq!(timer.until(Instant::now(), ready(4)).await, Some(4), "done work counts before the time");
    }
}

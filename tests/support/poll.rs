//! Waiting for a condition, with a deadline: a regression fails a test instead of letting it run for ever.

use std::panic::Location;
use std::time::Duration;

/// The default deadline. Background work in the local stack takes a few seconds on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until a condition is true.
///
/// `awaited` says in a sentence what the test waits for, such as `"the key expires"`.
///
/// # Panics
///
/// If the condition is not true within [`DEADLINE`]. The message has `awaited` and the caller's place.
#[track_caller]
pub(crate) fn eventually(awaited: &str, condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    eventually_within(DEADLINE, awaited, condition)
}

/// Waits until a condition is true, like [`eventually`], with a deadline of its own.
#[track_caller]
pub(crate) fn eventually_within(
    deadline: Duration,
    awaited: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    poll(deadline, awaited, async move || condition().await.then_some(()))
}

/// Waits until an attempt returns a value, like [`eventually`], and returns that value.
#[track_caller]
pub(crate) fn eventually_some<T>(
    awaited: &str,
    attempt: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    poll(DEADLINE, awaited, attempt)
}

/// The deadline ends an attempt that hangs, too.
#[track_caller]
fn poll<T>(
    deadline: Duration,
    awaited: &str,
    mut attempt: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let (awaited, caller) = (awaited.to_owned(), Location::caller());
    let attempts = async move {
        loop {
            if let Some(value) = attempt().await {
                break value;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    async move {
        let value = tokio::time::timeout(deadline, attempts).await;
        value.unwrap_or_else(|_| panic!("{caller}: this did not happen within {deadline:?}: {awaited}"))
    }
}

#[tokio::test]
async fn a_poll_returns_the_first_value_that_an_attempt_has() {
    let mut attempts = 0;
    let value = eventually_some("the third attempt", async || {
        attempts += 1;
        (attempts == 3).then_some("third")
    });
    assert_eq!(value.await, "third");
    assert_eq!(attempts, 3);
}

#[tokio::test]
#[should_panic(expected = "this did not happen within 1ms: the sun turns green")]
async fn a_poll_whose_condition_never_becomes_true_fails_at_its_deadline_and_names_the_condition() {
    eventually_within(Duration::from_millis(1), "the sun turns green", async || false).await;
}

#[tokio::test]
#[should_panic(expected = "this did not happen within 1ms: a response arrives")]
async fn a_poll_whose_attempt_hangs_fails_at_its_deadline() {
    eventually_within(Duration::from_millis(1), "a response arrives", std::future::pending).await;
}

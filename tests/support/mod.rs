//! What tests are made of.

pub(crate) mod database;
pub(crate) mod emulator;
pub(crate) mod faults;
pub(crate) mod function;
pub(crate) mod legacy;
pub(crate) mod oauth;
pub(crate) mod openapi;
pub(crate) mod stack;
pub(crate) mod tables;
pub(crate) mod workspace;

use std::time::{Duration, Instant};

/// How long something may take that is done after an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something is so, and fails where it does not come to be in time.
#[track_caller]
pub(crate) fn eventually<F>(mut is_so: impl FnMut() -> F) -> impl Future<Output = ()>
where
    F: Future<Output = bool>,
{
    let asked_at = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        while !is_so().await {
            assert!(Instant::now() < deadline, "it has not come to be in time, at {asked_at}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

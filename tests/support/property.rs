//! Tests of a property with random inputs, which can be repeated.

use std::fmt::Debug;

use chrono::Utc;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestError, TestRunner};

/// The seed of the random inputs: the value of `KEYGATE_SEED`, or another one in each run. A test that fails names it.
pub(crate) fn seed() -> u64 {
    match std::env::var("KEYGATE_SEED") {
        Ok(seed) => seed.parse().expect("KEYGATE_SEED is a whole number"),
        Err(_) => u64::try_from(Utc::now().timestamp_millis()).expect("the clock is past 1970"),
    }
}

/// The configuration of a test whose random inputs come from `seed`.
pub(crate) fn config(seed: u64) -> Config {
    Config { rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() }
}

/// Runs `test` with `cases` random inputs. An input that fails is made simpler in up to `max_shrink_iters` steps and in
/// one minute, and is shown with its seed.
pub(crate) fn check<I: Strategy<Value: Debug>>(
    inputs: &I,
    cases: u32,
    max_shrink_iters: u32,
    test: impl Fn(I::Value) -> TestCaseResult,
) {
    let seed = seed();
    let config = Config { cases, max_shrink_iters, max_shrink_time: 60_000, ..config(seed) };
    match TestRunner::new(config).run(inputs, test) {
        Ok(()) => (),
        Err(TestError::Fail(reason, input)) => {
            panic!("{reason} (again with KEYGATE_SEED={seed}): {input:#?}")
        }
        Err(failure) => panic!("{failure}"),
    }
}

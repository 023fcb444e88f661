//! Random bytes and ULIDs, from the random numbers of the operating system.

use chrono::{DateTime, Utc};
use ulid::Ulid;

/// A ULID of `now` and 80 random bits.
///
/// # Panics
///
/// When `now` is before 1970 or the operating system has no random bytes.
#[must_use]
pub fn generate_ulid(now: DateTime<Utc>) -> Ulid {
    let mut random = [0; 16];
    fill_with_random_bytes(&mut random);
    let milliseconds = u64::try_from(now.timestamp_millis()).expect("the clock is past 1970");
    Ulid::from_parts(milliseconds, u128::from_be_bytes(random))
}

/// Fills `bytes` from the operating system's random numbers. Everything random in Keygate comes from here.
///
/// # Panics
///
/// When the operating system has none. Secrets, nonces and ids cannot do without.
pub fn fill_with_random_bytes(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

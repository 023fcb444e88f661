//! The limits of keys: takes the permits of a call, and reserves them where this environment has none.
//!
//! The rules are in [`keygate_core::permits`]. An environment keeps in memory what it knows about each key with limits: permits
//! that it has reserved, and the counts that it saw last. Without that memory a call costs one reservation more.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::limit::{self, LimitRefusal, Limits};
use keygate_core::permits::{Ledger, Taken};
use lru::LruCache;
use tokio::time::{Instant, timeout_at};

use crate::authorizer::settings;
use crate::aws::dynamodb::DynamoDb;
use crate::store::limit_windows::ReservationOutcome;
use crate::store::usage::UsageTable;

/// The maximum number of keys with limits that an environment remembers: about a megabyte. The permits of a key that is forgotten
/// are wasted.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(2_000).unwrap();

/// The number of reservations for one call that may ask for a batch. Later ones ask for the least: while other environments take
/// what is left, they are not refused until nothing is left.
const BATCH_ATTEMPTS: usize = 2;

/// The maximum number of reservations for one call. Each that is refused has shown which windows have begun, and other
/// environments can begin each of three windows once.
const MAX_ATTEMPTS: usize = 8;

/// Enforces the limits of keys.
#[derive(Debug)]
pub struct LimitEnforcer {
    /// `AUTHORIZER_UNCACHED`: whether every call of every API reaches the authorizer, so that limits can be kept.
    is_uncached: bool,
    /// How long an authorization waits for the database, its read included.
    budget: Duration,
    usage: UsageTable,
    ledgers: Mutex<LruCache<KeyId, Ledger>>,
}

impl LimitEnforcer {
    /// An enforcer that reserves permits with a client that makes no second attempt.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the name of the table is missing, or a setting is wrong.
    pub fn new(without_retries: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            is_uncached: limit::are_enforced(environment)?,
            budget: settings::budget(environment)?,
            usage: UsageTable::new(without_retries, environment)?,
            ledgers: LruCache::new(CAPACITY).into(),
        })
    }

    /// Takes the permits of a call of a key: one for each of `limits`, or none. The authorization started at `started`. `now` is
    /// the time of the call, which determines the windows.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond in time. Permits may be wasted.
    /// - [`Error::Busy`]: other environments changed the counts before every reservation.
    /// - [`Error::Broken`]: the stored counts cannot be read.
    pub async fn take(
        &self,
        id: KeyId,
        limits: &Limits,
        now: DateTime<Utc>,
        started: Instant,
    ) -> Result<Result<(), LimitRefusal>, Error> {
        if limits.is_empty() {
            return Ok(Ok(()));
        }
        if !self.is_uncached {
            return Ok(Err(LimitRefusal::NotEnforced));
        }
        self.with_ledger(id, Ledger::see_call);
        for attempt in 0..=MAX_ATTEMPTS {
            let taken = self.with_ledger(id, |ledger| match ledger.take(limits, now) {
                Taken::Lacking(_) if attempt >= BATCH_ATTEMPTS => Taken::Lacking(ledger.minimum()),
                taken => taken,
            });
            let reservation = match taken {
                Taken::Granted => return Ok(Ok(())),
                Taken::Full(end) => return Ok(Err(LimitRefusal::until(end, now))),
                Taken::Lacking(_) if attempt == MAX_ATTEMPTS => break,
                Taken::Lacking(reservation) => reservation,
            };
            // In a box, because most calls reserve nothing.
            let reserved = Box::pin(self.usage.reserve_permits(id, &reservation));
            let reserved = timeout_at(started + self.budget, reserved).await;
            let out_of_time = |_| Error::Unavailable {
                service: "DynamoDB",
                cause: "no permits reserved in time".to_owned(),
            };
            match reserved.map_err(out_of_time)?? {
                ReservationOutcome::Reserved(counters) => {
                    self.with_ledger(id, |ledger| ledger.reserved(&reservation, counters, now));
                }
                ReservationOutcome::Refused(counters) => {
                    self.with_ledger(id, |ledger| ledger.refused(counters));
                }
            }
        }
        Err(Error::Busy)
    }

    /// Reads or changes what is known about a key.
    fn with_ledger<T>(&self, id: KeyId, change: impl FnOnce(&mut Ledger) -> T) -> T {
        change(self.ledgers().get_or_insert_mut(id, Ledger::default))
    }

    /// A panic elsewhere leaves the map consistent: permits are removed from a ledger before a call is granted.
    fn ledgers(&self) -> MutexGuard<'_, LruCache<KeyId, Ledger>> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

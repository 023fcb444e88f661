//! The clock of AWS, by which signatures are checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use http::{HeaderMap, header};

/// The smallest difference that counts as one. Signatures are valid for five minutes, and the `Date` of a response can be as
/// old as an attempt.
const MIN_DIFFERENCE: Duration = Duration::from_mins(4);

/// The error codes of a signature whose time is not that of the service. Each can have other reasons.
const CODES: [&str; 5] = [
    "AccessDeniedException",
    "AuthFailure",
    "InvalidSignatureException",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

/// How far the service's clock is ahead of this machine's, in milliseconds, as the last response told whose refusal that explains.
///
/// As the SDK does, it corrects the time of signatures and nothing else: expiries are compared with this machine's clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceClock(Arc<AtomicI64>);

impl ServiceClock {
    /// The service's time.
    pub(crate) fn time(&self, now: SystemTime) -> SystemTime {
        let ahead = self.0.load(Ordering::Relaxed);
        let difference = Duration::from_millis(ahead.unsigned_abs());
        let time = if ahead < 0 { now.checked_sub(difference) } else { now.checked_add(difference) };
        time.unwrap_or(now)
    }

    /// Takes over the time of a refusal's `Date` header. Returns whether the difference explains the refusal: a signature
    /// with the corrected time may be accepted.
    pub(crate) fn correct(&self, code: &str, headers: &HeaderMap, now: SystemTime) -> bool {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()) else { return false };
        let since = |time: SystemTime| date.signed_duration_since(DateTime::<Utc>::from(time));
        let is_explained = CODES.contains(&code)
            && since(self.time(now)).abs().to_std().is_ok_and(|gap| gap >= MIN_DIFFERENCE);
        if is_explained {
            self.0.store(since(now).num_milliseconds(), Ordering::Relaxed);
        }
        is_explained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_716_000; // 2026-11-26T18:00:00Z

    fn corrected(clock: &ServiceClock, code: &str, date: &str) -> (bool, i64) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        let headers = HeaderMap::from_iter([(header::DATE, date.parse().unwrap())]);
        let is_explained = clock.correct(code, &headers, now);
        let time = clock.time(now).duration_since(SystemTime::UNIX_EPOCH).unwrap();
        (is_explained, i64::try_from(time.as_secs()).unwrap() - i64::try_from(NOW).unwrap())
    }

    #[test]
    fn a_refusal_that_a_difference_of_the_clocks_explains_corrects_the_time() {
        for (code, date, expected) in [
            ("InvalidSignatureException", "Thu, 26 Nov 2026 18:10:00 GMT", (true, 600)),
            ("RequestTimeTooSkewed", "Thu, 26 Nov 2026 17:00:00 GMT", (true, -3600)),
            ("AccessDeniedException", "Fri, 27 Nov 2026 18:00:00 GMT", (true, 86_400)),
            ("InvalidSignatureException", "Thu, 26 Nov 2026 18:03:59 GMT", (false, 0)),
            ("InvalidSignatureException", "Thu, 26 Nov 2026 17:57:00 GMT", (false, 0)),
            ("ResourceNotFoundException", "Thu, 26 Nov 2026 19:00:00 GMT", (false, 0)),
            ("InvalidSignatureException", "soon", (false, 0)),
        ] {
            assert_eq!(corrected(&ServiceClock::default(), code, date), expected, "{code} at {date}");
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        assert!(!ServiceClock::default().correct("InvalidSignatureException", &HeaderMap::new(), now));
    }

    #[test]
    fn a_refusal_at_the_corrected_time_is_not_explained_by_the_clock() {
        let clock = ServiceClock::default();
        let later = "Thu, 26 Nov 2026 19:00:00 GMT";
        assert_eq!(corrected(&clock, "InvalidSignatureException", later), (true, 3600));
        assert_eq!(corrected(&clock.clone(), "InvalidSignatureException", later), (false, 3600));
        // The machine's clock was set right since.
        let now = "Thu, 26 Nov 2026 18:00:00 GMT";
        assert_eq!(corrected(&clock, "InvalidSignatureException", now), (true, 0));
    }
}

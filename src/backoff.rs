//! How long to wait before trying again: exponential, capped, with jitter. A rule: it draws no random number and reads no
//! clock of its own, and it refuses to be built with values that would hammer a peer or give it up.
//!
//! The nominal delay starts at the base and doubles with every call until [`Backoff::reset`]. The delay that is handed out
//! lies within ±25 % of it, so that boxes which lost the same origin at the same moment do not come back together. The cap is
//! a promise: no delay is longer. So that the jitter is not squashed against it, the nominal delay stops growing at cap / 1.25.

use std::time::Duration;

/// Share of the nominal delay by which the real one may differ, both ways.
const JITTER: f64 = 0.25;

/// More doublings than this overflow nothing and mean nothing: 2^32 times the base.
const MAX_DOUBLINGS: u32 = 32;

const LONGEST_CAP: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    doublings: u32,
}

impl Backoff {
    /// `None` unless 1 ms ≤ `base` ≤ `cap` ≤ 1 day.
    pub const fn new(base: Duration, cap: Duration) -> Option<Self> {
        let (least, most) = (1_000_000, LONGEST_CAP.as_nanos());
        if base.as_nanos() < least || base.as_nanos() > cap.as_nanos() || cap.as_nanos() > most {
            return None;
        }
        Some(Self { base, cap, doublings: 0 })
    }

    /// The delay before the next try; `random` is a fresh number from 0 to 1 (anything else counts as the middle).
    pub fn next(&mut self, random: f64) -> Duration {
        let nominal = self.nominal();
        self.doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
        let random = if (0.0..=1.0).contains(&random) { random } else { 0.5 };
        nominal.mul_f64(1.0 + JITTER * (2.0 * random - 1.0)).min(self.cap)
    }

    /// It worked: the next delay is the base again.
    pub fn reset(&mut self) {
        self.doublings = 0;
    }

    fn nominal(&self) -> Duration {
        let seconds = self.base.as_secs_f64() * 2f64.powi(self.doublings as i32);
        Duration::from_secs_f64(seconds.min(self.cap.as_secs_f64() / (1.0 + JITTER)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn half_second_to_thirty() -> Backoff {
        Backoff::new(Duration::from_millis(500), Duration::from_secs(30)).unwrap()
    }

    #[test]
    fn doubles_to_the_cap_and_starts_again() {
        let mut backoff = half_second_to_thirty();
        let delays: Vec<u128> = (0..9).map(|_| backoff.next(0.5).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16000, 24000, 24000, 24000]);
        assert_eq!(backoff.next(1.0), Duration::from_secs(30));
        backoff.reset();
        assert_eq!(backoff.next(0.0), Duration::from_millis(375));
    }

    #[test]
    fn bad_values_are_refused() {
        let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
        assert!(Backoff::new(zero, second).is_none());
        assert!(Backoff::new(second, zero).is_none());
        assert!(Backoff::new(Duration::from_nanos(1), second).is_none());
        assert!(Backoff::new(second, Duration::MAX).is_none());
        assert!(Backoff::new(second, second).is_some());
    }

    proptest! {
        #[test]
        fn never_beyond_the_cap_never_nothing(base in 1u64..60_000, more in 0u64..60_000, randoms in prop::collection::vec(any::<f64>(), 1..80)) {
            let (base, cap) = (Duration::from_millis(base), Duration::from_millis(base + more));
            let mut backoff = Backoff::new(base, cap).unwrap();
            for random in randoms {
                let delay = backoff.next(random);
                prop_assert!(delay <= cap);
                prop_assert!(delay >= base.mul_f64(0.599));
            }
        }

        #[test]
        fn stays_within_the_jitter(random in 0f64..1.0, calls in 0usize..5) {
            let mut backoff = half_second_to_thirty();
            let nominal = 0.5 * 2f64.powi(calls as i32);
            let delay = (0..=calls).map(|_| backoff.next(random)).last().unwrap().as_secs_f64();
            prop_assert!((delay / nominal - 1.0).abs() <= 0.2501, "{} of {}", delay, nominal);
        }
    }
}

//! Which origin a leg tries next, and when. A rule: no clock, no socket, no random number of its own.
//!
//! Every origin has its own hold: the time before which it is not tried again. After a failure the next origin in the list
//! whose hold is over is tried at once, round and round; if all are held, the leg waits for the first hold to end.
//!
//! | what happened | hold of that origin |
//! | --- | --- |
//! | could not be reached, broke off, stalled | 0.5 s, doubling to 30 s; from 0.5 s again once it had been live for 2 s |
//! | says that the key is in use | 1 s, doubling to 15 s: it may still believe in our own connection of before |
//! | refuses for good: wrong name, key or rights | 60 s: only a person can change that, and persons are slow |
//!
//! "Live for 2 s" and not "accepted", because some servers accept a busy key and close the connection a moment later.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::units::MediaTime;

/// How long an origin must have been live for its earlier failures to be forgotten.
pub const PROVEN: Duration = Duration::from_secs(2);

/// Hold after a refusal for good.
pub const REFUSED: Duration = Duration::from_secs(60);

const FAILED: Backoff = schedule(500, 30);
const BUSY: Backoff = schedule(1000, 15);

/// Wrong numbers end the compilation.
const fn schedule(base_ms: u64, cap_s: u64) -> Backoff {
    match Backoff::new(Duration::from_millis(base_ms), Duration::from_secs(cap_s)) {
        Some(backoff) => backoff,
        None => panic!("base and cap must fit"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Index into the leg's list of origins.
    Try(usize),
    WaitUntil(MediaTime),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Failed,
    Busy,
    Refused,
}

#[derive(Debug)]
pub struct Failover {
    origins: Vec<Circuit>,
    /// Where the search begins.
    first: usize,
}

#[derive(Debug)]
struct Circuit {
    hold: MediaTime,
    failed: Backoff,
    busy: Backoff,
}

impl Failover {
    /// `origins`: how many there are, at least one.
    pub fn new(origins: usize) -> Self {
        let circuit = || Circuit { hold: MediaTime::ZERO, failed: FAILED, busy: BUSY };
        Self { origins: std::iter::repeat_with(circuit).take(origins.max(1)).collect(), first: 0 }
    }

    pub fn next(&self, now: MediaTime) -> Action {
        let count = self.origins.len();
        let mut order = (0..count).map(|step| (self.first + step) % count);
        match order.find(|index| self.origins[*index].hold <= now) {
            Some(index) => Action::Try(index),
            None => Action::WaitUntil(self.origins.iter().map(|origin| origin.hold).min().unwrap_or(now)),
        }
    }

    /// A try of `origin` has ended, after media had been live on it for `lived`.
    pub fn ended(&mut self, origin: usize, outcome: Outcome, lived: Duration, now: MediaTime, random: f64) {
        let circuit = &mut self.origins[origin];
        if lived >= PROVEN {
            circuit.failed.reset();
            circuit.busy.reset();
        }
        let hold = match outcome {
            Outcome::Failed => circuit.failed.next(random),
            Outcome::Busy => circuit.busy.next(random),
            Outcome::Refused => REFUSED,
        };
        circuit.hold = now + hold;
        self.first = (origin + 1) % self.origins.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEVER_LIVE: Duration = Duration::ZERO;

    fn at(millis: u64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    #[test]
    fn the_spare_is_tried_at_once_and_the_first_again_after_its_hold() {
        let mut failover = Failover::new(2);
        assert_eq!(failover.next(at(0)), Action::Try(0));
        failover.ended(0, Outcome::Failed, NEVER_LIVE, at(100), 0.5);
        assert_eq!(failover.next(at(100)), Action::Try(1));
        failover.ended(1, Outcome::Failed, NEVER_LIVE, at(200), 0.5);
        assert_eq!(failover.next(at(200)), Action::WaitUntil(at(600)));
        assert_eq!(failover.next(at(600)), Action::Try(0));
    }

    #[test]
    fn a_single_origin_is_tried_ever_more_rarely() {
        let (mut failover, mut now) = (Failover::new(1), at(0));
        let mut holds = Vec::new();
        for _ in 0..8 {
            failover.ended(0, Outcome::Failed, NEVER_LIVE, now, 0.5);
            let Action::WaitUntil(until) = failover.next(now) else { panic!("tried while held") };
            holds.push(until.since(now).as_millis());
            now = until;
            assert_eq!(failover.next(now), Action::Try(0));
        }
        assert_eq!(holds, [500, 1000, 2000, 4000, 8000, 16000, 24000, 24000]);
    }

    #[test]
    fn only_two_seconds_of_live_media_count_as_success() {
        for (lived, hold) in [(1999, 1000), (2000, 500)] {
            let mut failover = Failover::new(1);
            failover.ended(0, Outcome::Failed, NEVER_LIVE, at(0), 0.5);
            failover.ended(0, Outcome::Failed, Duration::from_millis(lived), at(9000), 0.5);
            assert_eq!(failover.next(at(9000)), Action::WaitUntil(at(9000 + hold)));
        }
    }

    #[test]
    fn busy_and_refused_origins_have_their_own_holds() {
        let mut failover = Failover::new(2);
        failover.ended(0, Outcome::Refused, NEVER_LIVE, at(0), 0.5);
        failover.ended(1, Outcome::Busy, NEVER_LIVE, at(0), 0.5);
        assert_eq!(failover.next(at(0)), Action::WaitUntil(at(1000)));
        failover.ended(1, Outcome::Busy, NEVER_LIVE, at(1000), 0.5);
        assert_eq!(failover.next(at(1000)), Action::WaitUntil(at(3000)));
        failover.ended(1, Outcome::Failed, NEVER_LIVE, at(3000), 0.5);
        assert_eq!(failover.next(at(3500)), Action::Try(1));
        failover.ended(1, Outcome::Busy, NEVER_LIVE, at(59_000), 0.5);
        assert_eq!(failover.next(at(60_000)), Action::Try(0));
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![4 => Just(Outcome::Failed), 2 => Just(Outcome::Busy), 1 => Just(Outcome::Refused)]
    }

    proptest! {
        #[test]
        fn never_too_early_never_never(origins in 1usize..5, tries in prop::collection::vec((outcome(), 0u64..5000, 0f64..1.0), 1..100)) {
            let (mut failover, mut now) = (Failover::new(origins), at(0));
            let mut ended: Vec<Option<(MediaTime, Outcome)>> = vec![None; origins];
            for (outcome, lived, random) in tries {
                if let Action::WaitUntil(until) = failover.next(now) {
                    prop_assert!(until > now && until.since(now) <= REFUSED, "waits, and not for ever");
                    now = until;
                }
                let Action::Try(index) = failover.next(now) else { return Err(TestCaseError::fail("waits after its wait")) };
                if let Some((end, outcome)) = ended[index] {
                    let least = match outcome { Outcome::Failed => 375, Outcome::Busy => 750, Outcome::Refused => 60_000 };
                    prop_assert!(now.since(end) >= Duration::from_millis(least));
                }
                now = now + Duration::from_millis(lived);
                failover.ended(index, outcome, Duration::from_millis(lived), now, random);
                ended[index] = Some((now, outcome));
                if let (Some(fresh), false) = (ended.iter().position(Option::is_none), matches!(failover.next(now), Action::Try(_))) {
                    return Err(TestCaseError::fail(format!("origin {fresh} was never tried and yet it waits")));
                }
            }
        }
    }
}

//! When one origin may be tried again: its holds, each with a schedule of its own. A rule; see the table in
//! [`failover`](super::failover), which owns one per origin.

use std::time::Duration;

use super::failover::Outcome;
use crate::backoff::Backoff;
use crate::units::MediaTime;

/// How long an origin must have been live for its earlier failures to be forgotten.
pub const PROVEN: Duration = Duration::from_secs(2);

/// Hold after a refusal for good.
pub const REFUSED: Duration = Duration::from_secs(60);

/// An origin that was live for so long has come to stay.
const STEADY: Duration = Duration::from_secs(600);

const FAILED: Backoff = schedule(500, 30_000);
const UPLINK: Backoff = schedule(500, 2_000);
const BUSY: Backoff = schedule(1000, 15_000);

/// Time on a spare before a better origin is tried again; longer for one that is unsteady.
const DWELL: Backoff = schedule(30_000, 600_000);

/// Wrong numbers end the compilation.
const fn schedule(base_ms: u64, cap_ms: u64) -> Backoff {
    match Backoff::new(Duration::from_millis(base_ms), Duration::from_millis(cap_ms)) {
        Some(backoff) => backoff,
        None => panic!("base and cap must fit"),
    }
}

#[derive(Debug)]
pub struct Circuit {
    hold: MediaTime,
    failed: Backoff,
    uplink: Backoff,
    busy: Backoff,
    dwell_until: MediaTime,
    dwell: Backoff,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { hold: MediaTime::ZERO, failed: FAILED, uplink: UPLINK, busy: BUSY, dwell_until: MediaTime::ZERO, dwell: DWELL }
    }
}

impl Circuit {
    /// Not to be tried before this.
    pub fn hold(&self) -> MediaTime {
        self.hold
    }

    pub fn is_free(&self, now: MediaTime) -> bool {
        self.hold <= now
    }

    /// It may be gone back to from another one that works.
    pub fn is_trusted(&self, now: MediaTime) -> bool {
        self.is_free(now) && self.dwell_until <= now
    }

    /// A connection could not be had, or has ended after media had been live on it for `lived`. `own_uplink`: nothing gets
    /// through anywhere.
    pub fn ended(&mut self, outcome: Outcome, lived: Duration, own_uplink: bool, now: MediaTime, random: f64) {
        if lived >= PROVEN {
            (self.failed, self.uplink, self.busy) = (FAILED, UPLINK, BUSY);
        }
        let hold = match outcome {
            Outcome::Planned => Duration::ZERO,
            Outcome::Unanswered if own_uplink => self.uplink.next(random),
            Outcome::Failed | Outcome::Unanswered => self.failed.next(random),
            Outcome::Busy => self.busy.next(random),
            Outcome::Refused => REFUSED,
        };
        self.hold = now + hold;
        if outcome != Outcome::Planned {
            self.stay_away(lived, now, random);
        }
    }

    /// Only an origin that comes and goes is trusted ever later; one that was merely away is not.
    fn stay_away(&mut self, lived: Duration, now: MediaTime, random: f64) {
        if lived >= STEADY {
            self.dwell = DWELL;
        }
        let dwell = if lived > Duration::ZERO { self.dwell.next(random) } else { DWELL.clone().next(random) };
        self.dwell_until = self.dwell_until.max(now + dwell);
    }
}

//! How fast bytes may leave: a token bucket, and the measure of what has left. Rules with `now` as an argument.
//!
//! The rate is the configured limit, or without one what the line has carried at best, times the share that the legs leave. Only a
//! whole share without a limit is not held back at all. Whoever may send sends one piece and owes for it; the next one waits until
//! the debt is paid. So no burst is ever larger than a piece, however long nothing was sent.

use std::time::Duration;

use crate::control::UploadShare;
use crate::units::{BitRate, MediaTime};

/// What leaves at once: small against what a leg sends in the time that it takes.
pub const PIECE: usize = 16 << 10;

/// What an unknown line is taken to carry until it has been measured, in bytes per second.
const UNKNOWN: f64 = 256_000.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grant {
    /// The piece may leave.
    Now,
    /// Ask again after this.
    In(Duration),
    /// Not before the share changes.
    Never,
}

pub struct Pace {
    limit: Option<BitRate>,
    share: UploadShare,
    /// Bytes that have been sent before their time.
    debt: f64,
    paid: MediaTime,
    speed: Speed,
}

impl Pace {
    pub fn new(limit: Option<BitRate>) -> Self {
        Self { limit, share: UploadShare::WHOLE, debt: 0.0, paid: MediaTime::ZERO, speed: Speed::default() }
    }

    pub fn set_share(&mut self, share: UploadShare) {
        self.share = share;
    }

    /// May a piece leave? If it may, it counts as sent.
    pub fn ask(&mut self, now: MediaTime, bytes: usize) -> Grant {
        if self.share == UploadShare::NONE {
            return Grant::Never;
        }
        let Some(rate) = self.rate() else {
            self.debt = 0.0;
            self.speed.add(now, bytes, true);
            return Grant::Now;
        };
        self.debt = (self.debt - rate * now.since(self.paid).as_secs_f64()).max(0.0);
        self.paid = now;
        if self.debt >= 1.0 {
            return Grant::In(Duration::from_secs_f64(self.debt / rate).max(Duration::from_millis(1)));
        }
        self.debt += bytes as f64;
        self.speed.add(now, bytes, self.share == UploadShare::WHOLE);
        Grant::Now
    }

    /// Bytes per second; `None`: as fast as they go.
    fn rate(&self) -> Option<f64> {
        let share = f64::from(self.share.thousandths()) / 1000.0;
        match self.limit {
            Some(limit) => Some(limit.bps() as f64 / 8.0 * share),
            None if self.share == UploadShare::WHOLE => None,
            None => Some(self.speed.best().max(UNKNOWN) * share),
        }
    }

    /// Bytes per second over the last few seconds.
    pub fn speed(&mut self, now: MediaTime) -> u64 {
        self.speed.now(now)
    }
}

/// Sent bytes in a ring of slots of a second.
#[derive(Default)]
struct Speed {
    slots: [u64; SLOTS],
    /// Second of the newest slot.
    second: u64,
    /// Bytes of the best second in which nothing held them back.
    best: u64,
    /// The newest slot's second was held back for a part.
    held: bool,
}

const SLOTS: usize = 5;

impl Speed {
    fn add(&mut self, now: MediaTime, bytes: usize, free: bool) {
        self.turn(now);
        self.held |= !free;
        let slot = (self.second as usize) % SLOTS;
        self.slots[slot] += bytes as u64;
    }

    fn turn(&mut self, now: MediaTime) {
        let second = now.millis() / 1000;
        if second <= self.second {
            return;
        }
        if !self.held {
            self.best = self.best.max(self.slots[(self.second as usize) % SLOTS]);
        }
        for gone in 1..=(second - self.second).min(SLOTS as u64) {
            self.slots[((self.second + gone) as usize) % SLOTS] = 0;
        }
        (self.second, self.held) = (second, false);
    }

    /// Without the newest second, which is not over.
    fn now(&mut self, now: MediaTime) -> u64 {
        self.turn(now);
        let newest = (self.second as usize) % SLOTS;
        let sum: u64 = self.slots.iter().enumerate().filter(|(slot, _)| *slot != newest).map(|(_, bytes)| bytes).sum();
        sum / (SLOTS as u64 - 1)
    }

    fn best(&self) -> f64 {
        self.best as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sends for so long as fast as it may, `step` apart; how many bytes left.
    fn sent(pace: &mut Pace, from: MediaTime, span: Duration, step: Duration) -> u64 {
        let (mut now, mut sent) = (from, 0);
        while now < from + span {
            match pace.ask(now, PIECE) {
                Grant::Now => {
                    sent += PIECE as u64;
                    now = now + step;
                }
                Grant::In(wait) => now = now + wait,
                Grant::Never => return sent,
            }
        }
        sent
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_limit_a_whole_share_is_not_held_back() {
        let mut pace = Pace::new(None);
        assert_eq!(sent(&mut pace, MediaTime::ZERO, SECOND, Duration::from_millis(1)), 1000 * PIECE as u64);
        assert_eq!(pace.speed(MediaTime::from_millis(4500)), 1000 * PIECE as u64 / 4);
        assert_eq!(pace.speed(MediaTime::from_millis(60_000)), 0);
    }

    #[test]
    fn a_share_is_one_of_what_the_line_carried_at_best() {
        let mut pace = Pace::new(None);
        sent(&mut pace, MediaTime::ZERO, 3 * SECOND, Duration::from_millis(1));
        pace.set_share(UploadShare::of_thousand(250));
        let bytes = sent(&mut pace, MediaTime::from_millis(3000), 10 * SECOND, Duration::from_nanos(1));
        let want = 10 * 1000 * PIECE as u64 / 4;
        assert!(bytes.abs_diff(want) <= 2 * PIECE as u64, "{bytes}, not {want}");
    }

    #[test]
    fn nothing_leaves_without_a_share() {
        let mut pace = Pace::new(Some(BitRate::from_bps(1_000_000)));
        pace.set_share(UploadShare::NONE);
        assert_eq!(pace.ask(MediaTime::ZERO, PIECE), Grant::Never);
        pace.set_share(UploadShare::WHOLE);
        assert_eq!(pace.ask(MediaTime::ZERO, PIECE), Grant::Now);
    }

    proptest! {
        #[test]
        fn the_limit_holds_over_any_span_and_is_used(
            kbps in 100u64..100_000,
            share in 1u16..=1000,
            seconds in 1u64..20,
            idle in 0u64..100,
        ) {
            let mut pace = Pace::new(Some(BitRate::from_bps(kbps * 1000)));
            pace.set_share(UploadShare::of_thousand(share));
            let span = Duration::from_secs(seconds);
            let bytes = sent(&mut pace, MediaTime::from_millis(idle * 1000), span, Duration::from_nanos(1));
            let want = kbps as f64 * 125.0 * f64::from(share) / 1000.0 * seconds as f64;
            prop_assert!(bytes as f64 <= want * 1.01 + 2.0 * PIECE as f64, "{} of {}", bytes, want);
            prop_assert!(bytes as f64 >= want * 0.97 - 2.0 * PIECE as f64, "{} of {}", bytes, want);
        }
    }
}

//! How fast a leg sends what it owes. A rule about times; it holds no packet and no socket.
//!
//! A leg that starts in the past (a replay after a failover) catches up [`SPEED`] times as fast as real time, after a first
//! [`BURST`] at once: so the new origin has a picture immediately, and neither the uplink nor the origin is flooded. The pace
//! ends when the present is reached. Until then, and for as long as the catching up may take, the backlog's limit is the
//! hub's memory instead of the leg's own: a replay is not congestion.
//!
//! ```text
//!  began in the past ──▶ catching up ── present reached, or its time is over ──▶ normal
//! ```

use std::time::Duration;

use crate::media::hub::MEMORY;
use crate::units::MediaTime;

/// Media seconds per second while catching up.
pub const SPEED: u32 = 4;

/// Media that goes out at once at the start.
pub const BURST: Duration = Duration::from_millis(500);

/// Closer to the present than this, it is the present.
const PRESENT: Duration = Duration::from_millis(300);

/// A replay that takes longer than this times its due is a congested one.
const PATIENCE: u32 = 2;

#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    replay: Option<Replay>,
}

#[derive(Clone, Copy, Debug)]
struct Replay {
    began: MediaTime,
    /// Time of its first packet.
    first: MediaTime,
    /// After this it is congested.
    end: MediaTime,
}

impl Pace {
    /// `first`: time of the first packet; `lag`: how far behind the newest one it is.
    pub fn starting(first: MediaTime, lag: Duration, now: MediaTime) -> Self {
        let due = lag / (SPEED - 1);
        let replay = Replay { began: now, first, end: now + PATIENCE * due + Duration::from_secs(1) };
        Self { replay: (lag > BURST).then_some(replay) }
    }

    /// What is behind by `lag` now; to be told with every batch.
    pub fn advance(&mut self, lag: Duration, now: MediaTime) {
        if lag <= PRESENT || self.replay.is_some_and(|replay| now > replay.end) {
            self.replay = None;
        }
    }

    pub fn is_catching_up(&self) -> bool {
        self.replay.is_some()
    }

    /// When the packet of this time may go; `None`: at once.
    pub fn due(&self, time: MediaTime) -> Option<MediaTime> {
        let replay = self.replay?;
        let ahead = time.since(replay.first).saturating_sub(BURST);
        Some(replay.began + ahead / SPEED)
    }

    /// How much may wait before GOPs are left out.
    pub fn backlog(&self, limit: Duration) -> Duration {
        if self.is_catching_up() { limit.max(MEMORY) } else { limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    #[test]
    fn a_start_at_the_present_knows_no_pace() {
        let pace = Pace::starting(at(10_000), Duration::from_millis(500), at(11_000));
        assert!(!pace.is_catching_up());
        assert_eq!((pace.due(at(99_000)), pace.backlog(5 * S)), (None, 5 * S));
    }

    #[test]
    fn a_replay_bursts_then_goes_four_times_as_fast() {
        let pace = Pace::starting(at(10_000), 3 * S, at(13_000));
        assert_eq!(pace.due(at(10_500)), Some(at(13_000)));
        assert_eq!(pace.due(at(12_500)), Some(at(13_500)));
        assert_eq!(pace.backlog(5 * S), MEMORY);
    }

    #[test]
    fn it_ends_at_the_present_or_when_it_takes_too_long() {
        let mut pace = Pace::starting(at(10_000), 3 * S, at(13_000));
        pace.advance(2 * S, at(13_500));
        assert!(pace.is_catching_up());
        pace.advance(Duration::from_millis(300), at(14_000));
        assert!(!pace.is_catching_up());
        let mut slow = Pace::starting(at(10_000), 3 * S, at(13_000));
        slow.advance(3 * S, at(16_000));
        assert!(slow.is_catching_up());
        slow.advance(3 * S, at(16_001));
        assert!(!slow.is_catching_up(), "two seconds and one of grace are over: what is still behind is congestion");
    }

    proptest! {
        /// A path that is fast enough reaches the present before patience ends, from any lag that the memory holds.
        #[test]
        fn a_fast_path_catches_up_in_time(lag in 501u64..12_000) {
            let (start, first) = (at(100_000), at(100_000 - lag));
            let mut pace = Pace::starting(first, Duration::from_millis(lag), start);
            let mut next = first;
            for step in 0..100_000u64 {
                let now = start + Duration::from_millis(10 * step);
                while next <= now && pace.due(next).is_none_or(|due| due <= now) {
                    next = next + Duration::from_millis(33);
                }
                let catching_up = pace.is_catching_up();
                pace.advance(now.since(next), now);
                if catching_up && !pace.is_catching_up() {
                    prop_assert!(now.since(next) <= PRESENT, "gave up at {:?}", now.since(next));
                    return Ok(());
                }
            }
            prop_assert!(false, "never reached the present");
        }
    }
}

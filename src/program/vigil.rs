//! When an encoder is hung, and how often it may be rebuilt. Two rules over counts and times; they touch no encoder.
//!
//! ```text
//!            a packet came                     nothing for 2 GOPs (2 s to 6 s) while pictures were offered
//!          ┌───────────────┐
//!          ▼               │
//!   ────▶ works ──────────▶ quiet ──────────────────────▶ hung ────▶ rebuilt, or after 3 rebuilds in a minute: given up
//! ```
//!
//! Time alone proves nothing: a machine that slept, or had no time for us, finds a quiet encoder and a clock far ahead. So a look
//! counts for at most `LONGEST_LOOK`, and as much media as fills the time must have been offered too.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::{FrameRate, MediaTime};

/// An encoder is never called hung before this.
const LEAST: Duration = Duration::from_secs(2);

/// However long the GOPs are: the service's watchdog waits for 10 s, and a rebuild takes its time too.
const MOST: Duration = Duration::from_secs(6);

/// What the time between two looks counts for at most.
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// Rebuilds within [`SPAN`].
const REBUILDS: usize = 3;
const SPAN: Duration = Duration::from_secs(60);

/// Watches one encoder.
#[derive(Debug)]
pub struct Vigil {
    limit: Duration,
    /// Pictures in `limit`.
    pictures: u64,
    quiet: Duration,
    looked: Option<MediaTime>,
    /// Packets that had come at the last look.
    came: u64,
    /// Ticks that had been offered when the last packet was seen.
    offered: Option<u64>,
}

impl Vigil {
    /// `gop`: pictures from one keyframe to the next.
    pub fn new(gop: u64, framerate: FrameRate) -> Self {
        let limit = framerate.time_of(2 * gop).since(MediaTime::ZERO).clamp(LEAST, MOST);
        let pictures = framerate.frames_in(limit);
        Self { limit, pictures, quiet: Duration::ZERO, looked: None, came: 0, offered: None }
    }

    /// To be called a few times a second with the counts since the start: ticks for which the encoder was offered something,
    /// packets that came out of it. If it is hung: for how long.
    pub fn look(&mut self, offered: u64, came: u64, now: MediaTime) -> Option<Duration> {
        let passed = self.looked.map_or(Duration::ZERO, |looked| now.since(looked).min(LONGEST_LOOK));
        self.looked = Some(now);
        let offered_then = *self.offered.get_or_insert(offered);
        if came != self.came {
            (self.came, self.quiet, self.offered) = (came, Duration::ZERO, Some(offered));
            return None;
        }
        self.quiet += passed;
        let hung = self.quiet >= self.limit && offered.saturating_sub(offered_then) >= self.pictures;
        hung.then_some(self.quiet)
    }

    /// The encoder is a new one.
    pub fn restart(&mut self) {
        (self.quiet, self.looked, self.offered) = (Duration::ZERO, None, None);
    }
}

/// How often rebuilding may be tried before the whole process is the better thing to start again.
#[derive(Debug, Default)]
pub struct Budget(VecDeque<MediaTime>);

impl Budget {
    /// Whether a rebuild may begin now; if so, it counts.
    pub fn allows(&mut self, now: MediaTime) -> bool {
        while self.0.front().is_some_and(|time| now.since(*time) > SPAN) {
            self.0.pop_front();
        }
        let allowed = self.0.len() < REBUILDS;
        if allowed {
            self.0.push_back(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: FrameRate = FrameRate::new(30, 1).unwrap();

    fn at(millis: u64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    /// Looks every 250 ms; the first verdict in ms after the last packet.
    fn verdict_after(gop: u64, offered_per_look: u64) -> Option<u64> {
        let mut vigil = Vigil::new(gop, RATE);
        (0..200)
            .map(|look| (look * 250, look * offered_per_look))
            .find_map(|(time, offered)| vigil.look(1000 + offered, 7, at(time)).map(|_| time))
    }

    #[test]
    fn hung_after_two_gops_without_a_packet() {
        assert_eq!(verdict_after(60, 8), Some(4000));
        assert_eq!(verdict_after(15, 8), Some(2000), "at least 2 s");
        assert_eq!(verdict_after(300, 8), Some(6000), "before the service's watchdog");
        assert_eq!(verdict_after(60, 0), None, "who is offered nothing owes nothing");
        assert_eq!(verdict_after(60, 1), Some(30_000), "a slow ticker is not the encoder's fault");
    }

    #[test]
    fn a_packet_now_and_then_is_life_and_a_new_encoder_has_its_time() {
        let mut vigil = Vigil::new(60, RATE);
        let hung = (0..400).any(|look| vigil.look(look * 8, look / 12, at(look * 250)).is_some());
        assert!(!hung);
        let mut vigil = Vigil::new(60, RATE);
        for look in 0..100 {
            if look % 15 == 0 {
                vigil.restart();
            }
            assert_eq!(vigil.look(look * 8, 0, at(look * 250)), None);
        }
    }

    /// The ticker makes up for 2 s at once after a pause, and leaves out more: neither is a hung encoder.
    #[test]
    fn a_jump_of_the_clock_is_no_verdict() {
        for (jump, made_up) in [(2_000, 60), (600_000, 0), (600_000, 60), (86_400_000, 2_592_000)] {
            let mut vigil = Vigil::new(30, RATE);
            let (mut time, mut offered) = (0, 0);
            for look in 0..40 {
                assert_eq!(vigil.look(offered, look, at(time)), None);
                (time, offered) = (time + 250, offered + 8);
            }
            (time, offered) = (time + jump, offered + made_up);
            assert_eq!(vigil.look(offered, 39, at(time)), None, "{jump} ms");
            assert_eq!(vigil.look(offered + 8, 39, at(time + 250)), None, "{jump} ms");
            assert_eq!(vigil.look(offered + 16, 40, at(time + 500)), None, "{jump} ms");
        }
    }

    #[test]
    fn three_rebuilds_a_minute() {
        let mut budget = Budget::default();
        let asked = [0, 1000, 2000, 3000, 59_000, 60_500, 60_600, 62_000].map(|time| budget.allows(at(time)));
        assert_eq!(asked, [true, true, true, false, false, true, false, true]);
    }

    proptest! {
        /// However the looks and the clock fall: no verdict on an encoder that has been quiet for less than the limit.
        #[test]
        fn never_too_early(looks in prop::collection::vec((0u64..100_000, 0u64..100, any::<bool>()), 1..200)) {
            let mut vigil = Vigil::new(60, RATE);
            let (mut time, mut offered, mut came, mut since, mut given) = (0, 0, 0, 0, 0);
            for (passed, more, packet) in looks {
                (time, offered) = (time + passed, offered + more);
                if packet {
                    (came, since, given) = (came + 1, time, offered);
                }
                if vigil.look(offered, came, at(time)).is_some() {
                    prop_assert!(time - since >= 4000 && offered - given >= 120);
                }
            }
        }
    }
}

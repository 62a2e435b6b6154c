//! What happens between a fault and the next attempt: how long nothing is tried, and which packets the next attempt begins with.
//!
//! ```text
//!            fault (after RETRY)            a fragment is on the disk
//!   Paused ◀──────────────── Trying ──────────────────────────▶ Working
//!     └── RETRY is over ───────▲  ▲── fault ──────────────────────┘
//! ```
//!
//! GOPs that begin while nothing is written are kept for as long as the hub remembers them too, so that a short fault costs no more
//! than the GOP that it interrupted, and an attempt need not wait for the next keyframe, which may be 10 s away. Kept packets are the
//! hub's own. A rule: time is that of the packets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::media::hub;
use crate::media::packet::Packet;
use crate::units::MediaTime;

/// From a fault to the next attempt.
pub const RETRY: Duration = Duration::from_secs(2);

/// What a disk that is slow to come back may still get.
const MAX_KEPT: Duration = hub::MEMORY;
const MAX_BYTES: usize = hub::MAX_BYTES;

pub struct Pause {
    state: State,
    /// From a keyframe on.
    kept: VecDeque<Arc<Packet>>,
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Paused { until: MediaTime },
    Trying,
    Working,
}

/// What is to be done with a packet.
#[derive(Debug)]
pub enum Course {
    /// Record it.
    Go,
    /// It is not recorded for now; this many GOPs are lost for ever.
    Wait { dropped: u64 },
    /// Record these, of which it is the last.
    Retry { packets: Vec<Arc<Packet>>, dropped: u64 },
}

impl Default for Pause {
    fn default() -> Self {
        Self { state: State::Trying, kept: VecDeque::new(), bytes: 0 }
    }
}

impl Pause {
    pub fn take(&mut self, packet: &Arc<Packet>) -> Course {
        match self.state {
            State::Working => Course::Go,
            State::Trying => {
                self.keep(packet);
                Course::Go
            }
            State::Paused { until } => {
                let dropped = self.keep(packet);
                if self.kept.is_empty() || !is_over(until, packet.time) {
                    return Course::Wait { dropped };
                }
                self.state = State::Trying;
                Course::Retry { packets: self.kept.iter().cloned().collect(), dropped }
            }
        }
    }

    /// A fragment is on the disk.
    pub fn worked(&mut self) {
        self.state = State::Working;
        self.forget();
    }

    /// Returns true if what is being recorded is lost: an attempt loses nothing, since it can be made again.
    pub fn fail(&mut self, now: MediaTime) -> bool {
        let lost = self.state == State::Working;
        self.state = State::Paused { until: now + RETRY };
        lost
    }

    /// What an attempt did not come to, because something of it was written before it failed. Returns how many GOPs of it are too old.
    pub fn give_back(&mut self, rest: &[Arc<Packet>]) -> u64 {
        if self.kept.is_empty() { rest.iter().map(|packet| self.keep(packet)).sum() } else { 0 }
    }

    /// The packets do not join on those that were kept.
    pub fn interrupt(&mut self) -> u64 {
        self.forget()
    }

    /// Returns how many GOPs that means.
    fn forget(&mut self) -> u64 {
        self.bytes = 0;
        let gops = self.kept.iter().filter(|packet| packet.keyframe).count();
        self.kept.clear();
        gops as u64
    }

    /// Nothing is kept before a keyframe. Returns how many GOPs are too old to be kept.
    fn keep(&mut self, packet: &Arc<Packet>) -> u64 {
        if packet.keyframe || !self.kept.is_empty() {
            self.bytes += packet.data.len();
            self.kept.push_back(packet.clone());
        }
        let mut dropped = 0;
        while self.kept.front().is_some_and(|first| packet.time.since(first.time) > MAX_KEPT || self.bytes > MAX_BYTES) {
            self.forget_oldest();
            dropped += 1;
        }
        dropped
    }

    /// The oldest GOP.
    fn forget_oldest(&mut self) {
        let end = self.kept.iter().skip(1).position(|packet| packet.keyframe);
        let packets = end.map_or(self.kept.len(), |end| end + 1);
        self.bytes -= self.kept.drain(..packets).map(|packet| packet.data.len()).sum::<usize>();
    }
}

/// A time line that jumped back ends a pause too.
fn is_over(until: MediaTime, now: MediaTime) -> bool {
    now >= until || until.since(now) > RETRY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::testing::Stream;
    use proptest::prelude::*;

    #[test]
    fn an_attempt_begins_with_the_gop_that_goes_on() {
        let packets = Stream { gop: 300, seconds: 30, ..Stream::default() }.packets();
        let mut pause = Pause::default();
        assert!(matches!(pause.take(&packets[0]), Course::Go));
        pause.worked();
        let at = |seconds: u64| packets.iter().position(|packet| packet.time.millis() >= seconds * 1000).unwrap();
        assert!(pause.fail(packets[at(9)].time), "what had been begun is lost");
        let mut retry = None;
        for packet in &packets[at(9)..] {
            match pause.take(packet) {
                Course::Wait { dropped } => assert_eq!(dropped, 0),
                Course::Retry { packets, dropped } => {
                    retry = Some(packets);
                    assert_eq!(dropped, 0);
                    break;
                }
                Course::Go => panic!("it is too early"),
            }
        }
        let retry = retry.expect("an attempt");
        assert_eq!((retry[0].keyframe, retry[0].time.millis()), (true, 10_000));
        assert_eq!(retry.last().unwrap().time.millis() / 100, 110, "2 s after the fault, in the middle of the GOP");
        assert!(!pause.fail(retry.last().unwrap().time), "nothing of it was written: it can be tried again");
    }

    #[test]
    fn gops_that_pass_while_nothing_can_be_written_are_counted() {
        let packets = Stream { gop: 30, seconds: 20, ..Stream::default() }.packets();
        let mut pause = Pause::default();
        pause.take(&packets[0]);
        let mut dropped = 0;
        pause.fail(packets[0].time);
        for packet in &packets[1..] {
            match pause.take(packet) {
                Course::Wait { dropped: more } => dropped += more,
                Course::Retry { dropped: more, .. } => {
                    dropped += more;
                    pause.fail(packet.time);
                }
                Course::Go => panic!("it fails for ever"),
            }
        }
        assert!((7..=8).contains(&dropped), "{dropped}: all but those of the last 12 s");
        assert_eq!(dropped + pause.interrupt(), 20);
    }

    #[test]
    fn an_attempt_that_fails_half_way_costs_one_gop() {
        let packets = Stream { gop: 30, seconds: 12, ..Stream::default() }.packets();
        let mut pause = Pause::default();
        pause.fail(packets[0].time);
        let attempt = packets.iter().take(900).find_map(|packet| match pause.take(packet) {
            Course::Retry { packets, .. } if packets.len() > 300 => Some(packets),
            Course::Retry { .. } => {
                pause.fail(packet.time);
                None
            }
            _ => None,
        });
        let attempt = attempt.expect("an attempt with some GOPs");
        pause.worked();
        assert!(pause.fail(packets[0].time), "what had been begun is lost");
        pause.give_back(&attempt[100..]);
        let next = attempt[100..].iter().find(|packet| packet.keyframe).unwrap();
        assert!(Arc::ptr_eq(pause.kept.front().unwrap(), next));
        pause.give_back(&attempt);
        assert!(Arc::ptr_eq(pause.kept.front().unwrap(), next), "what is kept is not overruled");
    }

    proptest! {
        /// Whatever fails when: attempts begin at a keyframe, join on nothing older, and come no later than RETRY and one GOP.
        #[test]
        fn attempts(gop in 1u64..300, fails in proptest::collection::vec(0usize..2000, 1..6)) {
            let packets = Stream { gop, seconds: 25, ..Stream::default() }.packets();
            let mut pause = Pause::default();
            let mut paused_since = None;
            let longest = RETRY + Duration::from_secs_f64(gop as f64 / 30.0) + Duration::from_millis(100);
            for (index, packet) in packets.iter().enumerate() {
                match pause.take(packet) {
                    Course::Go => prop_assert!(paused_since.is_none()),
                    Course::Wait { .. } => prop_assert!(packet.time.since(paused_since.unwrap()) <= longest),
                    Course::Retry { packets, .. } => {
                        paused_since = None;
                        prop_assert!(packets[0].keyframe && Arc::ptr_eq(packets.last().unwrap(), packet));
                        prop_assert!(packets.windows(2).all(|pair| pair[0].time <= pair[1].time));
                        pause.worked();
                    }
                }
                if fails.contains(&index) && paused_since.is_none() {
                    pause.fail(packet.time);
                    paused_since = Some(packet.time);
                }
            }
        }
    }
}

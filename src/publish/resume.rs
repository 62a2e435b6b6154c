//! Where a leg goes on after it has lost an origin: at the last keyframe that the lost origin's process may not have got. A rule.
//!
//! What has gone out on a connection is remembered by its keyframes: their places in the stream of packets, and how many bytes
//! had been written before each. What the origin has surely read is then a number of bytes, and the keyframe is the newest
//! one that does not lie beyond it:
//!
//! * by its own acknowledgements (RTMP, bytes of the session), where it sends them;
//! * else by the kernel's (bytes on the wire), less what may lie unread in the peer's buffer, and at least [`UNSURE`] and
//!   one GOP back: an acknowledgement of the kernel is not reading, and a frozen origin goes on giving them for seconds.
//!
//! So nothing is missing at the new origin, and a little is there twice. It remembers no packet: those are in the hub, as far as
//! its memory reaches.

use std::collections::VecDeque;
use std::time::Duration;

use crate::media::hub::Sequence;
use crate::units::MediaTime;

/// How much is repeated at least where an origin does not say what it has read.
pub const UNSURE: Duration = Duration::from_secs(2);

/// Keyframes remembered: the hub's memory at the shortest interval between them.
const MAX_MARKS: usize = 64;

/// A keyframe that has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub sequence: Sequence,
    pub time: MediaTime,
    /// Bytes of the session before it.
    pub session_bytes: u64,
    /// Bytes in the kernel before it.
    pub wire_bytes: u64,
}

/// Where a connection must go on so that nothing is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub sequence: Sequence,
    /// Everything before it has got there.
    pub time: MediaTime,
}

/// What is known of an origin at the end of its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bytes of the session that its process has read at least, by its own word.
    pub read_bytes: Option<u64>,
    /// Bytes that its kernel has acknowledged.
    pub acked_bytes: u64,
    /// Of these, what its process may not have read.
    pub unread_bytes: u64,
}

#[derive(Debug, Default)]
pub struct Ledger {
    marks: VecDeque<Mark>,
    /// Time of the newest packet written.
    newest: MediaTime,
    /// The largest window that the peer has offered.
    widest_window: u64,
}

impl Ledger {
    pub fn keyframe(&mut self, mark: Mark) {
        if self.marks.len() == MAX_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(mark);
    }

    /// The one that was written last.
    pub fn newest_keyframe(&self) -> Option<&Mark> {
        self.marks.back()
    }

    pub fn packet(&mut self, time: MediaTime) {
        self.newest = self.newest.max(time);
    }

    /// What lies unread at the peer shows in how far its window is below the widest one it ever offered.
    pub fn unread(&mut self, window_bytes: Option<u64>) -> u64 {
        let window = window_bytes.unwrap_or(self.widest_window);
        self.widest_window = self.widest_window.max(window);
        self.widest_window - window
    }

    /// The keyframe to go on at; `None` if nothing was ever written.
    pub fn resume_at(&self, taken: Taken) -> Option<Place> {
        let sure: Box<dyn Fn(&Mark) -> bool> = match taken.read_bytes {
            Some(read) => Box::new(move |mark| mark.session_bytes <= read),
            None => {
                let read = taken.acked_bytes.saturating_sub(taken.unread_bytes);
                let (latest, last) = (self.newest.saturating_sub(UNSURE), self.marks.back().map(|mark| mark.sequence));
                Box::new(move |mark| mark.wire_bytes <= read && mark.time <= latest && Some(mark.sequence) != last)
            }
        };
        let mark = self.marks.iter().rev().find(|mark| sure(mark)).or(self.marks.front());
        mark.map(|mark| Place { sequence: mark.sequence, time: mark.time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A keyframe each second, each 100 packets and each 100 kB of the session; 10 % more on the wire.
    fn ledger(seconds: u64) -> Ledger {
        let mut ledger = Ledger::default();
        for second in 0..seconds {
            let (sequence, bytes) = (100 * second, 100_000 * second);
            let time = MediaTime::from_millis(1000 * second);
            ledger.keyframe(Mark { sequence, time, session_bytes: bytes, wire_bytes: bytes + bytes / 10 });
            ledger.packet(time + Duration::from_millis(990));
        }
        ledger
    }

    fn sequence_at(ledger: &Ledger, taken: Taken) -> Option<Sequence> {
        ledger.resume_at(taken).map(|place| place.sequence)
    }

    #[test]
    fn by_the_origin_s_own_word_the_keyframe_is_exact() {
        let table = [(0, 0), (99_999, 0), (100_000, 100), (199_999, 100), (550_000, 500), (u64::MAX, 900)];
        for (read, sequence) in table {
            let taken = Taken { read_bytes: Some(read), ..Taken::default() };
            assert_eq!(sequence_at(&ledger(10), taken), Some(sequence), "{read}");
        }
    }

    #[test]
    fn without_a_word_it_goes_back_two_seconds_and_what_may_be_unread() {
        let taken = |acked_bytes, unread_bytes| Taken { read_bytes: None, acked_bytes, unread_bytes };
        let table = [(1_089_000, 0, 700), (1_089_000, 200_000, 700), (1_089_000, 400_000, 600), (0, 0, 0), (220_000, 0, 200)];
        for (acked, unread, sequence) in table {
            assert_eq!(sequence_at(&ledger(10), taken(acked, unread)), Some(sequence), "{acked} {unread}");
        }
    }

    #[test]
    fn without_a_word_a_whole_gop_is_repeated_even_if_gops_are_long() {
        let mut ledger = Ledger::default();
        for (sequence, seconds) in [(0, 0), (600, 6)] {
            let time = MediaTime::from_millis(1000 * seconds);
            ledger.keyframe(Mark { sequence, time, session_bytes: 0, wire_bytes: 0 });
        }
        ledger.packet(MediaTime::from_millis(11_000));
        assert_eq!(sequence_at(&ledger, Taken { acked_bytes: 1 << 40, ..Taken::default() }), Some(0));
    }

    #[test]
    fn nothing_written_nothing_to_resume() {
        assert_eq!(Ledger::default().resume_at(Taken::default()), None);
    }

    #[test]
    fn what_is_unread_shows_in_the_window() {
        let mut ledger = Ledger::default();
        assert_eq!([Some(60_000), Some(500_000), Some(100_000), None].map(|window| ledger.unread(window)), [0, 0, 400_000, 0]);
    }

    proptest! {
        /// Nothing that the origin may not have read is left out, and memory is bounded.
        #[test]
        fn never_beyond_what_was_read(seconds in 1u64..200, read in 0u64..30_000_000) {
            let ledger = ledger(seconds);
            let at = sequence_at(&ledger, Taken { read_bytes: Some(read), ..Taken::default() }).unwrap();
            let oldest = ledger.marks.front().unwrap().sequence;
            prop_assert!(at * 1000 <= read || at == oldest);
            prop_assert!((at + 100) * 1000 > read || at == 100 * (seconds - 1));
            prop_assert!(ledger.marks.len() <= MAX_MARKS);
        }
    }
}

//! Is the origin of a connection still there? A rule over what the kernel and the origin's own acknowledgements say.
//!
//! ```text
//!              half of the limit           the limit
//!     fine ───────────────────▶ suspect ────────────▶ dead
//!      ▲                           │                    │
//!      └──── anything moves ───────┴────────────────────┘
//! ```
//!
//! | evidence | suspect | dead |
//! | --- | --- | --- |
//! | *path*: bytes are outstanding and its kernel says nothing at all | half of the limit | max(400 ms, 1.5 × RTO at the last progress) |
//! | the same on a path that lost packets within the last 10 s | half of the limit | twice that limit: one more try of the kernel's |
//! | *path*: its kernel speaks but acknowledges nothing new | 1 s | 2 s |
//! | *frozen*: the origin used to acknowledge (RTMP) every so many bytes; its kernel has taken half as many again, and still no word | max(0.5 s, 3 × RTO) after that | 1.3 s after that |
//! | *closed window*: bytes wait, but its kernel gives no room to send them in: nobody reads | 0.5 s | 1.5 s |
//! | *shrinking window*: an origin that never acknowledges (RTMP) and whose window only falls by what it takes | 0.8 s | 2 s |
//!
//! The RTO is the one at the last progress with no retransmission under way: the live value doubles with every retransmission
//! and would run away from the clock. Slow is not dead: as long as bytes are acknowledged the path is fine, and what waits
//! too long is the backlog's business. It cannot see whether a viewer gets a picture, and it decides nothing: what follows
//! from a suspicion is [`failover`](super::failover)'s.

use std::collections::VecDeque;
use std::time::Duration;

use super::acks::Acks;
use super::health::SocketTruth;
use crate::units::MediaTime;

/// Shortest silence that counts as death of a path.
pub const PATH_LIMIT: Duration = Duration::from_millis(400);

/// A path that lost something this recently is one that loses.
const LOSSY: Duration = Duration::from_secs(10);

/// What was lost on the way must have been repeated successfully within this.
const STUCK_LIMIT: Duration = Duration::from_secs(2);

const FROZEN_SUSPECT: Duration = Duration::from_millis(500);
pub const FROZEN_LIMIT: Duration = Duration::from_millis(1300);
const CLOSED_LIMIT: Duration = Duration::from_millis(1500);
const SHRINKING_LIMIT: Duration = Duration::from_secs(2);

/// A window below one segment of Ethernet is closed.
const CLOSED_BYTES: u64 = 1460;

/// Taken by the kernel since the last RTMP acknowledgement before its absence means anything: two of the windows asked for …
const UNREAD_BYTES: u64 = 2 * 65_536;

/// … or half as much again as was usual over so many acknowledgements, for servers that have windows of their own. Before, nothing is usual.
const USUAL: usize = 8;

/// Over how much time and how many bytes the window is judged, and the steps in which it is remembered.
const WINDOW_SPAN: Duration = Duration::from_millis(800);
const WINDOW_BYTES: u64 = 65_536;
const WINDOW_STEP: Duration = Duration::from_millis(50);
const WINDOW_STEP_BYTES: u64 = 2_048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    Path { outstanding: u64 },
    Frozen,
    ClosedWindow,
    ShrinkingWindow,
}

/// How things stand; the duration is how long it has been so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    Suspect(Evidence, Duration),
    Dead(Evidence, Duration),
}

impl Verdict {
    pub fn is_fine(self) -> bool {
        self == Self::Fine
    }

    fn severity(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Suspect(..) => 1,
            Self::Dead(..) => 2,
        }
    }
}

#[derive(Debug)]
pub struct Detector {
    acked: u64,
    outstanding: bool,
    /// When an acknowledgement last advanced, or bytes became outstanding.
    moved: MediaTime,
    /// The same, or the peer's kernel said something else: that it has got something later, that it has no room, or room again.
    heard: MediaTime,
    /// RTO at the last progress without a retransmission under way.
    rto: Duration,
    /// Segments sent again up to the last progress, and when that was last seen to have helped.
    resent: u32,
    recovered: Option<MediaTime>,
    /// Count of RTMP acknowledgements, and what the kernel had taken when the last one came.
    acks: u64,
    acked_at_ack: u64,
    /// What the kernel took between acknowledgements.
    usual: VecDeque<u64>,
    /// Since when an acknowledgement is owed.
    owed_since: Option<MediaTime>,
    /// Since when nobody reads at the other end, as far as the window tells.
    closed_since: Option<MediaTime>,
    shrinking_since: Option<MediaTime>,
    windows: VecDeque<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    at: MediaTime,
    acked: u64,
    bytes: u64,
}

impl Window {
    /// Whether enough lies between this one and a later one.
    fn is_judged_by(&self, later: &Self) -> bool {
        later.at.since(self.at) >= WINDOW_SPAN && later.acked >= self.acked + WINDOW_BYTES
    }
}

impl Detector {
    /// `truth`: before the first byte of media.
    pub fn new(truth: &SocketTruth, now: MediaTime) -> Self {
        Self {
            acked: truth.acked_bytes,
            outstanding: false,
            moved: now,
            heard: now,
            rto: truth.rto,
            resent: truth.resent,
            recovered: None,
            acks: 0,
            acked_at_ack: truth.acked_bytes,
            usual: VecDeque::new(),
            owed_since: None,
            closed_since: None,
            shrinking_since: None,
            windows: VecDeque::new(),
        }
    }

    /// When bytes were last acknowledged, or became outstanding.
    pub fn moved(&self) -> MediaTime {
        self.moved
    }

    pub fn observe(&mut self, truth: &SocketTruth, acks: &Acks, now: MediaTime) -> Verdict {
        let advanced = self.note_progress(truth, now);
        self.note_acks(truth, acks, now);
        self.note_window(truth, advanced, now);
        // Of equals the last one counts: where nothing gets through, what the origin does not say means nothing.
        let verdicts =
            [self.shrinking(acks, now), self.closed(now), self.frozen(now), self.stuck(truth, now), self.path(truth, now)];
        verdicts.into_iter().max_by_key(|verdict| verdict.severity()).unwrap_or(Verdict::Fine)
    }

    /// True if something was acknowledged.
    fn note_progress(&mut self, truth: &SocketTruth, now: MediaTime) -> bool {
        let (advanced, outstanding) = (truth.acked_bytes > self.acked, truth.unacked_bytes > 0);
        if advanced || !self.outstanding || !outstanding {
            (self.moved, self.heard) = (now, now);
        }
        if let Some(ago) = truth.heard_ago {
            self.heard = self.heard.max(now.saturating_sub(ago));
        }
        if (advanced || !outstanding) && truth.retransmits == 0 {
            self.rto = truth.rto;
        }
        if advanced && truth.resent != self.resent {
            (self.resent, self.recovered) = (truth.resent, Some(now));
        }
        (self.acked, self.outstanding) = (truth.acked_bytes, outstanding);
        advanced
    }

    fn note_acks(&mut self, truth: &SocketTruth, acks: &Acks, now: MediaTime) {
        let taken = truth.acked_bytes.saturating_sub(self.acked_at_ack);
        if acks.count() != self.acks {
            (self.acks, self.acked_at_ack, self.owed_since) = (acks.count(), truth.acked_bytes, None);
            self.usual.push_back(taken);
            if self.usual.len() > USUAL {
                self.usual.pop_front();
            }
        } else if self.usual.len() == USUAL && taken >= self.owed_after() {
            self.owed_since.get_or_insert(now);
        }
    }

    /// Bytes after which an acknowledgement is owed.
    fn owed_after(&self) -> u64 {
        UNREAD_BYTES.max(self.usual.iter().max().copied().unwrap_or_default() * 3 / 2)
    }

    fn note_window(&mut self, truth: &SocketTruth, advanced: bool, now: MediaTime) {
        let Some(bytes) = truth.window_bytes else { return };
        // Nothing is under way although bytes wait: the peer's kernel gives no room to send them in.
        let held = bytes < CLOSED_BYTES || (truth.in_flight_bytes() == 0 && bytes < truth.unacked_bytes);
        let closed = held && truth.unacked_bytes > 0 && !advanced;
        self.closed_since = if closed { self.closed_since.or(Some(now)) } else { None };
        let rises = self.windows.back().is_some_and(|last| bytes > last.bytes);
        if closed || rises {
            self.heard = now;
        }
        if rises {
            self.windows.clear();
            self.shrinking_since = None;
        }
        self.remember_window(Window { at: now, acked: truth.acked_bytes, bytes });
        match self.is_shrinking() {
            Some(true) => drop(self.shrinking_since.get_or_insert(now)),
            Some(false) => self.shrinking_since = None,
            None => {}
        }
    }

    /// Keeps the newest moment that is old enough, and what came after it.
    fn remember_window(&mut self, window: Window) {
        let is_step = |last: &Window| window.at.since(last.at) >= WINDOW_STEP && window.acked >= last.acked + WINDOW_STEP_BYTES;
        if self.windows.back().is_none_or(is_step) {
            self.windows.push_back(window);
        }
        while self.windows.get(1).is_some_and(|second| second.is_judged_by(&window)) {
            self.windows.pop_front();
        }
    }

    /// Over the whole span the window fell by a good part of what was taken, and never rose; `None`: too little to judge by.
    fn is_shrinking(&self) -> Option<bool> {
        let (first, last) = (self.windows.front()?, self.windows.back()?);
        let (taken, fallen) = (last.acked - first.acked, first.bytes.saturating_sub(last.bytes));
        first.is_judged_by(last).then_some(fallen * 10 >= taken * 3)
    }

    fn path(&self, truth: &SocketTruth, now: MediaTime) -> Verdict {
        let limit = PATH_LIMIT.max(self.rto.mul_f64(1.5));
        let loses = self.recovered.is_some_and(|time| now.since(time) < LOSSY);
        let limit = if loses { 2 * limit } else { limit };
        judge(Evidence::Path { outstanding: truth.unacked_bytes }, now.since(self.heard), limit / 2, limit)
    }

    /// Its kernel is there, but what was lost does not get through either.
    fn stuck(&self, truth: &SocketTruth, now: MediaTime) -> Verdict {
        if self.closed_since.is_some() {
            return Verdict::Fine;
        }
        judge(Evidence::Path { outstanding: truth.unacked_bytes }, now.since(self.moved), STUCK_LIMIT / 2, STUCK_LIMIT)
    }

    fn frozen(&self, now: MediaTime) -> Verdict {
        let Some(since) = self.owed_since else { return Verdict::Fine };
        let suspect = FROZEN_SUSPECT.max(3 * self.rto);
        judge(Evidence::Frozen, now.since(since), suspect, FROZEN_LIMIT.max(suspect))
    }

    fn closed(&self, now: MediaTime) -> Verdict {
        let quiet = self.closed_since.map_or(Duration::ZERO, |since| now.since(since));
        judge(Evidence::ClosedWindow, quiet, FROZEN_SUSPECT, CLOSED_LIMIT)
    }

    /// An origin that acknowledges is judged by its word.
    fn shrinking(&self, acks: &Acks, now: MediaTime) -> Verdict {
        match self.shrinking_since {
            Some(since) if acks.count() < USUAL as u64 => {
                judge(Evidence::ShrinkingWindow, now.since(since), Duration::ZERO, SHRINKING_LIMIT)
            }
            _ => Verdict::Fine,
        }
    }
}

fn judge(evidence: Evidence, quiet: Duration, suspect: Duration, limit: Duration) -> Verdict {
    match quiet {
        quiet if quiet >= limit => Verdict::Dead(evidence, quiet),
        quiet if quiet >= suspect => Verdict::Suspect(evidence, quiet),
        _ => Verdict::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const WINDOW: u64 = 3_000_000;

    /// A connection at 6 Mbit/s, looked at every 33 ms; what the peer does can be changed.
    struct Link {
        truth: SocketTruth,
        acks: Acks,
        detector: Detector,
        millis: u64,
        written: u64,
        /// Read by the peer's process.
        read: u64,
        told: u64,
        acknowledges: bool,
    }

    impl Link {
        fn new(rto: Duration) -> Self {
            let truth = SocketTruth { rto, window_bytes: Some(WINDOW), ..SocketTruth::default() };
            let detector = Detector::new(&truth, at(0));
            Self { truth, acks: Acks::default(), detector, millis: 0, written: 0, read: 0, told: 0, acknowledges: true }
        }

        /// One frame later; `path`: its bytes are acknowledged; `reads`: the process takes them.
        fn frame(&mut self, path: bool, reads: bool) -> Verdict {
            self.millis += 33;
            self.written += 25_000;
            if path {
                let room = WINDOW - (self.truth.acked_bytes - self.read);
                self.truth.acked_bytes = self.written.min(self.truth.acked_bytes + room);
            }
            if reads && path {
                self.read = self.truth.acked_bytes;
            }
            self.truth.unacked_bytes = self.written - self.truth.acked_bytes;
            self.truth.unsent_bytes = if path { self.truth.unacked_bytes } else { 0 };
            self.truth.window_bytes = Some(WINDOW - (self.truth.acked_bytes - self.read));
            if self.acknowledges && path && reads && self.read - self.told >= 65_536 {
                self.told = self.read;
                self.acks.note(self.told as u32, self.written);
            }
            self.detector.observe(&self.truth, &self.acks, at(self.millis))
        }

        fn run(&mut self, frames: u32) {
            for _ in 0..frames {
                assert_eq!(self.frame(true, true), Verdict::Fine);
            }
        }

        /// How long until it is suspected, and until it is given up.
        fn fails(&mut self, path: bool, reads: bool) -> (u64, u64) {
            let (start, mut suspected) = (self.millis, None);
            for _ in 0..1000 {
                match self.frame(path, reads) {
                    Verdict::Fine => assert!(suspected.is_none(), "fine again at {}", self.millis - start),
                    Verdict::Suspect(..) => drop(suspected.get_or_insert(self.millis - start)),
                    Verdict::Dead(..) => return (suspected.unwrap(), self.millis - start),
                }
            }
            panic!("never noticed");
        }
    }

    fn at(millis: u64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    #[test]
    fn a_black_hole_is_seen_within_the_limit_and_suspected_at_half_of_it() {
        let mut link = Link::new(200 * MS);
        link.run(100);
        let (suspected, dead) = link.fails(false, false);
        assert!((200..=264).contains(&suspected) && (400..=464).contains(&dead), "{suspected} {dead}");
        assert_eq!(link.frame(true, true), Verdict::Fine, "anything that moves is life");
    }

    #[test]
    fn a_dead_path_is_no_frozen_origin_though_its_last_word_was_lost() {
        let mut link = Link::new(200 * MS);
        link.run(100);
        link.acknowledges = false;
        (0..8).for_each(|_| {
            link.frame(true, true);
        });
        let verdict = (0..100).map(|_| link.frame(false, false)).last();
        assert!(matches!(verdict, Some(Verdict::Dead(Evidence::Path { .. }, _))), "{verdict:?}");
    }

    #[test]
    fn a_path_that_loses_packets_is_given_one_more_try() {
        let mut link = Link::new(200 * MS);
        link.run(100);
        link.truth.resent = 3;
        link.run(1);
        link.truth.resent = 5;
        let (suspected, dead) = link.fails(false, false);
        assert!((400..=464).contains(&suspected) && (800..=864).contains(&dead), "{suspected} {dead}");
        let mut link = Link::new(200 * MS);
        link.run(100);
        link.truth.resent = 3;
        link.run(400);
        let (_, dead) = link.fails(false, false);
        assert!((400..=464).contains(&dead), "long ago: {dead}");
    }

    #[test]
    fn the_limit_follows_the_rto_of_the_last_progress_not_the_doubled_one() {
        let mut link = Link::new(600 * MS);
        link.run(100);
        link.truth.retransmits = 3;
        link.truth.rto = 4800 * MS;
        let (suspected, dead) = link.fails(false, false);
        assert!((450..=516).contains(&suspected) && (900..=966).contains(&dead), "{suspected} {dead}");
    }

    #[test]
    fn a_frozen_origin_that_used_to_acknowledge_is_dead_soon_after_two_windows() {
        let mut link = Link::new(200 * MS);
        link.run(100);
        let (suspected, dead) = link.fails(true, false);
        assert!((600..=800).contains(&suspected) && (1400..=1600).contains(&dead), "{suspected} {dead}");
    }

    #[test]
    fn an_origin_with_large_windows_owes_nothing_at_low_rates() {
        let mut link = Link::new(200 * MS);
        for second in 0..20u64 {
            let acked = 2_500_000 * second;
            let truth = SocketTruth { acked_bytes: acked, ..link.truth };
            link.acks.note(acked as u32, acked);
            link.detector.observe(&truth, &link.acks, at(3000 * second));
        }
        let verdict = |link: &mut Link, more: u64, millis: u64| {
            let truth = SocketTruth { acked_bytes: 2_500_000 * 19 + more, ..link.truth };
            link.detector.observe(&truth, &link.acks, at(57_000 + millis))
        };
        assert_eq!(verdict(&mut link, 2_500_000, 40_000), Verdict::Fine);
        assert_eq!(verdict(&mut link, 3_750_000, 80_000), Verdict::Fine, "owed from now on");
        assert!(matches!(verdict(&mut link, 3_750_000, 81_300), Verdict::Dead(Evidence::Frozen, _)));
    }

    #[test]
    fn what_arrives_out_of_order_shows_that_the_path_is_there() {
        let mut link = Link::new(200 * MS);
        link.run(100);
        let lossy = SocketTruth { unacked_bytes: 90_000, heard_ago: Some(20 * MS), ..link.truth };
        let mut observe = |millis: u64| link.detector.observe(&lossy, &link.acks, at(link.millis + millis));
        assert_eq!([observe(0), observe(450), observe(900)], [Verdict::Fine; 3]);
        assert!(matches!(observe(2000), Verdict::Dead(Evidence::Path { .. }, _)), "and yet nothing new gets through");
    }

    #[test]
    fn a_frozen_origin_that_never_acknowledged_is_known_by_its_window() {
        let mut link = Link::new(200 * MS);
        link.acknowledges = false;
        link.run(100);
        let (suspected, dead) = link.fails(true, false);
        assert!((200..=500).contains(&suspected) && (2200..=2500).contains(&dead), "{suspected} {dead}");
    }

    #[test]
    fn a_closed_window_is_not_a_dead_path() {
        let mut link = Link::new(200 * MS);
        link.acknowledges = false;
        link.run(130);
        link.read = link.truth.acked_bytes.saturating_sub(WINDOW - 1000);
        let (suspected, dead) = link.fails(true, false);
        assert!(suspected <= 600 && (1500..=1600).contains(&dead), "{suspected} {dead}");
    }

    #[test]
    fn slow_is_not_dead() {
        let mut link = Link::new(200 * MS);
        link.run(10);
        for step in 0..500 {
            link.truth.acked_bytes += 1;
            (link.truth.unacked_bytes, link.truth.unsent_bytes) = (500_000, 500_000);
            link.truth.window_bytes = Some(0);
            let now = at(link.millis + 390 * step);
            assert!(!matches!(link.detector.observe(&link.truth, &link.acks, now), Verdict::Dead(..)));
        }
    }

    #[test]
    fn nothing_to_send_is_no_silence() {
        let mut link = Link::new(200 * MS);
        link.run(100);
        let idle = SocketTruth { unacked_bytes: 0, ..link.truth };
        for minute in 0..10 {
            let now = at(link.millis + 60_000 * minute);
            assert_eq!(link.detector.observe(&idle, &link.acks, now), Verdict::Fine);
        }
        link.millis += 600_000;
        let written = SocketTruth { unacked_bytes: 9000, unsent_bytes: 0, ..link.truth };
        assert_eq!(link.detector.observe(&written, &link.acks, at(link.millis)), Verdict::Fine, "just written");
        let verdict = link.detector.observe(&written, &link.acks, at(link.millis + 401));
        assert_eq!(verdict, Verdict::Dead(Evidence::Path { outstanding: 9000 }, 401 * MS));
    }

    proptest! {
        /// Whatever the kernel says in whatever order of times that rise: no panic, bounded memory, and what has just been
        /// acknowledged is never a dead path.
        #[test]
        fn progress_is_life(steps in prop::collection::vec((0u64..700, 0u64..90_000, 0u64..90_000, 0u64..9_000_000, any::<bool>()), 1..300)) {
            let mut link = Link::new(200 * MS);
            let mut acked = 0;
            for (wait, more, unacked, window, ack) in steps {
                link.millis += wait;
                acked += more;
                let truth = SocketTruth { acked_bytes: acked, unacked_bytes: unacked, window_bytes: Some(window), ..link.truth };
                if ack {
                    link.acks.note(acked as u32, acked + unacked);
                }
                let verdict = link.detector.observe(&truth, &link.acks, at(link.millis));
                let path = matches!(verdict, Verdict::Suspect(Evidence::Path { .. }, _) | Verdict::Dead(Evidence::Path { .. }, _));
                prop_assert!(!(path && more > 0));
                prop_assert!(link.detector.windows.len() <= 40);
            }
        }
    }
}

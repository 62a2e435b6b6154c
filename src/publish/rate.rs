//! Congestion: the video bit rate that a leg can carry now. A rule over samples of its socket and its queue; it knows no
//! socket, no clock and no encoder, and drops nothing (that is [`backlog`](super::backlog)'s word).
//!
//! # How it is used
//!
//! One [`RateControl`] per leg, which outlives the leg's connections: the narrow place is more often the box's own uplink than
//! the origin. While media is live the leg calls [`RateControl::observe`] 4 to 20 times a second, and [`RateControl::gone`]
//! when the connection ends. [`RateControl::wish`] is the leg's vote for its status, `None` being none; while the leg suspects
//! its connection to be dead, it should not vote, whatever this rule says. The conductor takes the lowest vote of all legs.
//!
//! A leg that holds itself back while it catches up must still send at 1.1 times the program's rate or more, or its queue
//! counts as one that does not shrink. Where nothing was acknowledged for 3 s, there is no vote either.
//!
//! # What it does
//!
//! ```text
//!            late, and less carried than made:           calm for 4 s:
//!            85 % of what was carried                    5 % of the ceiling (at least 100 kbit/s) a second
//!                       │                                          │
//!   ceiling ────────────▼──────────── limited ─────────────────────▼──────────── ceiling
//!                                     │    ▲
//!     late for 3 s, and less carried  ▼    │ calm for 4 s, or carried well above the floor
//!     than the floor needs           no vote (GOPs are dropped instead)
//! ```
//!
//! *Late* is media that waits for longer than [`LATE`], be it in the leg's queue or unsent in the kernel. That alone is no
//! congestion: after a failover much waits and the path is fine. So what is acknowledged is measured while something waits, and
//! only if that is less than the program makes, or if the queue has not shrunk for 3 s, is the rate lowered. A pause without
//! any acknowledgement is a matter of health and not of rate; what comes after it is measured anew.
//!
//! Going up, the rate stops just below where the path last failed, and tries beyond only after a time of calm, which doubles
//! with every try that fails (10 s to 60 s). So a path that is narrow for good is disturbed about once a minute.
//!
//! The kernel's own delivery rate is not asked for: it spans one round trip, and means nothing while the program is the limit.

mod path;

use std::time::Duration;

use self::path::Path;
use crate::units::{BitRate, MediaTime};

/// Media that waits longer is late.
pub const LATE: Duration = Duration::from_millis(250);

/// Calm before the rate rises, or before a vote that was lost is regained.
const CALM: Duration = Duration::from_secs(4);

/// Calm before a rate is tried that failed before.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_PATIENCE: Duration = Duration::from_secs(60);

/// Between two changes.
const PACE: Duration = Duration::from_secs(1);

/// Samples farther apart belong to different times: the machine slept, or the leg did.
const GAP: Duration = Duration::from_secs(2);

/// What was learnt of a path so long ago is not true any more.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The encoders dislike many small changes.
const STEP_BPS: u64 = 100_000;

/// One look at a leg's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RateSample {
    /// Acknowledged by the peer's kernel since the connection began.
    pub acked_bytes: u64,
    /// Age of the oldest media packet that is not yet in the kernel; zero if none waits.
    pub queue: Duration,
    /// In the kernel and never sent so far.
    pub unsent_bytes: u64,
    /// In the kernel and not acknowledged, sent or not.
    pub unacked_bytes: u64,
    pub rtt: Duration,
}

/// What the program makes at present.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProgramRate {
    pub video: BitRate,
    pub audio: BitRate,
}

impl ProgramRate {
    fn bps(self) -> u64 {
        self.video.bps() + self.audio.bps()
    }
}

/// Between what the video bit rate may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub floor: BitRate,
    pub ceiling: BitRate,
}

/// The controller of one leg.
#[derive(Debug)]
pub struct RateControl {
    limits: Limits,
    /// Video bit/s; `None`: nothing speaks against the ceiling.
    limit: Option<u64>,
    /// Video bit/s at which the path was last found to be full.
    wall: Option<u64>,
    /// Calm before the wall is tried.
    patience: Duration,
    changed: Option<MediaTime>,
    seen: Option<MediaTime>,
    /// Not even the floor is carried.
    starved: bool,
    path: Option<Path>,
}

impl RateControl {
    pub fn new(limits: Limits) -> Self {
        Self { limits, limit: None, wall: None, patience: PATIENCE, changed: None, seen: None, starved: false, path: None }
    }

    /// The video bit rate that this leg can carry: its vote. `None`: no vote, because there is no connection, or none that has
    /// proved itself, or because not even the floor is carried.
    pub fn wish(&self) -> Option<BitRate> {
        self.path.as_ref().filter(|path| path.is_proven() && !self.starved)?;
        let Limits { floor, ceiling } = self.limits;
        let limit = self.limit.map_or(ceiling, BitRate::from_bps);
        Some(limit.max(floor).min(ceiling))
    }

    /// The connection is over: no vote until the next one has proved itself. What was learnt of the path is kept.
    pub fn gone(&mut self) {
        self.path = None;
        self.starved = false;
    }

    /// Takes a sample. A new connection is known by [`Self::gone`], or by its smaller count of acknowledged bytes.
    pub fn observe(&mut self, sample: RateSample, program: ProgramRate, limits: Limits, now: MediaTime) {
        self.limits = limits;
        let away = self.seen.map_or(Duration::ZERO, |seen| now.since(seen));
        self.seen = Some(now);
        if away > FORGOTTEN {
            (self.limit, self.wall, self.patience) = (None, None, PATIENCE);
        }
        if away > GAP || self.path.as_ref().is_some_and(|path| sample.acked_bytes < path.acked()) {
            self.gone();
        }
        let path = self.path.get_or_insert_with(|| Path::new(now));
        path.note(sample, program, now);
        let (overload, calm, carried) = (path.overload(program), path.calm(), path.carried_while_late());
        if let Some(carried) = overload {
            self.lower(carried, program, now);
        } else if calm >= CALM && !self.starved {
            self.raise(calm, program, now);
        }
        self.judge_hunger(calm, carried, program);
    }

    fn lower(&mut self, carried: u64, program: ProgramRate, now: MediaTime) {
        if !self.may_change(now) {
            return;
        }
        let audio = program.audio.bps();
        let target = rounded_down((carried / 100 * 85).saturating_sub(audio)).max(self.limits.floor.bps());
        if self.limit.is_some_and(|limit| limit <= target) {
            return;
        }
        let again = self.wall.is_some_and(|wall| program.video.bps() >= wall / 10 * 9);
        self.patience = if again { (self.patience * 2).min(MAX_PATIENCE) } else { PATIENCE };
        self.wall = Some(carried.saturating_sub(audio));
        self.limit = Some(target);
        self.changed = Some(now);
    }

    fn raise(&mut self, calm: Duration, program: ProgramRate, now: MediaTime) {
        let Some(limit) = self.limit else { return };
        // Another leg keeps the rate down: this one's limit is not being tried, so calm says nothing about more.
        let tried = program.video.bps() >= limit / 4 * 3;
        if !tried || !self.may_change(now) {
            return;
        }
        let ceiling = self.limits.ceiling.bps();
        let (large, small) = ((ceiling / 20).max(STEP_BPS), (limit / 20).max(STEP_BPS));
        let next = match self.wall.map(|wall| (wall, rounded_down(wall / 100 * 95))) {
            None => rounded_down(limit + large),
            Some((_, below)) if limit < below => rounded_down(limit + large).min(below),
            Some((wall, _)) if calm >= self.patience => self.try_beyond(wall, rounded_down(limit + small)),
            Some(_) => limit,
        };
        if next > limit {
            self.limit = Some(next).filter(|next| *next < ceiling);
            self.changed = Some(now);
        }
    }

    /// In small steps, since a path that is full takes a while to show it; well beyond the wall there is none any more.
    fn try_beyond(&mut self, wall: u64, next: u64) -> u64 {
        if next > wall / 2 * 3 {
            (self.wall, self.patience) = (None, PATIENCE);
        }
        next
    }

    /// A leg that cannot carry the floor must not pull the others down to it.
    fn judge_hunger(&mut self, calm: Duration, carried: Option<u64>, program: ProgramRate) {
        let needed = self.limits.floor.bps() + program.audio.bps();
        match carried {
            Some(carried) if carried < needed => self.starved = true,
            Some(carried) if carried > needed / 10 * 13 => self.starved = false,
            _ => self.starved &= calm < CALM,
        }
    }

    fn may_change(&self, now: MediaTime) -> bool {
        self.changed.is_none_or(|changed| now.since(changed) >= PACE)
    }
}

fn rounded_down(bps: u64) -> u64 {
    bps / STEP_BPS * STEP_BPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const AUDIO: u64 = 128_000;
    const LIMITS: Limits = Limits { floor: BitRate::from_bps(500_000), ceiling: BitRate::from_bps(6_000_000) };
    const BACKLOG_MS: u64 = 5000;
    const LOWAT: f64 = 65_536.0;

    fn at(millis: u64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    /// An encoder, a leg and a path, in steps of 10 ms: frames at 30 per second with keyframes of eight times the size every
    /// 2 s, a kernel that takes 64 KiB beyond what is on its way, a path that carries what `path_bps` says.
    struct World {
        now: u64,
        control: RateControl,
        /// What other legs allow.
        others: u64,
        video: u64,
        changed: u64,
        /// Times and bytes of what waits in the leg.
        queue: VecDeque<(u64, f64)>,
        kernel: f64,
        acked: f64,
        frames: u64,
        look_every: u64,
        dropped: u64,
        /// Of every look: time, queue in ms, wish.
        record: Vec<(u64, u64, Option<u64>)>,
    }

    impl World {
        fn new() -> Self {
            let control = RateControl::new(LIMITS);
            let (others, video) = (LIMITS.ceiling.bps(), LIMITS.ceiling.bps());
            let (now, changed, kernel, acked, frames, dropped) = (0, 0, 0.0, 0.0, 0, 0);
            let queue = VecDeque::new();
            Self { now, control, others, video, changed, queue, kernel, acked, frames, look_every: 100, dropped, record: vec![] }
        }

        fn run(&mut self, seconds: u64, path_bps: impl Fn(u64) -> u64) {
            for _ in 0..seconds * 100 {
                self.now += 10;
                self.encode();
                let path = path_bps(self.now) as f64 / 8.0 / 100.0;
                let carried = self.kernel.min(path);
                self.kernel -= carried;
                self.acked += carried;
                self.write(path * 5.0);
                if self.now.is_multiple_of(self.look_every) {
                    self.look(path * 5.0);
                }
            }
        }

        fn encode(&mut self) {
            while self.frames * 1000 / 30 <= self.now {
                let weight = if self.frames.is_multiple_of(60) { 8.0 } else { 1.0 } * 60.0 / 67.0;
                let bytes = self.video as f64 * weight / 30.0 / 8.0 + AUDIO as f64 / 30.0 / 8.0;
                self.queue.push_back((self.frames * 1000 / 30, bytes));
                self.frames += 1;
            }
            if self.waits() > BACKLOG_MS {
                self.dropped += 1;
                let newest = self.frames.saturating_sub(1) / 60 * 60 * 1000 / 30;
                self.queue.retain(|(time, _)| *time >= newest);
            }
        }

        /// What is on its way over 50 ms, and the mark of unsent bytes.
        fn write(&mut self, window: f64) {
            while self.kernel < LOWAT + window {
                let Some((_, bytes)) = self.queue.pop_front() else { return };
                self.kernel += bytes;
            }
        }

        fn waits(&self) -> u64 {
            self.queue.front().map_or(0, |(time, _)| self.now - time)
        }

        fn look(&mut self, window: f64) {
            let sample = RateSample {
                acked_bytes: self.acked as u64,
                queue: Duration::from_millis(self.waits()),
                unsent_bytes: (self.kernel - window).max(0.0) as u64,
                unacked_bytes: self.kernel as u64,
                rtt: Duration::from_millis(50),
            };
            let program = ProgramRate { video: BitRate::from_bps(self.video), audio: BitRate::from_bps(AUDIO) };
            self.control.observe(sample, program, LIMITS, at(self.now));
            let wish = self.control.wish().map(BitRate::bps);
            self.record.push((self.now, self.waits(), wish));
            self.agree(wish);
        }

        /// As the conductor does: down at once, slowly up, held without a vote.
        fn agree(&mut self, wish: Option<u64>) {
            let wanted = match wish {
                Some(wish) => wish.min(self.others),
                None if self.others < LIMITS.ceiling.bps() => self.others,
                None => self.video,
            };
            if wanted != self.video && self.now - self.changed >= 1000 {
                self.video = wanted.min(self.video + 300_000);
                self.changed = self.now;
            }
        }

        fn from(&self, seconds: u64) -> impl Iterator<Item = &(u64, u64, Option<u64>)> {
            self.record.iter().filter(move |(now, ..)| *now >= seconds * 1000)
        }

        fn longest_queue(&self, from: u64) -> u64 {
            self.from(from).map(|(_, waits, _)| *waits).max().unwrap()
        }

        /// How often the wish went down.
        fn falls(&self, from: u64) -> usize {
            let wishes: Vec<_> = self.from(from).filter_map(|(_, _, wish)| *wish).collect();
            wishes.windows(2).filter(|pair| pair[1] < pair[0]).count()
        }
    }

    fn mbps(tenths: u64) -> u64 {
        tenths * 100_000
    }

    #[test]
    fn a_new_connection_has_no_vote_and_a_good_one_votes_for_the_ceiling() {
        let mut world = World::new();
        assert_eq!(world.control.wish(), None);
        world.run(60, |_| mbps(200));
        assert_eq!(world.record[0].2, None, "not proven");
        assert!(world.from(2).all(|(_, _, wish)| *wish == Some(6_000_000)));
        world.control.gone();
        assert_eq!(world.control.wish(), None);
    }

    #[test]
    fn what_was_learnt_outlives_a_connection_but_not_a_minute_s_absence() {
        for (away, limited) in [(3, true), (70, false)] {
            let mut world = World::new();
            world.run(20, |_| mbps(20));
            world.control.gone();
            world.now += away * 1000;
            (world.acked, world.queue) = (0.0, VecDeque::new());
            world.frames = world.now * 30 / 1000;
            world.run(1, |_| mbps(20));
            world.run(1, |_| mbps(200));
            let wish = world.record.last().unwrap().2.unwrap();
            assert_eq!(wish < 2_000_000, limited, "{away} s later: {wish}");
        }
    }

    #[test]
    fn catching_up_after_a_failover_is_no_congestion() {
        let mut world = World::new();
        world.run(10, |_| mbps(200));
        world.run(4, |_| 0);
        world.control.gone();
        world.run(20, |_| mbps(100));
        assert!(world.longest_queue(14) > 3000 && world.longest_queue(30) < 300);
        assert_eq!(world.falls(0), 0);
    }

    #[test]
    fn a_pause_on_a_path_with_something_to_spare_is_no_congestion() {
        let mut world = World::new();
        world.run(10, |_| mbps(82));
        world.run(60, |now| if now % 20_000 < 800 { 0 } else { mbps(82) });
        assert!(world.longest_queue(10) > 500);
        assert_eq!(world.falls(0), 0);
    }

    #[test]
    fn a_path_that_comes_and_goes_is_used_at_its_mean() {
        let mut world = World::new();
        world.run(120, |now| if now % 2000 < 1000 { 0 } else { mbps(80) });
        let lowest = world.from(20).filter_map(|(_, _, wish)| *wish).min().unwrap();
        assert!(world.longest_queue(20) < 3000, "{} ms", world.longest_queue(20));
        assert!(lowest >= 1_000_000, "{lowest}");
    }

    #[test]
    fn a_path_below_the_floor_loses_its_vote_and_regains_it() {
        let mut world = World::new();
        world.others = mbps(40);
        world.run(60, |_| mbps(4));
        assert!(world.from(20).all(|(_, _, wish)| wish.is_none()));
        assert!(world.dropped > 0, "the other leg decides, this one drops");
        assert_eq!(world.video, mbps(40));
        world.others = LIMITS.ceiling.bps();
        world.run(90, |_| mbps(200));
        assert!(world.from(75).all(|(_, _, wish)| wish.is_some()));
        assert_eq!(world.record.last().unwrap().2, Some(6_000_000));
    }

    #[test]
    fn hours_of_sleep_are_no_congestion() {
        let mut world = World::new();
        world.run(10, |_| mbps(100));
        world.now += 3 * 3_600_000;
        world.frames = world.now * 30 / 1000 - 60;
        world.run(30, |_| mbps(100));
        assert_eq!(world.falls(0), 0);
        assert_eq!(world.control.wish(), Some(LIMITS.ceiling));
    }

    #[test]
    fn another_leg_s_limit_is_no_proof_that_this_one_carries_more() {
        let mut world = World::new();
        world.run(20, |_| mbps(20));
        world.others = mbps(8);
        world.run(100, |_| mbps(20));
        assert!(world.control.wish().unwrap().bps() <= mbps(20), "{:?}", world.control.wish());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Any path between the floor and the ceiling is used well, with short queues, and seldom disturbed.
        #[test]
        fn settles_below_what_a_narrow_path_carries(path in 10u64..58, look_every in 5u64..25) {
            let mut world = World::new();
            world.look_every = look_every * 10;
            world.run(240, |_| mbps(path));
            let mean = |from: u64| {
                let wishes: Vec<_> = world.from(from).filter_map(|(_, _, wish)| *wish).collect();
                (wishes.iter().sum::<u64>() + AUDIO * wishes.len() as u64) / wishes.len().max(1) as u64
            };
            prop_assert!(world.dropped <= 1, "dropped {} times at {path}", world.dropped);
            prop_assert!(world.longest_queue(30) < 2000, "{} ms", world.longest_queue(30));
            prop_assert!(mean(30) >= mbps(path) / 100 * 75, "{} of {}", mean(30), mbps(path));
            prop_assert!(mean(30) <= mbps(path) / 100 * 102, "{} of {}", mean(30), mbps(path));
            prop_assert!(world.falls(60) <= 6, "{} falls in 3 minutes", world.falls(60));
        }

        #[test]
        fn a_path_that_heals_gets_the_ceiling_back(path in 8u64..50, ill in 10u64..120) {
            let mut world = World::new();
            world.run(ill, |_| mbps(path));
            world.run(100, |_| mbps(100));
            prop_assert_eq!(world.control.wish(), Some(LIMITS.ceiling));
            prop_assert_eq!(world.video, LIMITS.ceiling.bps());
        }

        /// Whatever it is told: within its limits, in whole steps, at most one change a second, never a panic.
        #[test]
        fn keeps_its_bounds(
            looks in prop::collection::vec((0u64..2500, 0u64..4_000_000, 0u64..9000, 0u64..3_000_000, 0u64..800), 1..400),
            video in 1u64..9_000_000,
        ) {
            let mut control = RateControl::new(LIMITS);
            let program = ProgramRate { video: BitRate::from_bps(video), audio: BitRate::from_bps(AUDIO) };
            let (mut now, mut acked, mut last, mut changed) = (0, 0, LIMITS.ceiling, None);
            for (pause, more, queue, bytes, rtt) in looks {
                now += pause;
                acked = if more % 100 == 7 { 0 } else { acked + more };
                let queue = Duration::from_millis(if queue > 4000 { 0 } else { queue });
                let rtt = Duration::from_millis(rtt);
                let sample = RateSample { acked_bytes: acked, queue, unsent_bytes: bytes / 2, unacked_bytes: bytes, rtt };
                control.observe(sample, program, LIMITS, at(now));
                let Some(wish) = control.wish() else { continue };
                prop_assert!((LIMITS.floor..=LIMITS.ceiling).contains(&wish));
                prop_assert!(wish.bps().is_multiple_of(STEP_BPS));
                if wish != last {
                    prop_assert!(changed.is_none_or(|changed| now - changed >= 1000) || pause >= 2000);
                    (last, changed) = (wish, Some(now));
                }
            }
        }
    }
}

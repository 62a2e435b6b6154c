//! The drift rule: how fast a sound card's clock really runs, and how fast its samples must be consumed so that each one leaves
//! when the program's clock wants it. Pure; seconds on the program's time line, samples by their count.
//!
//! Two loops, so that neither has to be a compromise:
//!
//! ```text
//! (count, time) ──▶ estimate: a two-state Kalman filter ──▶ line  count ↔ time ──▶ steer: ratio = true rate
//!  of each block    (when, how fast); jitter is averaged      smooth by             × (1 − place error / 1 s),
//!                   over half a minute, outliers are clipped   construction         at most ±500 ppm
//! ```
//!
//! The error that is steered by is the distance between where the resampler stands and where the line says it should: it has
//! no jitter in it, so that the ratio never trembles, and it goes to zero, so that no skew is left however far off the card's
//! crystal is. What no crystal does is not steered but told: samples that went missing ([`Verdict::Leap`]) and a source that
//! has changed its rate without a word ([`Verdict::Rate`]). Refuses to believe a crystal that is off by more than 1000 ppm.

use crate::media::raw::SAMPLE_RATE;

/// What one block's time may differ from the line, as far as it counts; beyond it is an outlier.
const CLIP_S: f64 = 0.010;

/// Standard deviation that is taken for granted of the blocks' times: poor USB devices; good ones are only averaged longer than needed.
const JITTER_S: f64 = 0.003;

/// How far off crystals usually are: what is believed before anything is measured.
const USUAL: f64 = 200e-6;

/// How far off a crystal can be.
const FARTHEST: f64 = 1000e-6;

/// How a crystal's rate wanders, per square root of a second: 10^-7, so that half a minute is averaged.
const WANDER: f64 = 1e-7;

/// Uncertainty of the place after samples were put in or a device was started.
const PLACE_S: f64 = 0.005;

/// A distance from the line that lasts for `ASTRAY_S` is not jitter: samples are missing or too many, or come at another rate.
const LEAP_S: f64 = 0.015;
const ASTRAY_S: f64 = 0.5;

/// Another rate, and no longer a hole: farther off than this.
const OTHER_RATE: f64 = 0.05;

/// A place error is worked off with this time constant …
const TAU_S: f64 = 1.0;

/// … by at most this change of the ratio, about a hundredth of a semitone: not to be heard.
const SLEW: f64 = 500e-6;

/// While the line is still young, places are corrected faster.
const YOUNG_S: f64 = 10.0;
const YOUNG_SLEW: f64 = 2000e-6;

/// Time constant of the shown offset.
const SHOWN_S: f64 = 1.0;

/// Rates that sources have.
const RATES: [u32; 7] = [32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000];

/// What a block's time means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Steady,
    /// So many seconds of samples are missing (negative: too many) since the last time that all was well.
    Leap(f64),
    /// The source has changed to another rate.
    Rate(u32),
}

/// How fast to consume, and how well the place is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steering {
    /// Captured samples per sample of the program.
    pub step: f64,
    /// How much later than it should the sample leaves, in seconds.
    pub late_s: f64,
}

/// The line through count and time, and its certainty.
#[derive(Clone, Debug)]
pub struct Drift {
    nominal_hz: f64,
    line: Option<Line>,
    /// How much longer than nominal a sample takes: -200e-6 for a card that is 200 ppm fast.
    stretch: f64,
    /// Covariance of place (s) and stretch.
    covariance: [f64; 3],
    astray: Option<Astray>,
    /// Samples were lost before the next block: how many, its time shall tell.
    holed: bool,
    /// Mean distance of the blocks' times from the line.
    mean_s: f64,
    /// Time of the line's first block.
    born_s: f64,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    count: u64,
    time_s: f64,
}

/// Since when the times have been off on one side, and by how much at least.
#[derive(Clone, Copy, Debug)]
struct Astray {
    since: Line,
    nearest_s: f64,
}

impl Drift {
    pub fn new(nominal_hz: u32) -> Self {
        Self {
            nominal_hz: f64::from(nominal_hz),
            line: None,
            stretch: 0.0,
            covariance: [0.0, 0.0, USUAL * USUAL],
            astray: None,
            holed: false,
            mean_s: 0.0,
            born_s: 0.0,
        }
    }

    /// The device was started again: places begin anew, what is known of its crystal stays.
    pub fn restart(&mut self) {
        self.line = None;
        self.astray = None;
        self.holed = false;
    }

    /// Samples were lost before the next block.
    pub fn overrun(&mut self) {
        self.holed = true;
    }

    /// Sample number `count` was captured at this time. Nothing is learned from a block that is told as a leap: whoever owns the counts puts
    /// the missing samples in and offers the block again with its new count.
    pub fn observe(&mut self, count: u64, time_s: f64) -> Verdict {
        let here = Line { count, time_s };
        let Some(line) = self.line else {
            self.covariance = [PLACE_S * PLACE_S, 0.0, self.covariance[2]];
            (self.line, self.mean_s, self.born_s) = (Some(here), 0.0, time_s);
            return Verdict::Steady;
        };
        let off_s = time_s - self.time_at(count as f64);
        if std::mem::take(&mut self.holed) && off_s.abs() > JITTER_S {
            self.covariance[0] += PLACE_S * PLACE_S;
            return Verdict::Leap(off_s);
        }
        if let Some(verdict) = self.stray(here, off_s) {
            return verdict;
        }
        self.learn(here, (count - line.count) as f64 / self.nominal_hz, off_s);
        Verdict::Steady
    }

    /// Watches for what is no jitter. From far-off times nothing is learned; once they have lasted there is a verdict.
    fn stray(&mut self, here: Line, off_s: f64) -> Option<Verdict> {
        let same_side = self.astray.is_none_or(|astray| astray.nearest_s.signum() == off_s.signum());
        if off_s.abs() <= LEAP_S || !same_side {
            self.astray = None;
            return None;
        }
        let astray = self.astray.get_or_insert(Astray { since: here, nearest_s: off_s });
        if off_s.abs() < astray.nearest_s.abs() {
            astray.nearest_s = off_s;
        }
        let (since, lasted_s) = (astray.since, here.time_s - astray.since.time_s);
        if lasted_s < ASTRAY_S {
            return Some(Verdict::Steady);
        }
        self.astray = None;
        let measured_hz = (here.count - since.count) as f64 / lasted_s;
        let verdict = match (measured_hz / self.nominal_hz - 1.0).abs() > OTHER_RATE {
            true => Verdict::Rate(nearest_rate(measured_hz)),
            false => Verdict::Leap(off_s),
        };
        self.covariance[0] += PLACE_S * PLACE_S;
        Some(verdict)
    }

    fn learn(&mut self, here: Line, passed_s: f64, off_s: f64) {
        let expected_s = here.time_s - off_s;
        let [place, both, stretch] = self.covariance;
        let place = place + 2.0 * passed_s * both + passed_s * passed_s * stretch;
        let both = both + passed_s * stretch;
        let stretch = stretch + WANDER * WANDER * passed_s;
        let clipped_s = off_s.clamp(-CLIP_S, CLIP_S);
        let (gain, rate_gain) = (place / (place + JITTER_S * JITTER_S), both / (place + JITTER_S * JITTER_S));
        self.line = Some(Line { count: here.count, time_s: expected_s + gain * clipped_s });
        self.stretch = (self.stretch + rate_gain * clipped_s).clamp(-FARTHEST, FARTHEST);
        self.covariance = [(1.0 - gain) * place, (1.0 - gain) * both, stretch - rate_gain * both];
        self.mean_s += (off_s - self.mean_s) * (passed_s / SHOWN_S).min(1.0);
    }

    /// When the sample with this number (between two: in proportion) was captured.
    pub fn time_at(&self, count: f64) -> f64 {
        let line = self.line.unwrap_or(Line { count: 0, time_s: 0.0 });
        line.time_s + (count - line.count as f64) / self.nominal_hz * (1.0 + self.stretch)
    }

    /// For the program's sample `index`, when the resampler stands at the captured sample `count`.
    pub fn steer(&self, index: u64, count: f64) -> Steering {
        let due_s = index as f64 / f64::from(SAMPLE_RATE);
        // Positive: the sample leaves later than it was captured, so that more must be consumed.
        let late_s = due_s - self.time_at(count);
        let age_s = self.line.map_or(0.0, |line| line.time_s - self.born_s);
        let slew = if age_s < YOUNG_S { YOUNG_SLEW } else { SLEW };
        let rate = self.nominal_hz / (1.0 + self.stretch) / f64::from(SAMPLE_RATE);
        Steering { step: rate * (1.0 + (late_s / TAU_S).clamp(-slew, slew)), late_s: late_s - self.mean_s }
    }

    /// How much faster than nominal the card runs.
    pub fn ppm(&self) -> f64 {
        (1.0 / (1.0 + self.stretch) - 1.0) * 1e6
    }
}

fn nearest_rate(hz: f64) -> u32 {
    let off = |rate: &u32| (f64::from(*rate) / hz).ln().abs();
    RATES.into_iter().min_by(|one, other| off(one).total_cmp(&off(other))).unwrap_or(SAMPLE_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HZ: f64 = SAMPLE_RATE as f64;

    /// A card, and a resampler that does as it is told.
    struct Bench {
        drift: Drift,
        /// The card's true rate.
        hz: f64,
        /// True time of its sample 0, as far as samples have been lost and put in.
        base_s: f64,
        count: u64,
        /// Next sample of the program and the captured one that it is made of, once begun.
        at: Option<(u64, f64)>,
        seed: u64,
        /// How much blocks' times are late, at most, and how often they are a quarter of a second late.
        jitter_s: f64,
        hiccups: bool,
        worst_late_s: f64,
        /// Largest distance of the ratio from the true one, and largest change from one block to the next.
        worst_slew: f64,
        worst_change: f64,
        step: f64,
    }

    impl Bench {
        fn new(ppm: f64, jitter_s: f64) -> Self {
            Self {
                drift: Drift::new(SAMPLE_RATE),
                hz: HZ * (1.0 + ppm * 1e-6),
                base_s: 100.0,
                count: 0,
                at: None,
                seed: 88_172_645_463_325_252,
                jitter_s,
                hiccups: false,
                worst_late_s: 0.0,
                worst_slew: 0.0,
                worst_change: 0.0,
                step: 0.0,
            }
        }

        fn random(&mut self) -> f64 {
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            (self.seed >> 11) as f64 / (1u64 << 53) as f64
        }

        fn forget_worst(&mut self) {
            (self.worst_late_s, self.worst_slew, self.worst_change) = (0.0, 0.0, 0.0);
        }

        /// Blocks of so many samples for a while; what was told beside "steady".
        fn run(&mut self, seconds: f64, block: u64) -> Vec<Verdict> {
            let end_s = self.base_s + self.count as f64 / self.hz + seconds;
            let mut told = Vec::new();
            loop {
                let true_s = self.base_s + self.count as f64 / self.hz;
                if true_s >= end_s {
                    return told;
                }
                let hiccup_s = if self.hiccups && self.random() < 0.001 { 0.25 } else { 0.0 };
                let seen_s = true_s + (self.random() - 0.5) * self.jitter_s + hiccup_s;
                match self.drift.observe(self.count, seen_s) {
                    Verdict::Steady => {}
                    Verdict::Leap(seconds) => {
                        let missing = (seconds * HZ).round();
                        self.count = (self.count as f64 + missing) as u64;
                        self.base_s -= missing / self.hz;
                        self.drift.observe(self.count, seen_s);
                        told.push(Verdict::Leap(seconds));
                    }
                    rate => {
                        told.push(rate);
                        return told;
                    }
                }
                self.count += block;
                self.consume();
            }
        }

        fn consume(&mut self) {
            let count = self.count as f64;
            // Begun after 0.2 s.
            if self.at.is_none() && count > 0.2 * HZ {
                self.at = Some(((self.drift.time_at(count) * HZ).ceil() as u64, count));
            }
            while let Some((next, place)) = self.at.filter(|(_, place)| *place < count) {
                let step = self.drift.steer(next, place).step;
                let late_s = next as f64 / HZ - (self.base_s + place / self.hz);
                self.worst_late_s = self.worst_late_s.max(late_s.abs());
                self.worst_slew = self.worst_slew.max((step * HZ / self.hz - 1.0).abs());
                self.worst_change = self.worst_change.max(if self.step > 0.0 { (step / self.step - 1.0).abs() } else { 0.0 });
                self.step = step;
                self.at = Some((next + 240, place + step * 240.0));
            }
        }
    }

    /// Times that are up to 4 ms off either way, hiccups of a quarter of a second, and a crystal that goes with the sun.
    #[test]
    fn a_day_leaves_no_skew() {
        for ppm in [200.0, -200.0] {
            let mut bench = Bench { hiccups: true, ..Bench::new(ppm, 0.008) };
            bench.run(60.0, 480);
            assert!(bench.worst_late_s < 0.008, "the first minute: {}", bench.worst_late_s);
            bench.forget_worst();
            for hour in 0..24 {
                let sun = 5e-6 * (f64::from(hour) / 24.0 * std::f64::consts::TAU).sin();
                // The card's rate changes, not the time of what it has captured.
                let now_s = bench.base_s + bench.count as f64 / bench.hz;
                bench.hz = HZ * (1.0 + ppm * 1e-6 + sun);
                bench.base_s = now_s - bench.count as f64 / bench.hz;
                assert_eq!(bench.run(3600.0, 480), []);
            }
            println!("{ppm} ppm: worst {:.3} ms, slew {:.1} ppm", bench.worst_late_s * 1e3, bench.worst_slew * 1e6);
            assert!(bench.worst_late_s < 0.002, "{}", bench.worst_late_s);
            assert!(bench.worst_slew < 50e-6, "inaudible: {}", bench.worst_slew);
            assert!(bench.worst_change < 5e-6, "no steps: {}", bench.worst_change);
            assert!((bench.drift.ppm() - ppm).abs() < 10.0, "{}", bench.drift.ppm());
        }
    }

    #[test]
    fn a_crystal_that_jumps_is_followed() {
        let mut bench = Bench::new(-200.0, 0.004);
        bench.run(600.0, 480);
        bench.forget_worst();
        let now_s = bench.base_s + bench.count as f64 / bench.hz;
        bench.hz = HZ * (1.0 + 200e-6);
        bench.base_s = now_s - bench.count as f64 / bench.hz;
        assert_eq!(bench.run(300.0, 480), []);
        println!("400 ppm at once: worst {:.1} ms, slew {:.0} ppm", bench.worst_late_s * 1e3, bench.worst_slew * 1e6);
        assert!(bench.worst_late_s < 0.020, "{}", bench.worst_late_s);
        bench.forget_worst();
        bench.run(60.0, 480);
        assert!(bench.worst_late_s < 0.001, "{}", bench.worst_late_s);
    }

    #[test]
    fn an_overrun_is_measured_at_once_and_a_silent_loss_within_a_second() {
        let mut bench = Bench::new(100.0, 0.002);
        bench.run(60.0, 480);
        bench.drift.overrun();
        bench.base_s += 0.4;
        let told = bench.run(1.0, 480);
        assert!(matches!(told[..], [Verdict::Leap(seconds)] if (seconds - 0.4).abs() < 0.003), "{told:?}");
        bench.forget_worst();
        bench.run(10.0, 480);
        assert!(bench.worst_late_s < 0.004, "{}", bench.worst_late_s);
        for lost_s in [0.05, -0.05] {
            bench.base_s += lost_s;
            let told = bench.run(1.0, 480);
            assert!(matches!(told[..], [Verdict::Leap(seconds)] if (seconds - lost_s).abs() < 0.003), "{told:?}");
        }
        // An overrun that lost nothing to speak of is none.
        bench.drift.overrun();
        assert_eq!(bench.run(5.0, 480), []);
    }

    #[test]
    fn another_rate_is_known_within_a_second() {
        for rate_hz in [32_000, 44_100, 96_000] {
            let mut bench = Bench::new(0.0, 0.002);
            bench.run(20.0, 480);
            let now_s = bench.base_s + bench.count as f64 / bench.hz;
            bench.hz = f64::from(rate_hz);
            bench.base_s = now_s - bench.count as f64 / bench.hz;
            assert_eq!(bench.run(1.0, 480), [Verdict::Rate(rate_hz)]);
        }
    }

    #[test]
    fn what_is_known_of_a_crystal_outlives_its_device() {
        let mut bench = Bench::new(150.0, 0.002);
        bench.run(300.0, 480);
        bench.drift.restart();
        bench.drift.observe(0, 1.0);
        assert!((bench.drift.ppm() - 150.0).abs() < 5.0, "{}", bench.drift.ppm());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the crystal, the jitter, the blocks and the declared losses: within 20 ms always, and bounded slew.
        #[test]
        fn never_off_by_more_than_twenty_milliseconds(
            ppm in -250f64..250.0,
            jitter_ms in 0f64..10.0,
            block in 48u64..2000,
            losses in prop::collection::vec((1f64..60.0, 0.005f64..0.9), 0..6),
            hiccups: bool,
        ) {
            let mut bench = Bench { hiccups, ..Bench::new(ppm, jitter_ms * 1e-3) };
            bench.run(12.0, block);
            for (after_s, lost_s) in losses {
                bench.run(after_s, block);
                bench.base_s += lost_s;
                bench.drift.overrun();
                // A device that hiccups exactly then cannot be told from a longer loss.
                let hiccups = std::mem::take(&mut bench.hiccups);
                bench.run(0.1, block);
                bench.hiccups = hiccups;
            }
            bench.run(30.0, block);
            prop_assert!(bench.worst_late_s <= 0.020, "{} s", bench.worst_late_s);
            prop_assert!(bench.worst_slew <= YOUNG_SLEW + 2.0 * FARTHEST, "{}", bench.worst_slew);
        }

        #[test]
        fn arbitrary_times_give_ratios_that_can_be_used(
            blocks in prop::collection::vec((0u64..100_000, -10f64..1e6), 1..50),
            index in 0u64..1 << 50,
            count in 0f64..1e15,
        ) {
            let mut drift = Drift::new(SAMPLE_RATE);
            let mut total = 0;
            for (frames, time_s) in blocks {
                total += frames;
                drift.observe(total, time_s);
                let step = drift.steer(index, count).step;
                prop_assert!((step - 1.0).abs() <= FARTHEST + YOUNG_SLEW + 1e-5, "{}", step);
            }
        }
    }
}

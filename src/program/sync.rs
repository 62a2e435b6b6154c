//! The frame synchroniser's rule: which picture goes out at this tick. Pure; times only, no pictures.
//!
//! The program ticks at its own constant rate; an input delivers when it likes. At each tick one moment of the input's past is
//! wanted (the tick's time less the constant latency), and the picture whose time fits best is taken:
//!
//! ```text
//! wanted ──┬──────────┬──────────┬──────────┬────▶     cost of a picture at distance d from the wanted time
//!          ▲          ▲   ┌──────┘          ▲          = |d| + ½·|d − d of the last tick|
//! pictures ●        ●     ●          ●      ●
//! ```
//!
//! The second term is what keeps a steady input steady: a source whose pictures lie exactly between two ticks would, by
//! distance alone, flip between "repeat" and "skip" with every microsecond of jitter; so the phase of the last choice is preferred
//! until another is better by a quarter of a tick. 29.97 into 30 so repeats one picture in 1000, and 60 into 30 takes every
//! second one.
//!
//! ```text
//!        fit picture              none for `hold`
//!   ┌──────▶ Live ◀──────── Hold ────────────────▶ Slate
//!   │         └───────────▶ (last picture)           │
//!   └──────────────────── fit picture ───────────────┘
//! ```

use std::time::Duration;

use crate::status::Shows;
use crate::units::{FrameRate, MediaTime};

/// Missed ticks beyond this are not made up.
const MAX_BEHIND: Duration = Duration::from_secs(2);

/// The tick that follows. If the machine was busy, missed ticks are made up at once, so that no time is missing in the stream;
/// after more than `MAX_BEHIND` (the machine slept) they are left out.
pub fn next_tick(rate: FrameRate, index: u64, now: MediaTime) -> u64 {
    let asleep = now.since(rate.time_of(index)) > MAX_BEHIND;
    if asleep { rate.index_at(now) + 1 } else { index + 1 }
}

/// What the program shows at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A picture that was not shown before: this one of those that were offered.
    Take(usize),
    /// The last picture once more, because the input has none nearer in time.
    Repeat,
    /// The last picture once more, because the input has stopped.
    Hold,
    Slate,
}

impl Choice {
    pub fn shows(self) -> Shows {
        match self {
            Self::Take(_) | Self::Repeat => Shows::Live,
            Self::Hold => Shows::Hold,
            Self::Slate => Shows::Slate,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Synchroniser {
    /// Length of a tick.
    tick: Duration,
    /// Time of the picture that was taken last.
    shown: Option<MediaTime>,
    /// Distance, in nanoseconds, of the last picture to its wanted time; negative is older.
    phase: i64,
    /// The wanted time at which a picture last fitted.
    fitted_at: Option<MediaTime>,
}

impl Synchroniser {
    pub fn new(tick: Duration) -> Self {
        Self { tick, shown: None, phase: 0, fitted_at: None }
    }

    /// Chooses among the pictures' times, oldest first.
    pub fn choose(&mut self, wanted: MediaTime, hold: Duration, pictures: &[MediaTime]) -> Choice {
        let Some(index) = self.best(wanted, hold, pictures) else {
            return self.without_picture(wanted, hold);
        };
        let time = pictures[index];
        self.phase = distance(time, wanted);
        self.fitted_at = Some(wanted);
        let repeats = self.shown.replace(time) == Some(time);
        if repeats { Choice::Repeat } else { Choice::Take(index) }
    }

    /// The cheapest picture that is neither older than `hold` nor more than ¾ of a tick ahead of its time.
    pub fn best(&self, wanted: MediaTime, hold: Duration, pictures: &[MediaTime]) -> Option<usize> {
        let ahead = self.tick.as_nanos() as i64 * 3 / 4;
        let hold = hold.max(self.tick).as_nanos() as i64;
        let fits = |&(_, time): &(usize, MediaTime)| (-hold..=ahead).contains(&distance(time, wanted));
        let cost = |&(_, time): &(usize, MediaTime)| {
            let distance = distance(time, wanted);
            2 * distance.unsigned_abs() + distance.abs_diff(self.phase.clamp(-ahead, ahead))
        };
        pictures.iter().copied().enumerate().filter(fits).min_by_key(cost).map(|(index, _)| index)
    }

    fn without_picture(&mut self, wanted: MediaTime, hold: Duration) -> Choice {
        match self.fitted_at {
            Some(fitted_at) if wanted.since(fitted_at) <= hold => Choice::Hold,
            _ => {
                *self = Self::new(self.tick);
                Choice::Slate
            }
        }
    }
}

/// Nanoseconds from `wanted` to `time`; negative if it is older.
fn distance(time: MediaTime, wanted: MediaTime) -> i64 {
    time.nanos() as i64 - wanted.nanos() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOLD: Duration = Duration::from_millis(300);
    const SECOND: u64 = 1_000_000_000;

    fn rate(numerator: u32, denominator: u32) -> FrameRate {
        FrameRate::new(numerator, denominator).unwrap()
    }

    /// Suspended for an hour, or with a clock that jumped: not one tick is made up.
    #[test]
    fn a_short_pause_is_made_up_and_a_long_one_left_out() {
        let rate = rate(30, 1);
        let tick =
            |index: u64, late_ms: u64| next_tick(rate, index, rate.time_of(index) + Duration::from_millis(late_ms)) - index;
        assert_eq!([0, 20, 100, 1999, 2000].map(|late| tick(900, late)), [1; 5]);
        assert_eq!([2001, 600_000, 3_600_000].map(|late| tick(900, late)), [61, 18_001, 108_001]);
        assert_eq!(next_tick(rate, 900, MediaTime::ZERO), 901, "a clock that goes back waits");
    }

    /// Runs an input's picture times through a program of `out` frames per second, as the program does: each tick sees what
    /// had come by then, and what was passed over is forgotten.
    fn run(out: FrameRate, pictures: &[MediaTime], ticks: u64) -> Vec<(Choice, Option<MediaTime>)> {
        let latency = Duration::from_millis(200);
        let mut sync = Synchroniser::new(out.frame_duration());
        (0..ticks)
            .map(|tick| {
                let now = out.time_of(tick) + latency;
                let arrived: Vec<_> = pictures.iter().copied().filter(|time| *time <= now).collect();
                let choice = sync.choose(out.time_of(tick), HOLD, &arrived);
                (choice, sync.shown)
            })
            .collect()
    }

    fn every(rate: FrameRate, offset: Duration, count: u64) -> Vec<MediaTime> {
        (0..count).map(|index| rate.time_of(index) + offset).collect()
    }

    fn taken(choices: &[(Choice, Option<MediaTime>)]) -> usize {
        choices.iter().filter(|(choice, _)| matches!(choice, Choice::Take(_))).count()
    }

    #[test]
    fn same_rate_shows_every_picture_once_whatever_the_phase_and_jitter() {
        for phase in [0, 5, 12, 16, 17, 20, 30] {
            let jitter = |index: u64| Duration::from_micros(index * 7919 % 2000);
            let phase = Duration::from_millis(phase);
            let pictures: Vec<_> = (0..900).map(|index| rate(30, 1).time_of(index) + phase + jitter(index)).collect();
            let choices = run(rate(30, 1), &pictures, 890);
            assert!(taken(&choices[2..]) == 888, "phase {phase:?}: {} of 888 taken", taken(&choices[2..]));
        }
    }

    #[test]
    fn a_little_slower_repeats_one_in_a_thousand() {
        let choices = run(rate(30, 1), &every(rate(30000, 1001), Duration::ZERO, 3100), 3003);
        let repeats = choices.iter().filter(|(choice, _)| *choice == Choice::Repeat).count();
        assert_eq!(repeats, 3);
        assert_eq!(taken(&choices), 3000);
    }

    #[test]
    fn twice_as_fast_takes_every_second_picture() {
        let choices = run(rate(30, 1), &every(rate(60, 1), Duration::from_millis(8), 2000), 900);
        let times: Vec<_> = choices[2..].iter().filter_map(|(_, shown)| *shown).collect();
        assert!(times.windows(2).all(|pair| (32..35).contains(&pair[1].since(pair[0]).as_millis())));
    }

    #[test]
    fn slower_repeats_evenly() {
        let choices = run(rate(30, 1), &every(rate(25, 1), Duration::ZERO, 400), 300);
        assert_eq!(taken(&choices), 250);
        let shows = |(choice, _): &(Choice, _)| choice.shows() == Shows::Live;
        assert!(choices.iter().all(shows));
    }

    #[test]
    fn a_stop_is_held_then_slate_and_a_restart_shows_at_once() {
        let mut pictures = every(rate(30, 1), Duration::ZERO, 30);
        pictures.extend(every(rate(30, 1), Duration::from_secs(3), 60));
        let choices = run(rate(30, 1), &pictures, 120);
        let shows: Vec<_> = choices.iter().map(|(choice, _)| choice.shows()).collect();
        assert!(shows[..30].iter().all(|shows| *shows == Shows::Live));
        assert_eq!(shows[60], Shows::Slate);
        assert!(shows[91..].iter().all(|shows| *shows == Shows::Live));
        let first_slate = shows.iter().position(|shows| *shows == Shows::Slate).unwrap();
        assert!(first_slate <= 30 + 20, "slate at tick {first_slate}, wanted within two thirds of a second");
    }

    proptest! {
        #[test]
        fn what_is_taken_fits_and_what_does_not_fit_is_never_taken(
            wanted in SECOND..100 * SECOND,
            mut times in prop::collection::vec(0..101 * SECOND, 0..40),
            phase in -50_000_000i64..50_000_000,
        ) {
            times.sort_unstable();
            let wanted = MediaTime::from_nanos(wanted);
            let pictures: Vec<_> = times.into_iter().map(MediaTime::from_nanos).collect();
            let tick = rate(30, 1).frame_duration();
            let mut sync = Synchroniser { phase, ..Synchroniser::new(tick) };
            let fits = |time: &MediaTime| wanted.since(*time) <= HOLD && time.since(wanted) <= tick * 3 / 4;
            match sync.choose(wanted, HOLD, &pictures) {
                Choice::Take(index) => prop_assert!(fits(&pictures[index])),
                Choice::Slate => prop_assert!(!pictures.iter().any(fits)),
                other => prop_assert!(false, "{other:?} without a past"),
            }
        }

        #[test]
        fn time_runs_forwards_for_any_steady_input(numerator in 5u32..120, offset in 0u64..50, tick_rate in 24u32..61) {
            let pictures = every(rate(numerator, 1), Duration::from_millis(offset), 300);
            let ticks = u64::from(tick_rate) * 2;
            let choices = run(rate(tick_rate, 1), &pictures, ticks);
            let times: Vec<_> = choices.iter().filter_map(|(_, shown)| *shown).collect();
            prop_assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
            let live = choices[tick_rate as usize..].iter().all(|(choice, _)| choice.shows() == Shows::Live);
            prop_assert!(live);
        }

        #[test]
        fn latency_does_not_wander(numerator in 24u32..61, offset in 0u64..40) {
            let pictures = every(rate(numerator, 1), Duration::from_millis(offset), 300);
            let out = rate(30, 1);
            for (tick, (_, shown)) in run(out, &pictures, 120).iter().enumerate().skip(5) {
                let off = shown.unwrap().abs_diff(out.time_of(tick as u64));
                prop_assert!(off <= out.frame_duration().max(rate(numerator, 1).frame_duration()), "{off:?} at tick {tick}");
            }
        }
    }
}

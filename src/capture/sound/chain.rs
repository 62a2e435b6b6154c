//! From a card's blocks to sound in its place on the program's time line: the drift rule, the resampler and their bookkeeping.
//! Pure: times come with the blocks.
//!
//! ```text
//!            blocks, 0.2 s of them                  device gone, hole > 1 s, other rate
//! start ──▶ Listening ──────────────▶ Placed ─────────────────────────────────────────▶ start
//!           (thrown away: the first    │    ▲ each block abuts on the last one, whatever the
//!           place rests on all of      ▼    │ times say: they go into the ratio alone
//!           their times, not on one)  hole ≤ 1 s: silence of its length is put in
//! ```
//!
//! No click is made at a seam: before a hole the last sample fades, after it and at the start the sound fades in.

use crate::capture::sound::drift::{Drift, Verdict};
use crate::capture::sound::resample::{BLOCK, Resampler};
use crate::media::raw::{CHANNELS, SAMPLE_RATE};

/// How long is listened before the first sample gets its place.
const LISTEN_S: f64 = 0.2;

/// Longer holes are not filled: what comes after them is placed anew.
const LONGEST_HOLE_S: f64 = 1.0;

const FADE_S: f64 = 0.005;

/// Takes what leaves: interleaved samples, the first one in its place on the program's time line (see `media::raw`).
pub type Outlet<'a> = dyn FnMut(u64, &[i16]) + 'a;

/// What happened beside the usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum News {
    /// So many seconds were lost and stand as silence.
    Hole(f64),
    /// The times have leapt by so many seconds: places began anew.
    Leapt(f64),
    /// The source has changed to this rate: places began anew.
    Rate(u32),
}

pub struct Chain {
    rate_hz: u32,
    drift: Drift,
    resampler: Resampler,
    /// Samples of the card so far, with those put in for missing ones.
    captured: u64,
    /// Number of the first sample that went into the resampler, and place of the next one that leaves it; none while it listens.
    placed: Option<Placed>,
    listened_since_s: Option<f64>,
    /// Frames since the last seam, until the sound is faded in.
    faded: usize,
    last: [f32; CHANNELS],
    late_s: f64,
    block: Vec<i16>,
}

#[derive(Clone, Copy)]
struct Placed {
    first: u64,
    next: u64,
}

impl Chain {
    /// `None` for a rate that cannot be resampled.
    pub fn new(rate_hz: u32) -> Option<Self> {
        Some(Self {
            rate_hz,
            drift: Drift::new(rate_hz),
            resampler: Resampler::new(rate_hz)?,
            captured: 0,
            placed: None,
            listened_since_s: None,
            faded: 0,
            last: [0.0; CHANNELS],
            late_s: 0.0,
            block: Vec::with_capacity(BLOCK * CHANNELS),
        })
    }

    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// How much later than the picture of the same moment the sound leaves now, in seconds; none before it does.
    pub fn late_s(&self) -> Option<f64> {
        self.placed.map(|_| self.late_s)
    }

    pub fn ppm(&self) -> f64 {
        self.drift.ppm()
    }

    /// The device says that samples were lost.
    pub fn overrun(&mut self) {
        self.drift.overrun();
    }

    /// Interleaved samples of so many channels, the first captured at this time.
    pub fn take(&mut self, time_s: f64, samples: &[f32], channels: usize, out: &mut Outlet) -> Option<News> {
        let news = match self.drift.observe(self.captured, time_s) {
            Verdict::Steady => None,
            Verdict::Leap(seconds) => Some(self.mend(seconds, time_s, out)),
            Verdict::Rate(rate_hz) => {
                self.restart(out);
                self.change_rate(rate_hz);
                Some(News::Rate(rate_hz))
            }
        };
        let since_s = *self.listened_since_s.get_or_insert(time_s);
        if self.placed.is_none() && time_s - since_s >= LISTEN_S {
            self.place();
        }
        self.captured += (samples.len() / channels) as u64;
        if self.placed.is_some() {
            self.push(samples, channels);
            self.pump(out);
        }
        news
    }

    /// The stream has ended: what waits leaves, and the last sample fades.
    pub fn end(&mut self, out: &mut Outlet) {
        self.restart(out);
    }

    fn mend(&mut self, seconds: f64, time_s: f64, out: &mut Outlet) -> News {
        if self.placed.is_none() || !(0.0..=LONGEST_HOLE_S).contains(&seconds) {
            self.restart(out);
            return News::Leapt(seconds);
        }
        let frames = (seconds * f64::from(self.rate_hz)).round() as usize;
        self.push_silence(frames);
        self.captured += frames as u64;
        self.drift.observe(self.captured, time_s);
        News::Hole(seconds)
    }

    fn restart(&mut self, out: &mut Outlet) {
        if self.placed.is_some() {
            self.push_silence(self.resampler.ahead() + 4 * BLOCK);
            self.pump(out);
        }
        if let Some(resampler) = Resampler::new(self.rate_hz) {
            self.resampler = resampler;
        }
        (self.placed, self.listened_since_s) = (None, None);
        self.drift.restart();
    }

    fn change_rate(&mut self, rate_hz: u32) {
        if let Some(resampler) = Resampler::new(rate_hz) {
            self.resampler = resampler;
            self.drift = Drift::new(rate_hz);
            self.rate_hz = rate_hz;
        }
    }

    /// The next captured sample is the first one that leaves; it leaves in the first place that is not before its time.
    fn place(&mut self) {
        let first = self.captured;
        let due_s = self.drift.time_at(first as f64 + self.resampler.place());
        self.placed = Some(Placed { first, next: (due_s * f64::from(SAMPLE_RATE)).ceil().max(0.0) as u64 });
        self.faded = 0;
    }

    /// The first two channels; one is both.
    fn push(&mut self, samples: &[f32], channels: usize) {
        let fade = (FADE_S * f64::from(self.rate_hz)) as usize;
        let faded = self.faded;
        let stereo = samples.chunks_exact(channels).enumerate().flat_map(|(place, frame)| {
            let gain = ((faded + place) as f32 / fade as f32).min(1.0);
            [frame[0] * gain, frame[1.min(channels - 1)] * gain]
        });
        self.resampler.push(stereo);
        self.faded = (faded + samples.len() / channels).min(fade);
        if let Some(frame) = samples.chunks_exact(channels).next_back() {
            self.last = [frame[0], frame[1.min(channels - 1)]];
        }
    }

    fn push_silence(&mut self, frames: usize) {
        let fade = (FADE_S * f64::from(self.rate_hz)) as f32;
        let last = std::mem::take(&mut self.last);
        let fading = (0..frames).flat_map(|place| last.map(|sample| sample * (1.0 - place as f32 / fade).max(0.0)));
        self.resampler.push(fading);
        self.faded = 0;
    }

    /// Makes what can be made.
    fn pump(&mut self, out: &mut Outlet) {
        while let Some(Placed { first, next }) = self.placed {
            let steering = self.drift.steer(next, first as f64 + self.resampler.place());
            let Some(samples) = self.resampler.block(steering.step) else { break };
            self.block.clear();
            self.block.extend(samples.iter().map(|sample| (sample * 32_768.0).round() as i16));
            out(next, &self.block);
            self.late_s = steering.late_s;
            self.placed = Some(Placed { first, next: next + BLOCK as u64 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// A card whose clock is off, before which a sine sounds that begins with the program's time.
    struct Card {
        rate_hz: u32,
        ppm: f64,
        channels: usize,
        hz: f64,
        captured: u64,
        time_s: f64,
    }

    impl Card {
        fn new(rate_hz: u32, ppm: f64, channels: usize) -> Self {
            Self { rate_hz, ppm, channels, hz: 1000.0, captured: 0, time_s: 3.0 }
        }

        /// Ten milliseconds of it.
        fn block(&mut self) -> (f64, Vec<f32>) {
            let true_hz = f64::from(self.rate_hz) * (1.0 + self.ppm * 1e-6);
            let frames = self.rate_hz as usize / 100;
            let sample = |place: usize| ((self.time_s + place as f64 / true_hz) * self.hz * TAU).sin() as f32 * 0.5;
            let samples = (0..frames).flat_map(|place| vec![sample(place); self.channels]).collect();
            let time_s = self.time_s;
            self.time_s += frames as f64 / true_hz;
            self.captured += frames as u64;
            (time_s, samples)
        }

        /// So many seconds of it through a chain.
        fn play(&mut self, chain: &mut Chain, seconds: f64, jitter: impl Fn(f64) -> f64, record: &mut Record) -> Vec<News> {
            let until_s = self.time_s + seconds;
            let mut news = Vec::new();
            while self.time_s < until_s {
                let (time_s, samples) = self.block();
                news.extend(chain.take(time_s + jitter(time_s), &samples, self.channels, &mut |index, samples: &[i16]| {
                    record.add(index, samples);
                }));
            }
            news
        }
    }

    /// What left, from its first sample on; it must abut unless told otherwise.
    #[derive(Default)]
    struct Record {
        start: u64,
        left: Vec<f64>,
    }

    impl Record {
        fn add(&mut self, index: u64, samples: &[i16]) {
            if self.left.is_empty() {
                self.start = index;
            }
            assert_eq!(index, self.start + self.left.len() as u64, "a block that does not abut");
            assert!(samples.chunks_exact(2).all(|frame| frame[0] == frame[1]));
            self.left.extend(samples.iter().step_by(2).map(|sample| f64::from(*sample) / 32768.0));
        }

        /// Amplitude, lateness in seconds and what is left over, of a sine that began with the program's time.
        fn fit(&self, from: usize, length: usize, hz: f64) -> (f64, f64, f64) {
            let window = &self.left[from..from + length];
            let angle = |place: usize| (self.start as usize + from + place) as f64 / 48_000.0 * hz * TAU;
            let sum = |wave: fn(f64) -> f64| window.iter().enumerate().map(|(place, x)| x * wave(angle(place))).sum::<f64>();
            let (a, b) = (sum(f64::sin) * 2.0 / length as f64, sum(f64::cos) * 2.0 / length as f64);
            let rest = |(place, x): (usize, &f64)| (x - a * angle(place).sin() - b * angle(place).cos()).powi(2);
            let rest = (window.iter().enumerate().map(rest).sum::<f64>() / length as f64).sqrt();
            (a.hypot(b), (-b).atan2(a) / TAU / hz, rest)
        }

        /// The largest second difference: 0.0086 for the sine itself.
        fn sharpest(&self, from: usize) -> f64 {
            self.left[from..].windows(3).map(|x| (x[0] - 2.0 * x[1] + x[2]).abs()).fold(0.0, f64::max)
        }
    }

    /// 0.5 ω², and the rounding to 16 bits.
    const SINE_SHARPNESS: f64 = 0.5 * (TAU / 48.0) * (TAU / 48.0) + 1e-4;

    /// The slope of the sine: a fade may begin with a bend of it. A cut is up to 0.5.
    const BEND: f64 = 0.5 * TAU / 48.0 * 1.01;

    #[test]
    fn a_sine_of_any_rate_comes_out_clean_and_in_its_place() {
        for (rate_hz, channels) in [(32_000, 2), (44_100, 1), (48_000, 2), (48_000, 8), (96_000, 2), (192_000, 2)] {
            let (mut card, mut record) = (Card::new(rate_hz, 200.0, channels), Record::default());
            let mut chain = Chain::new(rate_hz).unwrap();
            let news = card.play(&mut chain, 15.0, |_| 0.0, &mut record);
            assert_eq!(news, []);
            // While the crystal is still being learned the pitch is off by a few ppm: that is no distortion.
            let from = record.left.len() - 9600;
            let late_s = [0, 4800].map(|offset| record.fit(from + offset, 4800, 1000.0).1);
            let hz = 1000.0 * (1.0 - (late_s[1] - late_s[0]) / 0.1);
            let (amplitude, _, rest) = record.fit(from, 9600, hz);
            let late_s = late_s[1];
            let thd_n_db = 20.0 * (rest / (amplitude / 2f64.sqrt())).log10();
            println!("{rate_hz} Hz, {channels} channels: THD+N {thd_n_db:.1} dB, {:.1} µs late", late_s * 1e6);
            assert!((amplitude - 0.5).abs() < 0.001, "{rate_hz}: {amplitude}");
            assert!(thd_n_db < -80.0, "{rate_hz}: {thd_n_db} dB");
            assert!(late_s.abs() < 0.000_1, "{rate_hz}: {late_s}");
            assert!(record.sharpest(480) <= SINE_SHARPNESS, "{rate_hz}: {}", record.sharpest(480));
            assert!((chain.ppm() - 200.0).abs() < 10.0, "{}", chain.ppm());
        }
    }

    /// Jitter, and a crystal that jumps from +200 to -200 ppm: the ratio moves all the time, and no click is to be heard.
    #[test]
    fn a_ratio_that_changes_makes_no_click() {
        let (mut card, mut record) = (Card::new(48_000, 200.0, 2), Record::default());
        let mut chain = Chain::new(48_000).unwrap();
        let jitter = |time_s: f64| 0.004 * (time_s * 7919.0).sin() + if time_s % 7.0 < 0.01 { 0.3 } else { 0.0 };
        for ppm in [200.0, -200.0, 0.0] {
            card.ppm = ppm;
            assert_eq!(card.play(&mut chain, 10.0, jitter, &mut record), []);
        }
        assert!(record.sharpest(480) <= SINE_SHARPNESS, "{}", record.sharpest(480));
    }

    #[test]
    fn a_declared_hole_is_silence_of_its_length() {
        let (mut card, mut record) = (Card::new(48_000, -100.0, 2), Record::default());
        let mut chain = Chain::new(48_000).unwrap();
        card.play(&mut chain, 15.0, |_| 0.0, &mut record);
        card.time_s += 0.2;
        chain.overrun();
        let before = record.left.len();
        let news = card.play(&mut chain, 2.0, |_| 0.0, &mut record);
        assert!(matches!(news[..], [News::Hole(seconds)] if (seconds - 0.2).abs() < 1e-4), "{news:?}");
        let hole = &record.left[before + 1000..before + 8000];
        assert!(hole.iter().all(|x| *x == 0.0), "silence in the hole");
        let (amplitude, late_s, _) = record.fit(record.left.len() - 48_000, 48_000, 1000.0);
        assert!((amplitude - 0.5).abs() < 0.01 && late_s.abs() < 0.0001, "{amplitude} {late_s}");
        // The hole's edges fade: nothing is as sharp as the step of a cut sine.
        assert!(record.sharpest(480) < BEND, "{}", record.sharpest(480));
    }

    #[test]
    fn a_long_hole_and_another_rate_begin_anew() {
        let mut chain = Chain::new(48_000).unwrap();
        let (mut card, mut record) = (Card::new(48_000, 0.0, 2), Record::default());
        card.play(&mut chain, 3.0, |_| 0.0, &mut record);
        card.time_s += 5.0;
        chain.overrun();
        let (mut after, mut old_end) = (Record::default(), 0);
        let (time_s, samples) = card.block();
        let news = chain.take(time_s, &samples, 2, &mut |index, samples: &[i16]| old_end = index + samples.len() as u64 / 2);
        assert!(matches!(news, Some(News::Leapt(seconds)) if (seconds - 5.0).abs() < 0.01), "{news:?}");
        assert_eq!(card.play(&mut chain, 3.0, |_| 0.0, &mut after), []);
        assert!(after.start > old_end + 4 * 48_000, "the hole stays one: {} {old_end}", after.start);
        let mut card = Card { time_s: card.time_s, ..Card::new(44_100, 0.0, 2) };
        let mut heard = Vec::new();
        let mut end = None;
        while card.time_s < 16.0 {
            let (time_s, samples) = card.block();
            heard.extend(chain.take(time_s, &samples, 2, &mut |index, samples: &[i16]| {
                assert!(end.is_none_or(|end| index >= end), "never back");
                end = Some(index + samples.len() as u64 / 2);
            }));
        }
        assert_eq!(heard, [News::Rate(44_100)]);
        assert!((end.unwrap() as f64 / 48_000.0 - 16.0).abs() < 0.03);
    }

    #[test]
    fn the_end_fades_and_nothing_follows() {
        let (mut card, mut record) = (Card::new(48_000, 0.0, 2), Record::default());
        let mut chain = Chain::new(48_000).unwrap();
        card.play(&mut chain, 3.003, |_| 0.0, &mut record);
        chain.end(&mut |index, samples: &[i16]| record.add(index, samples));
        assert!(record.left.iter().rev().take(240).all(|x| *x == 0.0));
        assert!(record.sharpest(480) < BEND, "{}", record.sharpest(480));
        assert_eq!(chain.late_s(), None);
    }
}

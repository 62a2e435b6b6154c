//! From a card's samples to the program's, at a ratio that may change with every block: `rubato`'s windowed sinc, and the exact
//! place in the captured sound that the next sample will be made of. Pure.
//!
//! Blocks that leave are of one size and the number of captured samples that they need varies: so every block follows the last
//! one without a seam. The ratio runs from block to block in a ramp, never in a step. The place is counted along as `rubato`
//! counts it, whole samples apart from the fraction, so that it stays exact for years.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Adjustable, Async, FixedAsync, Indexing, Resampler as _, SincInterpolationParameters, SincInterpolationType, WindowFunction,
};

use crate::media::raw::{CHANNELS, SAMPLE_RATE};

/// Samples of the program made at a time: 5 ms.
pub const BLOCK: usize = SAMPLE_RATE as usize / 200;

/// Length of the filter at the program's rate, flat to 20 kHz there; longer for faster sources, because it must cut at the same frequency.
const TAPS: usize = 64;

/// Filters between two captured samples; from one to the next is a straight line. So many that at 10 kHz the line is off by less than
/// -120 dB: cheaper than a curve through fewer.
const FILTERS: usize = 512;

/// How far the ratio may be from its nominal value: more than steering ever asks for.
const MOST: f64 = 1.01;

pub struct Resampler {
    inner: Async<f32>,
    /// Captured samples that wait, interleaved.
    waiting: Vec<f32>,
    made: Vec<f32>,
    /// Captured samples that the filter has taken in, and where in relation to their end it stands.
    taken: u64,
    index: f64,
    /// Captured samples per sample of the program, at the end of the last block.
    step: f64,
    nominal: f64,
    taps: usize,
}

impl Resampler {
    /// `None` for a rate that no filter can be made for.
    pub fn new(rate_hz: u32) -> Option<Self> {
        let nominal = f64::from(rate_hz) / f64::from(SAMPLE_RATE);
        let taps = (TAPS as f64 * nominal.max(1.0)).ceil() as usize;
        let taps = taps.next_multiple_of(8);
        let parameters = SincInterpolationParameters::new(taps, WindowFunction::Blackman2)
            .oversampling_factor(FILTERS)
            .interpolation(SincInterpolationType::Linear);
        let inner = Async::new_sinc(1.0 / nominal, MOST, &parameters, BLOCK, CHANNELS, FixedAsync::Output).ok()?;
        Some(Self {
            inner,
            waiting: Vec::new(),
            made: vec![0.0; BLOCK * CHANNELS],
            taken: 0,
            index: 1.0 - taps as f64,
            step: nominal,
            nominal,
            taps,
        })
    }

    /// Takes interleaved stereo.
    pub fn push(&mut self, samples: impl IntoIterator<Item = f32>) {
        self.waiting.extend(samples);
    }

    /// Number, among all captured samples that were pushed, of the one that the next sample is made of.
    pub fn place(&self) -> f64 {
        self.taken as f64 + self.index + self.step + (self.taps / 2) as f64 - 1.0
    }

    /// So many samples more than are pushed does the filter look ahead.
    pub fn ahead(&self) -> usize {
        self.taps / 2
    }

    /// The next block, interleaved, if enough was captured for it; by its end `step` captured samples go into one.
    pub fn block(&mut self, step: f64) -> Option<&[f32]> {
        let step = step.clamp(self.nominal / MOST * 1.001, self.nominal * MOST / 1.001);
        self.inner.set_resample_ratio(1.0 / step, true).ok()?;
        let need = self.inner.input_frames_next();
        let have = self.waiting.len() / CHANNELS;
        if need > have {
            return None;
        }
        let input = InterleavedSlice::new(&self.waiting, CHANNELS, have).ok()?;
        let mut output = InterleavedSlice::new_mut(&mut self.made, CHANNELS, BLOCK).ok()?;
        self.inner.process_into_buffer(&input, &mut output, None::<&Indexing>).ok()?;
        self.waiting.drain(..need * CHANNELS);
        self.taken += need as u64;
        // As rubato steps: each step is longer than the last one by the same amount, and the last one is `step`.
        self.index += (self.step + step) / 2.0 * BLOCK as f64 + (step - self.step) / 2.0 - need as f64;
        self.step = step;
        Some(&self.made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ramp tells by its height where it was taken.
    #[test]
    fn the_place_is_where_the_samples_come_from() {
        for rate_hz in [32_000, 44_100, 48_000, 96_000, 192_000] {
            let mut resampler = Resampler::new(rate_hz).unwrap();
            let scale = 1.0 / 65_536.0;
            // Low where it is looked at: a height would be that of the filter's ripple.
            let middle = f64::from(rate_hz / 8);
            resampler.push((0..rate_hz / 4).flat_map(|place| [(f64::from(place) - middle) as f32 * scale; 2]));
            let (mut worst, mut seen) = (0f64, 0);
            for block in 0..45 {
                let place = resampler.place();
                let step = resampler.nominal * (1.0 + 400e-6 * f64::from(block % 3 - 1));
                let first = f64::from(resampler.block(step).unwrap()[0]) / f64::from(scale) + middle;
                if (place - middle).abs() < 2000.0 {
                    (worst, seen) = (worst.max((first - place).abs()), seen + 1);
                }
            }
            // One sample more or less would be 5 µs and more.
            let worst_us = worst / f64::from(rate_hz) * 1e6;
            assert!(seen >= 4 && worst_us < 2.0, "{rate_hz} Hz: {worst_us} µs");
        }
    }

    #[test]
    fn a_block_waits_for_its_samples_and_impossible_rates_are_refused() {
        let mut resampler = Resampler::new(48_000).unwrap();
        assert!(resampler.block(1.0).is_none());
        resampler.push(vec![0.0; 2 * (BLOCK + TAPS)]);
        assert_eq!(resampler.block(f64::INFINITY).map(<[f32]>::len), Some(2 * BLOCK));
        assert!(Resampler::new(0).is_none());
    }
}

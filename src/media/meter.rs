//! The meter: what sound is like, in the figures that people who mix it use. Pure; fed with the program's samples.
//!
//! Peak and RMS per channel of the last complete 100 ms, momentary (400 ms) and short-term (3 s) loudness after EBU R 128, and for
//! how long nothing has been heard. It judges nothing: what counts as too quiet for too long is decided by whoever reads it.

use std::time::Duration;

use ebur128::{EbuR128, Mode};

use crate::media::raw::{CHANNELS, SAMPLE_RATE};

/// Length of a window, in samples of one channel.
const WINDOW: u64 = SAMPLE_RATE as u64 / 10;

/// Lower levels are written as this one: digital silence.
pub const FLOOR_DB: f64 = -100.0;

/// Sound whose RMS is lower on every channel is not heard: hum and hiss of an open input lie below.
pub const AUDIBLE_DBFS: f64 = -60.0;

/// In dBFS (0 is full scale, [`FLOOR_DB`] silence) and LUFS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    pub peak_dbfs: [f64; CHANNELS],
    pub rms_dbfs: [f64; CHANNELS],
    pub momentary_lufs: f64,
    pub short_term_lufs: f64,
}

impl Default for Levels {
    fn default() -> Self {
        let floor = [FLOOR_DB; CHANNELS];
        Self { peak_dbfs: floor, rms_dbfs: floor, momentary_lufs: FLOOR_DB, short_term_lufs: FLOOR_DB }
    }
}

pub struct Meter {
    /// None if it could not be made: then loudness stays at its floor.
    loudness: Option<EbuR128>,
    levels: Levels,
    /// The window that is being filled.
    frames: u64,
    peaks: [u16; CHANNELS],
    squares: [u64; CHANNELS],
    /// Samples since something was heard.
    unheard: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            loudness: EbuR128::new(CHANNELS as u32, SAMPLE_RATE, Mode::S | Mode::M).ok(),
            levels: Levels::default(),
            frames: 0,
            peaks: [0; CHANNELS],
            squares: [0; CHANNELS],
            unheard: 0,
        }
    }
}

impl Meter {
    /// Takes interleaved samples.
    pub fn add(&mut self, samples: &[i16]) {
        if let Some(loudness) = &mut self.loudness {
            let _ = loudness.add_frames_i16(samples);
        }
        for frame in samples.chunks_exact(CHANNELS) {
            for (channel, sample) in frame.iter().enumerate() {
                self.peaks[channel] = self.peaks[channel].max(sample.unsigned_abs());
                self.squares[channel] += u64::from(sample.unsigned_abs()).pow(2);
            }
            self.frames += 1;
            if self.frames == WINDOW {
                self.close_window();
            }
        }
    }

    /// No samples come: the levels fall to their floor.
    pub fn rest(&mut self) {
        let unheard = self.unheard;
        *self = Self { unheard, ..Self::default() };
    }

    pub fn levels(&self) -> Levels {
        let read = |lufs: Option<f64>| lufs.map_or(FLOOR_DB, |lufs| tenths(lufs.max(FLOOR_DB)));
        let loudness = self.loudness.as_ref();
        Levels {
            momentary_lufs: read(loudness.and_then(|meter| meter.loudness_momentary().ok())),
            short_term_lufs: read(loudness.and_then(|meter| meter.loudness_shortterm().ok())),
            ..self.levels
        }
    }

    /// For so long, of what was added, nothing was heard.
    pub fn unheard(&self) -> Duration {
        Duration::from_millis(self.unheard * 1000 / u64::from(SAMPLE_RATE))
    }

    fn close_window(&mut self) {
        let full_scale = f64::from(1 << 15);
        self.levels.peak_dbfs = self.peaks.map(|peak| decibels(f64::from(peak) / full_scale));
        self.levels.rms_dbfs = self.squares.map(|sum| decibels((sum as f64 / WINDOW as f64).sqrt() / full_scale));
        let heard = self.levels.rms_dbfs.iter().any(|rms| *rms >= AUDIBLE_DBFS);
        self.unheard = if heard { 0 } else { self.unheard + WINDOW };
        (self.frames, self.peaks, self.squares) = (0, [0; CHANNELS], [0; CHANNELS]);
    }
}

fn decibels(share: f64) -> f64 {
    tenths((20.0 * share.log10()).max(FLOOR_DB))
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64, peak: [f64; 2], seconds: f64) -> Vec<i16> {
        let sample = |index: usize, peak: f64| {
            let phase = std::f64::consts::TAU * hz * index as f64 / f64::from(SAMPLE_RATE);
            (phase.sin() * peak * 32_767.0).round() as i16
        };
        (0..(seconds * f64::from(SAMPLE_RATE)) as usize).flat_map(|index| peak.map(|peak| sample(index, peak))).collect()
    }

    /// EBU Tech 3341, case 1: a stereo sine of 1 kHz at -23 dBFS is -23.0 ± 0.1 LUFS.
    #[test]
    fn the_reference_signal_reads_as_the_ebu_says() {
        let mut meter = Meter::default();
        meter.add(&sine(1000.0, [10f64.powf(-23.0 / 20.0); 2], 5.0));
        let levels = meter.levels();
        assert!((levels.short_term_lufs + 23.0).abs() <= 0.1, "{levels:?}");
        assert!((levels.momentary_lufs + 23.0).abs() <= 0.1, "{levels:?}");
        assert_eq!((levels.peak_dbfs, levels.rms_dbfs), ([-23.0; 2], [-26.0; 2]));
        assert_eq!(meter.unheard(), Duration::ZERO);
    }

    #[test]
    fn channels_are_apart_and_silence_is_timed() {
        let mut meter = Meter::default();
        meter.add(&sine(1000.0, [0.5, 0.0], 0.2));
        assert_eq!(meter.levels().peak_dbfs, [-6.0, FLOOR_DB]);
        meter.add(&sine(1000.0, [0.0005; 2], 2.0));
        assert_eq!(meter.unheard(), Duration::from_secs(2));
        meter.rest();
        assert_eq!((meter.levels(), meter.unheard()), (Levels::default(), Duration::from_secs(2)));
        meter.add(&sine(1000.0, [0.0, 0.1], 0.1));
        assert_eq!(meter.unheard(), Duration::ZERO);
    }
}

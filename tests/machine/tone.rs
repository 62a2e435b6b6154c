//! The sine that the bench plays, and what of it has become of it in a recording: its pitch, its steadiness, its clicks. Pure.

pub const RATE: u32 = 48_000;

/// It is no divisor of anything in the encoder.
pub const HERTZ: f64 = 441.0;

/// A quarter of full scale.
const PEAK: f64 = 0.25 * 32_767.0;

/// Samples whose phase is looked at together.
const BLOCK: usize = 4800;

pub fn sample(index: u64) -> i16 {
    // Whole periods of 441 Hz fill a second.
    let second = (index % u64::from(RATE)) as f64 / f64::from(RATE);
    (PEAK * (std::f64::consts::TAU * HERTZ * second).sin()).round() as i16
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// How much slower than played.
    pub slower_ppm: f64,
    /// Farthest from a steady pitch, in milliseconds of sound.
    pub wander_ms: f64,
    /// Largest departure of a sample from what its two neighbours say of a sine, as a part of its peak.
    pub click: f64,
    /// Where that was, in seconds.
    pub click_at_s: f64,
    /// Smallest and largest loudness of a block, as parts of what was played.
    pub level: (f64, f64),
}

/// What one hears in these samples, all of which should be the sine.
pub fn hear(samples: &[i16]) -> Heard {
    let blocks: Vec<(f64, f64)> =
        samples.chunks_exact(BLOCK).enumerate().map(|(index, block)| phasor(index * BLOCK, block)).collect();
    let phases = unwrapped(blocks.iter().map(|(_, phase)| *phase));
    let (slope, wander) = line(&phases);
    let per_block = std::f64::consts::TAU * HERTZ * BLOCK as f64 / f64::from(RATE);
    let (click, at) = click(samples, 1.0 + slope / per_block);
    let levels = blocks.iter().map(|(level, _)| level / PEAK);
    let level = levels.fold((f64::MAX, 0.0_f64), |(low, high), level| (low.min(level), high.max(level)));
    Heard {
        slower_ppm: -slope / per_block * 1e6,
        wander_ms: wander / (std::f64::consts::TAU * HERTZ) * 1000.0,
        click,
        click_at_s: at as f64 / f64::from(RATE),
        level,
    }
}

/// Amplitude, and phase against a sine of the right pitch.
fn phasor(start: usize, block: &[i16]) -> (f64, f64) {
    let step = std::f64::consts::TAU * HERTZ / f64::from(RATE);
    let (mut re, mut im) = (0.0, 0.0);
    for (index, sample) in block.iter().enumerate() {
        let angle = step * (start + index) as f64;
        re += f64::from(*sample) * angle.sin();
        im += f64::from(*sample) * angle.cos();
    }
    (2.0 * re.hypot(im) / block.len() as f64, im.atan2(re))
}

fn unwrapped(phases: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut last = 0.0;
    let nearest = |phase: f64| {
        let turns = ((last - phase) / std::f64::consts::TAU).round();
        last = phase + turns * std::f64::consts::TAU;
        last
    };
    phases.map(nearest).collect()
}

/// Slope of the line through the points, and the farthest point's distance from it.
fn line(points: &[f64]) -> (f64, f64) {
    let n = points.len() as f64;
    let middle = (n - 1.0) / 2.0;
    let mean = points.iter().sum::<f64>() / n;
    let spread: f64 = (0..points.len()).map(|x| (x as f64 - middle).powi(2)).sum();
    let slope = points.iter().enumerate().map(|(x, y)| (x as f64 - middle) * (y - mean)).sum::<f64>() / spread;
    let off = points.iter().enumerate().map(|(x, y)| (y - mean - slope * (x as f64 - middle)).abs());
    (slope, off.fold(0.0, f64::max))
}

/// A sine of pitch w obeys x[n+1] + x[n-1] = 2·cos(w)·x[n]; a click does not.
fn click(samples: &[i16], pitch: f64) -> (f64, usize) {
    let factor = 2.0 * (std::f64::consts::TAU * HERTZ * pitch / f64::from(RATE)).cos();
    let off =
        samples.windows(3).map(|three| (f64::from(three[2]) + f64::from(three[0]) - factor * f64::from(three[1])).abs() / PEAK);
    off.enumerate().fold((0.0, 0), |(most, at), (index, off)| if off > most { (off, index) } else { (most, at) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(count: u64) -> Vec<i16> {
        (0..count).map(sample).collect()
    }

    #[test]
    fn what_was_played_is_heard_as_it_was() {
        let heard = hear(&played(480_000));
        assert!(heard.slower_ppm.abs() < 0.1 && heard.wander_ms < 0.001 && heard.click < 0.001, "{heard:?}");
        assert!(heard.level.0 > 0.99 && heard.level.1 < 1.01, "{heard:?}");
    }

    #[test]
    fn a_slower_source_is_measured() {
        let slow = |index: u64| (PEAK * (std::f64::consts::TAU * HERTZ * index as f64 / 48_000.0 / 1.0002).sin()).round() as i16;
        let heard = hear(&(0..960_000).map(slow).collect::<Vec<_>>());
        assert!((heard.slower_ppm - 200.0).abs() < 0.2 && heard.click < 0.001, "{heard:?}");
    }

    #[test]
    fn one_sample_that_is_missing_or_twice_where_the_sine_is_steep_is_a_click_as_is_a_hole() {
        for at in [100_020, 100_027, 100_075] {
            let (mut missing, mut twice, mut hole) = (played(480_000), played(480_000), played(480_000));
            missing.remove(at);
            twice.insert(at, twice[at]);
            hole[at..at + 480].fill(0);
            let found = [hear(&missing), hear(&twice), hear(&hole)];
            assert!(found.iter().all(|heard| (heard.click_at_s - at as f64 / 48_000.0).abs() < 0.02), "{found:?}");
            assert!(found.iter().all(|heard| heard.click > 0.01), "{found:?}");
        }
    }
}

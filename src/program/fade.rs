//! The fade's rule: how much of each input is in the program at a moment. Pure; it knows no picture and no sample.
//!
//! ```text
//!  share                 switch B         switch C, in the middle
//!    1 ┤ A ────────────┐                                    ┌────────── C
//!      │                ╲          ╱╲ B                   ╱
//!      │                  ╲      ╱    ╲               ╱
//!    0 ┤ ───────────────────╳─────────────────────────╳──────── A, B
//! ```
//!
//! Every input has a share, all shares together are always 1, and a fade leads each one in a straight line from what it is to what
//! it shall be. So a switch in the middle of a fade goes on from what is shown, back to where it came from too, and no number of
//! switches can make the mix jump. The same rule serves pictures (positions are ticks) and sound (positions are samples).
//!
//! Sound is faded in a straight line too, not with equal power: two inputs of one event often carry the same sound, which equal
//! power would make 3 dB louder in the middle; shares of 1 can never clip, without a limiter. What it costs: unlike sounds dip
//! by 3 dB in the middle of a fade.

/// Shares of all inputs, each by its index.
#[derive(Clone, Debug)]
pub struct Fade {
    /// The shares when the last fade began.
    from: Vec<f32>,
    target: usize,
    begin: u64,
    /// In positions; 0 is a cut.
    length: u64,
}

impl Fade {
    /// Of so many inputs, this one alone.
    pub fn new(inputs: usize, target: usize) -> Self {
        Self { from: alone(inputs, target), target, begin: 0, length: 0 }
    }

    /// Where the fade leads, or has led.
    pub fn target(&self) -> usize {
        self.target
    }

    /// From `begin` on, to this input alone, which is reached `length` later.
    pub fn start(&mut self, target: usize, begin: u64, length: u64) {
        self.from = (0..self.from.len()).map(|input| self.share(input, begin)).collect();
        (self.target, self.begin, self.length) = (target, begin, length);
    }

    /// From 0 to 1.
    pub fn share(&self, input: usize, at: u64) -> f32 {
        let passed = at.saturating_sub(self.begin);
        let goal = if input == self.target { 1.0 } else { 0.0 };
        if passed >= self.length {
            return goal;
        }
        let progress = passed as f32 / self.length as f32;
        self.from[input] + (goal - self.from[input]) * progress
    }

    /// Inputs that are in the mix at this position, in the order of their indices.
    pub fn present(&self, at: u64) -> impl Iterator<Item = usize> + '_ {
        (0..self.from.len()).filter(move |input| self.share(*input, at) > 0.0)
    }

    pub fn is_over(&self, at: u64) -> bool {
        at.saturating_sub(self.begin) >= self.length
    }
}

fn alone(inputs: usize, target: usize) -> Vec<f32> {
    (0..inputs).map(|input| if input == target { 1.0 } else { 0.0 }).collect()
}

/// Both fades of the program, moved together.
#[derive(Clone, Debug)]
pub struct Mix {
    pub picture: Fade,
    pub sound: Fade,
}

/// Sound never changes faster than this, also at a cut: a step in a wave is a click. In samples, 5 ms.
pub const SOFT: u64 = 240;

impl Mix {
    pub fn new(inputs: usize, target: usize) -> Self {
        Self { picture: Fade::new(inputs, target), sound: Fade::new(inputs, target) }
    }

    /// Shows `target` from this tick on, after so many mixed `frames`. `samples`: from the index of the tick's first sample to that
    /// of the first sample after the fade.
    pub fn start(&mut self, target: usize, tick: u64, frames: u64, samples: (u64, u64)) {
        // The tick before the first mixed picture is the last one of the old mix.
        let length = if frames == 0 { 0 } else { frames + 1 };
        let begin = if frames == 0 { tick } else { tick.saturating_sub(1) };
        self.picture.start(target, begin, length);
        self.sound.start(target, samples.0, (samples.1 - samples.0).max(SOFT));
    }
}

/// Adds an input's samples to the mix, by its share; `first` is the index of the first of them.
pub fn add_sound(mix: &mut [f32], samples: &[i16], channels: usize, fade: &Fade, input: usize, first: u64) {
    for (offset, (mixed, frame)) in mix.chunks_exact_mut(channels).zip(samples.chunks_exact(channels)).enumerate() {
        let share = fade.share(input, first + offset as u64);
        for (mixed, sample) in mixed.iter_mut().zip(frame) {
            *mixed += share * f32::from(*sample);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(fade: &Fade, at: u64) -> Vec<f32> {
        (0..fade.from.len()).map(|input| fade.share(input, at)).collect()
    }

    #[test]
    fn a_fade_of_n_frames_mixes_n_pictures_in_even_steps() {
        let mut mix = Mix::new(2, 0);
        mix.start(1, 100, 3, (0, 4800));
        let new: Vec<_> = (99..105).map(|tick| mix.picture.share(1, tick)).collect();
        assert_eq!(new, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!(mix.picture.present(102).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(mix.picture.present(103).collect::<Vec<_>>(), [1]);
        assert!(!mix.picture.is_over(102) && mix.picture.is_over(103));
    }

    #[test]
    fn a_cut_is_one_in_the_picture_and_soft_in_the_sound() {
        let mut mix = Mix::new(2, 0);
        mix.start(1, 100, 0, (4800, 4800));
        assert_eq!((mix.picture.share(0, 100), mix.picture.share(1, 100)), (0.0, 1.0));
        assert_eq!(mix.sound.share(1, 4800), 0.0);
        assert_eq!(mix.sound.share(1, 4800 + SOFT / 2), 0.5);
        assert_eq!(mix.sound.share(1, 4800 + SOFT), 1.0);
    }

    #[test]
    fn a_switch_back_in_the_middle_turns_round_where_it_is() {
        let mut fade = Fade::new(3, 0);
        fade.start(1, 0, 10);
        fade.start(0, 4, 10);
        assert_eq!(shares(&fade, 4), [0.6, 0.4, 0.0]);
        assert_eq!(shares(&fade, 9), [0.8, 0.2, 0.0]);
        fade.start(2, 9, 0);
        assert_eq!(shares(&fade, 9), [0.0, 0.0, 1.0]);
    }

    /// A wave as loud as can be, of this frequency, from an index on.
    fn wave(hertz: f64, first: u64, count: usize) -> Vec<i16> {
        let sample = |index: u64| (std::f64::consts::TAU * hertz * index as f64 / 48_000.0).sin() * 32_000.0;
        (0..count as u64).map(|offset| sample(first + offset) as i16).collect()
    }

    /// The largest step between neighbours of what is heard, over two ticks of 1600 samples with a switch between them.
    fn largest_step(mut switch: impl FnMut(&mut Mix)) -> f32 {
        let mut mix = Mix::new(2, 0);
        let mut heard = Vec::new();
        for tick in 0..2u64 {
            if tick == 1 {
                switch(&mut mix);
            }
            let mut out = vec![0.0; 1600];
            // In the second tick the one is at its crest where the other one is in its trough.
            add_sound(&mut out, &wave(440.0, tick * 1600, 1600), 1, &mix.sound, 0, tick * 1600);
            add_sound(&mut out, &wave(443.0, tick * 1600 + 77, 1600), 1, &mix.sound, 1, tick * 1600);
            heard.extend(out);
        }
        heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
    }

    /// The steepest step that a wave of 443 Hz makes by itself is 2·π·443/48000 of its height: 1856.
    #[test]
    fn a_cut_between_two_waves_does_not_click() {
        let bare = largest_step(|mix| mix.sound.start(1, 1600, 0));
        assert!(bare > 10_000.0, "without softness there is a step of {bare}: this test can fail");
        let cut = largest_step(|mix| mix.start(1, 1, 0, (1600, 1600)));
        assert!(cut < 1856.0 * 1.2, "a step of {cut}");
        let fade = largest_step(|mix| mix.start(1, 1, 1, (1600, 3200)));
        assert!(fade < 1856.0 * 1.05, "a step of {fade}");
    }

    proptest! {
        /// Whatever is switched, and when: the shares are always a whole, and none ever moves faster than the quickest fade.
        #[test]
        fn shares_are_a_whole_and_never_jump(
            switches in prop::collection::vec((0usize..4, 0u64..30, 5u64..40), 1..20),
        ) {
            let mut fade = Fade::new(4, 0);
            let (mut at, mut before) = (0, shares(&fade, 0));
            for (target, pause, length) in switches {
                fade.start(target, at, length);
                for _ in 0..pause {
                    let now = shares(&fade, at);
                    let sum: f32 = now.iter().sum();
                    prop_assert!((sum - 1.0).abs() < 1e-4, "{now:?}");
                    prop_assert!(now.iter().zip(&before).all(|(now, before)| (now - before).abs() <= 0.2 + 1e-4));
                    before = now;
                    at += 1;
                }
            }
            prop_assert_eq!(fade.present(at + 40).count(), 1);
        }
    }
}

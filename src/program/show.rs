//! What one tick sends: the inputs that are on air, each synchronised live, mixed into one picture and one sound.
//!
//! ```text
//!            switch, and the input has a picture (or patience ends)        fade over
//!   one input ──────────────────────────────────────────────▶ several ────────────────▶ one input
//!                                                             ▲     │ another switch: on from what is shown
//!                                                             └─────┘
//! ```
//!
//! How much of each is the rule of [`fade`](crate::program::fade); caps, rate and time stamps are the same whatever is mixed.

use std::time::Duration;

use gstreamer as gst;

use crate::media::raw::{CHANNELS, sample_index};
use crate::program::blend::Blender;
use crate::program::fade::{self, Mix};
use crate::program::source::Source;
use crate::program::sync::Choice;
use crate::program::ticker::Ticker;
use crate::units::MediaTime;

/// How long a switch waits for the new input's first picture before it is done without one.
const SWITCH_PATIENCE: Duration = Duration::from_secs(2);

/// The ticker with what it remembers from tick to tick.
pub(super) struct Show {
    pub ticker: Ticker,
    /// One for each input.
    sources: Vec<Source>,
    mix: Mix,
    blender: Blender,
    /// The next picture that the encoder takes is a keyframe whatever its number: the first one, and after one was missed.
    owes_keyframe: bool,
    scratch: Scratch,
}

/// So that a tick allocates nothing of its own.
#[derive(Default)]
struct Scratch {
    /// Inputs in the picture now, those that were in the last one, those that leave.
    present: Vec<usize>,
    before: Vec<usize>,
    leaving: Vec<usize>,
    one: Vec<i16>,
    mixed: Vec<f32>,
    samples: Vec<i16>,
}

impl Show {
    pub fn new(ticker: Ticker) -> Self {
        let tick = ticker.format.framerate.frame_duration();
        let source = |channel: &super::Channel| Source::new(channel.clone(), tick, &ticker.slate);
        let sources: Vec<_> = ticker.channels.iter().map(source).collect();
        let mix = Mix::new(sources.len(), ticker.start);
        let blender = Blender::new(&ticker.format);
        Self { ticker, sources, mix, blender, owes_keyframe: true, scratch: Scratch::default() }
    }

    pub fn owe_keyframe(&mut self) {
        self.owes_keyframe = true;
    }

    pub fn tick(&mut self, index: u64) {
        let time = self.ticker.format.framerate.time_of(index);
        let wanted = time.saturating_sub(self.ticker.latency);
        self.settle_switch(wanted, index);
        let choice = self.choose(wanted, index);
        let picture = self.picture(index);
        let keyframe = self.owes_keyframe || index.is_multiple_of(self.ticker.gop);
        let taken = self.ticker.encoders.push_picture(&picture, time, keyframe);
        self.owes_keyframe = keyframe && !taken;
        let peaks = self.send_sound(index);
        self.note(choice, taken, peaks);
    }

    /// Begins a switch that was asked for, once its input has a picture that fits (or never will, it seems).
    fn settle_switch(&mut self, wanted: MediaTime, index: u64) {
        let mut state = self.ticker.desk.state();
        let Some(switch) = state.wanted.as_mut() else { return };
        let (input, frames) = (switch.input, switch.frames);
        let asked_at = *switch.since.get_or_insert(wanted);
        let late = wanted.since(asked_at) > SWITCH_PATIENCE;
        if !late && !self.sources[input].is_ready(wanted) {
            return;
        }
        state.wanted = None;
        drop(state);
        self.begin(input, frames, index);
    }

    fn begin(&mut self, input: usize, frames: u64, index: u64) {
        // On air already, or just leaving: it goes on as it is.
        if self.mix.picture.share(input, index) == 0.0 {
            self.sources[input].reset(&self.ticker.slate);
        }
        self.mix.start(input, index, frames, (self.first_sample(index), self.first_sample(index + frames)));
    }

    /// Every input in the picture chooses what is shown of it; the choice of the one that stays.
    fn choose(&mut self, wanted: MediaTime, index: u64) -> Choice {
        let Scratch { present, before, leaving, .. } = &mut self.scratch;
        let target = self.mix.picture.target();
        std::mem::swap(present, before);
        present.clear();
        present.extend(self.mix.picture.present(index));
        for input in before.iter().filter(|input| !present.contains(input)) {
            // Its last picture goes back to where it came from.
            self.sources[*input].reset(&self.ticker.slate);
        }
        leaving.clear();
        leaving.extend(present.iter().filter(|input| **input != target));
        let (fading, mut choice) = (!self.mix.picture.is_over(index), Choice::Slate);
        for &input in present.iter() {
            let chosen = self.sources[input].choose(wanted, fading, &self.ticker.slate);
            if input == target {
                choice = chosen;
            }
        }
        choice
    }

    /// One picture of all that are present: each is laid over those before it, by its share in what they are together.
    fn picture(&mut self, index: u64) -> gst::Buffer {
        let mut layers = self.scratch.present.iter().map(|&input| (input, self.mix.picture.share(input, index)));
        let Some((first, mut together)) = layers.next() else { return self.ticker.slate.clone() };
        let mut picture = self.sources[first].picture().clone();
        for (input, share) in layers {
            together += share;
            // One that cannot be mixed is left out until it is alone.
            if let Some(mixed) = self.blender.blend(&picture, self.sources[input].picture(), share / together) {
                picture = mixed;
            }
        }
        picture
    }

    fn send_sound(&mut self, index: u64) -> [u16; CHANNELS] {
        let (first, end) = (self.first_sample(index), self.first_sample(index + 1));
        let length = (end - first) as usize * CHANNELS;
        self.scratch.samples.clear();
        self.scratch.samples.resize(length, 0);
        if let Some(from) = first.checked_sub(sample_index(MediaTime::ZERO + self.ticker.latency)) {
            self.read_sound(first, from);
        }
        let samples = &self.scratch.samples;
        self.ticker.encoders.push_sound(first, samples);
        let mut peaks = [0; CHANNELS];
        for frame in samples.chunks_exact(CHANNELS) {
            for (peak, sample) in peaks.iter_mut().zip(frame) {
                *peak = (*peak).max(sample.unsigned_abs());
            }
        }
        peaks
    }

    /// The sound of one input as it is, or of several mixed. `first` is where it goes on the program's time line, `from` where it
    /// stands on the inputs'.
    fn read_sound(&mut self, first: u64, from: u64) {
        let Scratch { one, mixed, samples, .. } = &mut self.scratch;
        let fade = &self.mix.sound;
        if fade.is_over(first) {
            return self.sources[fade.target()].read_sound(from, samples);
        }
        mixed.clear();
        mixed.resize(samples.len(), 0.0);
        one.resize(samples.len(), 0);
        for (input, source) in self.sources.iter().enumerate() {
            if fade.share(input, first) > 0.0 || input == fade.target() {
                source.read_sound(from, one);
                fade::add_sound(mixed, one, CHANNELS, fade, input, first);
            }
        }
        for (sample, mixed) in samples.iter_mut().zip(mixed) {
            *sample = mixed.round() as i16;
        }
    }

    fn note(&mut self, choice: Choice, taken: bool, peaks: [u16; CHANNELS]) {
        let mut state = self.ticker.desk.state();
        let figures = &mut state.figures;
        let (input, leaving) = (Some(self.mix.picture.target()), &self.scratch.leaving);
        let news = figures.input != input || figures.shows != choice.shows() || figures.fading_out != *leaving;
        if news {
            (figures.input, figures.shows) = (input, choice.shows());
            figures.fading_out.clone_from(leaving);
        }
        figures.frames += 1;
        figures.repeated += u64::from(matches!(choice, Choice::Repeat | Choice::Hold));
        figures.dropped += u64::from(!taken);
        for (loudest, peak) in figures.peaks.iter_mut().zip(peaks) {
            *loudest = (*loudest).max(peak);
        }
        drop(state);
        if news {
            self.ticker.desk.ring();
        }
    }

    /// The index of a tick's first sample.
    fn first_sample(&self, index: u64) -> u64 {
        sample_index(self.ticker.format.framerate.time_of(index))
    }
}

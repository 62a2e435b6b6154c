//! The program's heart: a thread that wakes once per frame and sends one picture and its sound to the encoder.
//!
//! A shell: when to wake comes from the monotonic clock, what to show from [`Synchroniser`], and nothing here waits for
//! anyone.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::clock::MediaClock;
use crate::media::raw::{CHANNELS, Feed, Frame, RawFormat, sample_index};
use crate::program::encoders::Encoders;
use crate::program::sync::{Choice, Synchroniser, next_tick};
use crate::status::Shows;
use crate::units::MediaTime;

/// How long a switch waits for the new input's first picture before it is done without one.
const SWITCH_PATIENCE: Duration = Duration::from_secs(2);

/// One input as the program sees it.
#[derive(Clone)]
pub struct Channel {
    pub name: String,
    pub feed: Feed,
    /// How long its last picture stands before the slate.
    pub hold: Duration,
}

/// What the ticker is told, and what it tells; the lock is held for a few assignments.
#[derive(Clone, Default)]
pub struct Desk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The switch that waits for its picture.
    wanted: Option<(Channel, Option<MediaTime>)>,
    figures: Figures,
}

/// What happened so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub input: String,
    pub shows: Shows,
    pub frames: u64,
    pub repeated: u64,
    pub dropped: u64,
    /// Loudest samples since the figures were last read, per channel.
    pub peaks: [u16; CHANNELS],
}

impl Desk {
    /// Asks for an input; it is on air from its first fitting picture on.
    pub fn switch(&self, channel: Channel) {
        self.state().wanted = Some((channel, None));
    }

    /// The figures; peaks start anew.
    pub fn figures(&self) -> Figures {
        let mut state = self.state();
        let figures = state.figures.clone();
        state.figures.peaks = [0; CHANNELS];
        figures
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// All that a tick needs.
pub struct Ticker {
    pub clock: MediaClock,
    pub format: RawFormat,
    pub latency: Duration,
    /// Frames from one keyframe to the next.
    pub gop: u64,
    pub slate: gst::Buffer,
    pub encoders: Arc<Encoders>,
    pub desk: Desk,
    pub channel: Channel,
}

impl Ticker {
    /// Ticks until it is told to stop.
    pub fn run(self, stop: &CancellationToken) {
        let rate = self.format.framerate;
        let mut index = rate.index_at(self.clock.now()) + 1;
        let mut show = Show::new(self);
        while !stop.is_cancelled() {
            show.ticker.wait_until(rate.time_of(index));
            show.tick(index);
            let next = next_tick(rate, index, show.ticker.clock.now());
            show.owes_keyframe |= next > index + 1;
            index = next;
        }
    }

    fn wait_until(&self, time: MediaTime) {
        let at = self.clock.epoch() + gst::ClockTime::from_nseconds(time.nanos());
        let _ = self.clock.gst_clock().new_single_shot_id(at).wait();
    }
}

/// The ticker with what it remembers from tick to tick.
struct Show {
    ticker: Ticker,
    sync: Synchroniser,
    /// The picture that went out last.
    last: gst::Buffer,
    /// The next picture that the encoder takes is a keyframe whatever its number: the first one, and after one was missed.
    owes_keyframe: bool,
    /// Scratch, so that a tick allocates nothing for its choice.
    times: Vec<MediaTime>,
    samples: Vec<i16>,
}

impl Show {
    fn new(ticker: Ticker) -> Self {
        let sync = Synchroniser::new(ticker.format.framerate.frame_duration());
        let last = ticker.slate.clone();
        Self { ticker, sync, last, owes_keyframe: true, times: vec![], samples: vec![] }
    }

    fn tick(&mut self, index: u64) {
        let time = self.ticker.format.framerate.time_of(index);
        let wanted = time.saturating_sub(self.ticker.latency);
        self.settle_switch(wanted);
        let choice = self.choose(wanted);
        let keyframe = self.owes_keyframe || index.is_multiple_of(self.ticker.gop);
        let taken = self.ticker.encoders.push_picture(&self.last, time, keyframe);
        self.owes_keyframe = keyframe && !taken;
        let peaks = self.send_sound(time, index);
        self.note(choice, taken, peaks);
    }

    /// Does a switch that was asked for, once its input has a picture that fits (or never will, it seems).
    fn settle_switch(&mut self, wanted: MediaTime) {
        let mut state = self.ticker.desk.state();
        let Some((channel, since)) = state.wanted.as_mut() else { return };
        let asked_at = *since.get_or_insert(wanted);
        read_times(&channel.feed, &mut self.times);
        let ready = self.sync.best(wanted, Duration::ZERO, &self.times).is_some();
        if ready || wanted.since(asked_at) > SWITCH_PATIENCE {
            self.ticker.channel = channel.clone();
            state.wanted = None;
            self.sync.switch();
        }
    }

    /// Leaves the chosen picture in `last`.
    fn choose(&mut self, wanted: MediaTime) -> Choice {
        let Channel { feed, hold, .. } = &self.ticker.channel;
        read_times(feed, &mut self.times);
        let choice = self.sync.choose(wanted, *hold, &self.times);
        match choice {
            Choice::Take(index) => {
                if let Some(frame) = take(feed, self.times[index]) {
                    self.last = frame.buffer;
                }
            }
            Choice::Slate => self.last = self.ticker.slate.clone(),
            Choice::Repeat | Choice::Hold => {}
        }
        choice
    }

    fn send_sound(&mut self, time: MediaTime, index: u64) -> [u16; CHANNELS] {
        let first = sample_index(time);
        let end = sample_index(self.ticker.format.framerate.time_of(index + 1));
        self.samples.clear();
        self.samples.resize((end - first) as usize * CHANNELS, 0);
        if let Some(from) = first.checked_sub(sample_index(MediaTime::ZERO + self.ticker.latency)) {
            self.ticker.channel.feed.read_sound(from, &mut self.samples);
        }
        self.ticker.encoders.push_sound(first, &self.samples);
        let mut peaks = [0; CHANNELS];
        for frame in self.samples.chunks_exact(CHANNELS) {
            for (peak, sample) in peaks.iter_mut().zip(frame) {
                *peak = (*peak).max(sample.unsigned_abs());
            }
        }
        peaks
    }

    fn note(&self, choice: Choice, taken: bool, peaks: [u16; CHANNELS]) {
        let mut state = self.ticker.desk.state();
        let figures = &mut state.figures;
        if figures.input != self.ticker.channel.name {
            figures.input.clone_from(&self.ticker.channel.name);
        }
        figures.shows = choice.shows();
        figures.frames += 1;
        figures.repeated += u64::from(matches!(choice, Choice::Repeat | Choice::Hold));
        figures.dropped += u64::from(!taken);
        for (loudest, peak) in figures.peaks.iter_mut().zip(peaks) {
            *loudest = (*loudest).max(peak);
        }
    }
}

fn read_times(feed: &Feed, times: &mut Vec<MediaTime>) {
    times.clear();
    feed.with_frames(|frames| times.extend(frames.iter().map(|frame| frame.time)));
}

/// The picture of this time, whose predecessors are forgotten; it stays in the feed, as it may be repeated.
fn take(feed: &Feed, time: MediaTime) -> Option<Frame> {
    feed.with_frames(|frames| {
        let index = frames.iter().position(|frame| frame.time == time)?;
        frames.drain(..index);
        frames.front().cloned()
    })
}

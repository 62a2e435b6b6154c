//! The program's heart: a thread that wakes once per frame and has one picture and its sound sent to the encoder.
//!
//! A shell: when to wake comes from the monotonic clock, what to show from [`Show`], and nothing here waits for anyone.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::MediaClock;
use crate::media::raw::{CHANNELS, RawFormat};
use crate::program::encoders::Encoders;
use crate::program::show::Show;
use crate::program::source::Channel;
use crate::program::sync::next_tick;
use crate::status::Shows;
use crate::units::MediaTime;

/// A switch that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    /// The input's index.
    pub input: usize,
    /// Frames in which the old and the new one are mixed; 0 is a cut.
    pub frames: u64,
    /// Since when it waits for the input's first picture.
    pub since: Option<MediaTime>,
}

/// What the ticker is told, and what it tells; the lock is held for a few assignments.
#[derive(Clone, Default)]
pub struct Desk {
    state: Arc<Mutex<State>>,
    /// Rings when what is shown has changed.
    bell: Arc<Notify>,
}

#[derive(Default)]
pub(super) struct State {
    /// The switch that waits for its picture.
    pub wanted: Option<Switch>,
    pub figures: Figures,
}

/// What happened so far; inputs by their indices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub input: Option<usize>,
    /// Inputs that are still in the picture while another one is faded in.
    pub fading_out: Vec<usize>,
    pub shows: Shows,
    pub frames: u64,
    pub repeated: u64,
    pub dropped: u64,
    /// Loudest samples since the figures were last read, per channel.
    pub peaks: [u16; CHANNELS],
}

impl Desk {
    /// Asks for an input; it is on air from its first fitting picture on.
    pub fn switch(&self, input: usize, frames: u64) {
        self.state().wanted = Some(Switch { input, frames, since: None });
    }

    /// The figures; peaks start anew.
    pub fn figures(&self) -> Figures {
        let mut state = self.state();
        let figures = state.figures.clone();
        state.figures.peaks = [0; CHANNELS];
        figures
    }

    /// The figures as they are; peaks go on.
    pub fn look(&self) -> Figures {
        self.state().figures.clone()
    }

    /// Comes when what is shown has changed.
    pub async fn changed(&self) {
        self.bell.notified().await;
    }

    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
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
    pub channels: Vec<Channel>,
    /// Which of them is shown first.
    pub start: usize,
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
            if next > index + 1 {
                show.owe_keyframe();
            }
            index = next;
        }
    }

    fn wait_until(&self, time: MediaTime) {
        let at = self.clock.epoch() + gst::ClockTime::from_nseconds(time.nanos());
        let _ = self.clock.gst_clock().new_single_shot_id(at).wait();
    }
}

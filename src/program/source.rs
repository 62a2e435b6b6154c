//! One input as the program sees it: its feed, a frame synchroniser of its own, and the picture of it that is shown.
//!
//! Each input that is on air, also while it is being faded out, is synchronised live. One that is not has no past here: it
//! begins anew when it is taken.

use std::time::Duration;

use gstreamer as gst;

use crate::media::raw::{Feed, Frame};
use crate::program::sync::{Choice, Synchroniser};
use crate::units::MediaTime;

/// An input's way into the program.
#[derive(Clone)]
pub struct Channel {
    pub name: String,
    pub feed: Feed,
    /// How long its last picture stands before the slate.
    pub hold: Duration,
}

pub(super) struct Source {
    channel: Channel,
    tick: Duration,
    sync: Synchroniser,
    /// What is shown of it: its last picture, or the slate.
    picture: gst::Buffer,
    blank: bool,
    /// Scratch, so that a tick allocates nothing for its choice.
    times: Vec<MediaTime>,
}

impl Source {
    pub fn new(channel: Channel, tick: Duration, slate: &gst::Buffer) -> Self {
        Self { channel, tick, sync: Synchroniser::new(tick), picture: slate.clone(), blank: true, times: vec![] }
    }

    /// Forgets what was shown of it.
    pub fn reset(&mut self, slate: &gst::Buffer) {
        self.sync = Synchroniser::new(self.tick);
        self.show_slate(slate);
    }

    fn show_slate(&mut self, slate: &gst::Buffer) {
        self.picture = slate.clone();
        self.blank = true;
    }

    /// It has a picture that could be shown now.
    pub fn is_ready(&mut self, wanted: MediaTime) -> bool {
        self.read_times();
        self.sync.best(wanted, Duration::ZERO, &self.times).is_some()
    }

    /// Chooses what is shown of it. During a fade an input that has stopped keeps its last picture; otherwise the slate takes
    /// its place in time.
    pub fn choose(&mut self, wanted: MediaTime, fading: bool, slate: &gst::Buffer) -> Choice {
        self.read_times();
        let choice = self.sync.choose(wanted, self.channel.hold, &self.times);
        match choice {
            Choice::Take(index) => {
                if let Some(frame) = take(&self.channel.feed, self.times[index]) {
                    self.picture = frame.buffer;
                    self.blank = false;
                }
            }
            Choice::Slate if fading && !self.blank => return Choice::Hold,
            Choice::Slate => self.show_slate(slate),
            Choice::Repeat | Choice::Hold => {}
        }
        choice
    }

    pub fn picture(&self) -> &gst::Buffer {
        &self.picture
    }

    pub fn read_sound(&self, from: u64, samples: &mut [i16]) {
        self.channel.feed.read_sound(from, samples);
    }

    fn read_times(&mut self) {
        self.times.clear();
        self.channel.feed.with_frames(|frames| self.times.extend(frames.iter().map(|frame| frame.time)));
    }
}

/// The picture of this time, whose predecessors are forgotten; it stays in the feed, as it may be repeated.
fn take(feed: &Feed, time: MediaTime) -> Option<Frame> {
    feed.with_frames(|frames| {
        let index = frames.iter().position(|frame| frame.time == time)?;
        frames.drain(..index);
        frames.front().cloned()
    })
}

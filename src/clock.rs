//! The program's clock: nanoseconds of CLOCK_MONOTONIC since the program's epoch. The one place that reads it for media.
//!
//! GStreamer's system clock is the same CLOCK_MONOTONIC, so that every pipeline given [`MediaClock::gst_clock`] and
//! [`MediaClock::epoch`] as its base time stamps its buffers on this very time line. Wall time never enters; it is an annotation
//! for people and other machines, and [`wall_clock`] is the one place that reads it.

use gst::prelude::*;
use gstreamer as gst;

use crate::units::MediaTime;

/// May jump at any time: what segments are called and pictures are marked with. Nothing is timed by it.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn wall_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[derive(Clone, Debug)]
pub struct MediaClock {
    clock: gst::Clock,
    epoch: gst::ClockTime,
}

impl MediaClock {
    /// The epoch is now. GStreamer must have been initialised.
    pub fn start() -> Self {
        let clock = gst::SystemClock::obtain();
        let epoch = clock.time();
        Self { clock, epoch }
    }

    pub fn now(&self) -> MediaTime {
        MediaTime::from_nanos(self.clock.time().saturating_sub(self.epoch).nseconds())
    }

    /// One moment on both clocks. The wall clock stands between two readings of this one, so that it does not matter much if the
    /// thread is held up in between.
    pub fn with_wall_clock(&self) -> (MediaTime, jiff::Timestamp) {
        let before = self.now();
        let wall = wall_clock();
        (before + self.now().since(before) / 2, wall)
    }

    pub fn gst_clock(&self) -> &gst::Clock {
        &self.clock
    }

    pub fn epoch(&self) -> gst::ClockTime {
        self.epoch
    }
}

/// [`wall_clock`] as RFC 3339 writes it, to the second.
pub fn wall_time() -> String {
    wall_clock().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

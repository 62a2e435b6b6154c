//! The program's clock: nanoseconds of CLOCK_MONOTONIC since the program's epoch. The one place that reads it for media.
//!
//! GStreamer's system clock is the same CLOCK_MONOTONIC, so that every pipeline given [`MediaClock::gst_clock`] and
//! [`MediaClock::epoch`] as its base time stamps its buffers on this very time line. Wall time never enters.

use gst::prelude::*;
use gstreamer as gst;

use crate::units::MediaTime;

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

    pub fn gst_clock(&self) -> &gst::Clock {
        &self.clock
    }

    pub fn epoch(&self) -> gst::ClockTime {
        self.epoch
    }
}

/// Wall time as RFC 3339 writes it, to the second: an annotation that may be wrong and that nothing depends on.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it as an annotation")]
pub fn wall_time() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

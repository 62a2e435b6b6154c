//! The seam between what is done with sound and the device that it comes from, as [`crate::capture::card`] is for pictures.
//!
//! The ALSA shell is one [`SoundCard`], a test's pretended card another; the room cannot tell them apart. All calls are made
//! on the sound's own thread and may block for as long as a driver takes, `read` no longer than its limit. Nothing here
//! decides anything.

use std::time::Duration;

use thiserror::Error;

/// Where sound cards come from.
pub trait SoundCards: Send + Sync {
    /// Opens a device by its stable name, such as "hw:CARD=Capture".
    fn open(&self, name: &str) -> Result<Box<dyn SoundCard>, Fault>;
}

/// One open sound device. Dropped, it is closed: no descriptor of it is left.
pub trait SoundCard {
    /// Agrees on a format and starts; the rate is the one that the device has now.
    fn start(&mut self) -> Result<Native, Fault>;

    /// Puts what was captured since the last call into `samples`, interleaved, full scale ±1, in place of what was there; or
    /// says what else happened, [`Wake::Nothing`] after `limit`.
    fn read(&mut self, limit: Duration, samples: &mut Vec<f32>) -> Result<Wake, Fault>;

    /// Ends the stream; after it `start` is possible again. Harmless when nothing runs.
    fn stop(&mut self);
}

/// What a device delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Native {
    /// Samples per second of its own clock, as it believes.
    pub rate_hz: u32,
    /// Never 0.
    pub channels: u32,
}

/// What [`SoundCard::read`] woke for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Samples were put into the buffer; the first one was captured at this time on CLOCK_MONOTONIC.
    Sound(Duration),
    /// Samples were lost, nobody knows how many; what comes next is later than it seems.
    Overrun,
    Nothing,
}

/// Why a device gives no sound.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    #[error("sound device {0} is not there; plug it in, or correct `audio` (`arecord -L` lists the names)")]
    Absent(String),
    #[error("the sound device has gone; it is taken again when it comes back")]
    Gone,
    #[error("another program uses sound device {0}; stop that program, or choose another `audio`")]
    Busy(String),
    /// It offers nothing that can be used; the sentence says what it offers.
    #[error("{0}")]
    Unusable(String),
    #[error("the sound device stands still: no sample for {} s; it is started again", .0.as_secs())]
    Still(Duration),
    /// A call to the driver failed.
    #[error("sound: {call}: {cause}; it is tried again")]
    Driver { call: String, cause: String },
}

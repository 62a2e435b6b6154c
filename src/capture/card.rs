//! The seam between what an input decides and the device that it has: what a capture card can do, in the words of the field.
//!
//! The V4L2 shell is one [`Card`], a test's pretended card another; the room cannot tell them apart. All calls are made on
//! the input's own thread and may block for as long as a driver takes. Nothing here decides anything.

use std::path::PathBuf;
use std::time::Duration;

use gstreamer as gst;
use thiserror::Error;

use crate::capture::analogue::Remark;
use crate::capture::native::{Native, Timings};
use crate::config::Connector;
use crate::media::raw::RawFormat;
use crate::status::Signal;

/// Where cards come from.
pub trait Cards: Send + Sync {
    /// Opens an input's device, takes its connector, and tells its source what it may send.
    fn open(&self, seat: &Seat) -> Result<Box<dyn Card>, Fault>;

    /// The node that an input would open now.
    fn path(&self, seat: &Seat) -> Option<PathBuf>;

    /// Waits until something may have been plugged in since `seen`, at most for `limit`; true if so. `seen` is brought up to date.
    fn plugged(&self, seen: &mut u64, limit: Duration) -> bool;
}

/// Where an input sits: at which device, behind which connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub input: String,
    /// As the configuration names it: a path, "auto", "serial:…", "bus:…".
    pub device: PathBuf,
    pub connector: Connector,
    /// What a receiver tells its source; `None`: what it has.
    pub edid: Option<Vec<u8>>,
}

/// One open device. Dropped, it is closed: no descriptor, no buffer of it is left.
pub trait Card {
    /// What is on the cable now; cheap, and possible at any time.
    fn look(&mut self) -> Result<Look, Fault>;

    /// Takes over what is on the cable, agrees on a format for a program of this many frames per second, and starts.
    fn start(&mut self, wanted: &Wanted) -> Result<Native, Fault>;

    /// The next thing that happens, or [`Wake::Nothing`] after `limit`.
    fn wait(&mut self, limit: Duration) -> Result<Wake, Fault>;

    /// Ends the stream and takes back all buffers; after it `start` is possible again. Harmless when nothing runs.
    fn stop(&mut self);
}

/// What the program would like to get; a card comes as near as it can.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    pub width: u32,
    pub height: u32,
    pub fps: f64,
    /// Pictures that need no conversion are to lie in dmabufs, for an encoder that imports them.
    pub lend: Option<Lend>,
}

/// What becomes of pictures that are lent to the program as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lend {
    /// The format that needs no conversion.
    pub format: RawFormat,
    /// How long a picture waits for its turn.
    pub keep: Duration,
}

/// What one look at the cable found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub signal: Signal,
    /// What the signal is, where the device can tell before it streams: receivers can, cameras cannot.
    pub timings: Option<Timings>,
    /// What else a person should know of it.
    pub remark: Option<Remark>,
}

impl Look {
    pub const fn new(signal: Signal, timings: Option<Timings>) -> Self {
        Self { signal, timings, remark: None }
    }
}

/// What [`Card::wait`] woke for.
#[derive(Debug)]
pub enum Wake {
    Picture(Picture),
    /// The device says that its source has changed; it may be nothing.
    SourceChange,
    Nothing,
}

/// A captured picture in the memory of the driver, which gets it back when the last reference is dropped.
#[derive(Debug)]
pub struct Picture {
    /// When it was captured, on CLOCK_MONOTONIC; `None` if the driver stamps by another clock.
    pub time: Option<Duration>,
    /// The driver says that it is damaged.
    pub flawed: bool,
    /// Of a picture whose fields come one by one, which one this is.
    pub field: Option<Field>,
    /// It lies in a dmabuf, and the driver has buffers enough without it: it may be kept. Others must be given back soon.
    pub spare: bool,
    pub buffer: gst::Buffer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Top,
    Bottom,
}

/// Why a device does not do what it should.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    #[error("{0} is not there; plug the capture device in, or correct `device`")]
    Absent(String),
    #[error("the device has gone; it is taken again when it comes back")]
    Gone,
    #[error("another program uses {0}; stop that program, or choose another `device`")]
    Busy(String),
    /// It sees a signal that it cannot take: "720x576i 25.00 fps".
    #[error("the device cannot take the signal ({0}); set the camera to another mode, such as 1080p30")]
    Refused(String),
    /// It offers nothing that can be used; the sentence says what it offers.
    #[error("{0}")]
    Unusable(String),
    /// A call to the driver failed.
    #[error("{call}: {cause}; it is tried again")]
    Driver { call: &'static str, cause: String },
}

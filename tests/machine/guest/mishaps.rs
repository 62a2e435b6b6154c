//! What cables, cameras, cards and drivers do to an input, and how each of it is cured.

use std::time::Duration;

use v4l::io::mmap::Stream;

use super::card::{self, Card};
use crate::support::{LIMIT, pause, poll};

/// Within this time the daemon has given up a card that was cut off.
const LETS_GO: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    NoSignal,
    NoLock,
    OutOfRange,
    FramesStop,
    Disconnected,
    Unplugged,
    Fatal,
    StreamOn,
    ReqBufs,
    QBuf,
    Taken,
}

/// What a mishap leaves to be undone; dropped, nothing is.
pub type Cure<'a> = Box<dyn FnOnce() + 'a>;

pub struct Expected {
    /// Of the status, once it is certain; `None`: it is over too soon.
    pub signal: Option<&'static str>,
    /// Some words of the alarm.
    pub alarm: &'static str,
    /// How long the daemon may pause before it tries again.
    pub retry_ms: u64,
}

impl Mishap {
    pub const ALL: [Self; 11] = [
        Self::NoSignal,
        Self::NoLock,
        Self::OutOfRange,
        Self::FramesStop,
        Self::Disconnected,
        Self::Unplugged,
        Self::Fatal,
        Self::StreamOn,
        Self::ReqBufs,
        Self::QBuf,
        Self::Taken,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::NoSignal => "no signal",
            Self::NoLock => "no lock",
            Self::OutOfRange => "out of range",
            Self::FramesStop => "frames stop",
            Self::Disconnected => "disconnected",
            Self::Unplugged => "unplugged and back under another number",
            Self::Fatal => "fatal streaming error",
            Self::StreamOn => "STREAMON fails once",
            Self::ReqBufs => "REQBUFS fails once",
            Self::QBuf => "QBUF fails once",
            Self::Taken => "another program has the stream",
        }
    }

    pub fn expected(self) -> Expected {
        let (signal, alarm, retry_ms) = match self {
            // With the signal the virtual camera takes its 5 V away, as a cable that is pulled out does.
            Self::NoSignal => (Some("no_cable"), "no cable", 0),
            Self::NoLock => (Some("no_sync"), "no sync", 0),
            Self::OutOfRange => (Some("out_of_range"), "out of range", 0),
            Self::FramesStop => (Some("locked"), "no picture comes", 0),
            Self::Disconnected | Self::Unplugged => (Some("no_device"), "is not there", 2000),
            Self::Fatal => (None, "", 2000),
            // One more try than after a fatal error alone.
            Self::StreamOn | Self::ReqBufs | Self::QBuf => (None, "", 4000),
            Self::Taken => (Some("locked"), "another program uses", 2000),
        };
        Expected { signal, alarm, retry_ms }
    }

    pub fn strike(self, one: &Card) -> Cure<'_> {
        match self {
            Self::NoSignal => cable(one, 1),
            Self::NoLock => cable(one, 2),
            Self::OutOfRange => cable(one, 3),
            Self::FramesStop => {
                one.set("percentage_of_dropped_buffers", 100);
                Box::new(|| one.set("percentage_of_dropped_buffers", 0))
            }
            Self::Disconnected => {
                let hold = one.disconnect();
                Box::new(move || drop(hold))
            }
            Self::Unplugged => {
                // Who holds the old node keeps its number: the card must come back under another one.
                let hold = one.open();
                card::unbind();
                Box::new(move || {
                    card::bind();
                    drop(hold);
                })
            }
            Self::Fatal => broken(one, None),
            Self::StreamOn => broken(one, Some("inject_vidioc_streamon_error")),
            Self::ReqBufs => broken(one, Some("inject_vidioc_reqbufs_error")),
            Self::QBuf => {
                one.set("inject_vidioc_qbuf_error", 1);
                Box::new(|| {})
            }
            Self::Taken => {
                let stream = poll(LIMIT, || seize(one)).expect("the stream can be had");
                Box::new(move || drop(stream))
            }
        }
    }
}

fn cable(one: &Card, mode: i64) -> Cure<'_> {
    one.set("dv_timings_signal_mode", mode);
    Box::new(|| one.set("dv_timings_signal_mode", 0))
}

/// The stream ends with an error, and what begins it anew may fail too. It heals by itself.
fn broken<'a>(one: &'a Card, also: Option<&str>) -> Cure<'a> {
    let device = one.open();
    for control in also.into_iter().chain(["inject_fatal_streaming_error"]) {
        one.set_on(&device, &[(control, 1)]);
    }
    Box::new(|| {})
}

/// Takes the stream while the daemon waits before its next try; `None` if it was faster.
fn seize(one: &Card) -> Option<Stream<'static>> {
    let hold = one.disconnect();
    pause(LETS_GO);
    drop(hold);
    one.take()
}

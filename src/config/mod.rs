//! The configuration as types: every knob, its unit and its default, in one place.
//!
//! Text becomes these types in [`mod@parse`], once, with all its faults at the same time; afterwards nothing can be wrong but
//! the world. This room does no I/O of its own: which file is read, and what happens to a bad one, is [`store`].

mod fault;
mod legs;
pub mod parse;
mod reader;
pub mod store;
mod url;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;
use crate::units::{BitRate, ByteSize, FrameRate};

pub use fault::Fault;
pub use parse::{Parsed, parse};

/// The version of the format that this program writes and understands.
pub const VERSION: i64 = 1;

#[derive(Clone, PartialEq)]
pub struct Config {
    pub device: Device,
    pub program: Program,
    pub inputs: Vec<Input>,
    pub archive: Archive,
    pub legs: Vec<Leg>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Shown on the slate, the panel and in the stream's metadata. Default "onair".
    pub name: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Picture size in pixels, even numbers. Default 1280x720.
    pub width: u32,
    pub height: u32,
    /// Default 30.
    pub framerate: FrameRate,
    /// Default 4M.
    pub video_bitrate: BitRate,
    /// Where congestion may push the bit rate at most. Default 500k, or `video_bitrate` if that is less.
    pub min_video_bitrate: BitRate,
    /// Seconds from one IDR keyframe to the next. Default 2.
    pub keyframe_interval: Duration,
    /// The constant delay between an input and the program; long enough for the slowest input. Default 200ms.
    pub latency: Duration,
    /// "auto", or the name of a recipe. Default auto.
    pub encoder: String,
    /// Default 128k.
    pub audio_bitrate: BitRate,
    /// Name of the input that is shown at start. Default: the first one.
    pub input: String,
    /// Picture for when there is nothing to show (PNG or JPEG). Default: the built-in one.
    pub slate: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Unique among the inputs.
    pub name: String,
    pub kind: InputKind,
    /// How long the last picture stands before the slate replaces it. Default 300ms.
    pub hold: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum InputKind {
    V4l2 {
        /// `/dev/onair/capture-0`, `/dev/v4l/by-id/…`; not `/dev/videoN`, whose number may change.
        device: PathBuf,
        /// ALSA device name ("hw:CARD=Capture"), or `None` for "none" (silence). Default none.
        audio: Option<String>,
    },
    File {
        /// Played in order.
        paths: Vec<PathBuf>,
        /// Start again after the last one. Default true.
        looped: bool,
    },
    /// A moving picture with a running clock, a frame count, and a beep with a flash every second.
    Test,
}

impl InputKind {
    /// The word of the configuration for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::V4l2 { .. } => "v4l2",
            Self::File { .. } => "file",
            Self::Test => "test",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Archive {
    /// Default true.
    pub enabled: bool,
    /// Default /var/lib/onaird/archive.
    pub directory: PathBuf,
    /// Length of a segment; it ends at the next keyframe. Default 300.
    pub segment: Duration,
    /// Free space below which the oldest segments are deleted. Default 2GiB.
    pub keep_free: ByteSize,
    /// Segments older than this are deleted. Default: never.
    pub max_age: Option<Duration>,
}

#[derive(Clone, PartialEq)]
pub struct Leg {
    /// Unique among the legs.
    pub name: String,
    /// Default true.
    pub enabled: bool,
    /// In order of preference, never empty.
    pub origins: Vec<Origin>,
    /// How much media may wait for a slow origin before the oldest GOPs are dropped. Default 5s.
    pub backlog: Duration,
}

#[derive(Clone, PartialEq)]
pub struct Origin {
    pub url: OriginUrl,
    pub key: Secret,
}

/// `rtmp://host[:port]/app[/instance]`, split; the stream key is kept apart, in [`Origin::key`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginUrl {
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Default 1935.
    pub port: u16,
    /// Application, with its instance if there is one: `live` or `app/instance`.
    pub app: String,
}

impl std::fmt::Display for OriginUrl {
    /// The URL as RTMP's `tcUrl` wants it and as status and logs show it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        match self.port {
            1935 => write!(f, "rtmp://{open}{}{close}/{}", self.host, self.app),
            port => write!(f, "rtmp://{open}{}{close}:{port}/{}", self.host, self.app),
        }
    }
}

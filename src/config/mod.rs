//! The configuration as types: every knob, its unit and its default, in one place.
//!
//! Text becomes these types in [`mod@parse`], once, with all its faults at the same time; afterwards nothing can be wrong but
//! the world. This room does no I/O of its own: which file is read, and what happens to a bad one, is [`store`].

mod fault;
mod legs;
pub mod parse;
mod reader;
pub mod store;
mod upload;
mod url;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use crate::recorded::{self, Reference};
use crate::secret::Secret;
use crate::units::{BitRate, ByteSize, FrameRate, SignedDuration};

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
    /// The inputs that go on air without a person, best first: the first one at start, another one while that has no picture.
    /// One alone is never left without a command. Never empty. Default: the first of all inputs, alone.
    pub input: Vec<String>,
    /// How long a better input must have had its picture before it goes on air again. Default 5s.
    pub return_after: Duration,
    /// Picture for when there is nothing to show (PNG or JPEG). Default: the built-in one.
    pub slate: Option<PathBuf>,
    /// A line for the audience on the built-in slate. Default: none.
    pub slate_text: String,
    /// Write a small JPEG of every input once a second, for screens and pages. Default false.
    pub thumbnails: bool,
    /// Frames in which a switch mixes the old input with the new one. Default 0: a cut.
    pub fade: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Unique among the inputs.
    pub name: String,
    pub kind: InputKind,
    /// How long the last picture stands before the slate replaces it. Default 300ms.
    pub hold: Duration,
    /// How much later than it comes the sound goes out against the picture; negative: earlier, which costs latency. Default 0.
    pub delay: SignedDuration,
    pub watch: Watch,
}

/// What of an input's picture and sound is found wrong although they come; `None`: not watched for.
///
/// Only devices are watched by default: a file may be a still or silent because somebody made it so.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// The picture has not changed for this long. Default of a device 10s.
    pub frozen: Option<Duration>,
    /// How much a point must differ to be a change, in steps of 8-bit luma. Default 2.
    pub frozen_noise: u8,
    /// The picture has been black for this long. Default of a device 10s.
    pub black: Option<Duration>,
    /// What is darker than this is black, in per cent of white. Default 10.
    pub black_level: f64,
    /// The sound has been silent for this long. Default of a device with sound 20s.
    pub silence: Option<Duration>,
    /// What is softer than this is silence: RMS, that of a sine at full scale being 0. Default -60.
    pub silence_dbfs: f64,
}

impl Default for Watch {
    /// Nothing is watched for, with the thresholds' defaults.
    fn default() -> Self {
        Self { frozen: None, frozen_noise: 2, black: None, black_level: 10.0, silence: None, silence_dbfs: -60.0 }
    }
}

impl Watch {
    /// For a source of this kind.
    pub fn of(kind: &InputKind) -> Self {
        let InputKind::V4l2 { audio, .. } = kind else { return Self::default() };
        let (picture, sound) = (Duration::from_secs(10), Duration::from_secs(20));
        Self { frozen: Some(picture), black: Some(picture), silence: audio.as_ref().map(|_| sound), ..Self::default() }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum InputKind {
    V4l2 {
        /// `/dev/onair/capture-0`, `/dev/v4l/by-id/…`; not `/dev/videoN`, whose number may change. Or "auto", "serial:NUMBER",
        /// "bus:PLACE", which are no paths.
        device: PathBuf,
        /// Default auto.
        connector: Connector,
        /// Default auto.
        edid: Edid,
        /// ALSA device name ("hw:CARD=Capture"); "auto": the card of the same USB or PCI device; or `None` for "none"
        /// (silence). Default none.
        audio: Option<String>,
    },
    File {
        /// Played in order.
        paths: Vec<Played>,
        /// Start again after the last one. Default true.
        looped: bool,
    },
    /// A moving picture with a running clock, a frame count, and a beep with a flash every second.
    Test,
}

/// What an input of kind "file" plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Played {
    File(PathBuf),
    /// Of the archive in this folder, the closed segments that are meant: those there are whenever the list begins.
    Archive {
        directory: PathBuf,
        what: Reference,
    },
}

impl From<PathBuf> for Played {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl std::fmt::Display for Played {
    /// As the configuration names it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Archive { what, .. } => write!(f, "{}{what}", recorded::PREFIX),
        }
    }
}

/// Which of a card's connectors is used, if it has several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Connector {
    /// The first one with a signal at the start, else the one that the card has in use.
    #[default]
    Auto,
    /// As the card counts them.
    Number(u32),
    /// As the card calls it: "HDMI 0".
    Name(String),
}

impl std::fmt::Display for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

/// What an HDMI receiver tells its source about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Edid {
    /// The built-in one: up to 1080p60, preferring the program's own size and rate, stereo PCM.
    #[default]
    Auto,
    /// Whatever the card has.
    Keep,
    /// A user's own, in binary.
    File(PathBuf),
}

/// Whether the `device` of an input names a file; else it is "auto", "serial:NUMBER" or "bus:PLACE".
pub fn is_path(device: &str) -> bool {
    device != "auto" && !device.starts_with("serial:") && !device.starts_with("bus:")
}

impl Input {
    /// Its name and its device, if it has one.
    pub fn device(&self) -> Option<(&str, &std::path::Path)> {
        match &self.kind {
            InputKind::V4l2 { device, .. } => Some((&self.name, device)),
            InputKind::File { .. } | InputKind::Test => None,
        }
    }
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

#[derive(Clone, PartialEq)]
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
    /// Where copies go. Default: nowhere.
    pub upload: Option<Upload>,
}

/// The bucket that segments are copied to.
#[derive(Clone, PartialEq)]
pub struct Upload {
    pub bucket: String,
    /// Default us-east-1.
    pub region: String,
    /// `http(s)://host[:port]` of a store that is not AWS; the bucket is then the first part of the path. Default: AWS's own of
    /// the region.
    pub endpoint: Option<String>,
    /// What the names of all objects begin with, without slashes around it. Default: nothing.
    pub prefix: String,
    pub keys: Keys,
    /// What is sent in one request, and again if it fails. Default 8MiB.
    pub part_size: ByteSize,
    /// Default: as fast as it goes.
    pub bandwidth: Option<BitRate>,
    /// PEM file of authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for Upload {
    /// With every default, and a bucket still to be named.
    fn default() -> Self {
        Self {
            bucket: String::new(),
            region: "us-east-1".into(),
            endpoint: None,
            prefix: String::new(),
            keys: Keys::Surroundings,
            part_size: ByteSize::from_bytes(8 << 20),
            bandwidth: None,
            ca_file: None,
        }
    }
}

/// Who we are to the store.
#[derive(Clone, PartialEq)]
pub enum Keys {
    Written {
        access: String,
        secret: Secret,
    },
    /// A file of profiles as AWS's own tools have it; it is read when it is needed.
    File(PathBuf),
    /// What the environment, the home folder or the machine says.
    Surroundings,
}

#[derive(Clone, PartialEq)]
pub struct Leg {
    /// Unique among the legs.
    pub name: String,
    /// Default true.
    pub enabled: bool,
    /// Never empty. In order of preference if the policy is priority.
    pub origins: Vec<Origin>,
    /// How much media may wait for a slow origin before the oldest GOPs are dropped. Default 5s.
    pub backlog: Duration,
    /// Network interface that the leg's connections are bound to; `None`: as the routes say. Default none.
    pub interface: Option<String>,
    /// Default priority.
    pub policy: Policy,
    /// Return to a better origin once it has been reachable for a while. Default true.
    pub failback: bool,
    /// Default replay.
    pub resume: Resume,
    /// Keep a connection to the next origin open, up to but without publishing. Default false.
    pub warm: bool,
    /// Default shared.
    pub timestamps: Timestamps,
}

impl Leg {
    /// With every default.
    pub fn new(name: impl Into<String>, origins: Vec<Origin>) -> Self {
        Self {
            name: name.into(),
            enabled: true,
            origins,
            backlog: Self::BACKLOG,
            interface: None,
            policy: Policy::default(),
            failback: true,
            resume: Resume::default(),
            warm: false,
            timestamps: Timestamps::default(),
        }
    }

    pub const BACKLOG: Duration = Duration::from_secs(5);
}

/// In which order a leg prefers its origins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// As they stand in the configuration.
    #[default]
    Priority,
    /// The one that answers fastest.
    Latency,
    /// By chance in proportion to their weights, but always the same for this box: so that many boxes spread.
    Weighted,
}

/// Where a leg goes on after it has lost an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// At the last keyframe that the lost origin may not have got.
    #[default]
    Replay,
    /// At the newest keyframe.
    Live,
}

/// What the time stamps of a connection count from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// The program's epoch: the same on every leg and connection.
    #[default]
    Shared,
    /// The connection's first packet: for origins that want to start at 0.
    Rebased,
}

#[derive(Clone, PartialEq)]
pub struct Origin {
    pub url: OriginUrl,
    pub key: Secret,
    /// User and password of the origin, from the URL's `user:password@`.
    pub login: Option<Login>,
    /// Share of boxes that prefer this origin, if the leg's policy is weighted; 0: only as a spare. Default 1.
    pub weight: u32,
    /// PEM file of authorities to trust instead of the system's, for an `rtmps` origin.
    pub ca_file: Option<PathBuf>,
    /// Where the stream can be pulled back from, to prove that it arrives: `rtmp://…` or `http(s)://….m3u8`.
    pub verify: Option<Secret>,
}

impl Origin {
    /// With every default.
    pub fn new(url: OriginUrl, key: Secret) -> Self {
        Self { url, key, login: None, weight: 1, ca_file: None, verify: None }
    }

    /// Whether both are the same server with the same key, which takes one publisher. Two ports of one host may be two servers;
    /// but the encrypted and the plain port are taken for two doors of one.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let (a, b) = (&self.url, &other.url);
        (a.port == b.port || a.secure != b.secure) && a.host == b.host && a.app == b.app && self.key == other.key
    }
}

/// An RTMP URL that ends with the stream's name, as [`Origin::verify`] may be one: the place, and the name.
pub fn split_rtmp(url: &str) -> Result<(OriginUrl, Secret), String> {
    let url::Split { url, key, .. } = url::split(url, url::KeyPlace::InUrl)?;
    Ok((url, key.ok_or("want a URL with the stream's name in it")?))
}

/// Who we are to an origin that asks.
#[derive(Clone, PartialEq)]
pub struct Login {
    pub user: String,
    pub password: Secret,
}

/// `rtmp[s]://host[:port]/app[/instance]`, split; the stream key is kept apart, in [`Origin::key`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginUrl {
    /// Encrypted: `rtmps`.
    pub secure: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Default 1935, with `rtmps` 443.
    pub port: u16,
    /// Application, with its instance if there is one: `live` or `app/instance`.
    pub app: String,
}

impl OriginUrl {
    pub const PORT: u16 = 1935;
    pub const SECURE_PORT: u16 = 443;

    /// Reads `rtmp[s]://host[:port]/app[/instance]`; `None` if it is anything else.
    pub fn parse(url: &str) -> Option<Self> {
        url::split(url, url::KeyPlace::Apart).ok().map(|split| split.url)
    }

    fn default_port(secure: bool) -> u16 {
        if secure { Self::SECURE_PORT } else { Self::PORT }
    }
}

impl std::fmt::Display for OriginUrl {
    /// The URL as RTMP's `tcUrl` wants it and as status and logs show it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.secure { "rtmps" } else { "rtmp" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}", self.host)?;
        if self.port != Self::default_port(self.secure) {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{}", self.app)
    }
}

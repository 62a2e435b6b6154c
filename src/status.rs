//! What the daemon says of itself: plain data, written by the rooms, read by scripts, screens and the conductor.
//!
//! The names are a contract (`onaird status --json`): they are added to, never changed, and carry their unit. Each room
//! writes its own part alone, through a [`crate::report::Report`]. No secret has a place here.

use serde::{Deserialize, Serialize};

use crate::units::Span;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub device: Device,
    /// At least one leg has had media taken by its origin within the last 2 s.
    pub on_air: bool,
    pub program: Program,
    pub inputs: Vec<Input>,
    pub legs: Vec<Leg>,
    pub archive: Archive,
    pub alarms: Vec<Alarm>,
    /// The last few things that happened, oldest first.
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub name: String,
    pub version: String,
    pub uptime_s: u64,
    /// What is wrong with the configuration, as FILE:LINE: text; what could be used of it is in use.
    pub config_faults: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// The input whose picture goes out.
    pub input: String,
    /// The input that was asked for; it becomes `input` with the first picture that it has ready.
    pub selected: String,
    /// Inputs that are still in the picture while `input` is faded in.
    #[serde(default)]
    pub fading_out: Vec<String>,
    /// The list in `program.input` chooses, not an operator. Always false if it names one input alone.
    #[serde(default)]
    pub automatic: bool,
    pub shows: Shows,
    pub width: u32,
    pub height: u32,
    pub fps: f64,
    pub encoder: String,
    /// The encoder's rate now: at most the limit, less while a leg cannot carry that.
    pub video_bitrate_bps: u64,
    /// What the configuration or the operator asked for.
    pub video_bitrate_limit_bps: u64,
    /// Frames sent to the encoder since the start.
    pub frames: u64,
    /// Of these, how many showed an older picture again because the input had no new one in time.
    pub frames_repeated: u64,
    /// Frames that the encoder could not take in time.
    pub frames_dropped: u64,
    /// Loudest sample of the last second per channel, in dBFS (0 is full scale, -100 silence).
    pub audio_dbfs: Vec<f64>,
    /// How much later than the picture the sound leaves; none if the input on air has no sound device that runs. Written by
    /// the conductor, which alone sees both the inputs' sound and what is on air.
    #[serde(default)]
    pub av_offset_ms: Option<f64>,
    /// Packets that came out of the encoders since the start.
    pub packets: u64,
    /// Packets of the track that has brought fewer: rises only while both encoders work.
    pub progress: u64,
}

/// What the program's picture is made of at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    Live,
    Hold,
    #[default]
    Slate,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    pub kind: String,
    pub signal: Signal,
    /// What comes in, in words: "1280x720 60 fps YUY2".
    pub mode: String,
    /// Delivers pictures now; a file that is cued to its first picture does not.
    pub rolling: bool,
    pub last_error: Option<String>,
    /// What else its card says of the signal: no colour, copy protection.
    #[serde(default)]
    pub remark: Option<String>,
    /// A small JPEG of its picture, at most a second old; none while there is no picture, or without `program.thumbnails`.
    #[serde(default)]
    pub thumbnail: Option<String>,
    /// Pictures come and do not change …
    #[serde(default)]
    pub frozen: bool,
    /// … or are black; sound comes and is silent. Each by the input's `watch`.
    #[serde(default)]
    pub black: bool,
    #[serde(default)]
    pub silent: bool,
    /// Its sound, if it has a sound device.
    #[serde(default)]
    pub sound: Option<Sound>,
}

/// What comes from an input's sound device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sound {
    pub state: SoundState,
    /// What the device says its clock has; 0 while it does not run.
    pub rate_hz: u32,
    /// How much later than the picture of the same moment the sound leaves, beside the configured `delay`; negative: earlier.
    pub offset_ms: Option<f64>,
    /// How much faster than its rate the device really runs.
    pub drift_ppm: Option<f64>,
    /// Loudest sample and root mean square of the last 100 ms per channel, in dBFS (0 is full scale, -100 silence).
    pub peak_dbfs: Vec<f64>,
    pub rms_dbfs: Vec<f64>,
    /// EBU R 128, the last 3 s; -100 for silence.
    pub loudness_lufs: f64,
    /// EBU R 128, the last 400 ms.
    pub momentary_lufs: f64,
    /// For how long nothing has been heard: RMS below -60 dBFS on every channel, or no sound at all.
    pub silent_s: f64,
    /// Seconds without a sample, 0 while it runs.
    pub down_s: u64,
    /// Times that samples were lost or that the sound had to be placed anew, since the start.
    pub resets: u64,
    pub last_error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoundState {
    Running,
    /// The device is there and stands still, or cannot be started.
    NoSound,
    #[default]
    NoDevice,
    /// Another program has it.
    Busy,
}

/// What an input's device says of its cable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    Locked,
    NoSignal,
    NoCable,
    NoSync,
    OutOfRange,
    #[default]
    NoDevice,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    pub name: String,
    pub state: LegState,
    /// The origin in use or being tried: `rtmp://host:port/app`, without its key.
    pub origin: String,
    /// Seconds in this state.
    pub since_s: u64,
    /// Seconds since it was last live (or began to try), 0 while it is.
    pub down_s: u64,
    pub bitrate_bps: u64,
    /// Age of the oldest packet that waits to be written.
    pub queue_ms: u64,
    pub rtt_ms: Option<f64>,
    /// Written to the socket and not yet acknowledged by the peer's kernel.
    pub unacked_bytes: u64,
    pub reconnects: u64,
    pub failovers: u64,
    pub dropped_gops: u64,
    pub sent_bytes: u64,
    pub last_error: Option<String>,
    /// True while the origin takes media: acknowledged within the last 2 s, and not suspected.
    pub taken: bool,
    /// The origin seems to be gone; its spare is being made ready.
    pub suspect: bool,
    /// The video bit rate that this leg can carry; the lowest of all legs decides. None: no vote, because the leg is not
    /// live, or cannot carry even `program.min_video_bitrate`.
    pub wanted_bitrate_bps: Option<u64>,
    /// What was found when the stream was pulled back; none unless live on an origin with `verify`.
    #[serde(default)]
    pub proof: Option<Proof>,
    /// The last stretches of the program that none of its origins got, oldest first.
    #[serde(default)]
    pub missed: Vec<Span>,
    /// While it has no connection: from when on nothing has got there, in program time. What is still in memory may yet be sent.
    #[serde(default)]
    pub missing_since_ms: Option<u64>,
}

/// Whether the world can get what the leg sends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    pub state: ProofState,
    /// From a picture's making to its sighting, at most: of the newest one that was seen again.
    pub delay_ms: Option<u64>,
    /// Since that sighting.
    pub age_s: Option<u64>,
    /// Why the last look was no proof.
    pub last_error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofState {
    /// Just live; nothing has been seen yet.
    #[default]
    Waiting,
    /// A picture that was sent has been seen again, a newer one each time.
    Seen,
    /// Nothing new for more than 10 s.
    Missing,
    /// For as long, pictures that are not those that were sent.
    Mismatch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegState {
    Live,
    #[default]
    Connecting,
    Waiting,
    Rejected,
    Off,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    pub state: ArchiveState,
    /// The open segment.
    pub file: Option<String>,
    pub free_bytes: u64,
    /// Recording time left at the measured rate, before anything must be deleted.
    pub seconds_left: Option<u64>,
    /// … before recording stops or costs what is nowhere else, if nothing more is uploaded; none while that is not in sight.
    #[serde(default)]
    pub seconds_to_loss: Option<u64>,
    pub segments: u64,
    pub written_bytes: u64,
    pub dropped_gops: u64,
    /// Deleted before they were uploaded, since the start, because the disk was full.
    #[serde(default)]
    pub lost_segments: u64,
    /// What is missing, until a segment that was begun afterwards has been closed.
    #[serde(default)]
    pub loss: Option<String>,
    pub last_error: Option<String>,
    /// Written by the uploader, not by the recorder.
    #[serde(default)]
    pub upload: Upload,
    #[serde(default)]
    pub index: ArchiveIndex,
    #[serde(default)]
    pub export: Export,
}

/// The archive's index beside its segments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ArchiveIndex {
    pub state: IndexState,
    /// Segments that are still to be read into it.
    pub to_read: u64,
    pub last_error: Option<String>,
}

/// A copy of the archive being made on another disk, as the process that makes it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    pub state: ExportState,
    /// Segments that are done with: read back from the other disk, or left out for a reason that was told.
    pub files_done: u64,
    pub files: u64,
    pub bytes_done: u64,
    pub bytes: u64,
    /// The folder or the disk that it goes to.
    pub to: String,
    pub last_error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexState {
    /// Nothing is recorded, so none is kept.
    #[default]
    Off,
    Ok,
    /// Segments that it does not know are being read.
    Building,
    /// It cannot be read or written; recording goes on without it.
    Failed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportState {
    #[default]
    None,
    Running,
    /// Everything is there; the disk may be removed. For a minute, or until it is gone.
    Done,
    Failed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveState {
    Recording,
    #[default]
    Off,
    Full,
    Failed,
}

/// The archive's way into the bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    pub state: UploadState,
    /// Segments that are not in the bucket.
    pub pending: u64,
    /// Segments that are.
    pub uploaded: u64,
    /// Of those pending, how many cannot be uploaded for a reason of their own; they are tried again every hour.
    pub failed: u64,
    /// Over the last few seconds.
    pub bytes_per_s: u64,
    /// What is on its way.
    pub object: Option<String>,
    pub last_error: Option<String>,
    /// Why the newest of the failed ones cannot be uploaded.
    #[serde(default)]
    pub last_failed: Option<String>,
    /// Seconds since a segment was last uploaded, while one waits; else 0.
    #[serde(default)]
    pub stuck_s: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadState {
    #[default]
    Off,
    /// All that can be is in the bucket.
    Idle,
    Uploading,
    /// For the network, the store or the disk.
    Waiting,
    /// The legs need the line.
    Yielding,
    /// The store refuses; a person must change the configuration.
    Rejected,
}

/// Something that needs a person, with what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Stable, for scripts: "leg.a.down".
    pub id: String,
    /// Program time when it was raised, in seconds since the daemon's start.
    pub since_s: u64,
    pub text: String,
    pub remedy: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since the daemon's start.
    pub at_s: f64,
    pub text: String,
}

macro_rules! words {
    ($type:ty: $($variant:ident => $word:literal),+) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words!(Shows: Live => "live", Hold => "hold", Slate => "slate");
words!(LegState: Live => "live", Connecting => "connecting", Waiting => "waiting", Rejected => "rejected", Off => "off");
words!(ProofState: Waiting => "waiting", Seen => "seen", Missing => "missing", Mismatch => "mismatch");
words!(SoundState: Running => "running", NoSound => "no sound", NoDevice => "no device", Busy => "busy");
words!(UploadState: Off => "off", Idle => "idle", Uploading => "uploading", Waiting => "waiting", Yielding => "yielding",
    Rejected => "rejected");
words!(ArchiveState: Recording => "recording", Off => "off", Full => "full", Failed => "failed");
words!(ExportState: None => "none", Running => "running", Done => "done", Failed => "failed");
words!(IndexState: Off => "off", Ok => "ok", Building => "building", Failed => "failed");
words!(Signal: Locked => "locked", NoSignal => "no signal", NoCable => "no cable", NoSync => "no sync",
    OutOfRange => "out of range", NoDevice => "no device");

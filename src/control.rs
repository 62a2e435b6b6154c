//! Commands: what one room, a person or a script may ask of another room. Plain data.
//!
//! A request is not a state: whoever asks learns from the reply that the wish was taken, and from the status what came of it.

use tokio::sync::{mpsc, oneshot};

use crate::status;
use crate::units::{BitRate, Span};

/// An order to the program, to the inputs, to the legs or to the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Show this input from the next frame on. `fade`: frames in which it is mixed with what is shown, 0 a cut, `None` as the
    /// configuration says.
    Switch { input: String, fade: Option<u32>, by: Chooser },
    /// Give the choice of the input back to the list in `program.input`.
    Auto,
    /// What a person wants: the video bit rate, changed in place. Congestion may keep the encoder below it.
    Bitrate(BitRate),
    /// What the legs can carry together: the encoder's rate, never above the one that a person wants.
    AgreedBitrate(BitRate),
    /// Play this input: a file starts at its first picture; what runs already goes on.
    Roll { input: String },
    /// Stop playing this input and make it ready at its first picture; devices take no notice.
    Cue { input: String },
    /// This stretch of the program reached no origin: to be remembered beside the recording.
    NotOnAir(Span),
    /// Check every origin of every leg, without disturbing what runs; the reply is the report, line by line.
    Preflight,
    /// How an export of the archive gets on: the word of the process that makes it, for the status.
    Export(status::Export),
}

/// Who chose an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chooser {
    /// A person, whose choice stays for as long as it has a picture.
    Operator,
    /// The list in `program.input`, by the conductor.
    List,
}

/// Frames of the longest fade.
pub const MAX_FADE: u32 = 600;

/// What the program makes now, and between what its video bit rate may lie: what the legs must know to vote for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    pub video: BitRate,
    pub audio: BitRate,
    pub floor: BitRate,
    pub ceiling: BitRate,
}

/// What the upload may take of the line, in thousandths of what it carries: at 0 it is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UploadShare(u16);

impl UploadShare {
    pub const NONE: Self = Self(0);
    pub const WHOLE: Self = Self(1000);

    pub const fn of_thousand(thousandths: u16) -> Self {
        if thousandths > 1000 { Self::WHOLE } else { Self(thousandths) }
    }

    pub const fn thousandths(self) -> u16 {
        self.0
    }
}

/// Accepted with a sentence, or refused with one that says what to do instead.
pub type Reply = Result<String, String>;

/// A command on its way, with the way back.
#[derive(Debug)]
pub struct Request {
    pub command: Command,
    pub reply: oneshot::Sender<Reply>,
}

/// Where commands are put. Bounded at [`PENDING`]: a person types one at a time, a script that floods waits its turn.
pub type Commands = mpsc::Sender<Request>;

pub const PENDING: usize = 8;

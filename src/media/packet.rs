//! Words of the encoded side: a packet, its time, and the format that a decoder must know before it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::units::{BitRate, FrameRate, MediaTime};

/// Number of sound samples in one AAC-LC frame (ISO/IEC 14496-3).
pub const AAC_FRAME_SAMPLES: u32 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Track {
    Video,
    Audio,
}

impl Track {
    pub const BOTH: [Self; 2] = [Self::Video, Self::Audio];
}

/// One of something for each track.
#[derive(Clone, Debug, Default)]
pub struct PerTrack<T> {
    pub video: T,
    pub audio: T,
}

impl<T> PerTrack<T> {
    pub fn of(&self, track: Track) -> &T {
        match track {
            Track::Video => &self.video,
            Track::Audio => &self.audio,
        }
    }

    pub fn of_mut(&mut self, track: Track) -> &mut T {
        match track {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        }
    }
}

/// One encoded access unit (H.264, length-prefixed as in avcC) or raw AAC frame. There are no B-frames, so that its one
/// time is both decode and presentation time.
#[derive(Clone, Debug)]
pub struct Packet {
    pub track: Track,
    pub time: MediaTime,
    /// Nominal: until the next packet of the same track.
    pub duration: Duration,
    /// An IDR picture; false for sound.
    pub keyframe: bool,
    pub data: Bytes,
    /// The format it was made with; the same `Arc` until the format changes.
    pub format: Arc<Format>,
}

/// Everything that a receiver must know before the first packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Format {
    pub video: VideoFormat,
    pub audio: AudioFormat,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VideoFormat {
    pub width: u32,
    pub height: u32,
    pub framerate: FrameRate,
    pub bitrate: BitRate,
    /// AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1).
    pub avcc: Bytes,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AudioFormat {
    /// Samples per second.
    pub rate: u32,
    pub channels: u16,
    pub bitrate: BitRate,
    /// AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
    pub asc: Bytes,
}

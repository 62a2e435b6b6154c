//! Synthetic packets for the tests of this room: right in time and form, with nothing in them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::fmp4;
use super::origin::Origin;
use super::segment::{Cutter, Step};
use crate::config;
use crate::media::packet::{AAC_FRAME_SAMPLES, AudioFormat, Format, Packet, Track, VideoFormat};
use crate::units::{BitRate, ByteSize, FrameRate, MediaTime};

const RATE: u64 = 48_000;

/// Baseline, level 3.0, one SPS and one PPS.
const AVCC: &[u8] =
    &[1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 8, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0, 0xa0, 0x10, 1, 0, 4, 0x68, 0xce, 0x3c, 0x80];

/// Records into this folder and keeps everything.
pub fn config_of(directory: &Path) -> config::Archive {
    config::Archive {
        enabled: true,
        directory: directory.to_owned(),
        segment: Duration::from_secs(300),
        keep_free: ByteSize::from_bytes(0),
        max_age: None,
        upload: None,
    }
}

pub fn format() -> Format {
    format_of(320, 180)
}

pub fn format_of(width: u32, height: u32) -> Format {
    let framerate = FrameRate::new(30, 1).expect("30 is a frame rate");
    Format {
        video: VideoFormat { width, height, framerate, bitrate: BitRate::from_bps(1_000_000), avcc: Bytes::from_static(AVCC) },
        audio: AudioFormat {
            rate: RATE as u32,
            channels: 2,
            bitrate: BitRate::from_bps(128_000),
            asc: Bytes::from_static(&[0x11, 0x90]),
        },
    }
}

/// A stream that starts at a keyframe, its packets in order of time as in the hub.
#[derive(Clone)]
pub struct Stream {
    pub framerate: (u32, u32),
    pub gop: u64,
    /// Seconds on the time line.
    pub start: u64,
    pub seconds: u64,
    pub audio_offset: Duration,
    /// Milliseconds from the start between which there is no sound.
    pub silence: Option<(u64, u64)>,
    pub format: Arc<Format>,
}

impl Default for Stream {
    fn default() -> Self {
        let format = Arc::new(format());
        Self { framerate: (30, 1), gop: 60, start: 0, seconds: 5, audio_offset: Duration::ZERO, silence: None, format }
    }
}

impl Stream {
    pub fn packets(&self) -> Vec<Arc<Packet>> {
        let framerate = FrameRate::new(self.framerate.0, self.framerate.1).expect("a frame rate");
        let start = MediaTime::from_millis(self.start * 1000);
        let frames = framerate.index_at(MediaTime::from_millis(self.seconds * 1000));
        let frame = framerate.frame_duration();
        let video = (0..frames).map(|index| {
            let time = start + framerate.time_of(index).since(MediaTime::ZERO);
            self.packet(Track::Video, time, frame, index.is_multiple_of(self.gop))
        });
        let sounds = self.seconds * RATE / u64::from(AAC_FRAME_SAMPLES);
        let silent = |index: &u64| {
            let ms = sound_length(*index).as_millis() as u64;
            self.silence.is_some_and(|(from, until)| (from..until).contains(&ms))
        };
        let audio = (0..sounds).filter(|index| !silent(index)).map(|index| {
            let time = start + sound_length(index) + self.audio_offset;
            self.packet(Track::Audio, time, sound_length(1), false)
        });
        let mut packets: Vec<_> = video.chain(audio).collect();
        packets.sort_by_key(|packet| (packet.time, packet.track == Track::Audio));
        packets
    }

    fn packet(&self, track: Track, time: MediaTime, duration: Duration, keyframe: bool) -> Arc<Packet> {
        let data = match track {
            Track::Video => Bytes::from_static(&[0, 0, 0, 3, 0x65, 1, 2]),
            Track::Audio => Bytes::from_static(&[0x21, 0x10]),
        };
        Arc::new(Packet { track, time, duration, keyframe, data, format: self.format.clone() })
    }
}

/// A segment's bytes, and where its head and each of its fragments ends.
pub fn file_of(stream: &Stream, origin: &Origin) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = fmp4::head(&stream.format, origin).unwrap();
    let mut ends = vec![bytes.len()];
    let mut cutter = Cutter::new(Duration::from_secs(3600));
    let mut steps: Vec<Step> = stream.packets().iter().flat_map(|packet| cutter.push(packet)).collect();
    steps.extend(cutter.finish());
    let mut zero = MediaTime::ZERO;
    for step in steps {
        match step {
            Step::Begin { base, .. } => zero = base,
            Step::Fragment(samples) => {
                bytes.extend(fmp4::fragment(&stream.format, zero, ends.len() as u32, &samples).unwrap());
                ends.push(bytes.len());
            }
            Step::End => {}
        }
    }
    (bytes, ends)
}

fn sound_length(frames: u64) -> Duration {
    Duration::from_nanos(frames * u64::from(AAC_FRAME_SAMPLES) * 1_000_000_000 / RATE)
}

//! What is published: a clip of 6 Mbit/s, made once by ffmpeg and kept below `target/`.
//!
//! Who reads a file instead of memory gets the clip many times over in one file, because not every peer can loop.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use onaird::media::packet::{AudioFormat, Format, Packet, Track, VideoFormat};
use onaird::units::{BitRate, FrameRate, MediaTime};

pub const LENGTH: Duration = Duration::from_secs(20);

/// How often the clip stands in the long file: enough for 3 s of the fastest peer that reads it.
const REPEATS: u32 = 40;

const SOURCES: &str = "-f lavfi -i testsrc2=size=1920x1080:rate=30 -f lavfi -i sine=sample_rate=48000 -vf noise=alls=12:allf=t";
const CODING: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 0 -g 60 -nal-hrd cbr -b:v 6M -minrate 6M -maxrate 6M \
                      -bufsize 6M -c:a aac -b:a 160k -ac 2 -f flv";

pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("publish-20s.flv")
}

pub fn long_path() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("publish-long.flv")
}

/// Makes the files unless they are there.
pub fn make() {
    if !path().exists() {
        println!("making a clip of {} s", LENGTH.as_secs());
        let length = LENGTH.as_secs().to_string();
        ffmpeg(SOURCES.split(' ').chain(["-t", &length]).chain(CODING.split_whitespace()), path());
    }
    if !long_path().exists() {
        let (repeats, clip) = ((REPEATS - 1).to_string(), path());
        let clip = clip.to_str().expect("a path in UTF-8");
        ffmpeg(["-stream_loop", &repeats, "-i", clip, "-c", "copy", "-f", "flv"].into_iter(), long_path());
    }
}

/// Under another name first, so that what is there is whole.
fn ffmpeg<'a>(arguments: impl Iterator<Item = &'a str>, file: PathBuf) {
    let unfinished = file.with_extension("part");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y"]).args(arguments).arg(&unfinished);
    assert!(command.status().expect("ffmpeg").success(), "ffmpeg could not make {}", file.display());
    std::fs::rename(unfinished, file).expect("the clip's new name");
}

/// One FLV tag with sound or picture.
#[derive(Clone)]
pub struct Tag {
    pub track: Track,
    pub time: Duration,
    pub body: Bytes,
}

impl Tag {
    fn is_header(&self) -> bool {
        self.body[1] == 0
    }

    fn payload(&self) -> Bytes {
        self.body.slice(if self.track == Track::Video { 5 } else { 2 }..)
    }
}

pub struct Clip {
    format: Arc<Format>,
    pub tags: Vec<Tag>,
}

impl Clip {
    pub fn load() -> Self {
        let tags = read(&Bytes::from(std::fs::read(path()).expect("the clip")));
        let header = |track| tags.iter().find(|tag| tag.track == track && tag.is_header()).expect("a header").payload();
        let bps = BitRate::from_bps;
        let framerate = FrameRate::new(30, 1).expect("a rate");
        let video = VideoFormat { width: 1920, height: 1080, framerate, bitrate: bps(6_000_000), avcc: header(Track::Video) };
        let audio = AudioFormat { rate: 48_000, channels: 2, bitrate: bps(160_000), asc: header(Track::Audio) };
        let tags = tags.into_iter().filter(|tag| !tag.is_header() && tag.time < LENGTH).collect();
        Self { format: Arc::new(Format { video, audio }), tags }
    }

    /// The tags for ever, each with when it is due since the start.
    pub fn endless(&self) -> impl Iterator<Item = (Duration, &Tag)> {
        (0u32..).flat_map(|round| self.tags.iter().map(move |tag| (LENGTH * round + tag.time, tag)))
    }

    pub fn packet(&self, tag: &Tag, time: MediaTime) -> Packet {
        let keyframe = tag.track == Track::Video && tag.body[0] >> 4 == 1;
        let (track, duration, data) = (tag.track, Duration::from_millis(33), tag.payload());
        Packet { track, time, duration, keyframe, data, format: self.format.clone() }
    }

    pub fn bit_rate(&self) -> BitRate {
        let bytes: usize = self.tags.iter().map(|tag| tag.body.len()).sum();
        BitRate::from_bps(bytes as u64 * 8 / LENGTH.as_secs())
    }
}

fn read(file: &Bytes) -> Vec<Tag> {
    let number = |at: usize| u32::from_be_bytes([0, file[at], file[at + 1], file[at + 2]]);
    let (mut tags, mut at) = (Vec::new(), 13);
    while at + 11 <= file.len() {
        let length = number(at + 1) as usize;
        let time = Duration::from_millis(u64::from(number(at + 4)));
        let track = match file[at] {
            8 => Some(Track::Audio),
            9 => Some(Track::Video),
            _ => None,
        };
        tags.extend(track.map(|track| Tag { track, time, body: file.slice(at + 11..at + 11 + length) }));
        at += 11 + length + 4;
    }
    tags
}

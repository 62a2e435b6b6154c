//! The archive alone, fed with real packets: what the tests of this room stand on. ffmpeg makes the packets and judges the files.
#![allow(dead_code, reason = "each test uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use onaird::clock::MediaClock;
use onaird::config;
use onaird::media::hub::Hub;
use onaird::media::packet::{AAC_FRAME_SAMPLES, AudioFormat, Format, Packet, Track, VideoFormat};
use onaird::report::{Events, Report};
use onaird::status::{self, Status};
use onaird::units::{BitRate, ByteSize, FrameRate, MediaTime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const FPS: u32 = 30;
pub const GOP: u32 = 30;
pub const RATE: u32 = 48_000;

/// No condition takes nearly as long on a machine that works.
pub const LIMIT: Duration = Duration::from_secs(60);

/// H.264 and AAC of one clip, taken from the tags of an FLV file.
pub struct Clip {
    pub format: Arc<Format>,
    video: Vec<(bool, Bytes)>,
    audio: Vec<Bytes>,
}

impl Clip {
    pub fn make(seconds: u32, width: u32, height: u32) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("clip.flv");
        let picture = format!("testsrc2=size={width}x{height}:rate={FPS}:duration={seconds}");
        let sound = format!("sine=frequency=440:sample_rate={RATE}:duration={seconds}");
        let gop = GOP.to_string();
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound])
            .args([
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-pix_fmt",
                "yuv420p",
                "-bf",
                "0",
                "-g",
                &gop,
                "-sc_threshold",
                "0",
            ])
            .args(["-c:a", "aac", "-ac", "2", "-f", "flv"])
            .arg(&path)
            .output()
            .expect("ffmpeg runs");
        assert!(output.status.success(), "{output:?}");
        Self::parse(&std::fs::read(&path).unwrap(), width, height)
    }

    /// FLV: a header of 9 bytes, then tags of 11 + n + 4 bytes, each preceded by the former's size.
    fn parse(flv: &[u8], width: u32, height: u32) -> Self {
        let (mut video, mut audio, mut avcc, mut asc) = (Vec::new(), Vec::new(), Bytes::new(), Bytes::new());
        let mut rest = &flv[13..];
        while let [kind, a, b, c, _, _, _, _, _, _, _, body @ ..] = rest {
            let size = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let data = &body[..size];
            match (kind, data) {
                (9, [0x17, 0, _, _, _, header @ ..]) => avcc = Bytes::copy_from_slice(header),
                (9, [kind, 1, _, _, _, picture @ ..]) => video.push((*kind == 0x17, Bytes::copy_from_slice(picture))),
                (8, [_, 0, header @ ..]) => asc = Bytes::copy_from_slice(header),
                (8, [_, 1, sound @ ..]) => audio.push(Bytes::copy_from_slice(sound)),
                _ => {}
            }
            rest = &body[size + 4..];
        }
        let framerate = FrameRate::new(FPS, 1).unwrap();
        let format = Format {
            video: VideoFormat { width, height, framerate, bitrate: BitRate::from_bps(1_000_000), avcc },
            audio: AudioFormat { rate: RATE, channels: 2, bitrate: BitRate::from_bps(128_000), asc },
        };
        Self { format: format.into(), video, audio }
    }

    pub fn seconds(&self) -> u64 {
        self.video.len() as u64 / u64::from(FPS)
    }

    /// Its packets in order of time, from `start` on.
    pub fn packets(&self, start: Duration) -> Vec<Packet> {
        let nanos = |index: usize, per_second: u64, of: u64| Duration::from_nanos(index as u64 * of * 1_000_000_000 / per_second);
        let packet = |track, time: Duration, duration, keyframe, data: &Bytes| Packet {
            track,
            time: MediaTime::ZERO + start + time,
            duration,
            keyframe,
            data: data.clone(),
            format: self.format.clone(),
        };
        let (frame, sound) = (nanos(1, FPS.into(), 1), nanos(1, RATE.into(), AAC_FRAME_SAMPLES.into()));
        let video = self
            .video
            .iter()
            .enumerate()
            .map(|(index, (keyframe, data))| packet(Track::Video, nanos(index, FPS.into(), 1), frame, *keyframe, data));
        let audio =
            self.audio.iter().enumerate().map(|(index, data)| {
                packet(Track::Audio, nanos(index, RATE.into(), AAC_FRAME_SAMPLES.into()), sound, false, data)
            });
        let end = Duration::from_secs(self.seconds());
        let mut packets: Vec<Packet> = video.chain(audio).filter(|packet| packet.time < MediaTime::ZERO + start + end).collect();
        packets.sort_by_key(|packet| (packet.time, packet.track == Track::Audio));
        packets
    }
}

/// A running archive.
pub struct Archive {
    pub hub: Hub,
    status: watch::Sender<Status>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    pub directory: PathBuf,
}

impl Archive {
    pub fn start(directory: &Path, change: impl FnOnce(&mut config::Archive)) -> Self {
        gstreamer::init().unwrap();
        let mut config = config::Archive {
            enabled: true,
            directory: directory.to_owned(),
            segment: Duration::from_secs(3),
            keep_free: ByteSize::from_bytes(0),
            max_age: None,
            upload: None,
        };
        change(&mut config);
        let (hub, stop) = (Hub::new(), CancellationToken::new());
        let status = watch::Sender::new(Status::default());
        let report = Report::new(&status, |status| &mut status.archive);
        let (clock, nobody) = (MediaClock::start(), mpsc::channel(1).1);
        let events = Events::new(&status, clock.clone());
        let task = tokio::spawn(onaird::archive::run(config, hub.clone(), clock, report, events, nobody, stop.clone()));
        Self { hub, status, stop, task, directory: directory.to_owned() }
    }

    /// Faster than real time, but never further ahead than the hub's memory.
    pub async fn publish(&self, packets: Vec<Packet>) {
        for (index, packet) in packets.into_iter().enumerate() {
            self.hub.publish(packet);
            if index % 8 == 0 {
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
        }
    }

    pub async fn wait_for(&self, what: &str, condition: impl FnMut(&status::Archive) -> bool) -> status::Archive {
        let mut condition = condition;
        let mut watch = self.status.subscribe();
        let done = tokio::time::timeout(LIMIT, watch.wait_for(|status| condition(&status.archive))).await;
        match done {
            Ok(status) => status.unwrap().archive.clone(),
            Err(_) => panic!("waited for: {what}; {:#?}", self.status.borrow()),
        }
    }

    pub async fn stop(self) -> Status {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(2), self.task).await.expect("stops in time").unwrap();
        self.status.borrow().clone()
    }

    pub fn files(&self, end: &str) -> Vec<PathBuf> {
        files(&self.directory, end)
    }
}

/// By name, which is by age.
pub fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect();
    files.sort();
    files
}

pub fn run(program: &str, arguments: &[&str], file: &Path) -> Output {
    let arguments = arguments.iter().map(|argument| if *argument == "FILE" { file.to_str().unwrap() } else { argument });
    Command::new(program).args(arguments).output().expect("it runs")
}

/// Decodes everything; any word from ffmpeg is a fault.
pub fn assert_plays(file: &Path) {
    let output = run("ffmpeg", &["-v", "error", "-xerror", "-i", "FILE", "-f", "null", "-"], file);
    assert!(output.status.success() && output.stderr.is_empty(), "{}: {output:?}", file.display());
}

/// Lines of ffprobe.
pub fn probe(file: &Path, stream: &str, entries: &str) -> Vec<String> {
    let arguments = ["-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "csv=p=0", "FILE"];
    let output = run("ffprobe", &arguments, file);
    assert!(output.status.success() && output.stderr.is_empty(), "{}: {output:?}", file.display());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

pub fn count(file: &Path, stream: &str) -> usize {
    probe(file, stream, "packet=pts").len()
}

//! Legs, what feeds them, real origins, and how recordings are read and compared: the stage for tests of publishing.
//!
//! The hub is fed in real time with what ffmpeg has encoded; what the origins have recorded is read back and compared.
#![allow(dead_code, reason = "each test program uses its own part of the stage")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use onaird::clock::MediaClock;
use onaird::config;
use onaird::control::Rates;
use onaird::media::hub::Hub;
use onaird::media::packet::{AudioFormat, Format, Packet, Track, VideoFormat};
use onaird::publish::{Currents, Room};
use onaird::report::{Events, Report};
use onaird::secret::Secret;
use onaird::status::{self, LegState, Status};
use onaird::units::{BitRate, FrameRate, MediaTime};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Generous: the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(30);

pub const KEY: &str = "key-4711";

pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// One nginx process; ends with this value.
pub struct Origin {
    pub process: Child,
    pub directory: TempDir,
    pub address: IpAddr,
    pub port: u16,
}

impl Origin {
    pub async fn start() -> Self {
        Self::start_at(LOCAL, free_port()).await
    }

    pub async fn start_at(address: IpAddr, port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = SocketAddr::new(address, port);
        let text = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
            daemon off; master_process off; user root; pid nginx.pid; error_log error.log info;
            events {{ worker_connections 64; }}
            rtmp {{ server {{
                listen {place}; max_message 8M;
                application live {{ live on; record all; record_path {}; record_unique on; }}
            }} }}",
            directory.path().display()
        );
        std::fs::write(directory.path().join("nginx.conf"), text).unwrap();
        let process = Command::new("/usr/sbin/nginx")
            .args(["-c", "nginx.conf", "-e", "error.log", "-p"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx with its RTMP module is needed for this test");
        let origin = Self { process, directory, address, port };
        eventually("nginx listens", || std::net::TcpStream::connect(place).is_ok()).await;
        origin
    }

    pub fn config(&self) -> config::Origin {
        let url = config::OriginUrl { host: self.address.to_string(), ..origin(self.port, "live").url };
        config::Origin::new(url, Secret::new(KEY))
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
    }

    pub fn recordings(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|extension| extension == "flv")).collect();
        files.sort();
        files
    }

    /// All recordings, oldest first.
    pub fn tapes(&self) -> Vec<Vec<Tag>> {
        self.recordings().iter().map(|path| read_flv(path)).collect()
    }

    pub fn recording(&self) -> Vec<Tag> {
        let files = self.recordings();
        assert_eq!(files.len(), 1, "{files:?}");
        read_flv(&files[0])
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn origin(port: u16, app: &str) -> config::Origin {
    let url = config::OriginUrl { secure: false, host: "127.0.0.1".into(), port, app: app.into() };
    config::Origin::new(url, Secret::new(KEY))
}

#[derive(Clone, PartialEq)]
pub struct Tag {
    pub track: Track,
    pub millis: u64,
    pub body: Bytes,
}

impl Tag {
    pub fn is_video(&self) -> bool {
        self.track == Track::Video
    }

    /// Decoder configuration, not media.
    pub fn is_header(&self) -> bool {
        self.body[1] == 0
    }

    /// Neither decoder configuration nor the mark of the end that ffmpeg writes.
    pub fn is_media(&self) -> bool {
        self.body[1] == 1
    }

    pub fn is_keyframe(&self) -> bool {
        self.is_video() && self.body[0] >> 4 == 1
    }

    pub fn payload(&self) -> Bytes {
        self.body.slice(if self.is_video() { 5 } else { 2 }..)
    }
}

/// Sound and picture tags; a tag that is cut off by the end of the file ends the list.
pub fn read_flv(path: &Path) -> Vec<Tag> {
    let file = Bytes::from(std::fs::read(path).unwrap());
    let number = |at: usize| u32::from_be_bytes([0, file[at], file[at + 1], file[at + 2]]);
    let (mut tags, mut at) = (Vec::new(), 13);
    while at + 11 <= file.len() {
        let (length, millis) = (number(at + 1) as usize, number(at + 4) | u32::from(file[at + 7]) << 24);
        if at + 11 + length > file.len() {
            break;
        }
        let body = file.slice(at + 11..at + 11 + length);
        match file[at] {
            8 => tags.push(Tag { track: Track::Audio, millis: millis.into(), body }),
            9 => tags.push(Tag { track: Track::Video, millis: millis.into(), body }),
            _ => {}
        }
        at += 11 + length + 4;
    }
    tags
}

/// Real H.264 and AAC: a keyframe every second, no B-frames.
#[derive(Clone)]
pub struct Clip {
    pub format: Arc<Format>,
    pub tags: Vec<Tag>,
    pub millis: u64,
}

impl Clip {
    pub fn make(video_bitrate: &str) -> Self {
        Self::lasting(video_bitrate, 12)
    }

    pub fn lasting(video_bitrate: &str, seconds: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clip.flv");
        let sources = "-f lavfi -i testsrc2=size=320x180:rate=30 -f lavfi -i sine=sample_rate=48000 -vf noise=alls=20:allf=t -t";
        let coding = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 0 -g 30 -nal-hrd cbr -c:a aac -b:a 64k -ac 2 -f flv";
        let status = Command::new("ffmpeg")
            .args("-v error -nostdin".split(' ').chain(sources.split(' ')))
            .arg(seconds.to_string())
            .args(["-b:v", video_bitrate, "-minrate", video_bitrate, "-maxrate", video_bitrate, "-bufsize", video_bitrate])
            .args(coding.split(' '))
            .arg(&path)
            .status()
            .expect("ffmpeg is needed for this test");
        assert!(status.success());
        let tags = read_flv(&path);
        let header = |track| tags.iter().find(|tag| tag.track == track && tag.is_header()).unwrap().payload();
        let (framerate, bitrate) = (FrameRate::new(30, 1).unwrap(), BitRate::from_bps(1_000_000));
        let video = VideoFormat { width: 320, height: 180, framerate, bitrate, avcc: header(Track::Video) };
        let audio = AudioFormat { rate: 48_000, channels: 2, bitrate: BitRate::from_bps(64_000), asc: header(Track::Audio) };
        let millis = 1000 * seconds;
        let tags = tags.iter().filter(|tag| tag.is_media() && tag.millis < millis).cloned().collect();
        Self { format: Arc::new(Format { video, audio }), tags, millis }
    }

    pub fn packet(&self, tag: &Tag, time: MediaTime) -> Packet {
        let (keyframe, duration) = (tag.is_keyframe(), Duration::from_millis(33));
        Packet { track: tag.track, time, duration, keyframe, data: tag.payload(), format: self.format.clone() }
    }
}

/// Publishes the clip in real time, again and again.
pub fn feed(hub: &Hub, clock: &MediaClock, clip: Clip) -> JoinHandle<()> {
    feed_later(hub, clock, clip, Duration::ZERO)
}

/// The same, by a program that has been running for so long already.
pub fn feed_later(hub: &Hub, clock: &MediaClock, clip: Clip, age: Duration) -> JoinHandle<()> {
    let (hub, clock) = (hub.clone(), clock.clone());
    tokio::spawn(async move {
        let start = clock.now();
        for round in 0u64.. {
            for tag in &clip.tags {
                let time = start + Duration::from_millis(clip.millis * round + tag.millis);
                tokio::time::sleep(time.since(clock.now())).await;
                hub.publish(clip.packet(tag, time + age));
            }
        }
    })
}

/// Legs and what they report.
pub struct Studio {
    pub hub: Hub,
    pub clock: MediaClock,
    pub status: watch::Sender<Status>,
    pub stop: CancellationToken,
    pub legs: Vec<JoinHandle<()>>,
    pub room: Room,
}

impl Studio {
    pub fn open() -> Self {
        gst::init().unwrap();
        let (hub, clock, status) = (Hub::new(), MediaClock::start(), watch::Sender::new(Status::default()));
        let events = Events::new(&status, clock.clone());
        let (hub_, clock_) = (hub.clone(), clock.clone());
        let rate = BitRate::from_bps;
        let rates = Rates { video: rate(1_000_000), audio: rate(64_000), floor: rate(100_000), ceiling: rate(1_000_000) };
        let rates = watch::Sender::new(rates).subscribe();
        let device = "test box".into();
        let room = Room::new(Currents { device, started_at: None, seed: 7, hub: hub_, clock: clock_, events, rates });
        Self { hub, clock, status, stop: CancellationToken::new(), legs: Vec::new(), room }
    }

    /// Adds a leg; its index in the status is the number of legs before it.
    pub fn leg(&mut self, origins: Vec<config::Origin>, backlog: Duration, stop: CancellationToken) -> usize {
        self.leg_as(config::Leg { backlog, ..config::Leg::new(format!("leg{}", self.legs.len()), origins) }, stop)
    }

    /// The same, with every wish that a leg can have.
    pub fn leg_as(&mut self, leg: config::Leg, stop: CancellationToken) -> usize {
        let index = self.legs.len();
        self.status.send_modify(|status| status.legs.push(status::Leg::default()));
        let report = Report::new(&self.status, move |status: &mut Status| &mut status.legs[index]);
        let run = onaird::publish::run(leg, self.room.clone(), report, stop);
        self.legs.push(tokio::spawn(run));
        index
    }

    pub fn simple_leg(&mut self, origins: Vec<config::Origin>) -> usize {
        let stop = self.stop.clone();
        self.leg(origins, Duration::from_secs(5), stop)
    }

    pub fn figures(&self, leg: usize) -> status::Leg {
        self.status.borrow().legs[leg].clone()
    }

    /// Waits until the leg's status is as wanted.
    pub async fn reaches(&self, leg: usize, what: &str, wanted: impl Fn(&status::Leg) -> bool) -> status::Leg {
        let mut status = self.status.subscribe();
        let waited = tokio::time::timeout(LIMIT, status.wait_for(|status| wanted(&status.legs[leg]))).await;
        match waited {
            Ok(status) => status.unwrap().legs[leg].clone(),
            Err(_) => panic!("never came: {what}; {:#?}", self.status.borrow()),
        }
    }

    pub async fn goes_live(&self, leg: usize, on: &config::Origin) -> status::Leg {
        let url = on.url.to_string();
        self.reaches(leg, "live", |leg| leg.state == LegState::Live && leg.origin == url && leg.taken).await
    }

    /// Stops all legs; says how long that took.
    pub async fn close(&mut self) -> Duration {
        let start = self.clock.now();
        self.stop.cancel();
        for leg in self.legs.drain(..) {
            leg.await.unwrap();
        }
        assert!(self.status.borrow().legs.iter().all(|leg| leg.state == LegState::Off && !leg.taken));
        assert!(!serde_json::to_string(&*self.status.borrow()).unwrap().contains(KEY), "the stream key is shown");
        self.clock.now().since(start)
    }
}

pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

pub async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

/// Media of a track.
pub fn media(tags: &[Tag], track: Track) -> Vec<Tag> {
    tags.iter().filter(|tag| tag.track == track && tag.is_media()).cloned().collect()
}

/// How many tags both have, which must be the same, in the same order, at the same distances in time. An origin records times
/// from its first tag on, so that only distances can be compared.
pub fn common(a: &[Tag], b: &[Tag]) -> usize {
    let position = |list: &[Tag], of: &Tag| list.iter().position(|tag| tag.body == of.body);
    let (a, b) = match position(a, &b[0]) {
        Some(start) => (&a[start..], b),
        None => (a, &b[position(b, &a[0]).expect("nothing in common")..]),
    };
    for (a_tag, b_tag) in a.iter().zip(b) {
        assert!(a_tag.body == b_tag.body, "payloads differ at {} ms", a_tag.millis);
        assert_eq!(a_tag.millis - a[0].millis, b_tag.millis - b[0].millis);
    }
    a.len().min(b.len())
}

/// A recording starts with its decoder configurations and a keyframe.
pub fn assert_decodable(tags: &[Tag]) {
    let first_video: Vec<&Tag> = tags.iter().filter(|tag| tag.is_video()).take(2).collect();
    assert!(first_video[0].is_header() && first_video[1].is_keyframe() && !first_video[1].is_header());
    assert!(tags.iter().find(|tag| !tag.is_video()).unwrap().is_header());
}

/// A proxy that passes on so many bytes per second.
pub async fn throttled(port: u16, bytes_per_second: usize) -> u16 {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(128 << 10).unwrap();
    // Segments of 64 KiB, the loopback's, hardly fit into such a buffer: its window would open in leaps of seconds.
    socket2::SockRef::from(&socket).set_tcp_mss(1460).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_origin, mut to_origin) =
                tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_origin, &mut to_client).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; bytes_per_second / 50];
                while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                    to_origin.write_all(&buffer[..count]).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
    });
    address.port()
}

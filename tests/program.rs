//! The program with real GStreamer: what comes out of the encoders, whatever the inputs do.

use std::time::Duration;

use onaird::capture;
use onaird::clock::MediaClock;
use onaird::config::{self, InputKind};
use onaird::control::{Command, Commands, Request};
use onaird::media::hub::{Hub, Item};
use onaird::media::packet::{Packet, Track};
use onaird::media::raw::Feed;
use onaird::program::{self, ticker::Channel};
use onaird::report::{Events, Report};
use onaird::status::{Shows, Status};
use onaird::units::{BitRate, FrameRate};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

struct Station {
    hub: Hub,
    status: watch::Sender<Status>,
    commands: Commands,
    stop: CancellationToken,
    _orders: Vec<Commands>,
}

fn program_config() -> config::Program {
    config::Program {
        width: 320,
        height: 180,
        framerate: FrameRate::new(30, 1).unwrap(),
        video_bitrate: BitRate::from_bps(600_000),
        min_video_bitrate: BitRate::from_bps(100_000),
        keyframe_interval: Duration::from_secs(1),
        latency: Duration::from_millis(200),
        encoder: "auto".into(),
        audio_bitrate: BitRate::from_bps(64_000),
        input: "one".into(),
        slate: None,
    }
}

/// Starts a program with these inputs.
fn start(inputs: &[(&str, InputKind)]) -> Station {
    gstreamer::init().unwrap();
    let config = program_config();
    let (clock, hub, stop) = (MediaClock::start(), Hub::new(), CancellationToken::new());
    let status = watch::Sender::new(Status { inputs: vec![Default::default(); inputs.len()], ..Status::default() });
    let events = Events::new(&status, clock.clone());
    let setup = program::Setup::new(&config, "test box", None).unwrap();
    let mut channels = Vec::new();
    let mut orders = Vec::new();
    for (index, (name, kind)) in inputs.iter().enumerate() {
        let port = capture::Port {
            name: name.to_string(),
            format: setup.format(),
            feed: Feed::default(),
            clock: clock.clone(),
            report: Report::new(&status, move |status| &mut status.inputs[index]),
            events: events.clone(),
        };
        channels.push(Channel { name: name.to_string(), feed: port.feed.clone(), hold: Duration::from_millis(300) });
        let (sender, receiver) = mpsc::channel(8);
        orders.push(sender);
        tokio::spawn(capture::run(kind.clone(), port, receiver, stop.clone()));
    }
    let (commands, receiver) = mpsc::channel(8);
    let report = Report::new(&status, |status| &mut status.program);
    let currents = program::Currents { clock, hub: hub.clone(), report, events, commands: receiver };
    tokio::spawn(program::run(setup, channels, currents, stop.clone()));
    Station { hub, status, commands, stop, _orders: orders }
}

impl Station {
    /// The packets of so many pictures, from a keyframe on.
    async fn pictures(&self, count: usize) -> Vec<Arc<Packet>> {
        let mut reader = self.hub.reader();
        let mut packets = Vec::new();
        let mut pictures = 0;
        while pictures < count {
            let item = tokio::time::timeout(Duration::from_secs(30), reader.next()).await.expect("packets keep coming");
            let Item::Packet(packet) = item else { panic!("lost packets") };
            pictures += usize::from(packet.track == Track::Video);
            packets.push(packet);
        }
        packets
    }

    async fn order(&self, command: Command) -> Result<String, String> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Request { command, reply }).await.unwrap();
        answer.await.unwrap()
    }

    async fn until(&self, what: &str, condition: impl FnMut(&Status) -> bool) {
        let mut watched = self.status.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(30), watched.wait_for(condition)).await;
        assert!(waited.is_ok(), "{what} did not come: {:?}", self.status.borrow());
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn of(track: Track, packets: &[Arc<Packet>]) -> Vec<&Arc<Packet>> {
    packets.iter().filter(|packet| packet.track == track).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_are_regular_and_keyframes_lie_on_their_grid() {
    let station = start(&[("one", InputKind::Test)]);
    let packets = station.pictures(100).await;
    assert!(packets.windows(2).all(|pair| pair[0].time <= pair[1].time), "one order for both tracks");
    let video = of(Track::Video, &packets);
    let rate = FrameRate::new(30, 1).unwrap();
    for pair in video.windows(2) {
        let (index, next) = (rate.index_at(pair[0].time), rate.index_at(pair[1].time));
        assert_eq!(next, index + 1, "a picture for every tick");
        assert_eq!(pair[0].time, rate.time_of(index), "exactly on its tick");
    }
    for packet in &video[1..] {
        assert_eq!(packet.keyframe, rate.index_at(packet.time).is_multiple_of(30), "at {:?}", packet.time);
    }
    let audio = of(Track::Audio, &packets);
    let exact = Duration::from_nanos(1_024_000_000_000 / 48_000);
    for pair in audio.windows(2) {
        assert!(pair[1].time.since(pair[0].time).abs_diff(exact) < Duration::from_micros(50), "sound without a seam");
    }
    assert!(Arc::ptr_eq(&packets[0].format, &packets[packets.len() - 1].format), "one format throughout");
    assert_eq!(packets[0].format.video.avcc[0], 1, "AVCDecoderConfigurationRecord version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_signal_the_slate_is_on_and_a_switch_brings_the_picture() {
    let nothing = InputKind::V4l2 { device: "/dev/onair/never".into(), audio: None };
    let station = start(&[("one", nothing), ("two", InputKind::Test)]);
    station.until("the slate", |status| status.program.shows == Shows::Slate && status.program.frames > 10).await;
    assert!(station.order(Command::Switch { input: "nine".into() }).await.unwrap_err().contains("one, two"));
    station.order(Command::Switch { input: "two".into() }).await.unwrap();
    station.until("the picture", |status| status.program.shows == Shows::Live && status.program.input == "two").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bit_rate_changes_while_running() {
    let station = start(&[("one", InputKind::Test)]);
    let bytes = |packets: &[Arc<Packet>]| of(Track::Video, packets).iter().map(|packet| packet.data.len()).sum::<usize>();
    station.pictures(30).await;
    station.order(Command::Bitrate(BitRate::from_bps(100_000))).await.unwrap();
    station.pictures(60).await;
    let low = bytes(&station.pictures(90).await);
    station.order(Command::Bitrate(BitRate::from_bps(3_000_000))).await.unwrap();
    station.pictures(60).await;
    let high = bytes(&station.pictures(90).await);
    assert!(high > 2 * low, "{low} bytes at 100 kbit/s, {high} bytes at 3 Mbit/s");
}

//! A program with its inputs, without legs: what the tests of single rooms stand on. Real GStreamer, real encoders.
#![allow(dead_code, reason = "each test uses its own part of the station")]

use std::sync::Arc;
use std::time::Duration;

use onaird::capture;
use onaird::capture::card::Cards;
use onaird::capture::video::driver::Driver;
use onaird::clock::MediaClock;
use onaird::config::{self, InputKind};
use onaird::control::{Command, Commands, Request};
use onaird::media::hub::{Hub, Item};
use onaird::media::packet::{Packet, Track};
use onaird::media::raw::Feed;
use onaird::program::{self, Channel};
use onaird::report::{Events, Report};
use onaird::status::Status;
use onaird::units::{BitRate, FrameRate};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub struct Station {
    pub clock: MediaClock,
    pub events: Events,
    pub hub: Hub,
    pub status: watch::Sender<Status>,
    pub commands: Commands,
    pub stop: CancellationToken,
    pub orders: Vec<Commands>,
    pub program: JoinHandle<Result<(), program::Error>>,
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
        input: vec!["one".into()],
        return_after: Duration::from_secs(5),
        slate: None,
        slate_text: String::new(),
        thumbnails: false,
        fade: 0,
    }
}

/// Starts a program with these inputs.
pub fn start(inputs: &[(&str, InputKind)]) -> Station {
    start_with(inputs, |config| program::Setup::new(config, "test box", None).unwrap())
}

/// Starts a program that is set up otherwise.
pub fn start_with(inputs: &[(&str, InputKind)], setup: impl FnOnce(&config::Program) -> program::Setup) -> Station {
    gstreamer::init().unwrap();
    let devices = inputs.iter().filter_map(|(name, kind)| match kind {
        InputKind::V4l2 { device, .. } => Some((*name, device.as_path())),
        _ => None,
    });
    start_on(Arc::new(Driver::new(devices, MediaClock::start())), inputs, setup)
}

/// Starts a program whose capture devices come from elsewhere.
pub fn start_on(
    cards: Arc<dyn Cards>,
    inputs: &[(&str, InputKind)],
    setup: impl FnOnce(&config::Program) -> program::Setup,
) -> Station {
    gstreamer::init().unwrap();
    let config = program_config();
    let (clock, hub, stop) = (MediaClock::start(), Hub::new(), CancellationToken::new());
    let status = watch::Sender::new(Status { inputs: vec![Default::default(); inputs.len()], ..Status::default() });
    let events = Events::new(&status, clock.clone());
    let setup = setup(&config);
    let mut channels = Vec::new();
    let mut orders = Vec::new();
    for (index, (name, kind)) in inputs.iter().enumerate() {
        let report = Report::new(&status, move |status| &mut status.inputs[index]);
        let port = capture::Port {
            name: name.to_string(),
            format: setup.format(),
            feed: Feed::new(config.latency),
            clock: clock.clone(),
            monitor: capture::monitor::Monitor::new(&config::Watch::of(kind), setup.format(), report.clone()),
            report,
            events: events.clone(),
            cards: cards.clone(),
            lends: setup.imports(),
        };
        channels.push(Channel { name: name.to_string(), feed: port.feed.clone(), hold: Duration::from_millis(300) });
        let (sender, receiver) = mpsc::channel(8);
        orders.push(sender);
        tokio::spawn(capture::run(kind.clone(), port, receiver, stop.clone()));
    }
    let (commands, receiver) = mpsc::channel(8);
    let report = Report::new(&status, |status| &mut status.program);
    let currents =
        program::Currents { clock: clock.clone(), hub: hub.clone(), report, events: events.clone(), commands: receiver };
    let program = tokio::spawn(program::run(setup, channels, currents, stop.clone()));
    Station { clock, events, hub, status, commands, stop, orders, program }
}

impl Station {
    /// The packets of so many pictures, from a keyframe on.
    pub async fn pictures(&self, count: usize) -> Vec<Arc<Packet>> {
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

    pub async fn order(&self, command: Command) -> Result<String, String> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Request { command, reply }).await.unwrap();
        answer.await.unwrap()
    }

    pub async fn until(&self, what: &str, condition: impl FnMut(&Status) -> bool) {
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

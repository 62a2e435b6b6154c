//! Ours: legs as the daemon runs them, fed through the hub from a thread of its own as by the encoder.
//!
//! At full speed the hub is fed as a live program of that bit rate would feed it: every packet's time is now. The feeder keeps
//! a few megabytes ahead of the slowest leg, as the receiver tells it; a leg that has lost a packet all the same, or its
//! connection, ends the measurement.

use bytes::{BufMut, Bytes, BytesMut};
use onaird::clock::MediaClock;
use onaird::control::Rates;
use onaird::media::hub::Hub;
use onaird::media::packet::Packet;
use onaird::publish::{self, Currents, Room};
use onaird::report::{Events, Report};
use onaird::status::{self, Status};
use onaird::units::BitRate;
use onaird::{config, tasks};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clip::{Clip, Tag};
use crate::control::Control;
use crate::peer::{Job, Pace};
use crate::sink::STAMP;
use crate::time;

/// How far the feeder runs ahead of the slowest leg, at most.
const AHEAD: u64 = 4 << 20;

/// The legs of a daemon, without the rest of it.
struct Legs {
    hub: Hub,
    clock: MediaClock,
    clip: Clip,
    status: watch::Receiver<Status>,
    count: usize,
}

/// Publishes until it is killed.
pub fn publish(job: &Job) {
    gstreamer::init().expect("GStreamer");
    let legs = Legs::start(&job.ports);
    match job.pace {
        Pace::Stamped => legs.feed_in_time(stamped),
        Pace::RealTime => legs.feed_in_time(|packet, _| packet),
        Pace::HandedOver | Pace::Full | Pace::Batched => legs.feed_fast(&mut Control::connect(job.control)),
    }
}

impl Legs {
    fn start(ports: &[u16]) -> Self {
        let (hub, clock) = (Hub::new(), MediaClock::start());
        let sender = watch::Sender::new(Status { legs: vec![status::Leg::default(); ports.len()], ..Status::default() });
        let events = Events::new(&sender, clock.clone());
        let lane = tasks::lane("legs").expect("a thread");
        let rate = BitRate::from_bps(6_000_000);
        let rates = watch::Sender::new(Rates { video: rate, audio: rate, floor: rate, ceiling: rate });
        let room = Room::new(Currents {
            device: "bench".into(),
            started_at: None,
            seed: 0,
            hub: hub.clone(),
            clock: clock.clone(),
            events,
            rates: rates.subscribe(),
        });
        for (index, leg) in legs(ports).into_iter().enumerate() {
            let report = Report::new(&sender, move |status| &mut status.legs[index]);
            let stop = CancellationToken::new();
            lane.spawn(publish::run(leg, room.clone(), report, stop));
        }
        Self { hub, clock, clip: Clip::load(), status: sender.subscribe(), count: ports.len() }
    }

    fn feed_in_time(&self, finish: impl Fn(Packet, u64) -> Packet) {
        let start = time::now();
        for (number, (due, tag)) in self.clip.endless().enumerate() {
            time::pause_until(start + due);
            self.hub.publish(finish(self.clip.packet(tag, self.clock.now()), number as u64));
        }
    }

    /// The second clip shows how many bytes each clip makes on the wire.
    fn feed_fast(&self, control: &mut Control) {
        let first = self.feed_one(control);
        let mut start = self.feed_one(control);
        let (clip, mut reached) = (start - first, start);
        let payload: u64 = self.clip.tags.iter().map(|tag| tag.body.len() as u64).sum();
        loop {
            let mut fed = 0;
            for tag in &self.clip.tags {
                self.publish(tag);
                fed += tag.body.len() as u64;
                let published = start + fed * clip / payload;
                if published > reached + AHEAD {
                    reached = published - AHEAD / 2;
                    control.reached(reached);
                    self.check();
                }
            }
            start += clip;
        }
    }

    /// One clip, and how many bytes have then reached the receiver on each connection.
    fn feed_one(&self, control: &mut Control) -> u64 {
        self.clip.tags.iter().for_each(|tag| self.publish(tag));
        control.settled(self.count)
    }

    fn publish(&self, tag: &Tag) {
        self.hub.publish(self.clip.packet(tag, self.clock.now()));
    }

    fn check(&self) {
        let status = self.status.borrow();
        let whole = |leg: &status::Leg| leg.dropped_gops == 0 && leg.reconnects == 0 && leg.last_error.is_none();
        assert!(status.legs.iter().all(whole), "a leg that lost something: {:?}", status.legs);
    }
}

fn legs(ports: &[u16]) -> Vec<config::Leg> {
    let leg = |(index, port)| {
        format!(
            "[[leg]]\nname = \"leg-{index}\"\n[[leg.origin]]\nurl = \"rtmp://127.0.0.1:{port}/live\"\nstream_key = \"key-{index}\"\n"
        )
    };
    let legs: String = ports.iter().enumerate().map(leg).collect();
    let text = format!("version = 1\n[[input]]\nname = \"test\"\nkind = \"test\"\n{legs}");
    let parsed = config::parse(&text).unwrap_or_else(|faults| panic!("{faults:?}"));
    parsed.config.legs
}

/// With its number and the present time at its beginning.
fn stamped(packet: Packet, number: u64) -> Packet {
    let mut data = BytesMut::with_capacity(packet.data.len().max(STAMP.len() + 16));
    data.put_slice(STAMP);
    data.put_u64(number);
    data.put_u64(time::now().as_nanos() as u64);
    data.put_slice(packet.data.get(data.len()..).unwrap_or_default());
    Packet { data: Bytes::from(data), ..packet }
}

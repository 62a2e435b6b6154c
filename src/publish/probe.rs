//! The shell of pre-flight: does the steps against the real origins, one origin after the other, and tells each line as soon as
//! it is known. What a finding means, and what must not be done while a stream runs, is [`preflight`](super::preflight)'s.
//!
//! How the uplink is measured: there is no server for that, an origin takes publications and nothing else. So after all steps
//! the first good origin of each leg is published to at the same time, with [`filler`](super::filler) at twice the needed rate
//! for [`LOAD`]; what counts are the bytes that the peers' kernels have acknowledged from the first second on, when the
//! connections have found their speed. This is done only while no leg of this box is on air or trying to be: a load beside a
//! running stream would measure what is left and damage what is not.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::PublishError;
use super::conn::Conn;
use super::dial::Route;
use super::filler::{self, Filler};
use super::places::Places;
use super::preflight::{self, Finding, Line, Running, Step, Taken};
use super::steps::Publisher;
use crate::clock::MediaClock;
use crate::config::{self, Config};
use crate::control::{Reply, Request};
use crate::status::Status;
use crate::units::{BitRate, MediaTime};

/// How long an origin is listened to after it has accepted: some accept a key that is in use, and then close.
const SETTLE: Duration = Duration::from_millis(500);

/// For each half of a good-bye.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long the uplink is loaded, and how much of that is left out at the start.
const LOAD: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(1);

/// Bytes that wait beyond this show that the line does not take more: no filler is made then.
const WAITING: usize = 64 << 10;

#[derive(Clone)]
pub struct Preflight {
    legs: Vec<config::Leg>,
    device: String,
    need: BitRate,
    clock: MediaClock,
}

impl Preflight {
    pub fn new(config: &Config, clock: MediaClock) -> Self {
        let legs = config.legs.iter().filter(|leg| leg.enabled).cloned().collect();
        let need = preflight::need(config.program.video_bitrate, config.program.audio_bitrate);
        Self { legs, device: config.device.name.clone(), need, clock }
    }

    /// Checks every origin of every leg, then the uplink; true if nothing has failed.
    pub async fn run(&self, running: &(impl Fn() -> Running + Sync), tell: impl FnMut(Line) + Send) -> bool {
        let mut journal = Journal { clock: &self.clock, leg: String::new(), origin: String::new(), good: true, tell };
        let mut reached = Vec::new();
        for leg in &self.legs {
            let mut first = None;
            for origin in &leg.origins {
                (journal.leg, journal.origin) = (leg.name.clone(), origin.url.to_string());
                let accepted = self.check(leg, origin, running, &mut journal).await.is_some();
                first = first.or(accepted.then_some(origin));
            }
            reached.push((leg, first));
        }
        (journal.leg, journal.origin) = (String::new(), String::new());
        if !self.legs.is_empty() {
            self.measure(reached, running, &mut journal).await;
        }
        journal.good
    }

    /// All steps of one origin; `Some` if it has accepted a publication.
    async fn check<T: FnMut(Line) + Send>(
        &self,
        leg: &config::Leg,
        origin: &config::Origin,
        running: &(impl Fn() -> Running + Sync),
        journal: &mut Journal<'_, T>,
    ) -> Option<()> {
        let mut route = Route::new(origin, leg.interface.clone(), Places::default().join(&[]));
        let door = &mut route.door;
        let listed = |addresses: &Vec<_>| addresses.iter().map(std::net::SocketAddr::to_string).collect::<Vec<_>>().join(", ");
        let addresses = journal.step(Step::Dns, door.resolve(), listed).await?;
        let peer = |stream: &tokio::net::TcpStream| stream.peer_addr().map(|peer| format!("to {peer}")).unwrap_or_default();
        let stream = journal.step(Step::Tcp, door.connect(addresses), peer).await?;
        let conn = match door.secure {
            true => journal.step(Step::Tls, Conn::secured(stream, door), |_| "encrypted".into()).await?,
            false => {
                journal.note(Step::Tls, Duration::ZERO, Finding::Skipped("not encrypted, by its URL".into()));
                journal.quietly(Step::Tls, Conn::secured(stream, door).await)?
            }
        };
        let app = format!("knows the application {}", origin.url.app);
        let mut publisher = journal.step(Step::Rtmp, Publisher::greet(conn, &mut route, &self.device), |_| app).await?;
        if let Some(why) = running().objection(&leg.name, &origin.url.to_string()) {
            journal.note(Step::Publish, Duration::ZERO, Finding::Skipped(why));
            publisher.leave(FAREWELL).await;
            return None;
        }
        let start = self.clock.now();
        let accepted = publisher.publish().await;
        let took = self.clock.now().since(start);
        let accepted = match accepted {
            Ok(()) => publisher.listen(SETTLE).await,
            error => error,
        };
        match accepted {
            Ok(()) => {
                journal.note(Step::Publish, took, Finding::Ok("takes the stream key".into()));
                publisher.close(FAREWELL).await;
                Some(())
            }
            Err(error) => {
                journal.note(Step::Publish, took, preflight::failed(Step::Publish, &error));
                publisher.leave(FAREWELL).await;
                None
            }
        }
    }

    async fn measure<T: FnMut(Line) + Send>(
        &self,
        origins: Vec<(&config::Leg, Option<&config::Origin>)>,
        running: &(impl Fn() -> Running + Sync),
        journal: &mut Journal<'_, T>,
    ) {
        if let Some(why) = running().objection_to_load() {
            return journal.note(Step::Uplink, Duration::ZERO, Finding::Skipped(why));
        }
        let start = self.clock.now();
        let mut loads = JoinSet::new();
        for (index, (leg, origin)) in origins.into_iter().enumerate() {
            let (name, rate, clock) = (leg.name.clone(), preflight::offer(self.need), self.clock.clone());
            let load = origin.map(|origin| {
                load(Route::new(origin, leg.interface.clone(), Places::default().join(&[])), self.device.clone(), rate, clock)
            });
            loads.spawn(async move {
                let rate = match load {
                    Some(load) => load.await.map_err(|error| error.to_string()),
                    None => Err("none of its origins took a publication".into()),
                };
                (index, Taken { leg: name, rate })
            });
        }
        let mut taken = loads.join_all().await;
        taken.sort_by_key(|(index, _)| *index);
        let taken: Vec<_> = taken.into_iter().map(|(_, taken)| taken).collect();
        journal.note(Step::Uplink, self.clock.now().since(start), preflight::uplink(self.need, &taken));
    }
}

/// Where lines go, and whether all of them were good.
struct Journal<'a, T> {
    clock: &'a MediaClock,
    leg: String,
    origin: String,
    good: bool,
    tell: T,
}

impl<T: FnMut(Line) + Send> Journal<'_, T> {
    async fn step<V>(
        &mut self,
        step: Step,
        work: impl Future<Output = Result<V, PublishError>>,
        words: impl FnOnce(&V) -> String,
    ) -> Option<V> {
        let start = self.clock.now();
        let result = work.await;
        let finding = match &result {
            Ok(value) => Finding::Ok(words(value)),
            Err(error) => preflight::failed(step, error),
        };
        self.note(step, self.clock.now().since(start), finding);
        result.ok()
    }

    /// Part of a step that is told only if it fails.
    fn quietly<V>(&mut self, step: Step, result: Result<V, PublishError>) -> Option<V> {
        result.map_err(|error| self.note(step, Duration::ZERO, preflight::failed(step, &error))).ok()
    }

    fn note(&mut self, step: Step, took: Duration, finding: Finding) {
        let line = Line { leg: self.leg.clone(), origin: self.origin.clone(), step, took, finding };
        self.good &= !line.has_failed();
        (self.tell)(line);
    }
}

/// Publishes filler for a while; what the origin's kernel acknowledged of it per second.
async fn load(mut route: Route, device: String, rate: BitRate, clock: MediaClock) -> Result<BitRate, PublishError> {
    let conn = Conn::connect(&mut route.door).await?;
    let mut publisher = Publisher::greet(conn, &mut route, &device).await?;
    publisher.publish().await?;
    let taken = fill(&mut publisher, Filler::new(rate), &clock).await;
    match taken {
        Ok(_) => publisher.close(FAREWELL).await,
        Err(_) => publisher.leave(FAREWELL).await,
    }
    taken
}

async fn fill(publisher: &mut Publisher, mut filler: Filler, clock: &MediaClock) -> Result<BitRate, PublishError> {
    let start = clock.now();
    publisher.session().send_format(filler.format(), 0)?;
    let mut ticks = interval(filler::INTERVAL);
    let mut warm = None;
    loop {
        ticks.tick().await;
        let age = clock.now().since(start);
        if age >= WARM_UP && warm.is_none() {
            warm = Some((age, publisher.truth()?.acked_bytes));
        }
        if let Some((since, before)) = warm.filter(|_| age >= LOAD) {
            let bits = 8 * (publisher.truth()?.acked_bytes - before);
            return Ok(BitRate::from_bps((bits as f64 / (age - since).as_secs_f64()) as u64));
        }
        if publisher.session().pending_len() < WAITING {
            let packet = filler.packet(MediaTime::from_nanos(age.as_nanos() as u64));
            publisher.session().send_packet(&packet, packet.time.millis() as u32)?;
        }
        publisher.exchange(filler::INTERVAL).await?;
    }
}

/// Makes the check for whoever asks, until `stop`. Those who ask while one is made get the same report.
pub async fn serve(
    preflight: Preflight,
    status: watch::Receiver<Status>,
    mut requests: mpsc::Receiver<Request>,
    stop: CancellationToken,
) {
    let serving = async {
        while let Some(request) = requests.recv().await {
            let reply = report(&preflight, &status).await;
            let _ = request.reply.send(reply.clone());
            while let Ok(request) = requests.try_recv() {
                let _ = request.reply.send(reply.clone());
            }
        }
        stop.cancelled().await;
    };
    let _ = stop.run_until_cancelled(serving).await;
}

/// The longest that a report may take: with many dead origins it would be minutes.
const LIMIT: Duration = Duration::from_secs(100);

async fn report(preflight: &Preflight, status: &watch::Receiver<Status>) -> Reply {
    let running = || Running { legs: status.borrow().legs.clone(), same: true };
    let mut lines = Vec::new();
    let good = timeout(LIMIT, preflight.run(&running, |line| lines.push(line.to_string()))).await;
    if good.is_err() {
        lines.push(format!("not finished within {} s", LIMIT.as_secs()));
    }
    if lines.is_empty() {
        lines.push("there is no leg that is switched on; nothing to check".into());
    }
    if good == Ok(true) { Ok(lines.join("\n")) } else { Err(lines.join("\n")) }
}

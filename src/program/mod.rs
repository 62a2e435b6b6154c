//! Room `program`: the one picture and sound that goes out. It starts with the daemon and never stops.
//!
//! ```text
//!  feeds ──▶ ticker, show (thread: one tick per frame) ──▶ encoder pipelines (GStreamer) ──▶ outlet ──▶ hub
//!               ▲ desk: switch, figures                  ▲ bit rate │ faults, silence
//!               └──────────────── actor (this file) ─────┴──────────┴─ repair ◀── commands     ──▶ status
//! ```
//!
//! What an input does cannot change the caps, the rate or the time stamps of what goes out: see [`sync`]. This room opens no
//! device and knows no origin.

pub mod blend;
pub mod encoder;
mod encoders;
pub mod fade;
mod outlet;
mod pipeline;
mod pool;
mod repair;
mod setup;
mod show;
pub mod slate;
mod source;
mod switch;
pub mod sync;
pub mod ticker;
pub mod trial;
pub mod vigil;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::MediaClock;
use crate::control::{Command, Reply, Request};
use crate::media::hub::Hub;
use crate::media::packet::Track;
use crate::media::raw::CHANNELS;
use crate::program::encoders::Encoders;
use crate::program::outlet::{Counts, Outlet};
use crate::program::pipeline::{Cause, Fault, Surroundings};
use crate::program::repair::Repair;
use crate::program::ticker::{Desk, Figures, Ticker};
use crate::program::trial::Trials;
use crate::report::{Events, Report};
use crate::status;
use crate::units::BitRate;

pub use setup::Setup;
pub use source::Channel;

/// How often the figures go into the status.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// How long the encoders may take for what they still hold when the program stops, and then to be stopped.
const END_LIMIT: Duration = Duration::from_millis(400);
const STOP_LIMIT: Duration = Duration::from_millis(200);

/// Faults that wait for the actor; each pipeline tells one.
const FAULTS: usize = 8;

#[derive(Debug, Error)]
pub enum Error {
    /// No encoder, or a pipeline that does not start; the sentence says what to do.
    #[error("{0}")]
    Pipeline(String),
    #[error("the program's ticker ended")]
    Ticker,
}

/// The currents that end in this room.
pub struct Currents {
    pub clock: MediaClock,
    pub hub: Hub,
    pub report: Report<status::Program>,
    pub events: Events,
    pub commands: mpsc::Receiver<Request>,
}

/// Runs the program until `stop`; any other end is an error. After one, the encoders are tried anew at the next start.
pub async fn run(setup: Setup, channels: Vec<Channel>, currents: Currents, stop: CancellationToken) -> Result<(), Error> {
    let state = setup.state.clone();
    let end = show(setup, channels, currents, stop).await;
    if end.is_err() {
        Trials::forget(state.as_deref());
    }
    end
}

async fn show(setup: Setup, channels: Vec<Channel>, currents: Currents, stop: CancellationToken) -> Result<(), Error> {
    let Currents { clock, hub, report, events, commands } = currents;
    let (fault_sender, mut faults) = mpsc::channel(FAULTS);
    let outlet = Arc::new(Outlet::new(setup.plan, hub));
    let leaving = Arc::new(AtomicUsize::new(0));
    let surroundings = Surroundings { clock: clock.clone(), outlet: outlet.clone(), faults: fault_sender, leaving };
    let encoders = Encoders::start(setup.plan, setup.heap.clone(), &surroundings).await.map_err(Error::Pipeline)?;
    let encoders = Arc::new(encoders);
    let mut repair = Repair::new(&setup.plan, surroundings);
    let desk = Desk::default();
    let mut ticking = start_ticker(&setup, &channels, &clock, &events, encoders.clone(), desk.clone(), stop.clone())?;
    let selected = setup.config.input.first().cloned().unwrap_or_default();
    let (limit, peaks) = (setup.plan.settings.bitrate, VecDeque::new());
    let mut room = Room { setup, channels, encoders, outlet, desk, report, events, selected, limit, commands, peaks };
    room.introduce();
    let mut interval = tokio::time::interval(REPORT_INTERVAL);
    loop {
        let repaired = tokio::select! {
            Some(request) = room.commands.recv() => { room.handle(request); Ok(None) }
            Some(fault) = faults.recv() => repair.heed(&mut room.setup.plan, &room.encoders, fault).map(|()| None),
            () = room.desk.changed() => { room.report_picture(); Ok(None) }
            built = repair.built() => repair.finish(&mut room.setup.plan, &room.encoders, built),
            _ = interval.tick() => {
                let ticks = room.report_figures();
                repair.look(&mut room.setup.plan, &room.encoders, ticks).map(|()| None)
            }
            _ = &mut ticking => break,
        };
        if let Some(news) = repaired.map_err(Error::Pipeline)? {
            room.events.add(news);
        }
    }
    if !stop.is_cancelled() {
        return Err(Error::Ticker);
    }
    room.end(&mut faults).await;
    Ok(())
}

fn start_ticker(
    setup: &Setup,
    channels: &[Channel],
    clock: &MediaClock,
    events: &Events,
    encoders: Arc<Encoders>,
    desk: Desk,
    stop: CancellationToken,
) -> Result<tokio::sync::oneshot::Receiver<()>, Error> {
    if channels.is_empty() {
        return Err(Error::Pipeline("there is no input to show".into()));
    }
    let ticker = Ticker {
        clock: clock.clone(),
        format: setup.plan.format,
        latency: setup.config.latency,
        gop: setup.plan.settings.gop,
        slate: setup.slate(events),
        encoders,
        desk,
        channels: channels.to_vec(),
        start: channels.iter().position(|channel| setup.config.input.first() == Some(&channel.name)).unwrap_or_default(),
    };
    let (ended, end) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("ticker".into()).spawn(move || {
        ticker.run(&stop);
        let _ = ended.send(());
    });
    thread.map(|_| end).map_err(|error| Error::Pipeline(format!("the ticker's thread cannot be started: {error}")))
}

struct Room {
    setup: Setup,
    channels: Vec<Channel>,
    encoders: Arc<Encoders>,
    outlet: Arc<Outlet>,
    desk: Desk,
    report: Report<status::Program>,
    events: Events,
    selected: String,
    /// The video bit rate that was asked for; the encoder's own may be lower.
    limit: BitRate,
    commands: mpsc::Receiver<Request>,
    /// Peaks of the last second, one entry per report.
    peaks: VecDeque<[u16; CHANNELS]>,
}

impl Room {
    fn introduce(&self) {
        let plan = &self.setup.plan;
        if let Some(remark) = &self.setup.remark {
            self.events.add(format!("{remark}; {} is used instead", plan.recipe.element));
        }
        self.events.add(format!(
            "program: {}x{} {} fps, {} at {}",
            plan.format.width, plan.format.height, plan.format.framerate, plan.recipe.element, plan.settings.bitrate
        ));
        self.report.update(|program| {
            program.width = plan.format.width;
            program.height = plan.format.height;
            program.fps = plan.format.framerate.fps();
            program.encoder = plan.recipe.element.into();
            program.video_bitrate_bps = plan.settings.bitrate.bps();
            program.video_bitrate_limit_bps = self.limit.bps();
            program.selected.clone_from(&self.selected);
            program.automatic = self.has_list();
        });
    }

    fn handle(&mut self, request: Request) {
        let reply = match request.command {
            Command::Switch { input, fade, by } => self.switch(&input, fade, by),
            Command::Auto => self.give_back(),
            Command::Bitrate(bitrate) => self.set_limit(bitrate),
            Command::AgreedBitrate(bitrate) => self.follow(bitrate),
            Command::Roll { .. } | Command::Cue { .. } => Err("the inputs do this, not the program".into()),
            Command::Preflight => Err("the legs do this, not the program".into()),
            Command::NotOnAir(_) | Command::Export(_) => Err("the archive is told this, not the program".into()),
        };
        let _ = request.reply.send(reply);
    }

    /// What a person wants. Where congestion keeps the rate lower, it stays there, and the conductor raises it.
    fn set_limit(&mut self, wanted: BitRate) -> Reply {
        let lowest = self.setup.config.min_video_bitrate;
        let highest = BitRate::from_bps(100_000_000);
        if !(lowest..=highest).contains(&wanted) {
            return Err(format!("{wanted} is out of range; give a bit rate from {lowest} to {highest}"));
        }
        let (rate, free) = (self.setup.plan.settings.bitrate, self.setup.plan.settings.bitrate >= self.limit);
        self.limit = wanted;
        self.report.update(|program| program.video_bitrate_limit_bps = wanted.bps());
        if free || wanted <= rate {
            self.set_bitrate(wanted);
            self.events.add(format!("video bit rate is now {wanted}"));
            return Ok(format!("video bit rate {wanted}"));
        }
        self.events.add(format!("video bit rate may now be {wanted}"));
        Ok(format!("video bit rate {wanted} as soon as the legs carry it, {rate} now"))
    }

    /// What the conductor found that the legs carry.
    fn follow(&mut self, agreed: BitRate) -> Reply {
        let rate = agreed.max(self.setup.config.min_video_bitrate).min(self.limit);
        self.set_bitrate(rate);
        Ok(format!("video bit rate {rate}"))
    }

    fn set_bitrate(&mut self, bitrate: BitRate) {
        self.encoders.set_bitrate(bitrate);
        self.outlet.set_bitrate(bitrate);
        self.setup.plan.settings.bitrate = bitrate;
        self.report.update(|program| program.video_bitrate_bps = bitrate.bps());
    }

    /// Puts the figures into the status; the number of ticks so far.
    fn report_figures(&mut self) -> u64 {
        let Figures { frames, repeated, dropped, peaks, .. } = self.desk.figures();
        let Counts { video, audio, late } = self.outlet.counts();
        let loudest = self.loudest(peaks);
        self.report.update(|program| {
            program.frames = frames;
            program.frames_repeated = repeated;
            program.frames_dropped = dropped + late;
            program.packets = video + audio;
            program.progress = video.min(audio);
            program.audio_dbfs = Vec::from(loudest.map(dbfs));
        });
        frames
    }

    /// What was shown before the stop goes out and is recorded.
    async fn end(&self, faults: &mut mpsc::Receiver<Fault>) {
        self.encoders.end();
        let ended = async {
            for _ in Track::BOTH {
                while !matches!(faults.recv().await, None | Some(Fault { cause: Cause::Ended, .. })) {}
            }
        };
        let _ = tokio::time::timeout(END_LIMIT, ended).await;
        self.outlet.flush();
        let [video, audio] = Track::BOTH.map(|track| self.encoders.pipeline(track).stop());
        let _ = tokio::time::timeout(STOP_LIMIT, async { (video.await, audio.await) }).await;
    }

    fn loudest(&mut self, peaks: [u16; CHANNELS]) -> [u16; CHANNELS] {
        self.peaks.push_back(peaks);
        if self.peaks.len() > REPORTS_PER_SECOND {
            self.peaks.pop_front();
        }
        std::array::from_fn(|channel| self.peaks.iter().map(|peaks| peaks[channel]).max().unwrap_or_default())
    }
}

/// Reports in one second.
const REPORTS_PER_SECOND: usize = 4;

/// A sample's size in dBFS, rounded to tenths; -100 for silence.
fn dbfs(peak: u16) -> f64 {
    let full_scale = f64::from(1 << 15);
    let value = 20.0 * (f64::from(peak) / full_scale).log10();
    (value.max(-100.0) * 10.0).round() / 10.0
}

const _: () = assert!(CHANNELS == 2, "the rooms speak of stereo");

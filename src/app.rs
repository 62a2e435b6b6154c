//! The daemon put together: builds the rooms, connects the currents, awaits the first end.
//!
//! ```text
//!  SIGTERM / SIGINT ──▶ stop everything, ≤ 2.4 s ──▶ exit 0          a second signal: exit at once
//!  a task ends by itself ──▶ its name in the log ──▶ exit 1 (systemd starts the daemon again)
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::capture::card::Cards;
use crate::capture::video::driver::Driver;
use crate::clock::{self, MediaClock};
use crate::conductor::Room;
use crate::config::{self, Config};
use crate::console::socket::{Door, Orders};
use crate::control::{Commands, PENDING, Rates, Request, UploadShare};
use crate::media::hub::Hub;
use crate::media::raw::Feed;
use crate::program::Channel;
use crate::publish::probe::{self, Preflight};
use crate::report::{Events, Report};
use crate::status::{self, Status};
use crate::tasks::{self, Tasks};
use crate::{archive, capture, conductor, identity, notify, program, publish};

/// How long the program may take to stop, then legs and archive: together less than the 3 s that a stop may take.
const SOURCES_LIMIT: Duration = Duration::from_millis(700);
const SINKS_LIMIT: Duration = Duration::from_millis(1700);

/// Where the daemon lives.
#[derive(Clone, Debug)]
pub struct Places {
    pub socket: PathBuf,
    /// For what must survive a restart; `None`: nothing does.
    pub state: Option<PathBuf>,
    /// Pictures of the inputs, for others to look at.
    pub thumbnails: PathBuf,
}

/// What every room is given.
struct House {
    config: Config,
    places: Places,
    clock: MediaClock,
    hub: Hub,
    status: watch::Sender<Status>,
    events: Events,
    /// Stops inputs and the program …
    stop_sources: CancellationToken,
    /// … and, once these have given all they had, legs and archive.
    stop_sinks: CancellationToken,
    tasks: Tasks,
}

/// Runs until it is told to stop. `remarks` (about the configuration) become the first events.
pub async fn run(config: Config, places: Places, remarks: Vec<String>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut house = House::build(config, places, &remarks);
    for remark in remarks {
        house.events.add(remark);
    }
    house.open_rooms()?;
    let ended = tokio::select! {
        ended = house.tasks.next_end() => ended,
        () = either(&mut terminate, &mut interrupt) => None,
    };
    tokio::select! {
        () = house.close() => {}
        () = either(&mut terminate, &mut interrupt) => tracing::warn!("told twice to stop: leaving at once"),
    }
    match ended {
        None => Ok(()),
        Some(ended) => {
            let cause = ended.result.err().map_or_else(|| "without a word".into(), |error| format!("{error:#}"));
            anyhow::bail!("task {} ended: {cause}", ended.name)
        }
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

impl House {
    fn build(config: Config, places: Places, remarks: &[String]) -> Self {
        let clock = MediaClock::start();
        let device = status::Device {
            name: config.device.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: 0,
            config_faults: remarks.to_vec(),
        };
        let status = watch::Sender::new(Status {
            device,
            inputs: vec![status::Input::default(); config.inputs.len()],
            legs: vec![status::Leg::default(); config.legs.len()],
            ..Status::default()
        });
        let events = Events::new(&status, clock.clone());
        Self {
            config,
            places,
            events,
            clock,
            status,
            hub: Hub::new(),
            stop_sources: CancellationToken::new(),
            stop_sinks: CancellationToken::new(),
            tasks: Tasks::default(),
        }
    }

    fn open_rooms(&mut self) -> anyhow::Result<()> {
        let door = Door::open(&self.places.socket)?;
        let told = conductor::Told { rates: self.open_publish()?, share: self.open_upload() };
        let archive = self.open_archive();
        let setup = program::Setup::new(&self.config.program, &self.config.device.name, self.places.state.as_deref())?;
        let (channels, mut rooms) = self.open_capture(&setup);
        let orders = Orders {
            program: self.open_program(setup, channels),
            preflight: self.open_preflight(),
            archive: self.open_exports(),
        };
        rooms.insert(Room::Program, orders.program.clone());
        rooms.insert(Room::Archive, archive);
        let status = &self.status;
        self.tasks.spawn("console", door.serve(status.subscribe(), orders));
        let (clock, events) = (self.clock.clone(), self.events.clone());
        self.tasks.spawn("conductor", conductor::run(self.config.clone(), status.clone(), clock, events, rooms, told));
        self.tasks.spawn("notify", notify::run(status.subscribe()));
        Ok(())
    }

    /// One task per input; the feeds for the program, and the way to give each input an order.
    fn open_capture(&mut self, setup: &program::Setup) -> (Vec<Channel>, HashMap<Room, Commands>) {
        let (mut channels, mut ports) = (Vec::new(), Vec::new());
        let mut orders = HashMap::new();
        let devices = self.config.inputs.iter().filter_map(config::Input::device);
        let cards: Arc<dyn Cards> = Arc::new(Driver::new(devices, self.clock.clone()));
        for (index, input) in self.config.inputs.clone().into_iter().enumerate() {
            let (sender, receiver) = mpsc::channel::<Request>(PENDING);
            let report = Report::new(&self.status, move |status| &mut status.inputs[index]);
            let port = capture::Port {
                name: input.name.clone(),
                format: setup.format(),
                feed: Feed::new(self.config.program.latency).with_sound_delay(input.delay),
                clock: self.clock.clone(),
                monitor: capture::monitor::Monitor::new(&input.watch, setup.format(), report.clone()),
                report,
                events: self.events.clone(),
                cards: cards.clone(),
                lends: setup.imports(),
            };
            ports.push(port.clone());
            channels.push(Channel { name: input.name.clone(), feed: port.feed.clone(), hold: input.hold });
            orders.insert(Room::Input(input.name.clone()), sender);
            let task = capture::run(input.kind, port, receiver, self.stop_sources.clone());
            self.tasks.spawn(format!("input {}", input.name), task);
        }
        if self.config.program.thumbnails {
            let task = capture::thumbnails::run(ports, self.places.thumbnails.clone(), self.stop_sources.clone());
            self.tasks.spawn("thumbnails", endless(task));
        }
        (channels, orders)
    }

    fn open_program(&mut self, setup: program::Setup, channels: Vec<Channel>) -> Commands {
        let (sender, commands) = mpsc::channel(PENDING);
        let currents = program::Currents {
            clock: self.clock.clone(),
            hub: self.hub.clone(),
            report: Report::new(&self.status, |status| &mut status.program),
            events: self.events.clone(),
            commands,
        };
        self.tasks.spawn("program", program::run(setup, channels, currents, self.stop_sources.clone()));
        sender
    }

    /// One task per leg; the way to tell them what the program makes.
    fn open_publish(&mut self) -> anyhow::Result<watch::Sender<Rates>> {
        let lane = tasks::lane("legs").context("starting the thread of the legs")?;
        let name = self.config.device.name.clone();
        let (rates, told) = watch::channel(conductor::rates(&self.config.program, &status::Program::default()));
        let room = publish::Room::new(publish::Currents {
            seed: identity::seed(&name),
            device: name,
            started_at: Some(clock::wall_time()),
            hub: self.hub.clone(),
            clock: self.clock.clone(),
            events: self.events.clone(),
            rates: told,
        });
        for (index, leg) in self.config.legs.clone().into_iter().enumerate() {
            let report = Report::new(&self.status, move |status| &mut status.legs[index]);
            let name = format!("leg {}", leg.name);
            self.tasks.spawn(format!("proof of {name}"), endless(publish::prove(leg.clone(), room.clone(), report.clone())));
            let task = endless(publish::run(leg, room.clone(), report, self.stop_sinks.clone()));
            self.tasks.spawn_on(&lane, name, task);
        }
        Ok(rates)
    }

    fn open_preflight(&mut self) -> Commands {
        let (sender, requests) = mpsc::channel(PENDING);
        let preflight = Preflight::new(&self.config, self.clock.clone());
        let task = probe::serve(preflight, self.status.subscribe(), requests, self.stop_sinks.clone());
        self.tasks.spawn("preflight", endless(task));
        sender
    }

    fn open_archive(&mut self) -> Commands {
        let (sender, orders) = mpsc::channel(PENDING);
        let report = Report::new(&self.status, |status| &mut status.archive);
        let (config, hub, clock) = (self.config.archive.clone(), self.hub.clone(), self.clock.clone());
        let task = archive::run(config, hub, clock, report, self.events.clone(), orders, self.stop_sinks.clone());
        self.tasks.spawn("archive", endless(task));
        sender
    }

    fn open_exports(&mut self) -> Commands {
        let (sender, requests) = mpsc::channel(PENDING);
        let report = Report::new(&self.status, |status| &mut status.archive.export);
        let (clock, events) = (self.clock.clone(), self.events.clone());
        let task = archive::hear_exports(requests, clock, report, events, self.stop_sinks.clone());
        self.tasks.spawn("exports", endless(task));
        sender
    }

    /// The way to tell it what the legs leave of the line.
    fn open_upload(&mut self) -> watch::Sender<UploadShare> {
        let (sender, share) = watch::channel(UploadShare::NONE);
        let Some(upload) = self.config.archive.upload.clone() else { return sender };
        let room = archive::upload::Room {
            config: upload,
            device: self.config.device.name.clone(),
            folder: self.config.archive.directory.clone(),
            share,
            clock: self.clock.clone(),
            report: Report::new(&self.status, |status| &mut status.archive.upload),
            events: self.events.clone(),
        };
        self.tasks.spawn("upload", endless(archive::upload::run(room, self.stop_sinks.clone())));
        sender
    }

    /// Every room finishes what it does; those that cannot are left behind by name.
    async fn close(self) {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        tracing::info!("stopping");
        let Self { mut tasks, stop_sources, stop_sinks, .. } = self;
        stop_sources.cancel();
        tasks.wait(|name| name == "program", SOURCES_LIMIT).await;
        stop_sinks.cancel();
        // Console, conductor and notify never end; the rooms that hold something do.
        let holds = |name: &str| !["console", "conductor", "notify"].contains(&name) && !name.starts_with("proof of ");
        let late = tasks.wait(holds, SINKS_LIMIT).await;
        for name in late {
            tracing::warn!("{name} did not stop in time and is left behind");
        }
    }
}

async fn endless(task: impl Future<Output = ()>) -> Result<(), Infallible> {
    task.await;
    Ok(())
}

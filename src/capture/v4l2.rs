//! A capture device as an input: its pictures on a thread of their own, its sound in a pipeline, each begun again whenever it ends.
//!
//! They know nothing of each other, so that a missing sound card cannot take the picture away.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::capture::card::Seat;
use crate::capture::sink::{self, Counter, Running, Said};
use crate::capture::{Error, Port, RETRY_FIRST, RETRY_LONGEST, edid, recipe, video};
use crate::config::{Connector, Edid};
use crate::units::MediaTime;

/// A pipeline that lasted for so long was a good one: the next pause is short again.
const GOOD_LIFE: Duration = Duration::from_secs(15);

/// Where an input sits, from its configuration. An EDID that cannot be used is said, and the built-in one is taken.
pub fn seat(port: &Port, device: PathBuf, connector: Connector, edid: Edid) -> Seat {
    let format = &port.format;
    let built_in = || edid::built_in(format.width, format.height, format.framerate.fps());
    let edid = match edid {
        Edid::Auto => Some(built_in()),
        Edid::Keep => None,
        Edid::File(path) => Some(users_edid(&path).unwrap_or_else(|fault| {
            port.events.add(format!("input {}: {} cannot be used: {fault}; the built-in EDID is", port.name, path.display()));
            built_in()
        })),
    };
    Seat { input: port.name.clone(), device, connector, edid }
}

fn users_edid(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    edid::read(&bytes).map(<[u8]>::to_vec).map_err(|fault| fault.to_string())
}

pub async fn run(seat: Seat, audio: Option<String>, port: Port, stop: CancellationToken) -> Result<(), Error> {
    let pictures = video::run(seat, port.cards.clone(), port.clone(), stop.clone());
    tokio::select! {
        ended = pictures => ended,
        () = keep_sound(audio.as_deref(), &port) => Ok(()),
    }
}

async fn keep_sound(name: Option<&str>, port: &Port) {
    let Some(name) = name else { return std::future::pending().await };
    let mut rest = Rest::default();
    loop {
        let born = port.clock.now();
        let error = run_sound(name, port).await;
        rest.after(born, &error, port).await;
    }
}

/// The pause between two lives; it grows while they are short, and the same fault is said once.
struct Rest {
    backoff: Backoff,
    told: Option<String>,
}

impl Default for Rest {
    fn default() -> Self {
        Self { backoff: const { Backoff::new(RETRY_FIRST, RETRY_LONGEST).expect("base below cap") }, told: None }
    }
}

impl Rest {
    async fn after(&mut self, born: MediaTime, error: &Error, port: &Port) {
        let text = error.to_string();
        if port.clock.now().since(born) > GOOD_LIFE {
            self.backoff.reset();
            self.told = None;
        }
        port.fault(&text, self.told.as_ref() != Some(&text));
        self.told = Some(text);
        tokio::time::sleep(self.backoff.next(fastrand::f64())).await;
    }
}

async fn run_sound(name: &str, port: &Port) -> Error {
    let running = match Running::parse(&recipe::alsa(name)) {
        Ok(running) => running,
        Err(fault) => return Error::Pipeline(fault),
    };
    if let Some(appsink) = running.element("sound") {
        sink::sound(&appsink, port.clone(), Counter::default());
    }
    running.start_at(&port.clock, MediaTime::ZERO);
    let mut said = sink::listen(&running.0);
    play(&running).await;
    match said.recv().await {
        Some(Said::Fault(fault)) => Error::Pipeline(format!("sound from {name}: {fault}; `arecord -L` lists the names")),
        _ => Error::Pipeline(format!("sound from {name} ended")),
    }
}

/// Opening a device may block, so it is not done on the runtime's own threads. A failure is told by the bus.
async fn play(running: &Running) {
    let pipeline = running.0.clone();
    let _ = tokio::task::spawn_blocking(move || pipeline.set_state(gst::State::Playing)).await;
}

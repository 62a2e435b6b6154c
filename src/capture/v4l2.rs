//! A capture device as an input: its pictures in one pipeline, its sound in another, both built again whenever they end.
//!
//! Sound has its own pipeline so that a missing sound card cannot take the picture away. Nothing is decided by messages alone:
//! drivers stop without a word, so that silence for `STALL` counts as a fault. `v4l2src` does the capture for now.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::capture::sink::{self, Counter, Running, Said};
use crate::capture::{Error, Port, RETRY_FIRST, RETRY_LONGEST, recipe, signal};
use crate::status::Signal;
use crate::units::MediaTime;

/// No picture for this long is a fault.
const STALL: Duration = Duration::from_secs(3);

/// How often the device is asked about its cable and the pictures are counted.
const LOOK: Duration = Duration::from_millis(500);

pub async fn run(device: PathBuf, audio: Option<String>, port: Port, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep_sound(audio.as_deref(), &port) => {}
        () = keep_pictures(&device, &port) => {}
    }
}

async fn keep_pictures(device: &Path, port: &Port) {
    let mut rest = Rest::default();
    loop {
        let born = port.clock.now();
        let error = run_pictures(device, port).await;
        rest.after(born, &error, port).await;
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
        if port.clock.now().since(born) > 5 * STALL {
            self.backoff.reset();
            self.told = None;
        }
        port.fault(&text, self.told.as_ref() != Some(&text));
        self.told = Some(text);
        tokio::time::sleep(self.backoff.next(fastrand::f64())).await;
    }
}

/// How faults of the sound begin: pictures that come do not mend them.
const SOUND: &str = "sound from";

async fn run_pictures(device: &Path, port: &Port) -> Error {
    let look = look(device).await;
    report_signal(port, &look, false);
    if look.signal == Signal::NoDevice {
        return Error::Pipeline(format!("{} is not there; plug the capture device in, or correct `device`", device.display()));
    }
    let error = match start_pictures(device, port).await {
        Ok((running, counter)) => watch_pictures(device, port, running, counter).await,
        Err(error) => error,
    };
    port.report.update(|input| input.rolling = false);
    error
}

async fn start_pictures(device: &Path, port: &Port) -> Result<(Running, Counter), Error> {
    let text = recipe::v4l2(device, signal::has_raw_format(device), &port.format);
    let running = Running::parse(&text).map_err(Error::Pipeline)?;
    let counter = Counter::default();
    if let Some(appsink) = running.element("pictures") {
        sink::pictures(&appsink, port.feed.clone(), port.clock.clone(), counter.clone());
    }
    running.start_at(&port.clock, MediaTime::ZERO);
    Ok((running, counter))
}

/// Stays as long as pictures come.
async fn watch_pictures(device: &Path, port: &Port, running: Running, counter: Counter) -> Error {
    let mut said = sink::listen(&running.0);
    if tokio::time::timeout(2 * STALL, play(&running)).await.is_err() {
        return Error::Stalled(2 * STALL);
    }
    let mut last_count = 0;
    let mut last_news = port.clock.now();
    let mut interval = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            Some(said) = said.recv() => return told(device, said),
            _ = interval.tick() => {}
        }
        let (count, now) = (counter.get(), port.clock.now());
        if count != last_count {
            (last_count, last_news) = (count, now);
        }
        if now.since(last_news) > STALL {
            return Error::Stalled(STALL);
        }
        let mut look = look(device).await;
        look.mode = negotiated(&running).or(look.mode);
        report_signal(port, &look, count > 0);
    }
}

async fn run_sound(name: &str, port: &Port) -> Error {
    let running = match Running::parse(&recipe::alsa(name)) {
        Ok(running) => running,
        Err(fault) => return Error::Pipeline(fault),
    };
    if let Some(appsink) = running.element("sound") {
        sink::sound(&appsink, port.feed.clone(), port.clock.clone(), Counter::default());
    }
    running.start_at(&port.clock, MediaTime::ZERO);
    let mut said = sink::listen(&running.0);
    play(&running).await;
    match said.recv().await {
        Some(Said::Fault(fault)) => Error::Pipeline(format!("{SOUND} {name}: {fault}; `arecord -L` lists the names")),
        _ => Error::Pipeline(format!("{SOUND} {name} ended")),
    }
}

/// Opening a device may block, so it is not done on the runtime's own threads. A failure is told by the bus.
async fn play(running: &Running) {
    let pipeline = running.0.clone();
    let _ = tokio::task::spawn_blocking(move || pipeline.set_state(gst::State::Playing)).await;
}

async fn look(device: &Path) -> signal::Look {
    let device = device.to_path_buf();
    let looked = tokio::task::spawn_blocking(move || signal::look(&device)).await;
    looked.unwrap_or(signal::Look { signal: Signal::NoDevice, mode: None })
}

fn report_signal(port: &Port, look: &signal::Look, rolling: bool) {
    port.report.update(|input| {
        input.signal = look.signal;
        input.rolling = rolling;
        if let Some(mode) = &look.mode {
            input.mode.clone_from(mode);
        }
        let mended = rolling && look.signal == Signal::Locked;
        input.last_error.take_if(|fault| mended && !fault.starts_with(SOUND));
    });
}

/// What the device was set to: "1280x720 60/1 fps YUY2".
fn negotiated(running: &Running) -> Option<String> {
    let caps = running.element::<gst::Element>("source")?.static_pad("src")?.current_caps()?;
    let structure = caps.structure(0)?;
    let (width, height) = (structure.get::<i32>("width").ok()?, structure.get::<i32>("height").ok()?);
    let rate = structure.get::<gst::Fraction>("framerate").ok()?;
    let format = structure.get::<&str>("format").unwrap_or("JPEG");
    Some(format!("{width}x{height} {:.2} fps {format}", f64::from(rate.numer()) / f64::from(rate.denom().max(1))))
}

fn told(device: &Path, said: Said) -> Error {
    match said {
        Said::Fault(fault) => Error::Pipeline(format!("{}: {fault}; it is tried again", device.display())),
        Said::Ended => Error::Pipeline(format!("{} ended its stream; it is tried again", device.display())),
    }
}

//! The pictures of a capture device: one thread per device that opens it, watches its cable, streams while there is a signal, and
//! begins anew whatever happens.
//!
//! ```text
//!            ┌───────────── fault: closed, everything given back, a pause that grows ◀─────────────────┐
//!            ▼                                                                                         │
//!         open ──▶ look, until a signal is locked ──▶ start ──▶ pictures ──▶ chain ──▶ feed            │
//!                     ▲                                            │ (while `lock` lets them pass)     │
//!                     └─────── other timings, or no pictures ◀─────┴───────────────────────────────────┘
//! ```
//!
//! What the cable's state means is the rule of [`lock`]; what a driver is told, [`driver`]'s. This thread alone talks to the
//! device, so a driver that hangs keeps this input waiting and nobody else.

pub mod calls;
mod chain;
pub mod driver;
pub mod format;
mod lend;
pub mod lock;
mod memory;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::chain::Chain;
use self::lock::{Lock, Verdict};
use crate::backoff::Backoff;
use crate::capture::card::{Card, Cards, Fault, Lend, Picture, Seat, Wake, Wanted};
use crate::capture::native::Native;
use crate::capture::{Error, Port, RETRY_FIRST, RETRY_LONGEST};
use crate::status::Signal;
use crate::units::MediaTime;

/// How long the thread waits for a device at most before it looks around.
const WAIT: Duration = Duration::from_millis(50);

/// How often the cable is looked at without a cause.
const LOOK: Duration = Duration::from_millis(250);

/// A stamp farther from the present than this is not believed.
const PLAUSIBLE: Duration = Duration::from_secs(1);

/// Silence of a locked signal that is worth a sentence.
const STALL: Duration = Duration::from_secs(1);

/// Keeps the pictures of a device coming until `stop`.
pub async fn run(seat: Seat, cards: Arc<dyn Cards>, port: Port, stop: CancellationToken) -> Result<(), Error> {
    let (ended, end) = tokio::sync::oneshot::channel();
    let body = move || {
        Capture::new(seat, port, stop).run(&*cards);
        let _ = ended.send(());
    };
    thread::Builder::new().name("capture".into()).spawn(body).map_err(Error::Thread)?;
    let _ = end.await;
    Ok(())
}

struct Capture {
    seat: Seat,
    port: Port,
    stop: CancellationToken,
    lock: Lock,
    backoff: Backoff,
    looked_at: MediaTime,
    told: Told,
}

/// What was said last, so that only news is said.
#[derive(Default)]
struct Told {
    signal: Signal,
    fault: Option<String>,
    mode: String,
}

impl Capture {
    fn new(seat: Seat, port: Port, stop: CancellationToken) -> Self {
        let backoff = const { Backoff::new(RETRY_FIRST, RETRY_LONGEST).expect("base below cap") };
        let (lock, told) = (Lock::new(port.clock.now()), Told::default());
        Self { seat, port, stop, lock, backoff, looked_at: MediaTime::ZERO, told }
    }

    fn run(mut self, cards: &dyn Cards) {
        while !self.stop.is_cancelled() {
            // Taken before the device is looked for, so that nothing falls in between.
            let mut seen = u64::MAX;
            cards.plugged(&mut seen, Duration::ZERO);
            let life = cards.open(&self.seat).and_then(|mut card| self.live(&mut *card));
            if let Err(fault) = life {
                self.fail(&fault);
                self.rest(cards, seen);
            }
        }
    }

    /// One open device, until it fails or the input is stopped.
    fn live(&mut self, card: &mut dyn Card) -> Result<(), Fault> {
        while !self.stop.is_cancelled() {
            self.look(card)?;
            if self.lock.look().signal != Signal::Locked {
                self.report(false);
                card.wait(LOOK)?;
                continue;
            }
            let ended = self.stream(card);
            card.stop();
            ended?;
        }
        Ok(())
    }

    /// Streams until another signal is there, or until nothing comes any more.
    fn stream(&mut self, card: &mut dyn Card) -> Result<(), Fault> {
        let native = card.start(&self.wanted())?;
        let mut chain = Chain::new(&native, &self.port).map_err(Fault::Unusable)?;
        self.lock.started(frame(&native), self.now());
        self.told.mode = native.to_string();
        while !self.stop.is_cancelled() {
            match card.wait(WAIT)? {
                Wake::Picture(picture) => self.picture(&chain, picture),
                Wake::SourceChange => self.look(card)?,
                Wake::Nothing => {}
            }
            if self.look_is_due() {
                self.look(card)?;
                self.report(chain.delivered.get() > 0);
            }
            if let Some(fault) = chain.fault() {
                return Err(Fault::Unusable(format!("pictures of {native} cannot be converted: {fault}")));
            }
            if self.lock.verdict(self.now()) != Verdict::Stay {
                break;
            }
        }
        Ok(())
    }

    fn picture(&mut self, chain: &Chain, picture: Picture) {
        let now = self.now();
        let good = !picture.flawed && chain.accepts(&picture.buffer);
        if self.lock.pictured(good, now) {
            let due = self.due(picture.time, now);
            chain.push(picture, due);
        }
    }

    /// When a picture was captured; a driver's stamp that cannot be right is replaced by the present.
    fn due(&self, stamp: Option<Duration>, now: MediaTime) -> MediaTime {
        let epoch = self.port.clock.epoch().nseconds();
        let stamped = stamp.and_then(|stamp| (stamp.as_nanos() as u64).checked_sub(epoch)).map(MediaTime::from_nanos);
        stamped.filter(|time| time.abs_diff(now) < PLAUSIBLE).unwrap_or(now)
    }

    fn look(&mut self, card: &mut dyn Card) -> Result<(), Fault> {
        let look = card.look()?;
        self.looked_at = self.now();
        self.lock.looked(look, self.looked_at);
        Ok(())
    }

    fn look_is_due(&self) -> bool {
        let interval = if self.lock.doubts() { lock::CONFIRM / 2 } else { LOOK };
        self.now().since(self.looked_at) >= interval
    }

    /// The status, and an event when the signal has become another one.
    fn report(&mut self, delivered: bool) {
        let signal = self.lock.signal();
        let passes = delivered && self.lock.passes();
        let remark = self.lock.look().remark.map(|remark| remark.to_string());
        let mode = if signal == Signal::Locked { self.told.mode.as_str() } else { "" };
        let quiet = self.lock.quiet(self.now());
        let (stalled, proving) = (signal == Signal::Locked && quiet > STALL, quiet < STALL);
        self.port.report.update(|input| {
            input.signal = signal;
            input.rolling = passes;
            mode.clone_into(&mut input.mode);
            input.remark = remark;
            if stalled {
                input.last_error = Some(format!("no picture comes although the signal is there ({mode}); it is tried again"));
            } else if passes || proving || signal != Signal::Locked {
                input.last_error = None;
            }
        });
        if passes {
            self.told.fault = None;
            self.backoff.reset();
        } else {
            self.port.monitor.blind();
        }
        self.say(signal);
    }

    fn say(&mut self, signal: Signal) {
        if std::mem::replace(&mut self.told.signal, signal) == signal {
            return;
        }
        let mode = if signal == Signal::Locked { format!(", {}", self.told.mode) } else { String::new() };
        self.port.events.add(format!("input {}: {signal}{mode}", self.port.name));
    }

    /// The device has failed: nothing of it is left open.
    fn fail(&mut self, fault: &Fault) {
        let signal = match fault {
            Fault::Absent(_) | Fault::Gone => Signal::NoDevice,
            Fault::Refused(_) => Signal::OutOfRange,
            _ => self.lock.signal(),
        };
        self.lock.ended(signal, self.now());
        self.port.monitor.blind();
        self.port.report.update(|input| {
            input.signal = signal;
            input.rolling = false;
            input.mode.clear();
            input.remark = None;
        });
        let text = fault.to_string();
        let news = self.told.fault.as_ref() != Some(&text);
        self.port.fault(&text, news);
        self.told.fault = Some(text);
        self.told.signal = signal;
    }

    /// A pause before the next try; it grows until pictures pass again, and is over when something has been plugged in.
    fn rest(&mut self, cards: &dyn Cards, mut seen: u64) {
        let end = self.now() + self.backoff.next(fastrand::f64());
        while !self.stop.is_cancelled() && self.now() < end && !cards.plugged(&mut seen, WAIT) {}
    }

    fn wanted(&self) -> Wanted {
        let format = self.port.format;
        let lend = self.port.lends.then(|| Lend { format, keep: self.port.feed.keeps() });
        Wanted { width: format.width, height: format.height, fps: format.framerate.fps(), lend }
    }

    fn now(&self) -> MediaTime {
        self.port.clock.now()
    }
}

/// From one picture to the next; of a rate that is not known, a slow camera's.
fn frame(native: &Native) -> Duration {
    let fps = native.rate.fps();
    Duration::from_secs_f64(1.0 / if fps >= 1.0 { fps } else { 5.0 })
}

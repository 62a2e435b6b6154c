//! The sound of a device input: a thread that keeps the feed filled from a sound card, for as long as there is one, for ever.
//!
//! ```text
//!  SoundCard ── blocks with their times ──▶ chain (drift rule, resampler) ──▶ raw::Feed, each sample in its place
//!  (alsa, or a test's)                              └──▶ meter, status: state, drift, offset, levels
//! ```
//!
//! It is apart from the pictures, so that neither can take the other away; what ties both together is the clock: each
//! sample and each picture is placed by the moment of its capture. A fault ends the life of a device: it is closed, opened
//! again after a pause, and takes over whatever rate it has then. While there is no sound nothing is written, which the
//! program reads as silence. Alarms are the conductor's.
//!
//! ```text
//!            opened, samples come                 no sample for 1 s
//! no_device ──────────────────────▶ running ◀───────────────────────▶ no_sound ── for 3 s ──▶ opened anew
//!   busy    ◀────────────────────── gone, taken by another program
//! ```

pub mod alsa;
pub mod beside;
pub mod card;
pub mod chain;
pub mod drift;
pub mod resample;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::card::{Fault, Native, SoundCard, SoundCards, Wake};
use self::chain::{Chain, News};
use crate::backoff::Backoff;
use crate::capture::{Error, Port, RETRY_FIRST, RETRY_LONGEST, on_own_thread};
use crate::media::meter::Meter;
use crate::status::{Sound, SoundState};
use crate::units::MediaTime;

/// How long one look at the device takes at most.
const LOOK: Duration = Duration::from_millis(100);

/// Without a sample for this long, there is no sound …
const SILENT: Duration = Duration::from_secs(1);

/// … and after this, the device is opened anew: some drivers need it.
const STILL: Duration = Duration::from_secs(3);

/// A device that ran for as long begins with short pauses again.
const SOUND_LIFE: Duration = Duration::from_secs(10);

/// How often figures are reported.
const REPORT: Duration = Duration::from_millis(250);

/// Where the sound comes from.
pub struct Spec {
    /// ALSA's name for it, or "auto": the card of the same USB or PCI device as the pictures.
    pub name: String,
    /// The device of the pictures, as it is found now.
    pub beside: Box<dyn Fn() -> Option<PathBuf> + Send + Sync>,
}

impl Spec {
    /// The card's name now: "auto" may find another one each time.
    fn resolve(&self) -> Result<String, Fault> {
        match self.name.as_str() {
            "auto" => {
                let card = (self.beside)().and_then(|device| beside::card(&device));
                card.ok_or_else(|| Fault::Absent("\"auto\", a sound card beside the capture device,".into()))
            }
            name => Ok(name.into()),
        }
    }
}

/// Keeps the sound of one input until `stop`.
pub async fn run(cards: Arc<dyn SoundCards>, spec: Spec, port: Port, stop: CancellationToken) -> Result<(), Error> {
    on_own_thread("sound", move || async move { Keeper::new(&port).keep(&*cards, &spec, &stop).await }).await
}

/// What outlives the device's lives.
struct Keeper<'a> {
    port: &'a Port,
    meter: Meter,
    sound: Sound,
    /// When samples came last.
    heard_at: MediaTime,
    reported_at: MediaTime,
    told: Option<Fault>,
    backoff: Backoff,
}

impl<'a> Keeper<'a> {
    fn new(port: &'a Port) -> Self {
        let now = port.clock.now();
        Self {
            port,
            meter: Meter::default(),
            sound: Sound { state: SoundState::NoDevice, ..Sound::default() },
            heard_at: now,
            reported_at: now,
            told: None,
            backoff: const { Backoff::new(RETRY_FIRST, RETRY_LONGEST).expect("base below cap") },
        }
    }

    async fn keep(mut self, cards: &dyn SoundCards, spec: &Spec, stop: &CancellationToken) {
        self.report(None);
        while !stop.is_cancelled() {
            let born = self.port.clock.now();
            let Err(fault) = self.live(cards, spec, stop) else { return };
            self.bury(fault, born);
            let pause = self.backoff.next(fastrand::f64());
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One life of the device; without a fault only if it is told to stop.
    fn live(&mut self, cards: &dyn SoundCards, spec: &Spec, stop: &CancellationToken) -> Result<(), Fault> {
        let mut card = cards.open(&spec.resolve()?)?;
        let native = card.start()?;
        let unusable = || Fault::Unusable(format!("the sound device's rate of {} Hz cannot be used", native.rate_hz));
        let mut chain = Chain::new(native.rate_hz).ok_or_else(unusable)?;
        let started_at = self.port.clock.now();
        let ended = self.listen(&mut *card, native, &mut chain, started_at, stop);
        chain.end(&mut outlet(self.port, &mut self.meter));
        card.stop();
        ended
    }

    fn listen(
        &mut self,
        card: &mut dyn SoundCard,
        native: Native,
        chain: &mut Chain,
        started_at: MediaTime,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let mut samples = Vec::new();
        while !stop.is_cancelled() {
            let wake = card.read(LOOK, &mut samples)?;
            let now = self.port.clock.now();
            match wake {
                Wake::Sound(time) => self.take(chain, native, time, &samples, now),
                Wake::Overrun => chain.overrun(),
                Wake::Nothing => self.miss(now.since(started_at.max(self.heard_at)))?,
            }
            if now.since(self.reported_at) >= REPORT {
                self.reported_at = now;
                self.report(Some(chain));
            }
        }
        Ok(())
    }

    fn take(&mut self, chain: &mut Chain, native: Native, time: Duration, samples: &[f32], now: MediaTime) {
        let epoch = Duration::from_nanos(self.port.clock.epoch().nseconds());
        let time_s = time.as_secs_f64() - epoch.as_secs_f64();
        let channels = native.channels as usize;
        let news = chain.take(time_s, samples, channels, &mut outlet(self.port, &mut self.meter));
        if let Some(news) = news {
            self.tell(news);
        }
        self.heard_at = now;
        if self.sound.state != SoundState::Running {
            self.sound.state = SoundState::Running;
            (self.sound.last_error, self.told) = (None, None);
            self.port.events.add(format!("input {}: sound runs at {} Hz", self.port.name, native.rate_hz));
            self.report(Some(chain));
        }
    }

    /// No sample for so long.
    fn miss(&mut self, silent: Duration) -> Result<(), Fault> {
        if silent >= SILENT && self.sound.state != SoundState::NoSound {
            self.sound.state = SoundState::NoSound;
            self.meter.rest();
        }
        if silent >= STILL { Err(Fault::Still(STILL)) } else { Ok(()) }
    }

    fn tell(&mut self, news: News) {
        self.sound.resets += 1;
        let text = match news {
            News::Hole(seconds) => format!("{:.0} ms of sound were lost", seconds * 1000.0),
            News::Leapt(seconds) => format!("sound began anew after a leap of {:.0} ms", seconds * 1000.0),
            News::Rate(rate_hz) => format!("sound now comes at {rate_hz} Hz"),
        };
        self.port.events.add(format!("input {}: {text}", self.port.name));
    }

    /// The device is closed; its fault is said once.
    fn bury(&mut self, fault: Fault, born: MediaTime) {
        if self.port.clock.now().since(born) > SOUND_LIFE {
            self.backoff.reset();
        }
        self.sound.state = match &fault {
            Fault::Absent(_) | Fault::Gone => SoundState::NoDevice,
            Fault::Busy(_) => SoundState::Busy,
            Fault::Unusable(_) | Fault::Still(_) | Fault::Driver { .. } => SoundState::NoSound,
        };
        self.sound.last_error = Some(fault.to_string());
        if self.told.as_ref() != Some(&fault) {
            self.port.events.add(format!("input {}: {fault}", self.port.name));
        }
        self.told = Some(fault);
        self.meter.rest();
        self.report(None);
    }

    fn report(&mut self, chain: Option<&Chain>) {
        let (levels, now) = (self.meter.levels(), self.port.clock.now());
        let running = self.sound.state == SoundState::Running;
        let silent = now.since(self.heard_at);
        let sound = Sound {
            rate_hz: chain.map_or(0, Chain::rate_hz),
            offset_ms: chain.filter(|_| running).and_then(Chain::late_s).map(|late_s| (late_s * 1e5).round() / 100.0),
            drift_ppm: chain.map(|chain| (chain.ppm() * 10.0).round() / 10.0),
            peak_dbfs: levels.peak_dbfs.into(),
            rms_dbfs: levels.rms_dbfs.into(),
            loudness_lufs: levels.short_term_lufs,
            momentary_lufs: levels.momentary_lufs,
            silent_s: if running { self.meter.unheard().as_secs_f64() } else { silent.as_secs_f64().round() },
            down_s: if running { 0 } else { silent.as_secs() },
            ..self.sound.clone()
        };
        self.port.report.update(|input| input.sound = Some(sound));
    }
}

/// What leaves the chain goes into the feed and past the meter.
fn outlet<'a>(port: &'a Port, meter: &'a mut Meter) -> impl FnMut(u64, &[i16]) + 'a {
    |index, samples| {
        port.placed_sound(index, samples);
        meter.add(samples);
    }
}

//! One encoder as a GStreamer pipeline: raw pictures or sound in, packets to the outlet. Picture and sound have one each, so that
//! what happens to the one does not touch the other.
//!
//! A thin shell, and a wary one: a driver that hangs blocks whoever asks it for anything. Pushing therefore never waits (what
//! does not fit is dropped and counted), and building, stopping and changing the bit rate are done on threads of their own. A
//! fault is told, once; what follows from it is decided elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::{mpsc, oneshot};

use crate::clock::MediaClock;
use crate::media::packet::Track;
use crate::media::raw::{CHANNELS, RawFormat, SAMPLE_RATE};
use crate::program::encoder::{AudioRecipe, Knob, Recipe, Settings};
use crate::program::outlet::{Life, Outlet};
use crate::units::BitRate;

/// How many raw pictures may wait, in time, for an encoder which the machine kept from its work: more than the ticker makes up.
const MAX_WAITING: Duration = Duration::from_millis(2500);

/// How long building may take: what a trial of the encoder may take too.
const BUILD_LIMIT: Duration = Duration::from_secs(5);

/// Everything that the pipelines are made from.
#[derive(Clone, Copy)]
pub struct Plan {
    pub format: RawFormat,
    pub recipe: &'static Recipe,
    pub audio_recipe: &'static AudioRecipe,
    pub settings: Settings,
    pub audio_bitrate: BitRate,
    /// The encoder is fed with dmabufs alone, which it imports.
    pub imports: bool,
}

impl Plan {
    /// A track's pipeline as text, which `gst-launch` understands.
    pub fn text(&self, track: Track) -> String {
        let caps = match track {
            Track::Video => self.format.program_caps(),
            Track::Audio => format!("audio/x-raw,format=S16LE,layout=interleaved,rate={SAMPLE_RATE},channels={CHANNELS}"),
        };
        let coding = match track {
            Track::Video => {
                let encoder = match self.imports {
                    true => self.recipe.importing_text(self.settings),
                    false => self.recipe.text(self.settings),
                };
                format!("{encoder} ! h264parse ! video/x-h264,stream-format=avc,alignment=au")
            }
            Track::Audio => {
                let encoder = self.audio_recipe.text(self.audio_bitrate);
                format!("audioconvert ! {encoder} ! aacparse ! audio/mpeg,mpegversion=4,stream-format=raw")
            }
        };
        format!(
            "appsrc name=in format=time is-live=true block=false max-bytes=0 max-buffers=0 max-time=0 caps=\"{caps}\" \
             ! {coding} ! appsink name=out sync=false"
        )
    }

    /// The element that encodes a track.
    pub fn encoder(&self, track: Track) -> &'static str {
        match track {
            Track::Video => self.recipe.element,
            Track::Audio => self.audio_recipe.element,
        }
    }
}

/// A pipeline's last word.
#[derive(Debug)]
pub struct Fault {
    pub track: Track,
    pub life: Life,
    pub cause: Cause,
}

#[derive(Debug)]
pub enum Cause {
    Error(String),
    /// All that went in has come out, and nothing more will.
    Ended,
}

/// What every pipeline is built with.
#[derive(Clone)]
pub struct Surroundings {
    pub clock: MediaClock,
    pub outlet: Arc<Outlet>,
    /// Bounded; a fault that does not fit shows itself by silence.
    pub faults: mpsc::Sender<Fault>,
    /// Pipelines that are being stopped; one whose driver hangs stays among them.
    pub leaving: Arc<AtomicUsize>,
}

/// The running pipeline; it is stopped when dropped, elsewhere.
pub struct Pipeline {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    dial: Option<Arc<Dial>>,
    /// It takes nothing but dmabufs.
    pub imports: bool,
    max_waiting: u64,
    leaving: Arc<AtomicUsize>,
    stopped: AtomicBool,
}

impl Pipeline {
    /// Builds and starts a pipeline, on a thread that is left behind if a driver hangs.
    pub async fn build(plan: Plan, track: Track, life: Life, surroundings: Surroundings) -> Result<Self, String> {
        let (tell, told) = oneshot::channel();
        let work = move || {
            // If nobody waits any more, the pipeline is dropped and so stopped.
            let _ = tell.send(Self::start(&plan, track, life, &surroundings));
        };
        let thread = std::thread::Builder::new().name("encoder start".into()).spawn(work);
        thread.map_err(|error| format!("its thread cannot be started ({error})"))?;
        match tokio::time::timeout(BUILD_LIMIT, told).await {
            Ok(Ok(built)) => built,
            Ok(Err(_)) => Err("its start panicked".into()),
            Err(_) => Err(format!("it did not start within {} s: its driver hangs", BUILD_LIMIT.as_secs())),
        }
    }

    fn start(plan: &Plan, track: Track, life: Life, surroundings: &Surroundings) -> Result<Self, String> {
        let Surroundings { clock, outlet, faults, leaving } = surroundings;
        let pipeline = gst::parse::launch(&plan.text(track)).map_err(|error| error.to_string())?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "not a pipeline")?;
        let dial = match track {
            Track::Video => Some(Arc::new(Dial::new(named(&pipeline, "encoder")?, plan.recipe.knob))),
            Track::Audio => None,
        };
        let this = Self {
            source: named(&pipeline, "in")?,
            dial,
            imports: plan.imports,
            max_waiting: plan.format.framerate.frames_in(MAX_WAITING),
            leaving: leaving.clone(),
            stopped: AtomicBool::new(false),
            pipeline,
        };
        outlet.clone().listen(&named(&this.pipeline, "out")?, track, life);
        this.report_fault(track, life, faults.clone())?;
        this.play(clock)?;
        Ok(this)
    }

    /// Takes an event and a buffer; false if the encoder is too far behind.
    pub fn push(&self, before: Option<gst::Event>, buffer: gst::Buffer) -> bool {
        if self.source.current_level_buffers() >= self.max_waiting {
            return false;
        }
        if let Some(event) = before {
            self.source.send_event(event);
        }
        self.source.push_buffer(buffer).is_ok()
    }

    /// Changes the bit rate in place; it takes effect within the next pictures.
    pub fn set_bitrate(&self, bitrate: BitRate) {
        if let Some(dial) = &self.dial {
            dial.clone().set(bitrate);
        }
    }

    /// Tells the encoder that nothing more comes; when it has given all it has, that is told as [`Cause::Ended`].
    pub fn end(&self) {
        let _ = self.source.end_of_stream();
    }

    /// Stops it; the receiver hears when that is done, which is never if the driver hangs.
    pub fn stop(&self) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        if self.stopped.swap(true, Ordering::Relaxed) {
            return told;
        }
        let (pipeline, leaving) = (self.pipeline.clone(), self.leaving.clone());
        leaving.fetch_add(1, Ordering::Relaxed);
        let work = move || {
            let _ = pipeline.set_state(gst::State::Null);
            leaving.fetch_sub(1, Ordering::Relaxed);
            let _ = tell.send(());
        };
        // Without a thread it stays as it is, and is counted.
        let _ = std::thread::Builder::new().name("encoder stop".into()).spawn(work);
        told
    }

    fn play(&self, clock: &MediaClock) -> Result<(), String> {
        self.pipeline.use_clock(Some(clock.gst_clock()));
        self.pipeline.set_start_time(gst::ClockTime::NONE);
        self.pipeline.set_base_time(clock.epoch());
        let started = self.pipeline.set_state(gst::State::Playing);
        started.map(|_| ()).map_err(|_| "it cannot be started; `onaird devices` lists what works".into())
    }

    fn report_fault(&self, track: Track, life: Life, faults: mpsc::Sender<Fault>) -> Result<(), String> {
        let bus = self.pipeline.bus().ok_or("no bus")?;
        let told = AtomicBool::new(false);
        bus.set_sync_handler(move |_, message| {
            let cause = match message.view() {
                gst::MessageView::Error(error) => Some(Cause::Error(error.error().to_string())),
                gst::MessageView::Eos(_) => Some(Cause::Ended),
                _ => None,
            };
            if let Some(cause) = cause.filter(|_| !told.swap(true, Ordering::Relaxed)) {
                let _ = faults.try_send(Fault { track, life, cause });
            }
            gst::BusSyncReply::Drop
        });
        Ok(())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The way to an encoder's bit rate. Asking a driver may take for ever, so that it is done on a thread of its own, one at a
/// time; the last wish counts.
struct Dial {
    encoder: gst::Element,
    knob: Knob,
    wanted_bps: AtomicU64,
    turning: AtomicBool,
}

impl Dial {
    fn new(encoder: gst::Element, knob: Knob) -> Self {
        Self { encoder, knob, wanted_bps: AtomicU64::new(0), turning: AtomicBool::new(false) }
    }

    fn set(self: Arc<Self>, bitrate: BitRate) {
        self.wanted_bps.store(bitrate.bps(), Ordering::SeqCst);
        if self.turning.swap(true, Ordering::SeqCst) {
            return;
        }
        let dial = self.clone();
        if std::thread::Builder::new().name("encoder rate".into()).spawn(move || dial.turn()).is_err() {
            self.turning.store(false, Ordering::SeqCst);
        }
    }

    fn turn(&self) {
        loop {
            let bps = self.wanted_bps.load(Ordering::SeqCst);
            self.apply(BitRate::from_bps(bps));
            self.turning.store(false, Ordering::SeqCst);
            let done = self.wanted_bps.load(Ordering::SeqCst) == bps;
            if done || self.turning.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    fn apply(&self, bitrate: BitRate) {
        match self.knob {
            Knob::Kbps(property) => self.encoder.set_property_from_str(property, &bitrate.kbps().to_string()),
            Knob::Bps(property) => self.encoder.set_property_from_str(property, &bitrate.bps().to_string()),
            Knob::V4l2Control(control) => {
                let controls = gst::Structure::builder("controls").field(control, bitrate.bps() as i32).build();
                self.encoder.set_property("extra-controls", controls);
            }
        }
    }
}

fn named<T: IsA<gst::Element>>(pipeline: &gst::Pipeline, name: &str) -> Result<T, String> {
    let element = pipeline.by_name(name).and_then(|element| element.downcast::<T>().ok());
    element.ok_or_else(|| format!("no element called {name}"))
}

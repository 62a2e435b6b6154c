//! Which encoder works here: found out by a short real encode, not by a list of what is installed.
//!
//! A driver may be present and refuse, hang or give nothing, so that each candidate must turn ten pictures into H.264 within
//! `LIMIT`. Verdicts are kept in the state folder with what they depend on (kernel, GStreamer), because a trial at every
//! start would cost the first second on air.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use serde::{Deserialize, Serialize};

use crate::media::dmabuf::Heap;
use crate::media::raw::RawFormat;
use crate::program::encoder::{self, AUDIO_RECIPES, AudioRecipe, Dmabufs, RECIPES, Recipe, Settings};
use crate::units::{BitRate, FrameRate};

/// How long ten pictures may take.
const LIMIT: Duration = Duration::from_secs(3);

/// What a trial encodes, and how.
const PICTURES: u64 = 10;
const SETTINGS: Settings = Settings { bitrate: BitRate::from_bps(1_000_000), gop: 30 };

/// Where verdicts are kept in the state folder.
const FILE: &str = "encoders.json";

const NOT_INSTALLED: &str = "not installed";

/// Why an encoder was taken or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub element: String,
    /// Of importing dmabufs: of which size, from which heap. `None`: of encoding at all.
    #[serde(default)]
    pub import: Option<String>,
    /// `None` if it works, else why not.
    pub fault: Option<String>,
}

/// For opening and closing the device, beside [`LIMIT`].
const MARGIN: Duration = Duration::from_secs(2);

/// Verdicts and what they are valid for.
#[derive(Default, Serialize, Deserialize)]
struct Memory {
    environment: String,
    verdicts: Vec<Verdict>,
}

/// Tries encoders and remembers.
pub struct Trials {
    file: Option<PathBuf>,
    memory: Memory,
}

impl Trials {
    /// With `state` verdicts are read from and kept in that folder; without it they last as long as this value.
    pub fn new(state: Option<&Path>) -> Self {
        let file = state.map(|folder| folder.join(FILE));
        let remembered = file.as_ref().and_then(|file| std::fs::read(file).ok());
        let memory = remembered.and_then(|json| serde_json::from_slice::<Memory>(&json).ok()).unwrap_or_default();
        let environment = environment();
        let mut memory = if memory.environment == environment { memory } else { Memory { environment, verdicts: vec![] } };
        memory.verdicts.retain(still_holds);
        Self { file, memory }
    }

    /// What was remembered has proved wrong: the next start tries everything anew.
    pub fn forget(state: Option<&Path>) {
        if let Some(state) = state {
            let _ = std::fs::remove_file(state.join(FILE));
        }
    }

    /// The recipe that the configuration asks for: a name, or the first that works for "auto".
    pub fn choose(&mut self, wanted: &str) -> Result<&'static Recipe, String> {
        if wanted != "auto" {
            return self.choose_named(wanted);
        }
        let works = RECIPES.iter().find(|recipe| self.verdict(recipe).fault.is_none());
        works.ok_or_else(|| {
            "no H.264 encoder works on this machine; `onaird devices` says why each one does not. \
             Install gstreamer1.0-plugins-ugly (x264enc) for one in software"
                .into()
        })
    }

    fn choose_named(&mut self, wanted: &str) -> Result<&'static Recipe, String> {
        let names: Vec<_> = RECIPES.iter().map(|recipe| recipe.element).collect();
        let recipe = encoder::by_name(wanted)
            .ok_or_else(|| format!("encoder \"{wanted}\" is not known; give \"auto\" or one of {}", names.join(", ")))?;
        match self.verdict(recipe).fault {
            None => Ok(recipe),
            Some(fault) => Err(format!("encoder \"{wanted}\" does not work here ({fault}); `onaird devices` tells which do")),
        }
    }

    /// Tries an encoder, unless its verdict is known.
    pub fn verdict(&mut self, recipe: &'static Recipe) -> Verdict {
        self.judge(recipe, None, || try_out(recipe, encode_ten))
    }

    /// The first heap from which an encoder imports pictures of the program's format; `None` for one that is not to be told so.
    pub fn heap(&mut self, recipe: &'static Recipe, format: RawFormat, heaps: Vec<Heap>) -> Option<Arc<Heap>> {
        let Dmabufs::ImportOnly(_) = recipe.dmabufs else { return None };
        let mut heaps = heaps.into_iter().map(Arc::new);
        heaps.find(|heap| {
            let import = format!("{}x{} from {}", format.width, format.height, heap.name());
            let heap = heap.clone();
            let verdict = self.judge(recipe, Some(import), || try_out(recipe, move |recipe| import_ten(recipe, format, &heap)));
            verdict.fault.is_none()
        })
    }

    fn judge(&mut self, recipe: &Recipe, import: Option<String>, test: impl FnOnce() -> Result<(), String>) -> Verdict {
        let is_it = |verdict: &&Verdict| verdict.element == recipe.element && verdict.import == import;
        if let Some(known) = self.memory.verdicts.iter().find(is_it) {
            return known.clone();
        }
        let verdict = Verdict { element: recipe.element.into(), import, fault: test().err() };
        self.memory.verdicts.push(verdict.clone());
        self.remember();
        verdict
    }

    fn remember(&self) {
        let Some(file) = &self.file else { return };
        let json = serde_json::to_vec_pretty(&self.memory).unwrap_or_default();
        if let Err(error) = std::fs::write(file, json) {
            tracing::warn!("cannot keep encoder verdicts in {}: {error}; they are found anew at the next start", file.display());
        }
    }
}

/// The first AAC encoder that is installed.
pub fn choose_audio() -> Result<&'static AudioRecipe, String> {
    let installed = |recipe: &&AudioRecipe| gst::ElementFactory::find(recipe.element).is_some();
    AUDIO_RECIPES
        .iter()
        .find(installed)
        .ok_or_else(|| "no AAC encoder is installed; install gstreamer1.0-plugins-bad (voaacenc)".into())
}

/// An encoder may have been installed or removed since.
fn still_holds(verdict: &Verdict) -> bool {
    let installed = gst::ElementFactory::find(&verdict.element).is_some();
    match verdict.fault.as_deref() {
        Some(NOT_INSTALLED) => !installed,
        Some(_) => true,
        None => installed,
    }
}

/// What a verdict depends on.
fn environment() -> String {
    let kernel = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    format!("{} / {kernel} / onaird {}", gst::version_string(), env!("CARGO_PKG_VERSION"))
}

/// Lets an encoder that is installed do its `work`.
fn try_out(
    recipe: &'static Recipe,
    work: impl FnOnce(&'static Recipe) -> Result<(), String> + Send + 'static,
) -> Result<(), String> {
    if gst::ElementFactory::find(recipe.element).is_none() {
        return Err(NOT_INSTALLED.into());
    }
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let body = move || {
        let _ = tell.send(work(recipe));
    };
    std::thread::Builder::new().name("trial".into()).spawn(body).map_err(|error| error.to_string())?;
    // If its driver hangs, the thread is left behind.
    told.recv_timeout(LIMIT + MARGIN).unwrap_or_else(|_| Err("its driver hangs".into()))
}

fn encode_ten(recipe: &Recipe) -> Result<(), String> {
    let framerate = FrameRate::new(30, 1).ok_or("no frame rate")?;
    let format = RawFormat { width: 640, height: 360, framerate, pixels: recipe.pixels };
    let source = format!("videotestsrc num-buffers={PICTURES} ! {}", format.program_caps());
    encode(&source, &recipe.text(SETTINGS), |_| Ok(()))
}

/// The same of pictures in dmabufs, whose size and layout matter: the driver refuses what is smaller than it wants.
fn import_ten(recipe: &Recipe, format: RawFormat, heap: &Heap) -> Result<(), String> {
    let source = format!("appsrc name=in format=time caps=\"{}\"", format.program_caps());
    encode(&source, &recipe.importing_text(SETTINGS), |pipeline| {
        let source = pipeline.by_name("in").and_downcast::<gst_app::AppSrc>().ok_or("no source")?;
        for index in 0..PICTURES {
            let mut picture = heap.picture(&format.layout()).ok_or("it has no memory")?;
            let fresh = picture.get_mut().ok_or("a picture that is not new")?;
            fresh.set_pts(gst::ClockTime::from_nseconds(format.framerate.time_of(index).nanos()));
            source.push_buffer(picture).map_err(|error| error.to_string())?;
        }
        source.end_of_stream().map(drop).map_err(|error| error.to_string())
    })
}

/// Turns what `source` gives and `feed` pushes into H.264, to the end.
fn encode(source: &str, encoder: &str, feed: impl FnOnce(&gst::Bin) -> Result<(), String>) -> Result<(), String> {
    let text = format!("{source} ! {encoder} ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! fakesink name=end");
    let pipeline = gst::parse::launch(&text).map_err(|error| error.to_string())?;
    let pipeline = pipeline.downcast::<gst::Bin>().map_err(|_| "not a pipeline")?;
    let outcome = run_to_end(&pipeline, feed);
    let _ = pipeline.set_state(gst::State::Null);
    outcome
}

fn run_to_end(pipeline: &gst::Bin, feed: impl FnOnce(&gst::Bin) -> Result<(), String>) -> Result<(), String> {
    let bus = pipeline.bus().ok_or("no bus")?;
    pipeline.set_state(gst::State::Playing).map_err(|_| first_error(&bus))?;
    feed(pipeline)?;
    let limit = gst::ClockTime::from_nseconds(LIMIT.as_nanos() as u64);
    let kinds = [gst::MessageType::Error, gst::MessageType::Eos];
    let message = bus.timed_pop_filtered(limit, &kinds);
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(error)) => Err(error.error().to_string()),
        _ => Err(format!("gave no picture within {} s", LIMIT.as_secs())),
    }
}

fn first_error(bus: &gst::Bus) -> String {
    let message = bus.pop_filtered(&[gst::MessageType::Error]);
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => error.error().to_string(),
        _ => "its device cannot be opened".into(),
    }
}

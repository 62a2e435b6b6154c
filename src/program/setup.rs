//! What the program is made of: encoders, format, slate, from the configuration and from what works here. Decided once, before
//! anything runs; it starts nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gstreamer as gst;

use crate::config;
use crate::media::dmabuf::Heap;
use crate::media::raw::RawFormat;
use crate::program::encoder::{AudioRecipe, Dmabufs, Recipe, Settings};
use crate::program::pipeline::Plan;
use crate::program::trial::{self, Trials};
use crate::program::{Error, slate};
use crate::report::Events;

/// What the program is made of, decided before anything runs: inputs need its raw format.
pub struct Setup {
    pub(super) plan: Plan,
    pub(super) config: config::Program,
    /// From which the encoder imports pictures.
    pub(super) heap: Option<Arc<Heap>>,
    device_name: String,
    /// What a person should know of how it was decided.
    pub(super) remark: Option<String>,
    pub(super) state: Option<PathBuf>,
}

impl Setup {
    /// Chooses the encoders, by trial where no verdict is known yet (seconds; afterwards milliseconds). If the one that the
    /// configuration names does not work here, the box goes on air with one that does.
    pub fn new(config: &config::Program, device_name: &str, state: Option<&Path>) -> Result<Self, Error> {
        let mut trials = Trials::new(state);
        let (recipe, remark) = match trials.choose(&config.encoder) {
            Ok(recipe) => (recipe, None),
            Err(fault) => (trials.choose("auto").map_err(Error::Pipeline)?, Some(fault)),
        };
        let audio_recipe = trial::choose_audio().map_err(Error::Pipeline)?;
        let setup = Self::with_encoders(config, device_name, recipe, audio_recipe);
        let heap = trials.heap(recipe, setup.plan.format, Heap::all());
        Ok(Self { remark, state: state.map(Path::to_path_buf), ..setup.importing(heap) })
    }

    /// With these encoders, whatever the configuration says of them.
    pub fn with_encoders(
        config: &config::Program,
        device_name: &str,
        recipe: &'static Recipe,
        audio_recipe: &'static AudioRecipe,
    ) -> Self {
        let config::Program { width, height, framerate, .. } = *config;
        let format = RawFormat { width, height, framerate, pixels: recipe.pixels };
        let settings = Settings { bitrate: config.video_bitrate, gop: framerate.frames_in(config.keyframe_interval) };
        let plan = Plan { format, recipe, audio_recipe, settings, audio_bitrate: config.audio_bitrate, imports: false };
        Self { plan, config: config.clone(), heap: None, device_name: device_name.into(), remark: None, state: None }
    }

    /// With pictures that the encoder imports from this heap, if there is one.
    pub fn importing(mut self, heap: Option<Arc<Heap>>) -> Self {
        self.plan.imports = heap.is_some();
        Self { heap, ..self }
    }

    /// Whether pictures in dmabufs spare the encoder a copy.
    pub fn imports(&self) -> bool {
        self.plan.imports || self.plan.recipe.dmabufs == Dmabufs::Import
    }

    pub fn format(&self) -> RawFormat {
        self.plan.format
    }

    pub(super) fn slate(&self, events: &Events) -> gst::Buffer {
        let own = self.config.slate.as_ref().map(|path| slate::from_file(path, &self.plan.format));
        match own {
            Some(Ok(picture)) => return picture,
            Some(Err(fault)) => events.add(fault),
            None => {}
        }
        slate::built_in(&self.device_name, &self.config.slate_text, &self.plan.format)
    }
}

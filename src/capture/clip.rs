//! One file being played: a pipeline that is made ready at its first picture, then started at an exact moment.
//!
//! Any container that GStreamer decodes. Branches are built as streams appear, so that a file without sound, or without
//! picture, still plays and still ends.

use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::sync::mpsc;

use crate::capture::sink::{self, Counter, Running, Said};
use crate::capture::{Port, recipe};
use crate::units::MediaTime;

pub struct Clip {
    running: Running,
    pub said: mpsc::Receiver<Said>,
    pub pictures: Counter,
}

impl Clip {
    /// Opens and decodes up to the first picture; faults come through `said`.
    pub fn cue(path: &Path, port: &Port) -> Result<Self, String> {
        let uri = gst::glib::filename_to_uri(path, None).map_err(|error| error.to_string())?;
        let running = Running::parse("uridecodebin name=decoder")?;
        let decoder = running.element::<gst::Element>("decoder").ok_or("no decoder")?;
        decoder.set_property("uri", uri.as_str());
        let (counter, weak) = (Counter::default(), running.0.downgrade());
        let (pad_port, pad_counter) = (port.clone(), counter.clone());
        decoder.connect_pad_added(move |_, pad| {
            let Some(pipeline) = weak.upgrade() else { return };
            if let Err(fault) = connect(&pipeline, pad, &pad_port, &pad_counter) {
                tracing::warn!("input {}: a stream is left out: {fault}", pad_port.name);
            }
        });
        let said = sink::listen(&running.0);
        // Time begins when the clip is rolled.
        running.start_at(&port.clock, MediaTime::ZERO);
        let _ = running.0.set_state(gst::State::Paused);
        Ok(Self { running, said, pictures: counter })
    }

    /// Plays, the first picture being due at `start`.
    pub fn roll(&self, port: &Port, start: MediaTime) {
        self.running.start_at(&port.clock, start);
        let _ = self.running.0.set_state(gst::State::Playing);
    }

    /// "640x480 25.00 fps", once it is known.
    pub fn mode(&self) -> Option<String> {
        let pad = self.running.0.by_name("picture-branch")?.static_pad("sink")?;
        let caps = pad.current_caps()?;
        let structure = caps.structure(0)?;
        let (width, height) = (structure.get::<i32>("width").ok()?, structure.get::<i32>("height").ok()?);
        let rate = structure.get::<gst::Fraction>("framerate").ok()?;
        Some(format!("{width}x{height} {:.2} fps", f64::from(rate.numer()) / f64::from(rate.denom().max(1))))
    }
}

/// Builds the branch for a decoded stream: the first of pictures and of sound are used, others are thrown away.
fn connect(pipeline: &gst::Pipeline, pad: &gst::Pad, port: &Port, counter: &Counter) -> Result<(), String> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let kind = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
    let (name, text) = match kind.split('/').next() {
        Some("video") => ("picture-branch", format!("queue ! {}", recipe::picture_tail(&port.format, true))),
        Some("audio") => ("sound-branch", format!("queue ! {}", recipe::sound_tail(true))),
        _ => ("", String::new()),
    };
    let wanted = !name.is_empty() && pipeline.by_name(name).is_none();
    let text = if wanted { text } else { "fakesink sync=false async=false".into() };
    let branch = gst::parse::bin_from_description(&text, true).map_err(|error| error.to_string())?;
    if wanted {
        branch.set_property("name", name);
        fill_feed(&branch, name, port, counter);
    }
    pipeline.add(&branch).map_err(|error| error.to_string())?;
    branch.sync_state_with_parent().map_err(|error| error.to_string())?;
    let entry = branch.static_pad("sink").ok_or("a branch without an entry")?;
    pad.link(&entry).map(|_| ()).map_err(|error| error.to_string())
}

fn fill_feed(branch: &gst::Bin, name: &str, port: &Port, counter: &Counter) {
    let appsink = |sink: &str| branch.by_name(sink).and_then(|element| element.downcast().ok());
    if name == "picture-branch" {
        if let Some(appsink) = appsink("pictures") {
            sink::pictures(&appsink, port.clone(), counter.clone());
        }
    } else if let Some(appsink) = appsink("sound") {
        // Files without a picture are alive as long as they sound.
        sink::sound(&appsink, port.clone(), counter.clone());
    }
}

//! The end of every input pipeline: appsinks that put pictures and sound into the feed, and faults into a channel.
//!
//! Callbacks run on GStreamer's threads: they stamp, push and return; the feed never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::mpsc;

use crate::capture::Port;
use crate::clock::MediaClock;
use crate::media::raw::Frame;
use crate::units::MediaTime;

/// What a pipeline says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Fault(String),
    Ended,
}

/// Counts what came, so that silence can be noticed.
#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Pictures go from this sink to the feed.
pub fn pictures(sink: &gst_app::AppSink, port: Port, counter: Counter) {
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let time = media_time(sink, &sample, &port.clock);
        if let (Some(time), Some(buffer)) = (time, sample.buffer_owned()) {
            counter.add();
            if let Some(buffer) = own(buffer) {
                port.picture(Frame { time, buffer });
            }
        }
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
}

/// The picture in memory of our own. Where a chain had nothing to do, it may still lie in a driver's buffer, of which there are few;
/// such memory cannot be written to.
fn own(buffer: gst::Buffer) -> Option<gst::Buffer> {
    let lent = buffer.n_memory() > 0 && buffer.peek_memory(0).flags().contains(gst::MemoryFlags::READONLY);
    if lent { buffer.copy_deep().ok() } else { Some(buffer) }
}

/// Sound goes from this sink to the feed.
pub fn sound(sink: &gst_app::AppSink, port: Port, counter: Counter) {
    let mut samples: Vec<i16> = Vec::new();
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let time = media_time(sink, &sample, &port.clock);
        let map = sample.buffer().and_then(|buffer| buffer.map_readable().ok());
        if let (Some(time), Some(map)) = (time, map) {
            counter.add();
            samples.clear();
            samples.extend(map.chunks_exact(2).map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]])));
            port.sound(time, &samples);
        }
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
}

/// When a sample is due on the program's time line.
fn media_time(sink: &gst_app::AppSink, sample: &gst::Sample, clock: &MediaClock) -> Option<MediaTime> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let running = segment.to_running_time(sample.buffer()?.pts()?)?;
    let time = sink.base_time()? + running;
    Some(MediaTime::from_nanos(time.checked_sub(clock.epoch())?.nseconds()))
}

/// Errors and the end of the stream, as they happen. The channel is small: the first fault is what counts.
pub fn listen(pipeline: &gst::Pipeline) -> mpsc::Receiver<Said> {
    let (sender, receiver) = mpsc::channel(4);
    if let Some(bus) = pipeline.bus() {
        bus.set_sync_handler(move |_, message| {
            match message.view() {
                gst::MessageView::Error(error) => {
                    let _ = sender.try_send(Said::Fault(error.error().message().trim_end_matches('.').into()));
                }
                gst::MessageView::Eos(_) => {
                    let _ = sender.try_send(Said::Ended);
                }
                _ => {}
            }
            gst::BusSyncReply::Drop
        });
    }
    receiver
}

/// A pipeline that is stopped when it is dropped. Stopping a device may take its time, so a thread of its own does it.
pub struct Running(pub gst::Pipeline);

impl Running {
    pub fn parse(text: &str) -> Result<Self, String> {
        let element = gst::parse::launch(text).map_err(|error| error.to_string())?;
        // A single element comes as it is.
        let pipeline = element.downcast().or_else(|element| {
            let pipeline = gst::Pipeline::new();
            pipeline.add(&element).map(|()| pipeline)
        });
        pipeline.map(Self).map_err(|error| error.to_string())
    }

    pub fn element<T: IsA<gst::Element>>(&self, name: &str) -> Option<T> {
        self.0.by_name(name)?.downcast().ok()
    }

    /// Puts it on the program's clock, its running time 0 at `start`.
    pub fn start_at(&self, clock: &MediaClock, start: MediaTime) {
        self.0.use_clock(Some(clock.gst_clock()));
        self.0.set_start_time(gst::ClockTime::NONE);
        self.0.set_base_time(clock.epoch() + gst::ClockTime::from_nseconds(start.nanos()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pipeline = self.0.clone();
        let stop = move || {
            let _ = pipeline.set_state(gst::State::Null);
        };
        if std::thread::Builder::new().name("input-stop".into()).spawn(stop).is_err() {
            let _ = self.0.set_state(gst::State::Null);
        }
    }
}

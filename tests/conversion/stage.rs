//! Runs the real pipeline of a recipe on given buffers, and reads what comes out.

use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use onaird::capture::native::{Matrix, Native, Scan};
use onaird::capture::recipe::{self, Conversion};
use onaird::media::raw::{Pixels, RawFormat};

use crate::scene::{self, Rgb, Scene};

/// A picture in the program's format.
pub struct Picture {
    /// In seconds.
    pub time: f64,
    data: Vec<u8>,
    format: RawFormat,
}

impl Picture {
    pub fn luma(&self, x: u32, y: u32) -> u8 {
        self.data[(y * self.format.layout().stride()[0] as u32 + x) as usize]
    }

    /// Read by the rules of the program's own format.
    pub fn rgb(&self, x: u32, y: u32) -> Rgb {
        let info = self.format.layout();
        let at = |plane: usize, step: u32, shift: u32| {
            let offset = info.offset()[plane] as u32 + y / 2 * info.stride()[plane] as u32;
            f64::from(self.data[(offset + x / 2 * step + shift) as usize])
        };
        let (u, v) = match self.format.pixels {
            Pixels::I420 => (at(1, 1, 0), at(2, 1, 0)),
            Pixels::Nv12 => (at(1, 2, 0), at(1, 2, 1)),
        };
        let yuv = [(f64::from(self.luma(x, y)) - 16.0) / 219.0, (u - 128.0) / 224.0, (v - 128.0) / 224.0];
        let matrix = if self.format.height >= 720 { Matrix::Bt709 } else { Matrix::Bt601 };
        scene::to_rgb(yuv, matrix)
    }
}

/// What a device with this format would have made of the scene, through the recipe.
pub fn convert(native: &Native, format: &RawFormat, scene: Scene, frames: u32) -> Vec<Picture> {
    let seconds = 1.0 / native.rate.fps();
    let fed = (0..frames).flat_map(|index| {
        let time = f64::from(index) * seconds;
        match native.scan {
            Scan::Alternate => vec![
                (time, scene::field(native, scene, time, true), gst_video::VideoBufferFlags::TOP_FIELD),
                (
                    time + seconds / 2.0,
                    scene::field(native, scene, time + seconds / 2.0, false),
                    gst_video::VideoBufferFlags::BOTTOM_FIELD,
                ),
            ],
            _ => vec![(time, scene::frame(native, scene, time), gst_video::VideoBufferFlags::empty())],
        }
    });
    run(native, format, fed.map(|(time, data, flags)| buffer(time, data, flags)))
}

fn buffer(time: f64, data: Vec<u8>, flags: gst_video::VideoBufferFlags) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(data);
    let inner = buffer.get_mut().unwrap();
    inner.set_pts(gst::ClockTime::from_nseconds((time * 1e9).round() as u64));
    inner.set_video_flags(flags);
    buffer
}

/// Frames of the scene, coded.
pub fn encode(native: &Native, encoder: &str, scene: Scene, frames: u32) -> Vec<gst::Buffer> {
    gst::init().unwrap();
    let caps = recipe::native_caps(native).unwrap();
    let text = format!("appsrc name=source format=time caps=\"{caps}\" ! {encoder} ! appsink name=coded sync=false");
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("source").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let sink = pipeline.by_name("coded").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for index in 0..frames {
        let time = f64::from(index) / native.rate.fps();
        let mut buffer = buffer(time, scene::frame(native, scene, time), gst_video::VideoBufferFlags::empty());
        buffer.get_mut().unwrap().set_duration(gst::ClockTime::from_nseconds((1e9 / native.rate.fps()) as u64));
        source.push_buffer(buffer).unwrap();
    }
    source.end_of_stream().unwrap();
    let coded = std::iter::from_fn(|| sink.pull_sample().ok()).filter_map(|sample| sample.buffer_owned()).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    coded
}

/// Through the recipe's pipeline, one after the other: an overload would drop some.
pub fn run(native: &Native, format: &RawFormat, buffers: impl Iterator<Item = gst::Buffer>) -> Vec<Picture> {
    gst::init().unwrap();
    let Conversion::Pipeline(text) = recipe::conversion(native, format) else { panic!("{native}: nothing to convert") };
    let pipeline = gst::parse::launch(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("source").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let sink = pipeline.by_name("pictures").unwrap().downcast::<gst_app::AppSink>().unwrap();
    let pictures = Arc::new(Mutex::new(Vec::new()));
    let (taken, format) = (pictures.clone(), *format);
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
        let time = buffer.pts().ok_or(gst::FlowError::Error)?.nseconds() as f64 / 1e9;
        let data = buffer.map_readable().map_err(|_| gst::FlowError::Error)?.to_vec();
        taken.lock().unwrap().push(Picture { time, data, format });
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    for buffer in buffers {
        source.push_buffer(buffer).unwrap();
        while source.current_level_buffers() > 0 && bus.peek().is_none_or(|message| message.type_() != gst::MessageType::Error) {
            std::thread::yield_now();
            bus.pop_filtered(&[gst::MessageType::StateChanged, gst::MessageType::StreamStatus]);
        }
    }
    source.end_of_stream().unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends).expect("an end");
    pipeline.set_state(gst::State::Null).unwrap();
    if let gst::MessageView::Error(error) = message.view() {
        panic!("{text}: {} {:?}", error.error(), error.debug());
    }
    std::mem::take(&mut *pictures.lock().unwrap())
}

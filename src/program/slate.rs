//! The slate: the still that is on air when there is nothing else. Drawn or decoded once, at start.
//!
//! A picture file that cannot be used is reported and the built-in slate stands in: a missing PNG must not keep a box off air.

use std::path::Path;
use std::time::Duration;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use crate::media::canvas::{self, Canvas};
use crate::media::raw::RawFormat;

/// How long decoding a picture file may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The built-in slate: the box's name, on a calm background.
pub fn built_in(name: &str, format: &RawFormat) -> gst::Buffer {
    let mut canvas = Canvas::new(format, Rgb888::new(18, 24, 38));
    let (width, height) = (format.width as i32, format.height as i32);
    let stripe = Rectangle::new(Point::new(0, height * 62 / 100), Size::new(format.width, format.height / 60));
    let Ok(()) = stripe.into_styled(PrimitiveStyle::with_fill(Rgb888::new(212, 160, 23))).draw(&mut canvas);
    let name_scale = fitting_scale(name, format.width, format.height / 120);
    canvas::text(&mut canvas, name, Point::new(width / 2, height * 45 / 100), name_scale, Rgb888::WHITE);
    let line = "We will be right back";
    let line_scale = fitting_scale(line, format.width, format.height / 240);
    canvas::text(&mut canvas, line, Point::new(width / 2, height * 75 / 100), line_scale, Rgb888::CSS_LIGHT_GRAY);
    canvas.to_raw(format)
}

/// The user's picture, scaled with its proportions kept.
pub fn from_file(path: &Path, format: &RawFormat) -> Result<gst::Buffer, String> {
    let problem = |cause: String| {
        format!("slate {} cannot be used ({cause}); the built-in slate is shown. Give a PNG or JPEG file", path.display())
    };
    let text = format!(
        "filesrc name=file ! decodebin ! videoconvert ! videoscale add-borders=true ! {} ! appsink name=picture sync=false",
        format.picture_caps()
    );
    let pipeline = gst::parse::launch(&text).map_err(|error| problem(error.to_string()))?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| problem("not a pipeline".into()))?;
    let file = pipeline.by_name("file").ok_or_else(|| problem("no file source".into()))?;
    file.set_property("location", path.to_string_lossy().as_ref());
    let buffer = first_picture(&pipeline).map_err(problem);
    let _ = pipeline.set_state(gst::State::Null);
    buffer
}

fn first_picture(pipeline: &gst::Pipeline) -> Result<gst::Buffer, String> {
    let sink = pipeline.by_name("picture").and_downcast::<gst_app::AppSink>().ok_or("no picture sink")?;
    pipeline.set_state(gst::State::Playing).map_err(|_| "it cannot be read".to_string())?;
    let limit = gst::ClockTime::from_nseconds(LIMIT.as_nanos() as u64);
    let sample = sink.try_pull_sample(limit);
    sample.and_then(|sample| sample.buffer_owned()).ok_or_else(|| "no picture can be decoded from it".into())
}

/// The largest scale, up to `wanted`, at which the text fits the picture's width.
fn fitting_scale(text: &str, width: u32, wanted: u32) -> u32 {
    let columns = 10 * text.chars().count().max(1) as u32;
    (width * 9 / 10 / columns).clamp(1, wanted.max(1))
}

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

use crate::media::canvas::{self, Canvas, LETTER};
use crate::media::raw::RawFormat;

/// How long decoding a picture file may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The built-in slate: the box's name on a calm background, and a line for the audience, if there is any. Why the picture is missing
/// is never on it: that is for the engineer.
pub fn built_in(name: &str, line: &str, format: &RawFormat) -> gst::Buffer {
    let mut canvas = Canvas::new(format, Rgb888::new(18, 24, 38));
    let (width, height) = (format.width as i32, format.height as i32);
    let stripe = Rectangle::new(Point::new(0, height * 62 / 100), Size::new(format.width, format.height / 60));
    let Ok(()) = stripe.into_styled(PrimitiveStyle::with_fill(Rgb888::new(212, 160, 23))).draw(&mut canvas);
    let middle = |percent: i32| Point::new(width / 2, height * percent / 100);
    write(&mut canvas, name, middle(45), format.height / 120);
    write(&mut canvas, line, middle(78), format.height / 240);
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

/// Writes a text in the middle, as large as its width allows, up to `wanted`; a long one in two or three lines.
fn write(canvas: &mut Canvas, text: &str, middle: Point, wanted: u32) {
    let (lines, scale) = laid_out(text, canvas.size().width * 9 / 10 / LETTER.width, wanted.max(1));
    let step = (LETTER.height * scale) as i32;
    let top = middle.y - step * (lines.len() as i32 - 1) / 2;
    for (index, line) in lines.iter().enumerate() {
        canvas::text(canvas, line, Point::new(middle.x, top + index as i32 * step), scale, Rgb888::WHITE);
    }
}

/// Most lines of one text.
const LINES: usize = 3;

/// The lines of a text and the scale at which they fit so many `columns` of scale 1: as few lines as give the largest scale.
fn laid_out(text: &str, columns: u32, wanted: u32) -> (Vec<String>, u32) {
    let fits = |lines: &[String]| {
        let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).max(1);
        (columns / longest as u32).min(wanted)
    };
    let layouts = (1..=LINES).map(|count| wrapped(text, count));
    let (mut lines, scale) = layouts
        .map(|lines| (fits(&lines), lines))
        .fold((vec![], 0), |best, (scale, lines)| if scale > best.1 || best.0.is_empty() { (lines, scale) } else { best });
    // Where nothing fits, what fits of it.
    lines.iter_mut().filter(|_| scale == 0).for_each(|line| *line = line.chars().take(columns as usize).collect());
    (lines, scale.max(1))
}

/// At most so many lines of about equal length, broken between words.
fn wrapped(text: &str, count: usize) -> Vec<String> {
    let length = text.chars().count().div_ceil(count);
    let mut lines: Vec<String> = vec![];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() < length && belongs(line, word, length, count) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    while lines.len() > count {
        let last = lines.pop().unwrap_or_default();
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(&last);
        }
    }
    lines
}

/// The word still belongs to this line: it ends at most half of it beyond the wanted length; the only line takes all.
fn belongs(line: &str, word: &str, length: usize, count: usize) -> bool {
    count == 1 || line.chars().count() + 1 + word.chars().count() / 2 <= length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_broken_where_that_makes_it_larger() {
        let layout = |text, columns, wanted| {
            let (lines, scale) = laid_out(text, columns, wanted);
            (lines.join("|"), scale)
        };
        assert_eq!(layout("We will be right back", 115, 3), ("We will be right back".into(), 3));
        assert_eq!(layout("We will be right back", 36, 3), ("We will be|right back".into(), 3));
        assert_eq!(layout("Wir sind gleich zurück", 11, 3), ("Wir sind|gleich|zurück".into(), 1));
        assert_eq!(layout("Donaudampfschifffahrt", 10, 3), ("Donaudampf".into(), 1));
        assert_eq!(layout("", 100, 3).0, "");
    }

    #[test]
    fn the_line_is_drawn_within_the_picture_and_nothing_in_its_place_without_one() {
        gst::init().unwrap();
        let framerate = crate::units::FrameRate::new(30, 1).unwrap();
        let format = RawFormat { width: 640, height: 360, framerate, pixels: crate::media::raw::Pixels::I420 };
        let bright = |line: &str| {
            let slate = built_in("box", line, &format);
            let map = slate.map_readable().unwrap();
            let below = |index: &usize| *index / 640 > 244 && map[*index] > 180;
            let columns: Vec<_> = (0..640 * 360).filter(below).map(|index| index % 640).collect();
            (columns.len(), columns.iter().min().copied(), columns.iter().max().copied())
        };
        assert_eq!(bright("").0, 0);
        let (dots, left, right) = bright("Программа скоро продолжится");
        assert!(dots > 500 && left.unwrap() >= 32 && right.unwrap() < 608, "{dots} from {left:?} to {right:?}");
    }
}

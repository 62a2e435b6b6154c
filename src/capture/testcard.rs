//! The test input's picture and sound: made so that both can be measured from any recording of them.
//!
//! ```text
//! ┌────────────────────────────┐  top strip, 1/16 of the height: the frame count in binary, 32 cells, highest bit left
//! │▌█▌█ ▌ ▌▌ frame count █ ▌▌▌ │
//! │  colour bars   00:00:12.34 │  running clock and frame count in figures
//! │  snow  ■ moves       ┌─────┤
//! │                      │flash│  white for the first 100 ms of every second …
//! │                      └─────┤
//! └────────────────────────────┘  … and just then a beep of 1 kHz at -12 dBFS
//! ```
//!
//! Everything is a function of the frame's index or the sample's: pure rules over memory; the clock is the shell's.

use embedded_graphics::pixelcolor::{Gray8, Rgb888};
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use gstreamer as gst;

use crate::media::canvas::{self, Canvas, Luma};
use crate::media::raw::{CHANNELS, RawFormat, SAMPLE_RATE};
use crate::units::MediaTime;

/// Length of flash and beep at the start of every second.
const MARK_NANOS: u64 = 100_000_000;

const SECOND_NANOS: u64 = 1_000_000_000;

/// Cells of the strip: the bits of the frame count.
const BITS: u32 = 32;

const BEEP_HERTZ: f64 = 1000.0;

/// -12 dBFS.
const BEEP_PEAK: f64 = 0.25;

/// Draws test pictures of one format.
pub struct TestCard {
    format: RawFormat,
    /// What does not move, drawn once.
    background: Vec<u8>,
    beep: Vec<i16>,
}

impl TestCard {
    pub fn new(format: RawFormat) -> Self {
        let background = background(&format).to_raw(&format);
        // A buffer made from a slice is readable.
        let background = background.map_readable().map(|map| map.to_vec()).unwrap_or_default();
        Self { format, background, beep: beep() }
    }

    /// The picture with this index, due at `time`.
    pub fn picture(&self, index: u64, time: MediaTime) -> gst::Buffer {
        let mut data = self.background.clone();
        let info = self.format.layout();
        let size = Size::new(self.format.width, self.format.height);
        let mut luma = Luma { data: &mut data, stride: info.stride()[0] as usize, size };
        draw_strip(&mut luma, index as u32);
        draw_snow(&mut luma, index);
        draw_mover(&mut luma, time);
        draw_clock(&mut luma, index, time);
        let flash = if time.nanos() % SECOND_NANOS < MARK_NANOS { 255 } else { 0 };
        luma.fill(size.width * 3 / 4, size.height / 2, size.width / 4, size.height / 4, flash);
        gst::Buffer::from_slice(data)
    }

    /// Interleaved stereo samples from index `first` on.
    pub fn sound(&self, first: u64, count: usize) -> Vec<i16> {
        let sample = |index: u64| {
            let place = (index % u64::from(SAMPLE_RATE)) as usize;
            self.beep.get(place).copied().unwrap_or(0)
        };
        (0..count as u64).flat_map(|offset| [sample(first + offset); CHANNELS]).collect()
    }
}

fn beep() -> Vec<i16> {
    let length = u64::from(SAMPLE_RATE) * MARK_NANOS / SECOND_NANOS;
    let sample = |index: u64| {
        let phase = std::f64::consts::TAU * BEEP_HERTZ * index as f64 / f64::from(SAMPLE_RATE);
        (phase.sin() * BEEP_PEAK * f64::from(i16::MAX)) as i16
    };
    (0..length).map(sample).collect()
}

fn background(format: &RawFormat) -> Canvas {
    let mut canvas = Canvas::new(format, Rgb888::CSS_DIM_GRAY);
    let (width, height) = (format.width, format.height);
    let bars = [(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191)];
    for (index, (red, green, blue)) in bars.into_iter().enumerate() {
        let left = index as u32 * width / 7;
        let corner = Point::new(left as i32, (height / 16) as i32);
        let bar = Rectangle::new(corner, Size::new(width / 7 + 1, height * 7 / 16));
        let Ok(()) = bar.into_styled(PrimitiveStyle::with_fill(Rgb888::new(red, green, blue))).draw(&mut canvas);
    }
    for (area, color) in [
        (Rectangle::new(Point::zero(), Size::new(width, height / 16)), Rgb888::BLACK),
        (clock_area(width, height), Rgb888::BLACK),
        (
            Rectangle::new(Point::new((width * 3 / 4) as i32, (height / 2) as i32), Size::new(width / 4, height / 4)),
            Rgb888::BLACK,
        ),
    ] {
        let Ok(()) = area.into_styled(PrimitiveStyle::with_fill(color)).draw(&mut canvas);
    }
    canvas
}

fn clock_area(width: u32, height: u32) -> Rectangle {
    Rectangle::new(Point::new((width / 16) as i32, (height * 5 / 16) as i32), Size::new(width * 5 / 8, height / 8))
}

fn draw_strip(luma: &mut Luma<'_>, count: u32) {
    let cell = luma.size.width / BITS;
    for bit in 0..BITS {
        let set = count & (1 << (BITS - 1 - bit)) != 0;
        luma.fill(bit * cell, 0, cell, luma.size.height / 16, if set { 255 } else { 0 });
    }
}

/// A patch of noise, so that the encoder has as much to do as with a real picture.
fn draw_snow(luma: &mut Luma<'_>, index: u64) {
    let (width, height) = ((luma.size.width * 5 / 8) as usize, luma.size.height as usize);
    let mut state = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for row in height * 9 / 16..height * 3 / 4 {
        let start = row * luma.stride + width / 10;
        for pixel in &mut luma.data[start..start + width] {
            // Xorshift (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *pixel = 96 + (state >> 58) as u8;
        }
    }
}

/// A block that crosses the lower part of the picture every four seconds, with a trail of shades.
fn draw_mover(luma: &mut Luma<'_>, time: MediaTime) {
    let (width, height) = (luma.size.width, luma.size.height);
    let block = height / 8;
    let path = width * 3 / 4 - block;
    let place = (time.nanos() % (4 * SECOND_NANOS)) as f64 / (4 * SECOND_NANOS) as f64;
    let x = (f64::from(path) * (1.0 - (2.0 * place - 1.0).abs())) as u32;
    for shade in 0..8 {
        luma.fill(x * (8 - shade) / 8, height * 13 / 16, block, block, 255 - shade as u8 * 24);
    }
}

fn draw_clock(luma: &mut Luma<'_>, index: u64, time: MediaTime) {
    let area = clock_area(luma.size.width, luma.size.height);
    let Ok(()) = area.into_styled(PrimitiveStyle::with_fill(Gray8::BLACK)).draw(luma);
    let (seconds, millis) = (time.millis() / 1000, time.millis() % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text = format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03} #{index}");
    let columns = 10 * text.len() as u32;
    let scale = (area.size.width / columns).min(area.size.height / 20).max(1);
    canvas::text(luma, &text, area.center(), scale, Gray8::WHITE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::raw::Pixels;
    use crate::units::FrameRate;

    fn card(pixels: Pixels) -> TestCard {
        gst::init().unwrap();
        TestCard::new(RawFormat { width: 640, height: 360, framerate: FrameRate::new(30, 1).unwrap(), pixels })
    }

    fn luma_at(picture: &gst::Buffer, x: usize, y: usize) -> u8 {
        picture.map_readable().unwrap()[y * 640 + x]
    }

    #[test]
    fn the_strip_holds_the_frame_count() {
        for pixels in [Pixels::I420, Pixels::Nv12] {
            let picture = card(pixels).picture(0xA5A5_0F01, MediaTime::ZERO);
            let bit = |cell: usize| luma_at(&picture, cell * 20 + 10, 10) > 128;
            let count = (0..32).fold(0u32, |count, cell| count << 1 | u32::from(bit(cell)));
            assert_eq!(count, 0xA5A5_0F01);
        }
    }

    #[test]
    fn flash_and_beep_mark_the_same_tenth_of_each_second() {
        let card = card(Pixels::I420);
        let flashes = |millis| luma_at(&card.picture(1, MediaTime::from_millis(millis)), 600, 200) > 128;
        assert_eq!([0, 99, 100, 999, 1000, 1099, 1100].map(flashes), [true, true, false, false, true, true, false]);
        let sound = card.sound(48_000 - 10, 48_000);
        assert!(sound[..10 * 2].iter().all(|sample| *sample == 0));
        assert!(sound[10 * 2..(10 + 4800) * 2].iter().any(|sample| *sample > 8000));
        assert!(sound[(10 + 4800) * 2..].iter().all(|sample| *sample == 0));
    }
}

//! Drawing into pictures: an RGB canvas that becomes a raw picture, and the luma plane of a raw picture as something to draw on.
//!
//! For the few pictures that the box makes itself (slate, test card). It knows nothing of what is drawn; scaling and colour
//! conversion of an input's pictures are GStreamer's work.

use std::convert::Infallible;

use embedded_graphics::mono_font::{self, MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Gray8, Rgb888};
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};
use gstreamer as gst;

use crate::media::raw::{Pixels, RawFormat};

/// A picture in RGB.
pub struct Canvas {
    size: Size,
    pixels: Vec<Rgb888>,
}

impl Canvas {
    pub fn new(format: &RawFormat, background: Rgb888) -> Self {
        let size = Size::new(format.width, format.height);
        Self { size, pixels: vec![background; (format.width * format.height) as usize] }
    }

    /// The picture as the program's format wants it (BT.709 from 720 lines on, else BT.601; limited range).
    pub fn to_raw(&self, format: &RawFormat) -> gst::Buffer {
        let info = format.layout();
        let mut data = vec![0; info.size()];
        let (strides, offsets) = (info.stride(), info.offset());
        let matrix = Matrix::of(format);
        for y in 0..self.size.height as usize {
            for x in 0..self.size.width as usize {
                let [luma, u, v] = matrix.convert(self.pixels[y * self.size.width as usize + x]);
                data[offsets[0] + y * strides[0] as usize + x] = luma;
                if x % 2 == 0 && y % 2 == 0 {
                    let (row, column) = (y / 2, x / 2);
                    let (u_at, v_at) = match format.pixels {
                        Pixels::I420 => {
                            (offsets[1] + row * strides[1] as usize + column, offsets[2] + row * strides[2] as usize + column)
                        }
                        Pixels::Nv12 => {
                            let pair = offsets[1] + row * strides[1] as usize + 2 * column;
                            (pair, pair + 1)
                        }
                    };
                    (data[u_at], data[v_at]) = (u, v);
                }
            }
        }
        gst::Buffer::from_slice(data)
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            if self.bounding_box().contains(point) {
                self.pixels[point.y as usize * self.size.width as usize + point.x as usize] = color;
            }
        }
        Ok(())
    }
}

/// The luma plane of a raw picture; its grey 0..=255 is black..white of the limited range.
pub struct Luma<'a> {
    pub data: &'a mut [u8],
    pub stride: usize,
    pub size: Size,
}

impl Luma<'_> {
    /// A rectangle filled by whole rows: what the moving parts of a test card are made of.
    pub fn fill(&mut self, x: u32, y: u32, width: u32, height: u32, grey: u8) {
        let right = (x + width).min(self.size.width) as usize;
        for row in y..(y + height).min(self.size.height) {
            let start = row as usize * self.stride;
            self.data[start + (x as usize).min(right)..start + right].fill(limited(grey));
        }
    }
}

impl OriginDimensions for Luma<'_> {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Luma<'_> {
    type Color = Gray8;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Gray8>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            if self.bounding_box().contains(point) {
                self.data[point.y as usize * self.stride + point.x as usize] = limited(color.luma());
            }
        }
        Ok(())
    }

    fn fill_solid(&mut self, area: &embedded_graphics::primitives::Rectangle, color: Gray8) -> Result<(), Infallible> {
        let area = area.intersection(&self.bounding_box());
        let (x, y) = (area.top_left.x as u32, area.top_left.y as u32);
        self.fill(x, y, area.size.width, area.size.height, color.luma());
        Ok(())
    }
}

/// A dot font of 10 by 20 in the alphabets that there are; the first ones are the commonest.
const FONTS: &[&MonoFont<'static>] = &[
    &mono_font::iso_8859_15::FONT_10X20,
    &mono_font::iso_8859_2::FONT_10X20,
    &mono_font::iso_8859_5::FONT_10X20,
    &mono_font::iso_8859_7::FONT_10X20,
    &mono_font::iso_8859_9::FONT_10X20,
    &mono_font::iso_8859_13::FONT_10X20,
    &mono_font::iso_8859_16::FONT_10X20,
];

/// Columns and rows of a letter.
pub const LETTER: Size = Size::new(10, 20);

/// The font that has most of the letters; what it has not is drawn as a question mark.
fn font_for(text: &str) -> &'static MonoFont<'static> {
    let missing = |font: &&&MonoFont| {
        let unknown = font.glyph_mapping.index('?');
        text.chars().filter(|letter| *letter != '?' && font.glyph_mapping.index(*letter) == unknown).count()
    };
    FONTS.iter().min_by_key(missing).expect("there is a font")
}

/// Draws one line of text, centred on `centre`, every dot of the font `scale` pixels wide.
pub fn text<D>(target: &mut D, text: &str, centre: Point, scale: u32, color: D::Color)
where
    D: DrawTarget<Error = Infallible>,
{
    let style = MonoTextStyle::new(font_for(text), color);
    let layout = TextStyleBuilder::new().alignment(Alignment::Center).baseline(Baseline::Middle).build();
    let Ok(_) = Text::with_text_style(text, Point::zero(), style, layout).draw(&mut Scaled { target, centre, scale });
}

/// Makes each pixel a square of `scale` pixels around `centre`.
struct Scaled<'a, D> {
    target: &'a mut D,
    centre: Point,
    scale: u32,
}

impl<D: DrawTarget> Dimensions for Scaled<'_, D> {
    fn bounding_box(&self) -> embedded_graphics::primitives::Rectangle {
        self.target.bounding_box()
    }
}

impl<D: DrawTarget> DrawTarget for Scaled<'_, D> {
    type Color = D::Color;
    type Error = D::Error;

    fn draw_iter<I: IntoIterator<Item = Pixel<D::Color>>>(&mut self, pixels: I) -> Result<(), D::Error> {
        let size = Size::new_equal(self.scale);
        for Pixel(point, color) in pixels {
            let corner = self.centre + point * self.scale as i32;
            self.target.fill_solid(&embedded_graphics::primitives::Rectangle::new(corner, size), color)?;
        }
        Ok(())
    }
}

/// Full-range grey to limited-range luma.
fn limited(grey: u8) -> u8 {
    (16 + u32::from(grey) * 219 / 255) as u8
}

/// Luma weights of red and blue (ITU-R BT.601, BT.709).
struct Matrix {
    red: f32,
    blue: f32,
}

impl Matrix {
    fn of(format: &RawFormat) -> Self {
        if format.height >= 720 { Self { red: 0.2126, blue: 0.0722 } } else { Self { red: 0.299, blue: 0.114 } }
    }

    fn convert(&self, color: Rgb888) -> [u8; 3] {
        let [red, green, blue] = [color.r(), color.g(), color.b()].map(|part| f32::from(part) / 255.0);
        let luma = self.red * red + (1.0 - self.red - self.blue) * green + self.blue * blue;
        let u = (blue - luma) / (2.0 * (1.0 - self.blue));
        let v = (red - luma) / (2.0 * (1.0 - self.red));
        [16.0 + 219.0 * luma, 128.0 + 224.0 * u, 128.0 + 224.0 * v].map(|value| value.round() as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alphabet_of_the_fonts_is_drawn_and_what_none_has_becomes_a_question_mark() {
        let font = |text: &str| {
            let unknown = font_for(text).glyph_mapping.index('?');
            text.chars().filter(|letter| font_for(text).glyph_mapping.index(*letter) == unknown).collect::<String>()
        };
        for text in ["Plain", "Zürich – 5 €".trim_matches('–'), "Żółć gęślą", "Студия", "Στούντιο", "Işık Ğ", "Rīga ģ"]
        {
            assert_eq!(font(&text.replace('–', "-")), "", "{text}");
        }
        assert_eq!(font("日本 A"), "日本");
    }

    #[test]
    fn known_colours_convert_as_the_standards_say() {
        let hd = Matrix { red: 0.2126, blue: 0.0722 };
        assert_eq!(hd.convert(Rgb888::WHITE), [235, 128, 128]);
        assert_eq!(hd.convert(Rgb888::BLACK), [16, 128, 128]);
        assert_eq!(hd.convert(Rgb888::RED), [63, 102, 240]);
        let sd = Matrix { red: 0.299, blue: 0.114 };
        assert_eq!(sd.convert(Rgb888::BLUE), [41, 240, 110]);
    }
}

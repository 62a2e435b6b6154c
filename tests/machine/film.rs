//! What an origin recorded, picture by picture, on the guest's wall clock.
//!
//! Each key picture carries its time on the program's time line and the wall clock at which it left the encoder. The smallest
//! difference of the two is the quickest encoding: by it every picture's time stamp becomes a moment on the guest's clock, late by
//! no more than that, never early.

use std::path::{Path, PathBuf};

use onaird::media::stamp;

use crate::support::flv::{Flv, Tag, Track};
use crate::support::{picture, tool};

/// Pictures are looked at this small.
const WIDTH: usize = 64;
const HEIGHT: usize = 36;

/// The built-in slate's ground.
const SLATE: [f64; 3] = [18.0, 24.0, 38.0];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Slate,
    /// The first card's bars.
    One,
    /// The second card's blue.
    Two,
    /// What the card draws when nothing is on its cable.
    Snow,
    Other,
}

#[derive(Clone, Copy, Debug)]
pub struct Shot {
    pub wall_ms: i64,
    /// In this file.
    pub index: usize,
    pub kind: Kind,
}

pub struct Film {
    pub path: PathBuf,
    pub shots: Vec<Shot>,
    /// What is wrong with the file itself.
    pub faults: Vec<String>,
    /// Largest step from one picture, and one sound, to the next.
    pub picture_step_ms: u32,
    pub sound_step_ms: u32,
    /// From the file's milliseconds to the wall clock.
    shift_ms: i64,
}

impl Film {
    pub fn read(path: &Path) -> Self {
        let flv = Flv::read(path);
        let mut faults = Vec::new();
        let (picture_step_ms, sound_step_ms) =
            (step(&flv.media(Track::Video), &mut faults), step(&flv.media(Track::Audio), &mut faults));
        faults.extend([Track::Video, Track::Audio].into_iter().filter_map(|track| changed(&flv, track)));
        let shift_ms = shift(&flv, &mut faults);
        let shots = shots(path, shift_ms);
        Self { path: path.into(), shots, faults, picture_step_ms, sound_step_ms, shift_ms }
    }

    /// The shots of a span of the guest's wall clock.
    pub fn between(&self, begin_ms: u64, end_ms: u64) -> impl Iterator<Item = &Shot> + Clone {
        self.shots.iter().filter(move |shot| (begin_ms as i64..=end_ms as i64).contains(&shot.wall_ms))
    }

    /// The sound of such a span, in one channel.
    pub fn sound(&self, begin_ms: u64, end_ms: u64) -> Vec<i16> {
        let name = self.path.to_str().unwrap();
        let start_ms = picture::times(name, "a")[0] * 1000.0;
        let place = |wall_ms: u64| (((wall_ms as i64 - self.shift_ms) as f64 - start_ms).max(0.0) * 48.0) as usize;
        let raw = ["-map", "0:a", "-f", "s16le", "-ac", "1", "-ar", "48000", "-"];
        let bytes = tool("ffmpeg", &[&["-nostdin", "-v", "error", "-i", name], &raw[..]].concat());
        let samples: Vec<i16> = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        let end = place(end_ms).min(samples.len());
        samples[place(begin_ms).min(end)..end].to_vec()
    }

    /// One picture in full, as grey.
    pub fn still(&self, index: usize) -> Vec<u8> {
        let choice = format!("select=eq(n\\,{index})");
        let name = self.path.to_str().unwrap();
        let raw = ["-vf", &choice, "-fps_mode", "passthrough", "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", "-"];
        tool("ffmpeg", &[&["-nostdin", "-v", "error", "-i", name, "-map", "0:v"], &raw[..]].concat())
    }
}

/// The origin may write a header twice; another one is another format.
fn changed(flv: &Flv, track: Track) -> Option<String> {
    let mut headers: Vec<_> = flv.headers(track).into_iter().map(|tag| &tag.body).collect();
    headers.dedup();
    (headers.len() != 1).then(|| format!("{} different headers of {track:?}: its format has changed", headers.len()))
}

/// The largest step; one that does not go forward is a fault.
fn step(tags: &[&Tag], faults: &mut Vec<String>) -> u32 {
    let mut largest = 0;
    for pair in tags.windows(2) {
        match pair[1].millis.checked_sub(pair[0].millis) {
            Some(step) if step > 0 => largest = largest.max(step),
            _ => faults.push(format!("{:?} at {} ms after {} ms", pair[1].track, pair[1].millis, pair[0].millis)),
        }
    }
    largest
}

fn shift(flv: &Flv, faults: &mut Vec<String>) -> i64 {
    // Behind the five bytes that FLV puts before a picture.
    let stamps = flv
        .media(Track::Video)
        .into_iter()
        .filter(|tag| tag.keyframe)
        .filter_map(|tag| Some((tag.millis, stamp::of(&tag.body[5..])?.stamp)));
    let stamps: Vec<_> = stamps.collect();
    let lines = stamps.iter().map(|(millis, stamp)| stamp.time_ms as i64 - i64::from(*millis));
    let (low, high) = lines.fold((i64::MAX, i64::MIN), |(low, high), line| (low.min(line), high.max(line)));
    if stamps.is_empty() || high - low > 1 {
        faults
            .push(format!("{} key pictures are stamped; their times and the file's differ by {low} to {high} ms", stamps.len()));
    }
    stamps.iter().map(|(millis, stamp)| stamp.wall_ms as i64 - i64::from(*millis)).min().unwrap_or_default()
}

fn shots(path: &Path, shift_ms: i64) -> Vec<Shot> {
    let name = path.to_str().unwrap();
    let times = picture::times(name, "v");
    let scale = format!("scale={WIDTH}:{HEIGHT}:flags=area");
    let raw = ["-vf", &scale, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"];
    let pixels = tool("ffmpeg", &[&["-nostdin", "-v", "error", "-i", name, "-map", "0:v"], &raw[..]].concat());
    let pictures: Vec<_> = pixels.chunks_exact(WIDTH * HEIGHT * 3).collect();
    assert_eq!(pictures.len(), times.len(), "{name}: every packet becomes a picture");
    let shot = |(index, (picture, time)): (usize, (&[u8], f64))| Shot {
        wall_ms: (time * 1000.0).round() as i64 + shift_ms,
        index,
        kind: kind(picture),
    };
    pictures.into_iter().zip(times).enumerate().map(shot).collect()
}

fn kind(picture: &[u8]) -> Kind {
    let corners = [(4, 3), (55, 3), (4, 28), (55, 28)];
    if corners.iter().all(|&(x, y)| near(mean(picture, x..x + 5, y..y + 5), SLATE)) {
        return Kind::Slate;
    }
    // The cards draw the uppermost tenth only; the rest of a fresh buffer is zero, a green in Y'CbCr.
    let [red, green, blue] = mean(picture, 26..38, 18..30);
    if !(green > 60.0 && red < green / 2.0 && blue < green / 2.0) {
        return Kind::Other;
    }
    let strip = || (0..3).flat_map(|y| (12..52).map(move |x| pixel(picture, x, y)));
    let [red, _, blue] = mean(picture, 12..52, 0..3);
    let colourful = strip().map(|[red, green, blue]| red.max(green).max(blue) - red.min(green).min(blue)).sum::<f64>() / 120.0;
    match () {
        () if blue > 150.0 && red < 60.0 => Kind::Two,
        () if colourful > 50.0 => Kind::One,
        () => Kind::Snow,
    }
}

fn near(one: [f64; 3], other: [f64; 3]) -> bool {
    one.iter().zip(other).all(|(one, other)| (one - other).abs() < 14.0)
}

fn pixel(picture: &[u8], x: usize, y: usize) -> [f64; 3] {
    [0, 1, 2].map(|channel| f64::from(picture[(y * WIDTH + x) * 3 + channel]))
}

fn mean(picture: &[u8], x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> [f64; 3] {
    let count = (x.len() * y.len()) as f64;
    let all = y.flat_map(|y| x.clone().map(move |x| pixel(picture, x, y)));
    let sum = all.fold([0.0; 3], |sum, pixel| [0, 1, 2].map(|channel| sum[channel] + pixel[channel]));
    sum.map(|sum| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLACK: [u8; 3] = [0, 0, 0];
    const GREEN: [u8; 3] = [0, 135, 0];

    /// Pillar-boxed: the strip above, green below.
    fn card(strip: impl Fn(usize) -> [u8; 3]) -> Vec<u8> {
        let pixel = |x: usize, y: usize| match (x, y) {
            (..8 | 56.., _) => BLACK,
            (_, ..3) => strip(x),
            _ => GREEN,
        };
        (0..HEIGHT).flat_map(|y| (0..WIDTH).flat_map(move |x| pixel(x, y))).collect()
    }

    #[test]
    fn pictures_are_told_apart() {
        let bars =
            [[180, 180, 180], [180, 180, 16], [16, 180, 180], [16, 180, 16], [180, 16, 180], [180, 16, 16], [16, 16, 180], BLACK];
        assert_eq!(kind(&card(|x| bars[x / 6 % 8])), Kind::One);
        assert_eq!(kind(&card(|_| [10, 5, 240])), Kind::Two);
        assert_eq!(kind(&card(|x| [(x * 37 % 256) as u8; 3])), Kind::Snow);
        assert_eq!(kind(&[18, 24, 38].repeat(WIDTH * HEIGHT)), Kind::Slate);
        assert_eq!(kind(&BLACK.repeat(WIDTH * HEIGHT)), Kind::Other);
    }
}

//! Reads the test card from a recording: ffmpeg decodes, this looks at pixels and samples.
//!
//! The top strip, 1/16 of the height, is 32 cells, highest bit left: the frame count. The region x in [3W/4, W), y in [H/2, 3H/4)
//! is white during the first 100 ms of each second; exactly there begin 100 ms of 1 kHz at -12 dBFS.

use std::path::Path;

use super::tool;

/// Samples per second that sound is read at.
const RATE: f64 = 48_000.0;

/// Half of the beep's peak: louder than any pre-echo of the encoder, reached within 0.1 ms.
const BEEP: u16 = 4096;

/// Silence before a beep, in samples: 100 ms.
const SILENCE: usize = 4800;

/// What one decoded picture shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shot {
    /// Presentation time in seconds.
    pub time: f64,
    pub count: u32,
    pub flash: bool,
}

/// All pictures of a recording, in the order in which they are shown.
pub fn shots(file: &Path) -> Vec<Shot> {
    let name = file.to_str().unwrap();
    let (width, height) = size(name);
    let times = times(name, "v");
    let raw = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-"];
    let pixels = tool("ffmpeg", &[&["-nostdin", "-v", "error", "-i", name, "-map", "0:v"], &raw[..]].concat());
    let pictures = pixels.chunks_exact(width * height);
    assert_eq!(pictures.len(), times.len(), "{name}: every packet becomes a picture");
    pictures.zip(times).map(|(picture, time)| shot(picture, width, height, time)).collect()
}

fn shot(picture: &[u8], width: usize, height: usize, time: f64) -> Shot {
    let bright = |x: usize, y: usize| picture[y * width + x] > 128;
    let cell = width / 32;
    let count = (0..32).fold(0, |count, bit| count << 1 | u32::from(bright(bit * cell + cell / 2, height / 32)));
    Shot { time, count, flash: bright(width * 7 / 8, height * 5 / 8) }
}

/// When the flash goes on.
pub fn flashes(shots: &[Shot]) -> Vec<f64> {
    shots.windows(2).filter(|pair| pair[1].flash && !pair[0].flash).map(|pair| pair[1].time).collect()
}

/// When a beep begins after silence.
pub fn beeps(file: &Path) -> Vec<f64> {
    let name = file.to_str().unwrap();
    let start = *times(name, "a").first().expect("there is sound");
    let raw = ["-map", "0:a", "-f", "s16le", "-ac", "1", "-ar", "48000", "-"];
    let bytes = tool("ffmpeg", &[&["-nostdin", "-v", "error", "-i", name], &raw[..]].concat());
    let samples = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
    onsets(samples).into_iter().map(|index| start + index as f64 / RATE).collect()
}

fn onsets(samples: impl Iterator<Item = i16>) -> Vec<usize> {
    let (mut found, mut quiet_since) = (Vec::new(), 0);
    for (index, sample) in samples.enumerate() {
        if sample.unsigned_abs() > BEEP {
            if index - quiet_since > SILENCE {
                found.push(index);
            }
            quiet_since = index;
        }
    }
    found
}

/// For each flash that has a beep within half a second: how much later the beep is, in seconds.
pub fn offsets(flashes: &[f64], beeps: &[f64]) -> Vec<f64> {
    let nearest = |flash: f64| beeps.iter().map(|beep| beep - flash).min_by(|one, other| one.abs().total_cmp(&other.abs()));
    flashes.iter().filter_map(|flash| nearest(*flash)).filter(|offset| offset.abs() < 0.5).collect()
}

/// Presentation times of a track's packets, in rising order.
pub fn times(file: &str, track: &str) -> Vec<f64> {
    let wanted = ["-select_streams", track, "-show_entries", "packet=pts_time", "-of", "csv=p=0", file];
    let text = tool("ffprobe", &[&["-v", "error"], &wanted[..]].concat());
    let text = String::from_utf8(text).unwrap();
    let numbers = text.lines().map(|line| line.trim_end_matches(',')).filter(|line| !line.is_empty());
    let mut times: Vec<f64> = numbers.map(|line| line.parse().unwrap_or_else(|_| panic!("a time: {line}"))).collect();
    times.sort_by(f64::total_cmp);
    times
}

pub fn size(file: &str) -> (usize, usize) {
    let wanted = ["-select_streams", "v", "-show_entries", "stream=width,height", "-of", "csv=p=0", file];
    let text = String::from_utf8(tool("ffprobe", &[&["-v", "error"], &wanted[..]].concat())).unwrap();
    let (width, height) = text.trim().trim_end_matches(',').split_once(',').expect("two numbers");
    (width.parse().unwrap(), height.parse().unwrap())
}

/// Mean luma of every picture, black 0 to white 255, in the order in which they are shown.
pub fn lumas(file: &Path) -> Vec<f64> {
    let name = file.to_str().unwrap();
    let raw =
        ["-map", "0:v", "-fps_mode", "passthrough", "-vf", "scale=16:16:flags=area", "-f", "rawvideo", "-pix_fmt", "gray", "-"];
    let pixels = tool("ffmpeg", &[&["-nostdin", "-v", "error", "-i", name], &raw[..]].concat());
    pixels.chunks_exact(256).map(|picture| picture.iter().map(|pixel| f64::from(*pixel)).sum::<f64>() / 256.0).collect()
}

/// The first channel's samples, between -1 and 1.
pub fn samples(file: &Path) -> Vec<f32> {
    let raw = ["-map", "0:a", "-f", "f32le", "-ar", "48000", "-af", "pan=mono|c0=c0", "-"];
    let bytes = tool("ffmpeg", &[&["-nostdin", "-v", "error", "-i", file.to_str().unwrap()], &raw[..]].concat());
    bytes.chunks_exact(4).map(|sample| f32::from_le_bytes([sample[0], sample[1], sample[2], sample[3]])).collect()
}

//! The raw side of the current: what an input hands to the program, and the channel it travels in.
//!
//! Video is "the picture nearest to the time that is wanted", sound is a bounded ring in which nothing is lost: so one feed
//! holds both. An input writes as it comes and never waits; the program reads by time. What is too old to be wanted ever
//! again falls out at the back. A feed outlives its input's pipeline: rebuilt pipelines go on writing into it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::units::{FrameRate, MediaTime, SignedDuration};

/// Sound inside the program: interleaved stereo at 48 kHz.
pub const SAMPLE_RATE: u32 = 48_000;
pub const CHANNELS: usize = 2;

/// Pictures are kept for the program's latency and this much longer: an input's jitter.
const JITTER: Duration = Duration::from_millis(300);

/// Pictures kept at most, whatever their times say.
const MAX_FRAMES: usize = 512;

/// Sound kept: the longest latency, the longest delay of an input's sound, and a second.
const MAX_SOUND: Duration = Duration::from_secs(5);

/// The one format of all raw pictures in the house; it follows from the program's settings and from what its encoder wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFormat {
    pub width: u32,
    pub height: u32,
    pub framerate: FrameRate,
    pub pixels: Pixels,
}

/// How pixels lie in memory: both have a full-size plane of luma first, then chroma of half the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixels {
    I420,
    Nv12,
}

impl Pixels {
    pub fn word(self) -> &'static str {
        match self {
            Self::I420 => "I420",
            Self::Nv12 => "NV12",
        }
    }
}

impl RawFormat {
    /// The caps that an input must deliver: size, pixels, square, limited range in the matrix of its size. The rate is left to the synchroniser.
    pub fn picture_caps(&self) -> String {
        let Self { width, height, pixels, .. } = self;
        let (pixels, colorimetry) = (pixels.word(), self.colorimetry());
        format!(
            "video/x-raw,format={pixels},width={width},height={height},pixel-aspect-ratio=(fraction)1/1,colorimetry={colorimetry}"
        )
    }

    /// GStreamer's name of the matrix, with limited range.
    pub fn colorimetry(&self) -> &'static str {
        if self.height >= 720 { "bt709" } else { "bt601" }
    }

    /// The caps of the program itself, with its rate.
    pub fn program_caps(&self) -> String {
        let (numerator, denominator) = (self.framerate.numerator(), self.framerate.denominator());
        format!("{},framerate={numerator}/{denominator},interlace-mode=progressive", self.picture_caps())
    }

    /// Strides and offsets of a picture in memory.
    pub fn layout(&self) -> gst_video::VideoInfo {
        let pixels = match self.pixels {
            Pixels::I420 => gst_video::VideoFormat::I420,
            Pixels::Nv12 => gst_video::VideoFormat::Nv12,
        };
        let info = gst_video::VideoInfo::builder(pixels, self.width, self.height).build();
        info.expect("a size that the configuration allows has a layout")
    }
}

/// One picture in the program's size and pixel format.
#[derive(Clone, Debug)]
pub struct Frame {
    pub time: MediaTime,
    pub buffer: gst::Buffer,
}

/// A handle on one input's feed; clones share it.
#[derive(Clone)]
pub struct Feed {
    inner: Arc<Mutex<Inner>>,
    /// How long a picture is kept after the newest one came.
    keep: Duration,
    /// Samples by which the sound is put later than it came; negative: earlier.
    delay: i64,
}

#[derive(Default)]
struct Inner {
    frames: VecDeque<Frame>,
    sound: SoundRing,
}

impl Feed {
    /// For a program that looks this far back.
    pub fn new(latency: Duration) -> Self {
        Self { inner: Arc::default(), keep: latency + JITTER, delay: 0 }
    }

    /// With the sound so much later against the pictures than it came (negative: earlier, at the cost of the program's latency).
    pub fn with_sound_delay(self, delay: SignedDuration) -> Self {
        Self { delay: delay.millis() * i64::from(SAMPLE_RATE) / 1000, ..self }
    }

    /// How long a picture is kept after the newest one came.
    pub fn keeps(&self) -> Duration {
        self.keep
    }

    /// Takes a picture. A time that is not after the last one means that the input has jumped back: what stood before is dropped.
    pub fn push_frame(&self, frame: Frame) {
        let mut inner = self.inner();
        if inner.frames.back().is_some_and(|last| frame.time <= last.time) {
            inner.frames.retain(|old| old.time < frame.time);
        }
        let oldest = frame.time.saturating_sub(self.keep);
        while inner.frames.len() >= MAX_FRAMES || inner.frames.front().is_some_and(|old| old.time < oldest) {
            inner.frames.pop_front();
        }
        inner.frames.push_back(frame);
    }

    /// Takes interleaved stereo samples whose first is due at `time`; joined to the last ones if that is about their end.
    pub fn push_sound(&self, time: MediaTime, samples: &[i16]) {
        self.put_sound(sample_index(time), samples, JOIN);
    }

    /// Takes interleaved stereo samples whose first has exactly this place on the program's time line.
    pub fn place_sound(&self, index: u64, samples: &[i16]) {
        self.put_sound(index, samples, 0);
    }

    fn put_sound(&self, index: u64, samples: &[i16], join: u64) {
        // Before the program's beginning nobody listens.
        if let Some(index) = index.checked_add_signed(self.delay) {
            self.inner().sound.push(index, samples, join);
        }
    }

    /// Times of the pictures that wait, oldest first, and the means to take one: see [`crate::program::sync`].
    pub fn with_frames<R>(&self, look: impl FnOnce(&mut VecDeque<Frame>) -> R) -> R {
        look(&mut self.inner().frames)
    }

    /// Fills `out` with the samples from index `from` on; where there are none, silence. Returns how many were there.
    pub fn read_sound(&self, from: u64, out: &mut [i16]) -> usize {
        self.inner().sound.read(from, out)
    }

    /// Forgets everything, as when the input's device is gone.
    pub fn clear(&self) {
        *self.inner() = Inner::default();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Index of the sample that is due at a time, rounded to the nearest.
pub fn sample_index(time: MediaTime) -> u64 {
    let samples = u128::from(time.nanos()) * u128::from(SAMPLE_RATE);
    ((samples + 500_000_000) / 1_000_000_000) as u64
}

/// When a sample is due.
pub fn sample_time(index: u64) -> MediaTime {
    MediaTime::from_nanos((u128::from(index) * 1_000_000_000 / u128::from(SAMPLE_RATE)) as u64)
}

/// Samples by their index on the program's time line.
///
/// A source's buffers join without a seam although their time stamps jitter: a buffer whose stamp is within `join` of the
/// end of the last one is appended to it; farther away, it is placed by its stamp (a gap is silence, an overlap replaces).
/// Sources that place their samples themselves have no jitter to be forgiven.
#[derive(Default)]
struct SoundRing {
    /// Index of the first sample (of one channel) in `samples`.
    start: u64,
    samples: VecDeque<i16>,
}

/// 20 ms: less than an ear notices, more than stamps of a healthy source jitter.
const JOIN: u64 = (SAMPLE_RATE / 50) as u64;

impl SoundRing {
    fn end(&self) -> u64 {
        self.start + (self.samples.len() / CHANNELS) as u64
    }

    fn push(&mut self, index: u64, samples: &[i16], join: u64) {
        if self.samples.is_empty() || index.abs_diff(self.end()) > MAX_SOUND.as_secs() * u64::from(SAMPLE_RATE) {
            self.samples.clear();
            self.start = index;
        } else if index > self.end() + join {
            let gap = (index - self.end()) as usize * CHANNELS;
            self.samples.extend(std::iter::repeat_n(0, gap));
        } else if index + join < self.end() {
            let keep = index.saturating_sub(self.start) as usize * CHANNELS;
            self.samples.truncate(keep);
            self.start = self.start.min(index);
        }
        self.samples.extend(samples);
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        let bound = MAX_SOUND.as_secs() as usize * SAMPLE_RATE as usize * CHANNELS;
        let excess = self.samples.len().saturating_sub(bound);
        self.samples.drain(..excess);
        self.start += (excess / CHANNELS) as u64;
    }

    fn read(&self, from: u64, out: &mut [i16]) -> usize {
        let mut found = 0;
        for (offset, frame) in out.chunks_exact_mut(CHANNELS).enumerate() {
            let place = (from + offset as u64).checked_sub(self.start).map(|index| index as usize * CHANNELS);
            for (channel, sample) in frame.iter_mut().enumerate() {
                let value = place.and_then(|place| self.samples.get(place + channel));
                *sample = value.copied().unwrap_or(0);
                found += usize::from(value.is_some());
            }
        }
        found / CHANNELS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(from: i16, count: usize) -> Vec<i16> {
        (0..count as i16).flat_map(|i| [from + i, from + i]).collect()
    }

    #[test]
    fn jittering_stamps_join_without_a_seam() {
        let mut ring = SoundRing::default();
        ring.push(1000, &ramp(0, 480), JOIN);
        ring.push(1480 + 300, &ramp(480, 480), JOIN);
        let mut out = [0; 960 * 2];
        assert_eq!(ring.read(1000, &mut out), 960);
        assert_eq!(out.to_vec(), ramp(0, 960));
    }

    #[test]
    fn what_is_placed_exactly_is_not_joined() {
        let mut ring = SoundRing::default();
        ring.push(1000, &ramp(1, 480), 0);
        ring.push(1480, &ramp(481, 480), 0);
        ring.push(1961, &ramp(1, 1), 0);
        let mut out = [0; 3 * 2];
        assert_eq!((ring.read(1479, &mut out), out), (3, [480, 480, 481, 481, 482, 482]));
        assert_eq!((ring.read(1959, &mut out), out), (3, [960, 960, 0, 0, 1, 1]));
        ring.push(1950, &ramp(7, 2), 0);
        assert_eq!((ring.read(1949, &mut out), out), (3, [950, 950, 7, 7, 8, 8]));
    }

    #[test]
    fn delayed_sound_is_later_and_hastened_sound_earlier() {
        for (millis, place) in [(0, 480), (10, 960), (-10, 0), (-11, 0)] {
            let feed = Feed::new(Duration::from_millis(200)).with_sound_delay(SignedDuration::from_millis(millis));
            feed.push_sound(MediaTime::from_millis(10), &[7, 8]);
            let mut out = [0; 2];
            let found = feed.read_sound(place, &mut out);
            assert_eq!((found, out), if millis == -11 { (0, [0, 0]) } else { (1, [7, 8]) }, "{millis} ms");
        }
    }

    #[test]
    fn a_hole_is_silence_and_what_follows_keeps_its_place() {
        let mut ring = SoundRing::default();
        ring.push(0, &ramp(1, 10), JOIN);
        ring.push(4800, &ramp(1, 10), JOIN);
        let mut out = [9; 2 * 2];
        assert_eq!(ring.read(4799, &mut out), 2);
        assert_eq!(out, [0, 0, 1, 1]);
    }

    #[test]
    fn memory_is_bounded_and_jumps_start_anew() {
        let mut ring = SoundRing::default();
        for second in 0..10 {
            ring.push(second * 48_000, &vec![1; 48_000 * 2], JOIN);
        }
        assert_eq!(ring.samples.len(), 5 * 48_000 * 2);
        ring.push(5, &ramp(7, 3), JOIN);
        assert_eq!((ring.start, ring.samples.len()), (5, 6));
    }

    #[test]
    fn sample_times_round_trip() {
        for index in [0, 1, 47_999, 48_000, 1 << 40] {
            assert_eq!(sample_index(sample_time(index)), index);
        }
    }
}

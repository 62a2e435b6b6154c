//! Where packets leave the encoders: gathers the format, brings both tracks in order, publishes.
//!
//! It outlives every encoder, and that is what joins the time line when one is rebuilt: the new encoder's packets go through the
//! same order as the old one's, so that times rise strictly, and what the old one still brings afterwards is not taken. It never
//! waits for a consumer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer_app as gst_app;

use crate::clock;
use crate::media::hub::Hub;
use crate::media::interleave::Interleaver;
use crate::media::packet::{AAC_FRAME_SAMPLES, AudioFormat, Format, Packet, PerTrack, Track, VideoFormat};
use crate::media::raw::{CHANNELS, SAMPLE_RATE, sample_time};
use crate::media::stamp;
use crate::program::pipeline::Plan;
use crate::units::{BitRate, MediaTime};

/// Packets since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub video: u64,
    pub audio: u64,
    /// Came out of the encoder too late, and were left out.
    pub late: u64,
}

impl Counts {
    fn add(&mut self, track: Track) {
        match track {
            Track::Video => self.video += 1,
            Track::Audio => self.audio += 1,
        }
    }
}

/// Which of a track's encoders: they are counted, and only the newest one is listened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life(u64);

pub struct Outlet {
    hub: Hub,
    plan: Plan,
    state: Mutex<State>,
}

struct State {
    bitrate: BitRate,
    sources: PerTrack<Source>,
    formats: Formats,
    interleaver: Interleaver,
    counts: Counts,
}

/// What is known of one track's encoder.
#[derive(Default)]
struct Source {
    life: Life,
    /// Packets that came out of all its lives, whether or not they were published.
    came: u64,
    caps: Option<gst::Caps>,
    /// avcC or AudioSpecificConfig.
    codec: Option<Bytes>,
}

impl Outlet {
    pub fn new(plan: Plan, hub: Hub) -> Self {
        let state = State {
            bitrate: plan.settings.bitrate,
            sources: PerTrack::default(),
            formats: Formats::default(),
            interleaver: Interleaver::default(),
            counts: Counts::default(),
        };
        Self { hub, plan, state: Mutex::new(state) }
    }

    /// A new encoder begins; of the one before, nothing is taken any more.
    pub fn begin(&self, track: Track) -> Life {
        let mut state = self.state();
        let source = state.sources.of_mut(track);
        source.life = Life(source.life.0 + 1);
        source.life
    }

    pub fn life(&self, track: Track) -> Life {
        self.state().sources.of(track).life
    }

    /// How many packets have come out of this track's encoders.
    pub fn came(&self, track: Track) -> u64 {
        self.state().sources.of(track).came
    }

    /// What went into the hub, and what had to be left out.
    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts { late: state.interleaver.late(), ..state.counts }
    }

    pub fn set_bitrate(&self, bitrate: BitRate) {
        self.state().bitrate = bitrate;
    }

    /// Publishes what still waits for its order.
    pub fn flush(&self) {
        let mut state = self.state();
        while let Some(packet) = state.interleaver.pop_rest() {
            self.publish(&mut state, packet);
        }
    }

    pub fn listen(self: Arc<Self>, sink: &gst_app::AppSink, track: Track, life: Life) {
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            self.take(&sample, track, life);
            Ok(gst::FlowSuccess::Ok)
        });
        sink.set_callbacks(callbacks.build());
    }

    /// The lock is held by the other track's thread at most for as long as a push takes.
    fn take(&self, sample: &gst::Sample, track: Track, life: Life) {
        let mut state = self.state();
        if state.sources.of(track).life != life {
            return;
        }
        state.sources.of_mut(track).came += 1;
        self.note_format(&mut state, sample, track);
        let (Some(format), Some(buffer)) = (state.formats.newest(), sample.buffer()) else { return };
        let Some(packet) = self.packet(buffer, sample, track, format) else { return };
        state.interleaver.push(packet);
        while let Some(packet) = state.interleaver.pop() {
            self.publish(&mut state, packet);
        }
    }

    fn publish(&self, state: &mut State, mut packet: Packet) {
        packet.format = state.formats.in_order(packet.format);
        state.counts.add(packet.track);
        self.hub.publish(packet);
    }

    fn packet(&self, buffer: &gst::BufferRef, sample: &gst::Sample, track: Track, format: Arc<Format>) -> Option<Packet> {
        let keyframe = track == Track::Video && !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        // Encoders may shift their stamps (x264enc by 1000 hours) and say so in the segment.
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let running = segment.to_running_time(buffer.pts()?)?.nseconds();
        let (nanos, duration) = match track {
            Track::Video => (running, self.plan.format.framerate.frame_duration()),
            Track::Audio => {
                // The encoder's first samples are its own; without this, sound would come late by them.
                let priming = sample_time(u64::from(self.plan.audio_recipe.priming)).nanos();
                let frame = sample_time(u64::from(AAC_FRAME_SAMPLES)).nanos();
                (running.checked_sub(priming)?, Duration::from_nanos(frame))
            }
        };
        let time = MediaTime::from_nanos(nanos);
        // A copy, because the hub keeps packets for seconds and a hardware encoder owns but a few buffers.
        let data = stamp::marked_if(keyframe, &buffer.map_readable().ok()?, time, || clock::wall_clock().as_millisecond());
        Some(Packet { track, time, duration, keyframe, data, format })
    }

    /// Keeps what the caps say of the decoder's needs; a change makes a new format.
    fn note_format(&self, state: &mut State, sample: &gst::Sample, track: Track) {
        let Some(caps) = sample.caps_owned() else { return };
        let source = state.sources.of_mut(track);
        if source.caps.as_ref().is_some_and(|seen| seen.as_ptr() == caps.as_ptr()) {
            return;
        }
        let data = codec_data(&caps);
        source.caps = Some(caps);
        if data.is_none() || source.codec == data {
            return;
        }
        source.codec = data;
        let codecs = (state.sources.video.codec.clone(), state.sources.audio.codec.clone());
        if let (Some(avcc), Some(asc)) = codecs {
            state.formats.add(self.format(state.bitrate, avcc, asc));
        }
    }

    fn format(&self, bitrate: BitRate, avcc: Bytes, asc: Bytes) -> Format {
        let Plan { format, audio_bitrate, .. } = self.plan;
        let (width, height, framerate) = (format.width, format.height, format.framerate);
        let video = VideoFormat { width, height, framerate, bitrate, avcc };
        let audio = AudioFormat { rate: SAMPLE_RATE, channels: CHANNELS as u16, bitrate: audio_bitrate, asc };
        Format { video, audio }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Formats in the order of their making. In the stream they change forwards only: sound that waited for its order while the
/// picture's encoder was rebuilt goes out with the new format, or every receiver would be told the old one once more.
#[derive(Default)]
struct Formats {
    /// The last few, oldest first.
    known: VecDeque<Arc<Format>>,
    sent: Option<Arc<Format>>,
}

impl Formats {
    /// More rebuilds than this while one packet waits are not allowed.
    const KEPT: usize = 8;

    fn add(&mut self, format: Format) {
        self.known.push_back(Arc::new(format));
        if self.known.len() > Self::KEPT {
            self.known.pop_front();
        }
    }

    fn newest(&self) -> Option<Arc<Format>> {
        self.known.back().cloned()
    }

    fn in_order(&mut self, format: Arc<Format>) -> Arc<Format> {
        let age = |format: &Arc<Format>| self.known.iter().rposition(|known| Arc::ptr_eq(known, format));
        let format = match self.sent.take() {
            Some(sent) if age(&sent) > age(&format) => sent,
            _ => format,
        };
        self.sent.insert(format).clone()
    }
}

/// What a decoder needs before the first packet: avcC or AudioSpecificConfig.
fn codec_data(caps: &gst::Caps) -> Option<Bytes> {
    let data = caps.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    let map = data.map_readable().ok()?;
    Some(Bytes::copy_from_slice(&map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::FrameRate;

    #[test]
    fn formats_change_forwards_only() {
        let (bitrate, framerate) = (BitRate::from_bps(1), FrameRate::new(30, 1).unwrap());
        let audio = AudioFormat { rate: SAMPLE_RATE, channels: 2, bitrate, asc: Bytes::new() };
        let mut formats = Formats::default();
        let mut add = |width| {
            let video = VideoFormat { width, height: 2, framerate, bitrate, avcc: Bytes::new() };
            formats.add(Format { video, audio: audio.clone() });
            formats.newest().unwrap()
        };
        let (one, two, three) = (add(1), add(2), add(3));
        let widths: Vec<_> = [&one, &one, &two, &one, &three, &two, &one, &three]
            .map(|format| formats.in_order(format.clone()).video.width)
            .into_iter()
            .collect();
        assert_eq!(widths, [1, 1, 2, 2, 3, 3, 3, 3]);
    }
}

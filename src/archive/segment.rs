//! The rules of cutting: where a segment begins and ends, where a fragment ends, how long a sample lasts. Pure.
//!
//! ```text
//!            keyframe                          keyframe, and the segment is long enough (or the format is another):
//!  waiting ───────────▶ open ──▶ fragment every 500 ms ──▶ close, open the next one with this very picture
//!     ▲                                │
//!     └───── a loss, or the disk ──────┘
//! ```
//!
//! A sample's length is known only from the next one of its track, so the newest of each track is held back; only at the end
//! of a segment the nominal length must do. Packets come in the order of time: all sound before a keyframe has come before it,
//! so the segments of one run join without a missing or a double sample.

use std::sync::Arc;
use std::time::Duration;

use crate::archive::fmp4::Sample;
use crate::media::packet::{Format, Packet, Track};
use crate::units::MediaTime;

/// Media in one fragment: what a power cut can cost at most, with the held samples and the write.
pub const FRAGMENT: Duration = Duration::from_millis(500);

/// What is to be done with the file.
#[derive(Clone, Debug)]
pub enum Act {
    Open { format: Arc<Format>, start: MediaTime },
    Fragment { video: Vec<Sample>, audio: Vec<Sample> },
    Close,
}

pub struct Segmenter {
    length: Duration,
    open: Option<Open>,
}

struct Open {
    format: Arc<Format>,
    start: MediaTime,
    fragment_start: MediaTime,
    video: Lane,
    audio: Lane,
}

/// One track's samples of the fragment being gathered.
#[derive(Default)]
struct Lane {
    done: Vec<Sample>,
    held: Option<Arc<Packet>>,
}

impl Segmenter {
    pub fn new(length: Duration) -> Self {
        Self { length, open: None }
    }

    /// Takes the next packet. With `anew`, the next keyframe begins a new segment whatever the time.
    pub fn push(&mut self, packet: &Arc<Packet>, anew: bool) -> Vec<Act> {
        let mut acts = Vec::new();
        if packet.track == Track::Video && packet.keyframe && self.must_cut(packet, anew) {
            acts.extend(self.close(Some(packet.time)));
            acts.push(Act::Open { format: packet.format.clone(), start: packet.time });
            self.open = Some(Open::new(packet));
        }
        if let Some(open) = &mut self.open {
            acts.extend(open.end_fragment(packet.time));
            open.lane(packet.track).take(packet.clone());
        }
        acts
    }

    /// Ends the open segment: at a stop, or because packets are missing from here on.
    pub fn finish(&mut self) -> Vec<Act> {
        self.close(None)
    }

    fn must_cut(&self, keyframe: &Packet, anew: bool) -> bool {
        let Some(open) = &self.open else { return true };
        let same_format = Arc::ptr_eq(&open.format, &keyframe.format) || open.format == keyframe.format;
        anew || !same_format || keyframe.time.since(open.start) >= self.length
    }

    fn close(&mut self, next_picture: Option<MediaTime>) -> Vec<Act> {
        let Some(mut open) = self.open.take() else { return vec![] };
        open.video.release(next_picture);
        open.audio.release(None);
        let mut acts: Vec<_> = open.take_fragment().into_iter().collect();
        acts.push(Act::Close);
        acts
    }
}

impl Open {
    fn new(keyframe: &Packet) -> Self {
        Self {
            format: keyframe.format.clone(),
            start: keyframe.time,
            fragment_start: keyframe.time,
            video: Lane::default(),
            audio: Lane::default(),
        }
    }

    fn lane(&mut self, track: Track) -> &mut Lane {
        match track {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        }
    }

    fn end_fragment(&mut self, now: MediaTime) -> Option<Act> {
        if now.since(self.fragment_start) < FRAGMENT {
            return None;
        }
        self.fragment_start = now;
        self.take_fragment()
    }

    fn take_fragment(&mut self) -> Option<Act> {
        let (video, audio) = (std::mem::take(&mut self.video.done), std::mem::take(&mut self.audio.done));
        (!video.is_empty() || !audio.is_empty()).then_some(Act::Fragment { video, audio })
    }
}

impl Lane {
    fn take(&mut self, packet: Arc<Packet>) {
        self.release(Some(packet.time));
        self.held = Some(packet);
    }

    /// The held sample lasts until `next`, or as long as such a sample usually does.
    fn release(&mut self, next: Option<MediaTime>) {
        if let Some(packet) = self.held.take() {
            let end = next.unwrap_or(packet.time + packet.duration);
            self.done.push(Sample { time: packet.time, end, keyframe: packet.keyframe, data: packet.data.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::packet::{AudioFormat, VideoFormat};
    use crate::units::{BitRate, FrameRate};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn format() -> Arc<Format> {
        let bitrate = BitRate::from_bps(1);
        let video = VideoFormat { width: 2, height: 2, framerate: FrameRate::new(30, 1).unwrap(), bitrate, avcc: Bytes::new() };
        Arc::new(Format { video, audio: AudioFormat { rate: 48_000, channels: 2, bitrate, asc: Bytes::new() } })
    }

    /// So many seconds of both tracks in order, a keyframe every `gop` pictures, each packet's number as its data.
    fn stream(seconds: u64, gop: u64) -> Vec<Arc<Packet>> {
        let (rate, format) = (FrameRate::new(30, 1).unwrap(), format());
        let packet = |track, time, duration, keyframe| Packet {
            track,
            time,
            duration,
            keyframe,
            data: Bytes::new(),
            format: format.clone(),
        };
        let pictures = (0..seconds * 30).map(|i| packet(Track::Video, rate.time_of(i), rate.frame_duration(), i % gop == 0));
        let sound = (0..seconds * 46).map(|i| {
            let time = |i: u64| MediaTime::from_nanos(i * 1_024_000_000_000 / 48_000);
            packet(Track::Audio, time(i), time(i + 1).since(time(i)), false)
        });
        let mut packets: Vec<_> = pictures.chain(sound).collect();
        packets.sort_by_key(|packet| (packet.time, packet.track == Track::Audio));
        let numbered = packets.into_iter().enumerate();
        numbered.map(|(number, packet)| Arc::new(Packet { data: Bytes::from(number.to_string()), ..packet })).collect()
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled_and_samples_join(seconds in 1u64..12, gop in 5u64..90, length_ms in 500u64..4000) {
            let packets = stream(seconds, gop);
            let mut segmenter = Segmenter::new(Duration::from_millis(length_ms));
            let mut acts: Vec<_> = packets.iter().flat_map(|packet| segmenter.push(packet, false)).collect();
            acts.extend(segmenter.finish());
            let fragments = acts.iter().filter_map(|act| match act { Act::Fragment { video, audio } => Some((video, audio)), _ => None });
            let (mut video, mut audio) = (Vec::new(), Vec::new());
            for (pictures, sound) in fragments {
                let first = pictures.iter().chain(sound).map(|sample| sample.time).min().unwrap();
                let end = pictures.iter().chain(sound).map(|sample| sample.end).max().unwrap();
                prop_assert!(end.since(first) <= Duration::from_secs(1), "a fragment of {:?}", end.since(first));
                video.extend(pictures.iter().cloned());
                audio.extend(sound.iter().cloned());
            }
            for (track, samples) in [(Track::Video, &video), (Track::Audio, &audio)] {
                let numbers: Vec<_> = samples.iter().map(|sample| sample.data.clone()).collect();
                let expected: Vec<_> = packets.iter().filter(|packet| packet.track == track).map(|packet| packet.data.clone()).collect();
                prop_assert_eq!(numbers, expected);
                prop_assert!(samples.windows(2).all(|pair| pair[0].end.abs_diff(pair[1].time) <= Duration::from_nanos(1)));
            }
            let opens: Vec<_> = acts.iter().filter_map(|act| match act { Act::Open { start, .. } => Some(*start), _ => None }).collect();
            let closes = acts.iter().filter(|act| matches!(act, Act::Close)).count();
            prop_assert_eq!(opens.len(), closes);
            prop_assert!(opens.windows(2).all(|pair| pair[1].since(pair[0]) >= Duration::from_millis(length_ms)));
            for start in opens {
                prop_assert!(packets.iter().any(|packet| packet.keyframe && packet.time == start));
            }
        }
    }

    #[test]
    fn after_a_loss_a_new_segment_begins_at_the_next_keyframe() {
        let packets = stream(4, 30);
        let mut segmenter = Segmenter::new(Duration::from_secs(60));
        let push = |segmenter: &mut Segmenter, from: usize, to: usize| {
            packets[from..to].iter().flat_map(|packet| segmenter.push(packet, false)).collect::<Vec<_>>()
        };
        push(&mut segmenter, 0, 50);
        assert!(matches!(segmenter.finish().last(), Some(Act::Close)));
        let acts = push(&mut segmenter, 100, 250);
        let Some(Act::Open { start, .. }) = acts.first() else { panic!("{acts:?}") };
        assert_eq!(*start, MediaTime::from_millis(2000));
    }
}

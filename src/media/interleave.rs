//! The rule that makes one stream out of two: packets of picture and sound in the order of their times.
//!
//! The two encoders deliver at their own pace; players, recorders and both legs want one order, the same for all. A packet is
//! held until the other track has caught up with it, but never for longer than [`PATIENCE`] of media: if one encoder is silent, the
//! other goes on alone. What comes later than what already went out is dropped, since time must not run backwards; of pictures,
//! all up to the next keyframe.

use std::collections::VecDeque;
use std::time::Duration;

use crate::media::packet::{Packet, Track};
use crate::units::MediaTime;

/// How much media of one track may wait for the other: more than an encoder is behind after a machine was busy.
pub const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Default)]
pub struct Interleaver {
    video: Lane,
    audio: Lane,
    last_out: Option<MediaTime>,
    late: u64,
    /// A picture was dropped: those that follow mean nothing before the next keyframe.
    want_keyframe: bool,
}

/// One track's packets that wait, and the time of the last one that was taken.
#[derive(Default)]
struct Lane {
    queue: VecDeque<Packet>,
    last_in: Option<MediaTime>,
}

impl Interleaver {
    /// Takes a packet; within its track, times must rise, or it counts as late.
    pub fn push(&mut self, packet: Packet) {
        let last_out = self.last_out;
        let lane = self.lane(packet.track);
        let falls = lane.last_in.is_some_and(|last| packet.time <= last);
        let late = falls || last_out.is_some_and(|last| packet.time < last);
        let broken = packet.track == Track::Video && self.want_keyframe && !packet.keyframe;
        if late || broken {
            self.late += 1;
            self.want_keyframe |= packet.track == Track::Video;
            return;
        }
        self.want_keyframe &= packet.track != Track::Video;
        let lane = self.lane(packet.track);
        lane.last_in = Some(packet.time);
        lane.queue.push_back(packet);
    }

    /// The next packet in order, if it is certain (or long enough overdue) by now.
    pub fn pop(&mut self) -> Option<Packet> {
        let track = self.next_track()?;
        let packet = self.lane(track).queue.pop_front()?;
        self.last_out = Some(packet.time);
        Some(packet)
    }

    /// The next packet in order, whether or not the other track may still bring an earlier one: for the end of the stream.
    pub fn pop_rest(&mut self) -> Option<Packet> {
        let times = [Track::Video, Track::Audio].map(|track| (self.lane(track).queue.front().map(|packet| packet.time), track));
        let (_, track) =
            times.into_iter().filter_map(|(time, track)| time.map(|time| (time, track))).min_by_key(|(time, _)| *time)?;
        self.lane(track).queue.pop_front()
    }

    /// Packets dropped because they came after their time had gone out.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn next_track(&self) -> Option<Track> {
        match (self.video.queue.front(), self.audio.queue.front()) {
            (Some(video), Some(audio)) if audio.time < video.time => Some(Track::Audio),
            (Some(_), Some(_)) => Some(Track::Video),
            (Some(_), None) => overdue(&self.video.queue).then_some(Track::Video),
            (None, Some(_)) => overdue(&self.audio.queue).then_some(Track::Audio),
            (None, None) => None,
        }
    }

    fn lane(&mut self, track: Track) -> &mut Lane {
        match track {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        }
    }
}

fn overdue(queue: &VecDeque<Packet>) -> bool {
    match (queue.front(), queue.back()) {
        (Some(first), Some(last)) => last.time.since(first.time) > PATIENCE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::packet::{AudioFormat, Format, VideoFormat};
    use crate::units::{BitRate, FrameRate};
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn packet(track: Track, millis: u64) -> Packet {
        let bitrate = BitRate::from_bps(1);
        let framerate = FrameRate::new(30, 1).unwrap();
        let video = VideoFormat { width: 2, height: 2, framerate, bitrate, avcc: Bytes::new() };
        let audio = AudioFormat { rate: 48_000, channels: 2, bitrate, asc: Bytes::new() };
        let time = MediaTime::from_millis(millis);
        let format = Arc::new(Format { video, audio });
        Packet { track, time, duration: Duration::ZERO, keyframe: false, data: Bytes::new(), format }
    }

    fn drain(interleaver: &mut Interleaver) -> Vec<u64> {
        std::iter::from_fn(|| interleaver.pop()).map(|packet| packet.time.millis()).collect()
    }

    #[test]
    fn a_packet_waits_for_the_other_track() {
        let mut interleaver = Interleaver::default();
        interleaver.push(packet(Track::Video, 10));
        assert!(interleaver.pop().is_none());
        interleaver.push(packet(Track::Audio, 5));
        interleaver.push(packet(Track::Audio, 15));
        assert_eq!(drain(&mut interleaver), [5, 10]);
    }

    #[test]
    fn a_silent_track_holds_up_the_other_one_for_a_while_only() {
        let mut interleaver = Interleaver::default();
        for millis in (0..=3100).step_by(100) {
            interleaver.push(packet(Track::Video, millis));
        }
        assert_eq!(drain(&mut interleaver), [0]);
        interleaver.push(packet(Track::Audio, 0));
        assert_eq!(drain(&mut interleaver), [0]);
        assert_eq!(interleaver.late(), 0);
    }

    #[test]
    fn after_a_late_picture_the_next_one_that_goes_out_is_a_keyframe() {
        let mut interleaver = Interleaver::default();
        for millis in (0..=3200).step_by(20) {
            interleaver.push(packet(Track::Audio, millis));
        }
        drain(&mut interleaver);
        for (millis, keyframe) in [(10, true), (3210, false), (3240, true), (3270, false)] {
            interleaver.push(Packet { keyframe, ..packet(Track::Video, millis) });
        }
        let pictures = std::iter::from_fn(|| interleaver.pop_rest()).filter(|packet| packet.track == Track::Video);
        assert_eq!(pictures.map(|packet| packet.time.millis()).collect::<Vec<_>>(), [3240, 3270]);
        assert_eq!(interleaver.late(), 2);
    }

    #[test]
    fn the_rest_comes_out_in_order() {
        let mut interleaver = Interleaver::default();
        for (track, millis) in [(Track::Video, 10), (Track::Video, 40), (Track::Audio, 20)] {
            interleaver.push(packet(track, millis));
        }
        let rest: Vec<_> = std::iter::from_fn(|| interleaver.pop_rest()).map(|packet| packet.time.millis()).collect();
        assert_eq!(rest, [10, 20, 40]);
    }

    proptest! {
        #[test]
        fn times_never_fall_and_rise_within_a_track(pushes in prop::collection::vec((any::<bool>(), 0u64..5000), 0..300)) {
            let mut interleaver = Interleaver::default();
            let mut out = Vec::new();
            let count = pushes.len() as u64;
            for (video, millis) in pushes {
                interleaver.push(packet(if video { Track::Video } else { Track::Audio }, millis));
                out.extend(std::iter::from_fn(|| interleaver.pop()));
            }
            prop_assert!(out.windows(2).all(|pair| pair[0].time <= pair[1].time));
            for track in [Track::Video, Track::Audio] {
                let times: Vec<_> = out.iter().filter(|packet| packet.track == track).map(|packet| packet.time).collect();
                prop_assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
            }
            let waiting = (interleaver.video.queue.len() + interleaver.audio.queue.len()) as u64;
            prop_assert_eq!(out.len() as u64 + waiting + interleaver.late(), count);
        }
    }
}

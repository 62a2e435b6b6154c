//! What of the program a connection leaves out, told by the pictures that go out on it. A rule; it remembers no packet.
//!
//! Whatever the cause (a memory that does not reach back to where the connection before was lost, GOPs left out because the
//! origin is slow), media goes on at a keyframe: so a hole can only lie before one.

use std::time::Duration;

use crate::media::packet::{Packet, Track};
use crate::units::{MediaTime, Span};

/// A frame that came late from the encoder is no hole.
const TOLERANCE: Duration = Duration::from_millis(250);

/// Holes that wait to be asked for; what digs more between two looks is not worth telling apart.
const MAX_HOLES: usize = 16;

#[derive(Debug, Default)]
pub struct Coverage {
    /// The next picture should begin no later than this; `None`: wherever it likes.
    due: Option<MediaTime>,
    holes: Vec<Span>,
}

impl Coverage {
    /// Media begins; everything before `due` has gone out already.
    pub fn begin(&mut self, due: Option<MediaTime>) {
        self.due = due;
    }

    /// A packet goes out.
    pub fn packet(&mut self, packet: &Packet) {
        if packet.track == Track::Audio {
            return;
        }
        if let Some(due) = self.due.filter(|due| packet.keyframe && packet.time.since(*due) > TOLERANCE)
            && self.holes.len() < MAX_HOLES
        {
            self.holes.push(Span::new(due, packet.time));
        }
        self.due = self.due.max(Some(packet.time + packet.duration));
    }

    /// Until when everything has gone out, but for the holes.
    pub fn until(&self) -> Option<MediaTime> {
        self.due
    }

    /// The holes since this was asked last.
    pub fn take_holes(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.holes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::media::packet::{AudioFormat, Format, VideoFormat};
    use crate::units::{BitRate, FrameRate};

    const STEP: Duration = Duration::from_millis(40);

    fn format() -> Arc<Format> {
        let (bitrate, framerate) = (BitRate::from_bps(1), FrameRate::new(25, 1).unwrap());
        let video = VideoFormat { width: 16, height: 16, framerate, bitrate, avcc: Bytes::new() };
        Arc::new(Format { video, audio: AudioFormat { rate: 48_000, channels: 2, bitrate, asc: Bytes::new() } })
    }

    fn at(picture: u64) -> MediaTime {
        MediaTime::from_millis(40 * picture)
    }

    /// Picture `index`, one each 40 ms, a keyframe each second.
    fn send(coverage: &mut Coverage, pictures: impl IntoIterator<Item = u64>) {
        let format = format();
        for index in pictures {
            let (time, keyframe, format) = (at(index), index % 25 == 0, format.clone());
            coverage.packet(&Packet { track: Track::Video, time, duration: STEP, keyframe, data: Bytes::new(), format });
        }
    }

    #[test]
    fn what_is_left_out_is_told_once() {
        let mut coverage = Coverage::default();
        coverage.begin(Some(at(25)));
        send(&mut coverage, (50..60).chain(100..110));
        let holes = [Span::new(at(25), at(50)), Span::new(at(60), at(100))];
        assert_eq!((coverage.take_holes(), coverage.take_holes()), (holes.to_vec(), vec![]));
        assert_eq!(coverage.until(), Some(at(110)));
    }

    #[test]
    fn a_replay_and_a_late_frame_are_no_holes() {
        let mut coverage = Coverage::default();
        coverage.begin(Some(at(60)));
        send(&mut coverage, (25..74).chain(75..80));
        coverage.begin(None);
        send(&mut coverage, 1000..1010);
        assert!(coverage.take_holes().is_empty());
    }

    proptest! {
        /// Whatever GOPs are sent, holes and what was sent make up the whole.
        #[test]
        fn holes_are_just_the_gops_that_are_missing(gops in prop::collection::vec(any::<bool>(), 1..16)) {
            let mut coverage = Coverage::default();
            coverage.begin(Some(at(0)));
            let sent = |gop: u64| gop as usize == gops.len() || gops[gop as usize];
            (0..=gops.len() as u64).filter(|gop| sent(*gop)).for_each(|gop| send(&mut coverage, gop * 25..gop * 25 + 25));
            let missing: u64 = coverage.take_holes().iter().map(|hole| hole.length_ms()).sum();
            prop_assert_eq!(missing, 1000 * gops.iter().filter(|sent| !**sent).count() as u64);
        }
    }
}

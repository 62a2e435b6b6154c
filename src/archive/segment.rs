//! Where the stream of packets is cut: into samples with a known end, fragments of half a second, segments of minutes.
//!
//! A sample lasts until the next one of its track, so each track holds one packet back; the two tracks are then woven in order
//! of time, so that a segment has exactly what lies between its keyframe and the next segment's, in picture and sound. Rules
//! only: no bytes of a file are made here and none are written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::media::packet::{Format, Packet, Track};
use crate::units::MediaTime;

/// How long a fragment gets; what a power cut may cost.
pub const FRAGMENT: Duration = Duration::from_millis(500);

/// A keyframe begins a new fragment too, so that players can seek to it, unless this one has hardly begun.
const MIN_FRAGMENT: Duration = Duration::from_millis(250);

/// A track that has been silent for so long is not waited for: its last sample gets its nominal duration.
const SILENCE: Duration = Duration::from_millis(250);

/// Times are whole nanoseconds, rounded down; what is due at 300 s may stand at 299.999999999.
const ROUNDING: Duration = Duration::from_millis(1);

/// A packet and when the next one of its track begins.
#[derive(Clone, Debug)]
pub struct Sample {
    pub packet: Arc<Packet>,
    pub end: MediaTime,
}

impl Sample {
    pub fn time(&self) -> MediaTime {
        self.packet.time
    }

    fn nominal(packet: Arc<Packet>) -> Self {
        Self { end: packet.time + packet.duration, packet }
    }
}

/// What is to be done with a file, in this order.
#[derive(Clone, Debug)]
pub enum Step {
    /// A new segment, whose time 0 is `base`: that of its first keyframe.
    Begin { format: Arc<Format>, base: MediaTime },
    /// The next fragment of the open segment, in order of time.
    Fragment(Vec<Sample>),
    /// The open segment is complete.
    End,
}

/// Turns packets into steps.
pub struct Cutter {
    /// Wanted length of a segment.
    length: Duration,
    /// `None` until a keyframe comes.
    format: Option<Arc<Format>>,
    weave: Weave,
    base: Option<MediaTime>,
    fragment: Vec<Sample>,
}

impl Cutter {
    pub fn new(length: Duration) -> Self {
        Self { length, format: None, weave: Weave::default(), base: None, fragment: Vec::new() }
    }

    /// Takes the next packet. A packet that a decoder could not go on with ends the segment; the next keyframe begins another.
    pub fn push(&mut self, packet: &Arc<Packet>) -> Vec<Step> {
        let mut steps = if self.goes_on_with(packet) { Vec::new() } else { self.finish() };
        if self.format.is_none() && !packet.keyframe {
            return steps;
        }
        self.format.get_or_insert_with(|| packet.format.clone());
        self.weave.push(packet.clone());
        while let Some(sample) = self.weave.next() {
            self.place(sample, &mut steps);
        }
        steps
    }

    /// Nothing joins on what was taken so far: the last samples get their nominal durations and the segment ends.
    pub fn finish(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.weave.give_up();
        while let Some(sample) = self.weave.next() {
            self.place(sample, &mut steps);
        }
        self.end(&mut steps);
        self.reset();
        steps
    }

    /// True from a keyframe on, until the end.
    pub fn is_running(&self) -> bool {
        self.format.is_some()
    }

    /// Forgets everything and waits for a keyframe.
    pub fn reset(&mut self) {
        *self = Self::new(self.length);
    }

    fn goes_on_with(&self, packet: &Packet) -> bool {
        let later = self.weave.last(packet.track).is_none_or(|last| packet.time > last);
        later && self.format.as_ref().is_none_or(|format| same_decoder(format, &packet.format, packet.track))
    }

    fn place(&mut self, sample: Sample, steps: &mut Vec<Step>) {
        if self.begins_segment(&sample) {
            self.end(steps);
            self.base = Some(sample.time());
            steps.push(Step::Begin { format: sample.packet.format.clone(), base: sample.time() });
        } else if self.base.is_none_or(|base| sample.time() < base) {
            // Out of the hub's order: there is no place for it.
            return;
        } else if self.begins_fragment(&sample) {
            self.flush(steps);
        }
        self.fragment.push(sample);
    }

    fn begins_segment(&self, sample: &Sample) -> bool {
        sample.packet.keyframe && self.base.is_none_or(|base| sample.time().since(base) + ROUNDING >= self.length)
    }

    fn begins_fragment(&self, sample: &Sample) -> bool {
        let Some(first) = self.fragment.first() else { return false };
        let span = sample.time().since(first.time());
        span + ROUNDING >= FRAGMENT || (sample.packet.keyframe && span >= MIN_FRAGMENT)
    }

    fn flush(&mut self, steps: &mut Vec<Step>) {
        if !self.fragment.is_empty() {
            steps.push(Step::Fragment(std::mem::take(&mut self.fragment)));
        }
    }

    fn end(&mut self, steps: &mut Vec<Step>) {
        self.flush(steps);
        if self.base.take().is_some() {
            steps.push(Step::End);
        }
    }
}

/// True if a decoder set up for `old` can go on with a packet of `new`. A bit rate is nothing to a decoder.
fn same_decoder(old: &Arc<Format>, new: &Arc<Format>, track: Track) -> bool {
    if Arc::ptr_eq(old, new) {
        return true;
    }
    let (video, audio) = (&old.video, &old.audio);
    match track {
        Track::Video => {
            let sizes = (video.width, video.height) == (new.video.width, new.video.height);
            sizes && video.framerate == new.video.framerate && video.avcc == new.video.avcc
        }
        Track::Audio => (audio.rate, audio.channels) == (new.audio.rate, new.audio.channels) && audio.asc == new.audio.asc,
    }
}

/// Both tracks in order of time.
#[derive(Default)]
struct Weave {
    video: Lane,
    audio: Lane,
}

impl Weave {
    fn push(&mut self, packet: Arc<Packet>) {
        let (own, other) = match packet.track {
            Track::Video => (&mut self.video, &mut self.audio),
            Track::Audio => (&mut self.audio, &mut self.video),
        };
        other.give_up_before(packet.time.saturating_sub(SILENCE));
        own.push(packet);
    }

    /// The earliest sample, as soon as nothing earlier can come: the hub's order is that of time.
    fn next(&mut self) -> Option<Sample> {
        let (video, audio) = (self.video.earliest(), self.audio.earliest());
        let video_first = video.is_some_and(|video| audio.is_none_or(|audio| video <= audio));
        if video_first { self.video.ready.pop_front() } else { self.audio.ready.pop_front() }
    }

    fn give_up(&mut self) {
        self.video.give_up();
        self.audio.give_up();
    }

    fn last(&self, track: Track) -> Option<MediaTime> {
        match track {
            Track::Video => self.video.last,
            Track::Audio => self.audio.last,
        }
    }
}

#[derive(Default)]
struct Lane {
    /// Samples whose end is known.
    ready: VecDeque<Sample>,
    /// The newest packet, whose end the next one will tell.
    held: Option<Arc<Packet>>,
    last: Option<MediaTime>,
}

impl Lane {
    fn push(&mut self, packet: Arc<Packet>) {
        let end = packet.time;
        self.last = Some(end);
        if let Some(held) = self.held.replace(packet) {
            self.ready.push_back(Sample { packet: held, end });
        }
    }

    fn give_up(&mut self) {
        self.ready.extend(self.held.take().map(Sample::nominal));
    }

    fn give_up_before(&mut self, time: MediaTime) {
        if self.held.as_ref().is_some_and(|held| held.time < time) {
            self.give_up();
        }
    }

    fn earliest(&self) -> Option<MediaTime> {
        self.ready.front().map(Sample::time).or(self.held.as_ref().map(|held| held.time))
    }
}

/// Counts the GOPs that a reader lost: the hub tells packets, people think in pictures and seconds.
#[derive(Default)]
pub struct Losses {
    /// The newest packet.
    last: Option<MediaTime>,
    keyframe: Option<MediaTime>,
    gop: Duration,
    lost: bool,
}

impl Losses {
    pub fn lost(&mut self) {
        self.lost = true;
    }

    /// Looks at every packet; returns how many GOPs were lost, in whole or in part, before this one.
    pub fn look(&mut self, packet: &Packet) -> u64 {
        let lost = if std::mem::take(&mut self.lost) { self.gops_until(packet.time) } else { 0 };
        if packet.keyframe {
            let since = self.keyframe.map(|before| packet.time.since(before));
            self.gop = since.filter(|_| lost == 0).unwrap_or(self.gop);
            self.keyframe = Some(packet.time);
        }
        self.last = Some(packet.time);
        lost
    }

    fn gops_until(&self, time: MediaTime) -> u64 {
        let gone = self.last.map_or(Duration::ZERO, |last| time.since(last));
        if self.gop.is_zero() { 1 } else { (gone.as_secs_f64() / self.gop.as_secs_f64()).round().max(1.0) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::testing::{Stream, format, format_of};
    use proptest::prelude::*;

    fn cut(packets: &[Arc<Packet>], length: Duration) -> Vec<Step> {
        let mut cutter = Cutter::new(length);
        let mut steps: Vec<Step> = packets.iter().flat_map(|packet| cutter.push(packet)).collect();
        steps.extend(cutter.finish());
        steps
    }

    struct Cut {
        base: MediaTime,
        fragments: Vec<Vec<Sample>>,
    }

    /// Also asserts that begin, fragments and end come in that order.
    fn segments(steps: Vec<Step>) -> Vec<Cut> {
        let mut done = Vec::new();
        let mut open: Option<Cut> = None;
        for step in steps {
            match step {
                Step::Begin { base, .. } => assert!(open.replace(Cut { base, fragments: Vec::new() }).is_none()),
                Step::Fragment(samples) => open.as_mut().expect("a segment is open").fragments.push(samples),
                Step::End => done.push(open.take().expect("a segment is open")),
            }
        }
        assert!(open.is_none());
        done
    }

    fn of_track(cuts: &[Cut], track: Track) -> Vec<&Sample> {
        cuts.iter().flat_map(|cut| cut.fragments.iter().flatten()).filter(|sample| sample.packet.track == track).collect()
    }

    #[test]
    fn a_segment_ends_at_the_first_keyframe_after_its_length() {
        let packets = Stream { seconds: 20, gop: 60, ..Stream::default() }.packets();
        let cuts = segments(cut(&packets, Duration::from_secs(5)));
        let bases: Vec<u64> = cuts.iter().map(|cut| cut.base.millis()).collect();
        assert_eq!(bases, [0, 6000, 12_000, 18_000]);
    }

    #[test]
    fn a_length_that_is_whole_gops_is_met_exactly_at_30000_1001() {
        let packets = Stream { seconds: 20, gop: 60, framerate: (30_000, 1001), ..Stream::default() }.packets();
        let cuts = segments(cut(&packets, Duration::from_micros(4_004_000)));
        let video: Vec<usize> = cuts.iter().map(|cut| of_track(std::slice::from_ref(cut), Track::Video).len()).collect();
        assert_eq!(video[..4], [120, 120, 120, 120]);
    }

    #[test]
    fn nothing_is_taken_before_a_keyframe() {
        let packets = Stream { seconds: 4, gop: 60, ..Stream::default() }.packets();
        let cuts = segments(cut(&packets[7..], Duration::from_secs(60)));
        assert_eq!(cuts.len(), 1);
        assert_eq!(cuts[0].base.millis(), 2000);
        assert!(cuts[0].fragments[0][0].packet.keyframe);
    }

    #[test]
    fn another_format_begins_another_segment_but_another_bit_rate_does_not() {
        let stream = Stream { seconds: 2, gop: 30, ..Stream::default() };
        let mut packets = stream.packets();
        let mut louder = format();
        louder.video.bitrate = crate::units::BitRate::from_bps(9_000_000);
        packets.extend(Stream { start: 2, format: louder.into(), ..stream.clone() }.packets());
        assert_eq!(segments(cut(&packets, Duration::from_secs(60))).len(), 1);
        packets.extend(Stream { start: 4, format: format_of(640, 360).into(), ..stream.clone() }.packets());
        let cuts = segments(cut(&packets, Duration::from_secs(60)));
        assert_eq!(cuts.iter().map(|cut| cut.base.millis()).collect::<Vec<_>>(), [0, 4000]);
        assert_eq!(of_track(&cuts, Track::Video).len(), 180);
    }

    #[test]
    fn a_time_line_that_jumps_back_begins_another_segment() {
        let stream = Stream { seconds: 2, gop: 30, start: 100, ..Stream::default() };
        let mut packets = stream.packets();
        packets.extend(Stream { start: 50, ..stream }.packets());
        let cuts = segments(cut(&packets, Duration::from_secs(60)));
        assert_eq!(cuts.iter().map(|cut| cut.base.millis()).collect::<Vec<_>>(), [100_000, 50_000]);
    }

    #[test]
    fn a_track_that_falls_silent_is_not_waited_for() {
        let mut packets = Stream { seconds: 6, gop: 60, ..Stream::default() }.packets();
        packets.retain(|packet| packet.track == Track::Video || !(1000..4000).contains(&packet.time.millis()));
        let mut cutter = Cutter::new(Duration::from_secs(60));
        let mut newest = MediaTime::ZERO;
        for packet in &packets {
            for step in cutter.push(packet) {
                if let Step::Fragment(samples) = step {
                    newest = samples.last().unwrap().end;
                }
            }
            assert!(packet.time.since(newest) < Duration::from_secs(1), "{packet:?}");
        }
        let cuts = segments(cut(&packets, Duration::from_secs(60)));
        let before = of_track(&cuts, Track::Audio).into_iter().rev().find(|sample| sample.time().millis() < 1000).unwrap();
        assert_eq!(before.end, before.time() + before.packet.duration, "the last sound before the silence keeps its length");
    }

    #[test]
    fn losses_are_counted_in_gops() {
        let packets = Stream { seconds: 20, gop: 60, ..Stream::default() }.packets();
        let mut losses = Losses::default();
        let (before, after): (Vec<_>, Vec<_>) = packets.iter().partition(|packet| packet.time.millis() < 5000);
        assert!(before.iter().all(|packet| losses.look(packet) == 0));
        losses.lost();
        let resumed: Vec<_> =
            after.into_iter().skip_while(|packet| !(packet.keyframe && packet.time.millis() >= 12_000)).collect();
        assert_eq!(resumed.iter().map(|packet| losses.look(packet)).sum::<u64>(), 4, "5 s to 12 s is parts of four GOPs");
    }

    proptest! {
        #[test]
        fn segments_join_exactly(
            rate in prop_oneof![Just((30, 1)), Just((30_000, 1001)), Just((24_000, 1001)), Just((60, 1)), Just((50, 1)), Just((5, 1))],
            gop in 1u64..90,
            seconds in 1u64..12,
            start in 0u64..1 << 33,
            length_ms in 200u64..5000,
            audio_offset_us in 0u64..21_000,
        ) {
            let stream = Stream { framerate: rate, gop, seconds, start, audio_offset: Duration::from_micros(audio_offset_us), ..Stream::default() };
            let packets = stream.packets();
            let cuts = segments(cut(&packets, Duration::from_millis(length_ms)));
            for track in [Track::Video, Track::Audio] {
                let samples = of_track(&cuts, track);
                let published: Vec<_> = packets.iter().filter(|packet| packet.track == track).collect();
                prop_assert_eq!(samples.len(), published.len());
                prop_assert!(samples.iter().zip(&published).all(|(sample, packet)| Arc::ptr_eq(&sample.packet, packet)));
                prop_assert!(samples.windows(2).all(|pair| pair[0].end.abs_diff(pair[1].time()) <= Duration::from_nanos(1)));
            }
            for (index, this) in cuts.iter().enumerate() {
                let until = cuts.get(index + 1).map(|next| next.base);
                let first = &this.fragments[0][0];
                prop_assert!(first.packet.keyframe && first.time() == this.base);
                for fragment in &this.fragments {
                    let (from, to) = (fragment[0].time(), fragment.last().unwrap().time());
                    prop_assert!(to.since(from) <= FRAGMENT);
                    prop_assert!(fragment.windows(2).all(|pair| pair[0].time() <= pair[1].time()));
                    prop_assert!(fragment.iter().all(|s| s.time() >= this.base && until.is_none_or(|until| s.time() < until)));
                }
            }
        }
    }
}

//! The hub: where packets wait for whoever wants them. A lossy broadcast with a memory.
//!
//! The program publishes and never waits; every reader follows at its own pace and loses alone. Packets are kept for
//! [`MEMORY`] (and never beyond [`MAX_BYTES`]), so that a reader which was away can resume at a keyframe of the past. A reader
//! that fell out of the memory is told so, once, and goes on at the oldest keyframe that is left. The lock is held for a push
//! or a clone of one `Arc`, never over I/O.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use crate::media::packet::Packet;
use crate::units::MediaTime;

/// How much of the past is kept at least.
pub const MEMORY: Duration = Duration::from_secs(12);

/// The memory's bound in bytes: 12 s at 80 Mbit/s.
pub const MAX_BYTES: usize = 120 << 20;

/// Position of a packet in the stream of all packets: 0 is the first one since the start.
pub type Sequence = u64;

#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    ring: Mutex<Ring>,
    /// The sequence that the next packet will get.
    head: watch::Sender<Sequence>,
}

#[derive(Default)]
struct Ring {
    packets: VecDeque<Arc<Packet>>,
    /// Sequence of the first packet in the ring.
    tail: Sequence,
    bytes: usize,
    /// Of the first packet since the start.
    first: Option<MediaTime>,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { ring: Mutex::default(), head: watch::Sender::new(0) }) }
    }

    /// Never blocks on a reader.
    pub fn publish(&self, packet: Packet) {
        let head = {
            let mut ring = self.ring();
            ring.push(packet);
            ring.head()
        };
        self.shared.head.send_replace(head);
    }

    /// A reader that starts at the newest keyframe, or at the next one if there is none yet.
    pub fn reader(&self) -> Reader {
        let next = self.newest_keyframe().unwrap_or_else(|| self.ring().head());
        Reader { hub: self.clone(), head: self.shared.head.subscribe(), next, want_keyframe: true }
    }

    pub fn newest_keyframe(&self) -> Option<Sequence> {
        self.ring().newest_keyframe()
    }

    /// Time of the newest packet.
    pub fn newest_time(&self) -> Option<MediaTime> {
        self.ring().packets.back().map(|packet| packet.time)
    }

    /// Time of the very first packet, which may be long gone; `None` before it.
    pub fn first_time(&self) -> Option<MediaTime> {
        self.ring().first
    }

    /// Whether this packet is still in memory.
    pub fn holds(&self, sequence: Sequence) -> bool {
        let ring = self.ring();
        (ring.tail..ring.head()).contains(&sequence)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // A poisoned lock means that another thread panicked, which ends the process anyway.
        self.shared.ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Ring {
    fn head(&self) -> Sequence {
        self.tail + self.packets.len() as u64
    }

    fn push(&mut self, packet: Packet) {
        let keep_from = packet.time.saturating_sub(MEMORY);
        self.first.get_or_insert(packet.time);
        self.bytes += packet.data.len();
        self.packets.push_back(Arc::new(packet));
        while self.packets.front().is_some_and(|oldest| oldest.time < keep_from) || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.packets.pop_front() {
            self.bytes -= oldest.data.len();
            self.tail += 1;
        }
    }

    fn get(&self, sequence: Sequence) -> Option<Arc<Packet>> {
        let index = sequence.checked_sub(self.tail)?;
        self.packets.get(index as usize).cloned()
    }

    fn newest_keyframe(&self) -> Option<Sequence> {
        let index = self.packets.iter().rposition(|packet| packet.keyframe)?;
        Some(self.tail + index as u64)
    }

    fn keyframe_from(&self, sequence: Sequence) -> Option<Sequence> {
        let skip = sequence.saturating_sub(self.tail) as usize;
        let index = self.packets.iter().skip(skip).position(|packet| packet.keyframe)?;
        Some(self.tail + (skip + index) as u64)
    }
}

/// One follower of the stream.
pub struct Reader {
    hub: Hub,
    head: watch::Receiver<Sequence>,
    next: Sequence,
    /// Nothing is handed out before a keyframe: at the start and after a loss.
    want_keyframe: bool,
}

/// What a reader gets.
#[derive(Debug)]
pub enum Item {
    Packet(Arc<Packet>),
    /// The reader was too slow; this many packets of each track are gone. A keyframe comes next.
    Lost {
        packets: u64,
    },
}

impl Reader {
    /// Waits for the next packet. Cancel safe.
    pub async fn next(&mut self) -> Item {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            self.changed().await;
        }
    }

    /// Waits until something has been published since the last [`Reader::try_next`]. Cancel safe.
    pub async fn changed(&mut self) {
        if self.head.changed().await.is_err() {
            // The hub lives in `self`, so its sender does too.
            std::future::pending::<()>().await;
        }
    }

    /// The next packet, if there is one already.
    pub fn try_next(&mut self) -> Option<Item> {
        self.head.mark_unchanged();
        let hub = self.hub.clone();
        let ring = hub.ring();
        if self.next < ring.tail {
            return Some(self.skip_lost(&ring));
        }
        if self.want_keyframe {
            self.next = ring.keyframe_from(self.next).unwrap_or(ring.head());
        }
        let packet = ring.get(self.next)?;
        self.next += 1;
        self.want_keyframe = false;
        Some(Item::Packet(packet))
    }

    /// Go on at the newest keyframe instead, if that lies ahead; returns how many packets are left out.
    pub fn skip_to_newest_keyframe(&mut self) -> u64 {
        let Some(target) = self.hub.newest_keyframe().filter(|target| *target > self.next) else { return 0 };
        let skipped = target - self.next;
        self.next = target;
        self.want_keyframe = true;
        skipped
    }

    /// How much time lies between the next packet and the newest one; zero if nothing waits.
    pub fn lag(&self) -> Duration {
        let ring = self.hub.ring();
        let next = ring.packets.get(self.next.saturating_sub(ring.tail) as usize);
        let newest = ring.packets.back();
        next.zip(newest).map_or(Duration::ZERO, |(next, newest)| newest.time.since(next.time))
    }

    /// How many keyframes wait after the next packet: so many GOPs, whole or begun, a skip to the newest leaves out.
    pub fn keyframes_ahead(&self) -> u64 {
        let ring = self.hub.ring();
        let waiting = ring.packets.iter().skip((self.next + 1).saturating_sub(ring.tail) as usize);
        waiting.filter(|packet| packet.keyframe).count() as u64
    }

    /// Go on (or back) to a place in memory.
    pub fn seek(&mut self, sequence: Sequence) {
        self.next = sequence;
        self.want_keyframe = true;
    }

    /// Sequence of the packet that comes next.
    pub fn position(&self) -> Sequence {
        self.next
    }

    fn skip_lost(&mut self, ring: &Ring) -> Item {
        let resume = ring.keyframe_from(ring.tail).unwrap_or(ring.head());
        let packets = resume - self.next;
        self.next = resume;
        self.want_keyframe = true;
        Item::Lost { packets }
    }
}

#[cfg(test)]
mod tests {
    use crate::media::packet::Track;
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::media::packet::{AudioFormat, Format, VideoFormat};
    use crate::units::{BitRate, FrameRate};

    fn format() -> Arc<Format> {
        let video = VideoFormat {
            width: 16,
            height: 16,
            framerate: FrameRate::new(25, 1).unwrap(),
            bitrate: BitRate::from_bps(1),
            avcc: Bytes::new(),
        };
        Arc::new(Format {
            video,
            audio: AudioFormat { rate: 48_000, channels: 2, bitrate: BitRate::from_bps(1), asc: Bytes::new() },
        })
    }

    fn packet(index: u64, step_ms: u64, keyframe: bool, size: usize) -> Packet {
        let (time, duration) = (MediaTime::from_millis(index * step_ms), Duration::from_millis(step_ms));
        let mut data = vec![0; size.max(8)];
        data[..8].copy_from_slice(&index.to_be_bytes());
        Packet { track: Track::Video, time, duration, keyframe, data: data.into(), format: format() }
    }

    /// Publishes pictures `range`, one each 40 ms, a keyframe each `gop`.
    fn publish(hub: &Hub, range: std::ops::Range<u64>, gop: u64) {
        range.for_each(|index| hub.publish(packet(index, 40, index % gop == 0, 8)));
    }

    /// Bytes and packets in memory.
    fn held(hub: &Hub) -> (usize, usize) {
        let ring = hub.ring();
        (ring.bytes, ring.packets.len())
    }

    fn index(item: Item) -> u64 {
        match item {
            Item::Packet(packet) => u64::from_be_bytes(packet.data[..8].try_into().unwrap()),
            Item::Lost { packets } => panic!("lost {packets}"),
        }
    }

    fn rest(reader: &mut Reader) -> Vec<u64> {
        std::iter::from_fn(|| reader.try_next()).map(index).collect()
    }

    #[test]
    fn a_reader_starts_at_the_newest_keyframe_and_gets_all_in_order() {
        let hub = Hub::new();
        publish(&hub, 0..130, 50);
        let mut reader = hub.reader();
        assert_eq!(rest(&mut reader), Vec::from_iter(100..130));
        publish(&hub, 130..140, 50);
        assert_eq!(rest(&mut reader), Vec::from_iter(130..140));
    }

    #[test]
    fn an_early_reader_waits_for_the_first_keyframe() {
        let hub = Hub::new();
        let mut reader = hub.reader();
        publish(&hub, 1..60, 50);
        assert_eq!(rest(&mut reader), Vec::from_iter(50..60));
    }

    #[test]
    fn a_lagging_reader_is_told_once_and_resumes_at_a_keyframe() {
        let hub = Hub::new();
        publish(&hub, 0..10, 50);
        let mut reader = hub.reader();
        assert_eq!(index(reader.try_next().unwrap()), 0);
        publish(&hub, 10..1000, 50);
        let Some(Item::Lost { packets }) = reader.try_next() else { panic!("not told") };
        assert_eq!(packets, 699, "1 to 699: the memory reaches back to 699, the first keyframe in it is 700");
        assert_eq!(rest(&mut reader), Vec::from_iter(700..1000));
    }

    #[test]
    fn the_memory_is_bounded_in_bytes() {
        let hub = Hub::new();
        (0..20).for_each(|index| hub.publish(packet(index, 40, index % 5 == 0, MAX_BYTES / 8)));
        assert_eq!(held(&hub), (MAX_BYTES, 8));
        hub.publish(packet(20, 40, true, MAX_BYTES + 1));
        assert_eq!(held(&hub), (0, 0), "what alone is too much is not kept");
    }

    #[test]
    fn a_skip_goes_forward_to_a_keyframe_or_nowhere() {
        let hub = Hub::new();
        publish(&hub, 0..175, 50);
        let mut reader = hub.reader();
        reader.seek(0);
        assert_eq!((index(reader.try_next().unwrap()), reader.keyframes_ahead()), (0, 3));
        assert_eq!(reader.lag(), Duration::from_millis(173 * 40));
        assert_eq!(reader.skip_to_newest_keyframe(), 149);
        assert_eq!((index(reader.try_next().unwrap()), reader.keyframes_ahead()), (150, 0));
        assert_eq!(reader.skip_to_newest_keyframe(), 0, "inside the newest GOP there is nothing to skip");
        assert_eq!(rest(&mut reader), Vec::from_iter(151..175));
        assert_eq!((reader.lag(), reader.keyframes_ahead()), (Duration::ZERO, 0));
    }

    #[test]
    fn what_is_in_memory_is_known() {
        let hub = Hub::new();
        publish(&hub, 0..130, 50);
        assert!(hub.holds(0) && hub.holds(129) && !hub.holds(130));
        assert_eq!((hub.newest_keyframe(), hub.newest_time()), (Some(100), Some(MediaTime::from_millis(129 * 40))));
        assert_eq!((hub.first_time(), Hub::new().first_time()), (Some(MediaTime::ZERO), None));
    }

    #[tokio::test]
    async fn waiting_readers_are_woken() {
        let hub = Hub::new();
        let mut reader = hub.reader();
        let waiting = tokio::spawn(async move { index(reader.next().await) });
        tokio::task::yield_now().await;
        publish(&hub, 0..1, 50);
        assert_eq!(waiting.await.unwrap(), 0);
    }

    proptest! {
        /// Whatever a reader does and however late it is: order, keyframe after every gap, bounds.
        #[test]
        fn readers_see_order_and_enter_at_keyframes(
            gop in 1u64..400,
            actions in prop::collection::vec((1u64..500, 0usize..400, any::<bool>()), 1..20),
        ) {
            let hub = Hub::new();
            let mut reader = hub.reader();
            let (mut published, mut last, mut gap) = (0, None, true);
            for (more, reads, skip) in actions {
                publish(&hub, published..published + more, gop);
                published += more;
                prop_assert!(held(&hub).1 <= 301, "12 s at 25 per second");
                if skip && reader.skip_to_newest_keyframe() > 0 {
                    gap = true;
                }
                for _ in 0..reads {
                    match reader.try_next() {
                        Some(Item::Packet(packet)) => {
                            let sequence = reader.position() - 1;
                            prop_assert!(last.is_none_or(|last| sequence > last));
                            prop_assert!(packet.keyframe || (!gap && Some(sequence - 1) == last));
                            prop_assert_eq!(packet.time, MediaTime::from_millis(40 * sequence));
                            (last, gap) = (Some(sequence), false);
                        }
                        Some(Item::Lost { packets }) => {
                            prop_assert!(packets > 0);
                            prop_assert!(!matches!(reader.try_next(), Some(Item::Lost { .. })), "told twice");
                            reader.seek(reader.position().saturating_sub(1).max(last.map_or(0, |last| last + 1)));
                            gap = true;
                        }
                        None => break,
                    }
                }
            }
        }
    }
}

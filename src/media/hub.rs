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

use crate::media::packet::{Packet, Track};
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
        self.ring().keyframe_from_behind(|_| true)
    }

    /// The last keyframe at or before `time` that is still in memory.
    pub fn keyframe_at(&self, time: MediaTime) -> Option<Sequence> {
        self.ring().keyframe_from_behind(|packet| packet.time <= time)
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

    fn keyframe_from_behind(&self, wanted: impl Fn(&Packet) -> bool) -> Option<Sequence> {
        let index = self.packets.iter().rposition(|packet| packet.keyframe && wanted(packet))?;
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
            if self.head.changed().await.is_err() {
                // The hub lives in `self`, so its sender does too.
                std::future::pending::<()>().await;
            }
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

    /// Go on at the newest keyframe instead; returns how many packets are left out.
    pub fn skip_to_newest_keyframe(&mut self) -> u64 {
        let target = self.hub.newest_keyframe().unwrap_or(self.next).max(self.next);
        let skipped = target - self.next;
        self.next = target;
        self.want_keyframe = true;
        skipped
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

/// True for a packet at which decoding can start.
pub fn is_entry(packet: &Packet) -> bool {
    packet.track == Track::Video && packet.keyframe
}

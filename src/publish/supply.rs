//! What goes out next on a connection: packets of the hub, with their format and time stamps, into the session. It remembers what
//! has gone, so that another connection can go on from there.
//!
//! It takes packets only when it is asked to, which is when all bytes before them are in the kernel: what waits, waits in the
//! hub, where it can be left out. How much may wait, how fast a replay goes and what a time stamp counts from are the rules'
//! words; it touches no socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::health::SocketTruth;
use super::pace::Pace;
use super::resume::{Ledger, Mark, Taken};
use super::session::Session;
use super::wire_clock::WireClock;
use super::{PublishError, Terms, backlog};
use crate::media::hub::{Hub, Item, Reader, Sequence};
use crate::media::packet::{Format, Packet, Track};
use crate::units::MediaTime;

pub struct Supply {
    hub: Hub,
    reader: Reader,
    terms: Terms,
    wire: Option<WireClock>,
    pace: Pace,
    ledger: Ledger,
    /// What the origin's decoders know.
    format: Option<Arc<Format>>,
    /// Time of the first packet that is not yet in the kernel.
    oldest: Option<MediaTime>,
    /// A packet that was taken from the hub before its time.
    early: Option<Arc<Packet>>,
    /// The origin wants a new connection: the next keyframe is that one's.
    over: bool,
    dropped_gops: u64,
}

/// What is left to do.
pub enum More {
    /// Nothing until the hub has more.
    Nothing,
    Now,
    At(MediaTime),
}

impl Supply {
    pub fn new(hub: &Hub, terms: Terms) -> Self {
        Self {
            reader: hub.reader(),
            hub: hub.clone(),
            terms,
            wire: None,
            pace: Pace::default(),
            ledger: Ledger::default(),
            format: None,
            oldest: None,
            early: None,
            over: false,
            dropped_gops: 0,
        }
    }

    /// Media begins at `start`, if that is still in memory, else at the newest keyframe.
    pub fn begin_at(&mut self, start: Option<Sequence>) {
        self.reader = self.hub.reader();
        if let Some(start) = start.filter(|start| self.hub.holds(*start)) {
            self.reader.seek(start);
        }
    }

    /// The next keyframe belongs to another connection.
    pub fn end_at_keyframe(&mut self) {
        self.over = true;
    }

    /// Waits until the hub has more. Cancel safe.
    pub async fn changed(&mut self) {
        self.reader.changed().await;
    }

    /// Puts packets into the session until so many bytes wait there. `truth`: of the socket now.
    pub fn fill(
        &mut self,
        session: &mut Session,
        batch: usize,
        now: MediaTime,
        truth: impl Fn() -> io::Result<SocketTruth>,
    ) -> Result<More, PublishError> {
        let lag = self.reader.lag();
        self.pace.advance(lag, now);
        self.keep_up(lag);
        while session.pending_len() < batch {
            let Some(packet) = self.next() else { return Ok(More::Nothing) };
            if let Some(due) = self.pace.due(packet.time).filter(|due| *due > now) {
                self.early = Some(packet);
                return Ok(More::At(due));
            }
            self.send(&packet, session, now, &truth)?;
        }
        Ok(More::Now)
    }

    /// All that was put into the session is in the kernel.
    pub fn all_written(&mut self) {
        self.oldest = None;
    }

    /// GOPs that were left out since the last time that this was asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped_gops)
    }

    /// Age of the oldest packet that is not in the kernel, against the newest of the program.
    pub fn queue(&self) -> Duration {
        match (self.oldest, self.hub.newest_time()) {
            (Some(oldest), Some(newest)) => newest.since(oldest),
            _ => self.reader.lag(),
        }
    }

    /// The packet that was last taken from the hub.
    pub fn position(&self) -> Sequence {
        self.reader.position().saturating_sub(1)
    }

    /// Whether the origin's kernel, with so many bytes acknowledged, has all that came before the program's newest keyframe.
    pub fn has_the_past(&self, acked_bytes: u64) -> bool {
        let newest = self.ledger.newest_keyframe();
        let sent = newest.filter(|mark| Some(mark.sequence) == self.hub.newest_keyframe());
        sent.is_some_and(|mark| mark.wire_bytes <= acked_bytes)
    }

    /// Where another connection must go on so that nothing is missing; `None` if nothing was sent on this one.
    pub fn resume_at(&mut self, read_bytes: Option<u64>, truth: SocketTruth) -> Option<Sequence> {
        let unread_bytes = self.ledger.unread(truth.window_bytes);
        self.ledger.resume_at(Taken { read_bytes, acked_bytes: truth.acked_bytes, unread_bytes })
    }

    fn next(&mut self) -> Option<Arc<Packet>> {
        if let Some(early) = self.early.take() {
            return Some(early);
        }
        loop {
            match self.reader.try_next()? {
                Item::Packet(packet) => return Some(packet),
                Item::Lost { .. } => self.dropped_gops += 1,
            }
        }
    }

    /// Leaves out what is too old; not before the first packet, which decides whether this is a replay.
    fn keep_up(&mut self, lag: Duration) {
        if self.wire.is_none() {
            return;
        }
        let limit = self.pace.backlog(self.terms.backlog);
        let gops = backlog::gops_to_skip(lag, limit, || self.reader.keyframes_ahead());
        if gops > 0 && self.reader.skip_to_newest_keyframe() > 0 {
            self.early = None;
            self.dropped_gops += gops;
        }
    }

    fn send(
        &mut self,
        packet: &Packet,
        session: &mut Session,
        now: MediaTime,
        truth: &impl Fn() -> io::Result<SocketTruth>,
    ) -> Result<(), PublishError> {
        let wire = self.wire.unwrap_or_else(|| self.begin(packet, now));
        if packet.keyframe {
            self.end_if_over(wire, packet)?;
            self.mark(packet, session, truth()?);
        }
        self.ledger.packet(packet.time);
        self.oldest.get_or_insert(packet.time);
        let millis = wire.millis(packet.time);
        if self.format.as_ref().is_none_or(|format| !Arc::ptr_eq(format, &packet.format)) {
            session.send_format(&packet.format, millis)?;
            self.format = Some(packet.format.clone());
        }
        Ok(session.send_packet(packet, millis)?)
    }

    fn end_if_over(&self, wire: WireClock, keyframe: &Packet) -> Result<(), PublishError> {
        match () {
            () if wire.is_over(keyframe.time) => Err(PublishError::RolledOver),
            () if self.over => Err(PublishError::AskedToReconnect),
            () => Ok(()),
        }
    }

    /// The first packet decides what the connection's time stamps count from, and whether it begins in the past.
    fn begin(&mut self, first: &Packet, now: MediaTime) -> WireClock {
        debug_assert!(first.keyframe && first.track == Track::Video, "readers begin at keyframes");
        let wire = WireClock::starting(self.terms.timestamps, first.time);
        let lag = self.hub.newest_time().map_or(Duration::ZERO, |newest| newest.since(first.time));
        self.pace = Pace::starting(first.time, lag, now);
        self.wire = Some(wire);
        wire
    }

    /// Once a GOP: where it begins in the stream of bytes.
    fn mark(&mut self, keyframe: &Packet, session: &Session, truth: SocketTruth) {
        self.ledger.unread(truth.window_bytes);
        self.ledger.keyframe(Mark {
            sequence: self.position(),
            time: keyframe.time,
            session_bytes: session.written_total(),
            wire_bytes: truth.acked_bytes + truth.unacked_bytes + session.pending_len() as u64,
        });
    }
}

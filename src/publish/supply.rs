//! What goes out next on a connection: packets of the hub, with their format and time stamps, into the session. It remembers what
//! has gone, so that another connection can go on from there.
//!
//! It takes packets only when it is asked to, which is when all bytes before them are in the kernel: what waits, waits in the
//! hub, where it can be left out. How much may wait, how fast a replay goes and what a time stamp counts from are the rules'
//! words; it touches no socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::coverage::Coverage;
use super::health::SocketTruth;
use super::pace::Pace;
use super::resume::{Ledger, Mark, Place, Taken};
use super::session::Session;
use super::wire_clock::WireClock;
use super::{PublishError, Terms, backlog};
use crate::media::hub::{Hub, Item, Reader, Sequence};
use crate::media::packet::{Format, Packet, Track};
use crate::units::{MediaTime, Span};

pub struct Supply {
    hub: Hub,
    reader: Reader,
    terms: Terms,
    wire: Option<WireClock>,
    pace: Pace,
    ledger: Ledger,
    coverage: Coverage,
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
            coverage: Coverage::default(),
            format: None,
            oldest: None,
            early: None,
            over: false,
            dropped_gops: 0,
        }
    }

    /// Media begins at `start`, if that is still in memory, else at the newest keyframe. What lies between `due` and there has
    /// been left out.
    pub fn begin_at(&mut self, start: Option<Sequence>, due: Option<MediaTime>) {
        self.coverage.begin(due);
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

    /// What was left out since the last time that this was asked.
    pub fn take_holes(&mut self) -> Vec<Span> {
        self.coverage.take_holes()
    }

    /// Age of the oldest packet that is not in the kernel, against the newest of the program.
    pub fn queue(&self) -> Duration {
        match (self.oldest, self.hub.newest_time()) {
            (Some(oldest), Some(newest)) => newest.since(oldest),
            _ => self.reader.lag(),
        }
    }

    /// The packet that was last taken from the hub, which is to go out on another connection.
    pub fn place(&self) -> Place {
        let time = self.coverage.until().or(self.hub.newest_time()).unwrap_or_default();
        Place { sequence: self.position(), time }
    }

    fn position(&self) -> Sequence {
        self.reader.position().saturating_sub(1)
    }

    /// Whether the origin's kernel, with so many bytes acknowledged, has all that came before the program's newest keyframe.
    pub fn has_the_past(&self, acked_bytes: u64) -> bool {
        let newest = self.ledger.newest_keyframe();
        let sent = newest.filter(|mark| Some(mark.sequence) == self.hub.newest_keyframe());
        sent.is_some_and(|mark| mark.wire_bytes <= acked_bytes)
    }

    /// Where another connection must go on so that nothing is missing; `None` if nothing was sent on this one.
    pub fn resume_at(&mut self, read_bytes: Option<u64>, truth: SocketTruth) -> Option<Place> {
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
        self.coverage.packet(packet);
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::session::Target;
    use super::*;
    use crate::config::Timestamps;
    use crate::media::packet::{AudioFormat, VideoFormat};
    use crate::secret::Secret;
    use crate::units::{BitRate, FrameRate};

    const STEP: Duration = Duration::from_millis(40);
    /// Everything that could wait.
    const ALL: usize = 64 << 20;

    fn format() -> Arc<Format> {
        let (bitrate, framerate) = (BitRate::from_bps(1), FrameRate::new(25, 1).unwrap());
        let video = VideoFormat { width: 16, height: 16, framerate, bitrate, avcc: Bytes::from_static(&[1]) };
        let audio = AudioFormat { rate: 48_000, channels: 2, bitrate, asc: Bytes::from_static(&[2]) };
        Arc::new(Format { video, audio })
    }

    /// A hub with pictures `range`, one each 40 ms, a keyframe each second: sequence and picture have the same number.
    fn publish(hub: &Hub, format: &Arc<Format>, range: std::ops::Range<u64>) {
        for index in range {
            let (time, keyframe) = (at(index), index % 25 == 0);
            let data = Bytes::from_static(&[0; 1000]);
            hub.publish(Packet { track: Track::Video, time, duration: STEP, keyframe, data, format: format.clone() });
        }
    }

    fn at(picture: u64) -> MediaTime {
        MediaTime::from_millis(40 * picture)
    }

    fn session() -> Session {
        let (app, url, device) = ("live".to_owned(), "rtmp://example.com/live".to_owned(), "box".to_owned());
        Session::new(Target { app, url, key: Secret::new("key"), device, started_at: None, authorization: None }).unwrap()
    }

    fn supply(hub: &Hub, backlog: Duration) -> Supply {
        Supply::new(hub, Terms { backlog, timestamps: Timestamps::Shared })
    }

    fn fill(supply: &mut Supply, session: &mut Session, now: MediaTime) -> Result<More, PublishError> {
        let filled = supply.fill(session, ALL, now, || Ok(SocketTruth::default()));
        session.sent(usize::MAX);
        supply.all_written();
        filled
    }

    #[test]
    fn a_replay_is_longer_than_the_backlog_and_nothing_of_it_is_left_out() {
        let (hub, format) = (Hub::new(), format());
        publish(&hub, &format, 0..200);
        let (mut supply, mut session) = (supply(&hub, Duration::from_millis(500)), session());
        supply.begin_at(Some(50), None);
        let mut now = at(200);
        assert!(matches!(fill(&mut supply, &mut session, now), Ok(More::At(_))));
        assert!((62..=64).contains(&supply.position()), "half a second at once, got to {}", supply.position());
        while let More::At(due) = fill(&mut supply, &mut session, now).unwrap() {
            now = due;
        }
        assert_eq!((supply.position(), supply.take_dropped()), (199, 0));
        let took = now.since(at(200));
        assert!((1..2).contains(&took.as_secs()), "6 s at four times the speed of life took {took:?}");
    }

    #[test]
    fn what_is_too_old_is_left_out_by_whole_gops_once_media_flows() {
        let (hub, format) = (Hub::new(), format());
        publish(&hub, &format, 0..26);
        let (mut supply, mut session) = (supply(&hub, Duration::from_secs(2)), session());
        supply.begin_at(None, None);
        fill(&mut supply, &mut session, at(26)).unwrap();
        publish(&hub, &format, 26..130);
        fill(&mut supply, &mut session, at(130)).unwrap();
        assert_eq!((supply.position(), supply.take_dropped()), (129, 4));
        assert_eq!(supply.take_holes(), [Span::new(at(26), at(125))]);
    }

    #[test]
    fn a_place_that_is_no_longer_in_memory_is_the_newest_keyframe() {
        let (hub, format) = (Hub::new(), format());
        publish(&hub, &format, 0..1000);
        let (mut supply, mut session) = (supply(&hub, Duration::from_secs(5)), session());
        supply.begin_at(Some(25), Some(at(25)));
        fill(&mut supply, &mut session, at(1000)).unwrap();
        let taken = Taken { read_bytes: Some(0), ..Taken::default() };
        assert_eq!(supply.ledger.resume_at(taken), Some(Place { sequence: 975, time: at(975) }));
        assert_eq!(supply.take_holes(), [Span::new(at(25), at(975))]);
    }

    #[test]
    fn a_connection_that_is_to_end_ends_before_a_keyframe() {
        let (hub, format) = (Hub::new(), format());
        publish(&hub, &format, 0..10);
        let (mut supply, mut session) = (supply(&hub, Duration::from_secs(5)), session());
        supply.begin_at(None, None);
        fill(&mut supply, &mut session, at(10)).unwrap();
        supply.end_at_keyframe();
        publish(&hub, &format, 10..30);
        let end = fill(&mut supply, &mut session, at(30));
        assert!(matches!(end, Err(PublishError::AskedToReconnect)) && supply.position() == 25);
    }

    #[test]
    fn the_format_is_told_first_and_when_it_changes() {
        let (hub, one, other) = (Hub::new(), format(), format());
        let (mut supply, mut session) = (supply(&hub, Duration::from_secs(5)), session());
        session.sent(usize::MAX);
        supply.begin_at(None, None);
        let mut bytes = Vec::new();
        for (format, range) in [(&one, 0..1), (&one, 1..2), (&other, 2..3)] {
            publish(&hub, format, range);
            let before = session.written_total();
            fill(&mut supply, &mut session, at(3)).unwrap();
            bytes.push(session.written_total() - before);
        }
        assert!(bytes[0] > bytes[1] + 300 && bytes[2] > bytes[1] + 300, "{bytes:?}");
    }
}

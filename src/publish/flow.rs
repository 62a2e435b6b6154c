//! One connection that an origin has opened its door to: armed, publishing, or carrying media from the hub to the socket.
//!
//! ```text
//!  armed ──publish()──▶ publishing ── "Publish.Start" ──▶ accepted: format, then packets from the place to start at
//! ```
//!
//! One task drives it with all others of its leg: it never waits for the socket alone, so that a stop, an answer or a silence
//! is noticed while the origin takes nothing. Packets are taken from the hub only when all bytes before them are in the kernel.
//! It is a shell: what is too old, how fast a replay goes, what the kernel's figures mean and where the next connection must go
//! on are the rules' words; it keeps them supplied with facts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use super::acks::Acks;
use super::backlog;
use super::conn::Conn;
use super::detect::{Detector, Verdict};
use super::dial::STEP_LIMIT;
use super::failover::Stage;
use super::health::{Health, SocketTruth};
use super::pace::Pace;
use super::rate::RateSample;
use super::resume::{Ledger, Mark, Taken};
use super::session::{Event, Session, Step};
use super::wire_clock::WireClock;
use super::{Currents, PublishError, Terms};
use crate::clock::MediaClock;
use crate::media::hub::{Hub, Item, Reader, Sequence};
use crate::media::packet::{Format, Packet, Track};
use crate::units::MediaTime;

/// Bytes that go into one write if more than one packet waits: at first, and while the socket takes all of them at once.
/// What is in a batch cannot be dropped any more, so it is small as long as the path is not known to be wide.
const BATCH: usize = 64 << 10;
const MAX_BATCH: usize = 512 << 10;

/// Batches in a row, before others get their turn.
const MAX_PUMPS: usize = 4;

/// Media that an origin must have taken before the connection before it is left …
const PROOF_BYTES: u64 = 64 << 10;

/// … or, where the bit rate is low, for so long.
const PROOF_TIME: Duration = Duration::from_secs(1);

/// Looks at the socket are at least so far apart.
const LOOK_STEP: Duration = Duration::from_millis(4);

/// An end this soon after "Publish.Start" is a refusal: many servers take a busy key and close a moment later.
const TAKEN_BACK: Duration = Duration::from_secs(1);

pub struct Flow {
    conn: Conn,
    session: Session,
    hub: Hub,
    reader: Reader,
    clock: MediaClock,
    terms: Terms,
    /// When "publish" was sent, and when it was accepted.
    asked: Option<MediaTime>,
    accepted: Option<MediaTime>,
    wire: Option<WireClock>,
    pace: Pace,
    health: Health,
    detector: Detector,
    verdict: Verdict,
    looked: MediaTime,
    acks: Acks,
    ledger: Ledger,
    /// What the origin's decoders know.
    format: Option<Arc<Format>>,
    /// Time of the first packet that is not yet in the kernel.
    oldest: Option<MediaTime>,
    /// Size of the next batch.
    batch: usize,
    /// A packet that was taken from the hub before its time.
    early: Option<Arc<Packet>>,
    /// Where the origin wants us instead.
    redirect: Option<Option<String>>,
    /// To be told to the view.
    pub sent_bytes: usize,
    pub dropped_gops: u64,
}

/// What a turn left to do.
enum More {
    /// Nothing until the hub has more.
    Nothing,
    Now,
    At(MediaTime),
}

impl Flow {
    pub fn new(conn: Conn, session: Session, currents: &Currents, terms: Terms) -> io::Result<Self> {
        let Currents { hub, clock, .. } = currents;
        let (truth, now) = (conn.truth()?, clock.now());
        Ok(Self {
            reader: hub.reader(),
            hub: hub.clone(),
            clock: clock.clone(),
            terms,
            asked: None,
            accepted: None,
            wire: None,
            pace: Pace::default(),
            health: Health::new(truth, now),
            detector: Detector::new(&truth, now),
            verdict: Verdict::Fine,
            looked: now,
            acks: Acks::default(),
            ledger: Ledger::default(),
            format: None,
            oldest: None,
            batch: BATCH,
            early: None,
            redirect: None,
            sent_bytes: 0,
            dropped_gops: 0,
            conn,
            session,
        })
    }

    /// Asks to publish; media starts at `start`, if that is still in memory, else at the newest keyframe.
    pub fn publish(&mut self, start: Option<Sequence>) -> Result<(), PublishError> {
        self.reader = self.hub.reader();
        if let Some(start) = start.filter(|start| self.hub.holds(*start)) {
            self.reader.seek(start);
        }
        self.asked = Some(self.clock.now());
        Ok(self.session.publish()?)
    }

    /// Waits until something can be done, and does it. Cancel safe.
    pub async fn turn(&mut self) -> Result<(), PublishError> {
        let more = self.pump()?;
        let blocked = self.conn.is_blocked(&self.session);
        let (now, silent) = (self.clock.now(), self.silent_at());
        let rest = |time: MediaTime| time.since(now);
        tokio::select! {
            ready = self.conn.readable(&self.session) => { ready?; self.receive()?; }
            ready = self.conn.writable(), if blocked => ready?,
            () = self.reader.changed(), if !blocked && self.accepted.is_some() && matches!(more, More::Nothing) => {}
            () = yield_now(), if !blocked && matches!(more, More::Now) => {}
            () = sleep(due(&more).map_or(Duration::ZERO, rest)), if !blocked && due(&more).is_some() => {}
            () = sleep(silent.map_or(Duration::ZERO, rest)), if silent.is_some() => {
                return Err(PublishError::Silent { step: Step::Publish, limit: STEP_LIMIT });
            }
        }
        Ok(())
    }

    /// Looks at the socket and judges; true if media is taken now and was not before.
    pub fn look(&mut self) -> Result<bool, PublishError> {
        let now = self.clock.now();
        if now.since(self.looked) < LOOK_STEP && self.health.is_live() || self.accepted.is_none() {
            return Ok(false);
        }
        self.looked = now;
        let (was_live, truth) = (self.health.is_live(), self.conn.truth()?);
        self.health.observe(truth, now);
        self.verdict = self.detector.observe(&truth, &self.acks, now);
        Ok(self.health.is_live() && !was_live)
    }

    pub fn stage(&self) -> Stage {
        match (self.asked, self.accepted) {
            (None, _) => Stage::Armed,
            (_, None) => Stage::Publishing,
            (_, Some(since)) => Stage::Accepted { proven: self.is_proven(since) },
        }
    }

    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    /// When the origin's kernel last acknowledged anything, or nothing was outstanding.
    pub fn moved(&self) -> MediaTime {
        self.detector.moved()
    }

    /// Media is taken now: by the origin's own word where it gives one, else by its kernel's; not if it is suspected.
    pub fn is_taken(&self) -> bool {
        let now = self.clock.now();
        let read = match (self.acks.last(), self.acks.cadence()) {
            (Some(last), Some(cadence)) => now.since(last) <= super::health::TAKEN.max(3 * cadence),
            _ => true,
        };
        read && self.verdict.is_fine() && self.health.is_taken(now)
    }

    /// Bytes wait for an acknowledgement: time must be watched.
    pub fn is_outstanding(&self) -> bool {
        self.accepted.is_some() && self.health.truth().unacked_bytes > 0
    }

    /// The place that the origin has asked us to go to, if it has: a URL, or none for itself again.
    pub fn redirect(&self) -> Option<Option<&str>> {
        self.redirect.as_ref().map(|url| url.as_deref())
    }

    /// Where another connection must go on so that nothing is missing; `None` if nothing was sent on this one.
    pub fn resume_at(&mut self) -> Option<Sequence> {
        let truth = self.health.truth();
        let unread_bytes = self.ledger.unread(truth.window_bytes);
        let taken = Taken { read_bytes: self.acks.read_at_least(), acked_bytes: truth.acked_bytes, unread_bytes };
        self.ledger.resume_at(taken)
    }

    /// The packet that was last taken from the hub.
    pub fn position(&self) -> Sequence {
        self.reader.position().saturating_sub(1)
    }

    /// Age of the oldest packet that is not in the kernel, against the newest of the program.
    pub fn queue(&self) -> Duration {
        match (self.oldest, self.hub.newest_time()) {
            (Some(oldest), Some(newest)) => newest.since(oldest),
            _ => self.reader.lag(),
        }
    }

    /// For the rule of the bit rate.
    pub fn rate_sample(&self) -> RateSample {
        let truth = self.health.truth();
        let SocketTruth { acked_bytes, unacked_bytes, unsent_bytes, rtt, .. } = truth;
        RateSample { acked_bytes, queue: self.queue(), unsent_bytes, unacked_bytes, rtt }
    }

    /// The connection and its session, to be ended.
    pub fn into_parts(self) -> (Conn, Session) {
        (self.conn, self.session)
    }

    fn is_proven(&self, since: MediaTime) -> bool {
        let enough = self.health.media_bytes() >= PROOF_BYTES || self.clock.now().since(since) >= PROOF_TIME;
        enough && self.health.is_live() && self.verdict.is_fine()
    }

    fn silent_at(&self) -> Option<MediaTime> {
        self.asked.filter(|_| self.accepted.is_none()).map(|asked| asked + STEP_LIMIT)
    }

    fn receive(&mut self) -> Result<(), PublishError> {
        let read = self.conn.read(&mut self.session);
        while let Some(event) = self.session.event() {
            match event {
                Event::Publishing => self.accepted()?,
                Event::Acknowledged(value) => self.acks.note(value, self.session.written_total(), self.clock.now()),
                Event::Refused(refusal) => return Err(PublishError::Refused(refusal)),
                Event::Reconnect { url, description } => {
                    tracing::info!("the origin asks to reconnect: {description}");
                    self.redirect = Some(url);
                }
                Event::Ready => {}
            }
        }
        read.map_err(|error| self.taken_back(error))
    }

    fn accepted(&mut self) -> Result<(), PublishError> {
        let (truth, now) = (self.conn.truth()?, self.clock.now());
        (self.accepted, self.looked) = (Some(now), now);
        (self.health, self.detector) = (Health::new(truth, now), Detector::new(&truth, now));
        Ok(())
    }

    fn taken_back(&self, error: PublishError) -> PublishError {
        match (error, self.accepted) {
            (PublishError::Closed { .. }, Some(since)) if self.clock.now().since(since) < TAKEN_BACK => PublishError::TakenBack,
            (error, _) => error,
        }
    }

    /// Packets into the session and bytes into the socket, as far as both go.
    fn pump(&mut self) -> Result<More, PublishError> {
        for _ in 0..MAX_PUMPS {
            let more = if self.accepted.is_some() { self.fill()? } else { More::Nothing };
            self.sent_bytes += self.conn.write(&mut self.session)?;
            if self.conn.is_blocked(&self.session) {
                self.batch = BATCH;
                return Ok(more);
            }
            self.oldest = None;
            if !matches!(more, More::Now) {
                return Ok(more);
            }
            self.batch = MAX_BATCH.min(2 * self.batch);
        }
        Ok(More::Now)
    }

    /// Takes packets from the hub, once everything before them is in the kernel.
    fn fill(&mut self) -> Result<More, PublishError> {
        if self.conn.is_blocked(&self.session) {
            return Ok(More::Now);
        }
        let (now, lag) = (self.clock.now(), self.reader.lag());
        self.pace.advance(lag, now);
        self.keep_up(lag);
        while self.session.pending_len() < self.batch {
            let packet = match self.early.take() {
                Some(packet) => packet,
                None => match self.reader.try_next() {
                    Some(Item::Packet(packet)) => packet,
                    Some(Item::Lost { .. }) => {
                        self.dropped_gops += 1;
                        continue;
                    }
                    None => return Ok(More::Nothing),
                },
            };
            if let Some(due) = self.pace.due(packet.time).filter(|due| *due > now) {
                self.early = Some(packet);
                return Ok(More::At(due));
            }
            self.send(&packet)?;
        }
        Ok(More::Now)
    }

    fn keep_up(&mut self, lag: Duration) {
        let limit = self.pace.backlog(self.terms.backlog);
        let gops = backlog::gops_to_skip(lag, limit, || self.reader.keyframes_ahead());
        if gops > 0 && self.reader.skip_to_newest_keyframe() > 0 {
            self.early = None;
            self.dropped_gops += gops;
        }
    }

    fn send(&mut self, packet: &Packet) -> Result<(), PublishError> {
        let wire = match self.wire {
            Some(wire) => wire,
            None => self.begin(packet),
        };
        if packet.keyframe {
            if wire.is_over(packet.time) {
                return Err(PublishError::RolledOver);
            }
            self.mark(packet)?;
        }
        self.ledger.packet(packet.time);
        self.oldest.get_or_insert(packet.time);
        let millis = wire.millis(packet.time);
        if self.format.as_ref().is_none_or(|format| !Arc::ptr_eq(format, &packet.format)) {
            self.session.send_format(&packet.format, millis)?;
            self.format = Some(packet.format.clone());
        }
        Ok(self.session.send_packet(packet, millis)?)
    }

    /// The first packet decides what the connection's time stamps count from, and whether it begins in the past.
    fn begin(&mut self, first: &Packet) -> WireClock {
        debug_assert!(first.keyframe && first.track == Track::Video, "readers begin at keyframes");
        let wire = WireClock::starting(self.terms.timestamps, first.time);
        let lag = self.hub.newest_time().map_or(Duration::ZERO, |newest| newest.since(first.time));
        self.pace = Pace::starting(first.time, lag, self.clock.now());
        self.wire = Some(wire);
        wire
    }

    /// Once a GOP: where it begins in the stream of bytes.
    fn mark(&mut self, keyframe: &Packet) -> Result<(), PublishError> {
        let truth = self.conn.truth()?;
        self.ledger.unread(truth.window_bytes);
        self.ledger.keyframe(Mark {
            sequence: self.position(),
            time: keyframe.time,
            session_bytes: self.session.written_total(),
            wire_bytes: truth.acked_bytes + truth.unacked_bytes + self.session.pending_len() as u64,
        });
        Ok(())
    }
}

fn due(more: &More) -> Option<MediaTime> {
    match more {
        More::At(time) => Some(*time),
        More::Now | More::Nothing => None,
    }
}

//! One connection that an origin has opened its door to: armed, publishing, or carrying media from the hub to the socket.
//!
//! ```text
//!  armed ──publish()──▶ publishing ── "Publish.Start" ──▶ accepted: format, then packets from the place to start at
//! ```
//!
//! One task drives it with all others of its leg: it never waits for the socket alone, so that a stop, an answer or a silence
//! is noticed while the origin takes nothing. It is a shell: what goes out next is [`Supply`]'s, what the kernel's figures mean
//! the rules'; it keeps them supplied with facts.

use std::io;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use super::acks::Acks;
use super::batch::{self, Batch};
use super::conn::Conn;
use super::detect::{Detector, Verdict};
use super::dial::STEP_LIMIT;
use super::failover::Stage;
use super::health::{Health, SocketTruth};
use super::rate::RateSample;
use super::resume::Place;
use super::session::{Event, Session, Step};
use super::supply::{More, Supply};
use super::{Currents, PublishError, Terms};
use crate::clock::MediaClock;
use crate::media::hub::Sequence;
use crate::units::{MediaTime, Span};

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
    supply: Supply,
    clock: MediaClock,
    /// When "publish" was sent, and when it was accepted.
    asked: Option<MediaTime>,
    accepted: Option<MediaTime>,
    batch: Batch,
    /// What the kernel was told that it may hold unsent.
    unsent_limit: usize,
    health: Health,
    detector: Detector,
    verdict: Verdict,
    looked: MediaTime,
    acks: Acks,
    /// Where the origin wants us instead.
    redirect: Option<String>,
    sent_bytes: usize,
}

impl Flow {
    pub fn new(conn: Conn, session: Session, currents: &Currents, terms: Terms) -> io::Result<Self> {
        let (truth, now) = (conn.truth()?, currents.clock.now());
        Ok(Self {
            supply: Supply::new(&currents.hub, terms),
            clock: currents.clock.clone(),
            asked: None,
            accepted: None,
            batch: Batch::default(),
            unsent_limit: batch::SMALL,
            health: Health::new(truth, now),
            detector: Detector::new(&truth, now),
            verdict: Verdict::Fine,
            looked: now,
            acks: Acks::default(),
            redirect: None,
            sent_bytes: 0,
            conn,
            session,
        })
    }

    /// Asks to publish; media starts at `start`, if that is still in memory, else at the newest keyframe. What lies between
    /// `due` and there is left out.
    pub fn publish(&mut self, start: Option<Sequence>, due: Option<MediaTime>) -> Result<(), PublishError> {
        self.supply.begin_at(start, due);
        self.asked = Some(self.clock.now());
        Ok(self.session.publish()?)
    }

    /// Waits until something can be done, and does it. Cancel safe.
    pub async fn turn(&mut self) -> Result<(), PublishError> {
        let more = match self.pump() {
            Ok(more) => more,
            // A server may have said why before it ended the connection.
            Err(error) => return Err(self.receive().err().unwrap_or_else(|| self.taken_back(error))),
        };
        let blocked = self.conn.is_blocked(&self.session);
        let (now, silent) = (self.clock.now(), self.silent_at());
        let rest = |time: Option<MediaTime>| time.map_or(Duration::ZERO, |time| time.since(now));
        let due = if let More::At(time) = more { Some(time) } else { None };
        tokio::select! {
            ready = self.conn.readable(&self.session) => { ready?; self.receive()?; }
            ready = self.conn.writable(), if blocked => ready?,
            () = self.supply.changed(), if !blocked && self.accepted.is_some() && matches!(more, More::Nothing) => {}
            () = yield_now(), if !blocked && matches!(more, More::Now) => {}
            () = sleep(rest(due)), if !blocked && due.is_some() => {}
            () = sleep(rest(silent)), if silent.is_some() => {
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

    /// Media is taken now: by the kernel's word, and unless the origin's own says otherwise, which is a suspicion.
    pub fn is_taken(&self) -> bool {
        self.verdict.is_fine() && self.health.is_taken(self.clock.now())
    }

    /// Bytes wait for an acknowledgement: time must be watched.
    pub fn is_outstanding(&self) -> bool {
        self.accepted.is_some() && self.health.truth().unacked_bytes > 0
    }

    /// The place that the origin has asked us to go to.
    pub fn redirect(&self) -> Option<&str> {
        self.redirect.as_deref()
    }

    /// Where another connection must go on so that nothing is missing; `None` if nothing was sent on this one.
    pub fn resume_at(&mut self) -> Option<Place> {
        self.supply.resume_at(self.acks.read_at_least(), self.health.truth())
    }

    /// Whether the origin's kernel has all that came before the program's newest keyframe.
    pub fn has_the_past(&self) -> bool {
        self.supply.has_the_past(self.health.truth().acked_bytes)
    }

    /// The packet that was last taken from the hub, which is to go out on another connection.
    pub fn place(&self) -> Place {
        self.supply.place()
    }

    /// What of the program was left out since this was asked last.
    pub fn take_holes(&mut self) -> Vec<Span> {
        self.supply.take_holes()
    }

    /// Age of the oldest packet that is not in the kernel.
    pub fn queue(&self) -> Duration {
        self.supply.queue()
    }

    /// For the rule of the bit rate.
    pub fn rate_sample(&self) -> RateSample {
        let SocketTruth { acked_bytes, unacked_bytes, unsent_bytes, rtt, .. } = self.health.truth();
        RateSample { acked_bytes, queue: self.queue(), unsent_bytes, unacked_bytes, rtt }
    }

    /// Bytes written and GOPs left out since this was asked last.
    pub fn take_counts(&mut self) -> (usize, u64) {
        (std::mem::take(&mut self.sent_bytes), self.supply.take_dropped())
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
            self.heard(event)?;
        }
        read.map_err(|error| self.taken_back(error))
    }

    fn heard(&mut self, event: Event) -> Result<(), PublishError> {
        match event {
            Event::Ready => {}
            Event::Publishing => {
                let (truth, now) = (self.conn.truth()?, self.clock.now());
                (self.accepted, self.looked) = (Some(now), now);
                (self.health, self.detector) = (Health::new(truth, now), Detector::new(&truth, now));
            }
            Event::Acknowledged(value) => self.acks.note(value, self.session.written_total()),
            Event::Refused(refusal) => return Err(PublishError::Refused(refusal)),
            Event::Reconnect { url: None, .. } => self.supply.end_at_keyframe(),
            Event::Reconnect { url, .. } => self.redirect = url,
        }
        Ok(())
    }

    fn taken_back(&self, error: PublishError) -> PublishError {
        let fresh = self.accepted.is_some_and(|since| self.clock.now().since(since) < TAKEN_BACK);
        match error {
            PublishError::Closed { .. } if fresh => PublishError::TakenBack,
            PublishError::Broken(error) if fresh && is_end(&error) => PublishError::TakenBack,
            error => error,
        }
    }

    /// Packets into the session and bytes into the socket, as far as both go.
    fn pump(&mut self) -> Result<More, PublishError> {
        for _ in 0..MAX_PUMPS {
            let more = self.fill()?;
            let written = self.conn.write(&mut self.session)?;
            self.sent_bytes += written;
            let blocked = self.conn.is_blocked(&self.session);
            if !blocked {
                self.supply.all_written();
            }
            self.measure(written, blocked, &more)?;
            if blocked || !matches!(more, More::Now) {
                return Ok(more);
            }
        }
        Ok(More::Now)
    }

    /// What the last write means for the next one.
    fn measure(&mut self, written: usize, blocked: bool, more: &More) -> io::Result<()> {
        match more {
            _ if blocked => self.batch.full(self.clock.now()),
            More::Now => self.batch.taken(self.clock.now()),
            More::Nothing | More::At(_) => self.batch.rest(written),
        }
        let limit = self.batch.unsent_limit();
        if limit != self.unsent_limit {
            self.conn.limit_unsent(limit)?;
            self.unsent_limit = limit;
        }
        Ok(())
    }

    /// Takes packets from the hub, once everything before them is in the kernel.
    fn fill(&mut self) -> Result<More, PublishError> {
        if self.accepted.is_none() {
            return Ok(More::Nothing);
        }
        if self.conn.is_blocked(&self.session) {
            return Ok(More::Now);
        }
        let (now, conn) = (self.clock.now(), &self.conn);
        self.supply.fill(&mut self.session, self.batch.size(), now, || conn.truth())
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted)
}

//! One live connection: packets from the hub to the socket until something ends it. The inner half of the actor; what is too
//! old, what is stalled and what an answer means are the rules' words.
//!
//! One task does it all: the socket is never waited for alone, so that a stop, an answer or a stall is noticed while the
//! origin takes nothing. Packets are taken from the hub only when all bytes before them are in the kernel.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::PublishError;
use super::backlog::{Verdict, verdict};
use super::conn::Conn;
use super::health::Health;
use super::session::Session;
use super::view::View;
use crate::clock::MediaClock;
use crate::media::hub::{Hub, Item, Reader};
use crate::media::packet::{Format, Packet};
use crate::units::MediaTime;

/// How often the socket is looked at and the status written.
const LOOK: Duration = Duration::from_millis(250);

/// Bytes that go into one write if more than one packet waits.
const BATCH: usize = 64 << 10;

/// For the good-bye.
const FAREWELL: Duration = Duration::from_millis(500);

pub struct Live<'a> {
    conn: Conn,
    session: Session,
    hub: &'a Hub,
    reader: Reader,
    backlog: Duration,
    clock: &'a MediaClock,
    view: &'a mut View,
    /// Index of the origin, for the view.
    origin: usize,
    health: Health,
    /// What the origin's decoders know.
    format: Option<Arc<Format>>,
    /// Time of the first packet that is not yet in the kernel.
    oldest: Option<MediaTime>,
}

impl<'a> Live<'a> {
    /// Begins at the hub's newest keyframe.
    pub fn new(
        (conn, session): (Conn, Session),
        origin: usize,
        hub: &'a Hub,
        backlog: Duration,
        clock: &'a MediaClock,
        view: &'a mut View,
    ) -> Result<Self, PublishError> {
        let health = Health::new(conn.truth()?, clock.now());
        let reader = hub.reader();
        Ok(Self { conn, session, hub, reader, backlog, clock, view, origin, health, format: None, oldest: None })
    }

    /// `Ok` if told to stop.
    pub async fn run(&mut self, stop: &CancellationToken) -> Result<(), PublishError> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let more = self.fill()?;
            self.write()?;
            let blocked = self.session.has_pending();
            tokio::select! {
                () = stop.cancelled() => return self.farewell().await,
                ready = self.conn.readable() => { ready?; self.conn.read(&mut self.session)?; }
                ready = self.conn.writable(), if blocked => ready?,
                () = yield_now(), if !blocked && more => {}
                () = self.reader.changed(), if !blocked && !more => self.greet()?,
                _ = look.tick() => self.look()?,
            }
        }
    }

    /// For how long media has been live.
    pub fn lived(&self) -> Duration {
        self.health.lived()
    }

    /// Takes packets from the hub, once everything before them is in the kernel; true if more may wait there.
    fn fill(&mut self) -> Result<bool, PublishError> {
        if self.session.has_pending() {
            return Ok(true);
        }
        self.keep_up();
        while self.session.pending_len() < BATCH {
            match self.reader.try_next() {
                Some(Item::Packet(packet)) => self.send(&packet)?,
                Some(Item::Lost { .. }) => self.view.dropped(1),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn keep_up(&mut self) {
        let ahead = self.reader.keyframes_ahead();
        if verdict(self.reader.lag(), self.backlog, ahead) == Verdict::SkipToKeyframe && self.reader.skip_to_newest_keyframe() > 0
        {
            self.view.dropped(ahead);
        }
    }

    fn send(&mut self, packet: &Packet) -> Result<(), PublishError> {
        self.oldest.get_or_insert(packet.time);
        if self.format.as_ref().is_none_or(|format| !Arc::ptr_eq(format, &packet.format)) {
            self.session.send_format(&packet.format, packet.time.millis() as u32)?;
            self.format = Some(packet.format.clone());
        }
        Ok(self.session.send_packet(packet, packet.time.millis() as u32)?)
    }

    fn write(&mut self) -> Result<(), PublishError> {
        self.view.sent(self.conn.write(&mut self.session)?);
        if !self.session.has_pending() {
            self.oldest = None;
        }
        Ok(())
    }

    /// Until the first media is acknowledged, every packet is an occasion to look: so the status says live without delay.
    fn greet(&mut self) -> Result<(), PublishError> {
        if self.health.is_live() { Ok(()) } else { self.look() }
    }

    fn look(&mut self) -> Result<(), PublishError> {
        let was_live = self.health.is_live();
        let seen = self.health.observe(self.conn.truth()?, self.clock.now());
        if self.health.is_live() && !was_live {
            self.view.live(self.origin);
        }
        self.view.measured(&self.health, self.queue());
        seen.map_err(|stalled| PublishError::Stalled { quiet: stalled.quiet, outstanding: stalled.outstanding })
    }

    /// Age of the oldest packet that is not in the kernel, against the newest of the program.
    fn queue(&self) -> Duration {
        match (self.oldest, self.hub.newest_time()) {
            (Some(oldest), Some(newest)) => newest.since(oldest),
            _ => self.reader.lag(),
        }
    }

    /// Frees the key at the origin; a good-bye that does not get through changes nothing.
    async fn farewell(&mut self) -> Result<(), PublishError> {
        self.session.close()?;
        let goodbye = async {
            self.conn.write_all(&mut self.session).await?;
            self.conn.finish().await.map_err(PublishError::Broken)
        };
        match timeout(FAREWELL, goodbye).await {
            Ok(Ok(())) => tracing::debug!("the origin has ended its side too"),
            Ok(Err(error)) => tracing::debug!("closed without ceremony: {error}"),
            Err(_) => tracing::debug!("closed without ceremony: no end from the origin within {FAREWELL:?}"),
        }
        Ok(())
    }
}

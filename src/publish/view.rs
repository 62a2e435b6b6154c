//! A leg's face: its part of the status and its events. It keeps the figures and finds the words, and decides nothing.
//!
//! Figures that change all the time are written when the caller says so, at most a few times a second; changes of state are
//! written at once. Neither a stream key nor a server's unfiltered text gets here.

use std::time::Duration;

use super::PublishError;
use super::failover::Outcome;
use super::flow::Flow;
use crate::clock::MediaClock;
use crate::config::Origin;
use crate::report::{Events, Report};
use crate::status::{self, LegState};
use crate::units::{BitRate, MediaTime, Span};

/// Stretches that the status remembers.
const MISSED: usize = 32;

pub struct View {
    figures: status::Leg,
    since: MediaTime,
    /// When it was last live, or began to try; `None` while there is nothing to wait for.
    down_since: Option<MediaTime>,
    report: Report<status::Leg>,
    events: Events,
    clock: MediaClock,
    origins: Vec<Told>,
    /// The origin that the leg was live on last; before that, the preferred one.
    home: usize,
    been_live: bool,
}

/// What has been told of an origin.
struct Told {
    name: String,
    /// The last failure that became an event, so that the same one is not told every 30 s.
    failure: Option<String>,
}

impl View {
    pub fn new(name: &str, origins: &[Origin], report: Report<status::Leg>, events: Events, clock: MediaClock) -> Self {
        let origins = origins.iter().map(|origin| Told { name: origin.url.to_string(), failure: None }).collect();
        let figures = status::Leg { name: name.to_owned(), ..status::Leg::default() };
        let since = clock.now();
        Self { figures, since, down_since: None, report, events, clock, origins, home: 0, been_live: false }
    }

    pub fn off(&mut self) {
        self.enter(LegState::Off);
    }

    pub fn connecting(&mut self, origin: usize) {
        self.figures.origin.clone_from(&self.origins[origin].name);
        self.enter(LegState::Connecting);
    }

    /// Waiting for an origin's hold to end.
    pub fn waiting(&mut self, last: Outcome) {
        let by_its_word = matches!(last, Outcome::Busy | Outcome::Refused);
        self.enter(if by_its_word { LegState::Rejected } else { LegState::Waiting });
    }

    /// Media has been taken by `origin`.
    pub fn live(&mut self, origin: usize) {
        self.figures.origin.clone_from(&self.origins[origin].name);
        self.figures.failovers += u64::from(origin != self.home);
        self.figures.reconnects += u64::from(self.been_live);
        (self.home, self.been_live) = (origin, true);
        self.origins[origin].failure = None;
        self.events.add(format!("leg {}: live on {}", self.figures.name, self.origins[origin].name));
        self.enter(LegState::Live);
    }

    /// A connection could not be had or was lost; `still_live`: on another one. `free`: until an origin may be tried, if all are held.
    pub fn failed(&mut self, origin: usize, error: &PublishError, still_live: bool, free: Option<Duration>) {
        let was_live = self.figures.state == LegState::Live && !still_live;
        let verb = if was_live { "lost " } else { "" };
        let then = match free {
            _ if still_live => "the leg stays where it is".to_owned(),
            Some(wait) => format!("next try in {:.1} s", wait.as_secs_f64()),
            _ if self.origins.len() == 1 => "trying again at once".to_owned(),
            _ => "trying the next origin".to_owned(),
        };
        self.tell_failure(origin, format!("{verb}{}: {error}", self.origins[origin].name), &then, was_live);
    }

    /// The leg has left `origin` because of `error`, for one that it was live on already.
    pub fn replaced(&mut self, origin: usize, error: &PublishError) {
        self.tell_failure(
            origin,
            format!("left {}: {error}", self.origins[origin].name),
            "its spare had taken over before",
            true,
        );
    }

    fn tell_failure(&mut self, origin: usize, failure: String, then: &str, is_news: bool) {
        let told = &mut self.origins[origin];
        let is_news = is_news || told.failure.as_ref() != Some(&failure);
        let text = format!("{failure}; {then}");
        told.failure = Some(failure);
        match is_news {
            true => self.events.add(format!("leg {}: {text}", self.figures.name)),
            false => tracing::debug!("leg {}: {text}", self.figures.name),
        }
        self.figures.last_error = Some(text);
        self.publish();
    }

    /// Nothing gets through on the connection to `origin`, and nowhere else: it is kept, but it is not live.
    pub fn down(&mut self, origin: usize, error: &PublishError) {
        if self.figures.state == LegState::Live {
            let then = "it is kept until something gets through again";
            self.tell_failure(origin, format!("lost {}: {error}", self.origins[origin].name), then, true);
            self.enter(LegState::Connecting);
        }
    }

    /// Something gets through again on the connection that was kept.
    pub fn up(&mut self, origin: usize) {
        if self.figures.state == LegState::Connecting {
            self.live(origin);
        }
    }

    /// Bytes written and GOPs left out.
    pub fn counted(&mut self, (bytes, gops): (usize, u64)) {
        self.figures.sent_bytes += bytes as u64;
        self.figures.dropped_gops += gops;
        if gops > 0 {
            tracing::warn!("leg {}: {gops} GOPs left out, {} is too slow", self.figures.name, self.figures.origin);
        }
    }

    /// What of the program has been left out for good; told with the next figures.
    pub fn missed(&mut self, holes: Vec<Span>) {
        self.figures.missed.extend(holes);
        let excess = self.figures.missed.len().saturating_sub(MISSED);
        self.figures.missed.drain(..excess);
    }

    /// From when on nothing has got to an origin; told with the next figures.
    pub fn missing_since(&mut self, since: Option<MediaTime>) {
        self.figures.missing_since_ms = since.map(MediaTime::millis);
    }

    /// The bit rate that the leg votes for; told with the next figures.
    pub fn vote(&mut self, wish: Option<BitRate>) {
        self.figures.wanted_bitrate_bps = wish.map(BitRate::bps);
    }

    pub fn is_suspect(&self) -> bool {
        self.figures.suspect
    }

    pub fn measured(&mut self, flow: &Flow) {
        let (health, truth) = (flow.health(), flow.health().truth());
        self.figures.bitrate_bps = health.bitrate_bps();
        self.figures.queue_ms = flow.queue().as_millis() as u64;
        self.figures.rtt_ms = Some(truth.rtt.as_micros() as f64 / 1000.0);
        self.figures.unacked_bytes = truth.unacked_bytes;
        self.figures.taken = flow.is_taken();
        self.figures.suspect = !flow.verdict().is_fine();
        self.publish();
    }

    pub fn publish(&mut self) {
        let now = self.clock.now();
        self.figures.since_s = now.since(self.since).as_secs();
        self.figures.down_s = self.down_since.map_or(0, |since| now.since(since).as_secs());
        // The proof is another's part.
        self.report.update(|leg| *leg = status::Leg { proof: leg.proof.take(), ..self.figures.clone() });
    }

    fn enter(&mut self, state: LegState) {
        if self.figures.state != state {
            self.since = self.clock.now();
        }
        self.figures.state = state;
        self.down_since = match state {
            LegState::Live | LegState::Off => None,
            _ => self.down_since.or(Some(self.clock.now())),
        };
        if state != LegState::Live {
            (self.figures.taken, self.figures.suspect) = (false, false);
            self.figures.rtt_ms = None;
            (self.figures.bitrate_bps, self.figures.queue_ms, self.figures.unacked_bytes) = (0, 0, 0);
        }
        self.publish();
    }
}

//! When an input's pictures may go on air: the rule between what a device says of its cable, what it delivers, and what the
//! program is given. Pure.
//!
//! ```text
//!             good look, first picture (the very first time, or after `PROOF` of good pictures)
//!    Lost ───────────────────────────────▶ Proving ───────────────▶ Locked
//!     ▲                                       │ bad look, nothing       │ bad look         │ no picture for `silence`
//!     │                                       ▼                         ▼                  │
//!     ├──────────────────────────────────── Lost    still bad after   Doubt ──good look──▶ Locked
//!     │                                              `CONFIRM`          │                  │
//!     └─────────────────────────────────────────────────────────────────┴──────────────────┘
//! ```
//!
//! In doubt no picture goes on, but nothing is said yet: the program holds its last one for so short a time anyway. A signal
//! that comes and goes must prove itself for longer each time. Drivers say "locked" while nothing comes, and deliver snow
//! while they say "no signal"; so both must agree. Nothing here touches a device: [`Verdict`] says what to do with it.

use std::time::Duration;

use crate::capture::card::Look;
use crate::capture::native::Timings;
use crate::status::Signal;
use crate::units::MediaTime;

/// A bad look must be confirmed by another after this long.
pub const CONFIRM: Duration = Duration::from_millis(100);

/// Good pictures wanted before a signal that was lost is shown again …
const PROOF: Duration = Duration::from_millis(500);

/// … at most, however often it came and went.
const LONGEST_PROOF: Duration = Duration::from_secs(8);

/// A signal that stays for so long is steady: what was before is forgotten.
const STEADY: Duration = Duration::from_secs(5);

/// New timings must stay for this long before the stream is built anew for them.
const SETTLE: Duration = Duration::from_millis(200);

/// The shortest time without a picture that counts: cameras take long exposures in the dark.
const SHORTEST_SILENCE: Duration = Duration::from_millis(400);

/// A stream that brings nothing although its signal is locked is started again after this long; after twice as long each time that
/// did not help, for there are cameras that take seconds to wake up.
const RESTART: Duration = Duration::from_secs(2);
const MAX_DOUBLINGS: u32 = 3;

/// What is to be done with a running stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Stay,
    /// Another signal is on the cable than the stream was started for.
    NewTimings,
    /// The signal is there, pictures are not.
    Stalled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Lost,
    Proving { since: MediaTime },
    Locked { since: MediaTime },
    Doubt { since: MediaTime, locked: MediaTime },
}

#[derive(Clone, Debug)]
pub struct Lock {
    state: State,
    /// What the last look found.
    look: Look,
    /// Times of losses that the next proof is longer for.
    losses: u32,
    /// No picture was shown yet: the first one needs no proof.
    fresh: bool,
    /// The timings that the stream was started with.
    in_force: Option<Timings>,
    /// Timings that differ, and since when.
    pending: Option<(Timings, MediaTime)>,
    silence: Duration,
    last_picture: MediaTime,
    started: MediaTime,
    /// The device has said without a break that there is a signal.
    signal_since: Option<MediaTime>,
    /// Streams in a row that brought nothing at all.
    barren: u32,
}

impl Lock {
    pub fn new(now: MediaTime) -> Self {
        Self {
            state: State::Lost,
            look: Look::new(Signal::NoDevice, None),
            losses: 0,
            fresh: true,
            in_force: None,
            pending: None,
            silence: SHORTEST_SILENCE,
            last_picture: now,
            started: now,
            signal_since: None,
            barren: 0,
        }
    }

    /// A stream has begun with what the last look found; a picture is due every `frame`.
    pub fn started(&mut self, frame: Duration, now: MediaTime) {
        self.in_force = self.look.timings;
        self.pending = None;
        self.silence = SHORTEST_SILENCE.max(3 * frame);
        self.started = now;
        self.barren += 1;
    }

    /// The stream has ended, or its device is gone.
    pub fn ended(&mut self, signal: Signal, now: MediaTime) {
        self.see(Look::new(signal, None), now);
        self.lose(now);
    }

    pub fn looked(&mut self, look: Look, now: MediaTime) {
        self.see(look, now);
        self.note_timings(now);
        let good = self.agrees();
        self.state = match self.state {
            State::Locked { since } if !good => State::Doubt { since: now, locked: since },
            State::Doubt { locked, .. } if good => State::Locked { since: locked },
            State::Doubt { since, .. } if now.since(since) >= CONFIRM => return self.lose(now),
            State::Proving { .. } if !good => return self.lose(now),
            state => state,
        };
    }

    /// A picture has come: true if it may go on.
    pub fn pictured(&mut self, good: bool, now: MediaTime) -> bool {
        let gap = now.since(self.last_picture) > self.silence;
        self.last_picture = now;
        self.barren = 0;
        if !self.agrees() || !good {
            return false;
        }
        self.state = match self.state {
            State::Lost if self.fresh => State::Locked { since: now },
            State::Lost => State::Proving { since: now },
            State::Proving { .. } if gap => State::Proving { since: now },
            State::Proving { since } if now.since(since) >= self.proof() => State::Locked { since: now },
            state => state,
        };
        self.fresh &= !matches!(self.state, State::Locked { .. });
        matches!(self.state, State::Locked { .. })
    }

    /// To be called at least every 100 ms, also while nothing comes.
    pub fn verdict(&mut self, now: MediaTime) -> Verdict {
        let quiet = now.since(self.last_picture.max(self.started));
        if quiet > self.silence && self.state != State::Lost {
            self.lose(now);
        }
        if let State::Locked { since } = self.state
            && now.since(since) > STEADY
        {
            self.losses = 0;
        }
        match self.pending {
            Some((_, since)) if now.since(since) >= SETTLE => Verdict::NewTimings,
            None if self.look.signal == Signal::Locked && quiet > self.patience() => Verdict::Stalled,
            _ => Verdict::Stay,
        }
    }

    /// What the status says: the cable's state as soon as it is certain. Where a device cannot tell, its pictures do.
    pub fn signal(&self) -> Signal {
        match self.state {
            State::Locked { .. } | State::Doubt { .. } => Signal::Locked,
            State::Lost if self.look.signal == Signal::Locked && self.look.timings.is_none() && !self.fresh => Signal::NoSignal,
            State::Lost | State::Proving { .. } => self.look.signal,
        }
    }

    /// What the last look found.
    pub fn look(&self) -> Look {
        self.look
    }

    /// Pictures go on now.
    pub fn passes(&self) -> bool {
        matches!(self.state, State::Locked { .. })
    }

    /// How long no picture has come although there is a signal, however often the stream was started meanwhile.
    pub fn quiet(&self, now: MediaTime) -> Duration {
        self.signal_since.map_or(Duration::ZERO, |since| now.since(since.max(self.last_picture)))
    }

    /// A second look is wanted soon.
    pub fn doubts(&self) -> bool {
        matches!(self.state, State::Doubt { .. }) || self.pending.is_some()
    }

    fn see(&mut self, look: Look, now: MediaTime) {
        self.look = look;
        self.signal_since = (look.signal == Signal::Locked).then(|| self.signal_since.unwrap_or(now));
    }

    fn agrees(&self) -> bool {
        self.look.signal == Signal::Locked && self.pending.is_none()
    }

    fn note_timings(&mut self, now: MediaTime) {
        self.pending = match (self.look.timings, self.in_force, self.pending) {
            (Some(seen), Some(in_force), _) if seen == in_force => None,
            (Some(seen), Some(_), Some((pending, since))) if seen == pending => Some((seen, since)),
            (Some(seen), Some(_), _) => Some((seen, now)),
            // A signal that is gone is not another signal.
            _ => None,
        };
    }

    fn lose(&mut self, now: MediaTime) {
        let held = match self.state {
            State::Locked { since } | State::Doubt { locked: since, .. } => Some(now.since(since)),
            State::Lost | State::Proving { .. } => None,
        };
        match held {
            Some(held) if held > STEADY => self.losses = 1,
            Some(_) => self.losses += 1,
            None => {}
        }
        self.state = State::Lost;
    }

    fn patience(&self) -> Duration {
        RESTART * (1 << self.barren.saturating_sub(1).min(MAX_DOUBLINGS))
    }

    fn proof(&self) -> Duration {
        let doublings = self.losses.saturating_sub(1).min(8);
        (PROOF * (1 << doublings)).min(LONGEST_PROOF)
    }
}

#[cfg(test)]
mod tests;

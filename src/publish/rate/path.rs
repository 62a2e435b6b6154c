//! What one connection was seen to carry, and how long media waited for it: the eyes of [`RateControl`](super::RateControl).
//! It changes nothing and remembers 3 s.

use std::collections::VecDeque;
use std::time::Duration;

use super::{LATE, ProgramRate, RateSample};
use crate::units::MediaTime;

/// Media that waits longer shows that the path is busy all the time, so that what it carries can be measured.
const BUSY: Duration = Duration::from_millis(100);

/// A keyframe makes a path busy for a moment; longer than this is no calm.
const BURST: Duration = Duration::from_millis(500);

/// The shortest time over which a rate means something, and the longest that is looked at.
const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(3);

/// A queue that has shrunk by this since its peak is on its way out.
const SHRUNK: Duration = Duration::from_millis(200);

/// Without an acknowledgement for this long (or 1.5 round trips) a path stands still; that says nothing of its rate.
const PAUSE: Duration = Duration::from_millis(400);

/// A new connection is not judged before its window has opened: this long, or 10 round trips.
const OPENING: Duration = Duration::from_secs(2);

/// A connection is asked for its vote after this long.
const PROVEN: Duration = Duration::from_secs(1);

/// Samples closer together say no more.
const SPACING: Duration = Duration::from_millis(50);

/// What was seen of one connection.
#[derive(Debug)]
pub struct Path {
    since: MediaTime,
    rtt: Duration,
    /// Of the last [`LONG`], oldest first; never empty after the first note.
    samples: VecDeque<Noted>,
    /// When the acknowledgements last advanced, or nothing was outstanding.
    moved: MediaTime,
    /// Since when the path is busy without a pause, late, calm.
    busy: Option<MediaTime>,
    late: Option<MediaTime>,
    calm: MediaTime,
}

#[derive(Clone, Copy, Debug)]
struct Noted {
    at: MediaTime,
    acked_bytes: u64,
    delay: Duration,
}

impl Path {
    pub fn new(now: MediaTime) -> Self {
        Self { since: now, rtt: Duration::ZERO, samples: VecDeque::new(), moved: now, busy: None, late: None, calm: now }
    }

    pub fn note(&mut self, sample: RateSample, program: ProgramRate, now: MediaTime) {
        let advanced = self.samples.is_empty() || sample.acked_bytes > self.acked() || sample.unacked_bytes == 0;
        let unsent_ms = sample.unsent_bytes.saturating_mul(8000) / program.bps().max(1);
        let delay = sample.queue.saturating_add(Duration::from_millis(unsent_ms));
        let resumed = advanced && now.since(self.moved) > self.pause();
        self.rtt = sample.rtt;
        if advanced {
            self.moved = now;
        }
        self.busy = if delay < BUSY { None } else { self.busy.filter(|_| !resumed).or(Some(now)) };
        self.late = if delay < LATE { None } else { self.late.or(Some(now)) };
        if delay >= LATE || self.busy.is_some_and(|busy| now.since(busy) > BURST) {
            self.calm = now;
        }
        self.keep(Noted { at: now, acked_bytes: sample.acked_bytes, delay });
    }

    /// The newest sample always stands last; those before it are [`SPACING`] apart.
    fn keep(&mut self, noted: Noted) {
        if self.samples.len() >= 2 && noted.at.since(self.samples[self.samples.len() - 2].at) < SPACING {
            self.samples.pop_back();
        }
        self.samples.push_back(noted);
        // One that is older than the span stays, so that the whole span is covered.
        while self.samples.get(1).is_some_and(|second| noted.at.since(second.at) >= LONG) {
            self.samples.pop_front();
        }
    }

    /// Bit/s that were carried while more was made than that, if so.
    pub fn overload(&self, program: ProgramRate) -> Option<u64> {
        let last = self.samples.back()?;
        let open = last.at.since(self.since) >= OPENING.max(self.rtt * 10);
        if !open || last.delay < LATE || last.at.since(self.moved) > self.pause() {
            return None;
        }
        let made = program.bps();
        let now = self.busy.and_then(|busy| self.rate_since(busy)).filter(|carried| *carried < made / 100 * 102);
        let for_long = || self.carried_while_late().filter(|_| last.delay + SHRUNK > self.peak());
        now.or_else(for_long).map(|carried| carried.min(made))
    }

    /// Bit/s over the last [`LONG`], pauses and all, if media was late all that time.
    pub fn carried_while_late(&self) -> Option<u64> {
        let last = self.samples.back()?.at;
        self.late.filter(|late| last.since(*late) >= LONG)?;
        self.rate_since(last.saturating_sub(LONG))
    }

    fn rate_since(&self, start: MediaTime) -> Option<u64> {
        let (first, last) = (self.samples.iter().find(|sample| sample.at >= start)?, self.samples.back()?);
        let span = last.at.since(first.at);
        let bytes = last.acked_bytes.saturating_sub(first.acked_bytes);
        (span >= SHORT).then(|| bytes.saturating_mul(8_000_000) / span.as_micros().max(1) as u64)
    }

    fn peak(&self) -> Duration {
        self.samples.iter().map(|sample| sample.delay).max().unwrap_or_default()
    }

    pub fn calm(&self) -> Duration {
        self.samples.back().map_or(Duration::ZERO, |last| last.at.since(self.calm))
    }

    pub fn is_proven(&self) -> bool {
        let first_and_last = self.samples.front().zip(self.samples.back());
        first_and_last.is_some_and(|(first, last)| last.at.since(self.since) >= PROVEN && last.acked_bytes > first.acked_bytes)
    }

    pub fn acked(&self) -> u64 {
        self.samples.back().map_or(0, |last| last.acked_bytes)
    }

    fn pause(&self) -> Duration {
        PAUSE.max(self.rtt * 3 / 2)
    }
}

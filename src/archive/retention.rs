//! What must go when space or time runs out, and how long what is left will last.
//!
//! | | to keep `keep_free` free | by age | rather than stop recording |
//! | --- | --- | --- | --- |
//! | in the bucket, or no bucket configured | oldest first | yes | oldest first |
//! | not in the bucket yet | never | never | then these, oldest first: a loss |
//! | protected, open, not named by the archive | never | never | never |
//!
//! Nothing goes in vain: if other files fill the disk so far that not even all that may go would make room to record, it stays.
//! Rules only: deleting is done elsewhere.

use std::time::Duration;

use super::epoch::is_plausible;
use super::name::Name;
use crate::units::MediaTime;

/// Below this a disk counts as full, whatever the configuration says: an open segment needs room to end well.
pub const MIN_FREE: u64 = 16 << 20;

/// So many segments wait for the bucket while its upload keeps up: the one that is being sent and the one just closed.
const IN_STEP: usize = 2;

/// A closed segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    pub name: Name,
    /// Unix milliseconds of its first picture, as well as is known.
    pub start_ms: i64,
    pub bytes: u64,
    pub uploaded: bool,
    pub protected: bool,
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    pub keep_free: u64,
    pub max_age: Option<Duration>,
    /// Segments go to a bucket.
    pub uploads: bool,
}

/// A segment to delete.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Going {
    pub name: Name,
    /// It is nowhere else.
    pub lost: bool,
}

impl Rule {
    /// Free bytes below which the oldest segments go.
    pub fn wanted(&self) -> u64 {
        self.keep_free.max(MIN_FREE)
    }

    /// The segments to delete, in this order.
    pub fn expendable(&self, segments: &[Segment], open: Option<Name>, free: u64, now_ms: i64) -> Vec<Going> {
        let (safe, only_here) = self.sorted(segments, open);
        let sum = |segments: &[Segment]| segments.iter().fold(0u64, |sum, segment| sum.saturating_add(segment.bytes));
        let all = free.saturating_add(sum(&safe)).saturating_add(sum(&only_here));
        let (wanted, least) = if all < MIN_FREE { (0, 0) } else { (self.wanted(), MIN_FREE) };
        let mut free = free;
        let mut going = Vec::new();
        for (segments, wanted, lost) in [(safe, wanted, false), (only_here, least, true)] {
            for segment in segments {
                if free < wanted || (!lost && self.too_old(segment.start_ms, now_ms)) {
                    free = free.saturating_add(segment.bytes);
                    going.push(Going { name: segment.name, lost });
                }
            }
        }
        going
    }

    /// Those that may go and those that exist nowhere else, each the oldest first.
    fn sorted(&self, segments: &[Segment], open: Option<Name>) -> (Vec<Segment>, Vec<Segment>) {
        let mut segments: Vec<Segment> =
            segments.iter().copied().filter(|segment| Some(segment.name) != open && !segment.protected).collect();
        segments.sort_by_key(|segment| (segment.start_ms, segment.name));
        segments.into_iter().partition(|segment| self.is_safe(segment))
    }

    fn is_safe(&self, segment: &Segment) -> bool {
        segment.uploaded || !self.uploads
    }

    fn too_old(&self, start_ms: i64, now_ms: i64) -> bool {
        let age = now_ms.saturating_sub(start_ms);
        self.max_age.is_some_and(|max| is_plausible(start_ms) && age > 0 && u128::from(age.unsigned_abs()) > max.as_millis())
    }

    /// What there is to lose and to delete. `segment` is how long one is.
    pub fn stock(&self, segments: &[Segment], open: Option<Name>, segment: Duration) -> Stock {
        let (safe, only_here) = self.sorted(segments, open);
        let deletable = safe.iter().fold(0u64, |sum, segment| sum.saturating_add(segment.bytes));
        Stock { deletable, in_step: only_here.len() <= IN_STEP, segment }
    }
}

/// What the disk holds, as far as room is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stock {
    /// Bytes that may be deleted without a loss.
    pub deletable: u64,
    /// The upload keeps up with recording, or there is none.
    pub in_step: bool,
    /// How long a segment is.
    pub segment: Duration,
}

/// How fast the archive grows, measured over spans of 10 s.
#[derive(Default)]
pub struct Meter {
    mark: Option<(MediaTime, u64)>,
    bytes_per_second: Option<f64>,
}

impl Meter {
    const SPAN: Duration = Duration::from_secs(10);
    const SHORTEST: Duration = Duration::from_secs(1);

    /// `written` is the sum of all bytes so far.
    pub fn look(&mut self, now: MediaTime, written: u64) {
        let (since, before) = *self.mark.get_or_insert((now, written));
        let span = now.since(since);
        let wanted = if self.bytes_per_second.is_some() { Self::SPAN } else { Self::SHORTEST };
        if span >= wanted {
            self.bytes_per_second = Some((written - before) as f64 / span.as_secs_f64());
            self.mark = Some((now, written));
        }
    }

    /// A pause is not a slow stream.
    pub fn interrupt(&mut self) {
        self.mark = None;
    }

    fn rate(&self) -> Option<f64> {
        self.bytes_per_second.filter(|rate| *rate > 0.0)
    }

    /// Seconds until something must be deleted; `None` as long as nothing is known.
    pub fn seconds_left(&self, free: u64, keep_free: u64) -> Option<u64> {
        Some((free.saturating_sub(keep_free) as f64 / self.rate()?) as u64)
    }

    /// Seconds until recording stops or costs what is nowhere else, if nothing more is uploaded and nobody deletes anything. `None`
    /// if that is not in sight: what may be deleted goes round for ever as long as the upload keeps up and there is room for it.
    pub fn seconds_to_loss(&self, free: u64, stock: Stock) -> Option<u64> {
        let rate = self.rate()?;
        let room = free.saturating_add(stock.deletable).saturating_sub(MIN_FREE) as f64;
        let goes_round = stock.in_step && room >= rate * 2.0 * stock.segment.as_secs_f64();
        (!goes_round).then_some((room / rate) as u64)
    }
}

#[cfg(test)]
mod tests;

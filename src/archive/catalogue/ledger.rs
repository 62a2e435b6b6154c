//! The gaps that no writer could tell of: from the last run's end to this run's beginning, and those that only the files show.

use super::Catalogue;
use super::stock::{self, Hole, NOT_KNOWN};
use crate::archive::entry::{Entry, Gap, Missing};
use crate::archive::epoch::is_plausible;
use crate::archive::fault::Fault;

/// Differences of clock readings between two runs are no gap.
const NO_GAP_MS: u64 = 500;

impl Catalogue {
    /// Everything has been read: what is between the segments is known, too. Returns how many gaps were not known before.
    pub(super) fn find_holes(&self, entries: &[Entry]) -> Result<usize, Fault> {
        let mut holes = stock::holes(entries, &self.index()?.gaps(i64::MIN, i64::MAX)?);
        // What is missing before this run is told when it has begun.
        holes.retain(|hole| hole.runs.1 != self.run);
        holes.iter().try_for_each(|hole| self.add_hole(hole))?;
        Ok(holes.len())
    }

    fn add_hole(&self, hole: &Hole) -> Result<(), Fault> {
        self.index()?.add_gap_of(hole.runs.0, hole.runs.1, &hole.gap())
    }

    /// The gap from the last run's end to this run's first picture, once all that lies between has been read.
    pub(super) fn settle_opening(&mut self) -> Result<(), Fault> {
        let Some(start_ms) = self.opening else { return Ok(()) };
        let last = self.index()?.last_before(self.run)?;
        let end_ms = last.as_ref().map_or(i64::MIN, Entry::end_ms);
        let unread = self.unread.iter().map(|name| name.start().saturating_mul(1000));
        if unread.filter(|unread| *unread < start_ms).any(|unread| unread >= end_ms) {
            return Ok(());
        }
        // If the clock was not set then, and is now, nobody knows how long it was.
        let is_known = |last: &Entry| is_plausible(last.start_ms) || !is_plausible(start_ms);
        let is_gap = |last: &Entry| is_known(last) && start_ms.abs_diff(last.end_ms()) > NO_GAP_MS;
        if let Some(last) = last.filter(is_gap) {
            let cause = self.ended.clone().unwrap_or_else(|| NOT_KNOWN.into());
            let seconds = start_ms.saturating_sub(last.end_ms()) as f64 / 1000.0;
            self.events.add(format!("archive: {seconds:.1} s before this start were not recorded: {cause}"));
            let gap = Gap { from_ms: last.end_ms(), until_ms: start_ms, missing: Missing::Archive, cause };
            self.index()?.add_gap_of(last.run, self.run, &gap)?;
        }
        self.opening = None;
        Ok(())
    }
}

//! The index against the files: what it does not know, what is no longer there, where nothing was recorded. Rules only.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::entry::{Entry, Gap, Missing, Run};
use crate::archive::epoch::{Step, is_plausible};
use crate::archive::index::Mark;
use crate::archive::name::Name;

/// Shorter is no hole: where two runs meet, times are told by two readings of the clock.
const HOLE_MS: i64 = 500;

/// A file of an older version tells its second only.
const HOLE_OF_SECONDS_MS: i64 = 2000;

/// A closed segment that is in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub name: Name,
    /// The file system says so.
    pub protected: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// In the folder only.
    pub unknown: BTreeSet<Name>,
    /// In the index only.
    pub gone: BTreeSet<Name>,
    /// The one says that it is protected and the other does not.
    pub protect: BTreeSet<Name>,
}

pub fn compare(files: &[Found], known: &[Mark]) -> Differences {
    let known: BTreeMap<Name, &Mark> = known.iter().map(|mark| (mark.name, mark)).collect();
    let mut differences = Differences { gone: known.keys().copied().collect(), ..Differences::default() };
    for file in files {
        differences.gone.remove(&file.name);
        match known.get(&file.name) {
            None => drop(differences.unknown.insert(file.name)),
            Some(mark) if mark.protected != file.protected => drop(differences.protect.insert(file.name)),
            Some(_) => {}
        }
    }
    differences
}

/// A clock that was set while a run went on is known from the run's newest segment: puts the entry's start right by it, or, if
/// the entry is the newer one, returns by what the others are to be put right.
pub fn settle(entry: &mut Entry, newest_known: Option<&Entry>) -> Option<Step> {
    let epoch = |entry: &Entry| entry.start_ms.saturating_sub(entry.base.millis() as i64);
    let known = newest_known.filter(|known| known.run == entry.run && known.run != Run::UNKNOWN)?;
    let by_ms = epoch(entry).saturating_sub(epoch(known));
    if by_ms.saturating_abs() <= HOLE_MS {
        return None;
    }
    if entry.base > known.base {
        return Some(Step { epoch_ms: epoch(entry), by_ms });
    }
    entry.start_ms = entry.start_ms.saturating_sub(by_ms);
    None
}

/// Between two segments that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    pub from_ms: i64,
    pub until_ms: i64,
    /// Of the segments before and after it.
    pub runs: (Run, Run),
}

pub const NOT_KNOWN: &str = "the cause is not known any more";

impl Hole {
    pub fn gap(&self) -> Gap {
        let place = if self.runs.0 == self.runs.1 { "inside a run" } else { "between two runs" };
        let cause = format!("nothing was recorded {place} of the daemon: {NOT_KNOWN}");
        Gap { from_ms: self.from_ms, until_ms: self.until_ms, missing: Missing::Archive, cause }
    }
}

/// Where nothing was recorded and no gap tells of it. `entries` in order of time, with those that are gone.
pub fn holes(entries: &[Entry], gaps: &[Gap]) -> Vec<Hole> {
    let mut gaps: Vec<&Gap> = gaps.iter().filter(|gap| gap.missing == Missing::Archive).collect();
    gaps.sort_by_key(|gap| gap.from_ms);
    let mut holes = Vec::new();
    let mut last: Option<&Entry> = None;
    for entry in entries {
        holes.extend(last.and_then(|last| hole(last, entry)).filter(|hole| !is_told(hole, &gaps)));
        last = last.filter(|last| last.end_ms() >= entry.end_ms()).or(Some(entry));
    }
    holes
}

fn hole(before: &Entry, after: &Entry) -> Option<Hole> {
    if !is_plausible(before.start_ms) && is_plausible(after.start_ms) {
        return None;
    }
    let vague = before.run == Run::UNKNOWN || after.run == Run::UNKNOWN;
    let longest = if vague { HOLE_OF_SECONDS_MS } else { HOLE_MS };
    let hole = Hole { from_ms: before.end_ms(), until_ms: after.start_ms, runs: (before.run, after.run) };
    (hole.until_ms.saturating_sub(hole.from_ms) > longest).then_some(hole)
}

fn is_told(hole: &Hole, gaps: &[&Gap]) -> bool {
    let until = gaps.partition_point(|gap| gap.from_ms < hole.until_ms);
    gaps[..until].iter().any(|gap| gap.until_ms > hole.from_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::entry::{Sha256, Upload};
    use crate::units::MediaTime;
    use proptest::prelude::*;
    use std::time::Duration;

    const EPOCH: i64 = 1_795_411_016_000;

    fn name(second: i64) -> Name {
        Name::new(jiff::Timestamp::from_second(second).unwrap())
    }

    fn entry(run: u8, base_s: u64, seconds: u64) -> Entry {
        let start_ms = EPOCH + base_s as i64 * 1000;
        Entry {
            name: name(start_ms / 1000),
            start_ms,
            duration: Duration::from_secs(seconds),
            bytes: 1,
            frames: 1,
            dropped_gops: 0,
            run: Run([run; 16]),
            base: MediaTime::from_millis(base_s * 1000),
            sha256: Sha256([0; 32]),
            upload: Upload::Waiting,
            protected: false,
            gone: false,
        }
    }

    fn gap(from_s: i64, until_s: i64, missing: Missing) -> Gap {
        Gap { from_ms: EPOCH + from_s * 1000, until_ms: EPOCH + until_s * 1000, missing, cause: String::new() }
    }

    proptest! {
        #[test]
        fn differences(files in proptest::collection::btree_map(0i64..30, any::<bool>(), 0..30), known in proptest::collection::btree_map(0i64..30, any::<bool>(), 0..30)) {
            let found: Vec<Found> = files.iter().map(|(at, protected)| Found { name: name(*at), protected: *protected }).collect();
            let mark = |(at, protected): (&i64, &bool)| Mark { name: name(*at), start_ms: 0, uploaded: false, protected: *protected };
            let marks: Vec<Mark> = known.iter().map(mark).collect();
            let found = compare(&found, &marks);
            for at in 0..30 {
                let (file, row) = (files.get(&at), known.get(&at));
                prop_assert_eq!(found.unknown.contains(&name(at)), file.is_some() && row.is_none());
                prop_assert_eq!(found.gone.contains(&name(at)), file.is_none() && row.is_some());
                prop_assert_eq!(found.protect.contains(&name(at)), file.zip(row).is_some_and(|(file, row)| file != row));
            }
        }
    }

    #[test]
    fn the_newest_segment_of_a_run_knows_the_clock_best() {
        let wrong = Entry { start_ms: 77_000, ..entry(1, 60, 60) };
        let right = entry(1, 600, 60);
        let mut older = wrong.clone();
        assert_eq!(settle(&mut older, Some(&right)), None);
        assert_eq!(older, entry(1, 60, 60));
        let mut newer = right.clone();
        assert_eq!(settle(&mut newer, Some(&wrong)), Some(Step { epoch_ms: EPOCH, by_ms: EPOCH - 17_000 }));
        assert_eq!(newer, right);
        for other in [entry(2, 600, 60), Entry { run: Run::UNKNOWN, ..right.clone() }] {
            assert_eq!(settle(&mut older, Some(&other)), None);
        }
        let mut vague = Entry { run: Run::UNKNOWN, ..wrong.clone() };
        assert_eq!(settle(&mut vague, Some(&Entry { run: Run::UNKNOWN, ..right })), None, "two runs that nobody knows");
        assert_eq!(vague.start_ms, 77_000);
    }

    #[test]
    fn holes_between_segments() {
        let entries = [
            entry(1, 0, 10),
            entry(1, 10, 10),
            entry(1, 30, 10),
            entry(2, 40, 10),
            entry(3, 60, 10),
            entry(3, 62, 5),
            entry(3, 70, 1),
        ];
        let runs = |before, after| (Run([before; 16]), Run([after; 16]));
        let hole = |from: i64, until: i64, runs| Hole { from_ms: EPOCH + from * 1000, until_ms: EPOCH + until * 1000, runs };
        assert_eq!(holes(&entries, &[]), [hole(20, 30, runs(1, 1)), hole(50, 60, runs(2, 3))]);
        assert_eq!(holes(&entries, &[gap(21, 25, Missing::Archive), gap(51, 52, Missing::Air)]), [hole(50, 60, runs(2, 3))]);
        assert_eq!(holes(&entries, &[gap(0, 60, Missing::Archive)]), []);
    }

    #[test]
    fn a_clock_that_was_never_set_tells_no_distance() {
        let unset = Entry { start_ms: 77_000, ..entry(1, 0, 10) };
        assert_eq!(holes(&[unset.clone(), entry(2, 0, 10)], &[]), []);
        assert_eq!(holes(&[unset.clone(), Entry { start_ms: 99_000, ..unset }], &[]).len(), 1);
    }

    #[test]
    fn seconds_are_no_holes() {
        let vague = |base| Entry { run: Run::UNKNOWN, ..entry(0, base, 10) };
        assert_eq!(holes(&[vague(0), vague(12)], &[]), []);
        assert_eq!(holes(&[vague(0), vague(13)], &[]).len(), 1);
    }
}
